//! Prophet (Taylor, Letham 2018, "Forecasting at scale"): a trend that bends, seasons as Fourier terms, announced events as
//! regressors, all at once by their most probable values.
//!
//! The posterior is the original's, with its priors, scaling and defaults but without the logistic trend; parameters and
//! forecasts are compared with those of Python's prophet by the tests. It is not `augurs-prophet`: that takes the order of its
//! columns from a hash map and its intervals from a random generator, so that no two runs agree to the bit, brings a second
//! nalgebra, and for its optimiser a WebAssembly runtime of three hundred crates. Its seam holds the whole design as dense
//! matrices; here the bends are summed up in passing, and L-BFGS starts from a ridge regression.
//!
//! What is made for load, each measured on public series:
//! - Times are the middles of steps; history is folded to about an hour, and the newest six weeks of it count. Steps that
//!   were filled in are not learned from.
//! - After the last point the trend stays level: the last slope carried on costs a twelfth at 24 hours. (A flat trend does a
//!   little better on loads that stay where they are, and far worse on those that move.)
//! - Seasons are added. The more probable of added and multiplied was no better, at twice the cost.
//! - A path, that the selection dresses with measured errors: the model's own normal intervals hold less than they promise.
//!   The path stays within the range seen, widened by itself, but for what announced events add.

mod curve;
mod lbfgs;
mod posterior;

use self::curve::{Curve, Points, Seasons, Setup};
use super::{FitError, Fitted, Model, Prediction};
use crate::events::Occurrence;
use crate::history::{DAY, History, WEEK};

/// Only this much of the newest history is learned from.
const HISTORY_SECONDS: u64 = 42 * DAY;
/// Steps are folded until no more than this many remain: an hour, of six weeks.
const POINTS: usize = 1_010;
/// Two days make a daily season, two weeks a weekly one: the original's rule.
const LEAST_SECONDS: u64 = 2 * DAY;
const LEAST_WEEKLY_SECONDS: u64 = 2 * WEEK;

/// The model, and the events that were announced for the load it is to forecast.
#[derive(Debug, Clone, Default)]
pub struct Prophet {
    /// One regressor each.
    events: Vec<Vec<Occurrence>>,
}

impl Prophet {
    /// Every event among the occurrences becomes a regressor: what it was announced to multiply the trend by, less one. How much
    /// of that came true is learned from its past occurrences that `history` has as observed; an event without any counts
    /// as announced.
    pub fn with_regressors(mut occurrences: Vec<Occurrence>) -> Self {
        occurrences.sort_by_key(|occurrence| (occurrence.event, occurrence.rises, occurrence.ends));
        let events = occurrences.chunk_by(|a, b| a.event == b.event).map(<[Occurrence]>::to_vec).collect();
        Self { events }
    }

    /// The history as scaled-down points: the means of `fold` steps each.
    fn points(&self, history: &History<'_>) -> Points {
        let recent = history.last(history.steps(HISTORY_SECONDS));
        let fold = recent.len().div_ceil(POINTS).max(1);
        let step = f64::from(recent.step_seconds);
        let mut points = Points::new(self.events.len());
        // Aligned to the end, where it matters.
        let skip = recent.len() % fold;
        for bin in (skip..recent.len()).step_by(fold) {
            let observed: Vec<usize> = (bin..bin + fold).filter(|index| recent.observed[*index]).collect();
            if 2 * observed.len() < fold {
                continue;
            }
            let mean = |of: &dyn Fn(usize) -> f64| {
                observed.iter().map(|index| of(*index)).sum::<f64>() / observed.len() as f64
            };
            let middle = |index: usize| recent.start as f64 + (index as f64 + 0.5) * step;
            let at = |index: usize| recent.start + index as i64 * i64::from(recent.step_seconds);
            points.times.push(mean(&middle));
            points.values.push(mean(&|index| recent.values[index]));
            for event in &self.events {
                points.events.push(mean(&|index| effect(event.iter(), at(index), recent.step_seconds)));
            }
        }
        points
    }
}

/// What the highest of the occurrences adds to one within the step that begins at `from`.
fn effect<'a>(occurrences: impl Iterator<Item = &'a Occurrence>, from: i64, step_seconds: u32) -> f64 {
    let to = from.saturating_add(i64::from(step_seconds));
    occurrences.map(|occurrence| occurrence.highest(from, to) - 1.0).fold(0.0, f64::max)
}

impl Model for Prophet {
    fn name(&self) -> &str {
        "prophet"
    }

    /// On load series the pool is better without it: docs/forecast-scores.md.
    fn on_request(&self) -> bool {
        true
    }

    fn fit(&self, history: &History<'_>, _horizon: usize) -> Result<Box<dyn Fitted>, FitError> {
        let need = history.steps(LEAST_SECONDS);
        if history.len() < need {
            return Err(FitError::TooShort { need, have: history.len() });
        }
        let points = self.points(history);
        let long = points.span_seconds() >= LEAST_WEEKLY_SECONDS as f64;
        let seasons = Seasons { daily: 4, weekly: if long { 3 } else { 0 } }.resolved_by(points.step_seconds());
        let setup = Setup { bends: true, levels_off: true, seasons, multiplicative: false, announced: true };
        let curve = Curve::fit(&points, &setup).ok_or_else(|| FitError::Failed("no most probable curve".into()))?;
        Ok(Box::new(FittedProphet { curve, events: self.events.clone() }))
    }
}

#[derive(Debug)]
struct FittedProphet {
    curve: Curve,
    events: Vec<Vec<Occurrence>>,
}

impl Fitted for FittedProphet {
    fn predict(&self, history: &History<'_>, horizon: usize, _levels: &[f64]) -> Result<Prediction, FitError> {
        let step = i64::from(history.step_seconds);
        let path = (0..horizon as i64).map(|ahead| {
            let from = history.end() + ahead * step;
            let events: Vec<f64> = self
                .events
                .iter()
                .map(|event| effect(event.iter().filter(|one| !one.deleted), from, history.step_seconds))
                .collect();
            self.curve.at(from as f64 + step as f64 / 2.0, &events)
        });
        Ok(Prediction::Path(path.collect()))
    }
}

#[cfg(test)]
mod tests;
