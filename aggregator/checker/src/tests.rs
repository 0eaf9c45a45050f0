//! Each refusal has a test that fails when the refusal is removed.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn machine(id: &str, place: Place) -> Machine {
    let shadow =
        ShadowFacts { lease_over: true, may_end_silent: false, sample_age_seconds: Some(1), quiet_seconds: 900 };
    let shadow = (place == Place::Shadow).then_some(shadow);
    Machine {
        id: id.to_owned(),
        place,
        weights: BTreeMap::from([("cpu".to_owned(), 1.0)]),
        stolen_percent: 0.0,
        short_of_credits: false,
        price_per_hour: Some(0.1),
        protected: false,
        ours: true,
        in_target_group: false,
        in_group: false,
        shadow,
    }
}

/// Forty serving at 20 % of a 60 % target, two shadows of ours, a large quiet fleet.
fn calm() -> Facts {
    let mut machines: Vec<Machine> = (0..40).map(|n| machine(&format!("i-{n}"), Place::Serving)).collect();
    machines.extend(["s-0", "s-1"].map(|id| machine(id, Place::Shadow)));
    Facts {
        now: 1_000,
        made_at: 990,
        valid_until: 1_050,
        inventory_complete: true,
        inventory_age_seconds: 5,
        machines,
        minimum: 2,
        maximum: 60,
        windows: Vec::new(),
        loads: vec![Load {
            metric: "cpu".to_owned(),
            amount: false,
            target: 60.0,
            gross: Some(800.0),
            weight: 40.0,
            certain: true,
            baseline: 0.0,
            last_week: None,
        }],
        removed: Removed::default(),
        launched_last_hour: 10,
        launches_per_hour: 30,
        expected: 0,
        price_per_hour: Some(0.1),
        spend_per_hour: None,
        shadows_at_most: None,
        pulse: None,
        vetoes: Vec::new(),
        memory_percent: None,
        fleet: Fleet { groups: 20, machines: 1_000, ..Fleet::default() },
        running_seconds: 3_600,
        launches_failing: false,
        authenticated: true,
        loopback: false,
        leave_below_last_week: false,
    }
}

/// Everybody carries so much.
fn weigh(facts: &mut Facts, weight: f64) {
    for machine in &mut facts.machines {
        machine.weights.insert("cpu".to_owned(), weight);
    }
}

fn ids(ids: &[&str]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

fn detach(count: usize) -> Change {
    Change::Detach { instances: (0..count).map(|n| format!("i-{n}")).collect() }
}

fn terminate(instances: &[&str]) -> Change {
    Change::Terminate { instances: ids(instances) }
}

/// The change passes on calm facts and has exactly this refusal on the changed ones.
fn only(change: &Change, facts: &Facts, refusal: &Refusal) {
    assert_eq!(check(change, facts, &Limits::default()), std::slice::from_ref(refusal));
}

/// The change passes on calm facts under safe limits and has exactly this refusal under these.
fn only_under(change: &Change, limits: &Limits, refusal: &Refusal) {
    assert_eq!(check(change, &calm(), limits), std::slice::from_ref(refusal));
}

fn changed(by: impl FnOnce(&mut Facts)) -> Facts {
    let mut facts = calm();
    by(&mut facts);
    facts
}

#[test]
fn what_is_calm_passes() {
    for change in [
        detach(4),
        terminate(&["s-0"]),
        Change::Launch { count: 20 },
        Change::Reattach { instances: ids(&["s-0", "s-1"]) },
        Change::Floor { from: 2, to: 40 },
        Change::Floor { from: 40, to: 2 },
    ] {
        assert_eq!(check(&change, &calm(), &Limits::default()), [], "{change:?}");
    }
}

#[test]
fn nothing_known_is_refused() {
    for change in [detach(1), terminate(&["s-0"]), Change::Launch { count: 1 }] {
        assert!(!check(&change, &Facts::default(), &Limits::default()).is_empty());
    }
}

#[test]
fn empty_means_nothing() {
    for change in [detach(0), terminate(&[]), Change::Launch { count: 0 }] {
        only(&change, &calm(), &Refusal::Nothing);
    }
    assert!(check(&Change::Reattach { instances: vec![] }, &calm(), &Limits::default()).contains(&Refusal::Nothing));
}

#[test]
fn a_floor_keeps_who_is_there_and_launches_nobody() {
    only(&Change::Floor { from: 9, to: 9 }, &calm(), &Refusal::Nothing);
    let above = Refusal::FloorAbovePresent { present: 40, would_be: 41 };
    only(&Change::Floor { from: 9, to: 41 }, &calm(), &above);
    let low = changed(|facts| facts.maximum = 39);
    only(&Change::Floor { from: 9, to: 40 }, &low, &Refusal::AboveMaximum { maximum: 39, would_be: 40 });
    only(&Change::Floor { from: 9, to: 1 }, &calm(), &Refusal::BelowMinimum { minimum: 2, would_be: 1 });
    // Lowered, it gives the provider leave to take: no more than we would take is allowed then.
    let failing = changed(|facts| facts.launches_failing = true);
    only(&Change::Floor { from: 9, to: 5 }, &failing, &Refusal::LaunchesFailing);
    assert_eq!(check(&Change::Floor { from: 5, to: 9 }, &failing, &Limits::default()), []);
}

#[test]
fn ids_must_be_known_meant_once_and_unprotected() {
    only(&terminate(&["i-foreign"]), &calm(), &Refusal::Unknown { instance: "i-foreign".into() });
    let twice = Change::Detach { instances: ids(&["i-1", "i-1"]) };
    only(&twice, &calm(), &Refusal::Twice { instance: "i-1".into() });
    let facts = changed(|facts| facts.machines[0].protected = true);
    only(&detach(1), &facts, &Refusal::Protected { instance: "i-0".into() });
}

#[test]
fn a_foreign_shadow_is_left_alone() {
    let facts = changed(|facts| facts.machines[40].ours = false);
    only(&terminate(&["s-0"]), &facts, &Refusal::Foreign { instance: "s-0".into() });
    let reattach = Change::Reattach { instances: ids(&["s-0"]) };
    only(&reattach, &facts, &Refusal::Foreign { instance: "s-0".into() });
}

#[test]
fn only_a_shadow_nobody_talks_to_is_terminated() {
    only(&terminate(&["i-0"]), &calm(), &Refusal::InGroup { instance: "i-0".into() });
    let facts = changed(|facts| facts.machines[40].in_target_group = true);
    only(&terminate(&["s-0"]), &facts, &Refusal::InTargetGroup { instance: "s-0".into() });
    let facts = changed(|facts| facts.machines[40].place = Place::Draining);
    only(&terminate(&["s-0"]), &facts, &Refusal::NotInShadow { instance: "s-0".into() });
    let reattach = Change::Reattach { instances: ids(&["i-0"]) };
    only(&reattach, &calm(), &Refusal::NotInShadow { instance: "i-0".into() });
}

#[test]
fn one_in_standby_leaves_its_group_before_it_ends_and_for_the_same_reasons() {
    let leave = Change::Leave { instances: ids(&["s-0"]) };
    let standing = changed(|facts| facts.machines[40].in_group = true);
    assert_eq!(check(&leave, &standing, &Limits::default()), []);
    only(&terminate(&["s-0"]), &standing, &Refusal::InGroup { instance: "s-0".into() });
    let not = Refusal::NotInStandby { instance: "s-0".into() };
    assert_eq!(check(&leave, &calm(), &Limits::default()), std::slice::from_ref(&not));
    let spoilt = |by: fn(&mut Machine)| {
        let mut facts = standing.clone();
        by(&mut facts.machines[40]);
        check(&leave, &facts, &Limits::default())
    };
    assert_eq!(spoilt(|machine| machine.place = Place::Draining), [not]);
    assert_eq!(spoilt(|machine| machine.ours = false), [Refusal::Foreign { instance: "s-0".into() }]);
    assert_eq!(spoilt(|machine| machine.protected = true), [Refusal::Protected { instance: "s-0".into() }]);
    let runs = spoilt(|machine| machine.shadow.as_mut().expect("a shadow").lease_over = false);
    assert_eq!(runs, [Refusal::LeaseRuns { instance: "s-0".into() }]);
    let mut busy = standing.clone();
    busy.loads[0].gross = Some(60.0 * 41.0);
    assert!(!check(&leave, &busy, &Limits::default()).is_empty(), "present need speaks against it");
    let mut fast = standing;
    fast.removed.last_15_minutes = 4;
    assert!(!check(&leave, &fast, &Limits::default()).is_empty(), "and so does the pace");
}

#[test]
fn a_shadow_has_a_word_in_its_own_end() {
    let shadow = |by: fn(&mut ShadowFacts)| changed(|facts| by(facts.machines[40].shadow.as_mut().expect("a shadow")));
    let instance = || "s-0".to_owned();
    let runs = shadow(|shadow| shadow.lease_over = false);
    only(&terminate(&["s-0"]), &runs, &Refusal::LeaseRuns { instance: instance() });
    let unknown = changed(|facts| facts.machines[40].shadow = None);
    only(&terminate(&["s-0"]), &unknown, &Refusal::LeaseRuns { instance: instance() });
    let talks = shadow(|shadow| shadow.quiet_seconds = 599);
    only(&terminate(&["s-0"]), &talks, &Refusal::StillTalks { instance: instance(), quiet_seconds: 599 });
    for age in [None, Some(121)] {
        let silent = changed(|facts| facts.machines[40].shadow.as_mut().expect("a shadow").sample_age_seconds = age);
        only(&terminate(&["s-0"]), &silent, &Refusal::SilentShadow { instance: instance() });
    }
    let by_policy = shadow(|shadow| (shadow.sample_age_seconds, shadow.may_end_silent) = (None, true));
    assert_eq!(check(&terminate(&["s-0"]), &by_policy, &Limits::default()), []);
}

#[test]
fn no_shadow_ends_while_those_that_serve_are_too_few() {
    let facts = changed(|facts| facts.loads[0].gross = Some(40.5 * 60.0));
    let need = Refusal::BelowNeedWithoutBaseline { metric: "cpu".into(), need: 41, would_be: 40 };
    assert!(check(&terminate(&["s-0"]), &facts, &Limits::default()).contains(&need));
}

#[test]
fn launches_have_a_limit_an_hour() {
    let refusal = Refusal::TooManyLaunches { per_hour: 30, would_be: 31 };
    only(&Change::Launch { count: 1 }, &changed(|facts| facts.launched_last_hour = 30), &refusal);
}

#[test]
fn only_what_serves_is_detached() {
    let facts = changed(|facts| facts.machines[0].place = Place::Warming);
    only(&detach(1), &facts, &Refusal::NotServing { instance: "i-0".into() });
}

#[test]
fn an_old_plan_is_not_carried_out() {
    let refusal = Refusal::OldPlan { made_at: 990, valid_until: 1_050 };
    only(&Change::Launch { count: 1 }, &changed(|facts| facts.now = 1_051), &refusal);
    only(&Change::Launch { count: 1 }, &changed(|facts| facts.now = 989), &refusal);
}

#[test]
fn a_partial_or_stale_inventory_changes_nothing() {
    only(&detach(1), &changed(|facts| facts.inventory_complete = false), &Refusal::PartialInventory);
    let stale = changed(|facts| facts.inventory_age_seconds = 121);
    only(&Change::Launch { count: 1 }, &stale, &Refusal::StaleInventory { age_seconds: 121 });
}

#[test]
fn evidence_must_be_authenticated_unless_the_cloud_is_this_machine() {
    let facts = changed(|facts| facts.authenticated = false);
    only(&Change::Launch { count: 1 }, &facts, &Refusal::UnauthenticatedEvidence);
    let loopback = changed(|facts| (facts.authenticated, facts.loopback) = (false, true));
    assert_eq!(check(&Change::Launch { count: 1 }, &loopback, &Limits::default()), []);
}

#[test]
fn nothing_is_taken_away_in_the_first_ten_minutes_or_while_launches_fail() {
    let facts = changed(|facts| facts.running_seconds = 599);
    only(&detach(1), &facts, &Refusal::JustStarted { seconds_left: 1 });
    assert_eq!(check(&Change::Launch { count: 1 }, &facts, &Limits::default()), []);
    only(&detach(1), &changed(|facts| facts.launches_failing = true), &Refusal::LaunchesFailing);
}

#[test]
fn many_groups_at_once_have_a_common_cause() {
    let five = changed(|facts| facts.fleet.groups_that_want_in = 5);
    only(&detach(1), &five, &Refusal::CommonCause { groups_that_want_in: 5, groups: 20 });
    assert_eq!(check(&detach(1), &changed(|facts| facts.fleet.groups_that_want_in = 4), &Limits::default()), []);
    let busy = changed(|facts| facts.fleet.other_groups_in = 1);
    only(&detach(1), &busy, &Refusal::OneGroupAtATime { other_groups: 1 });
}

#[test]
fn the_bounds_of_the_group_hold() {
    only(
        &Change::Launch { count: 20 },
        &changed(|facts| facts.maximum = 59),
        &Refusal::AboveMaximum { maximum: 59, would_be: 60 },
    );
    let facts = changed(|facts| facts.minimum = 40);
    only(&detach(1), &facts, &Refusal::BelowMinimum { minimum: 40, would_be: 39 });
    let few = changed(|facts| facts.minimum = 41);
    only(&terminate(&["s-0"]), &few, &Refusal::BelowMinimum { minimum: 41, would_be: 40 });
}

#[test]
fn the_bounds_of_a_window_hold_in_it_and_nowhere_else() {
    let window = |from, until, minimum, maximum| Window { from, until, minimum, maximum };
    let within = |windows: &[Window]| changed(|facts| facts.windows = windows.to_vec());
    let busy = window(1_000, 1_001, Some(40), None);
    let floor = Refusal::BelowMinimum { minimum: 40, would_be: 39 };
    only(&detach(1), &within(&[busy]), &floor);
    only(&detach(1), &within(&[window(0, 2_000, Some(10), None), busy]), &floor);
    let over = [window(1_001, 2_000, Some(40), None), window(0, 1_000, Some(40), None)];
    assert_eq!(check(&detach(1), &within(&over), &Limits::default()), [], "not yet, and no more");
    let frozen = window(900, 1_100, None, Some(40));
    let ceiling = Refusal::AboveMaximum { maximum: 40, would_be: 41 };
    only(&Change::Launch { count: 1 }, &within(&[frozen, window(0, 2_000, None, Some(50))]), &ceiling);
    let past = [window(0, 1_000, None, Some(40))];
    assert_eq!(check(&Change::Launch { count: 20 }, &within(&past), &Limits::default()), []);
    // A window widens nothing, and a floor may be launched up to whatever a ceiling says.
    let wide = [window(0, 2_000, Some(1), Some(100))];
    let mut narrow = within(&wide);
    narrow.maximum = 59;
    only(&Change::Launch { count: 20 }, &narrow, &Refusal::AboveMaximum { maximum: 59, would_be: 60 });
    assert!(!check(&detach(39), &within(&wide), &Limits::default()).is_empty());
    let both = [window(0, 2_000, Some(45), None), frozen];
    assert_eq!(check(&Change::Launch { count: 5 }, &within(&both), &Limits::default()), []);
}

#[test]
fn what_comes_back_counts_against_the_maximum_too() {
    let full = changed(|facts| facts.maximum = 40);
    let above = Refusal::AboveMaximum { maximum: 40, would_be: 41 };
    only(&Change::Reattach { instances: ids(&["s-0"]) }, &full, &above);
}

#[test]
fn one_group_alone_is_no_common_cause() {
    let few = changed(|facts| (facts.fleet.groups, facts.fleet.groups_that_want_in) = (2, 1));
    assert_eq!(check(&detach(1), &few, &Limits::default()), []);
}

#[test]
fn a_floor_may_be_raised_to_fewer_than_the_minimum_where_fewer_are_there() {
    let small = changed(|facts| facts.machines.truncate(1));
    assert_eq!(check(&Change::Floor { from: 0, to: 1 }, &small, &Limits::default()), []);
}

#[test]
fn figures_that_cannot_be_are_no_observation() {
    let none = Refusal::NoObservation { metric: "cpu".into() };
    let spoils: [fn(&mut Load); 5] = [
        |load| load.weight = f64::INFINITY,
        |load| load.target = 0.0,
        |load| load.target = 100.1,
        |load| load.gross = Some(f64::INFINITY),
        |load| load.gross = Some(-1.0),
    ];
    for spoil in spoils {
        only(&detach(1), &changed(|facts| spoil(&mut facts.loads[0])), &none);
    }
    let below = |need, would_be| Refusal::BelowObservedNeed { metric: "cpu".into(), need, would_be };
    let with = |gross, baseline, weight| {
        changed(|facts| {
            let load = &mut facts.loads[0];
            (load.gross, load.baseline, load.weight) = (Some(gross), baseline, weight);
            weigh(facts, weight / 40.0);
        })
    };
    let said = |facts: &Facts, gone| check(&detach(gone), facts, &Limits::default());
    for baseline in [f64::NAN, f64::INFINITY] {
        assert_eq!(said(&with(800.0, baseline, 40.0), 1), [], "b is more than is used: nobody is needed");
    }
    assert_eq!(said(&with(2_300.0, -50.0, 40.0), 1), [], "a negative baseline is none");
    assert!(said(&with(10.0, 30.0, 0.5), 30).contains(&below(14, 10)), "no more than is used is taken off");
    assert!(said(&with(10.0, f64::NAN, 0.5), 30).contains(&below(u32::MAX, 10)), "no number is no baseline of zero");
    let nobody = changed(|facts| {
        facts.machines.retain(|machine| machine.place == Place::Shadow);
        facts.minimum = 0;
    });
    let plain = Refusal::BelowNeedWithoutBaseline { metric: "cpu".into(), need: 14, would_be: 0 };
    assert!(check(&terminate(&["s-0"]), &nobody, &Limits::default()).contains(&plain));
    let last_week = |then| said(&changed(|facts| facts.loads[0].last_week = Some(then)), 1);
    let refusal = Refusal::BelowLastWeek { metric: "cpu".into(), need: u32::MAX, would_be: 39 };
    assert_eq!(last_week(f64::NAN), [refusal]);
    assert_eq!(last_week(600.0), [], "fewer were needed then");
}

#[test]
fn observed_need_is_a_floor() {
    // 38.1 machines' worth: 37 would be too few.
    let facts = changed(|facts| facts.loads[0].gross = Some(38.1 * 60.0));
    let need = Refusal::BelowNeedWithoutBaseline { metric: "cpu".into(), need: 39, would_be: 37 };
    let both = check(&detach(3), &facts, &Limits::default());
    assert!(both.contains(&need), "{both:?}");
    // Net of b = 30 the same machines are short already, although b = 0 would let one go.
    let facts = changed(|facts| {
        facts.loads[0].gross = Some(61.0 * 38.9);
        facts.loads[0].baseline = 30.0;
        facts.loads[0].weight = 30.0;
        weigh(facts, 0.75);
    });
    let refusals = check(&detach(1), &facts, &Limits::default());
    assert!(refusals.iter().any(|refusal| matches!(refusal, Refusal::BelowObservedNeed { .. })), "{refusals:?}");
}

#[test]
fn a_wrong_baseline_lets_nobody_go() {
    for baseline in [60.0, 100.0, f64::NAN, f64::INFINITY] {
        let facts = changed(|facts| {
            facts.loads[0].gross = Some(39.5 * 60.0);
            facts.loads[0].baseline = baseline;
        });
        assert!(!check(&detach(1), &facts, &Limits::default()).is_empty(), "{baseline}");
    }
}

#[test]
fn absent_is_not_zero() {
    let refusal = Refusal::NoObservation { metric: "cpu".into() };
    only(&detach(1), &changed(|facts| facts.loads[0].gross = None), &refusal);
    only(&detach(1), &changed(|facts| facts.loads[0].gross = Some(f64::NAN)), &refusal);
    only(&detach(1), &changed(|facts| facts.loads[0].certain = false), &refusal);
    only(&detach(1), &changed(|facts| facts.loads[0].weight = 0.0), &refusal);
    let none = Refusal::NoObservation { metric: "every metric".into() };
    only(&detach(1), &changed(|facts| facts.loads.clear()), &none);
}

#[test]
fn last_week_is_a_floor_without_explicit_leave() {
    let facts = changed(|facts| facts.loads[0].last_week = Some(40.0 * 60.0));
    only(&detach(1), &facts, &Refusal::BelowLastWeek { metric: "cpu".into(), need: 40, would_be: 39 });
    let leave = changed(|facts| {
        facts.loads[0].last_week = Some(40.0 * 60.0);
        facts.leave_below_last_week = true;
    });
    assert_eq!(check(&detach(1), &leave, &Limits::default()), []);
}

#[test]
fn machines_go_slowly() {
    only(&detach(5), &calm(), &Refusal::TooFast { within_minutes: 15, allowed: 4, would_be: 5 });
    let already = changed(|facts| facts.removed.last_15_minutes = 3);
    only(&detach(2), &already, &Refusal::TooFast { within_minutes: 15, allowed: 4, would_be: 5 });
    let today = changed(|facts| {
        facts.removed.last_6_hours = 14;
        facts.removed.served_6_hours_ago = 50;
    });
    only(&detach(2), &today, &Refusal::TooFast { within_minutes: 360, allowed: 15, would_be: 16 });
    let fleet = changed(|facts| facts.fleet.removed_15_minutes = 20);
    only(&terminate(&["s-0"]), &fleet, &Refusal::FleetTooFast { allowed: 20, would_be: 21 });
    let small = changed(|facts| facts.fleet.machines = 10);
    assert_eq!(check(&detach(1), &small, &Limits::default()), [], "one may always go");
}

#[test]
fn limits_are_loosened_on_loopback_only() {
    let loose = Limits { warm_up_seconds: 0, share_15_minutes: 1.0, ..Limits::default() };
    let refusals = check(&detach(1), &calm(), &loose);
    assert_eq!(refusals, [Refusal::ShortenedSafety { field: "share_15_minutes".into() }]);
    assert_eq!(check(&detach(1), &changed(|facts| facts.loopback = true), &loose), []);
    let stale = Limits { inventory_fresh_seconds: 3_600, ..Limits::default() };
    assert!(!check(&detach(1), &calm(), &stale).is_empty());
    let talkative = Limits { quiet_seconds: 599, ..Limits::default() };
    let refusal = Refusal::ShortenedSafety { field: "quiet_seconds".into() };
    only_under(&terminate(&["s-0"]), &talkative, &refusal);
    let deaf = Limits { sample_fresh_seconds: 121, ..Limits::default() };
    only_under(&terminate(&["s-0"]), &deaf, &Refusal::ShortenedSafety { field: "sample_fresh_seconds".into() });
    assert_eq!(Limits { fleet_share: f64::NAN, ..Limits::default() }.problems(true).len(), 1);
}

#[test]
fn those_who_stay_carry_it_and_not_as_many_of_the_mean() {
    // Ten of weight 1 and thirty of weight 4: 130 at 60 points. Of the mean weight three may go, of the large ones two.
    let mixed = changed(|facts| {
        for (number, machine) in facts.machines.iter_mut().enumerate() {
            machine.weights.insert("cpu".to_owned(), if number < 10 { 1.0 } else { 4.0 });
        }
        (facts.loads[0].gross, facts.loads[0].weight) = (Some(60.0 * 120.0), 130.0);
    });
    let large = |count: usize| Change::Detach { instances: (10..10 + count).map(|n| format!("i-{n}")).collect() };
    assert_eq!(check(&large(2), &mixed, &Limits::default()), []);
    assert_eq!(check(&detach(3), &mixed, &Limits::default()), [], "three small ones may");
    let plain = Refusal::BelowNeedWithoutBaseline { metric: "cpu".into(), need: 38, would_be: 37 };
    let net = Refusal::BelowObservedNeed { metric: "cpu".into(), need: 38, would_be: 37 };
    assert_eq!(check(&large(3), &mixed, &Limits::default()), [plain, net]);
    // Of whom it is not told what they carry, they carry nothing.
    for weight in [None, Some(f64::NAN), Some(f64::INFINITY), Some(-1.0), Some(0.0)] {
        let unknown = changed(|facts| {
            for machine in facts.machines.iter_mut().skip(13) {
                machine.weights.clear();
                machine.weights.extend(weight.map(|weight| ("cpu".to_owned(), weight)));
            }
        });
        assert!(!check(&detach(1), &unknown, &Limits::default()).is_empty(), "{weight:?}");
    }
    // And take nothing from what others carry.
    let negative = changed(|facts| {
        facts.machines[39].weights.insert("cpu".to_owned(), -1.0);
        facts.loads[0].gross = Some(38.5 * 60.0);
    });
    assert_eq!(check(&terminate(&["s-0"]), &negative, &Limits::default()), []);
}

#[test]
fn what_hosts_take_lowers_what_machines_carry_and_a_lot_of_it_keeps_everybody() {
    let robbed = |percent: f64, gross: f64| {
        changed(|facts| {
            facts.machines.iter_mut().for_each(|machine| machine.stolen_percent = percent);
            facts.loads[0].gross = Some(gross);
        })
    };
    assert_eq!(check(&detach(1), &robbed(4.9, 800.0), &Limits::default()), []);
    only(&detach(1), &robbed(5.0, 800.0), &Refusal::Stolen { percent: 5.0 });
    assert_eq!(check(&detach(1), &robbed(0.0, 39.0 * 60.0), &Limits::default()), []);
    let need = |need| Refusal::BelowNeedWithoutBaseline { metric: "cpu".into(), need, would_be: 39 };
    assert!(check(&detach(1), &robbed(4.0, 39.0 * 60.0), &Limits::default()).contains(&need(41)));
    for percent in [f64::NAN, -1.0, 101.0] {
        let all = check(&detach(1), &robbed(percent, 800.0), &Limits::default());
        assert!(all.contains(&Refusal::Stolen { percent: 100.0 }), "{percent}: {all:?}");
    }
    let shadows = changed(|facts| {
        facts.machines.drain(..5);
        facts.machines.iter_mut().filter(|it| it.place == Place::Shadow).for_each(|it| it.stolen_percent = 100.0);
    });
    let next = Change::Detach { instances: ids(&["i-9"]) };
    assert_eq!(check(&next, &shadows, &Limits::default()), [], "of those that serve");
    // One that is robbed of everything among forty; and what is taken from processors is not taken from networks.
    let one = changed(|facts| facts.machines[5].stolen_percent = 100.0);
    assert_eq!(check(&detach(1), &one, &Limits::default()), []);
    let network = changed(|facts| {
        for machine in &mut facts.machines {
            (machine.stolen_percent, machine.weights) = (4.0, BTreeMap::from([("network_in".to_owned(), 1.0)]));
        }
        (facts.loads[0].metric, facts.loads[0].gross) = ("network_in".to_owned(), Some(39.0 * 60.0));
    });
    assert_eq!(check(&detach(1), &network, &Limits::default()), []);
    let nobody = changed(|facts| facts.machines.retain(|machine| machine.place == Place::Shadow));
    let said = check(&terminate(&["s-0"]), &nobody, &Limits::default());
    assert!(said.iter().all(|refusal| !matches!(refusal, Refusal::Stolen { .. })), "{said:?}");
    assert_eq!(check(&Change::Launch { count: 1 }, &robbed(50.0, 800.0), &Limits::default()), []);
}

#[test]
fn a_tenth_that_runs_out_of_credits_keeps_everybody() {
    let short = |count: usize| {
        changed(|facts| facts.machines.iter_mut().take(count).for_each(|machine| machine.short_of_credits = true))
    };
    assert_eq!(check(&detach(1), &short(3), &Limits::default()), []);
    only(&detach(1), &short(4), &Refusal::OutOfCredits { instances: 4 });
    only(&terminate(&["s-0"]), &short(40), &Refusal::OutOfCredits { instances: 40 });
    let shadows = changed(|facts| {
        facts.machines.iter_mut().filter(|it| it.place == Place::Shadow).for_each(|it| it.short_of_credits = true);
    });
    assert_eq!(check(&detach(1), &shadows, &Limits::default()), [], "of those that serve");
    let nobody = changed(|facts| facts.machines.retain(|machine| machine.place == Place::Shadow));
    let said = check(&terminate(&["s-0"]), &nobody, &Limits::default());
    assert!(said.iter().all(|refusal| !matches!(refusal, Refusal::OutOfCredits { .. })), "{said:?}");
    assert_eq!(check(&Change::Launch { count: 1 }, &short(40), &Limits::default()), [], "more are welcome");
}

#[test]
fn errors_above_their_limit_or_not_told_take_nobody_away() {
    let told = |highest: Option<f64>| {
        changed(|facts| facts.vetoes = vec![Veto { metric: "errors".to_owned(), limit: 5.0, highest }])
    };
    assert_eq!(check(&detach(1), &told(Some(5.0)), &Limits::default()), []);
    assert_eq!(check(&terminate(&["s-0"]), &told(Some(0.0)), &Limits::default()), []);
    let vetoed = Refusal::Vetoed { metric: "errors".to_owned() };
    for highest in [Some(5.1), Some(f64::NAN), None] {
        only(&detach(1), &told(highest), &vetoed);
        only(&terminate(&["s-0"]), &told(highest), &vetoed);
    }
    assert_eq!(check(&Change::Launch { count: 1 }, &told(None), &Limits::default()), []);
}

#[test]
fn memory_that_is_nearly_full_takes_nobody_away() {
    let full = |percent: f64| changed(|facts| facts.memory_percent = Some(percent));
    assert_eq!(check(&detach(1), &full(90.0), &Limits::default()), []);
    only(&detach(1), &full(90.1), &Refusal::MemoryFull { percent: 90.1 });
    only(&terminate(&["s-0"]), &full(99.0), &Refusal::MemoryFull { percent: 99.0 });
    assert_eq!(check(&detach(1), &full(f64::NAN), &Limits::default()).len(), 1);
    assert_eq!(check(&Change::Launch { count: 1 }, &full(99.0), &Limits::default()), []);
}

#[test]
fn cpu_that_falls_alone_takes_nobody_away() {
    let with = |cpu: f64, network: f64| changed(|facts| facts.pulse = Some(Pulse { cpu, network }));
    only(&detach(1), &with(0.7, 1.0), &Refusal::Hung { cpu: 0.7, network: 1.0 });
    only(&terminate(&["s-0"]), &with(0.2, 0.6), &Refusal::Hung { cpu: 0.2, network: 0.6 });
    only(&detach(1), &with(0.9, 1.8), &Refusal::Hung { cpu: 0.9, network: 1.8 });
    only(&detach(1), &with(1.2, 2.4), &Refusal::Hung { cpu: 1.2, network: 2.4 });
    assert_eq!(check(&detach(1), &with(f64::NAN, 1.0), &Limits::default()).len(), 1);
    for (cpu, network) in [(0.71, 1.4), (0.5, 0.79), (0.1, 0.1), (0.1, 0.3), (0.9, 1.79), (1.2, 2.0)] {
        assert_eq!(check(&detach(1), &with(cpu, network), &Limits::default()), [], "{cpu} {network}");
    }
    assert_eq!(check(&Change::Launch { count: 1 }, &with(0.2, 1.0), &Limits::default()), []);
}

#[test]
fn no_more_stand_in_shadow_than_may() {
    let most = |at_most| changed(|facts| facts.shadows_at_most = Some(at_most));
    only(&detach(2), &most(3), &Refusal::TooManyShadows { at_most: 3, would_be: 4 });
    assert_eq!(check(&detach(2), &most(4), &Limits::default()), []);
    let draining = changed(|facts| {
        facts.machines[0].place = Place::Draining;
        facts.shadows_at_most = Some(3);
    });
    let next = Change::Detach { instances: ids(&["i-1"]) };
    only(&next, &draining, &Refusal::TooManyShadows { at_most: 3, would_be: 4 });
    assert_eq!(check(&terminate(&["s-0"]), &most(0), &Limits::default()), [], "fewer stand afterwards");
}

#[test]
fn a_group_costs_no_more_than_it_may() {
    let rich = |per_hour, by: fn(&mut Facts)| {
        let mut facts = changed(|facts| facts.spend_per_hour = Some(per_hour));
        by(&mut facts);
        facts
    };
    let launch = |count| Change::Launch { count };
    let said = |count, facts: &Facts| check(&launch(count), facts, &Limits::default());
    // 42 at 0.1 an hour, shadows included.
    assert_eq!(said(3, &rich(4.5, |_| {})), []);
    let all = said(4, &rich(4.5, |_| {}));
    assert!(
        matches!(all[..], [Refusal::TooDear { per_hour: 4.5, would_be }] if (would_be - 4.6).abs() < 1e-9),
        "{all:?}"
    );
    assert_eq!(said(3, &rich(4.5, |facts| facts.expected = 1)).len(), 1, "who is on the way costs as well");
    assert_eq!(
        said(3, &rich(4.5, |facts| facts.machines[0].price_per_hour = Some(0.3))).len(),
        1,
        "and the dearest comes"
    );
    assert_eq!(said(3, &rich(4.5, |facts| facts.price_per_hour = Some(0.2))).len(), 1);
    assert_eq!(said(4, &rich(4.5, |facts| facts.machines[0].place = Place::Gone)), [], "who is gone costs nothing");
    for price in [None, Some(f64::NAN), Some(f64::INFINITY), Some(-0.1)] {
        let mut unpriced = rich(100.0, |_| {});
        unpriced.machines[3].price_per_hour = price;
        only(&launch(1), &unpriced, &Refusal::Unpriced { instance: "i-3".into() });
        let mut unknown = rich(100.0, |_| {});
        unknown.price_per_hour = price;
        only(&launch(1), &unknown, &Refusal::Unpriced { instance: "one more".into() });
    }
    let mut free = rich(0.0, |facts| facts.machines.iter_mut().for_each(|it| it.price_per_hour = Some(0.0)));
    free.price_per_hour = Some(0.0);
    assert_eq!(said(4, &free), [], "what costs nothing is not counted");
    let unlimited = changed(|facts| facts.price_per_hour = None);
    assert_eq!(said(4, &unlimited), []);
    let back = Change::Reattach { instances: ids(&["s-0"]) };
    assert_eq!(check(&back, &rich(0.1, |_| {}), &Limits::default()), [], "what runs already costs no more");
}

#[test]
fn an_amount_is_judged_in_its_own_unit() {
    let mut facts = calm();
    let serving = facts.count(Place::Serving);
    for machine in &mut facts.machines {
        machine.weights.insert("requests".to_owned(), 1.0);
    }
    let requests = |gross: f64| Load {
        metric: "requests".to_owned(),
        amount: true,
        target: 200.0,
        gross: Some(gross),
        weight: f64::from(serving),
        certain: true,
        baseline: 0.0,
        last_week: None,
    };
    let with = |load: Load| {
        let mut facts = facts.clone();
        facts.loads.push(load);
        check(&detach(1), &facts, &Limits::default())
    };
    let (most, metric) = (200.0 * f64::from(serving - 1), || "requests".to_owned());
    assert_eq!(with(requests(most)), []);
    let (need, would_be) = (serving, serving - 1);
    assert_eq!(
        with(requests(most + 1.0)),
        [
            Refusal::BelowNeedWithoutBaseline { metric: metric(), need, would_be },
            Refusal::BelowObservedNeed { metric: metric(), need, would_be }
        ]
    );
    let unknown = [Refusal::NoObservation { metric: metric() }];
    for load in [
        Load { gross: None, ..requests(0.0) },
        Load { certain: false, ..requests(0.0) },
        Load { baseline: 1.0, ..requests(0.0) },
        Load { baseline: 1.0, target: 50.0, ..requests(0.0) },
        Load { target: f64::INFINITY, ..requests(0.0) },
        Load { target: 0.0, ..requests(0.0) },
        Load { amount: false, ..requests(0.0) },
        Load { gross: Some(f64::NAN), ..requests(0.0) },
    ] {
        assert_eq!(with(load.clone()), unknown, "{load:?}");
    }
    let last_week = Load { last_week: Some(most + 1.0), ..requests(0.0) };
    assert_eq!(with(last_week), [Refusal::BelowLastWeek { metric: metric(), need, would_be }]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// Of whatever weights they are, those who stay carry what is observed.
    #[test]
    fn those_who_stay_carry_what_is_observed(
        weights in prop::collection::vec(0.1_f64..8.0, 2..60), gone in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        filled in 0.2_f64..1.2, stolen in 0.0_f64..4.0,
    ) {
        let mut facts = calm();
        facts.machines = (0..weights.len()).map(|n| machine(&format!("i-{n}"), Place::Serving)).collect();
        for (machine, weight) in facts.machines.iter_mut().zip(&weights) {
            machine.weights.insert("cpu".to_owned(), *weight);
            machine.stolen_percent = stolen;
        }
        let total: f64 = weights.iter().sum();
        let gross = filled * 60.0 * total;
        facts.loads[0] = Load { gross: Some(gross), weight: total, ..facts.loads[0].clone() };
        let leave: std::collections::BTreeSet<usize> = gone.iter().map(|index| index.index(weights.len())).collect();
        let change = Change::Detach { instances: leave.iter().map(|n| format!("i-{n}")).collect() };
        if check(&change, &facts, &Limits::default()).is_empty() {
            let stay: f64 = weights.iter().enumerate().filter(|(n, _)| !leave.contains(n)).map(|(_, weight)| weight).sum();
            prop_assert!(stay * 60.0 * (1.0 - stolen / 100.0) >= gross - 1e-2, "{stay} for {gross}");
        }
    }

    /// Whatever is said of the baseline, what stays carries what is observed as if b were zero.
    #[test]
    fn what_stays_carries_what_is_observed(
        serving in 1_usize..200, gone in 1_usize..50, gross in 0.0_f64..15_000.0, baseline in -10.0_f64..120.0,
        target in 10.0_f64..90.0,
    ) {
        let mut facts = calm();
        facts.machines = (0..serving).map(|n| machine(&format!("i-{n}"), Place::Serving)).collect();
        facts.minimum = 0;
        facts.loads[0] = Load { target, gross: Some(gross), weight: serving as f64, baseline, ..facts.loads[0].clone() };
        if check(&detach(gone), &facts, &Limits::default()).is_empty() {
            let stay = (serving - gone) as f64;
            prop_assert!(stay * target >= gross - 1e-3, "{stay} of {target} for {gross}");
            prop_assert!(gone as f64 <= (0.1 * serving as f64).max(1.0));
        }
    }
}

#[test]
fn a_share_is_a_share_on_loopback_as_well() {
    for fleet_share in [-0.1, 1.1, f64::INFINITY] {
        let limits = Limits { fleet_share, ..Limits::default() };
        let fields: Vec<_> = limits.problems(true).iter().map(|problem| problem.field).collect();
        assert_eq!(fields, ["fleet_share"], "{fleet_share}");
    }
    for fleet_share in [0.0, 1.0] {
        assert_eq!(Limits { fleet_share, ..Limits::default() }.problems(true), [], "{fleet_share}");
    }
}

#[test]
fn who_takes_away_is_judged_as_one_who_does() {
    let instances = || ids(&["s-0"]);
    for change in [
        Change::Detach { instances: instances() },
        Change::Leave { instances: instances() },
        Change::Terminate { instances: instances() },
        Change::Floor { from: 5, to: 4 },
    ] {
        assert!(change.takes_away(), "{change:?}");
    }
    for change in [
        Change::Launch { count: 1 },
        Change::Reattach { instances: instances() },
        Change::Floor { from: 5, to: 5 },
        Change::Floor { from: 5, to: 6 },
    ] {
        assert!(!change.takes_away(), "{change:?}");
    }
}
