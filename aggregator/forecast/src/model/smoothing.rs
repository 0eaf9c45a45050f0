//! AutoETS, and MSTL with AutoETS on the seasonally adjusted series, both by the `augurs` crates, within sanity bounds.
//!
//! AutoETS (Hyndman, Khandakar 2008) picks error and trend by AICc. On spiky series its intervals explode, so only its path
//! is taken (errors are measured in the replay), and the path is bounded by the range lately seen. MSTL (Bandara, Hyndman,
//! Bergmeir 2021) splits off the day, a season that was found beside it, and, with three weeks of history, the week.

use augurs::ets::AutoETS;
use augurs::mstl::{MSTLModel, NaiveTrend, stlrs};
use augurs::{Fit as _, Predict as _};

use super::seasonal::season;
use super::{FitError, Fitted, Model, Prediction};
use crate::history::{DAY, History, WEEK};
use crate::seasons;

/// AutoETS sees this many of the newest steps: its level and trend forget older ones anyway, and cost grows with length.
const ETS_STEPS: usize = 120;
/// The least AutoETS is worth trying on.
const ETS_LEAST: usize = 24;
/// MSTL sees this much of the newest history.
const MSTL_SECONDS: u64 = 28 * DAY;
/// MSTL works on steps of at least this many seconds: finer seasons are noise, and cost grows with the season's length.
const MSTL_STEP_SECONDS: u32 = 900;
/// A replay of these models at every origin would cost more than all the others together.
const EVERY: usize = 2;

/// AutoETS without season.
#[derive(Debug, Clone, Copy)]
pub struct Ets;

impl Model for Ets {
    fn name(&self) -> &'static str {
        "auto_ets"
    }

    /// What follows a level is in the pool already.
    fn on_request(&self) -> bool {
        true
    }

    fn replay_every(&self) -> usize {
        EVERY
    }

    fn fit(&self, history: &History<'_>, _horizon: usize) -> Result<Box<dyn Fitted>, FitError> {
        if history.len() < ETS_LEAST {
            return Err(FitError::TooShort { need: ETS_LEAST, have: history.len() });
        }
        Ok(Box::new(FittedEts))
    }
}

#[derive(Debug)]
struct FittedEts;

impl Fitted for FittedEts {
    fn predict(&self, history: &History<'_>, horizon: usize, _levels: &[f64]) -> Result<Prediction, FitError> {
        auto_ets(history.last(ETS_STEPS).values, horizon).map(Prediction::Path)
    }
}

/// The path of AutoETS within sanity bounds: no further outside the range seen than the range is wide.
fn auto_ets(values: &[f64], horizon: usize) -> Result<Vec<f64>, FitError> {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !(low.is_finite() && high.is_finite()) {
        return Err(FitError::TooShort { need: ETS_LEAST, have: values.len() });
    }
    let range = high - low;
    if range <= 1e-12 * high.abs() {
        return Ok(vec![values[values.len() - 1]; horizon]);
    }
    // Scaled to about one: the search stops at absolute tolerances.
    let scaled: Vec<f64> = values.iter().map(|value| (value - low) / range + 1.0).collect();
    let failed = |error: &dyn std::fmt::Display| FitError::Failed(error.to_string());
    let search = AutoETS::new(1, "ZZN").map_err(|error| failed(&error))?;
    let fitted = search.fit(&scaled).map_err(|error| failed(&error))?;
    let path = fitted.predict(horizon, None).map_err(|error| failed(&error))?.point;
    if path.len() != horizon || path.iter().any(|value| !value.is_finite()) {
        return Err(FitError::Failed("the path is not finite".into()));
    }
    Ok(path.iter().map(|value| ((value - 1.0).clamp(-1.0, 2.0)) * range + low).collect())
}

/// MSTL with AutoETS.
#[derive(Debug, Clone, Copy)]
pub struct Mstl;

impl Model for Mstl {
    fn name(&self) -> &'static str {
        "mstl_ets"
    }

    /// The trees know the day and the week as well, and cost less: docs/forecast-scores.md.
    fn on_request(&self) -> bool {
        true
    }

    fn replay_every(&self) -> usize {
        EVERY
    }

    fn fit(&self, history: &History<'_>, _horizon: usize) -> Result<Box<dyn Fitted>, FitError> {
        let day = season(history, DAY)?;
        let need = 2 * day + 1;
        if history.len() < need {
            return Err(FitError::TooShort { need, have: history.len() });
        }
        let recent = history.last(history.steps(MSTL_SECONDS));
        // Fold to a coarser step that still divides the day; bins are aligned to the end, where it matters.
        let other = seasons::other(&recent).filter(|other| recent.len() >= 3 * other);
        let fold = fold_of(history.step_seconds, day, other.unwrap_or(day));
        let values = recent.values;
        let skip = values.len() % fold;
        let coarse: Vec<f64> =
            values[skip..].chunks_exact(fold).map(|bin| bin.iter().sum::<f64>() / fold as f64).collect();
        let scale = coarse.iter().copied().fold(0.0, f64::max);
        if scale <= 0.0 {
            return Err(FitError::Unsuitable("all zero".into()));
        }
        let scaled: Vec<f64> = coarse.iter().map(|value| value / scale).collect();
        let coarse_day = day / fold;
        let mut periods = vec![coarse_day];
        if let Some(week) = history.week().filter(|week| recent.len() >= 3 * week) {
            periods.push(week / fold);
        }
        periods.extend(other.map(|other| other / fold).filter(|period| *period >= 2));
        periods.sort_unstable();
        periods.dedup();
        if coarse_day < 2 || scaled.len() < 2 * coarse_day {
            return Err(FitError::TooShort { need, have: history.len() });
        }
        let mut stl = stlrs::params();
        stl.seasonal_jump((coarse_day / 10).max(1)).trend_jump((coarse_day / 10).max(1));
        let mut parameters = stlrs::MstlParams::new();
        parameters.stl_params(stl);
        let fitted = MSTLModel::new(periods.clone(), NaiveTrend::new())
            .mstl_params(parameters)
            .fit(&scaled)
            .map_err(|error| FitError::Failed(error.to_string()))?;
        // The last whole period of each component repeats.
        let seasons: Vec<Vec<f64>> = fitted
            .fit()
            .seasonal()
            .iter()
            .zip(&periods)
            .map(|(component, period)| {
                component[component.len() - period..].iter().map(|value| f64::from(*value) * scale).collect()
            })
            .collect();
        if seasons.iter().flatten().any(|value| !value.is_finite()) {
            return Err(FitError::Failed("a season is not finite".into()));
        }
        Ok(Box::new(FittedMstl { end: history.end(), fold, seasons }))
    }
}

/// Steps of a bin: as many as make a quarter of an hour, unless the day or the other season cannot be cut into bins of so many.
fn fold_of(step_seconds: u32, day: usize, other: usize) -> usize {
    let wanted = (MSTL_STEP_SECONDS / step_seconds.max(1)).max(1) as usize;
    (1..=wanted).rev().find(|fold| day.is_multiple_of(*fold) && other.is_multiple_of(*fold)).unwrap_or(1)
}

#[derive(Debug)]
struct FittedMstl {
    /// Unix seconds of the end of the history it was fitted on: where the seasons begin anew.
    end: i64,
    fold: usize,
    seasons: Vec<Vec<f64>>,
}

impl FittedMstl {
    /// The seasonal part of the step that is `steps` after the fitted end.
    fn seasonal(&self, steps: i64) -> f64 {
        let bin = steps.div_euclid(self.fold as i64);
        self.seasons.iter().map(|season| season[bin.rem_euclid(season.len() as i64) as usize]).sum()
    }
}

impl Fitted for FittedMstl {
    fn predict(&self, history: &History<'_>, horizon: usize, _levels: &[f64]) -> Result<Prediction, FitError> {
        let recent = history.last(ETS_STEPS);
        let step = i64::from(history.step_seconds);
        let offset = (recent.start - self.end).div_euclid(step);
        let adjusted: Vec<f64> = recent
            .values
            .iter()
            .enumerate()
            .map(|(index, value)| value - self.seasonal(offset + index as i64))
            .collect();
        let trend = auto_ets(&adjusted, horizon)?;
        let ahead = (history.end() - self.end).div_euclid(step);
        let path =
            trend.iter().enumerate().map(|(index, level)| (level + self.seasonal(ahead + index as i64)).max(0.0));
        Ok(Prediction::Path(path.collect()))
    }
}

/// A week of history is needed before the week is a season; kept here so that the head of the file stays true.
const _: () = assert!(MSTL_SECONDS >= 3 * WEEK);
