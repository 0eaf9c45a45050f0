//! What speaks against a call at its very moment, one reason at a time, each with the call that is made without it.

use planner::demand::InstanceMode;
use planner::evidence::{Evidence, Instance, Inventory};
use planner::hold::Hold;
use planner::meanwhile::{Call, Described, Doing, Leash, Meanwhile, against, by_latest, still};
use planner::plan::{Memory, MetricNeeds, Plan};
use planner::policy::{Metric, Mode, Policy};

const NOW: i64 = 1_800_000_000;
const LAUNCH: Doing = Doing::Launch { count: 1, size: 11 };
const FREE: Leash = Leash { mode: Mode::Full, paused: false };
const CALM: Described = Described { deploying: false, another_version: false, present: 10, desired: 10 };

/// Ten serve.
fn evidence() -> Evidence {
    let serving = |number: u32| Instance {
        id: format!("i-{number}"),
        instance_type: None,
        zone: None,
        mode: InstanceMode::Serving,
        since: NOW - 86_400,
        protected: false,
        shadow: None,
    };
    let instances = (0..10).map(serving).collect();
    Evidence { inventory: Inventory { complete: true, instances, ..Inventory::default() }, ..Evidence::default() }
}

/// Plan 2: nine are enough, now and within the window, and nothing holds.
fn latest() -> Plan {
    let needs = MetricNeeds {
        metric: Metric::Cpu,
        demand: Some(500.0),
        baseline: 0.0,
        reactive: Some(9),
        ahead: Some(9),
        later: None,
        window: Some(9),
        without_baseline: Some(9),
        trust: 1.0,
        events: Vec::new(),
        window_events: Vec::new(),
    };
    let (plan, _) = planner::plan(NOW, &Policy::new("web"), &evidence(), &Memory::default());
    Plan { generation: 2, holds: Vec::new(), needs: vec![needs], need_now: Some(9), need_ahead: Some(11), ..plan }
}

/// A step of plan 1.
fn call(doing: Doing, leaving: &[String]) -> Call<'_> {
    Call { doing, leaving, generation: 1, late: false }
}

fn said(call: Call<'_>, leash: Leash, described: Described, plan: &Plan) -> Vec<Meanwhile> {
    against(call, leash, described, (plan, &Policy::new("web"), &evidence()), NOW)
}

#[test]
fn nothing_is_called_that_the_leash_forbids_by_now() {
    for (doing, least) in [
        (LAUNCH, Mode::ScaleOut),
        (Doing::Floor, Mode::ScaleOut),
        (Doing::BringBack, Mode::ScaleOut),
        (Doing::TakeAway, Mode::Full),
    ] {
        for mode in [Mode::Observe, Mode::ScaleOut, Mode::Full] {
            let reasons: &[Meanwhile] = if mode < least { &[Meanwhile::Tightened { mode }] } else { &[] };
            let leash = Leash { mode, paused: false };
            assert_eq!(said(call(doing, &[]), leash, CALM, &latest()), reasons, "{doing:?}");
            assert_eq!(still(doing, leash, true, 45, 45).as_slice(), reasons, "{doing:?}");
            let paused = Leash { mode, paused: true };
            assert_eq!(said(call(doing, &[]), paused, CALM, &latest()), [Meanwhile::Paused], "{doing:?}");
            assert_eq!(still(doing, paused, true, 0, 45), Some(Meanwhile::Paused), "{doing:?}");
        }
        assert_eq!(still(doing, FREE, false, 0, 45), Some(Meanwhile::TakenOver));
        assert_eq!(still(doing, FREE, true, 46, 45), Some(Meanwhile::OldWord { seconds: 46 }));
    }
}

#[test]
fn a_deploy_brings_nobody_back_and_takes_nobody_away() {
    let deploying = Described { deploying: true, ..CALM };
    let another = Described { another_version: true, ..CALM };
    let reasons = |doing, described| said(call(doing, &[]), FREE, described, &latest());
    assert_eq!(reasons(Doing::BringBack, deploying), [Meanwhile::Deployed]);
    assert_eq!(reasons(Doing::BringBack, another), [Meanwhile::Deployed]);
    assert_eq!(reasons(Doing::TakeAway, deploying), [Meanwhile::Deployed]);
    assert_eq!(reasons(Doing::TakeAway, another), [], "what goes need not be of the newest version");
    for described in [deploying, another] {
        assert_eq!(reasons(LAUNCH, described), [], "more are launched all the same");
        assert_eq!(reasons(Doing::Floor, described), []);
    }
}

#[test]
fn a_newer_plan_takes_back_what_an_older_one_launched_for() {
    let launch = |size| call(Doing::Launch { count: 1, size }, &[]);
    let there = |needed| Meanwhile::Present { latest: 2, generation: 1, needed };
    let plan = |now, ahead| Plan { need_now: now, need_ahead: ahead, ..latest() };
    let reasons = |plan: &Plan| said(launch(11), FREE, CALM, plan);
    assert_eq!(reasons(&plan(Some(9), Some(10))), [there(10)]);
    assert_eq!(reasons(&plan(Some(10), Some(9))), [there(10)]);
    assert_eq!(reasons(&plan(Some(9), Some(11))), []);
    assert_eq!(reasons(&plan(Some(11), Some(9))), []);
    assert_eq!(reasons(&plan(None, Some(9))), [], "it does not know what is needed now");
    assert_eq!(reasons(&plan(Some(9), None)), [], "nor what is needed soon");
    let same = Plan { generation: 1, ..plan(Some(4), Some(4)) };
    assert_eq!(reasons(&same), [], "the very plan of this step");
    let minimum = Policy { minimum: 11, ..Policy::new("web") };
    let nine = plan(Some(9), Some(9));
    assert_eq!(against(launch(11), FREE, CALM, (&nine, &minimum, &evidence()), NOW), [], "the minimum asks for it");
}

#[test]
fn no_launch_undoes_what_somebody_made_smaller_since() {
    let plan = Plan { need_ahead: Some(14), ..latest() };
    let launch = |size, late| Call { late, ..call(Doing::Launch { count: 1, size }, &[]) };
    let reasons = |size, late, desired| said(launch(size, late), FREE, Described { desired, ..CALM }, &plan);
    assert_eq!(reasons(12, true, 10), [Meanwhile::MadeSmaller { size: 12 }]);
    assert_eq!(reasons(11, true, 10), []);
    assert_eq!(reasons(12, true, 11), [], "as many were asked for");
    assert_eq!(reasons(11, true, 0), [], "as many are there");
    assert_eq!(reasons(12, false, 10), [], "what is desired may be read stale right after a change of ours");
    let same = Plan { generation: 1, ..plan.clone() };
    assert_eq!(said(launch(12, true), FREE, CALM, &same), [], "the very plan of this step");
}

#[test]
fn a_newer_plan_that_holds_or_may_need_them_takes_nobody_away() {
    let one = ["i-0".to_owned()];
    let away = call(Doing::TakeAway, &one);
    assert_eq!(by_latest(away, &latest(), &evidence()), [], "nine stay, nine are needed");
    let metric = Metric::Cpu;
    for hold in [
        Hold::ClockJump,
        Hold::Surprise { metric, demand: 1.0, expected_at_least: 9.0 },
        Hold::LowTrust { metric, trust: 0.1, minimum: 0.5 },
        Hold::OutOfCredits { instances: 1 },
        Hold::Deploying,
        Hold::ForeignScaleIn,
        Hold::Untold,
        Hold::NotOwner,
        Hold::LaunchesFailing,
        Hold::ClaimedGroup,
    ] {
        let plan = Plan { holds: vec![Hold::Changing, hold.clone()], ..latest() };
        let held = [Meanwhile::Holds { latest: 2, generation: 1, hold }];
        assert_eq!(by_latest(away, &plan, &evidence()), held);
        assert_eq!(said(away, FREE, CALM, &plan), held);
        for doing in [LAUNCH, Doing::Floor, Doing::BringBack] {
            assert_eq!(said(call(doing, &[]), FREE, CALM, &plan), [], "more is never held by it");
        }
        let same = Plan { generation: 1, ..plan };
        assert_eq!(by_latest(away, &same, &evidence()), [], "its own plan knew");
    }
    let changing = Plan { holds: vec![Hold::Changing], ..latest() };
    assert_eq!(by_latest(away, &changing, &evidence()), [], "its own change is under way");
    let may = [Meanwhile::MayNeed { latest: 2, generation: 1 }];
    type Alter = fn(&mut Plan);
    let more: [(Alter, &str); 5] = [
        (|it| it.needs.clear(), "it knows nothing"),
        (|it| it.needs[0].reactive = Some(10), "present demand"),
        (|it| it.needs[0].window = Some(10), "the window"),
        (|it| it.needs[0].window = None, "a window that is not known"),
        (
            |it| it.needs.push(MetricNeeds { reactive: Some(10), metric: Metric::NetworkIn, ..it.needs[0].clone() }),
            "one of two",
        ),
    ];
    for (alter, why) in more {
        let mut plan = latest();
        alter(&mut plan);
        assert_eq!(by_latest(away, &plan, &evidence()), may, "{why}");
    }
    let ten = Plan { needs: vec![MetricNeeds { window: Some(10), ..latest().needs[0].clone() }], ..latest() };
    let shadow = ["s-1".to_owned()];
    assert_eq!(by_latest(call(Doing::TakeAway, &shadow), &ten, &evidence()), [], "ten serve without it");
    let mut warming = evidence();
    warming.inventory.instances[9].mode = InstanceMode::Warming;
    assert_eq!(by_latest(call(Doing::TakeAway, &shadow), &ten, &warming), may, "who warms up carries nothing");
}

#[test]
fn every_reason_says_what_it_is() {
    let hold = Hold::Deploying;
    let held = format!("plan 2, newer than the 1 of this step, holds: {hold}");
    for (reason, words) in [
        (Meanwhile::Paused, "paused meanwhile"),
        (Meanwhile::Tightened { mode: Mode::ScaleOut }, "the mode is scale-out by now"),
        (Meanwhile::TakenOver, "another owner has taken the group over"),
        (Meanwhile::OldWord { seconds: 46 }, "what was described is 46 s old by now: the next plan looks again"),
        (Meanwhile::Deployed, "a deploy changed the group meanwhile"),
        (Meanwhile::Holds { latest: 2, generation: 1, hold }, &held),
        (Meanwhile::MayNeed { latest: 2, generation: 1 }, "plan 2, newer than the 1 of this step, may need them"),
        (
            Meanwhile::Present { latest: 2, generation: 1, needed: 9 },
            "plan 2 needs 9, and they are there without this launch of plan 1",
        ),
        (Meanwhile::MadeSmaller { size: 12 }, "it would make 12 of a group that somebody made smaller since"),
    ] {
        assert_eq!(reason.to_string(), words);
    }
}
