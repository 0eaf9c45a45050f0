//! How many instances each metric asks for: now, ahead, and over the shadow window.

use serde::{Deserialize, Serialize};

use super::spare::price_of;
use crate::capacity;
use crate::demand::{Demand, InstanceMode};
use crate::evidence::{Evidence, Forecast, Instance, Inventory, MetricEvidence};
use crate::policy::{Metric, Policy};
use crate::rule;

/// Need for one metric, instances of the mean weight that serves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricNeeds {
    pub metric: Metric,
    /// Present demand net of the baseline, points of the reference instance.
    pub demand: Option<f64>,
    /// Idle baseline in use, points.
    pub baseline: f64,
    /// For present demand.
    pub reactive: Option<u32>,
    /// For the forecast at the policy's confidence over the launch lead and one step.
    pub ahead: Option<u32>,
    /// For what is needed soon after, as far as bringing it forward costs less than another change would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub later: Option<u32>,
    /// For the highest forecast over the shadow window, at 95 % or the confidence if higher.
    pub window: Option<u32>,
    /// For present demand as if idle instances used nothing.
    pub without_baseline: Option<u32>,
    pub trust: f64,
    /// Names of the events that raise the demand `ahead` is needed for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// Names of the events that raise the demand `window` is needed for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub window_events: Vec<String>,
}

impl MetricNeeds {
    /// Whether so many that serve meet present demand, also as if idle instances used nothing, and the highest forecast over the
    /// window. What is not known is not met.
    pub fn met_by(&self, serving: u32) -> bool {
        let known = self.reactive.zip(self.window).zip(self.without_baseline);
        known.is_some_and(|((now, window), plain)| serving >= now.max(window).max(plain))
    }

    const fn unknown(metric: Metric) -> Self {
        Self {
            metric,
            demand: None,
            baseline: 0.0,
            reactive: None,
            ahead: None,
            later: None,
            window: None,
            without_baseline: None,
            trust: 0.0,
            events: Vec::new(),
            window_events: Vec::new(),
        }
    }
}

/// One entry per metric with a target.
pub(super) fn of_all(now: i64, policy: &Policy, evidence: &Evidence) -> Vec<MetricNeeds> {
    policy.targets.iter().map(|(metric, target)| of_metric(now, policy, evidence, *metric, *target)).collect()
}

fn of_metric(now: i64, policy: &Policy, evidence: &Evidence, metric: Metric, target: f64) -> MetricNeeds {
    let Some(found) = evidence.metrics.get(&metric) else { return MetricNeeds::unknown(metric) };
    let weight = mean_weight(policy, evidence, metric);
    let baseline = baseline_points(metric, found, target);
    let need = |demand: f64| need_of(policy, evidence, metric, target, demand);
    let forecast = found.forecast.as_ref();
    let lead = i64::from(policy.launch_lead_seconds);
    let ahead = forecast.and_then(|path| {
        let until = (now + lead + i64::from(path.step_seconds)).min(path.until());
        path.highest(now, until, policy.confidence)
    });
    let window = forecast.and_then(|path| window_maximum(now, policy, path));
    let events_of = |highest: Option<(usize, f64)>| {
        forecast.zip(highest).map_or_else(Vec::new, |(path, (step, _))| path.events_of(step))
    };
    MetricNeeds {
        metric,
        demand: found.demand.map(|demand| demand.net(baseline)),
        baseline,
        reactive: found.demand.map(|demand| reactive(policy, evidence, metric, target, &demand, found)),
        ahead: ahead.map(|(_, demand)| need(demand)),
        later: forecast
            .zip(ahead)
            .and_then(|(path, (_, demand))| brought_forward(now, policy, evidence, path, need(demand), need)),
        window: window.map(|(_, demand)| need(demand)),
        without_baseline: found.demand.map(|demand| capacity::need_without_baseline(demand.gross, target, weight)),
        trust: forecast.map_or(0.0, |path| if path.trust.is_finite() { path.trust.clamp(0.0, 1.0) } else { 0.0 }),
        events: events_of(ahead),
        window_events: events_of(window),
    }
}

/// Need for present demand, by a lower target where the policy has one.
fn reactive(
    policy: &Policy,
    evidence: &Evidence,
    metric: Metric,
    target: f64,
    demand: &Demand,
    found: &MetricEvidence,
) -> u32 {
    let lower = policy.reactive_target(metric, target);
    // A baseline that is too much for the lower target is not believed there.
    let baseline = baseline_points(metric, found, lower);
    capacity::need(demand.net(baseline), lower, baseline, mean_weight(policy, evidence, metric))
}

/// How many to have at once, where another change soon after would cost more than having them earlier. `None` where a change
/// costs nothing, or the forecast ends.
fn brought_forward(
    now: i64,
    policy: &Policy,
    evidence: &Evidence,
    path: &Forecast,
    ahead: u32,
    need: impl Fn(f64) -> u32,
) -> Option<u32> {
    if policy.change_cost <= 0.0 {
        return None;
    }
    let ready = now + i64::from(policy.launch_lead_seconds);
    let last = path.step_of(ready + i64::from(policy.shadow_window_seconds) - 1)?;
    let price = price_of(evidence.conditions.price_per_hour);
    let (mut most, mut spent) = (ahead, 0.0);
    for step in path.step_of(ready)?..=last {
        let needed = need(path.demand(step, policy.confidence)?);
        let starts = path.start + i64::from(path.step_seconds) * i64::try_from(step).ok()?;
        #[allow(clippy::cast_precision_loss, reason = "seconds within a window")]
        let early = (starts - ready).max(0) as f64 / 3_600.0;
        spent += f64::from(needed.saturating_sub(most)) * price * early;
        if spent > policy.change_cost {
            break;
        }
        most = most.max(needed);
    }
    Some(most)
}

/// Instances of the serving mean weight that carry a net demand of `metric`, points.
pub fn need_of(policy: &Policy, evidence: &Evidence, metric: Metric, target: f64, demand: f64) -> u32 {
    let baseline = evidence.metrics.get(&metric).map_or(0.0, |found| baseline_points(metric, found, target));
    capacity::need(demand, target, baseline, mean_weight(policy, evidence, metric))
}

/// The same as a figure: 2.5 are two and a half.
pub(super) fn instances_of(policy: &Policy, evidence: &Evidence, metric: Metric, target: f64, demand: f64) -> f64 {
    let baseline = evidence.metrics.get(&metric).map_or(0.0, |found| baseline_points(metric, found, target));
    demand / (mean_weight(policy, evidence, metric) * (target - baseline))
}

/// The baseline in use. One that cannot be (above half the target, or above what serving instances
/// use) is not trimmed but not believed at all: it is zero, which only buys.
pub(super) fn baseline_points(metric: Metric, found: &MetricEvidence, target: f64) -> f64 {
    // A load of its own unit has no idle part.
    if metric.is_custom() {
        return 0.0;
    }
    let points = found.baseline.points;
    let in_use =
        found.demand.map_or(0.0, |demand| if demand.weight > 0.0 { demand.gross / demand.weight } else { 0.0 });
    if points.is_finite() && (0.0..=target / 2.0).contains(&points) && points <= in_use { points } else { 0.0 }
}

/// Mean capacity of the serving instances for a metric; 1 when none serves.
fn mean_weight(policy: &Policy, evidence: &Evidence, metric: Metric) -> f64 {
    let serving = evidence.inventory.instances.iter().filter(|instance| instance.mode == InstanceMode::Serving);
    let (mut sum, mut count) = (0.0, 0.0);
    for weight in serving.filter_map(|instance| capacity_of(policy, &evidence.inventory, metric, instance)) {
        sum += weight;
        count += 1.0;
    }
    if count > 0.0 { sum / count } else { 1.0 }
}

/// What an instance carries relative to the reference type: its type's weight, less what its host gives to others. What is
/// stolen lowers capacity, not demand. `None` when its type's bandwidth is not known.
pub(super) fn capacity_of(policy: &Policy, inventory: &Inventory, metric: Metric, instance: &Instance) -> Option<f64> {
    let weight = policy.weight(metric, instance.instance_type.as_deref())?;
    let left = if metric == Metric::Cpu { 1.0 - inventory.stolen_from(&instance.id) / 100.0 } else { 1.0 };
    Some(weight * left)
}

/// The capacity of those that serve, and how much of it present demand and the shadow window leave free for scale-in
/// at the trust there is. `None` where something of it is not known.
pub(super) fn spare_capacity(now: i64, policy: &Policy, evidence: &Evidence, metric: Metric) -> Option<(f64, f64)> {
    let target = *policy.targets.get(&metric)?;
    let found = evidence.metrics.get(&metric)?;
    let (demand, path) = (found.demand?, found.forecast.as_ref()?);
    let serving = evidence.inventory.instances.iter().filter(|instance| instance.mode == InstanceMode::Serving);
    let there: f64 = serving.filter_map(|it| capacity_of(policy, &evidence.inventory, metric, it)).sum();
    let carries = |target: f64, demand: &dyn Fn(f64) -> f64| {
        let baseline = baseline_points(metric, found, target);
        demand(baseline) / (target - baseline)
    };
    let lower = policy.reactive_target(metric, target);
    let present = carries(lower, &|baseline| demand.net(baseline));
    let (_, highest) = window_maximum(now, policy, path)?;
    let followed = rule::boldness(path.trust) * (there - present.max(carries(target, &|_| highest)));
    // Whatever the baseline: as if idle instances used nothing.
    Some((there, followed.min(there - demand.gross / target)))
}

/// The highest demand over the shadow window that scale-in reckons with, points, and the step that has it.
fn window_maximum(now: i64, policy: &Policy, path: &Forecast) -> Option<(usize, f64)> {
    let (until, quantile) = (policy.scale_in_until(now), policy.scale_in_quantile());
    let (step, highest) = path.highest(now, until, quantile)?;
    // What is sure enough of each step may not be so of all of them; which holds for the window is learned apart, where it can be.
    let learned = path.window_maximum.filter(|it| it.until >= until && it.quantile >= quantile - 1e-9);
    let learned = learned.map_or(highest, |it| it.demand);
    learned.is_finite().then(|| (step, highest.max(learned)))
}

/// The metric that asks for most; the first of equals, so that the answer does not flicker.
pub(super) fn binding(needs: &[MetricNeeds]) -> Option<Metric> {
    let most = |need: &MetricNeeds| need.reactive.max(need.ahead);
    let highest = needs.iter().filter_map(most).max()?;
    needs.iter().find(|need| most(need) == Some(highest)).map(|need| need.metric)
}
