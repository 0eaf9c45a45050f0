//! What a spare is worth: a shadow that can come back in seconds against one that would have to be
//! launched.
//!
//! P(needed in the window) × (launch lead − re-attach lead) × cost of being late > price of keeping it
//! for the window. The probability is read off the forecast's quantiles, as the least it can be.

use serde::{Deserialize, Serialize};

use super::needs::need_of;
use crate::evidence::Evidence;
use crate::policy::Policy;

/// Price of an instance per hour where nobody told it, in the currency of `late_cost_per_hour`.
const USUAL_PRICE_PER_HOUR: f64 = 0.10;

/// Both sides of the rule, for people.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Worth {
    /// That it will be needed within the window.
    pub probability: f64,
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
    let probability = probability_needed(now, policy, evidence, number);
    let sooner = policy.launch_lead_seconds.saturating_sub(policy.reattach_lead_seconds);
    let hours = |seconds: u32| f64::from(seconds) / 3_600.0;
    let price = price_of(price_per_hour);
    Worth {
        probability,
        saves: probability * hours(sooner) * policy.late_cost_per_hour,
        costs: price * hours(policy.shadow_window_seconds),
    }
}

/// A price that can be, or the usual one.
pub(super) fn price_of(price_per_hour: Option<f64>) -> f64 {
    price_per_hour.filter(|price| price.is_finite() && *price >= 0.0).unwrap_or(USUAL_PRICE_PER_HOUR)
}

/// Halvings of the gap between two levels: finer than any forecast is.
const HALVINGS: u32 = 8;

/// The least probability that `number` instances are needed within the shadow window; 1 where no
/// forecast says otherwise, since doubt keeps what it has.
fn probability_needed(now: i64, policy: &Policy, evidence: &Evidence, number: u32) -> f64 {
    let until = now + i64::from(policy.shadow_window_seconds) + i64::from(policy.launch_lead_seconds);
    let by_metric = policy.targets.iter().map(|(metric, target)| {
        let path = evidence.metrics.get(metric).and_then(|found| found.forecast.as_ref())?;
        let needed = |level: f64| {
            let (_, demand) = path.highest(now, until, level)?;
            Some(need_of(policy, evidence, *metric, *target, demand) >= number)
        };
        let (mut below, mut above) = (*path.levels.first()?, *path.levels.last()?);
        if needed(below)? {
            return Some(1.0 - below);
        }
        if !needed(above)? {
            return Some(0.0);
        }
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(below, above);
            if needed(middle)? {
                above = middle;
            } else {
                below = middle;
            }
        }
        Some(1.0 - above)
    });
    by_metric.map(|probability| probability.unwrap_or(1.0)).fold(0.0, f64::max).clamp(0.0, 1.0)
}
