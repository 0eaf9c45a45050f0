//! What the user wants of a group.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::bounds::Window;
pub use crate::metric::Metric;

/// How far Foreshadow may go in a group, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Plans are made and shown, nothing is done.
    #[default]
    Observe,
    /// May launch and re-attach.
    ScaleOut,
    /// May also detach and terminate.
    Full,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Observe => "observe",
            Self::ScaleOut => "scale-out",
            Self::Full => "full",
        })
    }
}

/// The policy of one group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    pub group: String,
    pub mode: Mode,
    pub minimum: u32,
    pub maximum: u32,
    /// Floors and ceilings that hold for a time, as far ahead as anybody looks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    /// One-sided quantile that is provisioned for.
    pub confidence: f64,
    /// Points an instance may be used, by metric; of a declared metric, how much of it one carries. Only metrics named
    /// here drive capacity.
    pub targets: BTreeMap<Metric, f64>,
    /// Lower ones for present demand, where it must not come close: what the forecast did not see comes too late for a
    /// launch. A metric without one is scaled by its target alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reactive_targets: BTreeMap<Metric, f64>,
    /// Nobody is taken away while a declared metric (errors, latency) is above this, has been within ten minutes, or is not told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub veto_above: BTreeMap<Metric, f64>,
    /// Capacity of an instance type relative to the reference type; 1 for types not named.
    pub weights: BTreeMap<String, f64>,
    /// Bits per second an instance type can carry, each way.
    pub bandwidth_bits: BTreeMap<String, f64>,
    /// Launch call → ready, until it is measured.
    pub launch_lead_seconds: u32,
    /// Evidence older than this is stale.
    pub fresh_seconds: u32,
    /// No scale-in for this long after the aggregator started.
    pub warm_up_seconds: u32,
    /// How far scale-in must look ahead: what is detached must not be needed within it.
    pub shadow_window_seconds: u32,
    /// A plan older than this is not carried out.
    pub valid_seconds: u32,
    /// Below this trust scale-in holds.
    pub minimum_trust: f64,
    /// Most instances one plan may add, as a share of those serving (at least 4).
    pub launch_share: f64,
    /// Re-attach call → healthy at the load balancer, until it is measured.
    pub reattach_lead_seconds: u32,
    /// What one instance missing for one hour costs, in the currency of the prices.
    pub late_cost_per_hour: f64,
    /// What a change costs by itself, in the currency of the prices: few large ones instead of many small. 0: nothing.
    #[serde(default)]
    pub change_cost: f64,
    /// Nobody may have talked to a shadow for this long before it is terminated.
    pub quiet_seconds: u32,
    /// What becomes of a shadow that is silent when its lease can be extended no more.
    pub silent_at_limit: AtLimit,
    /// Which foreign shadows become ours without an operator's word.
    pub adopt: Adopt,
    /// How an instance goes into shadow.
    #[serde(default)]
    pub shadow_by: ShadowBy,
    /// An instance that a termination hook holds is held on until its lease ends, to be measured.
    #[serde(default)]
    pub hold_terminating: bool,
    /// Most instances launched within an hour.
    pub launches_per_hour: u32,
    /// Most that everything of the group may cost, shadows included.
    pub spend_per_hour: Option<f64>,
    /// Most that may stand in shadow at once, draining ones and those of others included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadows_at_most: Option<u32>,
}

/// An instance is on its way for this long at least, seconds (Cluster Autoscaler's `max-node-provision-time`).
const ON_ITS_WAY_SECONDS: u32 = 900;

/// The window's maximum is taken at this quantile at least.
const SCALE_IN_QUANTILE: f64 = 0.95;

/// What becomes of a shadow at its hard limit when nothing speaks for its termination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtLimit {
    /// Left running, measured no more, with an alarm.
    #[default]
    Release,
    Terminate,
}

/// How an instance goes into shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShadowBy {
    /// Out of its group altogether.
    #[default]
    Detach,
    /// In its group, out of service (AWS: Standby).
    Standby,
}

/// Which foreign shadows are adopted by policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adopt {
    /// None but those an operator names.
    #[default]
    None,
    All,
}

/// A field of a policy that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyProblem {
    pub field: &'static str,
    pub problem: String,
}

impl Policy {
    /// The defaults: observe, CPU at 60 %, nine times in ten.
    pub fn new(group: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            mode: Mode::Observe,
            minimum: 1,
            maximum: 1_000,
            windows: Vec::new(),
            confidence: 0.90,
            targets: BTreeMap::from([(Metric::Cpu, 60.0)]),
            reactive_targets: BTreeMap::new(),
            veto_above: BTreeMap::new(),
            weights: BTreeMap::new(),
            bandwidth_bits: BTreeMap::new(),
            launch_lead_seconds: 300,
            fresh_seconds: 120,
            warm_up_seconds: 600,
            shadow_window_seconds: 3_600,
            valid_seconds: 60,
            minimum_trust: 0.2,
            launch_share: 1.0,
            reattach_lead_seconds: 60,
            late_cost_per_hour: 10.0,
            change_cost: 0.0,
            quiet_seconds: 600,
            silent_at_limit: AtLimit::Release,
            adopt: Adopt::None,
            shadow_by: ShadowBy::Detach,
            hold_terminating: false,
            launches_per_hour: 200,
            spend_per_hour: None,
            shadows_at_most: None,
        }
    }

    /// How sure scale-in must be of the window's maximum.
    pub fn scale_in_quantile(&self) -> f64 {
        self.confidence.max(SCALE_IN_QUANTILE)
    }

    /// Until when nobody may be missed who goes now: the shadow window, and the launch of another after it.
    pub fn scale_in_until(&self, now: i64) -> i64 {
        now + i64::from(self.shadow_window_seconds) + i64::from(self.launch_lead_seconds)
    }

    /// What an instance may be used by present demand, points.
    pub fn reactive_target(&self, metric: Metric, target: f64) -> f64 {
        self.reactive_targets.get(&metric).map_or(target, |lower| lower.min(target))
    }

    /// For how long an instance that warms up is on its way, seconds: fifteen minutes, or twice the lead where launches
    /// take longer. Later it is not to be counted on.
    pub fn on_its_way_seconds(&self) -> u32 {
        ON_ITS_WAY_SECONDS.max(self.launch_lead_seconds.saturating_mul(2))
    }

    /// Weight of an instance type for a metric: by bandwidth for network, by capacity otherwise.
    /// `None` when the type's bandwidth is not known.
    pub fn weight(&self, metric: Metric, instance_type: Option<&str>) -> Option<f64> {
        if metric.is_network() {
            let reference = self.bandwidth_bits.values().copied().reduce(f64::max)?;
            let own = self.bandwidth_bits.get(instance_type?)?;
            return Some(own / reference);
        }
        Some(instance_type.and_then(|name| self.weights.get(name)).copied().unwrap_or(1.0))
    }

    /// Every field that contradicts itself or another.
    pub fn problems(&self) -> Vec<PolicyProblem> {
        let mut problems = Vec::new();
        let mut wrong = |field, problem| problems.push(PolicyProblem { field, problem });
        if self.minimum > self.maximum {
            wrong("minimum", format!("{} is above maximum = {}", self.minimum, self.maximum));
        }
        if !(0.5..=0.99).contains(&self.confidence) {
            wrong("confidence", format!("{} is not in [0.5, 0.99]", self.confidence));
        }
        for (metric, target) in &self.targets {
            if !metric.targets().contains(target) {
                let (least, most) = metric.targets().into_inner();
                let unit = if metric.is_custom() { "" } else { " %" };
                wrong("targets", format!("{metric} = {target} is not in {least} to {most}{unit}"));
            }
            if metric.is_network() && self.bandwidth_bits.is_empty() {
                wrong("bandwidth_bits", format!("the target for {metric} needs the bandwidth of each instance type"));
            }
        }
        for (metric, lower) in &self.reactive_targets {
            let target = self.targets.get(metric);
            let least = *metric.targets().start();
            if !target.is_some_and(|target| (least..=*target).contains(lower)) {
                wrong("reactive_targets", format!("{metric} = {lower} is not in {least} to its target"));
            }
        }
        for (metric, limit) in &self.veto_above {
            if !(metric.is_custom() && limit.is_finite() && *limit >= 0.0) {
                wrong("veto_above", format!("{metric} = {limit} is not zero or more of a metric of your own"));
            }
        }
        if !(self.change_cost.is_finite() && self.change_cost >= 0.0) {
            wrong("change_cost", format!("{} is not zero or more", self.change_cost));
        }
        if self.weights.values().any(|weight| !(weight.is_finite() && *weight > 0.0)) {
            wrong("weights", "must be above zero".to_owned());
        }
        if !(0.0..=1.0).contains(&self.minimum_trust) {
            wrong("minimum_trust", format!("{} is not in [0, 1]", self.minimum_trust));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_have_no_problems_and_contradictions_are_all_named() {
        assert_eq!(Policy::new("web").problems(), []);
        let mut policy = Policy::new("web");
        policy.minimum = 9;
        policy.maximum = 3;
        policy.confidence = 1.5;
        policy.targets.insert(Metric::NetworkIn, 0.0);
        let fields: Vec<_> = policy.problems().into_iter().map(|problem| problem.field).collect();
        assert_eq!(fields, ["minimum", "confidence", "targets", "bandwidth_bits"]);
    }

    #[test]
    fn modes_are_ordered_by_power() {
        assert!(Mode::Observe < Mode::ScaleOut && Mode::ScaleOut < Mode::Full);
    }

    fn wrong(change: impl FnOnce(&mut Policy)) -> Vec<&'static str> {
        let mut policy = Policy::new("web");
        change(&mut policy);
        policy.problems().into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn what_can_be_is_no_problem_up_to_its_ends() {
        assert_eq!(wrong(|it| it.minimum = it.maximum), [""; 0]);
        for confidence in [0.5, 0.99] {
            assert_eq!(wrong(|it| it.confidence = confidence), [""; 0], "{confidence}");
        }
        for trust in [0.0, 1.0] {
            assert_eq!(wrong(|it| it.minimum_trust = trust), [""; 0], "{trust}");
        }
        assert_eq!(wrong(|it| it.change_cost = 0.5), [""; 0]);
        assert_eq!(wrong(|it| it.weights.extend([("m5.large".to_owned(), 2.0)])), [""; 0]);
        for lower in [1.0, 60.0] {
            assert_eq!(wrong(|it| it.reactive_targets.extend([(Metric::Cpu, lower)])), [""; 0], "{lower}");
        }
        let known = wrong(|it| {
            it.targets.insert(Metric::NetworkIn, 50.0);
            it.bandwidth_bits.insert("m5.large".to_owned(), 1e10);
        });
        assert_eq!(known, [""; 0]);
        let errors = Metric::declare("errors_of_policy").expect("a name");
        assert_eq!(wrong(|it| it.veto_above.extend([(errors, 0.0)])), [""; 0]);
        assert_eq!(wrong(|it| it.targets.extend([(errors, 250.0)])), [""; 0], "no share of an instance");
    }

    #[test]
    fn what_cannot_be_is_named_alone() {
        assert_eq!(wrong(|it| it.minimum = it.maximum + 1), ["minimum"]);
        for confidence in [0.49, 0.995, f64::NAN] {
            assert_eq!(wrong(|it| it.confidence = confidence), ["confidence"], "{confidence}");
        }
        for trust in [-0.1, 1.1, f64::NAN] {
            assert_eq!(wrong(|it| it.minimum_trust = trust), ["minimum_trust"], "{trust}");
        }
        for cost in [-1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(wrong(|it| it.change_cost = cost), ["change_cost"], "{cost}");
        }
        for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let fields = wrong(|it| {
                it.weights.insert("m5.large".to_owned(), weight);
                it.weights.insert("c5.large".to_owned(), 1.0);
            });
            assert_eq!(fields, ["weights"], "{weight}");
        }
        for target in [0.5, 96.0, f64::NAN] {
            assert_eq!(wrong(|it| it.targets.extend([(Metric::Memory, target)])), ["targets"], "{target}");
        }
        assert_eq!(wrong(|it| it.targets.extend([(Metric::NetworkIn, 50.0)])), ["bandwidth_bits"]);
        for (metric, lower) in [(Metric::Cpu, 0.5), (Metric::Cpu, 60.1), (Metric::Memory, 50.0)] {
            assert_eq!(wrong(|it| it.reactive_targets.extend([(metric, lower)])), ["reactive_targets"], "{lower}");
        }
        let errors = Metric::declare("errors_of_policy").expect("a name");
        for (metric, limit) in [(Metric::Cpu, 5.0), (errors, -1.0), (errors, f64::NAN), (errors, f64::INFINITY)] {
            assert_eq!(wrong(|it| it.veto_above.extend([(metric, limit)])), ["veto_above"], "{limit}");
        }
    }

    #[test]
    fn the_unit_of_a_target_is_told_where_it_has_one() {
        let rate = Metric::declare("rate_of_policy").expect("a name");
        for (metric, percent) in [(Metric::Cpu, true), (rate, false)] {
            let mut policy = Policy::new("web");
            policy.targets = BTreeMap::from([(metric, -1.0)]);
            let problems = policy.problems();
            assert_eq!(problems.len(), 1, "{metric}");
            assert_eq!(problems.iter().any(|it| it.problem.ends_with(" %")), percent, "{metric}");
        }
    }

    #[test]
    fn scale_in_is_never_less_sure_than_nineteen_in_twenty() {
        for (confidence, sure) in [(0.5, 0.95), (0.95, 0.95), (0.99, 0.99)] {
            let policy = Policy { confidence, ..Policy::new("web") };
            assert_eq!(policy.scale_in_quantile(), sure);
        }
    }

    #[test]
    fn the_target_of_present_demand_is_the_lower_one() {
        let mut policy = Policy::new("web");
        assert_eq!(policy.reactive_target(Metric::Cpu, 60.0), 60.0);
        policy.reactive_targets.insert(Metric::Cpu, 50.0);
        // A plan may be asked for another target than the policy's.
        assert_eq!(
            (policy.reactive_target(Metric::Cpu, 60.0), policy.reactive_target(Metric::Cpu, 40.0)),
            (50.0, 40.0)
        );
    }

    #[test]
    fn on_its_way_is_a_quarter_of_an_hour_or_twice_the_lead() {
        for (lead, seconds) in [(60, 900), (450, 900), (600, 1_200), (u32::MAX, u32::MAX)] {
            let policy = Policy { launch_lead_seconds: lead, ..Policy::new("web") };
            assert_eq!(policy.on_its_way_seconds(), seconds);
        }
    }

    #[test]
    fn weight_is_bandwidth_for_the_network_and_capacity_otherwise() {
        let mut policy = Policy::new("web");
        policy.weights.insert("m5.large".to_owned(), 2.0);
        policy.bandwidth_bits = BTreeMap::from([("m5.large".to_owned(), 5e9), ("m5.2xlarge".to_owned(), 10e9)]);
        for metric in [Metric::NetworkIn, Metric::NetworkOut] {
            assert_eq!(policy.weight(metric, Some("m5.large")), Some(0.5));
            assert_eq!(policy.weight(metric, Some("c5.large")), None, "not known");
        }
        for metric in [Metric::Cpu, Metric::Memory] {
            assert_eq!(policy.weight(metric, Some("m5.large")), Some(2.0));
            assert_eq!(policy.weight(metric, None), Some(1.0));
        }
    }
}
