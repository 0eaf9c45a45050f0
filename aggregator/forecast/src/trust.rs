//! How far a plan may follow a forecast, as one number in [0, 1].
//!
//! `score = history × freshness × (width × coverage × skill)^(1/3)`, with
//! - `history` = observed / (observed + 1 day): 2 % after half an hour, one half after a day, 93 % after two weeks;
//! - `freshness` = the observed share of the last hour;
//! - `width` = 1 / (1 + w), w = mean width of the 80 % interval within the first six hours over the mean median there;
//! - `coverage` = max(0, 1 − |measured − nominal| / 0.2), the mean over the bands that were measured, 0 if none was;
//! - `skill` = the mean over bands of min(1, 2·(1 − loss / loss of seasonal naive)), not below 0.1 while naive is merely
//!   equalled (then the forecast *is* seasonal naive, which is worth something), and 0.1 while there is no day to compare with.
//!
//! Less than half an hour of observations gives no forecast at all, and so no trust.

use crate::history::{DAY, History};
use crate::selection::{Champion, interval};
use crate::types::{Options, Trust};

/// Without any observation for this long there is no forecast.
pub const STALE_SECONDS: u64 = 6 * 3_600;
/// Skill when seasonal naive is not beaten, or does not exist yet.
const LEAST_SKILL: f64 = 0.1;

/// See the head of this module.
pub(crate) fn score(history: &History<'_>, paths: &[Vec<f64>], champion: &Champion, options: &Options) -> Trust {
    let observed = history.observed_seconds() as f64;
    let hour = history.last(history.steps(3_600));
    let seen = hour.observed.iter().filter(|observed| **observed).count() as f64;
    let freshness = seen / hour.len().max(1) as f64;
    let width = interval(&options.levels).map_or(0.0, |(low, high, _)| {
        let near = (21_600 / options.step_seconds.max(1)).max(1) as usize;
        let sum = |level: usize| paths[level].iter().take(near).sum::<f64>();
        let middle = options.levels.iter().position(|level| *level >= 0.5 - 1e-9).unwrap_or(high);
        width_part(sum(high) - sum(low), sum(middle))
    });
    let held: Vec<f64> =
        champion.coverage.iter().filter_map(|band| Some(coverage_part(band.measured?, band.nominal))).collect();
    let coverage = mean(&held).unwrap_or(0.0);
    let skills: Vec<f64> = champion.skill.iter().flatten().map(|ratio| skill_part(*ratio)).collect();
    let skill = mean(&skills).unwrap_or(LEAST_SKILL);
    let history = observed / (observed + DAY as f64);
    let score = (history * freshness * (width * coverage * skill).cbrt()).clamp(0.0, 1.0);
    Trust { score, width, coverage, skill }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// 1 for a point, one half when the interval is as wide as the forecast is high.
fn width_part(interval: f64, middle: f64) -> f64 {
    if interval <= 0.0 { 1.0 } else { (middle.max(0.0) / (middle.max(0.0) + interval)).clamp(0.0, 1.0) }
}

fn coverage_part(measured: f64, nominal: f64) -> f64 {
    (1.0 - (measured - nominal).abs() / 0.2).clamp(0.0, 1.0)
}

fn skill_part(ratio: f64) -> f64 {
    (2.0 * (1.0 - ratio)).clamp(LEAST_SKILL, 1.0)
}
