//! Who goes leaves the zones even, by who serves in each and not by who may go. `properties.rs` has the same for any group.

use std::collections::BTreeMap;

use planner::baseline::Baseline;
use planner::demand::{Demand, InstanceMode};
use planner::evidence::{Conditions, Evidence, Forecast, Instance, Inventory, MetricEvidence, Pick};
use planner::hold::Hold;
use planner::plan;
use planner::plan::{Direction, Memory, NotTaken, Plan, Step};
use planner::policy::{Metric, Mode, Policy};

const NOW: i64 = 1_800_000_000;
const ALONE: &str = "3 could go by present demand alone";
const KEPT: [&str; 2] = ["1 more could go but for their zones", "2 more could go but for their zones"];

/// By zone how many serve, and how many of these are protected. `needed` are enough, now and ahead, and the provider evens zones
/// out.
fn group(zones: &[(&str, u32, u32)], needed: u32) -> Evidence {
    let serving: u32 = zones.iter().map(|(_, serving, _)| serving).sum();
    let members = zones.iter().flat_map(|(zone, serving, protected)| {
        (0..*serving).map(|number| member(zone, number, InstanceMode::Serving, number < *protected))
    });
    let gross = 60.0 * f64::from(needed) - 1.0;
    let weight = f64::from(serving);
    let demand = Demand { gross, weight, serving, reporting: serving, incomplete: false, saturated: false };
    let forecast = Forecast {
        start: NOW,
        step_seconds: 300,
        levels: vec![0.05, 0.5, 0.95],
        paths: [0.8, 0.9, 1.0].map(|level| vec![gross * level; 288]).to_vec(),
        model: "flat".to_owned(),
        trained_at: NOW,
        trust: 1.0,
        measured_coverage: None,
        nominal_coverage: 0.8,
        window_maximum: None,
        events: Vec::new(),
    };
    let told = MetricEvidence {
        demand: Some(demand),
        age_seconds: 10,
        highest_lately: None,
        baseline: Baseline::default(),
        baseline_doubt: None,
        forecast: Some(forecast),
    };
    Evidence {
        inventory: Inventory {
            complete: true,
            age_seconds: 10,
            instances: members.collect(),
            zones: zones.iter().map(|(zone, ..)| (*zone).to_owned()).collect(),
            evens_zones: true,
            ..Inventory::default()
        },
        metrics: BTreeMap::from([(Metric::Cpu, told)]),
        conditions: Conditions { started_seconds_ago: 7_200, ..Conditions::default() },
    }
}

/// The first of a zone is its oldest.
fn member(zone: &str, number: u32, mode: InstanceMode, protected: bool) -> Instance {
    Instance {
        id: format!("{zone}{number}"),
        instance_type: None,
        zone: Some(zone.to_owned()),
        mode,
        since: NOW - 86_400 + i64::from(number),
        protected,
        shadow: None,
    }
}

fn made(evidence: &Evidence) -> Plan {
    made_by(&Policy { mode: Mode::Full, ..Policy::new("web") }, evidence)
}

fn made_by(policy: &Policy, evidence: &Evidence) -> Plan {
    plan(NOW, policy, evidence, &Memory::default()).0
}

fn changed(mut evidence: Evidence, change: impl FnOnce(&mut Evidence)) -> Evidence {
    change(&mut evidence);
    evidence
}

fn gone(plan: &Plan) -> String {
    let of = |step: &Step| match step {
        Step::Detach { instances } => instances.join(" "),
        _ => String::new(),
    };
    plan.steps.iter().map(|step| of(&step.step)).collect()
}

/// What was left of scale-in: how many, why, and what held them.
fn left(plan: &Plan) -> Vec<(u32, &str, Vec<Hold>)> {
    let inward = |left: &&NotTaken| left.direction == Direction::ScaleIn;
    plan.not_taken
        .iter()
        .filter(inward)
        .map(|left| (left.instances, left.reason.as_str(), left.holds.clone()))
        .collect()
}

const fn uneven(instances: u32) -> Hold {
    Hold::UnevenZones { instances }
}

#[test]
fn who_goes_is_of_the_zone_in_which_most_serve_not_of_that_in_which_most_may_go() {
    // Four of the five in a are protected: three may go in b and one in a.
    let apart = [("a", 5, 4), ("b", 3, 0)];
    let one = made(&group(&apart, 7));
    assert_eq!((gone(&one), left(&one)), ("a4".to_owned(), vec![]));
    // Uneven by two as they are, they may be so once more; by three they may not.
    let two = made(&group(&apart, 6));
    assert_eq!((gone(&two), left(&two)), ("a4 b0".to_owned(), vec![]));
    let three = made(&group(&apart, 5));
    assert_eq!((gone(&three), left(&three)), ("a4 b0".to_owned(), vec![(1, KEPT[0], vec![uneven(1)])]));
    assert_eq!((three.wants_in, three.holds), (2, vec![uneven(1)]), "it is not that they carry too much");
    // Who warms up is there as well.
    let warming = changed(group(&[("a", 3, 0), ("b", 3, 0)], 5), |it| {
        it.inventory.instances.push(Instance { since: NOW - 60, ..member("b", 9, InstanceMode::Warming, false) });
    });
    assert_eq!(gone(&made(&warming)), "b0");
    // Who does not serve is not.
    for mode in [InstanceMode::Shadow, InstanceMode::Draining, InstanceMode::Gone] {
        let apart = changed(group(&[("a", 4, 0), ("b", 3, 0)], 6), |it| {
            it.inventory.instances.extend((5..9).map(|number| member("b", number, mode, false)));
        });
        assert_eq!(gone(&made(&apart)), "a0", "{mode:?}");
    }
}

#[test]
fn nobody_goes_whom_the_provider_would_launch_again() {
    // All of a is protected.
    let even = [("a", 4, 4), ("b", 4, 0)];
    let first = made(&group(&even, 7));
    assert_eq!((gone(&first), left(&first)), ("b0".to_owned(), vec![]), "one apart is even");
    let second = made(&group(&even, 5));
    assert_eq!((gone(&second), left(&second)), ("b0".to_owned(), vec![(2, KEPT[1], vec![uneven(2)])]));
    let none = made(&group(&[("a", 5, 5), ("b", 3, 0)], 5));
    assert_eq!((gone(&none), left(&none), none.wants_in), (String::new(), vec![(3, ALONE, vec![uneven(3)])], 0));
    let floor = Policy { mode: Mode::Full, minimum: 6, ..Policy::new("web") };
    let fewer = made_by(&floor, &group(&[("a", 5, 5), ("b", 3, 0)], 5));
    let held = vec![Hold::AtMinimum { minimum: 6, window: None }, uneven(2)];
    assert_eq!((gone(&fewer), left(&fewer)), (String::new(), vec![(3, ALONE, held)]), "no more than the floor lets go");
    // A zone of the group in which nobody serves is one: it is uneven already.
    let empty = made(&group(&[("a", 4, 4), ("b", 4, 0), ("c", 0, 0)], 5));
    assert_eq!((gone(&empty), left(&empty)), ("b0 b1 b2".to_owned(), vec![]), "it is no less even for it");
    let without = changed(group(&[("a", 4, 4), ("b", 4, 0)], 5), |it| it.inventory.zones.clear());
    assert_eq!(gone(&made(&without)), "b0", "whose zones are not told has those of its members");
    // A provider that leaves zones alone, one zone, and zones that nobody tells stop nobody.
    let alone = changed(group(&even, 5), |it| it.inventory.evens_zones = false);
    assert_eq!((gone(&made(&alone)), left(&made(&alone))), ("b0 b1 b2".to_owned(), vec![]));
    assert_eq!(gone(&made(&group(&[("a", 8, 4)], 5))), "a4 a5 a6");
    let untold = changed(group(&even, 5), |it| it.inventory.instances.iter_mut().for_each(|it| it.zone = None));
    assert_eq!(gone(&made(&untold)), "b0 b1 b2");
}

#[test]
fn what_else_stands_against_scale_in_is_said_beside_the_zones() {
    let stays = |plan: &Plan, holds: &[Hold]| {
        assert_eq!((gone(plan), left(plan)), (String::new(), vec![(3, ALONE, holds.to_vec())]));
    };
    let none = || group(&[("a", 5, 5), ("b", 3, 0)], 5);
    stays(&made(&changed(none(), |it| it.conditions.deploying = true)), &[uneven(3), Hold::Deploying]);
    let some = || group(&[("a", 4, 4), ("b", 4, 0)], 5);
    stays(&made(&changed(some(), |it| it.conditions.deploying = true)), &[uneven(2), Hold::Deploying]);
    let paced = changed(some(), |it| it.conditions.detachable = Some(0));
    stays(&made(&paced), &[uneven(2), Hold::Paced { allowed: 0 }]);
    // Where the floor stops all of them, it is not the zones.
    let floor = Policy { mode: Mode::Full, minimum: 8, ..Policy::new("web") };
    stays(&made_by(&floor, &some()), &[Hold::AtMinimum { minimum: 8, window: None }]);
    // Who carries too much is counted apart from whom the zones keep: of 11 five are needed, and b0 carries four.
    let heavy = changed(some(), |it| {
        it.inventory.instances[4].instance_type = Some("big".to_owned());
        it.metrics.get_mut(&Metric::Cpu).and_then(|cpu| cpu.demand.as_mut()).expect("demand").weight = 11.0;
    });
    let weights = BTreeMap::from([("big".to_owned(), 4.0)]);
    let plan = made_by(&Policy { mode: Mode::Full, weights, ..Policy::new("web") }, &heavy);
    assert_eq!((gone(&plan), left(&plan)), ("b0".to_owned(), vec![(2, KEPT[1], vec![uneven(2)])]));
    assert_eq!(plan.holds, [uneven(2), Hold::CarriesTooMuch { instances: 1 }]);
}

#[test]
fn within_the_zones_the_group_picks_by_its_own_policy() {
    let picked = |termination: &[Pick], old: &[&str]| {
        gone(&made(&changed(group(&[("a", 4, 1), ("b", 4, 0), ("c", 3, 0)], 7), |it| {
            it.inventory.termination = termination.to_vec();
            it.inventory.old_versions = old.iter().map(ToString::to_string).collect();
        })))
    };
    // Both fullest zones first, in the policy's order; then all three are equal.
    assert_eq!(picked(&[], &[]), "b0 a1 c0 b1");
    assert_eq!(picked(&[Pick::Newest], &[]), "a3 b3 a2 b2");
    assert_eq!(picked(&[Pick::OldVersion, Pick::Oldest], &["a3", "c1", "c2"]), "a3 b0 c1 a1");
}
