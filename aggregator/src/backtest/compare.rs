//! One load, many policies: reactive at several targets, the live planner on every model, on the whole pool at several
//! confidences, and the oracle.

use std::collections::BTreeMap;
use std::sync::Mutex;

use anyhow::{Context, Result};
use planner::policy::{Mode, Policy};
use serde::Serialize;

use super::coverage::{self, Held};
use super::foresight::{Foresight, foresee};
use super::live::{self, Decision, Path, Regime, Source};
use super::load::Load;
use super::yardstick::{self, Lived, Order, Score};
use super::{Pace, Setting};
use crate::fleet::Reach;

/// What is compared.
#[derive(Debug, Clone, Serialize)]
pub struct Candidates {
    /// Targets of target tracking, shares.
    pub reactive: Vec<f64>,
    /// Confidences of Foreshadow.
    pub confidences: Vec<f64>,
    /// Its targets, shares.
    pub targets: Vec<f64>,
    /// Targets of the provider's own target tracking, shares: not empty, Foreshadow only scales out beside each of them.
    pub provider: Vec<f64>,
    /// Whether each model of the pool is tried alone, or seasonal naive only.
    pub each_model: bool,
    pub pace: Pace,
    pub lease_seconds: u32,
    pub window_seconds: u32,
}

/// What kind of policy it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Oracle,
    Reactive,
    Model,
    Foreshadow,
}

/// What a policy came to.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub name: String,
    pub kind: Kind,
    pub confidence: Option<f64>,
    /// The target it aims at, a share.
    pub target: f64,
    #[serde(flatten)]
    pub score: Score,
    /// Instance-hours over those of the oracle.
    pub cost: f64,
    pub money: f64,
    /// Rounds in which a hold kept machines that present demand did not need, by the hold.
    pub holds: BTreeMap<&'static str, u32>,
    /// Steps by what they did.
    pub steps: BTreeMap<&'static str, u32>,
    #[serde(skip)]
    pub lived: Vec<Lived>,
    #[serde(skip)]
    pub orders: Vec<Order>,
    #[serde(skip)]
    pub decisions: Vec<Decision>,
}

/// All of it.
#[derive(Debug, Serialize)]
pub struct Comparison {
    pub outcomes: Vec<Outcome>,
    /// How often the intervals of the whole pool held, by how far ahead.
    pub coverage: Vec<Held>,
    #[serde(skip)]
    pub foresight: Foresight,
}

impl Comparison {
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(move |outcome| outcome.kind == kind)
    }
}

/// The regime of a live run.
pub fn regime(policy: Policy, candidates: &Candidates) -> Regime {
    let (limits, reach) = match candidates.pace {
        Pace::Production => (checker::Limits::default(), Reach::Cloud),
        Pace::Fleet => (checker::Limits { fleet_share: 1.0, ..checker::Limits::default() }, Reach::Loopback),
        Pace::Free => {
            let free = checker::Limits {
                fleet_share: 1.0,
                share_15_minutes: 1.0,
                share_6_hours: 1.0,
                ..checker::Limits::default()
            };
            (free, Reach::Loopback)
        }
    };
    let forecast = forecast::Options::default();
    Regime {
        policy,
        limits,
        lease_seconds: candidates.lease_seconds,
        forecast,
        reach,
        provider: None,
        mode: Mode::Full,
        begins_with: None,
    }
}

/// One live run that is to be made.
struct Job {
    name: String,
    kind: Kind,
    model: Option<String>,
    confidence: f64,
    target: f64,
    provider: Option<f64>,
}

fn jobs(setting: &Setting, candidates: &Candidates) -> Vec<Job> {
    let mut jobs = Vec::new();
    let naive = forecast::model::SEASONAL_NAIVE;
    let pool = forecast::Pool::default();
    let beside: Vec<Option<f64>> = match candidates.provider.as_slice() {
        [] => vec![None],
        targets => targets.iter().copied().map(Some).collect(),
    };
    let words = |provider: Option<f64>| {
        provider.map_or_else(String::new, |it| format!(" beside reactive {} %", super::svg::number(100.0 * it)))
    };
    let first = beside.first().copied().flatten();
    let middle = candidates.confidences.iter().copied().find(|it| *it >= 0.9).unwrap_or(0.9);
    for model in pool.names() {
        if candidates.each_model || model == format!("{naive}_day") {
            jobs.push(Job {
                name: format!("{model} alone, {:.0} %{}", 100.0 * middle, words(first)),
                provider: first,
                kind: Kind::Model,
                model: Some(model.to_owned()),
                confidence: middle,
                target: setting.target,
            });
        }
    }
    for target in &candidates.targets {
        for (confidence, provider) in candidates.confidences.iter().flat_map(|it| beside.iter().map(move |by| (it, by)))
        {
            jobs.push(Job {
                name: format!(
                    "Foreshadow {} % at {} %{}",
                    super::svg::number(100.0 * confidence),
                    super::svg::number(100.0 * target),
                    words(*provider)
                ),
                kind: Kind::Foreshadow,
                model: None,
                confidence: *confidence,
                target: *target,
                provider: *provider,
            });
        }
    }
    jobs
}

/// Work in minutes of load, for the progress: a forecast minute costs about as much as `FORECAST_WORK` planned ones.
pub const FORECAST_WORK: u64 = 8;

/// How much there is to do.
pub fn work(load: &Load, setting: &Setting, candidates: &Candidates) -> u64 {
    let jobs = jobs(setting, candidates);
    let mut models: Vec<_> = jobs.iter().map(|job| job.model.clone()).collect();
    models.sort();
    models.dedup();
    let minutes = (load.minutes.len() - live::begins(load)) as u64;
    minutes * (jobs.len() as u64 + FORECAST_WORK * models.len() as u64)
}

/// Runs everything, on as many threads as there are cores. `tell` hears how much work was done.
///
/// # Errors
/// When a live run ends early.
pub fn compare(
    load: &Load,
    setting: &Setting,
    candidates: &Candidates,
    tell: &(dyn Fn(u64) + Sync),
) -> Result<Comparison> {
    let scored = load.scored();
    let oracle = yardstick::oracle(scored, setting);
    let cost = |score: &Score| score.instance_hours / oracle.instance_hours.max(1e-9);
    let outcome = |name: String, kind, confidence, target, score: Score, lived| Outcome {
        name,
        kind,
        confidence,
        target,
        cost: cost(&score),
        money: score.instance_hours * setting.price,
        score,
        holds: BTreeMap::new(),
        steps: BTreeMap::new(),
        lived,
        orders: Vec::new(),
        decisions: Vec::new(),
    };
    let mut outcomes = vec![outcome("oracle".to_owned(), Kind::Oracle, None, setting.target, oracle, Vec::new())];
    for target in &candidates.reactive {
        let (score, lived) = yardstick::reactive(scored, *target, setting);
        let name = format!("reactive {} %", super::svg::number(100.0 * target));
        outcomes.push(outcome(name, Kind::Reactive, None, *target, score, lived));
    }
    let jobs = jobs(setting, candidates);
    let foresights = foresights(load, setting, &jobs, tell);
    let done = in_parallel(&jobs, |job| {
        let mut policy = live::policy(&Setting { target: job.target, ..setting.clone() }, job.confidence);
        policy.shadow_window_seconds = candidates.window_seconds;
        let mode = if job.provider.is_some() { Mode::ScaleOut } else { Mode::Full };
        let regime = Regime { provider: job.provider, mode, ..regime(policy, candidates) };
        let foresight = foresights.get(&job.model).context("a forecast of every model")?;
        live::live(load, setting, &regime, Source::Given(foresight), false, tell)
    });
    for (job, path) in jobs.iter().zip(done) {
        let Path { orders, decisions, holds, .. } = path?;
        let (score, lived) = yardstick::ordered(scored, &orders, setting);
        let mut steps: BTreeMap<&'static str, u32> = BTreeMap::new();
        for decision in decisions.iter().filter(|decision| decision.refused.is_empty()) {
            *steps.entry(decision.step).or_default() += decision.instances;
        }
        let made = outcome(job.name.clone(), job.kind, Some(job.confidence), job.target, score, lived);
        outcomes.push(Outcome { orders, decisions, holds, steps, ..made });
    }
    let foresight = foresights.into_iter().find(|(model, _)| model.is_none()).map(|(_, it)| it).unwrap_or_default();
    let coverage = coverage::measured(load, setting, &foresight);
    Ok(Comparison { outcomes, coverage, foresight })
}

/// The forecasts of the pool (`None`) and of every model that is tried alone.
fn foresights(
    load: &Load,
    setting: &Setting,
    jobs: &[Job],
    tell: &(dyn Fn(u64) + Sync),
) -> BTreeMap<Option<String>, Foresight> {
    let mut models: Vec<Option<String>> = jobs.iter().map(|job| job.model.clone()).collect();
    models.sort();
    models.dedup();
    let made = in_parallel(&models, |only| {
        let options = forecast::Options { only: only.clone(), ..forecast::Options::default() };
        foresee(load, setting, live::begins(load), &options, |done| tell(done * FORECAST_WORK))
    });
    models.iter().cloned().zip(made).collect()
}

/// Every item's answer, in order, from as many threads as there are cores.
pub fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(items.len().max(1));
    let next = Mutex::new(0..items.len());
    let take = || next.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
    let done: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(index) = take() {
                    let answer = work(&items[index]);
                    done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((index, answer));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, answer)| answer).collect()
}
