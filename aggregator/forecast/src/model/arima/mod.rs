//! Auto-ARIMA: Fourier terms for day and week, and an ARIMA process for what they leave.

mod filter;
mod least_squares;
#[cfg(test)]
mod oracle;
mod process;
mod regressors;
mod search;

use self::filter::Filter;
use self::process::Process;
use self::regressors::Waves;
use self::search::{Data, is_integrated, refine, stepwise};
use super::{FitError, Fitted, Model, Prediction};
use crate::history::{DAY, History};

const LEARN_SECONDS: u64 = 28 * DAY;
const LEARN_STEPS: usize = 8_064;
const SEARCH_STEPS: usize = 1_000;
const REFINE_STEPS: usize = 1_500;
const FILTER_STEPS: usize = 1_000;
const LEAST: usize = 16;
const NOTHING: f64 = 1e-12;

/// The auto-ARIMA model.
#[derive(Debug, Clone, Copy)]
pub struct AutoArima;

fn env(name: &str, default: f64) -> f64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn waves(history: &History<'_>) -> Waves {
    let (day, week) = (history.day().unwrap_or(usize::MAX), history.week().unwrap_or(usize::MAX));
    let kd = env("KD", 6.0) as usize;
    let kw = env("KW", 3.0) as usize;
    let side = env("SIDE", 0.0) as usize;
    let sk = env("SK", 3.0) as usize;
    if history.len() / 2 >= week {
        let mut cycles: Vec<usize> = (1..=kd).map(|k| 7 * k).chain(1..=kw).collect();
        for k in 1..=sk { for s in 1..=side { cycles.push(7 * k + s); cycles.push(7 * k - s); } }
        Waves::new(week, cycles)
    } else if history.len() / 2 >= day {
        Waves::new(day, (1..=kd).collect())
    } else {
        Waves::new(1, Vec::new())
    }
}

impl Model for AutoArima {
    fn name(&self) -> &'static str {
        "auto_arima"
    }

    fn replay_every(&self) -> usize {
        env("EVERY", 4.0) as usize
    }

    fn fit(&self, history: &History<'_>, _horizon: usize) -> Result<Box<dyn Fitted>, FitError> {
        let recent = history.last(history.steps(LEARN_SECONDS).min(LEARN_STEPS));
        let have = recent.observed.iter().filter(|observed| **observed).count();
        if have < LEAST {
            return Err(FitError::TooShort { need: LEAST, have });
        }
        let failed = |what: &str| FitError::Failed(what.to_owned());
        let scale = recent.values.iter().copied().fold(0.0, f64::max);
        let scale = if scale > 0.0 { scale } else { 1.0 };
        let tr = env("POW", 1.0);
        let values: Vec<f64> = recent.values.iter().map(|value| (value / scale).powf(tr)).collect();
        let waves = waves(&recent);
        let first = phase(&recent, 0, waves.season);
        let ordinary = |differences| {
            let b = waves.ordinary(&values, recent.observed, first, differences);
            b.map(|b| waves.profile(&b)).ok_or_else(|| failed("no regression"))
        };
        let mut profile = ordinary(false)?;
        let less = |profile: &[f64]| -> Vec<f64> {
            (0..values.len()).map(|at| values[at] - profile[(first + at) % profile.len()]).collect()
        };
        let mut rest = less(&profile);
        let seen: Vec<f64> = rest.iter().zip(recent.observed).filter(|(_, o)| **o).map(|(v, _)| *v).collect();
        let squares: f64 = seen.iter().map(|v| v * v).sum();
        if squares <= NOTHING * NOTHING * seen.len() as f64 {
            return Ok(Box::new(Fit { scale, profile, process: Process::default(), deviation: 0.0 }));
        }
        let dmode = env("DMODE", -1.0);
        let integrated = if dmode >= 0.0 { dmode > 0.5 } else { is_integrated(&seen[seen.len().saturating_sub(env("KN", 2000.0) as usize)..]) };
        if integrated {
            profile = ordinary(true)?;
            rest = less(&profile);
        }
        let spent = 1 + 2 * waves.cycles.len();
        let data = Data { values: &rest, observed: recent.observed, spent };
        let mut found = stepwise(data.last(SEARCH_STEPS), integrated).ok_or_else(|| failed("no order"))?;
        if env("GLS", 1.0) > 0.0 {
            let b = waves.generalised(&found.process, &values, recent.observed, first, env("PRUNE", 1.0) > 0.0)
                .ok_or_else(|| failed("no gls"))?;
            profile = waves.profile(&b);
            rest = less(&profile);
        }
        let data = Data { values: &rest, observed: recent.observed, spent };
        found = refine(data.last(REFINE_STEPS), &found.process).ok_or_else(|| failed("no likelihood"))?;
        if env("DBG", 0.0) > 0.0 {
            eprintln!("{} d{} ({},{}) sd {:.4} aicc {:.1} {:?}", values.len(), integrated, found.process.phi.len(), found.process.theta.len(), found.variance.sqrt(), found.aicc, found.process);
        }
        Ok(Box::new(Fit { scale, profile, process: found.process, deviation: found.variance.sqrt() }))
    }
}

/// Where step `index` lies in the season.
fn phase(history: &History<'_>, index: usize, season: usize) -> usize {
    let step = i64::from(history.step_seconds.max(1));
    ((history.start.div_euclid(step) + index as i64).rem_euclid(season as i64)) as usize
}

#[derive(Debug)]
struct Fit {
    scale: f64,
    profile: Vec<f64>,
    process: Process,
    deviation: f64,
}

impl Fitted for Fit {
    fn predict(&self, history: &History<'_>, horizon: usize, levels: &[f64]) -> Result<Prediction, FitError> {
        let recent = history.last(FILTER_STEPS);
        let season = self.profile.len();
        let first = phase(&recent, 0, season);
        let mut filter = Filter::new(&self.process).ok_or_else(|| FitError::Failed("not stationary".into()))?;
        let tr = env("POW", 1.0);
        for at in 0..recent.len() {
            let value = (recent.values[at] / self.scale).powf(tr) - self.profile[(first + at) % season];
            let bound = recent.saturated[at] && filter.expected().mean >= value;
            if recent.observed[at] && !bound {
                filter.observe(value);
            } else {
                filter.miss();
            }
        }
        let low = recent.values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = recent.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut mean = Vec::with_capacity(horizon);
        let mut spread = Vec::with_capacity(horizon);
        for step in 0..horizon {
            let expected = filter.expected();
            mean.push(expected.mean + self.profile[(first + recent.len() + step) % season]);
            spread.push(expected.variance.max(0.0).sqrt() * self.deviation);
            filter.miss();
        }
        let bounded = |v: f64| (v.max(0.0).powf(1.0 / tr) * self.scale).clamp((low - (high - low)).max(0.0), high + (high - low));
        if env("PATH_ONLY", 0.0) > 0.0 {
            return Ok(Prediction::Path(mean.iter().map(|m| bounded(*m)).collect()));
        }
        Ok(Prediction::Quantiles(
            levels
                .iter()
                .map(|level| {
                    let z = normal_quantile(*level);
                    mean.iter().zip(&spread).map(|(m, s)| bounded(m + z * s)).collect()
                })
                .collect(),
        ))
    }
}

pub(super) fn normal_quantile(level: f64) -> f64 {
    distrs::Normal::ppf(level, 0.0, 1.0)
}
