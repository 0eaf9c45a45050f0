//! The simulated group: a made-up load on the strict fake cloud, measured, forecast, planned, judged
//! and acted on by the product's own code in mode `full`, and beside it the same load on the same
//! cloud under reactive target tracking. Time is simulated: no window and no limit is shortened. A round
//! is made every twenty seconds; the product makes one every ten.

use std::collections::{BTreeMap, VecDeque};

use forecast::Options as ForecastOptions;
use foreshadow_proto::convert::Id;
use planner::demand::{Demand, InstanceMode, Reading, measure};
use planner::plan::Plan;
use planner::policy::{Metric, Mode, Policy};
use planner::simulation::cloud::{Carried, Config, GroupConfig, Lifecycle, TargetTracking};
use planner::simulation::{Load, StrictCloud, Surprise};

use super::happenings::Happenings;
use super::score::{Figures, Reactive, Score};
use crate::act::Planned;
use crate::observe::Patience;
use crate::rounds::{GroupReport, GroupRound, Measurements};
use crate::shadow::ShadowConfig;
use crate::simulation::{Observed, Options, World};
use crate::store::Minute;

/// Name of the group, everywhere marked as simulated.
pub const GROUP: &str = "simulated-shop";
/// Points an instance is scaled for.
pub const TARGET: f64 = 60.0;
/// Points an instance uses when it does nothing. The product is not told: it measures it on shadows.
const BASELINE: f64 = 5.0;
/// Instances the weekly peak takes, and the fewest there may be.
const SIZE: u32 = 40;
const MINIMUM: u32 = 2;
/// The demo always begins on the same simulated Tuesday at 06:00 (2026-01-13), so that a seed says it all.
const BEGINS: i64 = 1_768_284_000;
/// History before: two weeks, under the provider's own target tracking.
const HISTORY_MINUTES: i64 = 14 * 1_440;
/// That evening something happens that no history could tell.
const SURPRISE: Surprise = Surprise { at: BEGINS + 14 * 3_600 + 1_800, stays: 3_600, size: 0.3 };
/// A round this often, seconds: a minute is a multiple of it.
const ROUND: usize = 20;
/// Demand shown behind "now", minutes.
pub const SHOWN: usize = 12 * 60;
/// How far ahead a forecast is remembered, to be judged, steps of five minutes.
const JUDGED_STEPS: usize = 12;
const STEP: i64 = 300;

/// What the view draws of the group.
#[derive(Debug, Clone, Default)]
pub struct Picture {
    /// Simulated time, seconds since the epoch.
    pub now: i64,
    /// Measured net demand of the last hours, one value a minute.
    pub demand: VecDeque<f64>,
    /// What those that served then could carry at the target, likewise.
    pub capacity: VecDeque<f64>,
    pub serving: u32,
    pub warming: u32,
    pub draining: u32,
    pub shadow: u32,
    pub need_now: Option<u32>,
    pub need_ahead: Option<u32>,
    /// Idle baseline in use, points.
    pub baseline: f64,
    pub trust: f64,
    pub model: String,
    /// Median and upper quantile of the coming hours, a value a step.
    pub median: Vec<f64>,
    pub upper: Vec<f64>,
    pub confidence: f64,
    pub coverage: Option<f64>,
    pub nominal: f64,
    pub happenings: Happenings,
    /// Forecasts of an hour ago at the confidence that held, and all of them.
    pub held: u64,
    pub judged: u64,
    pub ours: Figures,
    pub reactive: Vec<(f64, Figures)>,
    /// The time it was to run is over.
    pub finished: bool,
}

impl Picture {
    /// Simulated minutes since the demo began.
    pub const fn minutes(&self) -> i64 {
        (self.now - BEGINS) / 60
    }

    /// Reactive at the same target, and the one whose instances cost about as much as ours.
    pub fn rivals(&self) -> Vec<(f64, Figures)> {
        let distance = |figures: &Figures| (figures.instance_hours - self.ours.instance_hours).abs();
        let same = self.reactive.iter().find(|(target, _)| *target >= TARGET).copied();
        let dear = self.reactive.iter().min_by(|(_, a), (_, b)| distance(a).total_cmp(&distance(b))).copied();
        let dear = dear.filter(|dear| Some(dear.0) != same.map(|same| same.0));
        same.into_iter().chain(dear).collect()
    }
}

/// The group between minutes.
pub struct Shop {
    load: Load,
    /// Demand of the latest minute.
    latest: f64,
    world: World,
    round: GroupRound,
    base: Policy,
    score: Score,
    reactive: Vec<Reactive>,
    /// Demand at the confidence that a forecast an hour before promised, by step; and whether it held.
    promises: BTreeMap<i64, (f64, bool)>,
    pub picture: Picture,
    /// Minutes that nobody has stored yet, the imported ones first: the web page reads them where those of real groups are.
    pub minutes: Vec<Minute>,
}

impl Shop {
    /// The group at the simulated Tuesday, two weeks of its past imported.
    pub fn open(seed: u64) -> Option<Self> {
        let group = Id::new("group", GROUP).ok()?;
        let base = Policy { minimum: MINIMUM, maximum: 2 * SIZE, mode: Mode::Full, ..Policy::new(GROUP) };
        let mut round = GroupRound::new(base.clone(), ForecastOptions::default(), true, 0);
        let mut load = Load::new(seed, f64::from(SIZE) * (TARGET - BASELINE)).with(SURPRISE);
        let began = BEGINS - 60 * HISTORY_MINUTES;
        let mut config = GroupConfig::new(GROUP, MINIMUM, 2 * SIZE, SIZE / 2);
        config.baseline = BASELINE;
        config.tracking = Some(TargetTracking { target: TARGET, scale_in: true });
        let mut cloud = StrictCloud::new(seed, Config { start: began, groups: vec![config], ..Config::default() });
        let mut latest = 0.0;
        let mut minutes = Vec::new();
        for start in (began..BEGINS).step_by(60) {
            latest = load.minute(start);
            cloud.advance(start + 60);
            let carried = cloud.carry(start + 60, GROUP, latest).ok()?;
            let made = minute(&group, start, measured(&carried));
            round.take(&made);
            minutes.extend(made);
        }
        // Every second point, so that one of them costs about what ours does.
        let reactive = (15..=30).map(|half| Reactive::new(cloud.clone(), f64::from(2 * half))).collect();
        cloud.set_tracking(GROUP, None);
        let options = Options {
            installation: [0xF0; 16],
            limits: checker::Limits::default(),
            patience: Patience { warm_up: 900_000_000, drain: 300_000_000, silent: 300_000_000 },
            shadow: ShadowConfig::default(),
            mode: Mode::Full,
        };
        let score = Score::begin(&cloud);
        let world = World::new(cloud, group, options);
        let picture = Picture { now: BEGINS, confidence: base.confidence, ..Picture::default() };
        Some(Self { load, latest, world, round, base, score, reactive, promises: BTreeMap::new(), picture, minutes })
    }

    /// An operator paused it, or let it go on.
    pub const fn set_paused(&mut self, paused: bool) {
        self.world.standing.paused = paused;
    }

    /// One simulated minute: load, measurement, forecast, plan, act. The report is what the API shows.
    pub fn minute(&mut self) -> Option<GroupReport> {
        let start = self.picture.now;
        let now = start + 60;
        // While a minute runs, the one before is all that is known.
        for between in (start..now).step_by(ROUND).skip(1) {
            let observed = self.world.observe(between, self.latest, true)?;
            self.turn(&observed, between);
        }
        self.picture.now = now;
        self.latest = self.load.minute(start);
        self.reactive.iter_mut().for_each(|it| it.minute(now, self.latest));
        let observed = self.world.observe(now, self.latest, true)?;
        self.score.take(&observed.carried);
        let made = minute(&self.world.group, start, observed.demand);
        self.round.take(&made);
        self.minutes.extend(made);
        self.round.forecast(now);
        let (planned, report) = self.turn(&observed, now);
        self.show(&planned, &report, start);
        Some(report)
    }

    /// One round: plan, judge, act.
    fn turn(&mut self, observed: &Observed, now: i64) -> (Planned, GroupReport) {
        let policy = self.world.policy(&self.base);
        self.round.set_policy(policy.clone());
        let measurements = self.measurements(&policy, observed, now);
        let world = &self.world;
        let (planned, report) = self.round.run(now, measurements, |planned| world.judge(planned));
        self.world.act(&planned, now);
        let promised = self.promises.get(&(now.div_euclid(STEP) * STEP)).map(|(demand, _)| *demand);
        let need = |demand| planner::plan::need_of(&planned.policy, &planned.evidence, Metric::Cpu, TARGET, demand);
        self.picture.happenings.carried_out(&planned, self.world.journal(), promised.map(need));
        (planned, report)
    }

    fn measurements(&self, policy: &Policy, observed: &Observed, now: i64) -> Measurements {
        let machines = u32::try_from(observed.inventory.instances.len()).unwrap_or(u32::MAX);
        Measurements {
            inventory: observed.inventory.clone(),
            conditions: observed.conditions.clone(),
            present: observed.demand.map(|demand| (Metric::Cpu, (demand, 0))).into_iter().collect(),
            idle: self.world.idle(policy, now),
            fleet: checker::Fleet { groups: 1, machines, ..checker::Fleet::default() },
            source: Some("simulated"),
            version: observed.version.clone(),
        }
    }

    fn show(&mut self, planned: &Planned, report: &GroupReport, start: i64) {
        let plan = &planned.plan;
        let need = plan.needs.first();
        let picture = &mut self.picture;
        let count = |mode| {
            let of = planned.evidence.inventory.instances.iter().filter(|it| it.mode == mode);
            u32::try_from(of.count()).unwrap_or(u32::MAX)
        };
        picture.serving = plan.serving;
        picture.warming = plan.warming;
        picture.draining = count(InstanceMode::Draining);
        picture.shadow = count(InstanceMode::Shadow);
        picture.need_now = plan.need_now;
        picture.need_ahead = plan.need_ahead;
        picture.baseline = need.map_or(0.0, |need| need.baseline);
        if let Some(demand) = need.and_then(|need| need.demand) {
            picture.demand.push_back(demand);
            picture.capacity.push_back(f64::from(plan.serving) * (TARGET - picture.baseline));
            if picture.demand.len() > SHOWN {
                picture.demand.pop_front();
                picture.capacity.pop_front();
            }
        }
        picture.ours = self.world.fleet.with(|cloud| self.score.figures(cloud));
        picture.reactive = self.reactive.iter().map(|it| (it.target, it.figures())).collect();
        self.promise(plan, report, start);
    }

    /// What the forecast promises of the step an hour ahead, and whether one of an hour ago was kept.
    fn promise(&mut self, plan: &Plan, report: &GroupReport, start: i64) {
        let picture = &mut self.picture;
        let step = start.div_euclid(STEP) * STEP;
        let demand = plan.needs.first().and_then(|need| need.demand);
        if let (Some((promised, held)), Some(demand)) = (self.promises.get_mut(&step), demand) {
            *held &= demand <= *promised;
        }
        if start + 60 == step + STEP
            && let Some((_, held)) = self.promises.remove(&step)
        {
            picture.judged += 1;
            picture.held += u64::from(held);
        }
        let Some(forecast) = report.forecasts.values().next() else { return };
        let nearest = |wanted: f64| {
            let path = forecast.paths.iter().find(|path| path.quantile >= wanted - 1e-9);
            path.map(|path| path.demand.clone()).unwrap_or_default()
        };
        picture.median = nearest(0.5);
        picture.upper = nearest(picture.confidence);
        picture.trust = forecast.trust;
        picture.model.clone_from(&forecast.model);
        picture.coverage = forecast.measured_coverage;
        picture.nominal = forecast.nominal_coverage;
        if let Some(promised) = picture.upper.get(JUDGED_STEPS) {
            let ahead = i64::try_from(JUDGED_STEPS).unwrap_or_default() * STEP;
            self.promises.entry(forecast.start_seconds + ahead).or_insert((*promised, true));
        }
    }
}

/// Demand of a minute as it is imported: from those that were in service.
fn measured(carried: &Carried) -> Option<Demand> {
    let serving = carried.readings.iter().filter(|it| it.lifecycle == Lifecycle::InService);
    let reading = |it: &planner::simulation::cloud::Reading| Reading {
        mode: InstanceMode::Serving,
        weight: 1.0,
        utilisation: Some(it.utilisation),
    };
    measure(&serving.map(reading).collect::<Vec<_>>())
}

fn minute(group: &Id, start: i64, demand: Option<Demand>) -> Vec<Minute> {
    let rollup = |demand: Demand| Minute {
        group: group.clone(),
        metric: Metric::Cpu.to_string(),
        start,
        gross_mean: demand.gross,
        gross_maximum: demand.gross,
        weight: demand.weight,
        serving: demand.serving,
        reporting: demand.reporting,
        lower_bound: demand.is_lower_bound(),
    };
    demand.map(rollup).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_hours() {
        let live = |seed: u64| {
            let mut shop = Shop::open(seed).expect("a shop");
            for _ in 0..45 {
                shop.minute().expect("a report");
            }
            let told: Vec<String> = shop.picture.happenings.lines.iter().map(|line| line.words.clone()).collect();
            (told, shop.picture.demand, shop.picture.ours, shop.picture.reactive)
        };
        let (once, again, other) = (live(11), live(11), live(12));
        assert!(!once.0.is_empty(), "something is done in the first morning hour");
        assert_eq!(once, again);
        assert_ne!(once.1, other.1);
    }
}
