//! What an ONNX file may contain.
//!
//! tract neither warns nor fails when it ignores an attribute (`direction = "reverse"`, `clip`, `activations`, `input_forget`), so its
//! answers would be wrong without anybody knowing; and it trusts sizes. So operators and attributes are on a list, and
//! what is not on it is refused with the node it stands in. Sizes are the matter of [`crate::shapes`].

use std::collections::HashSet;

use prost::Message;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, type_proto};

use crate::contract::Contract;

/// The largest file that is read.
pub const MOST_BYTES: usize = 16 << 20;
/// Most nodes.
const MOST_NODES: usize = 512;
/// Operator sets whose rules are known here.
const OPERATOR_SETS: std::ops::RangeInclusive<i64> = 13..=18;

/// Why a file is not served: what is wrong, and where in the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

pub(crate) fn refuse<T>(problem: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(problem.into()))
}

/// Reads the messages of a file.
///
/// # Errors
/// When it is too large, or not ONNX.
pub fn decode(bytes: &[u8]) -> Result<ModelProto, Refusal> {
    if bytes.len() > MOST_BYTES {
        return refuse(format!("the file has {} bytes, at most {MOST_BYTES} are read", bytes.len()));
    }
    ModelProto::decode(bytes).map_err(|error| Refusal(format!("not an ONNX file: {error}")))
}

/// How an error names a node.
pub(crate) fn place(node: &NodeProto) -> String {
    let name = [&node.name].into_iter().chain(&node.output).find(|name| !name.is_empty());
    format!("node {:?} ({})", name.map_or("", String::as_str), node.op_type)
}

/// Whether a file says nothing but what is served.
///
/// # Errors
/// The first thing that is not.
pub fn check(model: &ModelProto, contract: &Contract) -> Result<(), Refusal> {
    let standard = |domain: &str| domain.is_empty() || domain == "ai.onnx";
    for import in &model.opset_import {
        if !standard(&import.domain) {
            return refuse(format!("operator set {:?}: only the standard one is served", import.domain));
        }
    }
    match model.opset_import.as_slice() {
        [one] if OPERATOR_SETS.contains(&one.version) => {}
        [one] => {
            return refuse(format!("operator set {}: 13 to 18 are served; export with opset_version=17", one.version));
        }
        _ => return refuse("exactly one operator set must be imported"),
    }
    if !model.functions.is_empty() || !model.training_info.is_empty() {
        return refuse("functions of its own and training information are not served");
    }
    let Some(graph) = &model.graph else { return refuse("it has no graph") };
    if graph.node.is_empty() || graph.node.len() > MOST_NODES {
        return refuse(format!("{} nodes: 1 to {MOST_NODES} are served", graph.node.len()));
    }
    if !graph.sparse_initializer.is_empty() || !graph.quantization_annotation.is_empty() {
        return refuse("sparse and quantised tensors are not served");
    }
    for tensor in &graph.initializer {
        self::tensor(tensor)?;
    }
    ends(graph, contract)?;
    let mut known: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    if known.len() != graph.initializer.len() || known.contains("") {
        return refuse("two tensors share a name, or one has none");
    }
    known.extend(graph.input.iter().map(|input| input.name.as_str()));
    for node in &graph.node {
        if !standard(&node.domain) {
            return refuse(format!("{}: operators of {:?} are not served", place(node), node.domain));
        }
        operator(node)?;
        if let Some(missing) = node.input.iter().find(|name| !name.is_empty() && !known.contains(name.as_str())) {
            return refuse(format!("{}: its input {missing:?} is made nowhere before it", place(node)));
        }
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            if !known.insert(output) {
                return refuse(format!("{}: {output:?} is made twice", place(node)));
            }
        }
    }
    Ok(())
}

/// The input that is not an initialiser, and the output.
pub fn names(graph: &GraphProto) -> Result<(&ValueInfoProto, &ValueInfoProto), Refusal> {
    let initial: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let inputs: Vec<_> = graph.input.iter().filter(|input| !initial.contains(input.name.as_str())).collect();
    match (inputs.as_slice(), graph.output.as_slice()) {
        ([input], [output]) => Ok((input, output)),
        (inputs, outputs) => {
            refuse(format!("{} inputs and {} outputs: the contract has one of each", inputs.len(), outputs.len()))
        }
    }
}

fn ends(graph: &GraphProto, contract: &Contract) -> Result<(), Refusal> {
    let (input, output) = names(graph)?;
    let last = graph.node.iter().any(|node| node.output.contains(&output.name));
    if !last {
        return refuse(format!("no node makes the output {:?}", output.name));
    }
    let wanted = [
        (input, "input", [contract.window, contract.features.len()], "window, features"),
        (output, "output", [contract.horizon, contract.levels.len()], "horizon, levels"),
    ];
    for (info, what, sizes, words) in wanted {
        let Some(type_proto::Value::TensorType(tensor)) = info.r#type.as_ref().and_then(|kind| kind.value.as_ref())
        else {
            return refuse(format!("{what} {:?} has no tensor type", info.name));
        };
        if tensor.elem_type != DataType::Float as i32 {
            return refuse(format!("{what} {:?} is not of 32-bit floats", info.name));
        }
        // A symbol stands for any size; a number must be the contract's. What comes out is counted when the file is laid out.
        let dims: Vec<Option<i64>> = tensor
            .shape
            .iter()
            .flat_map(|shape| &shape.dim)
            .map(|dim| match &dim.value {
                Some(Dim::DimValue(size)) => Some(*size),
                _ => None,
            })
            .collect();
        let fits =
            dims.len() == 3 && dims[1..].iter().zip(sizes).all(|(dim, size)| dim.is_none_or(|dim| dim == size as i64));
        let shapeless = what == "output" && dims.is_empty();
        if !fits && !shapeless {
            let shown: Vec<_> = dims.iter().map(|dim| dim.map_or("?".to_owned(), |dim| dim.to_string())).collect();
            return refuse(format!(
                "{what} {:?} is [{}], the manifest says [series, {words}] = [series, {}, {}]",
                info.name,
                shown.join(", "),
                sizes[0],
                sizes[1]
            ));
        }
    }
    Ok(())
}

/// A tensor in the file: of floats or 64-bit integers, whole, finite, in this file.
pub(crate) fn tensor(tensor: &TensorProto) -> Result<(), Refusal> {
    let name = format!("tensor {:?}", tensor.name);
    if tensor.data_location == Some(DataLocation::External as i32) || !tensor.external_data.is_empty() {
        return refuse(format!("{name} lies in another file; everything must be in one"));
    }
    if tensor.segment.is_some() {
        return refuse(format!("{name} comes in segments, which are not served"));
    }
    let count = tensor.dims.iter().try_fold(1_usize, |count, dim| usize::try_from(*dim).ok()?.checked_mul(count));
    let Some(count) = count.filter(|count| *count <= MOST_BYTES / 4) else {
        return refuse(format!("{name} has impossible sizes {:?}", tensor.dims));
    };
    let (width, listed) = match DataType::try_from(tensor.data_type) {
        Ok(DataType::Float) => (4, tensor.float_data.len()),
        Ok(DataType::Int64) => (8, tensor.int64_data.len()),
        _ => return refuse(format!("{name} is neither of 32-bit floats nor of 64-bit integers")),
    };
    let held = if tensor.raw_data.is_empty() { listed } else { tensor.raw_data.len() / width };
    if held != count || !tensor.raw_data.len().is_multiple_of(width) {
        return refuse(format!("{name} has {held} values, its sizes {:?} ask for {count}", tensor.dims));
    }
    if width == 4 && !floats(tensor).all(f32::is_finite) {
        return refuse(format!("{name} holds a value that is not finite"));
    }
    Ok(())
}

fn floats(tensor: &TensorProto) -> impl Iterator<Item = f32> {
    tensor
        .float_data
        .iter()
        .copied()
        .chain(tensor.raw_data.as_chunks::<4>().0.iter().map(|raw| f32::from_le_bytes(*raw)))
}

/// An attribute's name, and whether a value of it is served as the standard means it.
type Attribute = (&'static str, fn(&AttributeProto) -> bool);

/// The operators that are served, and for each attribute what it may be.
fn allowed(operator: &str) -> Option<&'static [Attribute]> {
    fn any(_: &AttributeProto) -> bool {
        true
    }
    fn zero(attribute: &AttributeProto) -> bool {
        attribute.i == 0
    }
    fn bit(attribute: &AttributeProto) -> bool {
        matches!(attribute.i, 0 | 1)
    }
    fn ahead(attribute: &AttributeProto) -> bool {
        attribute.s == b"forward"
    }
    /// tract always uses the standard ones, so nothing else may be asked for.
    fn lstm(attribute: &AttributeProto) -> bool {
        attribute.strings.iter().map(Vec::as_slice).eq([&b"Sigmoid"[..], b"Tanh", b"Tanh"])
    }
    fn gru(attribute: &AttributeProto) -> bool {
        attribute.strings.iter().map(Vec::as_slice).eq([&b"Sigmoid"[..], b"Tanh"])
    }
    fn number(attribute: &AttributeProto) -> bool {
        matches!(DataType::try_from(attribute.i as i32), Ok(DataType::Float | DataType::Int64))
    }
    fn constant(attribute: &AttributeProto) -> bool {
        attribute.t.as_ref().is_some_and(|held| tensor(held).is_ok())
    }
    Some(match operator {
        "Add" | "Sub" | "Mul" | "Div" | "MatMul" | "Relu" | "Sigmoid" | "Tanh" | "Softplus" | "Exp" | "Sqrt"
        | "Abs" | "Neg" | "Identity" | "Squeeze" | "Unsqueeze" | "Slice" | "Expand" | "Shape" => &[],
        "Reshape" => &[("allowzero", zero)],
        "Transpose" => &[("perm", any)],
        "Concat" | "Gather" | "Flatten" | "Softmax" => &[("axis", any)],
        "Gemm" => &[("alpha", any), ("beta", any), ("transA", bit), ("transB", bit)],
        "Cast" => &[("to", number)],
        "Constant" => &[("value", constant)],
        "ConstantOfShape" => &[("value", constant)],
        "LSTM" => &[
            ("hidden_size", any),
            ("direction", ahead),
            ("activations", lstm),
            ("input_forget", zero),
            ("layout", zero),
        ],
        "GRU" => &[
            ("hidden_size", any),
            ("direction", ahead),
            ("activations", gru),
            ("linear_before_reset", bit),
            ("layout", zero),
        ],
        _ => return None,
    })
}

fn operator(node: &NodeProto) -> Result<(), Refusal> {
    let Some(attributes) = allowed(&node.op_type) else {
        return refuse(format!("{}: this operator is not served (docs/models.md lists those that are)", place(node)));
    };
    if matches!(node.op_type.as_str(), "LSTM" | "GRU") && node.input.get(4).is_some_and(|name| !name.is_empty()) {
        return refuse(format!("{}: sequence_lens is not served: all windows have the same length", place(node)));
    }
    if node.op_type == "LSTM" && node.input.get(7).is_some_and(|name| !name.is_empty()) {
        return refuse(format!("{}: peepholes are not served", place(node)));
    }
    let mut seen = HashSet::new();
    for attribute in &node.attribute {
        let (place, name) = (place(node), &attribute.name);
        if !seen.insert(name)
            || attribute.g.is_some()
            || !attribute.graphs.is_empty()
            || !attribute.ref_attr_name.is_empty()
        {
            return refuse(format!("{place}: attribute {name:?} is there twice, a graph or a reference"));
        }
        match attributes.iter().find(|(known, _)| known == name) {
            None => {
                return refuse(format!(
                    "{place}: attribute {name} = {} would be ignored, so it is refused",
                    shown(attribute)
                ));
            }
            Some((_, may)) if !may(attribute) => {
                return refuse(format!("{place}: attribute {name} = {} is not served", shown(attribute)));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// An attribute's value, as a person would write it.
fn shown(attribute: &AttributeProto) -> String {
    let text = |bytes: &[u8]| format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(60)]));
    if !attribute.s.is_empty() {
        text(&attribute.s)
    } else if !attribute.strings.is_empty() {
        attribute.strings.iter().take(8).map(|one| text(one)).collect::<Vec<_>>().join(", ")
    } else if attribute.f != 0.0 {
        attribute.f.to_string()
    } else if let Some(held) = &attribute.t {
        tensor(held).err().map_or_else(|| "a tensor".to_owned(), |problem| problem.to_string())
    } else {
        attribute.i.to_string()
    }
}
