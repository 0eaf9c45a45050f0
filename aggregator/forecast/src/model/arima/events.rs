//! Announced events as exogenous regressors.
//!
//! On the root of the load an event that multiplies it by f adds (√f − 1)·m, with m the root of what there would have been without it: that is the
//! regressor of each event, next to the waves, and its coefficient the part that came true. All coefficients are estimated at once by
//! generalised least squares under the process (the filter turns values and regressors into innovations, as for the waves), given waves and
//! process, which are fitted on what was ordinary. Before anything was seen an event is expected to come true as announced, give or take
//! as much again: a normal prior, so that a few noisy steps do not decide.

use nalgebra::{DMatrix, DVector};

use super::super::dot;
use super::filter::innovations;
use super::process::Process;
use crate::events::Response;
use crate::history::History;

/// The deviation of the prior about 1.
const PRIOR: f64 = 1.0;
/// More events than this, and the newest are learned.
const MOST_EVENTS: usize = 16;
/// After one time only: the next may differ by this part.
const ONCE: f64 = 0.25;
/// No event adds more than so many times what was announced.
const LARGEST_SHARE: f64 = 10.0;

/// What the events of a history came to. `rest` is what the waves leave of its (filled) roots, `deviation` that of a shock, `scale` the load that counts as 1.
pub(super) fn responses(
    history: &History<'_>,
    rest: &[f64],
    process: &Process,
    deviation: f64,
    scale: f64,
) -> Vec<Response> {
    let events = history.events(MOST_EVENTS);
    if events.is_empty() || deviation <= 0.0 {
        return Vec::new();
    }
    estimate(history, rest, process, deviation, scale, &events).unwrap_or_default()
}

/// How far the next time may be from the mean of those that were: the coefficient alone would say how well that mean is known.
fn between(shares: &[f64], mean: f64) -> f64 {
    let count = shares.len() as f64;
    if shares.len() < 2 {
        return ONCE * mean;
    }
    let own = shares.iter().sum::<f64>() / count;
    (shares.iter().map(|share| (share - own).powi(2)).sum::<f64>() / (count - 1.0)).sqrt()
}

fn estimate(
    history: &History<'_>,
    rest: &[f64],
    process: &Process,
    deviation: f64,
    scale: f64,
    events: &[i64],
) -> Option<Vec<Response>> {
    let root = |value: f64| (value / scale).sqrt();
    let happened = |at: usize| history.happened.get(at).copied().flatten();
    let known = |at: usize| happened(at).filter(|happened| events.contains(&happened.announced.event));
    let observed: Vec<bool> = (0..rest.len()).map(|at| history.observed[at] || known(at).is_some()).collect();
    // The filled value is what there would have been: what the event added is beside it.
    let added = |at: usize| known(at).map_or(0.0, |happened| root(happened.measured) - root(history.values[at]));
    let values: Vec<f64> = rest.iter().enumerate().map(|(at, rest)| rest + added(at)).collect();
    let mut target = Vec::with_capacity(values.len());
    innovations(process, &values, &observed, &mut target)?;
    let mut filtered = Vec::with_capacity(events.len());
    // The largest factor each event was announced with.
    let mut largest = Vec::with_capacity(events.len());
    for event in events {
        let own = |at: usize| known(at).filter(|happened| happened.announced.event == *event);
        let factor = |at: usize| own(at).map_or(1.0, |happened| happened.announced.factor);
        let column: Vec<f64> = (0..rest.len()).map(|at| (factor(at).sqrt() - 1.0) * root(history.values[at])).collect();
        let mut out = Vec::with_capacity(column.len());
        innovations(process, &column, &observed, &mut out)?;
        filtered.push(out);
        largest.push((0..rest.len()).map(factor).fold(1.0, f64::max));
    }
    let precision = (deviation / PRIOR).powi(2);
    let width = events.len();
    let normal =
        DMatrix::from_fn(width, width, |i, j| dot(&filtered[i], &filtered[j]) + if i == j { precision } else { 0.0 });
    let right = DVector::from_fn(width, |i, _| dot(&filtered[i], &target) + precision);
    let factor = normal.cholesky()?;
    let (solved, inverse) = (factor.solve(&right), factor.inverse());
    let response = |(at, event): (usize, &i64)| {
        // From the root back to the load, at the factor that was announced.
        let (announced, rise) = (largest[at], largest[at].sqrt() - 1.0);
        let root = (1.0 + solved[at] * rise).max(0.0);
        let share = (root * root - 1.0) / (announced - 1.0);
        let spread = deviation * inverse[(at, at)].max(0.0).sqrt();
        let of_mean = 2.0 * root * rise * spread / (announced - 1.0);
        let share = share.clamp(0.0, LARGEST_SHARE);
        let deviation = of_mean.hypot(between(&history.shares(*event), share));
        (share.is_finite() && deviation.is_finite()).then_some(Response { event: *event, share, deviation })
    };
    Some(events.iter().enumerate().filter_map(response).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_time_is_as_uncertain_as_the_times_that_were_differ() {
        assert!((between(&[0.5, 1.0, 1.5], 1.0) - 0.5).abs() < 1e-12);
        assert_eq!(between(&[0.8, 0.8], 0.8), 0.0);
        assert_eq!((between(&[0.8], 0.8), between(&[], 0.8)), (0.2, 0.2));
    }
}
