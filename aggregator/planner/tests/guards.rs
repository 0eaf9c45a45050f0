//! Each guard of the planner by a case of its own: the plan is one thing without the reason against it and another with it.
//! `tests/mutants` takes every guard out in turn and sees that something here, or in the transcripts, fails.

use std::collections::BTreeMap;

use planner::baseline::{Baseline, Doubt};
use planner::bounds::Window;
use planner::demand::{Demand, InstanceMode};
use planner::evidence::{
    Conditions, Evidence, Floor, Forecast, Instance, Inventory, MetricEvidence, Origin, Pick, Shadow, Unfit,
};
use planner::hold::{Budget, Disagreement, Hold};
use planner::plan;
use planner::plan::{Direction, Memory, Plan, Step};
use planner::policy::{Adopt, AtLimit, Metric, Mode, Policy};

const NOW: i64 = 1_800_000_000;

/// A trusted forecast that stays at `demand`.
fn flat(demand: f64) -> Forecast {
    Forecast {
        start: NOW,
        step_seconds: 300,
        levels: vec![0.05, 0.5, 0.9, 0.95, 0.99],
        paths: [0.8, 0.9, 1.0, 1.05, 1.2].map(|level| vec![demand * level; 288]).to_vec(),
        model: "flat".to_owned(),
        trained_at: NOW,
        trust: 1.0,
        measured_coverage: None,
        nominal_coverage: 0.8,
        window_maximum: None,
        events: Vec::new(),
    }
}

fn measured(serving: u32, utilisation: f64, forecast: Option<Forecast>) -> MetricEvidence {
    let gross = utilisation * f64::from(serving);
    MetricEvidence {
        demand: Some(Demand {
            gross,
            weight: f64::from(serving),
            serving,
            reporting: serving,
            incomplete: false,
            saturated: false,
        }),
        age_seconds: 10,
        highest_lately: None,
        baseline: Baseline::default(),
        baseline_doubt: None,
        forecast,
    }
}

fn instance(id: &str, mode: InstanceMode) -> Instance {
    Instance {
        id: id.to_owned(),
        instance_type: None,
        zone: None,
        mode,
        since: NOW - 86_400,
        protected: false,
        shadow: None,
    }
}

/// Ten serve at `utilisation`, and the forecast says that it stays so.
fn steady(utilisation: f64) -> Evidence {
    let instances = (0..10).map(|number| instance(&format!("i-{number}"), InstanceMode::Serving));
    let forecast = flat(10.0 * utilisation);
    Evidence {
        inventory: Inventory {
            complete: true,
            age_seconds: 10,
            instances: instances.collect(),
            ..Inventory::default()
        },
        metrics: BTreeMap::from([(Metric::Cpu, measured(10, utilisation, Some(forecast)))]),
        conditions: Conditions { started_seconds_ago: 7_200, ..Conditions::default() },
    }
}

/// Of ours, idle and heard, its lease over; unfit, so that nothing is decided on its worth.
fn over() -> Shadow {
    Shadow {
        origin: Origin::Ours,
        until: NOW - 10,
        lease_over: true,
        hard_limit: NOW + 86_400,
        unfit: vec![Unfit::OldVersion],
        sample_age_seconds: Some(1),
        quiet_seconds: 600,
        price_per_hour: Some(0.1),
        in_group: false,
        ending: false,
    }
}

fn with_shadow(mut evidence: Evidence, id: &str, shadow: Shadow) -> Evidence {
    evidence.inventory.instances.push(Instance { shadow: Some(shadow), ..instance(id, InstanceMode::Shadow) });
    evidence
}

/// Six of ten could go, and so could the shadow.
fn calm() -> Evidence {
    with_shadow(steady(20.0), "s-1", over())
}

fn policy() -> Policy {
    Policy { mode: Mode::Full, minimum: 1, maximum: 30, ..Policy::new("web") }
}

fn made(policy: &Policy, evidence: &Evidence) -> Plan {
    plan(NOW, policy, evidence, &Memory::default()).0
}

fn changed(mut evidence: Evidence, change: impl FnOnce(&mut Evidence)) -> Evidence {
    change(&mut evidence);
    evidence
}

fn cpu(evidence: &mut Evidence) -> &mut MetricEvidence {
    evidence.metrics.get_mut(&Metric::Cpu).expect("cpu")
}

fn demand(evidence: &mut Evidence) -> &mut Demand {
    cpu(evidence).demand.as_mut().expect("demand")
}

fn detached(plan: &Plan) -> Vec<String> {
    let of = |step: &Step| match step {
        Step::Detach { instances } => instances.clone(),
        _ => Vec::new(),
    };
    plan.steps.iter().flat_map(|step| of(&step.step)).collect()
}

fn terminated(plan: &Plan) -> Vec<String> {
    let of = |step: &Step| match step {
        Step::Terminate { instances } => instances.clone(),
        _ => Vec::new(),
    };
    plan.steps.iter().flat_map(|step| of(&step.step)).collect()
}

fn launched(plan: &Plan) -> u32 {
    let of = |step: &Step| match step {
        Step::Launch { count } => *count,
        _ => 0,
    };
    plan.steps.iter().map(|step| of(&step.step)).sum()
}

fn reattached(plan: &Plan) -> Vec<String> {
    let of = |step: &Step| match step {
        Step::Reattach { instances } => instances.clone(),
        _ => Vec::new(),
    };
    plan.steps.iter().flat_map(|step| of(&step.step)).collect()
}

#[test]
fn calm_evidence_takes_away_or_the_rest_would_prove_nothing() {
    let plan = made(&policy(), &calm());
    assert_eq!(detached(&plan).len(), 6, "{plan:?}");
    assert_eq!(terminated(&plan), ["s-1"]);
    assert_eq!(plan.holds, []);
    assert!(plan.steps.iter().all(|step| step.permitted));
}

/// Every hold that stands stops both ways of taking away, by itself, and is said.
#[test]
fn every_standing_hold_stops_taking_away() {
    let metric = Metric::Cpu;
    type Spoil = fn(&mut Evidence);
    let cases: Vec<(Spoil, Hold)> = vec![
        (|it| it.conditions.paused = true, Hold::Paused),
        (|it| it.conditions.not_owner = true, Hold::NotOwner),
        (|it| it.conditions.clock_jumped = true, Hold::ClockJump),
        (|it| it.conditions.changing = true, Hold::Changing),
        (|it| it.conditions.deploying = true, Hold::Deploying),
        (|it| it.conditions.foreign_scale_in = true, Hold::ForeignScaleIn),
        (|it| it.conditions.untold = true, Hold::Untold),
        (|it| it.conditions.common_cause = true, Hold::CommonCause),
        (|it| it.conditions.launches_failing = true, Hold::LaunchesFailing),
        (|it| it.conditions.agents_unauthenticated = true, Hold::UnauthenticatedEvidence),
        (|it| it.conditions.claimed = true, Hold::ClaimedGroup),
        (|it| it.conditions.started_seconds_ago = 599, Hold::WarmUp { seconds_left: 1 }),
        (|it| it.inventory.complete = false, Hold::PartialInventory),
        (|it| it.inventory.age_seconds = 121, Hold::StaleInventory { age_seconds: 121 }),
        (|it| cpu(it).age_seconds = 121, Hold::StaleSamples { metric, age_seconds: 121, fresh_seconds: 120 }),
        (
            |it| (demand(it).incomplete, demand(it).reporting) = (true, 8),
            Hold::Incomplete { metric, reporting: 8, serving: 10 },
        ),
        (|it| demand(it).saturated = true, Hold::Saturated { metric }),
        (|it| cpu(it).forecast = None, Hold::NoForecast { metric }),
        (
            |it| cpu(it).forecast.as_mut().expect("one").trust = 0.19,
            Hold::LowTrust { metric, trust: 0.19, minimum: 0.2 },
        ),
        (
            |it| cpu(it).forecast.as_mut().expect("one").paths.iter_mut().for_each(|path| path.truncate(12)),
            Hold::ShortHorizon { metric },
        ),
        (
            |it| cpu(it).forecast = Some(Forecast { trust: 1.0, ..flat(251.0) }),
            Hold::Surprise { metric, demand: 200.0, expected_at_least: 251.0 * 0.8 },
        ),
    ];
    for (spoil, hold) in cases {
        let plan = made(&policy(), &changed(calm(), spoil));
        assert_eq!((detached(&plan), terminated(&plan)), (vec![], vec![]), "{hold:?}");
        assert_eq!(plan.holds, std::slice::from_ref(&hold));
        let said = plan.not_taken.iter().find(|left| left.direction == Direction::ScaleIn).expect("said");
        assert!(said.holds.contains(&hold), "{said:?}");
    }
    let edges: [Spoil; 3] = [
        |it| it.inventory.age_seconds = 120,
        |it| cpu(it).age_seconds = 120,
        |it| it.conditions.started_seconds_ago = 600,
    ];
    for edge in edges {
        assert_eq!(detached(&made(&policy(), &changed(calm(), edge))).len(), 6, "the edge is fresh enough");
    }
}

#[test]
fn a_baseline_in_doubt_is_said_and_stops_nothing() {
    let plan = made(&policy(), &changed(calm(), |it| cpu(it).baseline_doubt = Some(Doubt::TooFewShadows)));
    assert_eq!(plan.holds, [Hold::BaselineInDoubt { metric: Metric::Cpu, doubt: Doubt::TooFewShadows }]);
    assert_eq!((detached(&plan).len(), terminated(&plan).len()), (6, 1));
}

#[test]
fn nobody_goes_while_nobody_reports() {
    let plan = made(&policy(), &changed(calm(), |it| cpu(it).demand = None));
    assert_eq!((detached(&plan), terminated(&plan), launched(&plan)), (vec![], vec![], 0));
    assert_eq!(plan.holds, [Hold::NoEvidence { metric: Metric::Cpu }]);
    let none = made(&policy(), &changed(calm(), |it| it.metrics.clear()));
    assert_eq!((detached(&none), terminated(&none), none.need_now), (vec![], vec![], None));
}

#[test]
fn a_floor_wakes_a_group_of_which_nobody_reports() {
    let floor = Policy { minimum: 8, ..policy() };
    let asleep = changed(calm(), |it| {
        it.metrics.clear();
        it.inventory.instances.clear();
        it.inventory.expected = 3;
    });
    let plan = made(&floor, &asleep);
    assert_eq!(launched(&plan), 4, "in steps of four, five are missing: {plan:?}");
    for unknown in [
        changed(asleep.clone(), |it| it.inventory.complete = false),
        changed(asleep.clone(), |it| it.inventory.age_seconds = 121),
        changed(asleep.clone(), |it| it.conditions.paused = true),
    ] {
        assert_eq!(launched(&made(&floor, &unknown)), 0, "{unknown:?}");
    }
    assert_eq!(launched(&made(&Policy { minimum: 3, ..policy() }, &asleep)), 0, "they are on their way");
}

#[test]
fn the_highest_minute_of_the_step_is_no_surprise() {
    let quiet = changed(calm(), |it| {
        cpu(it).forecast = Some(flat(251.0));
        cpu(it).highest_lately = Some(201.0);
    });
    assert_eq!(made(&policy(), &quiet).holds, []);
    let lower = changed(calm(), |it| {
        cpu(it).forecast = Some(flat(251.0));
        cpu(it).highest_lately = Some(150.0);
    });
    let surprise = Hold::Surprise { metric: Metric::Cpu, demand: 200.0, expected_at_least: 251.0 * 0.8 };
    assert_eq!(made(&policy(), &lower).holds, [surprise]);
    let risen = changed(calm(), |it| {
        cpu(it).forecast = Some(flat(240.0));
        cpu(it).highest_lately = Some(150.0);
    });
    assert_eq!(made(&policy(), &risen).holds, [], "present demand counts as well");
}

/// Every agent says zero from one minute to the next: the highest minute of the step is from before.
#[test]
fn demand_that_is_suddenly_gone_is_a_surprise_whatever_it_was_a_minute_ago() {
    let fallen = |gross: f64| {
        changed(calm(), |it| {
            cpu(it).demand.as_mut().expect("measured").gross = gross;
            (cpu(it).forecast, cpu(it).highest_lately) = (Some(flat(251.0)), Some(260.0));
        })
    };
    let floor = 251.0 * 0.8;
    let quiet = made(&policy(), &fallen(floor * 0.25));
    assert_eq!(quiet.holds, []);
    assert!(!detached(&quiet).is_empty(), "{quiet:?}");
    for gross in [0.0, floor * 0.249] {
        let plan = made(&policy(), &fallen(gross));
        let surprise = Hold::Surprise { metric: Metric::Cpu, demand: gross, expected_at_least: floor };
        assert_eq!((plan.holds.as_slice(), detached(&plan), terminated(&plan)), (&[surprise][..], vec![], vec![]));
    }
}

#[test]
fn every_metric_must_agree_before_anybody_goes() {
    let mut policy = policy();
    policy.targets.insert(Metric::Memory, 60.0);
    let with = |memory: MetricEvidence| changed(calm(), |it| drop(it.metrics.insert(Metric::Memory, memory)));
    let both = made(&policy, &with(measured(10, 20.0, Some(flat(200.0)))));
    assert_eq!((detached(&both).len(), terminated(&both).len()), (6, 1));
    let busy_now = made(&policy, &with(measured(10, 48.0, Some(flat(480.0)))));
    assert_eq!(detached(&busy_now).len(), 1, "the greedier metric decides");
    let busy_later = made(&policy, &with(measured(10, 48.0, Some(flat(900.0)))));
    assert_eq!(terminated(&busy_later), Vec::<String>::new());
    let unknown = made(&policy, &calm());
    assert_eq!((detached(&unknown), terminated(&unknown)), (vec![], vec![]));
    assert_eq!(unknown.holds, [Hold::NoEvidence { metric: Metric::Memory }]);
    let unforeseen = made(&policy, &with(measured(10, 20.0, None)));
    assert_eq!((detached(&unforeseen), terminated(&unforeseen)), (vec![], vec![]));
}

#[test]
fn scale_in_stops_at_what_must_stay() {
    let six = made(&policy(), &calm());
    assert_eq!(detached(&six).len(), 6);
    let minimum = made(&Policy { minimum: 7, ..policy() }, &calm());
    assert_eq!(detached(&minimum).len(), 3);
    assert_eq!(minimum.holds, [Hold::AtMinimum { minimum: 7, window: None }]);
    // b = 8 says that three are enough, b = 0 that four are.
    let baseline = changed(calm(), |it| cpu(it).baseline.points = 8.0);
    let plain = made(&policy(), &changed(baseline, |it| cpu(it).forecast = Some(flat(120.0))));
    assert_eq!(detached(&plain).len(), 6);
    assert_eq!(plain.holds, [Hold::WithoutBaseline { metric: Metric::Cpu, need: 4 }]);
    let protected = changed(calm(), |it| {
        it.inventory.instances.iter_mut().take(6).for_each(|instance| instance.protected = true);
    });
    let plan = made(&policy(), &protected);
    assert_eq!((detached(&plan).len(), plan.holds.clone()), (4, vec![Hold::Protected { instances: 6 }]));
    assert!(detached(&plan).iter().all(|id| ["i-6", "i-7", "i-8", "i-9"].contains(&id.as_str())));
    let paced = made(&policy(), &changed(calm(), |it| it.conditions.detachable = Some(2)));
    assert_eq!((detached(&paced).len(), paced.holds.clone()), (2, vec![Hold::Paced { allowed: 2 }]));
    // Nobody may go: nothing is planned, and the holds stand where they are read.
    let none = made(&policy(), &changed(calm(), |it| it.conditions.detachable = Some(0)));
    assert_eq!(detached(&none), Vec::<String>::new());
    assert!(none.not_taken.iter().any(|left| left.holds == [Hold::Paced { allowed: 0 }]), "{none:?}");
    let enough = made(&policy(), &changed(calm(), |it| it.conditions.detachable = Some(6)));
    assert_eq!(enough.holds, [], "nothing was held back");
}

#[test]
fn zones_stay_even_and_the_oldest_goes_first() {
    let zoned = changed(steady(48.0), |it| {
        for (number, instance) in it.inventory.instances.iter_mut().enumerate() {
            instance.zone = Some(if number < 7 { "a" } else { "b" }.to_owned());
            instance.since = NOW - 1_000 - number as i64;
        }
    });
    assert_eq!(
        detached(&made(&policy(), &changed(zoned.clone(), |it| cpu(it).forecast = Some(flat(400.0))))),
        ["i-6", "i-5"]
    );
    let even = changed(zoned, |it| it.inventory.instances.iter_mut().for_each(|instance| instance.since = NOW - 9));
    let plan = made(
        &policy(),
        &changed(even, |it| {
            *demand(it) = measured(10, 40.0, None).demand.expect("demand");
            cpu(it).forecast = Some(flat(400.0));
        }),
    );
    assert_eq!(detached(&plan), ["i-0", "i-1", "i-2"], "of equals the first by name");
}

#[test]
fn who_goes_is_picked_by_the_groups_own_termination_policy() {
    let picked = |termination: &[Pick], old: &[&str]| {
        let evidence = changed(steady(48.0), |it| {
            for (number, instance) in it.inventory.instances.iter_mut().enumerate() {
                instance.since = NOW - 1_000 + number as i64;
            }
            it.inventory.instances[0].protected = true;
            it.inventory.termination = termination.to_vec();
            it.inventory.old_versions = old.iter().map(ToString::to_string).collect();
        });
        detached(&made(&policy(), &evidence))
    };
    assert_eq!(picked(&[], &[]), ["i-1"], "the oldest that is not protected");
    assert_eq!(picked(&[], &["i-0", "i-5"]), ["i-5"], "an old version before it");
    assert_eq!(picked(&[Pick::Oldest], &["i-5"]), ["i-1"]);
    assert_eq!(picked(&[Pick::Newest], &["i-5"]), ["i-9"]);
    assert_eq!(picked(&[Pick::OldVersion, Pick::Newest], &["i-5", "i-3"]), ["i-5"]);
    assert_eq!(picked(&[Pick::OldVersion], &["i-5", "i-3"]), ["i-3"], "of equals the first by name");
}

#[test]
fn who_comes_back_keeps_the_zones_even_and_others_are_launched_as_long_as_they_can_be() {
    // Four more are needed than the ten of which some serve in each zone.
    let needed = |serving: &[(&str, usize)], shadows: &[(&str, &str)]| {
        let mut evidence = steady(80.0);
        let zones = serving.iter().flat_map(|(zone, count)| vec![(*zone).to_owned(); *count]);
        for (instance, zone) in evidence.inventory.instances.iter_mut().zip(zones) {
            instance.zone = Some(zone);
        }
        // The first was detached last.
        for (number, (id, zone)) in shadows.iter().enumerate() {
            evidence = with_shadow(evidence, id, Shadow { unfit: Vec::new(), ..over() });
            let shadow = evidence.inventory.instances.last_mut().expect("a shadow");
            (shadow.zone, shadow.since) = (Some((*zone).to_owned()), NOW - 60 * number as i64);
        }
        evidence.inventory.zones = serving.iter().map(|(zone, _)| (*zone).to_owned()).collect();
        evidence.inventory.evens_zones = true;
        evidence
    };
    let chosen = |evidence: &Evidence| {
        let plan = made(&policy(), evidence);
        (reattached(&plan).join(" "), launched(&plan))
    };
    let both = [("s-1", "a"), ("s-2", "a"), ("s-3", "b"), ("s-4", "b")];
    assert_eq!(chosen(&needed(&[("a", 5), ("b", 5)], &both)), ("s-1 s-3 s-2 s-4".to_owned(), 0));
    assert_eq!(chosen(&needed(&[("a", 6), ("b", 4)], &both)), ("s-3 s-4 s-1".to_owned(), 1));
    // Who warms up will be there as well, and is one of the four.
    let warming = changed(needed(&[("a", 5), ("b", 5)], &both), |it| {
        let (id, mode) = ("i-warming".to_owned(), InstanceMode::Warming);
        it.inventory.instances.push(Instance { id, mode, since: NOW - 60, ..it.inventory.instances[0].clone() });
    });
    assert_eq!(chosen(&warming), ("s-3 s-1 s-4".to_owned(), 0));
    // A third of one zone would be one too many: AZRebalance would end somebody for it.
    let of_one = [("s-1", "a"), ("s-2", "a"), ("s-3", "a"), ("s-4", "b")];
    let lopsided = needed(&[("a", 5), ("b", 5)], &of_one);
    assert_eq!(chosen(&lopsided), ("s-1 s-4 s-2".to_owned(), 1));
    assert!(made(&policy(), &lopsided).holds.contains(&Hold::UnevenZones { instances: 1 }));
    assert_eq!(chosen(&needed(&[("a", 6), ("b", 4)], &of_one[..3])), (String::new(), 4));
    // Uneven as they are, they become so no further.
    assert_eq!(chosen(&needed(&[("a", 5), ("c", 4), ("b", 1)], &[("s-1", "a"), ("s-2", "c")])), ("s-2".to_owned(), 3));
    let two_fuller = needed(&[("a", 4), ("c", 4), ("b", 2)], &[("s-1", "a"), ("s-2", "c")]);
    assert_eq!(chosen(&two_fuller), (String::new(), 4), "who would be as uneven as the one before is no better");
    // One zone, a provider that leaves zones alone, or a zone that nobody tells: nobody is ended for them.
    assert_eq!(chosen(&needed(&[("a", 10)], &of_one[..3])), ("s-1 s-2 s-3".to_owned(), 1));
    let alone = changed(lopsided.clone(), |it| it.inventory.evens_zones = false);
    assert_eq!(chosen(&alone), ("s-1 s-4 s-2 s-3".to_owned(), 0));
    let kept = |hold: &Hold| matches!(hold, Hold::UnevenZones { .. });
    assert!(!made(&policy(), &alone).holds.iter().any(kept));
    let untold = changed(lopsided.clone(), |it| it.inventory.instances.iter_mut().for_each(|it| it.zone = None));
    assert_eq!(chosen(&untold), ("s-1 s-2 s-3 s-4".to_owned(), 0));
    // What runs is better than nobody.
    let failing = changed(lopsided.clone(), |it| it.conditions.launch_again_at = Some(NOW + 60));
    assert_eq!(chosen(&failing), ("s-1 s-4 s-2 s-3".to_owned(), 0));
    assert!(!made(&policy(), &failing).holds.iter().any(kept), "nobody is left where he is");
    let spent = Policy { launches_per_hour: 0, ..policy() };
    assert_eq!(reattached(&made(&spent, &lopsided)), ["s-1", "s-4", "s-2", "s-3"]);
}

#[test]
fn a_weaker_mode_plans_the_same_and_permits_less() {
    for (mode, taking, adding) in
        [(Mode::Observe, false, false), (Mode::ScaleOut, false, true), (Mode::Full, true, true)]
    {
        let policy = Policy { mode, ..policy() };
        let down = made(&policy, &calm());
        assert_eq!((detached(&down).len(), terminated(&down).len()), (6, 1));
        assert!(down.steps.iter().all(|step| step.permitted == taking), "{mode}");
        let fit = Shadow { unfit: Vec::new(), ..over() };
        let up = made(&policy, &with_shadow(steady(80.0), "s-1", fit));
        assert_eq!((launched(&up), reattached(&up)), (3, vec!["s-1".to_owned()]));
        assert!(up.steps.iter().all(|step| step.permitted == adding), "{mode}");
        let doubted = Shadow { quiet_seconds: 0, ..over() };
        let kept = made(&policy, &with_shadow(steady(56.0), "s-1", doubted.clone()));
        assert!(matches!(kept.steps[0].step, Step::Extend { .. }), "{kept:?}");
        assert!(kept.steps.iter().all(|step| step.permitted == adding), "{mode}");
        let limit = Shadow { hard_limit: NOW, ..doubted };
        let left = made(&policy, &with_shadow(steady(56.0), "s-1", limit));
        assert!(matches!(left.steps[0].step, Step::Release { .. }), "{left:?}");
        assert!(left.steps.iter().all(|step| step.permitted == adding), "{mode}");
        let silent = Shadow { hard_limit: NOW, sample_age_seconds: None, ..over() };
        let ended = made(
            &Policy { silent_at_limit: AtLimit::Terminate, ..policy.clone() },
            &with_shadow(steady(56.0), "s-1", silent),
        );
        assert_eq!(terminated(&ended), ["s-1"]);
        assert!(ended.steps.iter().all(|step| step.permitted == taking), "{mode}");
        let foreign = Shadow { origin: Origin::Foreign, ..over() };
        let adopted = made(&Policy { adopt: Adopt::All, ..policy }, &with_shadow(steady(56.0), "s-1", foreign));
        assert!(matches!(adopted.steps[0].step, Step::Adopt { .. }), "{adopted:?}");
        assert!(adopted.steps.iter().all(|step| step.permitted == taking), "{mode}");
    }
}

#[test]
fn who_leaves_a_group_alone_adds_nothing_either() {
    type Spoil = fn(&mut Evidence);
    let alone: [(Spoil, Hold); 4] = [
        (|it| it.conditions.paused = true, Hold::Paused),
        (|it| it.conditions.not_owner = true, Hold::NotOwner),
        (|it| it.conditions.clock_jumped = true, Hold::ClockJump),
        (|it| it.conditions.changing = true, Hold::Changing),
    ];
    assert_eq!(launched(&made(&policy(), &steady(80.0))), 4);
    for (spoil, hold) in alone {
        let plan = made(&policy(), &changed(steady(80.0), spoil));
        assert_eq!((launched(&plan), plan.not_taken[0].holds.clone()), (0, vec![hold]));
    }
    // Doubt about anything else never stops what present demand asks for.
    let others: [Spoil; 6] = [
        |it| it.conditions.deploying = true,
        |it| it.conditions.launches_failing = true,
        |it| it.inventory.complete = false,
        |it| demand(it).incomplete = true,
        |it| it.conditions.foreign_scale_in = true,
        |it| it.conditions.started_seconds_ago = 0,
    ];
    for spoil in others {
        assert_eq!(launched(&made(&policy(), &changed(steady(80.0), spoil))), 4);
    }
}

#[test]
fn scale_out_stops_at_what_there_may_be() {
    let warming = changed(steady(80.0), |it| {
        it.inventory.instances.push(Instance { since: NOW - 900, ..instance("w-1", InstanceMode::Warming) });
        it.inventory.expected = 1;
    });
    let plan = made(&policy(), &warming);
    assert_eq!((launched(&plan), plan.warming, plan.holds.clone()), (2, 2, vec![Hold::Warming { instances: 2 }]));
    let maximum = made(&Policy { maximum: 12, ..policy() }, &steady(80.0));
    assert_eq!(launched(&maximum), 2);
    assert_eq!(maximum.holds, [Hold::AtMaximum { maximum: 12, wanted: 14, window: None }]);
    let capped = made(&Policy { launch_share: 0.5, maximum: 100, ..policy() }, &steady(95.0));
    assert_eq!(launched(&capped), 5);
    assert_eq!(capped.holds, [Hold::LaunchCapped { wanted: 6, allowed: 5 }]);
    let least = made(&Policy { launch_share: 0.1, maximum: 100, ..policy() }, &steady(95.0));
    assert_eq!(launched(&least), 4, "a small group is not starved");
    let spent = changed(steady(80.0), |it| it.conditions.launched_last_hour = 199);
    let spent = made(&policy(), &spent);
    assert_eq!(launched(&spent), 1);
    assert_eq!(spent.holds, [Hold::BudgetSpent { budget: Budget::Launches { per_hour: 200 } }]);
    let rich = Policy { spend_per_hour: Some(1.3), ..policy() };
    let money = |cost: f64, price: f64| {
        changed(steady(80.0), |it| {
            (it.conditions.cost_per_hour, it.conditions.price_per_hour) = (Some(cost), Some(price));
        })
    };
    let poor = made(&rich, &money(1.0, 0.1));
    assert_eq!(launched(&poor), 3);
    assert_eq!(poor.holds, [Hold::BudgetSpent { budget: Budget::Money { per_hour: 1.3 } }]);
    assert_eq!(launched(&made(&rich, &money(2.0, 0.1))), 0, "over it already");
    assert_eq!(launched(&made(&rich, &money(0.9, 0.1))), 4, "just enough");
    assert_eq!(launched(&made(&rich, &money(2.0, 0.0))), 4, "what costs nothing is not counted");
    let fit = Shadow { unfit: Vec::new(), ..over() };
    let back = made(&rich, &with_shadow(money(2.0, 0.1), "s-1", fit));
    assert_eq!((reattached(&back), launched(&back)), (vec!["s-1".to_owned()], 0), "what runs already costs no more");
}

#[test]
fn only_a_fit_shadow_of_ours_comes_back_the_latest_first() {
    let fit = || Shadow { unfit: Vec::new(), ..over() };
    let foreign = made(&policy(), &with_shadow(steady(80.0), "s-1", Shadow { origin: Origin::Foreign, ..fit() }));
    assert_eq!((reattached(&foreign), launched(&foreign)), (vec![], 4));
    let unfit = made(&policy(), &with_shadow(steady(80.0), "s-1", over()));
    assert_eq!((reattached(&unfit), launched(&unfit)), (vec![], 4));
    let mut many = steady(62.0);
    for (number, id) in ["s-1", "s-2", "s-3"].into_iter().enumerate() {
        many = with_shadow(many, id, fit());
        many.inventory.instances.last_mut().expect("it").since = NOW - [300, 100, 200][number];
    }
    let plan = made(&policy(), &many);
    assert_eq!((reattached(&plan), launched(&plan)), (vec!["s-2".to_owned()], 0));
    // Draining is no shadow yet.
    let draining = changed(with_shadow(steady(80.0), "d-1", fit()), |it| {
        it.inventory.instances.last_mut().expect("it").mode = InstanceMode::Draining;
    });
    assert_eq!(reattached(&made(&policy(), &draining)), Vec::<String>::new());
}

#[test]
fn a_shadow_has_its_own_word() {
    let fate = |policy: &Policy, shadow: Shadow| made(policy, &with_shadow(steady(56.0), "s-1", shadow));
    let extended = |plan: &Plan| plan.steps.iter().any(|step| matches!(step.step, Step::Extend { .. }));
    let why = |plan: &Plan| {
        let left = plan.not_taken.iter().find(|left| left.direction == Direction::Shadow).expect("said");
        left.holds.clone()
    };
    assert_eq!(terminated(&fate(&policy(), over())), ["s-1"]);
    let runs = fate(&policy(), Shadow { lease_over: false, ..over() });
    assert!(runs.steps.is_empty() && why(&runs).is_empty(), "{runs:?}");
    for silent in [None, Some(121)] {
        let plan = fate(&policy(), Shadow { sample_age_seconds: silent, ..over() });
        assert!(extended(&plan), "{plan:?}");
        assert_eq!(why(&plan), [Hold::ShadowDisagrees { shadows: 1, why: Disagreement::Silent }]);
    }
    let talks = fate(&policy(), Shadow { quiet_seconds: 599, ..over() });
    assert!(extended(&talks));
    let still = Disagreement::StillTalks { wanted_seconds: 600 };
    assert_eq!(why(&talks), [Hold::ShadowDisagrees { shadows: 1, why: still }]);
    let protected = changed(with_shadow(steady(56.0), "s-1", over()), |it| {
        it.inventory.instances.last_mut().expect("it").protected = true;
    });
    let plan = made(&policy(), &protected);
    assert!(extended(&plan));
    assert_eq!(why(&plan), [Hold::ShadowDisagrees { shadows: 1, why: Disagreement::Protected }]);
    let ending = fate(&policy(), Shadow { ending: true, ..over() });
    assert!(extended(&ending));
    assert_eq!(why(&ending), [Hold::ShadowDisagrees { shadows: 1, why: Disagreement::Ending }]);
    let all = Policy { adopt: Adopt::All, ..policy() };
    let theirs = fate(&all, Shadow { ending: true, origin: Origin::Foreign, ..over() });
    assert!(theirs.steps.is_empty(), "nothing could be done with it: {theirs:?}");
    let foreign = fate(&policy(), Shadow { origin: Origin::Foreign, ..over() });
    assert!(foreign.steps.is_empty(), "{foreign:?}");
    assert!(foreign.not_taken.iter().any(|left| left.reason.contains("somebody else")));
}

#[test]
fn a_shadow_that_may_be_needed_stays() {
    let may_be_needed = [Hold::ShadowDisagrees { shadows: 1, why: Disagreement::MayBeNeeded }];
    let stays = |policy: &Policy, evidence: &Evidence| {
        let plan = made(policy, evidence);
        assert!(matches!(plan.steps[0].step, Step::Extend { .. }), "{plan:?}");
        let left = plan.not_taken.iter().find(|left| left.reason == "not all agree to terminate").expect("said");
        assert_eq!(left.holds, may_be_needed, "{plan:?}");
    };
    let later = changed(with_shadow(steady(56.0), "s-1", over()), |it| {
        // In forty minutes eleven are needed.
        let forecast = cpu(it).forecast.as_mut().expect("one");
        forecast.paths.iter_mut().for_each(|path| path[8] = 640.0);
    });
    stays(&policy(), &later);
    // b = 0 asks for eleven, b = 10 for no more than ten.
    let plain = changed(with_shadow(steady(60.5), "s-1", over()), |it| {
        cpu(it).baseline.points = 10.0;
        cpu(it).forecast = Some(flat(450.0));
        cpu(it).highest_lately = None;
    });
    let plan = made(&policy(), &plain);
    assert_eq!(plan.need_now, Some(11));
    let floor = with_shadow(steady(56.0), "s-1", over());
    let soon =
        Window { name: "noon".to_owned(), from: NOW + 3_000, until: NOW + 6_000, minimum: Some(11), maximum: None };
    stays(&Policy { windows: vec![soon], ..policy() }, &floor);
}

#[test]
fn at_its_hard_limit_a_shadow_is_released_or_ends_as_the_policy_says() {
    let limit = |shadow: Shadow| Shadow { hard_limit: NOW, ..shadow };
    let fate = |policy: &Policy, evidence: &Evidence| made(policy, evidence).steps.first().map(|it| it.step.clone());
    let one = || vec!["s-1".to_owned()];
    let silent = limit(Shadow { sample_age_seconds: None, ..over() });
    let ends = Policy { silent_at_limit: AtLimit::Terminate, ..policy() };
    let evidence = with_shadow(steady(56.0), "s-1", silent.clone());
    assert_eq!(fate(&policy(), &evidence), Some(Step::Release { instances: one() }));
    assert_eq!(fate(&ends, &evidence), Some(Step::Terminate { instances: one() }));
    let deploying = |evidence: &Evidence| changed(evidence.clone(), |it| it.conditions.deploying = true);
    // What is the group's may pass: an hour.
    let at = |since: i64, evidence: &Evidence| {
        changed(evidence.clone(), |it| {
            let shadow = it.inventory.instances.last_mut().and_then(|it| it.shadow.as_mut());
            shadow.expect("one").hard_limit = NOW - since;
        })
    };
    let idle = with_shadow(steady(56.0), "s-1", limit(over()));
    assert_eq!(fate(&policy(), &idle), Some(Step::Terminate { instances: one() }));
    for (policy, evidence) in [(&ends, &evidence), (&policy(), &idle)] {
        for since in [0, 3_599] {
            let plan = made(policy, &at(since, &deploying(evidence)));
            assert_eq!(plan.steps, [], "a hold stands");
            let left = plan.not_taken.iter().find(|left| left.direction == Direction::Shadow).expect("said");
            assert_eq!((left.instances, left.reason.as_str()), (1, "not all agree to terminate"));
            assert!(left.holds.contains(&Hold::Deploying), "{left:?}");
        }
        let held = at(3_600, &deploying(evidence));
        assert_eq!(fate(policy, &held), Some(Step::Release { instances: one() }), "it goes on");
    }
    assert_eq!(
        fate(&policy(), &deploying(&evidence)),
        Some(Step::Release { instances: one() }),
        "its silence is its own"
    );
    let needed = changed(evidence, |it| cpu(it).forecast = Some(flat(700.0)));
    let needed = changed(needed, |it| cpu(it).forecast.as_mut().expect("one").trust = 0.0);
    assert_eq!(fate(&ends, &needed), None, "it may be needed");
    assert_eq!(fate(&ends, &at(3_600, &needed)), Some(Step::Release { instances: one() }), "and may be for an hour");
    let talks = with_shadow(steady(56.0), "s-1", limit(Shadow { quiet_seconds: 0, ..over() }));
    assert_eq!(fate(&ends, &talks), Some(Step::Release { instances: one() }), "silence alone is decided beforehand");
    let before = with_shadow(steady(56.0), "s-1", Shadow { hard_limit: NOW + 1, ..silent });
    assert_eq!(fate(&ends, &before), Some(Step::Extend { instances: one() }));
    let fit = limit(Shadow { unfit: Vec::new(), price_per_hour: Some(0.0), ..over() });
    let agreed = with_shadow(steady(56.0), "s-1", fit.clone());
    assert_eq!(fate(&policy(), &agreed), Some(Step::Terminate { instances: one() }), "worth keeping, and not possible");
    let kept = with_shadow(steady(56.0), "s-1", Shadow { hard_limit: NOW + 1, ..fit });
    let kept = changed(kept, |it| {
        // Eleven are needed in one case of fifty.
        let forecast = cpu(it).forecast.as_mut().expect("one");
        forecast.paths[4].iter_mut().for_each(|demand| *demand = 640.0);
        forecast.paths[3].iter_mut().for_each(|demand| *demand = 590.0);
    });
    assert_eq!(fate(&policy(), &kept), Some(Step::Extend { instances: one() }));
}

#[test]
fn shadows_end_at_a_pace_the_oldest_first() {
    let mut evidence = steady(56.0);
    for (number, id) in ["s-1", "s-2", "s-3"].into_iter().enumerate() {
        evidence = with_shadow(evidence, id, over());
        evidence.inventory.instances.last_mut().expect("it").since = NOW - [300, 100, 200][number];
    }
    assert_eq!(terminated(&made(&policy(), &evidence)).len(), 3);
    evidence.conditions.terminable = Some(2);
    let plan = made(&policy(), &evidence);
    assert_eq!(terminated(&plan), ["s-3", "s-1"]);
    assert_eq!(plan.holds, [Hold::Paced { allowed: 2 }]);
    assert!(plan.not_taken.iter().any(|left| left.instances == 1 && left.holds == [Hold::Paced { allowed: 2 }]));
    evidence.conditions.terminable = Some(3);
    assert_eq!(made(&policy(), &evidence).holds, []);
}

#[test]
fn present_demand_may_have_a_lower_target() {
    let lower = |target: f64| Policy { reactive_targets: BTreeMap::from([(Metric::Cpu, target)]), ..policy() };
    assert_eq!(made(&policy(), &steady(55.0)).need_now, Some(10));
    let plan = made(&lower(50.0), &steady(55.0));
    assert_eq!((plan.need_now, launched(&plan)), (Some(11), 1));
    assert_eq!(detached(&made(&lower(40.0), &steady(20.0))).len(), 5, "and it is the floor of scale-in");
    assert_eq!(made(&lower(90.0), &steady(55.0)).need_now, Some(10), "it never stands above the target");
    // b = 20 can be at a target of 60 and cannot at one of 30.
    let idle = changed(steady(25.0), |it| cpu(it).baseline.points = 20.0);
    assert_eq!((made(&policy(), &idle).need_now, made(&lower(30.0), &idle).need_now), (Some(2), Some(9)));
    assert_eq!(lower(60.0).problems(), []);
    assert_eq!(lower(60.1).problems()[0].field, "reactive_targets");
}

#[test]
fn few_large_changes_are_made_where_a_change_costs() {
    let costs = |change_cost: f64| Policy { change_cost, ..policy() };
    let cheap = |evidence: Evidence| changed(evidence, |it| it.conditions.price_per_hour = Some(0.1));
    // Six go: 0.6 within an hour.
    assert_eq!(detached(&made(&costs(0.6), &cheap(steady(20.0)))).len(), 6);
    let small = made(&costs(0.61), &cheap(steady(20.0)));
    assert_eq!(detached(&small), Vec::<String>::new());
    assert!(matches!(small.not_taken[1].holds[..], [Hold::SmallChange { costs: 0.61, .. }]), "{small:?}");
    let paced = changed(cheap(steady(20.0)), |it| it.conditions.detachable = Some(1));
    assert_eq!(detached(&made(&costs(0.5), &paced)).len(), 1, "the pace makes no change smaller");
    assert_eq!(detached(&made(&costs(0.7), &steady(20.0))), Vec::<String>::new(), "a usual price where none is told");
    // Load rises by one instance every five minutes: launched one by one, or some at once.
    let rising = cheap(changed(steady(60.0), |it| {
        let forecast = cpu(it).forecast.as_mut().expect("one");
        for path in &mut forecast.paths {
            for (step, demand) in path.iter_mut().enumerate() {
                *demand = 59.0 * (10 + step) as f64;
            }
        }
    }));
    let one = made(&costs(0.0), &rising);
    assert_eq!((launched(&one), one.needs[0].later), (1, None));
    // The second is early by 5 min, the third by 10, the fourth by 15: 0.1/12 + 0.2/12 + 0.3/12 = 0.05.
    let some = made(&costs(0.051), &rising);
    assert_eq!((launched(&some), some.needs[0].later), (4, Some(14)), "{some:?}");
    assert!(some.steps[0].reason.contains("14 soon after, brought forward"), "{some:?}");
    let still = cheap(changed(steady(56.0), |it| {
        let forecast = cpu(it).forecast.as_mut().expect("one");
        forecast.paths.iter_mut().for_each(|path| path[4..].iter_mut().for_each(|demand| *demand = 640.0));
    }));
    assert_eq!(launched(&made(&costs(10.0), &still)), 0, "nothing is begun for its sake");
    assert_eq!(costs(-1.0).problems()[0].field, "change_cost");
}

fn floor_of(plan: &Plan) -> Option<(u32, u32)> {
    plan.steps.iter().find_map(|step| match step.step {
        Step::Floor { from, to } => Some((from, to)),
        _ => None,
    })
}

#[test]
fn the_floor_under_the_provider_moves_no_further_than_it_may() {
    let kept = |evidence: Evidence, now, own| {
        changed(evidence, |it| {
            it.conditions.foreign_scale_in = true;
            it.conditions.floor = Some(Floor { now, own });
        })
    };
    let unknown = made(&policy(), &changed(kept(steady(20.0), 9, 1), |it| cpu(it).demand = None));
    assert!(unknown.not_taken.iter().all(|left| !left.reason.contains("scale-in stops")), "{unknown:?}");
    assert_eq!(floor_of(&made(&policy(), &kept(steady(20.0), 9, 5))), Some((9, 5)), "the user's own");
    let window =
        Window { name: "noon".to_owned(), from: NOW + 3_000, until: NOW + 9_000, minimum: Some(8), maximum: None };
    let windowed = Policy { windows: vec![window], ..policy() };
    assert_eq!(floor_of(&made(&windowed, &kept(steady(20.0), 2, 1))), Some((2, 8)), "also where nothing rises");
    let rising = |now| changed(kept(steady(60.0), now, 1), |it| cpu(it).forecast = Some(flat(740.0)));
    assert_eq!(floor_of(&made(&policy(), &rising(2))), Some((2, 10)));
    assert_eq!(floor_of(&made(&policy(), &rising(12))), None, "not lowered because somebody is missing");
    let paused = made(&policy(), &changed(rising(2), |it| it.conditions.paused = true));
    assert!(
        paused
            .not_taken
            .iter()
            .any(|left| { left.direction == Direction::ScaleOut && left.reason.contains("scale-in stops at 2") }),
        "{paused:?}"
    );
    let small = kept(steady(15.0), 4, 1);
    assert_eq!(floor_of(&made(&policy(), &small)), None, "one fewer is no reason for a call");
}

#[test]
fn doubtful_figures_take_nobody_away() {
    let need_now = |evidence: &Evidence| made(&policy(), evidence).need_now;
    // A baseline above what serving instances use is none.
    assert_eq!(need_now(&changed(steady(20.0), |it| cpu(it).baseline.points = 25.0)), Some(4));
    let weightless = changed(steady(20.0), |it| {
        demand(it).weight = 0.0;
        cpu(it).baseline.points = 25.0;
    });
    assert_eq!(need_now(&weightless), Some(4));
    let trusting = changed(calm(), |it| cpu(it).forecast.as_mut().expect("one").trust = f64::NAN);
    let plan = made(&policy(), &trusting);
    assert_eq!(plan.holds, [Hold::LowTrust { metric: Metric::Cpu, trust: 0.0, minimum: 0.2 }]);
    assert_eq!(detached(&plan), Vec::<String>::new());
    let aimless = Policy { targets: BTreeMap::new(), ..policy() };
    let plan = made(&aimless, &calm());
    assert_eq!((terminated(&plan), detached(&plan)), (vec![], vec![]), "nothing is measured");
    // The present need of the greediest metric holds for all: a little trust in the other takes nobody.
    let mut both = policy();
    both.targets.insert(Metric::Memory, 60.0);
    let two = changed(steady(20.0), |it| {
        cpu(it).forecast.as_mut().expect("one").trust = 0.7;
        it.metrics.insert(Metric::Memory, measured(10, 47.0, Some(flat(440.0))));
    });
    assert_eq!(detached(&made(&both, &two)), Vec::<String>::new());
    // What a short forecast knows counts for scale-out.
    let short = changed(steady(20.0), |it| {
        *cpu(it) = measured(10, 20.0, Some(flat(700.0)));
        cpu(it).forecast.as_mut().expect("one").paths.iter_mut().for_each(|path| path.truncate(1));
    });
    assert_eq!(made(&policy(), &short).need_ahead, Some(12));
    let nobody = changed(steady(20.0), |it| {
        it.inventory.instances.clear();
        cpu(it).demand = None;
    });
    assert_eq!(made(&policy(), &nobody).need_ahead, Some(4), "of the reference type");
    for (price, gone) in [(f64::NAN, 0), (f64::INFINITY, 0), (-1.0, 0), (0.2, 6)] {
        let priced = changed(steady(20.0), |it| it.conditions.price_per_hour = Some(price));
        let costly = Policy { change_cost: 0.7, ..policy() };
        assert_eq!(detached(&made(&costly, &priced)).len(), gone, "{price}: a price that cannot be is the usual one");
        let cheap = Policy { change_cost: 0.5, ..policy() };
        assert_eq!(detached(&made(&cheap, &priced)).len(), 6, "{price}");
    }
}

#[test]
fn need_counts_instances_of_the_mean_weight_that_serves() {
    let big = changed(steady(20.0), |it| {
        it.inventory.instances.iter_mut().for_each(|instance| instance.instance_type = Some("big".to_owned()));
        it.inventory.instances.push(instance("w-1", InstanceMode::Warming));
        demand(it).gross = 1_670.0;
    });
    let weighted = Policy { weights: BTreeMap::from([("big".to_owned(), 2.0)]), ..policy() };
    assert_eq!(made(&weighted, &big).need_now, Some(14));
    let mut both = policy();
    both.targets.insert(Metric::Memory, 60.0);
    let two =
        changed(steady(20.0), |it| drop(it.metrics.insert(Metric::Memory, measured(10, 15.0, Some(flat(500.0))))));
    assert_eq!(made(&both, &two).binding, Some(Metric::Memory), "what it asks for ahead counts");
}

#[test]
fn what_is_said_is_what_was_decided() {
    let (next, memory) = plan(NOW, &policy(), &steady(56.0), &Memory { generation: 5 });
    assert_eq!((next.parent, next.generation, memory.generation), (Some(5), 6, 6));
    assert_eq!(made(&policy(), &steady(56.0)).parent, None);
    let none = made(&policy(), &changed(calm(), |it| it.conditions.detachable = Some(0)));
    assert!(none.not_taken.iter().any(|left| left.reason.ends_with("could go by present demand alone")), "{none:?}");
    assert_eq!(made(&Policy { change_cost: 1.0, ..policy() }, &steady(56.0)).holds, [], "nothing was to be changed");
    let flat = made(&Policy { change_cost: 0.0001, ..policy() }, &steady(80.0));
    assert!(!flat.steps[0].reason.contains("soon after"), "{flat:?}");
    let fit = Shadow { unfit: Vec::new(), ..over() };
    assert_eq!(made(&policy(), &with_shadow(steady(62.0), "s-1", fit)).steps.len(), 1, "no launch of nobody");
    let rich = Policy { spend_per_hour: Some(1.3), ..policy() };
    let cheap = changed(steady(80.0), |it| {
        (it.conditions.cost_per_hour, it.conditions.price_per_hour) = (Some(0.9), Some(0.01));
    });
    assert_eq!((launched(&made(&rich, &cheap)), made(&rich, &cheap).holds), (4, vec![]));
}

#[test]
fn shadows_are_counted_and_judged_one_by_one() {
    let draining = changed(with_shadow(steady(56.0), "d-1", over()), |it| {
        it.inventory.instances.last_mut().expect("it").mode = InstanceMode::Draining;
    });
    assert_eq!(made(&policy(), &draining).steps, []);
    let ends = Policy { silent_at_limit: AtLimit::Terminate, ..policy() };
    let silent = Shadow { sample_age_seconds: None, hard_limit: NOW, ..over() };
    let needed = changed(with_shadow(steady(56.0), "s-1", silent.clone()), |it| {
        cpu(it).forecast.as_mut().expect("one").paths.iter_mut().for_each(|path| path[8] = 640.0);
    });
    let plan = made(&ends, &needed);
    let may = Hold::ShadowDisagrees { shadows: 1, why: Disagreement::MayBeNeeded };
    assert_eq!((plan.steps.len(), plan.not_taken.last().map(|left| left.holds.clone())), (0, Some(vec![may])));
    let paced = changed(with_shadow(steady(56.0), "s-1", silent), |it| it.conditions.terminable = Some(0));
    assert_eq!(terminated(&made(&ends, &paced)), Vec::<String>::new());
    let talks = || Shadow { quiet_seconds: 0, ..over() };
    let still = Hold::ShadowDisagrees { shadows: 2, why: Disagreement::StillTalks { wanted_seconds: 600 } };
    let deaf = Hold::ShadowDisagrees { shadows: 1, why: Disagreement::Silent };
    let three = with_shadow(with_shadow(steady(56.0), "s-1", talks()), "s-2", talks());
    let three = with_shadow(three, "s-3", Shadow { sample_age_seconds: None, ..over() });
    let plan = made(&policy(), &three);
    let holds: Vec<Hold> = plan.not_taken.iter().flat_map(|left| left.holds.clone()).collect();
    assert!(holds.len() == 2 && holds.contains(&still) && holds.contains(&deaf), "{holds:?}");
    // Never needed, at no level: not even one that costs nothing is worth keeping.
    let idle = Shadow { unfit: Vec::new(), price_per_hour: Some(0.0), ..over() };
    let sure = changed(with_shadow(steady(56.0), "s-1", idle), |it| {
        cpu(it).forecast.as_mut().expect("one").paths.iter_mut().for_each(|path| path.fill(560.0));
    });
    assert_eq!(terminated(&made(&policy(), &sure)), ["s-1"]);
}

#[test]
fn no_trust_in_a_trust_that_cannot_be() {
    use planner::rule::{boldness, step};
    for trust in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!((boldness(trust), step(10, 5, 20, trust).out, step(10, 5, 5, trust).inward), (0.0, 0, 0));
    }
}

#[test]
fn windows_raise_the_floor_and_lower_the_ceiling() {
    let window = |from: i64, until: i64, minimum, maximum| Window {
        name: "noon".to_owned(),
        from: NOW + from,
        until: NOW + until,
        minimum,
        maximum,
    };
    let with = |window: Window| Policy { windows: vec![window], ..policy() };
    let name = || Some("noon".to_owned());
    // The floor is there when it begins, and nobody goes who would have to come back for it.
    let now = made(&with(window(-10, 10, Some(13), None)), &steady(20.0));
    assert_eq!(launched(&now), 3);
    assert!(now.steps[0].reason.contains("the minimum is 13, by the window noon"), "{now:?}");
    assert_eq!(launched(&made(&with(window(300, 400, Some(13), None)), &steady(20.0))), 3);
    let soon = made(&with(window(301, 400, Some(13), None)), &steady(20.0));
    assert_eq!((launched(&soon), detached(&soon).len()), (0, 0));
    let later = made(&with(window(3_899, 4_000, Some(8), None)), &steady(20.0));
    assert_eq!(detached(&later).len(), 2);
    assert_eq!(later.holds, [Hold::AtMinimum { minimum: 8, window: name() }]);
    assert!(later.holds[0].to_string().ends_with("by the window noon"));
    assert_eq!(detached(&made(&with(window(3_900, 4_000, Some(8), None)), &steady(20.0))).len(), 6);
    let ceiling = made(&with(window(-10, 10, None, Some(12))), &steady(80.0));
    assert_eq!(launched(&ceiling), 2);
    assert_eq!(ceiling.holds, [Hold::AtMaximum { maximum: 12, wanted: 14, window: name() }]);
    assert_eq!(launched(&made(&with(window(10, 20, None, Some(12))), &steady(80.0))), 4, "not yet");
    assert_eq!(launched(&made(&with(window(-10, 0, None, Some(12))), &steady(80.0))), 4, "no more");
}

/// The CPU is calm, and requests are told: `demand` now, `ahead` by the forecast; one instance carries 200 of them.
fn requested(demand: Option<f64>, ahead: f64) -> (Metric, Policy, Evidence) {
    let requests = Metric::declare("requests").expect("a name");
    let mut policy = policy();
    policy.targets.insert(requests, 200.0);
    let told = MetricEvidence {
        demand: demand.and_then(|value| planner::demand::whole(value, 10, 10.0)),
        ..measured(10, 0.0, Some(flat(ahead)))
    };
    (requests, policy, changed(calm(), |it| drop(it.metrics.insert(requests, told))))
}

#[test]
fn a_declared_metric_drives_capacity_by_what_one_instance_carries() {
    let (requests, policy, evidence) = requested(Some(2_500.0), 2_500.0);
    let plan = made(&policy, &evidence);
    assert_eq!((plan.need_now, plan.binding), (Some(13), Some(requests)));
    assert!(plan.steps.iter().any(|step| step.step == Step::Launch { count: 3 }), "{:?}", plan.steps);
    assert_eq!(plan.holds, [], "2 500 of them saturate nobody");
    // What was said of an idle part of it is not believed.
    let idle = changed(evidence, |it| it.metrics.get_mut(&requests).expect("told").baseline.points = 90.0);
    assert_eq!(made(&policy, &idle).need_now, Some(13));
    // Ahead of it as well, and by the lower target where there is one.
    let (requests, mut policy, evidence) = requested(Some(400.0), 4_000.0);
    assert_eq!((made(&policy, &evidence).need_ahead, made(&policy, &evidence).binding), (Some(20), Some(requests)));
    policy.reactive_targets.insert(requests, 25.0);
    assert_eq!(made(&policy, &evidence).need_now, Some(16));
    // Without a target it says nothing.
    policy.targets.remove(&requests);
    policy.reactive_targets.clear();
    assert_eq!((made(&policy, &evidence).binding, detached(&made(&policy, &evidence)).len()), (Some(Metric::Cpu), 6));
}

#[test]
fn a_declared_metric_that_is_not_told_or_is_old_takes_nobody_away_and_is_named() {
    let (requests, policy, evidence) = requested(Some(400.0), 400.0);
    assert_eq!((detached(&made(&policy, &evidence)).len(), made(&policy, &evidence).holds), (6, vec![]));
    let (_, _, absent) = requested(None, 400.0);
    let plan = made(&policy, &absent);
    assert_eq!((detached(&plan), terminated(&plan)), (vec![], vec![]));
    assert_eq!(plan.holds, [Hold::NoEvidence { metric: requests }]);
    assert_eq!(plan.holds[0].to_string(), "no fresh value of requests was sent; absent is not zero");
    let old = changed(evidence.clone(), |it| it.metrics.get_mut(&requests).expect("told").age_seconds = 121);
    let plan = made(&policy, &old);
    assert_eq!(detached(&plan), Vec::<String>::new());
    assert!(plan.holds[0].to_string().starts_with("the newest requests is 121 s old"), "{:?}", plan.holds);
    let part = changed(evidence, |it| {
        let demand = it.metrics.get_mut(&requests).expect("told").demand.as_mut().expect("demand");
        (demand.incomplete, demand.reporting) = (true, 8);
    });
    assert_eq!(detached(&made(&policy, &part)), Vec::<String>::new());
    // Nobody serves and messages wait: the queue wakes the group.
    let (_, policy, mut asleep) = requested(None, 0.0);
    asleep.inventory.instances.clear();
    asleep.metrics.get_mut(&requests).expect("told").demand = planner::demand::whole(500.0, 0, 0.0);
    asleep.metrics.get_mut(&Metric::Cpu).expect("cpu").demand = None;
    assert_eq!(made(&policy, &asleep).need_now, Some(3));
}

#[test]
fn a_target_of_a_declared_metric_is_no_share() {
    let (requests, mut policy, _) = requested(None, 0.0);
    let fields = |policy: &Policy| policy.problems().iter().map(|problem| problem.field).collect::<Vec<_>>();
    assert_eq!(fields(&policy), Vec::<&str>::new());
    for target in [0.0, -1.0, f64::NAN, f64::INFINITY, 2e9] {
        policy.targets.insert(requests, target);
        assert_eq!(fields(&policy), ["targets"], "{target}");
    }
    policy.targets.insert(requests, 0.5);
    policy.reactive_targets.insert(requests, 0.25);
    assert_eq!(fields(&policy), Vec::<&str>::new());
    policy.reactive_targets.insert(requests, 0.6);
    assert_eq!(fields(&policy), ["reactive_targets"]);
}
