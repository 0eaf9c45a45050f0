//! Climatology: the spread of the load around this time of day, over the last two weeks; or at this time of a season that is
//! neither a day nor a week, where there is one.
//!
//! No path and no level, only what was seen: quantiles of the values within half an hour of the same time of day, newer
//! days and the same day of the week counting more. It knows that some hours are restless and others calm, which a path
//! with errors pooled over the day does not.

use super::seasonal::season;
use super::{FitError, Fitted, Model, Prediction};
use crate::history::{DAY, History};
use crate::quantile::{Weighted, quantiles};
use crate::seasons;

/// Days looked back on.
const DAYS: usize = 14;
/// How much less a day counts than the day after it.
const FADE: f64 = 0.85;
/// How much more the same day of the week counts.
const SAME_WEEKDAY: f64 = 3.0;
/// Half the window around the time of day, in seconds.
const AROUND_SECONDS: u64 = 1_800;
/// Values looked at per day; denser windows are thinned.
const PER_DAY: usize = 5;

/// How long the seasons that were found are looked back on.
const FOUND_SECONDS: u64 = 28 * DAY;

/// The climatology.
#[derive(Debug, Clone, Copy)]
pub struct Climate;

impl Model for Climate {
    fn name(&self) -> &'static str {
        "climate"
    }

    fn fit(&self, history: &History<'_>, _horizon: usize) -> Result<Box<dyn Fitted>, FitError> {
        let day = season(history, DAY)?;
        let need = 3 * day;
        if history.len() < need {
            return Err(FitError::TooShort { need, have: history.len() });
        }
        Ok(Box::new(FittedClimate { day }))
    }
}

#[derive(Debug)]
struct FittedClimate {
    day: usize,
}

impl Fitted for FittedClimate {
    fn predict(&self, history: &History<'_>, horizon: usize, levels: &[f64]) -> Result<Prediction, FitError> {
        let length = history.len();
        let around = (AROUND_SECONDS / u64::from(history.step_seconds)) as usize;
        let stride = (2 * around + 1).div_ceil(PER_DAY).max(1);
        let mut paths = vec![Vec::with_capacity(horizon); levels.len()];
        let mut seen = Vec::new();
        for step in 0..horizon {
            seen.clear();
            let at = length + step;
            for days in 1..=DAYS + horizon / self.day {
                let Some(middle) = at.checked_sub(days * self.day) else { break };
                let from = middle.saturating_sub(around);
                let weight = FADE.powi(days as i32) * if days % 7 == 0 { SAME_WEEKDAY } else { 1.0 };
                for index in (from..=middle + around).step_by(stride) {
                    if index < length && history.observed[index] {
                        seen.push(Weighted {
                            value: history.values[index],
                            weight,
                            censored: history.saturated[index],
                        });
                    }
                }
            }
            let found = quantiles(&mut seen, levels)
                .ok_or_else(|| FitError::Failed("a time of day was never observed".into()))?;
            for (path, value) in paths.iter_mut().zip(found) {
                path.push(value);
            }
        }
        Ok(Prediction::Quantiles(paths))
    }
}

/// The climatology of the season that [`seasons`] finds: no window around the time, for what repeats every eight hours is mostly a machine's
/// doing and begins to the step. Refuses where there is no such season.
#[derive(Debug, Clone, Copy)]
pub struct FoundClimate;

impl Model for FoundClimate {
    fn name(&self) -> &'static str {
        "climate_found"
    }

    fn fit(&self, history: &History<'_>, _horizon: usize) -> Result<Box<dyn Fitted>, FitError> {
        let need = seasons::least_steps(history.step_seconds);
        if history.len() < need {
            return Err(FitError::TooShort { need, have: history.len() });
        }
        let found = seasons::other(history);
        let season = found.ok_or_else(|| FitError::Unsuitable("no season but the day and the week".to_owned()))?;
        Ok(Box::new(FittedFound { season }))
    }
}

#[derive(Debug)]
struct FittedFound {
    /// Steps.
    season: usize,
}

impl Fitted for FittedFound {
    fn predict(&self, history: &History<'_>, horizon: usize, levels: &[f64]) -> Result<Prediction, FitError> {
        let oldest = history.len().saturating_sub(history.steps(FOUND_SECONDS));
        let fade = FADE.powf(self.season as f64 * f64::from(history.step_seconds) / DAY as f64);
        let mut paths = vec![Vec::with_capacity(horizon); levels.len()];
        let mut seen = Vec::new();
        for step in 0..horizon {
            seen.clear();
            let mut weight = 1.0;
            // Newest first: whole seasons before the step, as many as it takes to be known.
            let mut next = (history.len() + step).checked_sub((step / self.season + 1) * self.season);
            while let Some(at) = next.filter(|at| *at >= oldest) {
                if history.observed[at] {
                    seen.push(Weighted { value: history.values[at], weight, censored: history.saturated[at] });
                }
                weight *= fade;
                next = at.checked_sub(self.season);
            }
            let found = quantiles(&mut seen, levels)
                .ok_or_else(|| FitError::Failed("a time of the season was never observed".into()))?;
            paths.iter_mut().zip(found).for_each(|(path, value)| path.push(value));
        }
        Ok(Prediction::Quantiles(paths))
    }
}
