//! What a spare is worth: a shadow that can come back in seconds against one that would have to be
//! launched.
//!
//! P(needed in the window) × shortfall × (launch lead − re-attach lead) × cost of being late > price of keeping it
//! for the window. Both are read off the forecast's quantiles: the probability as the least it can be, the shortfall as the
//! share of one instance that is missing without it, on average where it is needed.

use serde::{Deserialize, Serialize};

use super::needs::{instances_of, need_of};
use crate::evidence::Evidence;
use crate::policy::{Metric, Policy};

/// Price of an instance per hour where nobody told it, in the currency of `late_cost_per_hour`.
const USUAL_PRICE_PER_HOUR: f64 = 0.10;

/// Both sides of the rule, for people.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Worth {
    /// That it will be needed within the window.
    pub probability: f64,
    /// How much of an instance is missing without it where it is needed, on average; at most 1.
    pub shortfall: f64,
    /// What having it would save, on average.
    pub saves: f64,
    /// What keeping it for the window costs.
    pub costs: f64,
}

impl Worth {
    pub fn is_worth_it(&self) -> bool {
        self.saves > self.costs
    }
}

/// Worth of the spare that would be instance number `number` of those serving, at `price_per_hour`.
pub fn worth(now: i64, policy: &Policy, evidence: &Evidence, number: u32, price_per_hour: Option<f64>) -> Worth {
    let (probability, shortfall) = needed(now, policy, evidence, number);
    let sooner = policy.launch_lead_seconds.saturating_sub(policy.reattach_lead_seconds);
    let hours = |seconds: u32| f64::from(seconds) / 3_600.0;
    let price = price_of(price_per_hour);
    Worth {
        probability,
        shortfall,
        saves: probability * shortfall * hours(sooner) * policy.late_cost_per_hour,
        costs: price * hours(policy.shadow_window_seconds),
    }
}

/// A price that can be, or the usual one.
pub(super) fn price_of(price_per_hour: Option<f64>) -> f64 {
    price_per_hour.filter(|price| price.is_finite() && *price >= 0.0).unwrap_or(USUAL_PRICE_PER_HOUR)
}

/// Halvings of the gap between two levels: finer than any forecast is.
const HALVINGS: u32 = 8;

/// Levels above the one from which it is needed at which the shortfall is looked at.
const LOOKS: u32 = 8;

/// The least probability that `number` instances are needed within the shadow window, and how much of the last of them on
/// average then; all of it, surely, where no forecast says otherwise, since doubt keeps what it has. Of several metrics the one by
/// which it is missed most.
fn needed(now: i64, policy: &Policy, evidence: &Evidence, number: u32) -> (f64, f64) {
    let by_metric = policy
        .targets
        .iter()
        .map(|(metric, target)| by_metric(now, policy, evidence, (*metric, *target), number).unwrap_or((1.0, 1.0)));
    by_metric.fold((0.0, 0.0), |most, one| if one.0 * one.1 > most.0 * most.1 { one } else { most })
}

fn by_metric(
    now: i64,
    policy: &Policy,
    evidence: &Evidence,
    (metric, target): (Metric, f64),
    number: u32,
) -> Option<(f64, f64)> {
    let until = now + i64::from(policy.shadow_window_seconds) + i64::from(policy.launch_lead_seconds);
    let path = evidence.metrics.get(&metric).and_then(|found| found.forecast.as_ref())?;
    let demand = |level: f64| Some(path.highest(now, until, level)?.1);
    let is_needed = |level| Some(need_of(policy, evidence, metric, target, demand(level)?) >= number);
    let (mut below, mut above) = (*path.levels.first()?, *path.levels.last()?);
    let highest = above;
    if !is_needed(above)? {
        return Some((0.0, 0.0));
    }
    if is_needed(below)? {
        above = below;
    } else {
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(below, above);
            if is_needed(middle)? {
                above = middle;
            } else {
                below = middle;
            }
        }
    }
    let mut missing = 0.0;
    for look in 0..LOOKS {
        let level = above + (highest - above) * (f64::from(look) + 0.5) / f64::from(LOOKS);
        let wanted = instances_of(policy, evidence, metric, target, demand(level)?);
        missing += (wanted - f64::from(number.saturating_sub(1))).clamp(0.0, 1.0) / f64::from(LOOKS);
    }
    Some(((1.0 - above).clamp(0.0, 1.0), missing))
}
