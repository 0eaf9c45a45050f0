//! One week.

use std::collections::BTreeMap;

use checker::Limits;
use foreshadow::act::{Planned, Settled, call};
use foreshadow::fleet::{Action, Fleet as _, OWNER_TAG};
use foreshadow::observe::Patience;
use foreshadow::shadow::ShadowConfig;
use foreshadow::simulation::{Observed, Options, World};
use foreshadow_proto::convert::Id;
use futures::FutureExt as _;
use planner::baseline::{self, Baseline};
use planner::evidence::{Evidence, MetricEvidence};
use planner::plan::Memory;
use planner::policy::{Metric, Mode, Policy, ShadowBy};
use planner::simulation::cloud::{Config, FaultRates, GroupConfig, Lifecycle, TargetTracking};
use planner::simulation::{Load, Seeded, StrictCloud};

use crate::forecaster::Forecaster;
use crate::invariants::Witness;

const GROUP: &str = "web";
const START: i64 = 1_800_000_000;
const WEEK: i64 = 7 * 86_400;
/// After the week nothing fails any more, and what is open must come to an end.
const HEALED: i64 = 4 * 3_600;
/// A lease, seconds.
pub const LEASE: i64 = 1_800;
pub const TARGET: f64 = 60.0;
/// The end of a life, in which demand is to be met again, seconds.
const LAST: i64 = 3_600;
/// Two who claimed the group in the same minute have settled by then whose it is, seconds.
const SETTLED: i64 = 900;
/// How long agents are silent, seconds.
const SILENT: i64 = 600;

/// What a week, or many, came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Summary {
    pub weeks: u32,
    pub launched: usize,
    pub reattached: usize,
    pub detached: usize,
    /// Of them when everything was healed.
    pub detached_healed: usize,
    pub terminated: usize,
    pub refused: usize,
    pub crashes: u32,
    pub by_hand: u32,
    pub steps: u64,
    pub digest: u64,
}

impl Summary {
    pub fn add(&mut self, other: &Self) {
        self.merge(&Self { weeks: 1, ..other.clone() });
    }

    pub fn merge(&mut self, other: &Self) {
        self.weeks += other.weeks;
        self.launched += other.launched;
        self.reattached += other.reattached;
        self.detached += other.detached;
        self.detached_healed += other.detached_healed;
        self.terminated += other.terminated;
        self.refused += other.refused;
        self.crashes += other.crashes;
        self.by_hand += other.by_hand;
        self.steps += other.steps;
        self.digest ^= other.digest;
    }
}

/// What happens to the group beside its load.
struct Trouble {
    /// So many times the usual trouble.
    dense: u64,
    random: Seeded,
    /// Agents cannot be heard until then.
    silent_until: i64,
    /// Backends hang until then: CPU falls although nobody needs less.
    hung_until: i64,
    /// Agents report zero for everything until then.
    zeros_until: i64,
    /// The clock of the process is an hour off until then.
    off_until: i64,
    /// Every third agent cannot be heard until then.
    partly_until: i64,
    /// Descriptions lose a page until then.
    partial_until: i64,
    /// Another has the lease until then.
    dispossessed_until: i64,
    /// Draws what came later, so that older lives stay what they were.
    later: Seeded,
    by_hand: u32,
    version: u32,
}

impl Trouble {
    fn once_in(&mut self, rounds: u64) -> bool {
        self.random.next().is_multiple_of((rounds / self.dense).max(1))
    }

    /// Nobody is heard, and for so long that every sample is old.
    fn is_silent(&self, now: i64) -> bool {
        now < self.silent_until && now - (self.silent_until - SILENT) > 180
    }

    fn strike(&mut self, world: &mut World, witness: &mut Witness, now: i64) {
        if self.once_in(1_500) {
            self.silent_until = now + SILENT;
        }
        if self.once_in(2_500) {
            self.hung_until = now + 1_500;
        }
        if self.once_in(2_000) {
            self.zeros_until = now + 900;
        }
        if self.once_in(2_500) {
            let by = if self.random.next().is_multiple_of(2) { 3_600 } else { -3_600 };
            self.off_until = now + 1_500;
            world.set_right(now);
            world.jump(by, now);
        }
        if now >= self.off_until {
            world.set_right(now);
        }
        if self.later.next().is_multiple_of((3_000 / self.dense).max(1)) {
            self.dispossessed_until = now + 900;
        }
        world.faults.dispossessed = now < self.dispossessed_until;
        if self.later.next().is_multiple_of((2_000 / self.dense).max(1)) {
            self.partly_until = now + 1_200;
        }
        if self.later.next().is_multiple_of((2_000 / self.dense).max(1)) {
            self.partial_until = now + 900;
        }
        world.faults.partly = now < self.partly_until;
        world.fleet.set_partial(now < self.partial_until);
        if self.once_in(150) {
            world.dies_after((self.random.next() % 7) as usize);
        }
        if self.once_in(800) {
            world.standing.paused = !world.standing.paused;
        }
        if self.once_in(3_000) {
            self.version += 1;
            let version = self.version;
            drop(world.fleet.with(|cloud| cloud.deploy(now, GROUP, version)));
        }
        if self.once_in(1_500) {
            self.detach_by_hand(world, witness, now);
        }
        if self.once_in(2_000) {
            self.adopt(world, witness);
        }
        witness.not_ours(world);
    }

    /// Somebody detaches an instance at the console.
    fn detach_by_hand(&mut self, world: &World, witness: &mut Witness, now: i64) {
        let serving: Vec<String> = world.fleet.with(|cloud| {
            cloud
                .truth()
                .members(GROUP)
                .filter(|it| it.lifecycle == Lifecycle::InService)
                .map(|it| it.id.clone())
                .collect()
        });
        let Some(victim) = serving.get((self.random.next() as usize) % serving.len().max(1)).cloned() else { return };
        // Whom a call of ours names at this very moment: that both asked for the same nobody could tell.
        let asked = world.journal().any(|(intent, settled)| {
            let named = intent.action.instances().iter().any(|instance| instance.as_str() == victim);
            settled.is_none() && named && intent.action.takes_out()
        });
        if asked {
            return;
        }
        // The console may lose the answer as well: what counts is where the instance is.
        let detached = world.fleet.with(|cloud| {
            drop(cloud.detach(now, GROUP, std::slice::from_ref(&victim), true));
            let shown = cloud.truth().instances.get(&victim).map(|it| it.lifecycle);
            matches!(shown, Some(Lifecycle::Detaching | Lifecycle::Detached))
        });
        if detached {
            self.by_hand += 1;
            witness.foreign(&victim, now);
        }
    }

    fn adopt(&mut self, world: &mut World, witness: &mut Witness) {
        let foreign = world.sessions().iter().find(|it| it.ended.is_none() && witness.is_foreign(it.instance.as_str()));
        if let Some(instance) = foreign.map(|session| session.instance.clone())
            && world.adopt(&instance)
        {
            witness.adopted(instance.as_str());
        }
    }
}

fn options(seed: u64, mode: Mode) -> Options {
    Options {
        installation: [seed as u8; 16],
        limits: Limits::default(),
        patience: Patience { warm_up: 900_000_000, drain: 300_000_000, silent: 300_000_000 },
        shadow: ShadowConfig { default_seconds: LEASE as u32, maximum_seconds: 6 * 3_600, ..ShadowConfig::default() },
        mode,
    }
}

fn account(seed: u64, start: i64, round: i64, random: &mut Seeded) -> StrictCloud {
    let mut group = GroupConfig::new(GROUP, 4, 60, 20);
    // In one week of five the provider scales in behind our back.
    let scale_in = random.next().is_multiple_of(5);
    group.tracking = Some(TargetTracking { target: TARGET, scale_in });
    let rate = |random: &mut Seeded, most: f64| most * random.uniform();
    let faults = FaultRates {
        throttled: rate(random, 0.05),
        contention: rate(random, 0.03),
        lost_request: rate(random, 0.02),
        lost_answer: rate(random, 0.05),
        insufficient_capacity: rate(random, 0.03),
    };
    let config = Config {
        start,
        groups: vec![group],
        faults,
        boot_failure: rate(random, 0.05),
        in_progress_seconds: 90,
        page_size: 7,
        lag_seconds: if round < 60 { 50 } else { 20 },
        ..Config::default()
    };
    StrictCloud::new(seed, config)
}

/// Instances in service, as the cloud knows.
fn serving(world: &World) -> f64 {
    let serves = |cloud: &mut StrictCloud| {
        cloud.truth().members(GROUP).filter(|it| it.lifecycle == Lifecycle::InService).count()
    };
    world.fleet.with(serves) as f64
}

/// The policy of the group.
fn base(shadow_by: ShadowBy) -> Policy {
    Policy { minimum: 4, maximum: 60, launch_lead_seconds: 300, shadow_by, ..Policy::new(GROUP) }
}

/// What is lived through.
#[derive(Debug, Clone, Copy)]
pub struct Course {
    /// Seconds between rounds.
    round: i64,
    /// Seconds in which things go wrong, and in which they are healed afterwards.
    length: i64,
    healed: i64,
    shadow_by: ShadowBy,
    /// It begins at any hour of the week, with yesterday known, and trouble comes this much oftener.
    dense: Option<u64>,
}

/// One week, a round a minute.
pub const WEEKLONG: Course =
    Course { round: 60, length: WEEK, healed: HEALED, shadow_by: ShadowBy::Detach, dense: None };
/// The same with shadows in standby.
pub const STANDBY: Course = Course { shadow_by: ShadowBy::Standby, ..WEEKLONG };
/// Two days and a third with a round every twenty seconds and descriptions up to fifty seconds old:
/// most of what is decided is decided on a picture from before the last change.
pub const QUICK: Course = Course { round: 20, length: WEEK / 3, ..WEEKLONG };
/// A night's or a day's worth, with as much trouble as in a week.
pub const SHORT: Course = Course { length: 9 * 3_600, healed: 5_400, dense: Some(6), ..WEEKLONG };

/// Lives through a course; panics when what may never happen happens.
pub fn run(seed: u64, course: Course) -> Summary {
    recorded(seed, course, &mut |_, _| {})
}

/// The same; every plan is shown on its way.
pub fn recorded(seed: u64, course: Course, show: &mut dyn FnMut(&World, &Planned)) -> Summary {
    let Course { round, length, shadow_by, .. } = course;
    let mut random = Seeded::new(seed ^ 0xF0E5);
    let begin = START + if course.dense.is_some() { (random.next() % 168) as i64 * 3_600 } else { 0 };
    let mode = [Mode::Full, Mode::Full, Mode::Full, Mode::ScaleOut, Mode::Observe][(seed % 5) as usize];
    let cloud = account(seed, begin, round, &mut random);
    let Ok(group) = Id::new("group", GROUP) else { unreachable!("a group's name") };
    let mut world = World::new(cloud, group, options(seed, mode));
    let mut load = Load::new(seed, 24.0 * TARGET);
    let mut forecaster =
        if course.dense.is_some() { Forecaster::warm(begin, &mut load) } else { Forecaster::new(begin) };
    let mut trouble = Trouble {
        dense: course.dense.unwrap_or(1),
        random,
        silent_until: 0,
        hung_until: 0,
        zeros_until: 0,
        off_until: 0,
        partly_until: 0,
        partial_until: 0,
        dispossessed_until: 0,
        later: Seeded::new(seed ^ 0x2A17),
        by_hand: 0,
        version: 1,
    };
    let mut witness = Witness::new(seed, mode);
    let (mut memory, mut steps, mut digest, mut demand) = (Memory::default(), 0, 0_u64, 0.0);
    let mut idle = Idle::default();
    let (mut stopped_until, mut healed, mut short) = (begin, false, 0);
    let mut rival = (seed % 4 == 1).then(|| Rival::of(&world, seed % 8 == 1));
    let end = begin + length + course.healed;
    let trust = 0.6 + 0.4 * trouble.random.uniform();
    for now in (begin..end).step_by(round as usize) {
        // Stopped between plan and act, it makes no other plan meanwhile: time never goes back.
        if now < stopped_until {
            continue;
        }
        let healing = now >= begin + length;
        if healing && !std::mem::replace(&mut healed, true) {
            world.fleet.with(StrictCloud::heal);
            world.standing.paused = false;
            (trouble.silent_until, trouble.hung_until, trouble.zeros_until) = (0, 0, 0);
            world.set_right(now);
            (world.faults.dispossessed, world.faults.partly) = (false, false);
            world.fleet.set_partial(false);
        }
        if !healing {
            trouble.strike(&mut world, &mut witness, now);
        }
        if now % 60 == 0 {
            demand = load.minute(now);
        }
        (world.faults.hung, world.faults.zeros) = (now < trouble.hung_until, now < trouble.zeros_until);
        let Some(observed) = world.observe(now, demand, now >= trouble.silent_until) else { continue };
        if mode >= Mode::ScaleOut && now >= end - LAST {
            short += i64::from(serving(&world) * TARGET < demand) * round;
        }
        if now % 60 == 0 {
            forecaster.take(observed.demand, idle.baseline.points);
        }
        let wall = world.wall(now);
        let found = MetricEvidence {
            demand: observed.demand,
            highest_lately: forecaster.lately(),
            forecast: forecaster.forecast(now, trust),
            ..idle.found(&world, &world.policy(&base(shadow_by)), wall)
        };
        let planned = plan(&world, &observed, found, (&mut memory, shadow_by), wall);
        show(&world, &planned);
        // Zeros are no load, and what hangs carries less than it is asked for: what must be carried is what is asked for.
        let lying = world.faults.zeros || world.faults.hung || world.faults.partly;
        let asked = lying.then_some(demand);
        let asked = asked.or_else(|| observed.demand.map(|demand| demand.gross));
        // In one life of four a second installation has the same group in its configuration, in the same mode, from the first minute.
        if let Some(rival) = rival.as_mut().filter(|it| it.first) {
            rival.lives(&world, &mut witness, demand, &planned, (begin, now));
        }
        witness.before(&world, trouble.is_silent(now), asked, now);
        // A process that was stopped between plan and act goes on with a plan that is too old.
        let late = if !healing && trouble.once_in(300) { 95 } else { 0 };
        stopped_until = now + late;
        let crashes = world.crashes;
        world.act(&planned, now + late);
        witness.after(&world, now);
        if world.crashes > crashes {
            idle = Idle::default();
        }
        if let Some(rival) = rival.as_mut().filter(|it| !it.first) {
            rival.lives(&world, &mut witness, demand, &planned, (begin, now));
        }
        steps += 1;
        digest = fold(digest, &format!("{:?}{:?}", planned.plan.steps, planned.plan.need_now));
    }
    witness.at_the_end(&world, end);
    // Alive again: demand is met, but for what rises faster than anything starts.
    assert!(short <= LAST / 4, "seed {seed}: healed, and short of machines for {short} of the last {LAST} s");
    summary(&world, &trouble, steps, digest, begin + length)
}

/// The idle baseline as the rounds move it.
#[derive(Default)]
struct Idle {
    baseline: Baseline,
    at: Option<i64>,
}

impl Idle {
    fn found(&mut self, world: &World, policy: &Policy, now: i64) -> MetricEvidence {
        let idle = world.idle(policy, now);
        let Some((found, target)) = idle.get(&Metric::Cpu).zip(policy.targets.get(&Metric::Cpu)) else {
            return MetricEvidence { baseline: self.baseline, ..MetricEvidence::default() };
        };
        let hours = (now - *self.at.get_or_insert(now)).max(0) as f64 / 3_600.0;
        let (baseline, baseline_doubt) = baseline::bounded(&self.baseline, found, *target, hours);
        (self.baseline, self.at) = (baseline, Some(now));
        MetricEvidence { baseline, baseline_doubt, ..MetricEvidence::default() }
    }
}

/// Another installation, which believes that the group is its own and knows the same forecast.
struct Rival {
    world: World,
    memory: Memory,
    /// It comes before the other in every round.
    first: bool,
    /// The group was taken over from it, so many seconds after the beginning.
    lost: Option<i64>,
}

impl Rival {
    fn of(world: &World, first: bool) -> Self {
        Self { world: world.beside([0xEE; 16]), memory: Memory::default(), first, lost: None }
    }

    /// Its round: every one until it is settled whose the group is, and then one in ten
    /// minutes. Where it won, the group is taken over from it.
    fn lives(&mut self, world: &World, witness: &mut Witness, demand: f64, first: &Planned, (begin, now): (i64, i64)) {
        let since = now - begin;
        if since >= SETTLED && owner(world).is_some_and(|owner| owner == self.world.owner()) {
            let over = call::taken_over(&world.owner());
            drop(world.fleet.tag_group(&world.group, &over).now_or_never());
            self.lost = Some(since);
            witness.not_ours(world);
        }
        // By a picture from before it was taken over it may act once more.
        let fooled = self.lost.is_some_and(|lost| since - lost < SETTLED);
        if fooled || since >= SETTLED && now % 600 != 0 {
            return;
        }
        witness.without(world, &self.world.owner(), now, || {
            let Some(observed) = self.world.observe(now, demand, true) else { return };
            let forecast = first.evidence.metrics.get(&Metric::Cpu).and_then(|found| found.forecast.clone());
            let found = MetricEvidence { demand: observed.demand, forecast, ..MetricEvidence::default() };
            let planned = plan(&self.world, &observed, found, (&mut self.memory, first.policy.shadow_by), now);
            self.world.act(&planned, now);
        });
    }
}

/// Whose tag is on the group.
pub fn owner(world: &World) -> Option<String> {
    world.fleet.with(|cloud| cloud.truth().groups.get(GROUP)?.tags.get(OWNER_TAG).cloned())
}

fn plan(
    world: &World,
    observed: &Observed,
    found: MetricEvidence,
    (memory, shadow_by): (&mut Memory, ShadowBy),
    now: i64,
) -> Planned {
    let policy = world.policy(&base(shadow_by));
    let evidence = Evidence {
        inventory: observed.inventory.clone(),
        metrics: BTreeMap::from([(Metric::Cpu, found)]),
        conditions: observed.conditions.clone(),
    };
    let (plan, next) = planner::plan(now, &policy, &evidence, memory);
    let memory = std::mem::replace(memory, next);
    let machines = u32::try_from(observed.inventory.instances.len()).unwrap_or(u32::MAX);
    Planned {
        plan,
        policy,
        evidence,
        memory,
        last_week: BTreeMap::new(),
        fleet: checker::Fleet { groups: 1, machines, ..checker::Fleet::default() },
        source: Some("simulated"),
        version: observed.version.clone(),
    }
}

fn summary(world: &World, trouble: &Trouble, steps: u64, digest: u64, healed_at: i64) -> Summary {
    let mut summary =
        Summary { weeks: 1, steps, crashes: world.crashes, by_hand: trouble.by_hand, ..Summary::default() };
    summary.digest = world.fleet.with(|cloud| fold(digest, &format!("{:?}", cloud.mutations())));
    for (intent, settled) in world.journal() {
        match (settled, &intent.action) {
            (Some(Settled::Done { .. }), Action::Launch { count, .. }) => summary.launched += *count as usize,
            (Some(Settled::Done { instances }), action) if action.brings_back() => {
                summary.reattached += instances.len()
            }
            (Some(Settled::Done { instances }), action) if action.takes_out() => {
                summary.detached += instances.len();
                summary.detached_healed += if intent.written_at >= healed_at { instances.len() } else { 0 };
            }
            (Some(Settled::Done { .. }), Action::Leave { .. }) => {}
            (Some(Settled::Done { instances }), Action::Terminate { .. }) => summary.terminated += instances.len(),
            _ => summary.refused += 1,
        }
    }
    summary
}

/// FNV-1a.
fn fold(digest: u64, text: &str) -> u64 {
    text.bytes()
        .fold(digest ^ 0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}
