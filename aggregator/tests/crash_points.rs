//! A life of every action there is - into shadow, back, launched, ended - in which one call of each kind fails in each way
//! and the process dies before each of its effects, one life for each: the production code against the strict fake. What
//! the journal alone does then is enumerated in `act::journal`; here are leases, tags, and who ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use checker::Limits;
use foreshadow::act::Planned;
use foreshadow::fleet::{GROUP_TAG, OWNER_TAG, UNTIL_TAG};
use foreshadow::observe::Patience;
use foreshadow::shadow::{Origin, ShadowConfig};
use foreshadow::simulation::{Options, SimulatedFleet, World};
use foreshadow_proto::convert::Id;
use planner::baseline::Baseline;
use planner::evidence::{Evidence, Forecast, MetricEvidence};
use planner::plan::Memory;
use planner::policy::{Metric, Mode, Policy, ShadowBy};
use planner::simulation::StrictCloud;
use planner::simulation::cloud::fault::{Call, Fault};
use planner::simulation::cloud::{Actor, Config, Effect, GroupConfig, Lifecycle};

const GROUP: &str = "web";
const START: i64 = 1_800_000_000;
const LEASE: i64 = 900;
/// Load that three carry, and load for which twelve are needed.
const LOW: f64 = 150.0;
const HIGH: f64 = 700.0;
/// Minutes: low, and long enough for leases to end; then high; then low again.
const COURSE: [(i64, f64); 3] = [(48, LOW), (64, HIGH), (100, LOW)];
/// A shadow may be without its tags until the reaper has looked twice, minutes: it looks soon after an attach that failed, and
/// every ten after a death.
const BARE_FOR: i64 = 21;

/// What failed and where it died.
#[derive(Debug, Clone, Copy)]
struct Case {
    shadow_by: ShadowBy,
    /// Launches by a raised minimum that names nobody, not by a call with a token.
    by_size: bool,
    fault: Option<(Call, Fault)>,
    /// From which description on three in a row fail.
    blind_from: Option<u32>,
    dies_after: Option<usize>,
}

/// So many descriptions in a row fail.
const BLIND: usize = 3;

fn options() -> Options {
    Options {
        installation: [7; 16],
        limits: Limits::default(),
        patience: Patience { warm_up: 60_000_000, drain: 60_000_000, silent: 300_000_000 },
        shadow: ShadowConfig { default_seconds: LEASE as u32, ..ShadowConfig::default() },
        mode: Mode::Full,
    }
}

/// Lives one minute and acts.
fn minute(world: &mut World, case: Case, now: i64, load: f64, memory: &mut Memory) {
    let Some(observed) = world.observe(now, load, true) else { return };
    let base = Policy {
        mode: Mode::Full,
        minimum: 2,
        maximum: 40,
        launch_lead_seconds: 120,
        shadow_by: case.shadow_by,
        ..Policy::new(GROUP)
    };
    let policy = world.policy(&base);
    let forecast = Forecast {
        start: now,
        step_seconds: 300,
        levels: vec![0.05, 0.5, 0.95],
        paths: [0.7, 1.0, 1.1].map(|factor| vec![load * factor; 288]).to_vec(),
        trained_at: now,
        trust: 1.0,
        ..Forecast::default()
    };
    let found = MetricEvidence {
        demand: observed.demand,
        baseline: Baseline::default(),
        forecast: Some(forecast),
        ..MetricEvidence::default()
    };
    let evidence = Evidence {
        inventory: observed.inventory.clone(),
        metrics: BTreeMap::from([(Metric::Cpu, found)]),
        conditions: observed.conditions.clone(),
    };
    let (plan, next) = planner::plan(now, &policy, &evidence, memory);
    let memory = std::mem::replace(memory, next);
    let fleet = checker::Fleet { groups: 1, machines: 200, ..checker::Fleet::default() };
    let (source, last_week, version) = (Some("simulated"), BTreeMap::new(), observed.version);
    let planned = Planned { plan, policy, evidence, memory, last_week, fleet, source, version };
    world.act(&planned, now);
}

/// How a life went.
#[derive(Debug)]
struct Lived {
    died: bool,
    /// Calls that took effect.
    calls: BTreeSet<Call>,
    /// The most that were ever in the group, and those that were when the load had been high for long.
    most: u32,
    high: u32,
    /// It was over before the fault came.
    unharmed: bool,
}

/// Lives it to the end and judges all of it.
fn life(case: Case) -> Lived {
    let config = Config { start: START, groups: vec![GroupConfig::new(GROUP, 2, 40, 10)], ..Config::default() };
    let mut cloud = StrictCloud::new(1, config);
    if let Some((call, fault)) = case.fault {
        // The two tags of the group's owner are not what this is about.
        cloud.queue_fault(call, if call == Call::Tag { 2 } else { 0 }, fault);
    }
    for after in case.blind_from.into_iter().flat_map(|from| [from; BLIND]) {
        cloud.queue_fault(Call::DescribeGroup, after, Fault::LostRequest);
    }
    let group = Id::new("group", GROUP).expect("a name");
    let fleet = SimulatedFleet::new(cloud);
    let fleet = if case.by_size { fleet.launches_by_size() } else { fleet };
    let mut world = World::around(Arc::new(fleet), group, options());
    world.dies_after(case.dies_after.unwrap_or(usize::MAX));
    let (mut memory, mut bare) = (Memory::default(), BTreeMap::<String, i64>::new());
    let (mut most, mut high) = (0, 0);
    let end = COURSE[2].0;
    for at in 0..end {
        let load = COURSE.iter().find(|(until, _)| at < *until).map_or(LOW, |(_, load)| *load);
        minute(&mut world, case, START + 60 * at, load, &mut memory);
        let inside = world.fleet.with(|cloud| cloud.truth().counted(GROUP));
        most = most.max(inside);
        if at == COURSE[1].0 - 1 {
            high = inside;
        }
        let without = untagged(&world);
        bare.retain(|name, _| without.contains(name));
        for name in without {
            let since = *bare.entry(name.clone()).or_insert(at);
            assert!(at - since <= BARE_FOR, "{name} has no lease since minute {since}: {case:?}");
        }
    }
    judge(&world, case);
    let mutations = world.fleet.with(|cloud| cloud.mutations().to_vec());
    let ours = mutations.iter().filter(|it| it.by == Actor::Caller && it.effect == Effect::Applied);
    let calls = ours.map(|it| it.call).collect();
    let unharmed = world.fleet.with(|cloud| cloud.has_queued_faults());
    Lived { died: world.crashes > 0, calls, most, high, unharmed }
}

/// Who runs outside its group, and does not carry all of its lease.
fn untagged(world: &World) -> Vec<String> {
    world.fleet.with(|cloud| {
        let outside = cloud.truth().instances.iter().filter(|(_, it)| it.lifecycle == Lifecycle::Detached);
        let bare = |tags: &BTreeMap<String, String>| {
            [UNTIL_TAG, GROUP_TAG, OWNER_TAG].iter().any(|tag| !tags.contains_key(*tag))
        };
        outside.filter(|(_, it)| bare(&it.tags)).map(|(name, _)| name.clone()).collect()
    })
}

fn judge(world: &World, case: Case) {
    for (intent, settled) in world.journal() {
        assert!(settled.is_some(), "open for ever: {intent:?} {case:?}");
    }
    let mutations = world.fleet.with(|cloud| cloud.mutations().to_vec());
    let (mut tokens, mut taken_out, mut ended) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
    for it in mutations.iter().filter(|it| it.by == Actor::Caller && it.effect == Effect::Applied) {
        match it.call {
            Call::Launch => *tokens.entry(it.token.clone()).or_insert(0) += 1,
            Call::Detach | Call::EnterStandby => {
                for id in &it.ids {
                    // Out of standby it leaves for its end; its time counts from when it was taken out.
                    taken_out.entry(id.clone()).or_insert(it.at);
                }
            }
            Call::Attach | Call::ExitStandby => taken_out.retain(|id, _| !it.ids.contains(id)),
            Call::Terminate => {
                for id in &it.ids {
                    let out = taken_out.get(id).unwrap_or_else(|| panic!("{id} ends and was not ours: {case:?}"));
                    assert!(it.at - out >= LEASE, "{id} ends {} s after it was taken out: {case:?}", it.at - out);
                    assert!(ended.insert(id.clone()), "{id} ends twice: {case:?}");
                }
            }
            _ => {}
        }
    }
    assert!(tokens.values().all(|times| *times == 1), "launched twice: {tokens:?} {case:?}");
    // Whoever runs outside the group has a session of ours: it is ended, or comes back.
    let outside: Vec<String> = world.fleet.with(|cloud| {
        let all = cloud.truth().instances.iter();
        all.filter(|(_, it)| it.lifecycle == Lifecycle::Detached).map(|(name, _)| name.clone()).collect()
    });
    for name in outside {
        let known = world.sessions().iter().any(|session| {
            session.ended.is_none() && session.origin == Origin::Ours && session.instance.as_str() == name
        });
        assert!(known, "{name} runs, and nobody knows of it: {case:?}");
    }
}

/// The life with each fault, and with a death before each of its effects; which calls took effect in the calm one.
fn every(shadow_by: ShadowBy, by_size: bool, calls: &[Call]) -> (usize, BTreeSet<Call>) {
    let faults = [Fault::Throttled, Fault::Contention, Fault::LostRequest, Fault::LostAnswer];
    let failing = calls.iter().flat_map(|call| faults.map(|fault| Some((*call, fault))));
    // None of those asked for come, or some of them.
    let lacking = [0, 1].map(|come| Some((Call::Launch, Fault::InsufficientCapacity(come))));
    let lacking = lacking.into_iter().filter(|_| calls.contains(&Call::Launch));
    let calm = life(Case { shadow_by, by_size, fault: None, blind_from: None, dies_after: None });
    let mut lives = 1;
    for fault in std::iter::once(None).chain(failing).chain(lacking) {
        for after in 0.. {
            let case = Case { shadow_by, by_size, fault, blind_from: None, dies_after: Some(after) };
            let lived = life(case);
            lives += 1;
            // As many as are needed come, and never one more.
            assert!(lived.most <= calm.most && lived.high == calm.high, "{lived:?} of {calm:?}: {case:?}");
            if !lived.died {
                break;
            }
        }
    }
    println!("{lives} lives");
    (lives, calm.calls)
}

/// Descriptions are what everything is judged by: wherever three of them fail, nothing is done by what was there before.
#[test]
fn whichever_descriptions_fail_nobody_is_lost_or_ended_twice() {
    for shadow_by in [ShadowBy::Detach, ShadowBy::Standby] {
        let calm = life(Case { shadow_by, by_size: false, fault: None, blind_from: None, dies_after: None });
        let mut lives = 0;
        for from in 0.. {
            let case = Case { shadow_by, by_size: false, fault: None, blind_from: Some(from), dies_after: None };
            let lived = life(case);
            assert!(lived.most <= calm.most && lived.high == calm.high, "{lived:?} of {calm:?}: {case:?}");
            lives += 1;
            if lived.unharmed {
                break;
            }
        }
        assert!(lives > 100, "{lives}");
    }
}

#[test]
fn detached_wherever_it_dies_and_whatever_fails_nobody_is_lost_or_ended_twice() {
    let calls = [Call::Detach, Call::Attach, Call::Terminate, Call::Launch, Call::Tag];
    let (lives, calm) = every(ShadowBy::Detach, false, &calls);
    assert!(calls.iter().all(|call| calm.contains(call)), "a life of everything: {calm:?}");
    assert!(lives > 400, "{lives}");
}

#[test]
fn in_standby_wherever_it_dies_and_whatever_fails_nobody_is_lost_or_ended_twice() {
    let calls = [Call::EnterStandby, Call::ExitStandby, Call::Detach, Call::Terminate, Call::Tag];
    let (lives, calm) = every(ShadowBy::Standby, false, &calls);
    assert!(calls.iter().all(|call| calm.contains(call)), "a life of everything: {calm:?}");
    assert!(lives > 400, "{lives}");
}

/// Where a raised minimum launches, its size has to be right: with whom the same plan brings back, and with whom it took out
/// shortly before.
#[test]
fn launched_by_size_wherever_it_dies_as_many_come_as_are_needed() {
    for (shadow_by, call) in [(ShadowBy::Detach, Call::Attach), (ShadowBy::Standby, Call::ExitStandby)] {
        let (lives, calm) = every(shadow_by, true, &[call, Call::SetMinimum]);
        assert!([call, Call::SetMinimum].iter().all(|call| calm.contains(call)), "a life of everything: {calm:?}");
        assert!(lives > 150, "{lives}");
    }
}
