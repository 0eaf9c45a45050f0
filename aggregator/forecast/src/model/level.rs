//! Simple exponential smoothing (ETS A,N,N): a flat path at the smoothed level. All there is when history is short.
//!
//! Brown 1956; the smoothing constant is the one of a small grid with the least absolute error over the next hour.

use super::{FitError, Fitted, Model, Prediction};
use crate::history::History;

/// The smoothing constants tried, per step.
const ALPHAS: [f64; 7] = [0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0];
/// Only this much of the newest history chooses the constant.
const LEARN_STEPS: usize = 1_000;

/// The level model.
#[derive(Debug, Clone, Copy)]
pub struct Level;

impl Model for Level {
    fn name(&self) -> &'static str {
        "level"
    }

    fn fit(&self, history: &History<'_>, _horizon: usize) -> Result<Box<dyn Fitted>, FitError> {
        if history.is_empty() {
            return Err(FitError::TooShort { need: 1, have: 0 });
        }
        let recent = history.last(LEARN_STEPS).values;
        let reach = history.steps(3_600).min((recent.len() / 4).max(1));
        let error = |alpha: f64| {
            let mut level = recent[0];
            let mut error = 0.0;
            for (index, value) in recent.iter().enumerate() {
                level += alpha * (value - level);
                if let Some(actual) = recent.get(index + reach) {
                    error += (actual - level).abs();
                }
            }
            error
        };
        let best = ALPHAS.iter().map(|alpha| (error(*alpha), *alpha)).min_by(|a, b| a.0.total_cmp(&b.0));
        Ok(Box::new(Smoothed { alpha: best.map_or(1.0, |(_, alpha)| alpha) }))
    }
}

#[derive(Debug)]
struct Smoothed {
    alpha: f64,
}

impl Fitted for Smoothed {
    fn predict(&self, history: &History<'_>, horizon: usize, _levels: &[f64]) -> Result<Prediction, FitError> {
        let recent = history.last(LEARN_STEPS).values;
        let first = *recent.first().ok_or(FitError::TooShort { need: 1, have: 0 })?;
        let level = recent.iter().fold(first, |level, value| level + self.alpha * (value - level));
        Ok(Prediction::Path(vec![level; horizon]))
    }
}
