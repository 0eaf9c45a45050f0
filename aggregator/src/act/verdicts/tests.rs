use planner::baseline::Baseline;
use planner::bounds::Window;
use planner::demand::Demand;
use planner::evidence::{Conditions, MetricEvidence, Shadow};
use planner::hold::Hold;
use planner::policy::Mode;

use super::*;
use crate::fleet::{GroupInventory, Outside, Token};
use crate::store::StoreId;

/// Ten serve in `web`, and one could go.
pub fn planned() -> Planned {
    let instances = (0..10).map(|number| Instance {
        id: format!("i-{number}"),
        instance_type: None,
        zone: None,
        mode: InstanceMode::Serving,
        since: 0,
        protected: false,
        shadow: None,
    });
    let demand = Demand { gross: 200.0, weight: 10.0, serving: 10, reporting: 10, incomplete: false, saturated: false };
    let found = MetricEvidence { demand: Some(demand), baseline: Baseline::default(), ..MetricEvidence::default() };
    let evidence = Evidence {
        inventory: Inventory { complete: true, age_seconds: 1, instances: instances.collect(), ..Inventory::default() },
        metrics: BTreeMap::from([(Metric::Cpu, found)]),
        conditions: Conditions { started_seconds_ago: 10_000, ..Conditions::default() },
    };
    let policy = Policy::new("web");
    let (plan, _) = planner::plan(1_000, &policy, &evidence, &planner::plan::Memory::default());
    let fleet = Fleet { groups: 1, machines: 200, ..Fleet::default() };
    Planned {
        plan,
        policy,
        evidence,
        memory: Memory::default(),
        last_week: BTreeMap::new(),
        fleet,
        source: None,
        version: None,
    }
}

fn detach(count: usize) -> Change {
    Change::Detach { instances: (0..count).map(|n| format!("i-{n}")).collect() }
}

fn said(planned: &Planned, change: &Change, record: Record) -> Vec<String> {
    refusals(planned, change, &Limits::default(), &Surroundings { now: 1_000, record, ..Surroundings::default() })
}

#[test]
fn the_checker_sees_what_the_plan_was_made_from() {
    assert_eq!(said(&planned(), &detach(1), Record::default()), Vec::<String>::new());
    assert_eq!(said(&planned(), &detach(3), Record::default()), ["3 gone within 15 min, 1 may"]);
    let mut busy = planned();
    busy.last_week.insert(Metric::Cpu, 600.0);
    let refusals = said(&busy, &detach(1), Record::default());
    assert_eq!(refusals, ["cpu needed 10 in this hour a week ago, 9 would serve"]);
    let leave = Surroundings { now: 1_000, leave_below_last_week: true, ..Surroundings::default() };
    assert_eq!(super::refusals(&busy, &detach(1), &Limits::default(), &leave), Vec::<String>::new());
}

fn id(name: &str) -> Id {
    Id::new("id", name).expect("an id")
}

/// The first step of plan 1 of `web`, written down ten seconds ago.
fn intent(action: Action) -> Intent {
    Intent {
        token: Token::new(StoreId([1; 16]), &id("web"), 1, 0),
        group: id("web"),
        generation: 1,
        step: 0,
        epoch: 1,
        action,
        written_at: 990,
        valid_until: 1_050,
    }
}

#[test]
fn nothing_is_called_that_was_forbidden_or_grew_old_at_the_last_moment() {
    let standing =
        |mode, paused| Standing { mode, at_most: Mode::Full, paused, group: None, everywhere: None, leave: None };
    let ids = vec![id("i-1")];
    let away = intent(Action::Terminate { instances: ids.clone() });
    let back = intent(Action::Attach { instances: ids });
    assert_eq!(still(&away, None, &standing(Mode::Full, false), true, (45, 45)), Ok(()));
    assert_eq!(still(&back, None, &standing(Mode::ScaleOut, false), true, (0, 45)), Ok(()));
    for (intent, standing, owns, since) in [
        (&away, standing(Mode::Full, true), true, 0),
        (&away, standing(Mode::ScaleOut, false), true, 0),
        (&back, standing(Mode::Observe, false), true, 0),
        (&away, standing(Mode::Full, false), false, 0),
        (&back, standing(Mode::Full, false), true, 46),
    ] {
        let said = still(intent, None, &standing, owns, (since, 45));
        assert!(said.is_err(), "{:?} {standing:?} {owns} {since}", intent.action);
    }
    let mut newest = planned();
    (newest.plan.generation, newest.plan.holds) = (2, vec![Hold::Deploying]);
    let said = still(&away, Some(&newest), &standing(Mode::Full, false), true, (0, 45));
    assert!(said.is_err_and(|why| why.contains("plan 2, newer than the 1 of this step, holds")), "asked once more");
}

#[test]
fn what_the_latest_plan_holds_for_ends_what_was_begun_before_it() {
    let member = |number: u32| Member {
        instance: id(&format!("i-{number}")),
        instance_type: None,
        zone: None,
        lifecycle: Lifecycle::InService,
        protected: false,
        version: None,
        cpu_credits: None,
    };
    let group = GroupInventory { members: (0..10).map(member).collect(), ..GroupInventory::default() };
    let fresh = Fresh { taken: 1_000, complete: true, group, outside: Vec::new() };
    let standing =
        Standing { mode: Mode::Full, at_most: Mode::Full, paused: false, group: None, everywhere: None, leave: None };
    let executor = Executor::new(StoreId([1; 16]), 1, Limits::default());
    let word = |planned: &Planned, action| {
        last_word(&intent(action), planned, &fresh, &standing, Reach::Cloud, &executor, 1_000)
    };
    let away = || Action::Detach { instances: vec![id("i-0")] };
    let mut planned = planned();
    assert_eq!(word(&planned, away()), [""; 0]);
    (planned.plan.generation, planned.plan.holds) = (2, Vec::new());
    // What it does not know of the window, or needs by now, is no hold, and keeps them all the same.
    let ends = || Action::Terminate { instances: vec![id("s-1")] };
    for (window, goes, ended) in [(None, false, false), (Some(11), false, false), (Some(10), false, true)] {
        planned.plan.needs[0].window = window;
        let spares =
            |said: Vec<String>| !said.iter().any(|why| why.contains("newer than the 1 of this step, may need"));
        assert_eq!([spares(word(&planned, away())), spares(word(&planned, ends()))], [goes, ended], "{window:?}");
    }
    planned.plan.needs[0].window = Some(9);
    assert_eq!(word(&planned, away()), [""; 0], "a newer plan that does not mind");
    let metric = Metric::Cpu;
    let surprise = Hold::Surprise { metric, demand: 1.0, expected_at_least: 9.0 };
    let trust = Hold::LowTrust { metric, trust: 0.1, minimum: 0.5 };
    let credits = Hold::OutOfCredits { instances: 1 };
    for hold in [
        Hold::ClockJump,
        surprise,
        trust,
        credits,
        Hold::Deploying,
        Hold::ForeignScaleIn,
        Hold::Untold,
        Hold::NotOwner,
        Hold::LaunchesFailing,
        Hold::ClaimedGroup,
    ] {
        planned.plan.holds = vec![hold];
        let said = word(&planned, away());
        assert!(matches!(&said[..], [one] if one.contains("plan 2, newer than the 1")), "{said:?}");
        assert_eq!(word(&planned, Action::launch(1, 11)), [""; 0], "more is never held by it");
    }
    // What deploys now takes nobody away, whatever was planned.
    let mut deploys = fresh.clone();
    deploys.group.deploying = true;
    planned.plan.holds = Vec::new();
    let said = last_word(&intent(away()), &planned, &deploys, &standing, Reach::Cloud, &executor, 1_000);
    assert_eq!(said, ["a deploy changed the group meanwhile"]);
    // Nor is a group made as large as it was hours ago, before somebody made it smaller.
    (planned.plan.need_now, planned.plan.need_ahead) = (Some(4), Some(14));
    for (written_at, size, refused) in [(800, 14, 1), (800, 11, 0), (990, 14, 0)] {
        let launch = Intent { written_at, ..intent(Action::launch(1, size)) };
        let said = last_word(&launch, &planned, &fresh, &standing, Reach::Cloud, &executor, 1_000);
        assert_eq!(said.len(), refused, "{written_at} {size}: {said:?}");
    }
    // Nor is anybody launched whom a newer plan does not need.
    for (needed, refused) in [(10, 1), (11, 0)] {
        (planned.plan.need_now, planned.plan.need_ahead) = (Some(4), Some(needed));
        assert_eq!(word(&planned, Action::launch(1, 11)).len(), refused, "{needed}");
    }
    planned.policy.minimum = 11;
    (planned.plan.need_now, planned.plan.need_ahead) = (Some(4), Some(4));
    assert_eq!(word(&planned, Action::launch(1, 11)), [""; 0], "the minimum asks for it");
    planned.policy.minimum = 1;
    planned.plan.holds = vec![Hold::Changing];
    assert_eq!(word(&planned, away()), [""; 0], "its own change is under way");
}

#[test]
fn the_checker_sees_our_own_doing() {
    let mut record = Record::default();
    record.removed.last_15_minutes = 1;
    assert_eq!(said(&planned(), &detach(1), record), ["2 gone within 15 min, 1 may"]);
    let failing = Record { launches_failing: true, ..Record::default() };
    assert_eq!(said(&planned(), &detach(1), failing), ["launches fail: what is given up may not come back"]);
}

/// Ten serve in `web`, one of two that were detached could end, and every metric and price that a refusal may speak of is told.
fn told() -> (Planned, Surroundings) {
    let mut planned = planned();
    let errors = Metric::declare("errors").expect("a name");
    let shadow = Shadow {
        origin: Origin::Ours,
        until: 900,
        lease_over: true,
        hard_limit: 990,
        unfit: Vec::new(),
        sample_age_seconds: Some(5),
        quiet_seconds: 700,
        price_per_hour: None,
        in_group: false,
        ending: false,
    };
    let inventory = &mut planned.evidence.inventory;
    let (served, since) = (inventory.instances[0].clone(), 500);
    let out = |number: u32| Instance {
        id: format!("out-{number}"),
        mode: InstanceMode::Shadow,
        since,
        shadow: Some(shadow.clone()),
        ..served.clone()
    };
    inventory.instances.extend([out(1), out(2)]);
    for instance in &mut inventory.instances {
        instance.instance_type = Some("large".to_owned());
    }
    inventory.prices.insert("large".to_owned(), 0.5);
    planned.policy.spend_per_hour = Some(7.0);
    planned.policy.shadows_at_most = Some(3);
    planned.policy.veto_above.insert(errors, 5.0);
    let conditions = &mut planned.evidence.conditions;
    conditions.vetoes.insert(errors, 5.0);
    conditions.price_per_hour = Some(0.5);
    conditions.pulse = Some(planner::evidence::Pulse { cpu: 1.0, network: 1.0 });
    (planned, Surroundings { now: 1_000, ..Surroundings::default() })
}

fn launch() -> Change {
    Change::Launch { count: 1 }
}

fn back() -> Change {
    Change::Reattach { instances: vec!["out-1".to_owned()] }
}

fn end() -> Change {
    Change::Terminate { instances: vec!["out-1".to_owned()] }
}

fn one() -> Change {
    detach(1)
}

fn seen<'a>(planned: &'a mut Planned, id: &str) -> &'a mut Instance {
    planned.evidence.inventory.instances.iter_mut().find(|it| it.id == id).expect("an instance")
}

fn shown(planned: &mut Planned) -> &mut Shadow {
    seen(planned, "out-1").shadow.as_mut().expect("a shadow")
}

fn cpu(planned: &mut Planned) -> &mut MetricEvidence {
    planned.evidence.metrics.get_mut(&Metric::Cpu).expect("a metric")
}

fn demand(planned: &mut Planned) -> &mut Demand {
    cpu(planned).demand.as_mut().expect("a demand")
}

fn bounded(planned: &mut Planned, minimum: Option<u32>, maximum: Option<u32>) {
    let window = Window { name: "day".to_owned(), from: 1_000, until: 1_001, minimum, maximum };
    planned.policy.windows.push(window);
}

/// One thing that the checker is told, changed, and what it says of a change then.
type Told = (Change, fn(&mut Planned, &mut Surroundings), &'static [&'static str]);

fn assert_said<const ROWS: usize>(rows: [Told; ROWS]) {
    for (number, (change, alter, expected)) in rows.into_iter().enumerate() {
        let (mut planned, mut around) = told();
        assert_eq!(refusals(&planned, &change, &Limits::default(), &around), [""; 0], "before row {number}");
        alter(&mut planned, &mut around);
        assert_eq!(refusals(&planned, &change, &Limits::default(), &around), expected, "row {number}, {change:?}");
    }
}

#[test]
fn whatever_the_plan_was_made_from_the_checker_is_told() {
    let (planned, around) = told();
    let still = [one(), launch(), back(), end()].map(|it| refusals(&planned, &it, &Limits::default(), &around).len());
    assert_eq!(still, [0; 4]);
    const OLD: &[&str] = &["the plan of 1000 was valid until 1060 only"];
    const FAIL: &[&str] = &["launches fail: what is given up may not come back"];
    const UNPROVEN: &[&str] = &["agents do not prove who they are"];
    const NOBODY: &[&str] = &["cpu is not observed with certainty"];
    const VETO: &[&str] = &["errors is above what it may be, or not known"];
    assert_said([
        (launch(), |_, around| around.now = 1_061, OLD),
        (launch(), |_, around| around.now = 999, OLD),
        (launch(), |it, _| it.evidence.inventory.complete = false, &["the inventory is partial"]),
        (launch(), |it, _| it.evidence.inventory.age_seconds = 121, &["the inventory is 121 s old"]),
        (launch(), |it, _| it.evidence.conditions.agents_unauthenticated = true, UNPROVEN),
        (launch(), |it, around| (it.evidence.conditions.agents_unauthenticated, around.loopback) = (true, true), &[]),
        (one(), |it, _| it.evidence.conditions.started_seconds_ago = 590, &["started moments ago: 10 s left"]),
        (one(), |it, _| it.evidence.conditions.launches_failing = true, FAIL),
        (one(), |_, around| around.record.launches_failing = true, FAIL),
        (
            one(),
            |it, _| (it.fleet.groups, it.fleet.groups_that_want_in) = (9, 2),
            &["2 of 9 groups want to scale in at once: a common cause?"],
        ),
        (one(), |_, around| around.record.other_groups_in = 1, &["1 other group(s) are scaling in; one at a time"]),
        (
            one(),
            |it, around| (it.fleet.machines, around.record.removed_everywhere) = (140, 2),
            &["3 gone from all groups within 15 min, 2 may"],
        ),
        (one(), |_, around| around.record.removed.last_15_minutes = 1, &["2 gone within 15 min, 1 may"]),
        (one(), |_, around| around.record.removed.last_6_hours = 3, &["4 gone within 360 min, 3 may"]),
        // How many may be, and for how much.
        (one(), |it, _| it.policy.minimum = 10, &["9 would be below the minimum of 10"]),
        (launch(), |it, _| it.policy.maximum = 10, &["11 would be above the maximum of 10"]),
        (one(), |it, _| bounded(it, Some(10), None), &["9 would be below the minimum of 10"]),
        (launch(), |it, _| bounded(it, None, Some(10)), &["11 would be above the maximum of 10"]),
        (
            launch(),
            |it, around| (it.policy.launches_per_hour, around.record.launched_last_hour) = (5, 5),
            &["6 launches within an hour, 5 may be"],
        ),
        (launch(), |it, _| it.policy.spend_per_hour = Some(6.4), &["the group would cost 6.50 an hour, 6.40 may be"]),
        (launch(), |it, _| it.evidence.inventory.expected = 2, &["the group would cost 7.50 an hour, 7.00 may be"]),
        (
            launch(),
            |it, _| it.evidence.conditions.price_per_hour = None,
            &["money is limited and the price of one more is not known"],
        ),
        (
            launch(),
            |it, _| it.evidence.inventory.prices.clear(),
            &["money is limited and the price of i-0 is not known"],
        ),
        (one(), |it, _| it.policy.shadows_at_most = Some(2), &["3 would stand in shadow, 2 may"]),
        // What is seen of those that serve.
        (
            one(),
            |it, _| it.evidence.conditions.pulse = Some(planner::evidence::Pulse { cpu: 0.25, network: 0.95 }),
            &["CPU is at 25 % of what it was and the network at 95 %: something hangs"],
        ),
        (
            one(),
            |it, _| it.evidence.conditions.memory_percent = Some(91.0),
            &["memory is 91 % full on those that serve"],
        ),
        (
            one(),
            |it, _| {
                // A group that is scaled by memory may use as much as it is told to.
                it.evidence.conditions.memory_percent = Some(91.0);
                let found = it.evidence.metrics[&Metric::Cpu].clone();
                it.evidence.metrics.insert(Metric::Memory, found);
                it.policy.targets.insert(Metric::Memory, 60.0);
            },
            &[],
        ),
        (one(), |it, _| it.evidence.conditions.vetoes.values_mut().for_each(|highest| *highest = 5.1), VETO),
        (one(), |it, _| it.evidence.conditions.vetoes.clear(), VETO),
        (one(), |it, _| it.policy.veto_above.values_mut().for_each(|limit| *limit = 4.9), VETO),
        (
            one(),
            |it, _| {
                it.evidence.inventory.stolen.insert("i-9".to_owned(), 60.0);
            },
            &["hosts give 6 % of the processors' time to others"],
        ),
        (
            one(),
            |it, _| {
                it.evidence.inventory.short_of_credits.insert("i-9".to_owned());
            },
            &["1 that serve run out of CPU credits within the hour"],
        ),
        (one(), |it, _| cpu(it).demand = None, NOBODY),
        (one(), |it, _| demand(it).incomplete = true, NOBODY),
        (one(), |it, _| demand(it).weight = 0.0, NOBODY),
        (one(), |it, _| it.evidence.metrics.clear(), NOBODY),
        (
            one(),
            |it, _| demand(it).gross = 560.0,
            &["cpu needs 10 if idle machines use nothing, 9 would serve", "cpu needs 10 now, 9 would serve"],
        ),
        (
            one(),
            |it, _| (demand(it).gross, cpu(it).baseline.points) = (700.0, 30.0),
            &["cpu needs 12 if idle machines use nothing, 9 would serve", "cpu needs 14 now, 9 would serve"],
        ),
        (
            one(),
            |it, _| {
                it.policy.targets.insert(Metric::Cpu, 20.0);
            },
            &["cpu needs 10 if idle machines use nothing, 9 would serve", "cpu needs 10 now, 9 would serve"],
        ),
        (
            one(),
            |it, _| {
                it.policy.weights.insert("large".to_owned(), 0.3);
            },
            &["cpu needs 12 if idle machines use nothing, 9 would serve", "cpu needs 12 now, 9 would serve"],
        ),
        (
            one(),
            |it, _| {
                it.last_week.insert(Metric::Cpu, 560.0);
            },
            &["cpu needed 10 in this hour a week ago, 9 would serve"],
        ),
        (
            one(),
            |it, around| {
                around.leave_below_last_week = true;
                it.last_week.insert(Metric::Cpu, 560.0);
            },
            &[],
        ),
        // A load in a unit of its own has targets that no share of a machine has.
        (
            one(),
            |it, _| {
                let orders = Metric::declare("orders").expect("a name");
                it.policy.targets.insert(orders, 400.0);
                let gross = Demand { gross: 3_900.0, ..*demand(it) };
                let found = MetricEvidence { demand: Some(gross), ..cpu(it).clone() };
                it.evidence.metrics.insert(orders, found);
            },
            &["orders needs 10 if idle machines use nothing, 9 would serve", "orders needs 10 now, 9 would serve"],
        ),
    ]);
}

#[test]
fn whatever_is_known_of_a_machine_the_checker_is_told() {
    const STANDS: &[&str] = &["i-0 does not serve"];
    const NO_SHADOW: &[&str] = &["out-1 is not in shadow"];
    const INSIDE: &[&str] = &["out-1 is still in its group"];
    const FOREIGN: &[&str] = &["out-1 was not detached by us and was not adopted"];
    const RUNS: &[&str] = &["the lease of out-1 is not over by both clocks"];
    const SILENT: &[&str] = &["out-1 is silent; a silent shadow never agrees"];
    assert_said([
        (one(), |it, _| seen(it, "i-0").id = "i-10".to_owned(), &["i-0 is not known in this group"]),
        (one(), |it, _| seen(it, "i-0").protected = true, &["i-0 is protected"]),
        (end(), |it, _| seen(it, "out-1").protected = true, &["out-1 is protected"]),
        (one(), |it, _| seen(it, "i-0").mode = InstanceMode::Warming, STANDS),
        (one(), |it, _| seen(it, "i-0").mode = InstanceMode::Gone, STANDS),
        (end(), |it, _| seen(it, "out-1").mode = InstanceMode::Draining, NO_SHADOW),
        (end(), |it, _| seen(it, "out-1").mode = InstanceMode::Gone, NO_SHADOW),
        (end(), |it, _| seen(it, "out-1").mode = InstanceMode::Serving, INSIDE),
        (end(), |it, _| seen(it, "out-1").mode = InstanceMode::Warming, INSIDE),
        (end(), |it, _| shown(it).in_group = true, INSIDE),
        (
            end(),
            |_, around| {
                around.balanced.insert("out-1".to_owned());
            },
            &["a load balancer still sends to out-1"],
        ),
        (
            end(),
            |_, around| {
                around.balanced.insert("out-2".to_owned());
            },
            &[],
        ),
        (end(), |it, _| shown(it).origin = Origin::Foreign, FOREIGN),
        (back(), |it, _| shown(it).origin = Origin::Foreign, FOREIGN),
        (back(), |it, _| seen(it, "out-1").shadow = None, FOREIGN),
        (end(), |it, _| shown(it).lease_over = false, RUNS),
        (end(), |it, _| shown(it).sample_age_seconds = None, SILENT),
        (end(), |it, _| shown(it).sample_age_seconds = Some(121), SILENT),
        // Silent, at its hard limit, where the policy says what becomes of it.
        (end(), |it, _| (shown(it).sample_age_seconds, it.policy.silent_at_limit) = (None, AtLimit::Terminate), &[]),
        (
            end(),
            |it, _| {
                (shown(it).sample_age_seconds, it.policy.silent_at_limit) = (None, AtLimit::Terminate);
                shown(it).hard_limit = 1_001;
            },
            SILENT,
        ),
        (end(), |it, _| shown(it).quiet_seconds = 599, &["nobody has talked to out-1 for 599 s only"]),
    ]);
}

/// Who stands outside, as it was described just before the call.
type Described = (fn(&mut Fresh), &'static [&'static str]);

#[test]
fn what_is_described_just_before_an_end_may_forbid_it() {
    let (planned, _) = told();
    let action = Action::Terminate { instances: vec![id("out-1")] };
    assert_eq!(planned.plan.generation, 1, "its own plan is the latest");
    let intent = intent(action);
    let standing =
        Standing { mode: Mode::Full, at_most: Mode::Full, paused: false, group: None, everywhere: None, leave: None };
    let member = |number: u32| Member {
        instance: id(&format!("i-{number}")),
        instance_type: None,
        zone: None,
        lifecycle: Lifecycle::InService,
        protected: false,
        version: None,
        cpu_credits: None,
    };
    let outside = Outside {
        instance: id("out-1"),
        state: RunState::Running,
        group: None,
        in_target_group: Some(false),
        protected: false,
        tags: BTreeMap::new(),
    };
    let group = GroupInventory { members: (0..10).map(member).collect(), ..GroupInventory::default() };
    let fresh = Fresh { taken: 1_000, complete: true, group, outside: vec![outside] };
    let executor = Executor::new(StoreId([1; 16]), 1, Limits::default());
    const BALANCED: &[&str] = &["a load balancer still sends to out-1"];
    const INSIDE: &[&str] = &["out-1 is still in its group"];
    const GONE: &[&str] = &["out-1 is not in shadow"];
    let rows: [Described; 9] = [
        (|_| {}, &[]),
        (|it| it.outside[0].in_target_group = Some(true), BALANCED),
        (|it| it.outside[0].in_target_group = None, BALANCED),
        (|it| it.outside[0].protected = true, &["out-1 is protected"]),
        (|it| it.outside[0].group = Some(it.outside[0].instance.clone()), INSIDE),
        (|it| it.outside[0].state = RunState::Stopped, GONE),
        (|it| it.complete = false, &["the inventory is partial"]),
        (|it| it.taken = 879, &["the inventory is 121 s old"]),
        (
            |it| it.group.members.truncate(3),
            &["cpu needs 4 if idle machines use nothing, 3 would serve", "cpu needs 4 now, 3 would serve"],
        ),
    ];
    for (number, (alter, expected)) in rows.into_iter().enumerate() {
        let mut fresh = fresh.clone();
        alter(&mut fresh);
        let said = last_word(&intent, &planned, &fresh, &standing, Reach::Cloud, &executor, 1_000);
        assert_eq!(said, expected, "row {number}");
    }
    for (standing, expected) in [
        (Standing { paused: true, ..standing.clone() }, "paused meanwhile"),
        (Standing { mode: Mode::ScaleOut, ..standing }, "the mode is scale-out by now"),
    ] {
        assert_eq!(last_word(&intent, &planned, &fresh, &standing, Reach::Cloud, &executor, 1_000), [expected]);
    }
}
