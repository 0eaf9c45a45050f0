//! A life of every action there is - into shadow, back, launched, ended - in which one call of each kind fails in each way
//! and the process dies before each of its effects, one life for each: the production code against the strict fake. What
//! the journal alone does then is enumerated in `act::journal`; here are leases, tags, and who ends.

use std::collections::{BTreeMap, BTreeSet};

use checker::Limits;
use foreshadow::act::Planned;
use foreshadow::fleet::{GROUP_TAG, OWNER_TAG, UNTIL_TAG};
use foreshadow::observe::Patience;
use foreshadow::shadow::{Origin, ShadowConfig};
use foreshadow::simulation::{Options, World};
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
/// A shadow may be without its tags until the reaper has looked twice, minutes.
const BARE_FOR: i64 = 21;

/// What failed and where it died.
#[derive(Debug, Clone, Copy)]
struct Case {
    shadow_by: ShadowBy,
    fault: Option<(Call, Fault)>,
    dies_after: Option<usize>,
}

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

/// Lives it to the end, judges all of it, and says whether the process died and which calls took effect.
fn life(case: Case) -> (bool, BTreeSet<Call>) {
    let config = Config { start: START, groups: vec![GroupConfig::new(GROUP, 2, 40, 10)], ..Config::default() };
    let mut cloud = StrictCloud::new(1, config);
    if let Some((call, fault)) = case.fault {
        // The tag of the group's owner is not what this is about.
        cloud.queue_fault(call, u32::from(call == Call::Tag), fault);
    }
    let group = Id::new("group", GROUP).expect("a name");
    let mut world = World::new(cloud, group, options());
    world.dies_after(case.dies_after.unwrap_or(usize::MAX));
    let (mut memory, mut bare) = (Memory::default(), BTreeMap::<String, i64>::new());
    let end = COURSE[2].0;
    for at in 0..end {
        let load = COURSE.iter().find(|(until, _)| at < *until).map_or(LOW, |(_, load)| *load);
        minute(&mut world, case, START + 60 * at, load, &mut memory);
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
    (world.crashes > 0, ours.map(|it| it.call).collect())
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
fn every(shadow_by: ShadowBy, calls: &[Call]) -> (usize, BTreeSet<Call>) {
    let faults = [Fault::Throttled, Fault::Contention, Fault::LostRequest, Fault::LostAnswer];
    let failing = calls.iter().flat_map(|call| faults.map(|fault| Some((*call, fault))));
    let (_, calm) = life(Case { shadow_by, fault: None, dies_after: None });
    let mut lives = 1;
    for fault in std::iter::once(None).chain(failing) {
        for after in 0.. {
            let (died, _) = life(Case { shadow_by, fault, dies_after: Some(after) });
            lives += 1;
            if !died {
                break;
            }
        }
    }
    println!("{lives} lives");
    (lives, calm)
}

#[test]
fn detached_wherever_it_dies_and_whatever_fails_nobody_is_lost_or_ended_twice() {
    let calls = [Call::Detach, Call::Attach, Call::Terminate, Call::Launch, Call::Tag];
    let (lives, calm) = every(ShadowBy::Detach, &calls);
    assert!(calls.iter().all(|call| calm.contains(call)), "a life of everything: {calm:?}");
    assert!(lives > 400, "{lives}");
}

#[test]
fn in_standby_wherever_it_dies_and_whatever_fails_nobody_is_lost_or_ended_twice() {
    let calls = [Call::EnterStandby, Call::ExitStandby, Call::Detach, Call::Terminate, Call::Tag];
    let (lives, calm) = every(ShadowBy::Standby, &calls);
    assert!(calls.iter().all(|call| calm.contains(call)), "a life of everything: {calm:?}");
    assert!(lives > 400, "{lives}");
}
