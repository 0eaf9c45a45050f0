//! Eight incidents in which an autoscaler, or what stands in its place, took a fleet down; each is a
//! test of what this one does instead. Real processes have their part in `foreshadow-tests`
//! (`steer`, `acting`, `access`); here the production code runs against the strict fake.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use checker::{Change, Limits, Refusal};
use forecast::history::History;
use forecast::model::{FitError, Fitted, Model};
use foreshadow::act::{Control, Intents, Planned, Settled};
use foreshadow::clock::{Clock, SystemClock};
use foreshadow::decision::DecisionLog;
use foreshadow::events::EventLog;
use foreshadow::fleet::{FileFleet, Fleet, OWNER_TAG};
use foreshadow::leash::{CommonLimits, FileLimits, Leash};
use foreshadow::live::Live;
use foreshadow::observe::{Observer, Patience, Timeline};
use foreshadow::readings::Readings;
use foreshadow::rounds::{Board, ForecastHours, GroupRound, Learned, Logs, Measurements, PlanLog, PulseLog, Revised};
use foreshadow::shadow::{Sessions, ShadowConfig};
use foreshadow::simulation::{Observed, Options, World};
use foreshadow::store::{Embedded, Minute, SampleStore};
use foreshadow_proto::convert::Id;
use planner::baseline::Baseline;
use planner::evidence::{Evidence, Forecast, MetricEvidence};
use planner::hold::Hold;
use planner::plan::{Memory, PlannedStep, Step};
use planner::policy::{Metric, Mode, Policy};
use planner::simulation::StrictCloud;
use planner::simulation::cloud::fault::Call;
use planner::simulation::cloud::{Actor, Config, FaultRates, GroupConfig, Mutation};
use tokio_util::sync::CancellationToken;

const START: i64 = 1_800_000_000;
const SERVING: u32 = 20;

fn group() -> Id {
    Id::new("group", "web").expect("a name")
}

/// Twenty serve, 2 to 60 may; faults as told.
fn world(faults: FaultRates) -> World {
    let config =
        Config { start: START, groups: vec![GroupConfig::new("web", 2, 60, SERVING)], faults, ..Config::default() };
    let options = Options {
        installation: [7; 16],
        limits: Limits::default(),
        patience: Patience { warm_up: 900_000_000, drain: 300_000_000, silent: 300_000_000 },
        shadow: ShadowConfig { default_seconds: 900, ..ShadowConfig::default() },
        mode: Mode::Full,
    };
    World::new(StrictCloud::new(1, config), group(), options)
}

fn policy() -> Policy {
    Policy { mode: Mode::Full, minimum: 2, maximum: 60, launch_lead_seconds: 300, ..Policy::new("web") }
}

/// A trusted forecast that stays at this demand.
fn flat(now: i64, demand: f64) -> Forecast {
    Forecast {
        start: now,
        step_seconds: 300,
        levels: vec![0.05, 0.5, 0.9, 0.95, 0.99],
        paths: [0.7, 1.0, 1.1, 1.15, 1.2].map(|factor| vec![demand * factor; 288]).to_vec(),
        model: "flat".to_owned(),
        window_maximum: None,
        events: Vec::new(),
        trained_at: now,
        trust: 1.0,
        measured_coverage: None,
        nominal_coverage: 0.9,
    }
}

fn evidence(observed: &Observed, forecast: Option<Forecast>) -> Evidence {
    let found = MetricEvidence {
        demand: observed.demand,
        age_seconds: 0,
        highest_lately: None,
        baseline: Baseline::default(),
        baseline_doubt: None,
        forecast,
    };
    Evidence {
        inventory: observed.inventory.clone(),
        metrics: BTreeMap::from([(Metric::Cpu, found)]),
        conditions: observed.conditions.clone(),
    }
}

fn planned(world: &World, observed: &Observed, forecast: Option<Forecast>, now: i64, memory: &mut Memory) -> Planned {
    let policy = world.policy(&policy());
    let evidence = evidence(observed, forecast);
    let (plan, next) = planner::plan(now, &policy, &evidence, memory);
    let memory = std::mem::replace(memory, next);
    let fleet = checker::Fleet { groups: 1, machines: SERVING, ..checker::Fleet::default() };
    let source = Some("simulated");
    let (last_week, version) = (BTreeMap::new(), observed.version.clone());
    Planned { plan, policy, evidence, memory, last_week, fleet, source, version }
}

/// Minutes of a load under a forecast; agents are heard or not.
fn live(world: &mut World, minutes: std::ops::Range<i64>, load: f64, expected: f64, heard: bool, memory: &mut Memory) {
    for minute in minutes {
        let now = START + 60 * minute;
        let Some(observed) = world.observe(now, load, heard) else { continue };
        let planned = planned(world, &observed, Some(flat(now, expected)), now, memory);
        world.act(&planned, now);
    }
}

fn ours(world: &World) -> Vec<Mutation> {
    let all = world.fleet.with(|cloud| cloud.mutations().to_vec());
    all.into_iter().filter(|it| it.by == Actor::Caller && it.call != Call::Tag).collect()
}

fn took_away(world: &World) -> bool {
    ours(world).iter().any(|it| matches!(it.call, Call::Detach | Call::Terminate))
}

fn serving(world: &World) -> u32 {
    world.fleet.with(|cloud| cloud.truth().counted("web"))
}

/// The group at a tenth of its size in load: what everybody would scale in.
const LOW: f64 = 200.0;

#[test]
fn calm_days_do_scale_in_or_the_rest_would_prove_nothing() {
    let mut world = world(FaultRates::default());
    live(&mut world, 0..90, LOW, LOW, true, &mut Memory::default());
    assert!(took_away(&world) && serving(&world) < SERVING);
}

/// Reddit, 2016: switched off by hand, switched on again by the package manager, it read half-migrated
/// data and terminated the application and cache servers within 16 seconds.
#[test]
fn reddit_2016_half_an_inventory_takes_nobody_away_and_machines_go_slowly() {
    let mut world = world(FaultRates::default());
    let mut memory = Memory::default();
    for minute in 0..90 {
        let now = START + 60 * minute;
        let mut observed = world.observe(now, LOW, true).expect("observed");
        observed.inventory.complete = false;
        let planned = planned(&world, &observed, Some(flat(now, LOW)), now, &mut memory);
        assert!(planned.plan.holds.contains(&Hold::PartialInventory));
        world.act(&planned, now);
    }
    assert_eq!(ours(&world), []);
    // Whole again, and with everything to gain: still no more than a tenth in a quarter of an hour.
    live(&mut world, 90..104, LOW, LOW, true, &mut memory);
    let gone: usize = ours(&world).iter().filter(|it| it.call == Call::Detach).map(|it| it.ids.len()).sum();
    assert!((1..=2).contains(&gone), "{gone}");
    // That no file, package or restart switches it on: foreshadow-tests `steer`.
}

/// Slack, 2021: backends hung, CPU of the web tier fell, it was scaled in; then a second rule asked for
/// 1 200 servers at once.
#[test]
fn slack_2021_a_fall_that_nobody_forecast_takes_nobody_away_and_a_rise_is_capped() {
    let mut world = world(FaultRates::default());
    live(&mut world, 0..90, LOW, 900.0, true, &mut Memory::default());
    assert!(!took_away(&world), "{:?}", ours(&world));
    let observed = world.observe(START + 90 * 60, LOW, true).expect("observed");
    let mut wide = evidence(&observed, Some(flat(START + 90 * 60, 72_000.0)));
    wide.conditions.changing = false;
    let policy = Policy { maximum: 5_000, launches_per_hour: 5_000, ..policy() };
    let (plan, _) = planner::plan(START + 90 * 60, &policy, &wide, &Memory::default());
    let launched = plan.steps.iter().find_map(|step| match step.step {
        Step::Launch { count } => Some(count),
        _ => None,
    });
    assert_eq!(launched, Some(SERVING), "no more than as many again in one plan: {:?}", plan.steps);
}

/// The same, as it looked to a forecast that had learned to expect less: nothing is surprised, and CPU falls alone.
#[test]
fn slack_2021_cpu_that_falls_while_the_network_does_not_takes_nobody_away() {
    // What a fifth of the CPU comes to, and a forecast that finds it likely.
    let (busy, fallen) = (900.0, 220.0);
    let told = |hung: bool, load: f64| {
        let mut world = world(FaultRates::default());
        let mut memory = Memory::default();
        live(&mut world, 0..90, busy, 1_100.0, true, &mut memory);
        assert!(!took_away(&world), "{:?}", ours(&world));
        world.faults.hung = hung;
        live(&mut world, 90..150, load, fallen, true, &mut memory);
        let now = START + 150 * 60;
        let observed = world.observe(now, load, true).expect("observed");
        let holds = planned(&world, &observed, Some(flat(now, fallen)), now, &mut memory).plan.holds;
        (took_away(&world), holds.iter().any(|hold| matches!(hold, Hold::Hung { .. })))
    };
    assert_eq!(told(true, busy), (false, true));
    assert_eq!(told(false, fallen), (true, false), "where the load itself is gone the network falls as well");
}

/// AWS us-east-1, 2025: a delayed executor applied an older plan over a newer one, a cleanup deleted it,
/// what was left was empty; meanwhile launches failed, and health checks removed good capacity.
#[test]
fn aws_2025_an_old_plan_is_not_carried_out() {
    let mut world = world(FaultRates::default());
    let mut memory = Memory::default();
    for minute in 0..90 {
        let now = START + 60 * minute;
        let observed = world.observe(now, LOW, true).expect("observed");
        let planned = planned(&world, &observed, Some(flat(now, LOW)), now, &mut memory);
        // Every plan arrives a minute and a half late.
        world.act(&planned, now + 90);
    }
    assert_eq!(ours(&world), []);
}

#[test]
fn aws_2025_while_launches_fail_nothing_is_given_up() {
    let mut world = world(FaultRates::default());
    let mut memory = Memory::default();
    world.fleet.with(|cloud| cloud.set_capacity(Some(SERVING)));
    live(&mut world, 0..11, 1_500.0, 1_500.0, true, &mut memory);
    assert!(ours(&world).iter().any(|it| it.call == Call::Launch), "it tried");
    // The load is gone, and the failure is minutes old.
    live(&mut world, 11..14, LOW, LOW, true, &mut memory);
    assert!(!took_away(&world), "{:?}", ours(&world));
}

/// Google Diskerase: the correct, empty set of machines meant "all of them".
#[test]
fn google_diskerase_empty_means_nothing() {
    let mut world = world(FaultRates::default());
    let now = START + 3_600;
    let observed = world.observe(now, LOW, true).expect("observed");
    let mut plan = planned(&world, &observed, None, now, &mut Memory::default());
    let empty = [Step::Terminate { instances: vec![] }, Step::Detach { instances: vec![] }, Step::Launch { count: 0 }];
    plan.plan.steps = empty.map(|step| PlannedStep { step, reason: String::new(), permitted: true }).to_vec();
    world.act(&plan, now);
    assert_eq!(ours(&world), []);
    let nobody =
        checker::check(&Change::Terminate { instances: vec![] }, &checker::Facts::default(), &Limits::default());
    assert!(nobody.contains(&Refusal::Nothing));
    // A group of which nothing is shown is not a group of which nothing is needed.
    let mut none = observed;
    none.inventory.instances.clear();
    let plan = planned(&world, &none, Some(flat(now, LOW)), now, &mut Memory::default()).plan;
    assert!(plan.steps.iter().all(|step| matches!(step.step, Step::Launch { .. })), "{:?}", plan.steps);
}

/// kubernetes/autoscaler #446: for seconds after the start all utilisation read 0, and nodes went in
/// bulk. #5465, #144: lowering the size let the cloud remove a different, healthy node.
#[test]
fn kubernetes_446_the_first_ten_minutes_take_nobody_away() {
    let mut world = world(FaultRates::default());
    live(&mut world, 0..10, 0.0, 0.0, true, &mut Memory::default());
    assert_eq!(ours(&world), []);
}

#[test]
fn kubernetes_5465_who_goes_is_named_and_nobody_else_goes() {
    let mut world = world(FaultRates::default());
    live(&mut world, 0..120, LOW, LOW, true, &mut Memory::default());
    let all = world.fleet.with(|cloud| cloud.mutations().to_vec());
    assert!(all.iter().all(|it| it.by == Actor::Caller), "the provider ended somebody: {all:?}");
    let allowed = [Call::Launch, Call::Attach, Call::Detach, Call::Terminate, Call::Tag];
    assert!(all.iter().all(|it| allowed.contains(&it.call)), "{all:?}");
    assert!(all.iter().filter(|it| it.call != Call::Launch).all(|it| !it.ids.is_empty()));
}

/// KEDA #1850, #2244: the metrics API was unreachable, and the workload was scaled to zero.
#[test]
fn keda_1850_metrics_that_are_absent_are_not_zero() {
    let mut world = world(FaultRates::default());
    let mut memory = Memory::default();
    live(&mut world, 0..3, LOW, LOW, true, &mut memory);
    live(&mut world, 3..240, LOW, LOW, false, &mut memory);
    assert_eq!((ours(&world), serving(&world)), (vec![], SERVING));
}

fn minute(group: Id, start: i64, gross: f64) -> Minute {
    Minute {
        group,
        metric: "cpu".to_owned(),
        start,
        gross_mean: gross,
        gross_maximum: gross,
        weight: 20.0,
        serving: 20,
        reporting: 20,
        lower_bound: false,
    }
}

/// Judoscale: one customer's unexpected data stopped scaling for most customers for half a day.
#[test]
fn judoscale_one_groups_poison_stops_no_plan() {
    for poison in [f64::NAN, f64::INFINITY, f64::MAX, -f64::MAX, 0.0, f64::MIN_POSITIVE] {
        let mut round = GroupRound::new(policy(), forecast::Options::default(), false, 0);
        let minutes: Vec<Minute> = (0..600).map(|at| minute(group(), START + 60 * at, poison)).collect();
        round.take(&minutes);
        round.forecast(START + 600 * 60);
        let (planned, _) = round.run(START + 600 * 60, Measurements::default(), |_| Vec::new());
        assert_eq!(planned.plan.generation, 1, "{poison}: a plan is made all the same");
        assert!(
            planned.plan.steps.iter().all(|step| !matches!(step.step, Step::Detach { .. } | Step::Terminate { .. }))
        );
    }
}

/// Falls over a load that nobody expected, and has nothing to say of any other.
#[derive(Debug)]
struct Fragile;

/// While it is set, `Fragile` comes to no end.
static STUCK: AtomicBool = AtomicBool::new(false);

/// Demand beyond what `Fragile` was written for, points.
const POISON: f64 = 40_000.0;

impl Model for Fragile {
    fn name(&self) -> &'static str {
        "fragile"
    }

    fn fit(&self, history: &History<'_>, _horizon: usize) -> Result<Box<dyn Fitted>, FitError> {
        while STUCK.load(Ordering::Relaxed) {
            #[allow(clippy::disallowed_methods, reason = "a model that is stuck, on a thread of its own")]
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(history.values.iter().all(|value| *value < POISON / 4.0), "a load that nobody expected");
        Err(FitError::Unsuitable("a load like every other".to_owned()))
    }
}

/// The same where the unexpected data is more than a strange number: code falls over it, in every round. The service of
/// production with two groups; the sound one is planned in every round, and the other's failures are counted, which is an alarm
/// (`increase(foreshadow_rounds_failed_total[10m]) > 5`).
#[tokio::test]
async fn judoscale_a_group_whose_round_panics_stops_no_other_and_is_told() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let told = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let directory = tempfile::tempdir().expect("a directory");
    let inventory = directory.path().join("inventory.toml");
    let each = |name: &str| format!("[group.{name}]\nminimum = 1\nmaximum = 9\ninstances = [\"{name}-1\"]\n");
    std::fs::write(&inventory, each("api") + &each("web")).expect("written");
    let [poisoned, sound] = ["api", "web"].map(|name| Id::new("group", name).expect("a name"));

    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let boot = clock.clone();
    let now = clock.wall_seconds();
    let day = Duration::from_secs(86_400);
    let kept = foreshadow::store::Options {
        directory: directory.path().join("data"),
        raw_retention: 30 * day,
        minute_retention: 400 * day,
    };
    let embedded = Embedded::open(kept, clock.clone(), [7; 16]).await.expect("a store");
    let pool = embedded.pool();
    let store: Arc<dyn SampleStore> = Arc::new(embedded);
    for (group, gross) in [(&poisoned, POISON), (&sound, 400.0)] {
        let newest = now.div_euclid(60) * 60;
        let minutes: Vec<Minute> = (1..600).map(|back| minute(group.clone(), newest - 60 * back, gross)).collect();
        store.put_minutes(&minutes).await.expect("stored");
    }

    let patience = Patience { warm_up: 0, drain: 300_000_000, silent: 300_000_000 };
    let timeline = Timeline::new(patience, 1_000, 10_000);
    let shadow = ShadowConfig::default();
    let sessions = Sessions::open(pool.clone(), timeline.clone(), shadow.clone(), clock.now()).await.expect("sessions");
    let fleets: Vec<Arc<dyn Fleet>> = vec![Arc::new(FileFleet::new(inventory, clock.clone()))];
    let hour = Duration::from_secs(3_600);
    let observer =
        Observer::open(timeline.clone(), sessions.clone(), fleets.clone(), pool.clone(), clock.clone(), hour);
    let observer = observer.await.expect("an observer");
    let control = Control::open(pool.clone(), BTreeMap::new(), now).await.expect("modes");
    let (safety, reach) = (Limits::default(), BTreeMap::new());
    let common = CommonLimits { drain_seconds: 300, warm_up_seconds: 0, shadow, safety, reach };
    let file = FileLimits { groups: BTreeMap::new(), common };
    let leash = Leash::open(pool.clone(), control, file, now).await.expect("limits");
    let acting = foreshadow::act::Service::open(
        store.id(),
        leash,
        Intents::new(pool.clone()),
        DecisionLog::new(pool.clone()),
        fleets,
        sessions.clone(),
        timeline.clone(),
        observer.hint(),
        foreshadow::traces::Traces::default(),
        clock.clone(),
    );
    let acting = acting.await.expect("hands");
    let board = Board::default();
    let mut service = foreshadow::rounds::Service::new(
        foreshadow::rounds::Options {
            forecast: forecast::Options::default(),
            pool: forecast::Pool::default().only("level").with(Arc::new(Fragile)),
            authenticated: false,
            raw_seconds: 86_400,
        },
        store,
        timeline.clone(),
        Live::default(),
        board.clone(),
        Logs {
            plans: PlanLog::new(pool.clone()),
            pulses: PulseLog::new(pool.clone()),
            forecast_hours: ForecastHours::new(pool.clone()),
            learned: Learned::new(directory.path().join("learned")),
            events: EventLog::new(pool.clone()),
            revised: Revised::default(),
            readings: Readings::new(pool, BTreeMap::new()),
        },
        sessions,
        acting.handle(),
        clock,
    );

    let observing = tokio::spawn(observer.run(CancellationToken::new()));
    for _ in 0..1_000 {
        if timeline.groups().len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(timeline.groups(), [poisoned.clone(), sound.clone()], "the inventory was read");
    let planned = |group: &Id| board.report(group)?.plan.as_deref()?["generation"].as_u64();
    let heartbeat = service.heartbeat();
    assert!(!heartbeat.is_beating(boot.boot_seconds()), "none ended yet");
    for round in 1..=3 {
        Box::pin(service.round()).await;
        assert!(heartbeat.is_beating(boot.boot_seconds()));
        assert_eq!((planned(&poisoned), planned(&sound)), (None, Some(round)));
    }
    let told = told.render();
    assert!(told.lines().any(|line| line == "foreshadow_rounds_failed_total 3"), "{told}");

    // Stuck in a group, the loop ends no round, and the watchdog hears of none; going on it does again. The poisoned one begins
    // anew in every other round, and fits in those between.
    Box::pin(service.round()).await;
    let before = heartbeat.ended();
    STUCK.store(true, Ordering::Relaxed);
    let mut round = Box::pin(service.round());
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut round).await.is_err(), "it comes to no end");
    assert_eq!(heartbeat.ended(), before);
    STUCK.store(false, Ordering::Relaxed);
    round.await;
    assert_eq!(heartbeat.ended(), before + 3, "two groups, and all of them");
    observing.abort();
}

/// Two installations on one group: who claimed it acts, the other holds, until it is taken over by an explicit call; and a process
/// whose lease was taken while it slept does nothing more.
#[test]
fn of_two_who_believe_the_group_is_theirs_the_owner_alone_acts() {
    let mut first = world(FaultRates::default());
    let mut second = first.beside([9; 16]);
    let (mut memory, mut other) = (Memory::default(), Memory::default());
    let done = |world: &World| world.journal().filter(|(_, it)| matches!(it, Some(Settled::Done { .. }))).count();
    live(&mut first, 0..60, LOW, LOW, true, &mut memory);
    assert!(done(&first) > 0, "the owner acts");
    live(&mut second, 60..90, 1_500.0, 1_500.0, true, &mut other);
    assert_eq!(done(&second), 0);
    let now = START + 90 * 60;
    let observed = second.observe(now, 1_500.0, true).expect("observed");
    assert!(planned(&second, &observed, None, now, &mut other).plan.holds.contains(&Hold::NotOwner));
    let before = done(&first);
    first.faults.dispossessed = true;
    live(&mut first, 91..110, 1_500.0, 1_500.0, true, &mut memory);
    assert_eq!(done(&first), before, "its lease is another's");
    first.faults.dispossessed = false;
    let owner = second.owner();
    first.fleet.with(|cloud| cloud.tag(now, "web", OWNER_TAG, Some(&owner))).expect("taken over");
    live(&mut second, 111..120, 1_500.0, 1_500.0, true, &mut other);
    assert!(done(&second) > 0, "taken over, the other acts");
    live(&mut first, 120..180, LOW, LOW, true, &mut memory);
    assert_eq!(done(&first), before, "and the first holds");
}

/// DZone's red button: launches, failing health checks and terminations in a loop, while the control
/// plane was ill. The remedy was to pin the group.
#[test]
fn dzone_the_red_button_pins_the_group_whatever_the_cloud_does() {
    let ill =
        FaultRates { throttled: 0.3, contention: 0.2, lost_request: 0.1, lost_answer: 0.2, insufficient_capacity: 0.2 };
    let mut world = world(ill);
    let mut memory = Memory::default();
    live(&mut world, 0..20, 1_500.0, 1_500.0, true, &mut memory);
    world.standing.paused = true;
    let before = world.fleet.with(|cloud| cloud.mutations().len());
    for (from, load) in [(20, LOW), (60, 1_800.0), (100, 0.0), (140, LOW)] {
        live(&mut world, from..from + 40, load, load, true, &mut memory);
    }
    let after = world.fleet.with(|cloud| cloud.mutations()[before..].to_vec());
    let changed: Vec<&Mutation> = after.iter().filter(|it| it.by == Actor::Caller).collect();
    assert!(changed.is_empty(), "{changed:?}");
}
