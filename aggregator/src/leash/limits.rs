//! The limits of one group, and those of all: what the configuration file can loosen, and which way that is.
//! `docs/acting.md` has the same as a table.

use std::collections::BTreeMap;

use planner::policy::{Adopt, AtLimit, Metric, ShadowBy};
use serde::{Deserialize, Serialize};

use super::field::{Bound, Comparison, Held, word};
use crate::fleet::Reach;
use crate::rounds::GroupPolicy;
use crate::shadow::ShadowConfig;
use crate::windows::Weekly;

/// Every limit of a group that the file can set. The mode is not among them: a file only ever lowers it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupLimits {
    minimum: Bound,
    maximum: Bound,
    windows: Vec<NamedWindow>,
    confidence: f64,
    targets: BTreeMap<Metric, f64>,
    reactive_targets: BTreeMap<Metric, f64>,
    #[serde(default)]
    veto_above: BTreeMap<Metric, f64>,
    weights: BTreeMap<String, f64>,
    bandwidth_bits: BTreeMap<String, f64>,
    launch_lead_seconds: u32,
    reattach_lead_seconds: u32,
    late_cost_per_hour: f64,
    change_cost: f64,
    launches_per_hour: u32,
    spend_per_hour: Option<f64>,
    #[serde(default)]
    shadows_at_most: Option<u32>,
    silent_at_limit: AtLimit,
    adopt: Adopt,
    shadow_by: ShadowBy,
    hold_terminating: bool,
}

/// A window with its name, which the configuration has as a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct NamedWindow {
    name: String,
    weekly: Weekly,
}

impl NamedWindow {
    fn of(weekly: &Weekly) -> Self {
        Self { name: weekly.name.clone(), weekly: Weekly { name: String::new(), ..weekly.clone() } }
    }

    fn weekly(&self) -> Weekly {
        Weekly { name: self.name.clone(), ..self.weekly.clone() }
    }

    /// At the same times it lets nobody do what the other forbids.
    fn covers(&self, other: &Self) -> bool {
        let (own, other) = (&self.weekly, &other.weekly);
        let times = |weekly: &Weekly| Weekly { minimum: None, maximum: None, ..weekly.clone() };
        times(own) == times(other)
            && other.minimum.is_none_or(|floor| own.minimum.is_some_and(|own| own >= floor))
            && other.maximum.is_none_or(|ceiling| own.maximum.is_some_and(|own| own <= ceiling))
    }
}

impl GroupLimits {
    pub fn of(configured: &GroupPolicy) -> Self {
        let policy = &configured.policy;
        Self {
            minimum: configured.minimum,
            maximum: configured.maximum,
            windows: configured.windows.iter().map(NamedWindow::of).collect(),
            confidence: policy.confidence,
            targets: policy.targets.clone(),
            reactive_targets: policy.reactive_targets.clone(),
            veto_above: policy.veto_above.clone(),
            weights: policy.weights.clone(),
            bandwidth_bits: policy.bandwidth_bits.clone(),
            launch_lead_seconds: policy.launch_lead_seconds,
            reattach_lead_seconds: policy.reattach_lead_seconds,
            late_cost_per_hour: policy.late_cost_per_hour,
            change_cost: policy.change_cost,
            launches_per_hour: policy.launches_per_hour,
            spend_per_hour: policy.spend_per_hour,
            shadows_at_most: policy.shadows_at_most,
            silent_at_limit: policy.silent_at_limit,
            adopt: policy.adopt,
            shadow_by: policy.shadow_by,
            hold_terminating: policy.hold_terminating,
        }
    }

    /// The same policy under these limits.
    pub fn hold(&self, configured: &GroupPolicy) -> GroupPolicy {
        let mut held = configured.clone();
        held.minimum = self.minimum;
        held.maximum = self.maximum;
        held.windows = self.windows.iter().map(NamedWindow::weekly).collect();
        let policy = &mut held.policy;
        policy.confidence = self.confidence;
        policy.targets.clone_from(&self.targets);
        policy.reactive_targets.clone_from(&self.reactive_targets);
        policy.veto_above.clone_from(&self.veto_above);
        policy.weights.clone_from(&self.weights);
        policy.bandwidth_bits.clone_from(&self.bandwidth_bits);
        policy.launch_lead_seconds = self.launch_lead_seconds;
        policy.reattach_lead_seconds = self.reattach_lead_seconds;
        policy.late_cost_per_hour = self.late_cost_per_hour;
        policy.change_cost = self.change_cost;
        policy.launches_per_hour = self.launches_per_hour;
        policy.spend_per_hour = self.spend_per_hour;
        policy.shadows_at_most = self.shadows_at_most;
        policy.silent_at_limit = self.silent_at_limit;
        policy.adopt = self.adopt;
        policy.shadow_by = self.shadow_by;
        policy.hold_terminating = self.hold_terminating;
        held
    }

    /// What holds when these were accepted and the file has others: of each the tighter, with what the file would loosen.
    /// `inventory`: minimum and maximum that the inventory shows, where it was read.
    pub fn tightened(&self, file: &Self, inventory: Option<(u32, u32)>) -> (Self, Vec<Held>) {
        let mut seen = Comparison::default();
        let (least, most) = (inventory.map(|(least, _)| least), inventory.map(|(_, most)| most));
        let targets = seen.each_at_most("targets", &self.targets, &file.targets);
        let reactive = seen.each_at_most("reactive_targets", &self.reactive_targets, &file.reactive_targets);
        let below = |(metric, lower): (Metric, f64)| (metric, targets.get(&metric).map_or(lower, |it| lower.min(*it)));
        let mut windows = file.windows.clone();
        for accepted in &self.windows {
            if !file.windows.iter().any(|window| window.covers(accepted)) {
                let there = file.windows.iter().find(|window| window.name == accepted.name);
                let said = there.map_or_else(|| "nothing".to_owned(), |window| word(&window.weekly));
                seen.note(format!("window.{}", accepted.name), said, word(&accepted.weekly));
                windows.retain(|window| window.name != accepted.name);
                windows.push(accepted.clone());
            }
        }
        let held = Self {
            minimum: self.minimum.tightened(file.minimum, true, least, &mut seen),
            maximum: self.maximum.tightened(file.maximum, false, most, &mut seen),
            windows,
            confidence: seen.at_least("confidence", self.confidence, file.confidence),
            reactive_targets: reactive.into_iter().map(below).collect(),
            veto_above: seen.each_at_most("veto_above", &self.veto_above, &file.veto_above),
            targets,
            weights: seen.as_it_was("weights", &self.weights, &file.weights),
            bandwidth_bits: seen.as_it_was("bandwidth_bits", &self.bandwidth_bits, &file.bandwidth_bits),
            launch_lead_seconds: seen.at_least(
                "launch_lead_seconds",
                self.launch_lead_seconds,
                file.launch_lead_seconds,
            ),
            reattach_lead_seconds: seen.as_it_was(
                "reattach_lead_seconds",
                &self.reattach_lead_seconds,
                &file.reattach_lead_seconds,
            ),
            late_cost_per_hour: seen.at_least("late_cost_per_hour", self.late_cost_per_hour, file.late_cost_per_hour),
            change_cost: seen.at_least("change_cost", self.change_cost, file.change_cost),
            launches_per_hour: seen.at_most("launches_per_hour", self.launches_per_hour, file.launches_per_hour),
            spend_per_hour: seen.limited("spend_per_hour", self.spend_per_hour, file.spend_per_hour),
            shadows_at_most: seen.limited("shadows_at_most", self.shadows_at_most, file.shadows_at_most),
            silent_at_limit: seen.unless(
                "silent_at_limit",
                AtLimit::Terminate,
                self.silent_at_limit,
                file.silent_at_limit,
            ),
            adopt: seen.unless("adopt", Adopt::All, self.adopt, file.adopt),
            shadow_by: seen.as_it_was("shadow_by", &self.shadow_by, &file.shadow_by),
            hold_terminating: seen.unless("hold_terminating", true, self.hold_terminating, file.hold_terminating),
        };
        (held, seen.held)
    }
}

/// Every limit that concerns all groups at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommonLimits {
    /// `inventory.drain_seconds` and `inventory.warm_up_seconds`.
    pub drain_seconds: u32,
    pub warm_up_seconds: u32,
    /// `[shadow]`, and `shadow_seconds` of the groups, until `PUT /shadow/config`.
    pub shadow: ShadowConfig,
    pub safety: checker::Limits,
    /// By source: how far it reaches.
    pub reach: BTreeMap<String, Reach>,
}

impl CommonLimits {
    /// As far as nobody has to be asked: a program's cloud is this machine by its configuration's word alone, so that word
    /// needs another.
    pub fn without_a_word(&self) -> Self {
        let mut first = self.clone();
        if let Some(reach) = first.reach.get_mut("command").filter(|reach| **reach == Reach::Loopback) {
            *reach = Reach::Cloud;
        }
        first
    }

    /// What holds when these were accepted and the file has others.
    pub fn tightened(&self, file: &Self) -> (Self, Vec<Held>) {
        let mut seen = Comparison::default();
        let (mut reach, first) = (file.reach.clone(), file.without_a_word().reach);
        for (source, now) in &mut reach {
            let before = self.reach.get(source).or_else(|| first.get(source)).copied().unwrap_or(*now);
            if now.is_looser_than(before) {
                seen.note(format!("inventory.{source}.reach"), word(*now), word(before));
                *now = before;
            }
        }
        let held = Self {
            drain_seconds: seen.at_least("inventory.drain_seconds", self.drain_seconds, file.drain_seconds),
            warm_up_seconds: seen.at_least("inventory.warm_up_seconds", self.warm_up_seconds, file.warm_up_seconds),
            shadow: shadow(&self.shadow, &file.shadow, &mut seen),
            safety: safety(&self.safety, &file.safety, &mut seen),
            reach,
        };
        (held, seen.held)
    }

    /// The safety windows that hold: gentler ones than the default only where every cloud is this machine.
    pub fn safety(&self) -> (checker::Limits, Vec<Held>) {
        let mut seen = Comparison::default();
        let beyond = self.reach.values().any(|reach| *reach == Reach::Cloud);
        let held = if beyond { safety(&checker::Limits::default(), &self.safety, &mut seen) } else { self.safety };
        (held, seen.held)
    }
}

fn safety(accepted: &checker::Limits, file: &checker::Limits, seen: &mut Comparison) -> checker::Limits {
    let mut least = |field: &str, accepted: u32, file: u32| seen.at_least(format!("safety.{field}"), accepted, file);
    let warm_up_seconds = least("warm_up_seconds", accepted.warm_up_seconds, file.warm_up_seconds);
    let quiet_seconds = least("quiet_seconds", accepted.quiet_seconds, file.quiet_seconds);
    let mut age = |field: &str, accepted: u32, file: u32| seen.at_most(format!("safety.{field}"), accepted, file);
    let inventory_fresh_seconds =
        age("inventory_fresh_seconds", accepted.inventory_fresh_seconds, file.inventory_fresh_seconds);
    let sample_fresh_seconds = age("sample_fresh_seconds", accepted.sample_fresh_seconds, file.sample_fresh_seconds);
    let mut share = |field: &str, accepted: f64, file: f64| seen.at_most(format!("safety.{field}"), accepted, file);
    checker::Limits {
        warm_up_seconds,
        quiet_seconds,
        inventory_fresh_seconds,
        sample_fresh_seconds,
        share_15_minutes: share("share_15_minutes", accepted.share_15_minutes, file.share_15_minutes),
        share_6_hours: share("share_6_hours", accepted.share_6_hours, file.share_6_hours),
        fleet_share: share("fleet_share", accepted.fleet_share, file.fleet_share),
        common_cause_share: share("common_cause_share", accepted.common_cause_share, file.common_cause_share),
    }
}

/// Longer leases are looser; a price that is lower or gone makes the same money buy more.
fn shadow(accepted: &ShadowConfig, file: &ShadowConfig, seen: &mut Comparison) -> ShadowConfig {
    let maximum_seconds = seen.at_most("shadow.maximum_seconds", accepted.maximum_seconds, file.maximum_seconds);
    let default_seconds = seen.at_most("shadow.default_seconds", accepted.default_seconds, file.default_seconds);
    let mut held = ShadowConfig {
        default_seconds: default_seconds.min(maximum_seconds),
        maximum_seconds,
        ..ShadowConfig::default()
    };
    for group in accepted.groups.keys().chain(file.groups.keys()) {
        if !held.groups.contains_key(group) {
            let of = |config: &ShadowConfig| config.groups.get(group).copied().unwrap_or(config.default_seconds);
            let seconds = seen.at_most(format!("group.{group}.shadow_seconds"), of(accepted), of(file));
            held.groups.insert(group.clone(), seconds.min(maximum_seconds));
        }
    }
    for name in accepted.instance_types.keys().chain(file.instance_types.keys()) {
        if !held.instance_types.contains_key(name) {
            let of = |config: &ShadowConfig| config.instance_types.get(name).copied().unwrap_or(config.default_seconds);
            let seconds = seen.at_most(format!("shadow.instance_types.{name}"), of(accepted), of(file));
            held.instance_types.insert(name.clone(), seconds.min(maximum_seconds));
        }
    }
    held.prices_per_hour.clone_from(&file.prices_per_hour);
    for (name, before) in &accepted.prices_per_hour {
        let field = format!("shadow.prices_per_hour.{name}");
        let holds = match file.prices_per_hour.get(name) {
            Some(now) => seen.at_least(field, *before, *now),
            None => {
                seen.note(field, "nothing", before);
                *before
            }
        };
        held.prices_per_hour.insert(name.clone(), holds);
    }
    held
}

#[cfg(test)]
mod tests {
    use foreshadow_proto::convert::Id;

    use super::*;

    fn limits(change: impl FnOnce(&mut GroupPolicy)) -> GroupLimits {
        let mut configured = GroupPolicy::new(&Id::new("group", "web").expect("an id"));
        configured.minimum = Bound::of(Some(3));
        configured.maximum = Bound::of(Some(20));
        configured.policy.spend_per_hour = Some(10.0);
        configured.policy.shadows_at_most = Some(5);
        configured.policy.reactive_targets = BTreeMap::from([(Metric::Cpu, 50.0)]);
        configured.policy.veto_above = BTreeMap::from([(errors(), 5.0)]);
        configured.windows = vec![window(Some(8), Some(15), "08:00")];
        change(&mut configured);
        GroupLimits::of(&configured)
    }

    fn errors() -> Metric {
        Metric::declare("errors").expect("a name")
    }

    fn window(minimum: Option<u32>, maximum: Option<u32>, from: &str) -> Weekly {
        let json = serde_json::json!({"days": ["mon", "fri"], "from": from, "to": "18:00", "time_zone": "Europe/Berlin",
            "minimum": minimum, "maximum": maximum});
        Weekly { name: "office".to_owned(), ..serde_json::from_value(json).expect("a window") }
    }

    /// Each way of loosening a group, with the field that has to tell it.
    #[test]
    fn every_way_to_loosen_a_group_is_held_back_and_told_and_the_way_back_is_free() {
        type Change = fn(&mut GroupPolicy);
        let ways: [(&str, Change); 28] = [
            ("minimum", |it| it.minimum = Bound::of(Some(2))),
            ("minimum", |it| it.minimum = Bound::of(None)),
            ("maximum", |it| it.maximum = Bound::of(Some(21))),
            ("maximum", |it| it.maximum = Bound::of(None)),
            ("window.office", |it| it.windows.clear()),
            ("window.office", |it| it.windows = vec![window(Some(7), Some(15), "08:00")]),
            ("window.office", |it| it.windows = vec![window(None, Some(15), "08:00")]),
            ("window.office", |it| it.windows = vec![window(Some(8), Some(16), "08:00")]),
            ("window.office", |it| it.windows = vec![window(Some(8), None, "08:00")]),
            ("window.office", |it| it.windows = vec![window(Some(8), Some(15), "09:00")]),
            ("confidence", |it| it.policy.confidence = 0.8),
            ("targets.cpu", |it| it.policy.targets = BTreeMap::from([(Metric::Cpu, 95.0)])),
            ("targets.cpu", |it| it.policy.targets.clear()),
            ("reactive_targets.cpu", |it| it.policy.reactive_targets.clear()),
            ("veto_above.errors", |it| it.policy.veto_above.clear()),
            ("veto_above.errors", |it| it.policy.veto_above = BTreeMap::from([(errors(), 5.1)])),
            ("weights", |it| it.policy.weights = BTreeMap::from([("m5.large".to_owned(), 9.0)])),
            ("bandwidth_bits", |it| it.policy.bandwidth_bits = BTreeMap::from([("m5.large".to_owned(), 1e9)])),
            ("launch_lead_seconds", |it| it.policy.launch_lead_seconds = 1),
            ("late_cost_per_hour", |it| it.policy.late_cost_per_hour = 0.0),
            ("launches_per_hour", |it| it.policy.launches_per_hour = 100_000),
            ("spend_per_hour", |it| it.policy.spend_per_hour = None),
            ("spend_per_hour", |it| it.policy.spend_per_hour = Some(11.0)),
            ("shadows_at_most", |it| it.policy.shadows_at_most = None),
            ("shadows_at_most", |it| it.policy.shadows_at_most = Some(6)),
            ("silent_at_limit", |it| it.policy.silent_at_limit = AtLimit::Terminate),
            ("adopt", |it| it.policy.adopt = Adopt::All),
            ("hold_terminating", |it| it.policy.hold_terminating = true),
        ];
        let accepted = limits(|_| ());
        for (field, way) in ways {
            let file = limits(way);
            let (held, told) = accepted.tightened(&file, Some((1, 100)));
            assert!(told.iter().any(|held| held.field == field), "{field}: {told:?}");
            // However it is mixed with the file, it is never looser than what was accepted.
            assert!(accepted.tightened(&held, Some((1, 100))).1.is_empty(), "{field}: {held:?}");
            // The old file again, or a tighter one, is nothing to ask for.
            let (back, told) = held.tightened(&accepted, Some((1, 100)));
            assert_eq!((back.confidence, told), (accepted.confidence, Vec::new()), "{field}");
        }
        let tighter = limits(|it| {
            it.minimum = Bound::of(Some(4));
            it.maximum = Bound::of(Some(18));
            it.policy.confidence = 0.95;
            it.policy.targets = BTreeMap::from([(Metric::Cpu, 50.0), (Metric::Memory, 70.0)]);
            it.policy.spend_per_hour = Some(9.0);
            it.windows.push(Weekly { name: "night".to_owned(), ..window(Some(5), None, "20:00") });
        });
        assert_eq!(accepted.tightened(&tighter, Some((1, 100))), (tighter, Vec::new()), "tightening is taken at once");
    }

    #[test]
    fn what_concerns_all_groups_is_held_back_likewise() {
        let mut accepted = CommonLimits {
            drain_seconds: 300,
            warm_up_seconds: 600,
            shadow: ShadowConfig::default(),
            safety: checker::Limits { warm_up_seconds: 3_600, ..checker::Limits::default() },
            reach: BTreeMap::from([("aws".to_owned(), Reach::Cloud), ("command".to_owned(), Reach::None)]),
        };
        accepted.shadow.prices_per_hour.insert("m5.large".to_owned(), 0.1);
        type Change = fn(&mut CommonLimits);
        let ways: [(&str, Change); 11] = [
            ("inventory.drain_seconds", |it| it.drain_seconds = 0),
            ("inventory.warm_up_seconds", |it| it.warm_up_seconds = 0),
            ("shadow.maximum_seconds", |it| it.shadow.maximum_seconds = 604_800),
            ("shadow.default_seconds", |it| it.shadow.default_seconds = 7_200),
            ("group.web.shadow_seconds", |it| {
                it.shadow.groups.insert(Id::new("group", "web").expect("an id"), 7_200);
            }),
            ("shadow.instance_types.t3.micro", |it| {
                it.shadow.instance_types.insert("t3.micro".to_owned(), 7_200);
            }),
            ("shadow.prices_per_hour.m5.large", |it| it.shadow.prices_per_hour.clear()),
            ("safety.warm_up_seconds", |it| it.safety.warm_up_seconds = 600),
            ("safety.common_cause_share", |it| it.safety.common_cause_share = 1.0),
            ("inventory.aws.reach", |it| {
                it.reach.insert("aws".to_owned(), Reach::Loopback);
            }),
            ("inventory.command.reach", |it| {
                it.reach.insert("command".to_owned(), Reach::Cloud);
            }),
        ];
        for (field, way) in ways {
            let mut file = accepted.clone();
            way(&mut file);
            let (held, told) = accepted.tightened(&file);
            let fields: Vec<&str> = told.iter().map(|held| held.field.as_str()).collect();
            assert_eq!(fields, [field]);
            assert_eq!(accepted.tightened(&held), (held.clone(), Vec::new()), "{field}");
            assert_eq!(held.shadow.problems(), [], "{field}");
        }
    }

    #[test]
    fn gentler_safety_is_for_clouds_on_this_machine_and_a_program_needs_another_word_for_that() {
        let gentle = checker::Limits { warm_up_seconds: 0, ..checker::Limits::default() };
        let common = |source: &str, reach| CommonLimits {
            drain_seconds: 0,
            warm_up_seconds: 0,
            shadow: ShadowConfig::default(),
            safety: gentle,
            reach: BTreeMap::from([(source.to_owned(), reach)]),
        };
        assert_eq!(common("webhook", Reach::Loopback).without_a_word().safety().0, gentle);
        let (safety, told) = common("command", Reach::Loopback).without_a_word().safety();
        assert_eq!((safety.warm_up_seconds, told.len()), (600, 1));
        assert_eq!(common("command", Reach::Loopback).safety(), (gentle, Vec::new()), "once it was accepted");
        assert_eq!(common("aws", Reach::Cloud).safety().0.warm_up_seconds, 600);
    }
}
