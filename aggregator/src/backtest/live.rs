//! The live circle over a recorded load, on simulated time: the round of the service, the planner, the checker, the
//! journal and the leases of production, between the load and the strict fake of a cloud. Nothing of them is written twice.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use checker::Limits;
use foreshadow_proto::convert::Id;
use planner::baseline::Measured;
use planner::plan::{Plan, Step};
use planner::policy::{Metric, Mode, Policy};
use planner::simulation::StrictCloud;
use planner::simulation::cloud::{Config, GroupConfig, Lifecycle, TargetTracking};

use super::Setting;
use super::foresight::{Foresight, GROUP, recorded};
use super::load::{Load, on_grid};
use super::yardstick::{Order, need};
use crate::fleet::Reach;
use crate::observe::Patience;
use crate::rounds::{GroupRound, KEPT_MINUTES, Measurements};
use crate::shadow::ShadowConfig;
use crate::simulation::{Observed, Options, World};
use crate::store::Minute;

/// Life before the scored minutes, so that leases, pace and warm-up are what they would be.
pub const LEAD_IN: usize = 360;
/// Wanted in an hour at most, by no load whatever.
const WITHOUT_END: u32 = 1_000_000;

/// Where the forecasts come from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// Made before, once for all policies.
    Given(&'a Foresight),
    /// Made by the round itself from what it measured, as in production.
    Own,
}

/// How a group is run.
#[derive(Debug, Clone)]
pub struct Regime {
    pub policy: Policy,
    pub limits: Limits,
    pub lease_seconds: u32,
    pub forecast: forecast::Options,
    /// Where the cloud is said to be: gentler limits than production's are heeded on this machine alone.
    pub reach: Reach,
    /// Target of the provider's own target tracking, a share: it scales in as well.
    pub provider: Option<f64>,
    pub mode: Mode,
    /// How many serve when the life begins; as many as the load needs unless told.
    pub begins_with: Option<u32>,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Decision {
    pub at: i64,
    /// `launch`, `reattach`, `detach`, `terminate`, `extend`, `release`, `adopt`, `floor`.
    pub step: &'static str,
    pub instances: u32,
    pub reason: String,
    /// What the checker said against it.
    pub refused: Vec<String>,
}

/// All that went into a round.
#[derive(Debug, Clone)]
pub struct Input {
    pub now: i64,
    pub minutes: Vec<Minute>,
    pub policy: Policy,
    pub measurements: Measurements,
}

/// What a live group would have done.
#[derive(Debug, Default)]
pub struct Path {
    /// One a scored minute.
    pub orders: Vec<Order>,
    /// Those that served, one a scored minute.
    pub serving: Vec<u32>,
    pub decisions: Vec<Decision>,
    /// Rounds in which a scale-in was possible and a hold stood in its way, by the hold's word.
    pub holds: BTreeMap<&'static str, u32>,
    /// The plans, when they are asked for.
    pub plans: Vec<Plan>,
    /// What went into each round, when it is asked for.
    pub inputs: Vec<Input>,
}

/// First minute of the life that a path begins with.
pub fn begins(load: &Load) -> usize {
    load.from.saturating_sub(LEAD_IN)
}

/// Lives through the load from the lead-in on.
///
/// # Errors
/// When the simulated cloud does not answer, which it always does.
pub fn live(
    load: &Load,
    setting: &Setting,
    regime: &Regime,
    source: Source<'_>,
    keep_plans: bool,
    mut tell: impl FnMut(u64),
) -> Result<Path> {
    let group = Id::new("group", GROUP).ok().context("a group's name")?;
    let begin = begins(load);
    let mut world = world(load, setting, regime, &group, begin);
    let mut round = GroupRound::new(regime.policy.clone(), regime.forecast.clone(), true, 0);
    round.give_baseline(Metric::Cpu, on_grid(100.0 * setting.idle));
    round.take(&before(load, setting));
    let mut path = Path::default();
    for index in begin..load.minutes.len() {
        let now = load.at(index);
        // What is known at the start of a minute is the minute before.
        let demand = load.demand(index.saturating_sub(1), setting);
        let observed = world.observe(now, demand, true).context("the simulated cloud does not answer")?;
        let minutes = if index == begin { Vec::new() } else { measured(load.at(index - 1), &observed) };
        round.take(&minutes);
        match source {
            Source::Given(foresight) => round.give_forecast(Metric::Cpu, foresight.at(now).cloned()),
            Source::Own => round.forecast(now),
        }
        let policy = world.policy(&regime.policy);
        round.set_policy(policy.clone());
        let measurements = measurements(&observed, setting);
        if keep_plans {
            path.inputs.push(Input { now, minutes, policy, measurements: measurements.clone() });
        }
        let (planned, _) = round.run(now, measurements, |planned| world.judge(planned));
        let verdicts = world.judge(&planned);
        world.act(&planned, now);
        if index >= load.from {
            path.orders.push(ordered(&world));
            let serves = |it: &&planner::evidence::Instance| it.mode == planner::demand::InstanceMode::Serving;
            path.serving.push(count(observed.inventory.instances.iter().filter(serves).count()));
            path.note(&planned.plan, &verdicts);
        }
        if keep_plans {
            path.plans.push(planned.plan);
        }
        tell(1);
    }
    Ok(path)
}

impl Path {
    fn note(&mut self, plan: &Plan, verdicts: &[crate::act::Verdict]) {
        for (index, step) in plan.steps.iter().enumerate().filter(|(_, step)| step.permitted) {
            let (word, instances) = match &step.step {
                Step::Launch { count } => ("launch", *count),
                Step::Reattach { instances } => ("reattach", count(instances.len())),
                Step::Detach { instances } => ("detach", count(instances.len())),
                Step::Terminate { instances } => ("terminate", count(instances.len())),
                Step::Extend { instances } => ("extend", count(instances.len())),
                Step::Release { instances } => ("release", count(instances.len())),
                Step::Adopt { instances } => ("adopt", count(instances.len())),
                Step::Floor { to, .. } => ("floor", *to),
            };
            let refused = verdicts.iter().find(|verdict| verdict.step == index).map(|it| it.refusals.clone());
            self.decisions.push(Decision {
                at: plan.made_at,
                step: word,
                instances,
                reason: step.reason.clone(),
                refused: refused.unwrap_or_default(),
            });
        }
        let blocked = plan.not_taken.iter().filter(|left| left.instances > 0);
        let blocked = blocked.filter(|left| left.direction == planner::plan::Direction::ScaleIn);
        for hold in blocked.flat_map(|left| &left.holds) {
            *self.holds.entry(hold.word()).or_default() += 1;
        }
    }
}

fn world(load: &Load, setting: &Setting, regime: &Regime, group: &Id, begin: usize) -> World {
    let config = Config {
        start: load.at(begin),
        groups: vec![GroupConfig {
            baseline: on_grid(100.0 * setting.idle),
            spread: 0.0,
            tracking: regime.provider.map(|target| TargetTracking { target: 100.0 * target, scale_in: true }),
            ..GroupConfig::new(
                GROUP,
                setting.minimum,
                setting.maximum,
                regime.begins_with.unwrap_or_else(|| need(load.minutes[begin], setting)),
            )
        }],
        launch_seconds: i64::from(setting.startup),
        attach_seconds: i64::from(setting.reattach),
        start_up_spread: 0.0,
        deregistration_seconds: i64::from(setting.drain),
        reaction_seconds: 1,
        lag_seconds: 0,
        page_size: 1_000,
        ..Config::default()
    };
    let options = Options {
        installation: [1; 16],
        limits: regime.limits,
        patience: Patience { warm_up: 900_000_000, drain: i64::from(setting.drain) * 1_000_000, silent: 300_000_000 },
        shadow: ShadowConfig {
            default_seconds: regime.lease_seconds,
            maximum_seconds: 86_400.max(regime.lease_seconds),
            ..ShadowConfig::default()
        },
        mode: regime.mode,
    };
    let mut world = World::new(StrictCloud::new(1, config), group.clone(), options);
    world.reach = regime.reach;
    world
}

/// The minutes before the life that a path begins with, as the rollup would have them: gross is what instances show, idle
/// use included.
pub fn before(load: &Load, setting: &Setting) -> Vec<Minute> {
    let begin = begins(load);
    let serving = need(load.minutes[begin], setting);
    let idle = on_grid(100.0 * setting.idle) * f64::from(serving);
    (begin.saturating_sub(KEPT_MINUTES)..begin)
        .filter_map(|at| recorded(load.at(at), load.demand(at, setting) + idle, serving, false))
        .collect()
}

fn measured(start: i64, observed: &Observed) -> Vec<Minute> {
    let Some(demand) = observed.demand else { return Vec::new() };
    let (gross, bound) = (on_grid(demand.gross), demand.is_lower_bound());
    recorded(start, gross, demand.serving, bound).into_iter().collect()
}

fn measurements(observed: &Observed, setting: &Setting) -> Measurements {
    let serving: Vec<f64> = observed
        .carried
        .readings
        .iter()
        .filter(|reading| reading.lifecycle == Lifecycle::InService)
        .map(|reading| reading.utilisation)
        .collect();
    // The baseline is taken as measured: what three idle shadows show.
    let idle =
        Measured { shadows: vec![on_grid(100.0 * setting.idle); 3], regression: None, serving, ..Measured::default() };
    let machines = count(observed.inventory.instances.len());
    Measurements {
        inventory: observed.inventory.clone(),
        conditions: observed.conditions.clone(),
        present: observed.demand.map(|demand| (Metric::Cpu, (demand, 0))).into_iter().collect(),
        idle: BTreeMap::from([(Metric::Cpu, idle)]),
        fleet: checker::Fleet { groups: 1, machines, ..checker::Fleet::default() },
        source: Some("simulated"),
        version: observed.version.clone(),
    }
}

/// What is ordered now, the steps of this minute included.
fn ordered(world: &World) -> Order {
    world.fleet.with(|cloud| {
        let live = cloud.truth().instances.values().filter(|it| it.lifecycle.is_live());
        let mut order = Order::default();
        for instance in live {
            match instance.lifecycle {
                Lifecycle::Pending | Lifecycle::InService => order.capacity += 1,
                Lifecycle::Terminating => {}
                _ => order.shadow += 1,
            }
        }
        order
    })
}

/// A policy for a backtest: what a user configured, without what an hour may launch or cost.
pub fn policy(setting: &Setting, confidence: f64) -> Policy {
    Policy {
        mode: Mode::Full,
        minimum: setting.minimum,
        maximum: setting.maximum,
        confidence,
        targets: BTreeMap::from([(Metric::Cpu, 100.0 * setting.target)]),
        launch_lead_seconds: setting.startup,
        reattach_lead_seconds: setting.reattach,
        launches_per_hour: WITHOUT_END,
        ..Policy::new(GROUP)
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
