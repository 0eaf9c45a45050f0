//! How large every tensor of a graph becomes, and how much work it is, before anything is computed.
//!
//! Thirty nodes that each join their input to itself make a gigabyte out of a byte. So sizes are worked out here for a given number of
//! series, by the rules of ONNX for the operators that are served, and what grows too large is refused with
//! the node that makes it. Small integer tensors are followed by value: exporters compute shapes with them.

use std::collections::HashMap;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

use crate::check::{Refusal, names, place, refuse};
use crate::contract::Contract;

/// Most numbers in all tensors together, for one series: 128 MB for a batch of 64.
const MOST_NUMBERS: u64 = 500_000;
/// Most multiplications for one series: fifty times what our own network takes.
const MOST_WORK: u64 = 400_000_000;
/// What a step of a recurrence costs beside its multiplications, in multiplications.
const STEP_WORK: u64 = 10_000;
/// Integer tensors up to this length are followed by value.
const MOST_FOLLOWED: usize = 64;

/// A tensor's sizes, and its values where they are integers and few.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    sizes: Vec<u64>,
    values: Option<Vec<i64>>,
}

/// What a graph takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Footprint {
    /// Numbers in all tensors that are made.
    pub numbers: u64,
    /// Multiplications, about.
    pub work: u64,
}

/// Works out all sizes for a number of series.
///
/// # Errors
/// Names the node whose result cannot be known, contradicts itself, or is too large; or says that the output is not the contract's.
pub fn footprint(graph: &GraphProto, contract: &Contract, series: usize) -> Result<Footprint, Refusal> {
    let (input, output) = names(graph)?;
    let mut known: HashMap<&str, Known> = HashMap::new();
    for tensor in &graph.initializer {
        known.insert(&tensor.name, of_tensor(tensor));
    }
    let sizes = [series, contract.window, contract.features.len()].map(|size| size as u64).to_vec();
    known.insert(&input.name, Known { sizes, values: None });
    let mut total = Footprint::default();
    let series = series as u64;
    for node in &graph.node {
        let inputs: Vec<Option<&Known>> =
            node.input.iter().map(|name| (!name.is_empty()).then(|| known.get(name.as_str())).flatten()).collect();
        let (made, work) =
            Rule { node, inputs: &inputs }.apply().map_err(|problem| Refusal(format!("{}: {problem}", place(node))))?;
        total.work = total.work.saturating_add(work);
        for (name, result) in node.output.iter().zip(made) {
            let numbers = count(&result.sizes);
            total.numbers = total.numbers.saturating_add(numbers);
            total.work = total.work.saturating_add(numbers);
            if total.numbers > MOST_NUMBERS.saturating_mul(series) {
                return refuse(format!(
                    "{}: its result {:?} brings all tensors to {} numbers, at most {MOST_NUMBERS} per series are served",
                    place(node),
                    result.sizes,
                    total.numbers
                ));
            }
            if !name.is_empty() {
                known.insert(name, result);
            }
        }
        if total.work > MOST_WORK.saturating_mul(series) {
            let work = total.work;
            return refuse(format!(
                "{}: {work} multiplications up to here, at most {MOST_WORK} per series are served",
                place(node)
            ));
        }
    }
    let wanted = [series, contract.horizon as u64, contract.levels.len() as u64];
    match known.get(output.name.as_str()) {
        Some(found) if found.sizes == wanted => Ok(total),
        found => {
            let sizes = found.map(|found| found.sizes.clone()).unwrap_or_default();
            refuse(format!(
                "with {series} series the output {:?} is {sizes:?}, the contract asks for [series, horizon, levels] = {wanted:?}",
                output.name
            ))
        }
    }
}

fn count(sizes: &[u64]) -> u64 {
    sizes.iter().fold(1, |count: u64, size| count.saturating_mul(*size))
}

fn of_tensor(tensor: &TensorProto) -> Known {
    let sizes: Vec<u64> = tensor.dims.iter().map(|dim| u64::try_from(*dim).unwrap_or(0)).collect();
    let few = count(&sizes) <= MOST_FOLLOWED as u64 && tensor.data_type == DataType::Int64 as i32;
    let values = few.then(|| {
        let raw = tensor.raw_data.as_chunks::<8>().0.iter().map(|raw| i64::from_le_bytes(*raw));
        tensor.int64_data.iter().copied().chain(raw).collect()
    });
    Known { sizes, values }
}

struct Rule<'a> {
    node: &'a NodeProto,
    inputs: &'a [Option<&'a Known>],
}

type Made = (Vec<Known>, u64);

fn one(sizes: Vec<u64>) -> Made {
    (vec![Known { sizes, values: None }], 0)
}

impl Rule<'_> {
    fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.node.attribute.iter().find(|attribute| attribute.name == name)
    }

    fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |attribute| attribute.i)
    }

    fn input(&self, index: usize) -> Result<&Known, String> {
        self.inputs.get(index).copied().flatten().ok_or_else(|| format!("input {index} is missing"))
    }

    fn sizes(&self, index: usize) -> Result<&[u64], String> {
        Ok(&self.input(index)?.sizes)
    }

    /// The values of a small integer input.
    fn values(&self, index: usize) -> Result<&[i64], String> {
        let known = self.input(index)?.values.as_deref();
        known.ok_or_else(|| format!("the size of its result hangs on input {index}, which is not known ahead"))
    }

    fn axis(axis: i64, rank: usize) -> Result<usize, String> {
        let wrapped = if axis < 0 { axis + rank as i64 } else { axis };
        usize::try_from(wrapped).ok().filter(|axis| *axis < rank).ok_or_else(|| format!("axis {axis} of {rank}"))
    }

    fn apply(&self) -> Result<Made, String> {
        match self.node.op_type.as_str() {
            "Add" | "Sub" | "Mul" | "Div" => self.pair(),
            "Relu" | "Sigmoid" | "Tanh" | "Softplus" | "Exp" | "Sqrt" | "Abs" | "Neg" | "Softmax" => {
                Ok(one(self.sizes(0)?.to_vec()))
            }
            "Identity" | "Cast" => Ok((vec![self.input(0)?.clone()], 0)),
            "Constant" => {
                let tensor =
                    self.attribute("value").and_then(|attribute| attribute.t.as_ref()).ok_or("it has no value")?;
                Ok((vec![of_tensor(tensor)], 0))
            }
            "Shape" => {
                let sizes = self.sizes(0)?;
                let values = sizes.iter().map(|size| *size as i64).collect();
                Ok((vec![Known { sizes: vec![sizes.len() as u64], values: Some(values) }], 0))
            }
            "ConstantOfShape" => {
                let sizes = self.values(0)?.iter().map(|size| u64::try_from(*size));
                Ok(one(sizes.collect::<Result<_, _>>().map_err(|_| "a size below zero")?))
            }
            "Expand" => {
                let wanted: Vec<u64> = self.values(1)?.iter().map(|size| u64::try_from(*size).unwrap_or(0)).collect();
                Ok(one(broadcast(self.sizes(0)?, &wanted)?))
            }
            "Transpose" => self.transpose(),
            "Reshape" => self.reshape(),
            "Flatten" => {
                let sizes = self.sizes(0)?;
                let axis = Self::axis(self.int("axis", 1), sizes.len() + 1)?;
                Ok(one(vec![count(&sizes[..axis]), count(&sizes[axis..])]))
            }
            "Squeeze" | "Unsqueeze" => self.squeeze(),
            "Concat" => self.concat(),
            "Slice" => self.slice(),
            "Gather" => self.gather(),
            "MatMul" => self.product(self.sizes(0)?, self.sizes(1)?),
            "Gemm" => self.gemm(),
            "LSTM" => self.recurrence(4, 2),
            "GRU" => self.recurrence(3, 1),
            other => Err(format!("no rule for {other}")),
        }
    }

    fn pair(&self) -> Result<Made, String> {
        let (left, right) = (self.input(0)?, self.input(1)?);
        let sizes = broadcast(&left.sizes, &right.sizes)?;
        let values = left.values.as_ref().zip(right.values.as_ref()).and_then(|(left, right)| {
            let at = |values: &[i64], index: usize| {
                if values.len() == 1 { values.first() } else { values.get(index) }.copied()
            };
            let pairs = (0..left.len().max(right.len())).map(|index| Some((at(left, index)?, at(right, index)?)));
            pairs
                .map(|pair| {
                    let (left, right) = pair?;
                    match self.node.op_type.as_str() {
                        "Add" => left.checked_add(right),
                        "Sub" => left.checked_sub(right),
                        "Mul" => left.checked_mul(right),
                        _ => left.checked_div(right),
                    }
                })
                .collect()
        });
        Ok((vec![Known { sizes, values }], 0))
    }

    fn transpose(&self) -> Result<Made, String> {
        let sizes = self.sizes(0)?;
        let order: Vec<i64> = match self.attribute("perm") {
            Some(attribute) => attribute.ints.clone(),
            None => (0..sizes.len() as i64).rev().collect(),
        };
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..sizes.len() as i64) {
            return Err(format!("perm {order:?} is no order of {} axes", sizes.len()));
        }
        Ok(one(order.iter().map(|axis| sizes[*axis as usize]).collect()))
    }

    fn reshape(&self) -> Result<Made, String> {
        let (sizes, wanted) = (self.sizes(0)?, self.values(1)?);
        let mut made = Vec::with_capacity(wanted.len());
        let mut open = None;
        for (axis, size) in wanted.iter().enumerate() {
            made.push(match size {
                -1 if open.is_none() => {
                    open = Some(axis);
                    1
                }
                0 => *sizes.get(axis).ok_or("a size is to be copied that is not there")?,
                size => u64::try_from(*size).map_err(|_| format!("sizes {wanted:?}"))?,
            });
        }
        let (all, fixed) = (count(sizes), count(&made));
        if let Some(axis) = open {
            made[axis] = all.checked_div(fixed).unwrap_or(0);
        }
        if count(&made) != all {
            return Err(format!("{sizes:?} cannot become {wanted:?}"));
        }
        let values = self.input(0)?.values.clone();
        Ok((vec![Known { sizes: made, values }], 0))
    }

    fn squeeze(&self) -> Result<Made, String> {
        let input = self.input(0)?;
        let mut sizes = input.sizes.clone();
        let adds = self.node.op_type == "Unsqueeze";
        let axes: Vec<i64> = if self.inputs.get(1).copied().flatten().is_some() {
            self.values(1)?.to_vec()
        } else if adds {
            return Err("input 1, its axes, is missing".to_owned());
        } else {
            (0..sizes.len() as i64).filter(|axis| sizes[*axis as usize] == 1).collect()
        };
        let rank = sizes.len() + if adds { axes.len() } else { 0 };
        let mut axes = axes.into_iter().map(|axis| Self::axis(axis, rank)).collect::<Result<Vec<_>, _>>()?;
        axes.sort_unstable();
        if axes.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("an axis is named twice".to_owned());
        }
        if adds {
            axes.iter().for_each(|axis| sizes.insert(*axis, 1));
        } else {
            for axis in axes.iter().rev() {
                if sizes.remove(*axis) != 1 {
                    return Err(format!("axis {axis} of {:?} is not 1", input.sizes));
                }
            }
        }
        Ok((vec![Known { sizes, values: input.values.clone() }], 0))
    }

    fn concat(&self) -> Result<Made, String> {
        let first = self.sizes(0)?;
        let axis = Self::axis(self.int("axis", i64::MAX), first.len())?;
        let (mut sizes, mut values) = (first.to_vec(), Some(Vec::new()));
        sizes[axis] = 0;
        for index in 0..self.inputs.len() {
            let input = self.input(index)?;
            let fits = input.sizes.len() == sizes.len()
                && (0..sizes.len()).all(|other| other == axis || input.sizes[other] == sizes[other]);
            if !fits {
                return Err(format!("{first:?} and {:?} cannot be joined along axis {axis}", input.sizes));
            }
            sizes[axis] = sizes[axis].saturating_add(input.sizes[axis]);
            values = values.zip(input.values.as_ref()).map(|(mut all, more)| {
                all.extend(more);
                all
            });
        }
        let values = values.filter(|values| sizes.len() == 1 && values.len() <= MOST_FOLLOWED);
        Ok((vec![Known { sizes, values }], 0))
    }

    fn slice(&self) -> Result<Made, String> {
        let input = self.input(0)?;
        let (starts, ends) = (self.values(1)?, self.values(2)?);
        let given = |index: usize| self.inputs.get(index).copied().flatten().is_some();
        let axes = if given(3) { self.values(3)?.to_vec() } else { (0..starts.len() as i64).collect() };
        if ends.len() != starts.len() || axes.len() != starts.len() {
            return Err("starts, ends and axes differ in number".to_owned());
        }
        if given(4) && self.values(4)?.iter().any(|step| *step != 1) {
            return Err("steps other than 1 are not served".to_owned());
        }
        let (mut sizes, mut values) = (input.sizes.clone(), input.values.clone());
        for ((start, end), axis) in starts.iter().zip(ends).zip(&axes) {
            let axis = Self::axis(*axis, sizes.len())?;
            let size = input.sizes[axis] as i64;
            let clamp = |at: i64| if at < 0 { at.saturating_add(size).max(0) } else { at.min(size) };
            let (from, to) = (clamp(*start), clamp(*end).max(clamp(*start)));
            sizes[axis] = (to - from) as u64;
            values = values
                .filter(|_| input.sizes.len() == 1)
                .and_then(|all| Some(all.get(from as usize..to as usize)?.to_vec()));
        }
        Ok((vec![Known { sizes, values }], 0))
    }

    fn gather(&self) -> Result<Made, String> {
        let (input, indices) = (self.input(0)?, self.input(1)?);
        let axis = Self::axis(self.int("axis", 0), input.sizes.len())?;
        // An index beyond the end would be found out only while it runs.
        let size = input.sizes[axis] as i64;
        let wanted = self.values(1)?;
        if wanted.iter().any(|index| !(-size..size).contains(index)) {
            return Err(format!("an index of {wanted:?} is outside of {size}"));
        }
        let mut sizes = input.sizes[..axis].to_vec();
        sizes.extend(&indices.sizes);
        sizes.extend(&input.sizes[axis + 1..]);
        let values = input
            .values
            .as_ref()
            .filter(|_| input.sizes.len() == 1)
            .and_then(|all| wanted.iter().map(|index| all.get(index.rem_euclid(size) as usize).copied()).collect());
        Ok((vec![Known { sizes, values }], 0))
    }

    fn product(&self, left: &[u64], right: &[u64]) -> Result<Made, String> {
        let ([.., rows, shared], [.., other, columns]) = (left, right) else {
            return Err(format!("{left:?} times {right:?}: both must be matrices"));
        };
        if shared != other {
            return Err(format!("{left:?} times {right:?}"));
        }
        let mut sizes = broadcast(&left[..left.len() - 2], &right[..right.len() - 2])?;
        sizes.extend([*rows, *columns]);
        let work = count(&sizes).saturating_mul(*shared);
        Ok((vec![Known { sizes, values: None }], work))
    }

    fn gemm(&self) -> Result<Made, String> {
        let turned = |index: usize, name: &str| -> Result<Vec<u64>, String> {
            let mut sizes = self.sizes(index)?.to_vec();
            if sizes.len() != 2 {
                return Err(format!("input {index} is {sizes:?}, not a matrix"));
            }
            if self.int(name, 0) == 1 {
                sizes.reverse();
            }
            Ok(sizes)
        };
        let (made, work) = self.product(&turned(0, "transA")?, &turned(1, "transB")?)?;
        if self.inputs.get(2).copied().flatten().is_some()
            && broadcast(self.sizes(2)?, &made[0].sizes)? != made[0].sizes
        {
            return Err(format!("what is added is {:?}, the product {:?}", self.sizes(2)?, made[0].sizes));
        }
        Ok((made, work))
    }

    /// `gates` rows of weights per unit, `states` that are carried.
    fn recurrence(&self, gates: u64, states: usize) -> Result<Made, String> {
        let ([steps, series, features], [1, rows, width], [1, again, hidden]) =
            (self.sizes(0)?, self.sizes(1)?, self.sizes(2)?)
        else {
            return Err("X must be [steps, series, features], W and R of one direction [1, rows, …]".to_owned());
        };
        if width != features || rows != again || *rows != gates.saturating_mul(*hidden) || *hidden == 0 {
            return Err(format!(
                "X {:?}, W {:?} and R {:?} do not fit",
                self.sizes(0)?,
                self.sizes(1)?,
                self.sizes(2)?
            ));
        }
        if self.int("hidden_size", *hidden as i64) != *hidden as i64 {
            return Err(format!("hidden_size is {}, R says {hidden}", self.int("hidden_size", 0)));
        }
        let wanted = [(3, vec![1, 2 * rows]), (5, vec![1, *series, *hidden]), (6, vec![1, *series, *hidden])];
        for (index, sizes) in wanted {
            if let Some(input) = self.inputs.get(index).copied().flatten()
                && input.sizes != sizes
            {
                return Err(format!("input {index} is {:?}, {sizes:?} is needed", input.sizes));
            }
        }
        let multiplications = series.saturating_mul(*rows).saturating_mul(features + hidden);
        let work = steps.saturating_mul(multiplications.saturating_add(STEP_WORK));
        let last = Known { sizes: vec![1, *series, *hidden], values: None };
        let all = Known { sizes: vec![*steps, 1, *series, *hidden], values: None };
        let mut made = vec![all];
        made.extend(std::iter::repeat_n(last, states));
        Ok((made, work))
    }
}

fn broadcast(left: &[u64], right: &[u64]) -> Result<Vec<u64>, String> {
    let rank = left.len().max(right.len());
    let at = |sizes: &[u64], axis: usize| (axis + sizes.len()).checked_sub(rank).map_or(1, |axis| sizes[axis]);
    (0..rank)
        .map(|axis| match (at(left, axis), at(right, axis)) {
            (a, b) if a == b => Ok(a),
            (1, other) | (other, 1) => Ok(other),
            _ => Err(format!("{left:?} and {right:?} do not fit each other")),
        })
        .collect()
}
