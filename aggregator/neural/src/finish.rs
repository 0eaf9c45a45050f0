//! From a training to files: the ONNX bytes and the manifest that vouches for them.

use crate::check::Refusal;
use crate::dataset::{Dataset, naive_score};
use crate::lstm::Pass;
use crate::manifest::{Golden, Manifest, Scores, Trained, format_of, hash};
use crate::model::Network;
use crate::train::Trainer;

/// How many windows vouch.
const GOLDEN: usize = 3;
/// Windows from which seasonal naive takes its errors.
const NAIVE_WINDOWS: usize = 2_000;

/// The best network of a training, as ONNX and manifest; loaded and replayed before it is given out.
///
/// # Errors
/// When the file that was written is refused by the same checks that any file passes.
pub fn finish(trainer: &Trainer, data: &Dataset, on: &str, seed: u64) -> Result<(Vec<u8>, Manifest), Refusal> {
    let shape = trainer.shape();
    let onnx = crate::onnx::write(shape, trainer.best());
    let held = data.held();
    let mut pass = Pass::<f32>::default();
    let golden = held.iter().step_by((held.len() / GOLDEN).max(1)).take(GOLDEN).map(|origin| {
        let mut batch = data.batch(&[*origin]);
        // Four decimals are as good a proof, and half as long.
        batch.inputs.iter_mut().for_each(|input| *input = (*input * 1e4).round() / 1e4);
        Golden { output: pass.forward(shape, trainer.best(), &batch).to_vec(), input: batch.inputs }
    });
    let golden = golden.collect();
    let naive = naive_score(shape, data, &data.epoch(seed, 0, NAIVE_WINDOWS), &held);
    let (series, windows, _) = data.counts();
    let (from, to) = data.span().unwrap_or_default();
    let scores = trainer.best_score().filter(|score| score.is_finite() && naive.is_finite());
    let manifest = Manifest {
        format: format_of(&shape.contract),
        made_by: format!("foreshadow {}", env!("CARGO_PKG_VERSION")),
        contract: shape.contract.clone(),
        trained: Some(Trained { on: on.to_owned(), from, to, series, windows, epochs: trainer.epochs(), seed }),
        scores: scores.map(|held_out| Scores { held_out, seasonal_naive: naive, windows: held.len() }),
        sha256: hash(&onnx),
        golden,
    };
    Network::new(&onnx, manifest.clone())?;
    Ok((onnx, manifest))
}
