//! Everything a plan is made from, with its age and completeness. Nothing in it is a guess: what
//! is not known is absent.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::baseline::{Baseline, Doubt};
use crate::demand::{Demand, InstanceMode};
use crate::policy::{Metric, Policy};

/// What is known of a group at one time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Evidence {
    pub inventory: Inventory,
    /// By metric; only metrics that were measured.
    pub metrics: BTreeMap<Metric, MetricEvidence>,
    pub conditions: Conditions,
}

/// Who is in the group.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Inventory {
    /// Every page was read and every source answered.
    pub complete: bool,
    pub age_seconds: u32,
    pub instances: Vec<Instance>,
    /// Launched or re-attached by us and not shown yet: they are on their way like those that warm up.
    pub expected: u32,
    /// The zones the group launches into; empty where nobody says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<String>,
    /// The provider evens the zones out by itself, and ends instances where there are too many (AZRebalance).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub evens_zones: bool,
    /// By what the group picks who goes, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub termination: Vec<Pick>,
    /// Those that were launched from another version than the group would launch now.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub old_versions: BTreeSet<String>,
    /// Percent of an instance's processor time that its host gave to others lately (CPU steal), by instance; who lost
    /// nothing is left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stolen: BTreeMap<String, f64>,
    /// Burstable instances whose CPU credits would not last for another hour at what they spend now.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub short_of_credits: BTreeSet<String>,
    /// Price per hour by instance type, of the types that are there and have one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prices: BTreeMap<String, f64>,
}

impl Inventory {
    /// Percent of its processor time that an instance was robbed of. What cannot be is all of it: it carries nothing.
    pub fn stolen_from(&self, instance: &str) -> f64 {
        let stolen = self.stolen.get(instance).copied().unwrap_or_default();
        if stolen.is_finite() { stolen.clamp(0.0, 100.0) } else { 100.0 }
    }

    /// The instance types of those that are there and have no price; one that is not told is called so.
    pub fn unpriced(&self) -> Vec<String> {
        let there = self.instances.iter().filter(|instance| instance.mode != InstanceMode::Gone);
        let kinds: BTreeSet<Option<&str>> = there.map(|instance| instance.instance_type.as_deref()).collect();
        let without = kinds.into_iter().filter(|kind| kind.is_none_or(|name| !self.prices.contains_key(name)));
        without.map(|kind| kind.unwrap_or("a type that is not told").to_owned()).collect()
    }
}

/// By what a group picks who goes, among those in the zone that has most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pick {
    /// Those of an old version before those of the present one.
    OldVersion,
    /// Who has served longest.
    Oldest,
    /// Who has served for the shortest time.
    Newest,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    pub id: String,
    pub instance_type: Option<String>,
    pub zone: Option<String>,
    pub mode: InstanceMode,
    /// Since when it is in this mode.
    pub since: i64,
    /// Protected from scale-in.
    pub protected: bool,
    /// What is known of it as a detached instance.
    pub shadow: Option<Shadow>,
}

/// A detached instance under measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    pub origin: Origin,
    /// End of its lease by the wall clock, seconds since the epoch.
    pub until: i64,
    /// The lease is over by the wall clock *and* by the clock that counts since boot.
    pub lease_over: bool,
    /// No extension goes beyond this, seconds since the epoch.
    pub hard_limit: i64,
    /// Why it cannot be re-attached; empty when it is fit.
    pub unfit: Vec<Unfit>,
    /// Age of its newest sample; absent when it is silent.
    pub sample_age_seconds: Option<u32>,
    /// How long its network has been at its own baseline: nobody talks to it.
    pub quiet_seconds: u32,
    pub price_per_hour: Option<f64>,
    /// It stands in its group, out of service: in standby, not detached.
    #[serde(default)]
    pub in_group: bool,
    /// Its provider ends it: a termination hook holds it, or its group has given it up and retains it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ending: bool,
}

/// Who took an instance out of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    Ours,
    Foreign,
}

/// Why a shadow would not do in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unfit {
    Silent,
    /// Its probe is not green.
    NotReady,
    /// It was launched from another version than the group would be now.
    OldVersion,
    /// Which version it or its group has is not known.
    UnknownVersion,
    /// Its group is being deployed: which version it will have is not known yet.
    Deploying,
    /// Bringing it back was refused lately; it is tried again later.
    Refused,
}

impl Shadow {
    /// It could serve again, and is ours to bring back.
    pub fn is_fit(&self) -> bool {
        self.origin == Origin::Ours && self.unfit.is_empty()
    }
}

/// One metric of a group.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MetricEvidence {
    /// Present demand; absent while nothing serving reports.
    pub demand: Option<Demand>,
    pub age_seconds: u32,
    /// Highest gross demand of the minutes within the last forecast step, points: what the forecast,
    /// which is of the highest minute of a step, is to be compared with.
    pub highest_lately: Option<f64>,
    pub baseline: Baseline,
    pub baseline_doubt: Option<Doubt>,
    pub forecast: Option<Forecast>,
}

/// Quantile paths of net demand: the highest one-minute demand within each step.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Forecast {
    /// Start of the first step.
    pub start: i64,
    pub step_seconds: u32,
    /// Ascending.
    pub levels: Vec<f64>,
    /// `[level][step]`, points.
    pub paths: Vec<Vec<f64>>,
    pub model: String,
    pub trained_at: i64,
    /// In [0, 1].
    pub trust: f64,
    /// Share of past demand below the upper quantile that is provisioned for.
    pub measured_coverage: Option<f64>,
    pub nominal_coverage: f64,
    /// The quantile of the maximum over what scale-in looks ahead, learned as such; absent while the past was too short to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_maximum: Option<WindowMaximum>,
    /// What raised the paths beyond what was learned from the past.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<ForecastEvent>,
}

/// A quantile of the largest one-minute demand of a whole window: no chain of the steps' quantiles has it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WindowMaximum {
    /// End of the window that begins now, seconds since the epoch.
    pub until: i64,
    pub quantile: f64,
    /// Points.
    pub demand: f64,
}

/// An event that raises the forecast in `[from, until)`, seconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForecastEvent {
    pub name: String,
    pub from: i64,
    pub until: i64,
}

impl Evidence {
    /// The same with every forecast cut behind what a plan of `now` can look at: it gives the same plan.
    pub fn within_sight(&self, now: i64, policy: &Policy) -> Self {
        let mut seen = self.clone();
        for forecast in seen.metrics.values_mut().filter_map(|found| found.forecast.as_mut()) {
            let ahead = policy.shadow_window_seconds.max(forecast.step_seconds);
            forecast.cut(now + i64::from(policy.launch_lead_seconds) + i64::from(ahead));
        }
        seen
    }
}

impl Forecast {
    /// Drops every step after the one that holds `until`.
    fn cut(&mut self, until: i64) {
        let Some(last) = self.step_of(until) else { return };
        for path in &mut self.paths {
            path.truncate(last + 1);
        }
        let end = self.until();
        self.events.retain(|event| event.from < end);
    }

    /// Number of steps.
    pub fn steps(&self) -> usize {
        self.paths.first().map_or(0, Vec::len)
    }

    /// End of the last step.
    pub fn until(&self) -> i64 {
        self.start + i64::from(self.step_seconds) * i64::try_from(self.steps()).unwrap_or_default()
    }

    /// Index of the step that holds `at`; the first step also answers for the time before it.
    pub fn step_of(&self, at: i64) -> Option<usize> {
        let offset = (at - self.start).max(0).checked_div(i64::from(self.step_seconds))?;
        usize::try_from(offset).ok().filter(|step| *step < self.steps())
    }

    /// Demand at a step and quantile, linear between levels and flat outside them, points.
    pub fn demand(&self, step: usize, quantile: f64) -> Option<f64> {
        let at = |index: usize| Some((*self.levels.get(index)?, *self.paths.get(index)?.get(step)?));
        let above = self.levels.iter().position(|level| *level >= quantile - 1e-12);
        let value = match above {
            None => at(self.levels.len().checked_sub(1)?)?.1,
            Some(0) => at(0)?.1,
            Some(index) => {
                let (low, from) = at(index - 1)?;
                let (high, to) = at(index)?;
                from + (to - from) * (quantile - low) / (high - low)
            }
        };
        value.is_finite().then_some(value)
    }

    /// Highest demand at the quantile over the steps that overlap `[from, to)`, and the first step
    /// that has it. `None` when the window is not wholly within the forecast.
    pub fn highest(&self, from: i64, to: i64, quantile: f64) -> Option<(usize, f64)> {
        let (first, last) = (self.step_of(from)?, self.step_of((to - 1).max(from))?);
        let highest = |most: (usize, f64), step| {
            let value = self.demand(step, quantile)?;
            Some(if value > most.1 { (step, value) } else { most })
        };
        (first..=last).try_fold((first, 0.0), highest)
    }

    /// Names of the events that raise a step, each once.
    pub fn events_of(&self, step: usize) -> Vec<String> {
        let start = |step| self.start + i64::from(self.step_seconds) * i64::try_from(step).unwrap_or_default();
        let (from, to) = (start(step), start(step + 1));
        let here = self.events.iter().filter(|event| event.from < to && from < event.until);
        here.map(|event| event.name.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// How low the provider's own scale-in may go (AWS: `MinSize`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    pub now: u32,
    /// What the user gave: it never goes below.
    pub own: u32,
}

/// What those that serve use now, each on average, as shares of the median of the hours before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pulse {
    pub cpu: f64,
    /// Packets both ways.
    pub network: f64,
}

/// What else is going on. The default is that nothing is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Conditions {
    pub started_seconds_ago: u32,
    pub paused: bool,
    pub deploying: bool,
    /// The provider did not say whether it scales in or deploys.
    pub untold: bool,
    pub foreign_scale_in: bool,
    /// How low the provider's own scale-in may go; absent where the provider has no such bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Floor>,
    pub not_owner: bool,
    pub clock_jumped: bool,
    pub launches_failing: bool,
    /// Launches failed: none is tried before this, seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_again_at: Option<i64>,
    /// Absent until the hours before are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulse: Option<Pulse>,
    /// Of each metric that has a veto, the highest of the last ten minutes; one that is not told now is left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vetoes: BTreeMap<Metric, f64>,
    /// Mean memory in use on those that serve, percent; absent where nobody tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_percent: Option<f64>,
    pub agents_unauthenticated: bool,
    /// The group is known from its agents' claim alone.
    pub claimed: bool,
    /// Share of all groups that want to scale in now, and whether that is too many.
    pub common_cause: bool,
    /// A change of ours is under way: what it does is not to be seen yet.
    pub changing: bool,
    /// Most that may be detached now, by the pace at which machines may go; absent: nothing limits it.
    pub detachable: Option<u32>,
    /// Most that may be terminated now.
    pub terminable: Option<u32>,
    /// Launched by us within the last hour.
    pub launched_last_hour: u32,
    /// What everything of the group costs now, shadows included, per hour; absent when prices are not known.
    pub cost_per_hour: Option<f64>,
    /// What one more would cost at most, per hour.
    pub price_per_hour: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(instance_type: Option<&str>, mode: InstanceMode) -> Instance {
        Instance {
            id: "i-1".to_owned(),
            instance_type: instance_type.map(str::to_owned),
            zone: None,
            mode,
            since: 0,
            protected: false,
            shadow: None,
        }
    }

    /// Four steps of five minutes from 1000 on, at two levels.
    fn rising() -> Forecast {
        Forecast {
            start: 1_000,
            step_seconds: 300,
            levels: vec![0.5, 0.9],
            paths: vec![vec![10.0, 40.0, 30.0, 20.0], vec![20.0, 80.0, 60.0, 40.0]],
            ..Forecast::default()
        }
    }

    fn event(name: &str, from: i64, until: i64) -> ForecastEvent {
        ForecastEvent { name: name.to_owned(), from, until }
    }

    #[test]
    fn what_is_stolen_is_a_share_and_what_cannot_be_is_all_of_it() {
        for (told, stolen) in [
            (12.5, 12.5),
            (-5.0, 0.0),
            (130.0, 100.0),
            (f64::NAN, 100.0),
            (f64::INFINITY, 100.0),
            (f64::NEG_INFINITY, 100.0),
        ] {
            let inventory = Inventory { stolen: BTreeMap::from([("i-1".to_owned(), told)]), ..Inventory::default() };
            assert_eq!((inventory.stolen_from("i-1"), inventory.stolen_from("i-2")), (stolen, 0.0), "{told}");
        }
    }

    #[test]
    fn types_that_are_there_and_have_no_price_are_named_once() {
        let serving = |kind| instance(kind, InstanceMode::Serving);
        let inventory = Inventory {
            instances: vec![
                serving(Some("m5.large")),
                serving(Some("c5.large")),
                serving(Some("c5.large")),
                serving(None),
                instance(Some("r5.large"), InstanceMode::Gone),
            ],
            prices: BTreeMap::from([("m5.large".to_owned(), 0.1)]),
            ..Inventory::default()
        };
        assert_eq!(inventory.unpriced(), ["a type that is not told", "c5.large"]);
    }

    #[test]
    fn only_ours_with_nothing_against_it_is_fit() {
        let fit = |origin, unfit| {
            let shadow = Shadow {
                origin,
                until: 0,
                lease_over: false,
                hard_limit: 0,
                unfit,
                sample_age_seconds: None,
                quiet_seconds: 0,
                price_per_hour: None,
                in_group: false,
                ending: false,
            };
            shadow.is_fit()
        };
        assert!(fit(Origin::Ours, vec![]));
        assert!(!fit(Origin::Foreign, vec![]));
        for why in
            [Unfit::Silent, Unfit::NotReady, Unfit::OldVersion, Unfit::UnknownVersion, Unfit::Deploying, Unfit::Refused]
        {
            assert!(!fit(Origin::Ours, vec![why]), "{why:?}");
        }
    }

    #[test]
    fn a_step_answers_for_its_own_time_and_the_first_for_what_was_before() {
        let forecast = rising();
        for (at, step) in
            [(0, Some(0)), (1_000, Some(0)), (1_299, Some(0)), (1_300, Some(1)), (2_199, Some(3)), (2_200, None)]
        {
            assert_eq!(forecast.step_of(at), step, "{at}");
        }
        assert_eq!(Forecast { step_seconds: 0, ..rising() }.step_of(1_000), None);
    }

    #[test]
    fn demand_is_linear_between_levels_and_flat_outside() {
        let forecast = rising();
        for (quantile, demand) in [(0.1, 10.0), (0.5, 10.0), (0.7, 15.0), (0.9, 20.0), (0.99, 20.0)] {
            let told = forecast.demand(0, quantile).expect("a step");
            assert!((told - demand).abs() < 1e-9, "{quantile}: {told}");
        }
        assert_eq!(forecast.demand(4, 0.5), None);
        for nothing in [f64::NAN, f64::INFINITY] {
            assert_eq!(Forecast { paths: vec![vec![nothing]; 2], ..rising() }.demand(0, 0.5), None);
        }
    }

    #[test]
    fn the_highest_of_a_window_is_the_first_of_the_steps_it_overlaps() {
        let forecast = rising();
        assert_eq!(forecast.highest(1_000, 2_200, 0.5), Some((1, 40.0)));
        assert_eq!(forecast.highest(1_000, 1_300, 0.5), Some((0, 10.0)), "its end is not in it");
        assert_eq!(forecast.highest(1_000, 1_301, 0.5), Some((1, 40.0)));
        assert_eq!(forecast.highest(1_600, 2_200, 0.5), Some((2, 30.0)));
        assert_eq!(forecast.highest(1_300, 1_300, 0.5), Some((1, 40.0)), "a moment is the step that holds it");
        assert_eq!(forecast.highest(1_000, 2_201, 0.5), None, "beyond the forecast");
        let level = Forecast { paths: vec![vec![40.0; 4]; 2], ..rising() };
        assert_eq!(level.highest(1_000, 2_200, 0.5), Some((0, 40.0)));
    }

    #[test]
    fn events_belong_to_the_steps_they_overlap_each_once() {
        let events = vec![
            event("sale", 1_300, 1_600),
            event("sale", 1_400, 1_500),
            event("before", 1_000, 1_300),
            event("after", 1_600, 1_900),
            event("long", 1_299, 1_601),
        ];
        let forecast = Forecast { events, ..rising() };
        assert_eq!(forecast.events_of(1), ["long", "sale"]);
        assert_eq!(forecast.events_of(3), [""; 0]);
    }

    #[test]
    fn what_a_plan_cannot_look_at_is_cut_behind_the_step_that_holds_it() {
        let seen = |step_seconds, shadow_window_seconds, launch_lead_seconds, events| {
            let forecast = Forecast { step_seconds, events, ..rising() };
            let found = MetricEvidence { forecast: Some(forecast), ..MetricEvidence::default() };
            let evidence = Evidence { metrics: BTreeMap::from([(Metric::Cpu, found)]), ..Evidence::default() };
            let policy = Policy { shadow_window_seconds, launch_lead_seconds, ..Policy::new("web") };
            let mut seen = evidence.within_sight(1_000, &policy);
            seen.metrics.remove(&Metric::Cpu).and_then(|found| found.forecast).expect("a forecast")
        };
        let of_events = vec![event("seen", 1_599, 9_000), event("beyond", 1_600, 9_000)];
        let cut = seen(300, 400, 100, of_events);
        assert_eq!(cut.paths, [vec![10.0, 40.0], vec![20.0, 80.0]]);
        assert_eq!(cut.events, [event("seen", 1_599, 9_000)]);
        // Of long steps the one after is looked at as well.
        assert_eq!(seen(3_600, 400, 100, Vec::new()).steps(), 2);
        assert_eq!(seen(300, 900, 300, Vec::new()), rising(), "all of it is in sight");
    }
}
