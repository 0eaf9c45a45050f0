//! The seam every model fits through, and the pool of models there are.

pub mod climate;
pub mod level;
pub mod regression;
pub mod seasonal;
pub mod smoothing;

use std::fmt::Debug;

use crate::history::History;

/// What the names of the seasonal floor begin with.
pub const SEASONAL_NAIVE: &str = "seasonal_naive";

/// What a fitted model says of the steps after an origin.
#[derive(Debug, Clone, PartialEq)]
pub enum Prediction {
    /// One path; the selection dresses it with the errors the model made on the replayed past.
    Path(Vec<f64>),
    /// `[level][step]` at the levels asked for.
    Quantiles(Vec<Vec<f64>>),
}

/// Why a model does not take part.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FitError {
    /// The history is too short for this model.
    #[error("too short: {have} steps, {need} needed")]
    TooShort {
        /// Steps needed.
        need: usize,
        /// Steps there are.
        have: usize,
    },
    /// The model cannot express this series (for instance a step that does not divide a day).
    #[error("unsuitable: {0}")]
    Unsuitable(String),
    /// Fitting failed, or gave something outside sanity bounds.
    #[error("failed: {0}")]
    Failed(String),
}

/// A model before it has seen a history. Deterministic: the same history gives the same prediction, to the bit.
pub trait Model: Debug + Send + Sync {
    /// The name it carries in the champion, in the API and in `--model`.
    fn name(&self) -> &'static str;

    /// Replayed at every n-th origin only; more than 1 for models that are dear.
    fn replay_every(&self) -> usize {
        1
    }

    /// Learns from `history`, and from nothing else.
    ///
    /// # Errors
    /// A model may refuse, with a reason; it then gets no weight.
    fn fit(&self, history: &History<'_>, horizon: usize) -> Result<Box<dyn Fitted>, FitError>;
}

/// A fitted model. It may be asked at later origins than the one it was fitted at: `history` is then the fitted one, grown.
pub trait Fitted: Debug + Send {
    /// Predicts the `horizon` steps after the end of `history`.
    ///
    /// # Errors
    /// As for [`Model::fit`].
    fn predict(&self, history: &History<'_>, horizon: usize, levels: &[f64]) -> Result<Prediction, FitError>;
}

/// All models, the seasonal floor first.
pub fn pool() -> Vec<Box<dyn Model>> {
    vec![
        Box::new(seasonal::SeasonalNaive::DAY),
        Box::new(seasonal::SeasonalNaive::WEEK),
        Box::new(seasonal::EmpiricalSeasonal),
        Box::new(level::Level),
        Box::new(regression::Regression),
        Box::new(climate::Climate),
        Box::new(smoothing::Ets),
        Box::new(smoothing::Mstl),
    ]
}
