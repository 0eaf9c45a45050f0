//! Loads an ONNX file that meets the contract, whoever made it, and asks it.
//!
//! In this order: size, [`check`], [`footprint`] at one and at the largest batch, tract, golden vectors. tract panics on some graphs instead of
//! failing, so it is always called where a panic is caught. It is given a copy of the graph in which the number of
//! series is a number (with a symbol it panics, or mixes up batches), one for each size of batch.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{ModelProto, TypeProto, type_proto};
use tract_onnx::prelude::{Framework, InferenceModelExt, IntoRunnable, Tensor, TypedRunnableModel, tvec};

use crate::check::{Refusal, check, decode, names, refuse};
use crate::contract::Contract;
use crate::manifest::Manifest;
use crate::shapes::footprint;

/// Numbers of series that are computed together; in between, the rest of a batch is filled up with copies.
const BATCHES: [usize; 3] = [1, 8, 64];
/// How far an output may be from the golden one, beside its own size.
const TOLERANCE: f32 = 1e-4;

/// A network that can be asked.
#[derive(Debug)]
pub struct Served {
    contract: Contract,
    model: ModelProto,
    plans: [OnceLock<Result<Arc<TypedRunnableModel>, Refusal>>; 3],
}

impl Served {
    /// Loads a file and lets it prove itself.
    ///
    /// # Errors
    /// What is wrong, with the node it is wrong in.
    pub fn load(onnx: &[u8], manifest: &Manifest) -> Result<Self, Refusal> {
        let model = decode(onnx)?;
        manifest.check(onnx)?;
        let contract = manifest.contract.clone();
        check(&model, &contract)?;
        let Some(graph) = &model.graph else { return refuse("it has no graph") };
        for series in [1, BATCHES[2]] {
            footprint(graph, &contract, series)?;
        }
        let served = Self { contract, model, plans: Default::default() };
        // Alone, and among others: a file that was exported for one series must not mix up many.
        served.replay(manifest, 1)?;
        served.replay(manifest, BATCHES[2])?;
        Ok(served)
    }

    /// What it is shown and answers.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    fn replay(&self, manifest: &Manifest, batch: usize) -> Result<(), Refusal> {
        let inputs: Vec<&[f32]> = manifest.golden.iter().map(|golden| golden.input.as_slice()).collect();
        let inputs: Vec<&[f32]> = inputs.iter().cycle().take(batch.max(inputs.len())).copied().collect();
        let outputs = if batch == 1 {
            inputs.iter().map(|input| Ok(self.ask(&[input])?.concat())).collect::<Result<Vec<_>, _>>()?
        } else {
            self.ask(&inputs)?
        };
        for (index, output) in outputs.iter().enumerate() {
            let golden = &manifest.golden[index % manifest.golden.len()];
            for (at, (said, wanted)) in output.iter().zip(&golden.output).enumerate() {
                // What is not a number is not within the tolerance either.
                let within = (said - wanted).abs() <= TOLERANCE * (1.0 + wanted.abs());
                if !within {
                    return refuse(format!(
                        "golden[{}], among {batch}: output {at} is {said}, should be {wanted}: this program does not compute what the file's \
                         maker computed",
                        index % manifest.golden.len()
                    ));
                }
            }
        }
        Ok(())
    }

    /// The answers to any number of windows, `[horizon][levels]` each.
    ///
    /// # Errors
    /// When the network fails, or answers with something that is not a number.
    pub fn ask(&self, inputs: &[&[f32]]) -> Result<Vec<Vec<f32>>, Refusal> {
        let mut answers = Vec::with_capacity(inputs.len());
        for part in inputs.chunks(BATCHES[2]) {
            let size = BATCHES.iter().position(|size| part.len() <= *size).unwrap_or(BATCHES.len() - 1);
            answers.extend(self.ask_batch(part, size)?);
        }
        Ok(answers)
    }

    fn ask_batch(&self, inputs: &[&[f32]], size: usize) -> Result<Vec<Vec<f32>>, Refusal> {
        let plan = self.plans[size].get_or_init(|| self.plan(BATCHES[size])).clone()?;
        let (window, features) = (self.contract.window, self.contract.features.len());
        let mut numbers = Vec::with_capacity(BATCHES[size] * window * features);
        for input in inputs.iter().cycle().take(BATCHES[size]) {
            if input.len() != window * features {
                return refuse(format!(
                    "a window has {} numbers, the contract asks for {}",
                    input.len(),
                    window * features
                ));
            }
            numbers.extend_from_slice(input);
        }
        let outputs = guarded("answering", || {
            let input = Tensor::from_shape(&[BATCHES[size], window, features], &numbers)?;
            let outputs = plan.run(tvec!(input.into()))?;
            let Some(output) = outputs.first() else { return Ok(Vec::new()) };
            Ok(output.try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
        })?;
        if outputs.len() != BATCHES[size] * self.contract.outputs() {
            return refuse(format!("it answered with {} numbers", outputs.len()));
        }
        let answers = outputs.chunks_exact(self.contract.outputs()).take(inputs.len()).map(<[f32]>::to_vec);
        let answers: Vec<Vec<f32>> = answers.collect();
        if answers.iter().flatten().any(|number| !number.is_finite()) {
            return refuse("it answered with something that is not a number");
        }
        Ok(answers)
    }

    fn plan(&self, series: usize) -> Result<Arc<TypedRunnableModel>, Refusal> {
        let model = concrete(&self.model, series)?;
        guarded("loading", || {
            let onnx = tract_onnx::onnx().with_ignore_value_info(true);
            onnx.model_for_proto_model(&model)?.into_optimized()?.into_runnable()
        })
    }
}

/// Calls tract; what it says, and a panic of it, becomes an error.
fn guarded<T>(what: &str, work: impl FnOnce() -> tract_onnx::prelude::TractResult<T>) -> Result<T, Refusal> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => refuse(format!("{what} failed: {error:#}")),
        Err(panic) => {
            let text =
                panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            refuse(format!("{what} failed: panic: {}", text.unwrap_or("without a word")))
        }
    }
}

/// The graph for exactly so many series. Sizes of inner tensors that the file states are dropped: they were worked out for symbols.
fn concrete(model: &ModelProto, series: usize) -> Result<ModelProto, Refusal> {
    let mut model = model.clone();
    let Some(graph) = &mut model.graph else { return refuse("it has no graph") };
    let input = names(graph)?.0.name.clone();
    graph.value_info.clear();
    for info in graph.input.iter_mut().filter(|info| info.name == input).chain(&mut graph.output) {
        let Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), .. }) = &mut info.r#type else {
            continue;
        };
        if let Some(first) = tensor.shape.as_mut().and_then(|shape| shape.dim.first_mut()) {
            *first = Dimension { value: Some(dimension::Value::DimValue(series as i64)), ..Default::default() };
        }
    }
    Ok(model)
}
