//! The simulated group: generated load, compressed time, the product's own round.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use forecast::Options;
use foreshadow_proto::convert::Id;
use planner::demand::{Demand, InstanceMode, Reading, measure};
use planner::evidence::{Conditions, Instance, Inventory};
use planner::policy::{Metric, Policy};
use planner::simulation::{SimulatedGroup, SimulatedMinute};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock as _, SystemClock};
use crate::rounds::{Board, GroupRound, Measurements};
use crate::store::Minute;

/// Name of the group, everywhere marked as simulated.
pub const GROUP: &str = "simulated-shop";
/// Instances at the weekly peak, points they are scaled for, points they use when idle: none, since
/// a baseline is measured by shadows and this group has none.
const SIZE: u32 = 40;
const TARGET: f64 = 60.0;
const BASELINE: f64 = 0.0;
/// History made before the demo starts, minutes: two weeks.
const HISTORY: i64 = 14 * 1_440;
/// Demand shown behind "now", minutes.
const SHOWN: usize = 12 * 60;

/// What the view draws of the group.
#[derive(Debug, Clone, Default)]
pub struct Picture {
    /// Simulated time, seconds since the epoch.
    pub now: i64,
    pub started: i64,
    /// Net demand of the last hours, one value a minute.
    pub demand: Vec<f64>,
    /// What those that served then could carry at the target, likewise.
    pub capacity: Vec<f64>,
    pub serving: u32,
    pub warming: u32,
    pub need_now: Option<u32>,
    pub need_ahead: Option<u32>,
    pub trust: f64,
    pub model: String,
    /// Median and upper quantile of the coming hours, a value a step.
    pub median: Vec<f64>,
    pub upper: Vec<f64>,
    pub confidence: f64,
    pub step_seconds: u32,
    pub coverage: Option<f64>,
    pub nominal: f64,
    /// Latest plan in words, newest first.
    pub plans: VecDeque<String>,
    pub plans_made: u64,
    /// Plans that asked for more machines, and for fewer.
    pub plans_out: u64,
    pub plans_in: u64,
    /// Forecasts of an hour ago at the confidence that held, and all of them.
    pub held: u64,
    pub judged: u64,
}

/// The running simulation.
#[derive(Debug)]
pub struct Simulated {
    picture: watch::Receiver<Picture>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Simulated {
    /// Starts at the present time and runs `speed` minutes a second.
    pub fn start(board: Board, seed: u64, speed: u32) -> Self {
        let (tell, picture) = watch::channel(Picture::default());
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(board, seed, speed, tell, stop.clone()));
        Self { picture, stop, task }
    }

    pub fn watch(&self) -> watch::Receiver<Picture> {
        self.picture.clone()
    }

    pub async fn stop(self) {
        self.stop.cancel();
        drop(self.task.await);
    }
}

struct World {
    group: SimulatedGroup,
    round: GroupRound,
    picture: Picture,
    /// Forecast of an hour ahead made at each step: step start → demand at the confidence.
    promises: BTreeMap<i64, f64>,
    latest: Option<(Demand, i64)>,
}

async fn run(board: Board, seed: u64, speed: u32, tell: watch::Sender<Picture>, stop: CancellationToken) {
    let Ok(name) = Id::new("group", GROUP) else { return };
    let now = SystemClock.wall_seconds().div_euclid(300) * 300;
    let made = tokio::task::spawn_blocking(move || World::make(seed, now)).await;
    let Ok(mut world) = made else { return };
    let mut every = tokio::time::interval(Duration::from_millis(250));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut owed = 0.0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => {}
        }
        owed += f64::from(speed) / 4.0;
        let name = name.clone();
        let board = board.clone();
        let mut minutes = 0_u32;
        while owed >= 1.0 {
            owed -= 1.0;
            minutes += 1;
        }
        let moved = tokio::task::spawn_blocking(move || {
            for _ in 0..minutes {
                world.minute(&name);
                if world.picture.now.rem_euclid(300) == 0 {
                    world.plan(&name, &board);
                }
            }
            world
        });
        match moved.await {
            Ok(moved) => world = moved,
            Err(_) => return,
        }
        tell.send_replace(world.picture.clone());
    }
}

impl World {
    fn make(seed: u64, now: i64) -> Self {
        let mut policy = Policy::new(GROUP);
        policy.minimum = 2;
        policy.maximum = 2 * SIZE;
        policy.targets = BTreeMap::from([(Metric::Cpu, TARGET)]);
        let options = Options { horizon_steps: 288, ..Options::default() };
        let confidence = policy.confidence;
        let mut world = Self {
            group: SimulatedGroup::new(seed, SIZE, TARGET, BASELINE),
            round: GroupRound::new(policy, options, true, 0),
            picture: Picture { now: now - HISTORY * 60, started: now, confidence, ..Picture::default() },
            promises: BTreeMap::new(),
            latest: None,
        };
        if let Ok(name) = Id::new("group", GROUP) {
            for _ in 0..HISTORY {
                world.minute(&name);
            }
        }
        world
    }

    /// One simulated minute: what the agents would have measured, into the round's history.
    fn minute(&mut self, name: &Id) {
        let start = self.picture.now;
        let minute = self.group.minute(start);
        self.picture.now = start + 60;
        if let Some(demand) = measured(&minute) {
            self.latest = Some((demand, self.picture.now));
            self.round.take(&[Minute {
                group: name.clone(),
                metric: Metric::Cpu.to_string(),
                start,
                gross_mean: demand.gross,
                gross_maximum: demand.gross,
                weight: demand.weight,
                serving: demand.serving,
                reporting: demand.reporting,
                lower_bound: demand.is_lower_bound(),
            }]);
        }
        self.picture.demand.push(minute.demand);
        self.picture.capacity.push(f64::from(self.group.count(InstanceMode::Serving)) * (TARGET - BASELINE));
        let surplus = self.picture.demand.len().saturating_sub(SHOWN);
        self.picture.demand.drain(..surplus);
        self.picture.capacity.drain(..surplus);
        self.judge(start, minute.demand);
    }

    /// Was an hour ago's forecast of this step held?
    fn judge(&mut self, at: i64, demand: f64) {
        let step = at.div_euclid(300) * 300;
        if let Some(promised) = self.promises.get_mut(&step)
            && demand > *promised
        {
            *promised = f64::NEG_INFINITY;
        }
        if at + 60 == step + 300
            && let Some(promised) = self.promises.remove(&step)
        {
            self.picture.judged += 1;
            self.picture.held += u64::from(promised.is_finite());
        }
    }

    fn plan(&mut self, name: &Id, board: &Board) {
        let now = self.picture.now;
        self.round.forecast(now);
        let instances = self.group.instances.iter().map(|instance| Instance {
            id: instance.id.clone(),
            instance_type: None,
            zone: None,
            mode: instance.mode,
            since: instance.since,
            protected: false,
            shadow: None,
        });
        let measurements = Measurements {
            inventory: Inventory { complete: true, age_seconds: 0, instances: instances.collect(), expected: 0 },
            conditions: Conditions { started_seconds_ago: 86_400, ..Conditions::default() },
            present: self
                .latest
                .map(|(demand, at)| (Metric::Cpu, (demand, u32::try_from(now - at).unwrap_or_default())))
                .into_iter()
                .collect(),
            idle: BTreeMap::new(),
            fleet: checker::Fleet {
                groups: 1,
                machines: self.group.count(InstanceMode::Serving),
                ..Default::default()
            },
            ..Measurements::default()
        };
        let (planned, report) = self.round.run(now, measurements, |_| Vec::new());
        let plan = planned.plan;
        let picture = &mut self.picture;
        picture.serving = plan.serving;
        picture.warming = plan.warming;
        picture.need_now = plan.need_now;
        picture.need_ahead = plan.need_ahead;
        picture.plans_made += 1;
        if let Some(forecast) = report.forecasts.values().next() {
            let nearest = |wanted: f64| {
                let path = forecast.paths.iter().find(|path| path.quantile >= wanted - 1e-9);
                path.map(|path| path.demand.clone()).unwrap_or_default()
            };
            picture.median = nearest(0.5);
            picture.upper = nearest(picture.confidence);
            picture.step_seconds = forecast.step_seconds;
            picture.trust = forecast.trust;
            picture.model.clone_from(&forecast.model);
            picture.coverage = forecast.measured_coverage;
            picture.nominal = forecast.nominal_coverage;
            if let Some(promised) = picture.upper.get(12) {
                self.promises.insert(forecast.start_seconds + 12 * 300, *promised);
            }
        }
        for step in &plan.steps {
            match &step.step {
                planner::plan::Step::Launch { .. } => picture.plans_out += 1,
                planner::plan::Step::Detach { .. } => picture.plans_in += 1,
                _ => {}
            }
            let words = match &step.step {
                planner::plan::Step::Launch { count } => format!("launch {count}"),
                planner::plan::Step::Detach { instances } => format!("detach {} into shadow", instances.len()),
                other => format!("{other:?}"),
            };
            let at = jiff::Timestamp::from_second(now).map(|at| at.strftime("%a %H:%M").to_string());
            picture.plans.push_front(format!("{}  would {words}: {}", at.unwrap_or_default(), step.reason));
            picture.plans.truncate(6);
        }
        board.publish(name, report);
    }
}

fn measured(minute: &SimulatedMinute) -> Option<Demand> {
    let readings: Vec<Reading> = minute
        .utilisation
        .iter()
        .map(|points| Reading { mode: InstanceMode::Serving, weight: 1.0, utilisation: Some(*points) })
        .collect();
    measure(&readings)
}
