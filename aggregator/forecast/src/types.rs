//! What goes in and what comes out: options, bands, the forecast, and why there is none.

use serde::{Deserialize, Serialize};

use crate::events::Learned;
use crate::series::Aggregate;
use crate::windows::WindowSpread;
use crate::zone::Zone;

/// Seconds of history below which nothing is forecast.
pub const MINIMUM_HISTORY_SECONDS: u64 = 30 * 60;

/// How far ahead: selection, calibration and measured coverage are kept apart for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Band {
    /// Up to one hour ahead.
    #[serde(rename = "1h")]
    Hour,
    /// More than one and up to six hours ahead.
    #[serde(rename = "6h")]
    SixHours,
    /// More than six hours ahead (beyond a day the day's own figures are used).
    #[serde(rename = "24h")]
    Day,
}

impl Band {
    /// All bands, nearest first.
    pub const ALL: [Band; 3] = [Band::Hour, Band::SixHours, Band::Day];

    /// As it is written on the wire and in stores.
    pub const fn as_str(self) -> &'static str {
        match self {
            Band::Hour => "1h",
            Band::SixHours => "6h",
            Band::Day => "24h",
        }
    }

    /// The band of something that starts `seconds` after the forecast was made.
    pub fn of(seconds: u64) -> Self {
        match seconds {
            0..3_600 => Band::Hour,
            3_600..21_600 => Band::SixHours,
            _ => Band::Day,
        }
    }

    /// Position in [`Band::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// The band's name in APIs: `1h`, `6h`, `24h`.
    pub fn name(self) -> &'static str {
        ["1h", "6h", "24h"][self.index()]
    }
}

/// What to forecast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Seconds of one forecast step; history is folded to it.
    pub step_seconds: u32,
    /// How many steps ahead.
    pub horizon_steps: usize,
    /// Quantile levels, each in (0, 1), ascending.
    pub levels: Vec<f64>,
    /// How history is folded into steps, and so what is forecast: the maximum within each step, or its mean.
    pub aggregate: Aggregate,
    /// Only this much of the newest history is used, so that cost does not grow with age.
    pub history_seconds: u64,
    /// How many past origins the selection replays.
    pub origins: usize,
    /// The clocks people live by there, if they change: seasons follow them.
    #[serde(skip_serializing_if = "Zone::is_steady")]
    pub zone: Zone,
    /// Only the model of this name (for comparisons); `None` is the whole pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            step_seconds: 300,
            horizon_steps: 288,
            levels: vec![0.05, 0.1, 0.5, 0.9, 0.95, 0.99],
            aggregate: Aggregate::Maximum,
            history_seconds: 42 * 86_400,
            origins: 48,
            zone: Zone::default(),
            only: None,
        }
    }
}

impl Options {
    /// Whether the options can be carried out.
    ///
    /// # Errors
    /// [`ForecastError::Options`] names the first field that cannot.
    pub fn validate(&self) -> Result<(), ForecastError> {
        let wrong = |what: &str| Err(ForecastError::Options(what.to_owned()));
        if self.step_seconds == 0 || self.step_seconds > 86_400 {
            return wrong("step_seconds must be within 1..=86400");
        }
        if self.horizon_steps == 0 || self.horizon_steps > 20_160 {
            return wrong("horizon_steps must be within 1..=20160");
        }
        if self.levels.is_empty() || self.levels.iter().any(|level| !(*level > 0.0 && *level < 1.0)) {
            return wrong("levels must lie within (0, 1)");
        }
        if self.levels.windows(2).any(|pair| pair[0] >= pair[1]) {
            return wrong("levels must ascend");
        }
        if self.history_seconds < MINIMUM_HISTORY_SECONDS {
            return wrong("history_seconds must be at least 1800");
        }
        if self.origins == 0 || self.origins > 1_000 {
            return wrong("origins must be within 1..=1000");
        }
        Ok(())
    }
}

/// Why there is no forecast.
#[derive(Debug, Clone, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForecastError {
    /// Too little was observed.
    #[error("history too short: {have_seconds} s observed, {need_seconds} s needed")]
    TooShort {
        /// Seconds of observations needed.
        need_seconds: u64,
        /// Seconds of observations there are.
        have_seconds: u64,
    },
    /// The newest observation is too far from the end of the history to say anything about what comes.
    #[error("history is stale: nothing observed in its last {gap_seconds} s")]
    Stale {
        /// Seconds without any observation at the end.
        gap_seconds: u64,
    },
    /// No model could make anything of this history.
    #[error("no model could be fitted: {0}")]
    NoModel(String),
    /// The options contradict themselves.
    #[error("options: {0}")]
    Options(String),
}

/// How far a plan may follow a forecast; see [`crate::trust`] for the formula.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Trust {
    /// The score in [0, 1].
    pub score: f64,
    /// 1 when the 80 % interval is narrow beside the forecast itself, toward 0 when it is wide.
    pub width: f64,
    /// 1 when the interval held as often as it promised.
    pub coverage: f64,
    /// 1 when clearly better than seasonal naive, toward 0 when not.
    pub skill: f64,
    /// Toward 1 with the amount of history, one half after a day.
    pub history: f64,
    /// The share of the last hour that was observed.
    pub freshness: f64,
}

/// What an interval promised and what it held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BandCoverage {
    /// How far ahead.
    pub band: Band,
    /// The promised share, 0.8 for the interval from the 10 % to the 90 % quantile.
    pub nominal: f64,
    /// The measured share; absent while nothing was measured.
    pub measured: Option<f64>,
    /// How many observations it was measured on.
    pub observations: u64,
    /// The same of the wider interval, from the 5 % to the 95 % quantile; absent where it is not forecast beside the other.
    #[serde(default)]
    pub wide: Option<WideCoverage>,
}

/// What the wider interval promised and what it held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WideCoverage {
    /// The promised share, 0.9.
    pub nominal: f64,
    /// The measured share; absent while nothing was measured.
    pub measured: Option<f64>,
    /// How many observations it was measured on.
    pub observations: u64,
}

/// Quantile paths of the load.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Forecast {
    /// Unix seconds of the first step; step `k` covers `[start + k·step, start + (k + 1)·step)`.
    pub start: i64,
    /// Seconds of one step.
    pub step_seconds: u32,
    /// The levels, ascending.
    pub levels: Vec<f64>,
    /// `paths[level][step]`: finite, not negative, and never falling from one level to the next.
    pub paths: Vec<Vec<f64>>,
    /// The model, or the models with their shares in the first hour, largest first.
    pub model: String,
    /// Unix seconds: the end of the history the selection was made on.
    pub trained_at: i64,
    /// How far to follow it.
    pub trust: Trust,
    /// Measured beside promised, per band.
    pub coverage: Vec<BandCoverage>,
    /// Seconds of observations behind it.
    pub history_seconds: u64,
    /// How the maximum over windows lay above past forecasts; see [`Forecast::window_maximum`].
    #[serde(default)]
    pub windows: Vec<WindowSpread>,
    /// What models learned of events from their past; in none of the paths, see [`crate::events::raise`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub learned: Vec<Learned>,
}

impl Forecast {
    /// Unix seconds just after the last step.
    pub fn end(&self) -> i64 {
        let steps = self.paths.first().map_or(0, Vec::len) as i64;
        self.start.saturating_add(steps * i64::from(self.step_seconds.max(1)))
    }

    /// The quantile of the step that covers `unix_s`, interpolated between levels.
    ///
    /// Absent outside the horizon, and for levels outside those that were forecast: the tails are not made up.
    pub fn at(&self, unix_s: i64, level: f64) -> Option<f64> {
        let offset = unix_s.checked_sub(self.start).filter(|offset| *offset >= 0)?;
        let step = usize::try_from(offset / i64::from(self.step_seconds.max(1))).ok()?;
        let value = |index: usize| self.paths.get(index)?.get(step).copied();
        let tolerance = 1e-9;
        let upper = self.levels.iter().position(|known| *known >= level - tolerance)?;
        if self.levels[upper] <= level + tolerance {
            return value(upper);
        }
        let lower = upper.checked_sub(1)?;
        let share = (level - self.levels[lower]) / (self.levels[upper] - self.levels[lower]);
        Some(value(lower)? + share * (value(upper)? - value(lower)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forecast() -> Forecast {
        Forecast {
            start: 1_000,
            step_seconds: 100,
            levels: vec![0.1, 0.5, 0.9],
            paths: vec![vec![1.0, 2.0], vec![2.0, 4.0], vec![4.0, 8.0]],
            model: String::new(),
            trained_at: 1_000,
            trust: Trust::default(),
            coverage: Vec::new(),
            history_seconds: 0,
            windows: Vec::new(),
            learned: Vec::new(),
        }
    }

    #[test]
    fn at_interpolates_between_levels_and_stays_within_the_horizon() {
        let forecast = forecast();
        assert_eq!(forecast.at(1_000, 0.5), Some(2.0));
        assert_eq!(forecast.at(1_199, 0.9), Some(8.0));
        assert!((forecast.at(1_100, 0.7).unwrap() - 6.0).abs() < 1e-9);
        assert_eq!(forecast.at(999, 0.5), None);
        assert_eq!(forecast.at(1_200, 0.5), None);
        assert_eq!(forecast.at(1_000, 0.95), None);
        assert_eq!(forecast.at(1_000, 0.01), None);
        assert_eq!(forecast.at(i64::MIN, 0.5), None);
    }

    #[test]
    fn bands_split_at_one_and_six_hours() {
        assert_eq!(Band::of(0), Band::Hour);
        assert_eq!(Band::of(3_599), Band::Hour);
        assert_eq!(Band::of(3_600), Band::SixHours);
        assert_eq!(Band::of(21_600), Band::Day);
    }

    #[test]
    fn contradictory_options_are_refused() {
        assert!(Options::default().validate().is_ok());
        assert!(Options { levels: vec![0.9, 0.5], ..Options::default() }.validate().is_err());
        assert!(Options { levels: vec![1.0], ..Options::default() }.validate().is_err());
        assert!(Options { step_seconds: 0, ..Options::default() }.validate().is_err());
        assert!(Options { horizon_steps: 0, ..Options::default() }.validate().is_err());
    }
}
