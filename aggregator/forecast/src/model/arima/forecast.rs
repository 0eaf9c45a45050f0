//! From a fitted process to quantile paths.
//!
//! The spread of step h is the sum of the squared psi weights before it, times the variance of a shock (Box and Jenkins);
//! the filter gives the same, and still does when the history ends in a gap.

use distrs::Normal;

use super::filter::Filter;
use super::process::Process;
use super::{FitError, Fitted, Prediction, phase};
use crate::events::Response;
use crate::history::History;

/// The newest steps that bring the filter to the present: an invertible process has forgotten where it started by then.
const FILTER_STEPS: usize = 1_000;

/// Waves and process with everything estimated.
#[derive(Debug)]
pub(super) struct Fit {
    /// The load that counts as 1.
    pub scale: f64,
    /// The waves (and the constant) at each phase of the season, of the root of the load.
    pub profile: Vec<f64>,
    /// The same of a season beside it; one 0 where there is none.
    pub other: Vec<f64>,
    pub process: Process,
    /// Of a shock.
    pub deviation: f64,
    /// What events of the past came to.
    pub responses: Vec<Response>,
}

impl Fitted for Fit {
    fn responses(&self, _history: &History<'_>) -> Vec<Response> {
        self.responses.clone()
    }

    fn predict(&self, history: &History<'_>, horizon: usize, levels: &[f64]) -> Result<Prediction, FitError> {
        let recent = history.last(FILTER_STEPS);
        let season = self.profile.len();
        let first = phase(&recent, season);
        let other_first = phase(&recent, self.other.len());
        let wave = |at: usize| self.profile[(first + at) % season] + self.other[(other_first + at) % self.other.len()];
        let mut filter = Filter::new(&self.process).ok_or_else(|| FitError::Failed("not stationary".to_owned()))?;
        for at in 0..recent.len() {
            let value = (recent.values[at] / self.scale).sqrt() - wave(at);
            // A lower bound below what is expected anyway says nothing; one above says at least that much.
            let says = !recent.saturated[at] || value > filter.expected().mean;
            if recent.observed[at] && says {
                filter.observe(value);
            } else {
                filter.miss();
            }
        }
        // Sanity: nothing further outside the range lately seen than the range is wide.
        let low = recent.values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = recent.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (lowest, highest) = ((low - (high - low)).max(0.0), high + (high - low));
        let widths: Vec<f64> =
            levels.iter().map(|level| Normal::ppf(*level, 0.0, self.deviation.max(f64::MIN_POSITIVE))).collect();
        let mut paths = vec![Vec::with_capacity(horizon); levels.len()];
        for step in 0..horizon {
            let expected = filter.expected();
            let mean = expected.mean + wave(recent.len() + step);
            let spread = expected.variance.max(0.0).sqrt();
            for (path, width) in paths.iter_mut().zip(&widths) {
                let root = (mean + width * spread).max(0.0);
                path.push((root * root * self.scale).clamp(lowest, highest));
            }
            filter.miss();
        }
        Ok(Prediction::Quantiles(paths))
    }
}
