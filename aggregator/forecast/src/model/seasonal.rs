//! Models that repeat a season: seasonal naive, and the empirical seasonal mean with a decaying level correction.

use super::{FitError, Fitted, Model, Prediction};
use crate::history::{DAY, History, WEEK, steps_of};

/// Yesterday, or last week, again.
#[derive(Debug, Clone, Copy)]
pub struct SeasonalNaive {
    name: &'static str,
    season_seconds: u64,
}

impl SeasonalNaive {
    /// As yesterday.
    pub const DAY: Self = Self { name: "seasonal_naive_day", season_seconds: DAY };
    /// As a week ago.
    pub const WEEK: Self = Self { name: "seasonal_naive_week", season_seconds: WEEK };
}

impl Model for SeasonalNaive {
    fn name(&self) -> &'static str {
        self.name
    }

    fn fit(&self, history: &History<'_>, _horizon: usize) -> Result<Box<dyn Fitted>, FitError> {
        let season = season(history, self.season_seconds)?;
        Ok(Box::new(Naive { season }))
    }
}

/// Steps of a season, if the history holds one.
pub(super) fn season(history: &History<'_>, seconds: u64) -> Result<usize, FitError> {
    let season = steps_of(seconds, history.step_seconds).ok_or_else(|| {
        FitError::Unsuitable(format!("a step of {} s does not divide a season", history.step_seconds))
    })?;
    if history.len() < season {
        return Err(FitError::TooShort { need: season, have: history.len() });
    }
    Ok(season)
}

#[derive(Debug)]
struct Naive {
    season: usize,
}

impl Fitted for Naive {
    fn predict(&self, history: &History<'_>, horizon: usize, _levels: &[f64]) -> Result<Prediction, FitError> {
        let path: Option<Vec<f64>> =
            (0..horizon).map(|step| history.seasonal(history.len() + step, self.season)).collect();
        path.map(Prediction::Path).ok_or(FitError::TooShort { need: self.season, have: history.len() })
    }
}

/// The mean of yesterday and last week (yesterday alone while there is no week), plus how far the last hour was off,
/// fading with a time constant of three hours.
#[derive(Debug, Clone, Copy)]
pub struct EmpiricalSeasonal;

/// How fast the level correction fades, in seconds.
const FADE_SECONDS: f64 = 3.0 * 3_600.0;

impl Model for EmpiricalSeasonal {
    fn name(&self) -> &'static str {
        "empirical_seasonal"
    }

    fn fit(&self, history: &History<'_>, _horizon: usize) -> Result<Box<dyn Fitted>, FitError> {
        let day = season(history, DAY)?;
        Ok(Box::new(Empirical { day }))
    }
}

#[derive(Debug)]
struct Empirical {
    day: usize,
}

impl Empirical {
    fn base(&self, history: &History<'_>, index: usize) -> Option<f64> {
        let yesterday = history.seasonal(index, self.day)?;
        let last_week = history.week().and_then(|week| history.seasonal(index, week));
        Some(last_week.map_or(yesterday, |value| (yesterday + value) / 2.0))
    }
}

impl Fitted for Empirical {
    fn predict(&self, history: &History<'_>, horizon: usize, _levels: &[f64]) -> Result<Prediction, FitError> {
        let too_short = FitError::TooShort { need: self.day + 1, have: history.len() };
        let recent = history.steps(3_600);
        let misses: Vec<f64> = (history.len().saturating_sub(recent)..history.len())
            .filter_map(|index| Some(history.values[index] - self.base(history, index)?))
            .collect();
        if misses.is_empty() {
            return Err(too_short);
        }
        let miss = misses.iter().sum::<f64>() / misses.len() as f64;
        let path: Option<Vec<f64>> = (0..horizon)
            .map(|step| {
                let ahead = (step as f64 + 0.5) * f64::from(history.step_seconds);
                Some(self.base(history, history.len() + step)? + miss * (-ahead / FADE_SECONDS).exp())
            })
            .collect();
        path.map(Prediction::Path).ok_or(too_short)
    }
}
