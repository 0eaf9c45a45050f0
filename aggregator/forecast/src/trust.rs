//! How far a plan may follow a forecast, as one number in [0, 1].
//!
//! `score = history × freshness × (width × coverage × skill)^(1/3)`, with
//! - `history` = observed / (observed + 1 day): 2 % after half an hour, one half after a day, 93 % after two weeks;
//! - `freshness` = the measured share of the last hour, an event's included;
//! - `width` = m / (m + w), with w the mean width of the 80 % interval within the first six hours and m the mean median there;
//! - `coverage` = the mean over the bands that were measured of max(0, 1 − |measured − nominal| / 0.2), 0 if none was;
//! - `skill` = the mean over bands of 2·(1 − loss / loss of seasonal naive), within [0.1, 1]: 0.1 while naive is merely
//!   equalled (then the forecast *is* seasonal naive, which is worth something) and while there is no day to compare with.
//!
//! Each part moves the score in one direction only. Less than half an hour of observations gives no forecast at all, and
//! so no trust.

use crate::history::{DAY, History};
use crate::selection::{Champion, interval};
use crate::types::{BandCoverage, Options, Trust};

/// Without any observation for this long there is no forecast.
pub const STALE_SECONDS: u64 = 6 * 3_600;
/// Skill when seasonal naive is not beaten, or does not exist yet.
const LEAST_SKILL: f64 = 0.1;
/// A measured coverage this far from the promised one is worth nothing.
const WORTHLESS_MISS: f64 = 0.2;

/// See the head of this module.
pub(crate) fn score(history: &History<'_>, paths: &[Vec<f64>], champion: &Champion, options: &Options) -> Trust {
    let hour = history.last(history.steps(3_600));
    let seen = hour.measured() as f64;
    let near = (21_600 / options.step_seconds.max(1)).max(1) as usize;
    let sum = |level: usize| paths.get(level).map_or(0.0, |path| path.iter().take(near).sum::<f64>());
    let width = interval(&options.levels).map_or(0.0, |(low, high, _)| {
        let middle = options.levels.iter().position(|level| *level >= 0.5 - 1e-9).unwrap_or(high);
        width_part(sum(high) - sum(low), sum(middle))
    });
    let skills: Vec<f64> = champion.skill.iter().flatten().map(|ratio| skill_part(*ratio)).collect();
    let trust = Trust {
        score: 0.0,
        width,
        coverage: 0.0,
        skill: mean(&skills).unwrap_or(LEAST_SKILL),
        history: history_part(history.observed_seconds()),
        freshness: seen / hour.len().max(1) as f64,
    };
    with_coverage(trust, &champion.coverage)
}

/// The same forecast's trust with other figures of what its intervals held.
pub(crate) fn with_coverage(trust: Trust, coverage: &[BandCoverage]) -> Trust {
    let held: Vec<f64> = coverage.iter().filter_map(|band| Some(coverage_part(band.measured?, band.nominal))).collect();
    combine(Trust { coverage: mean(&held).unwrap_or(0.0), ..trust })
}

fn combine(trust: Trust) -> Trust {
    let quality = (trust.width * trust.coverage * trust.skill).cbrt();
    Trust { score: (trust.history * trust.freshness * quality).clamp(0.0, 1.0), ..trust }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn history_part(observed_seconds: u64) -> f64 {
    observed_seconds as f64 / (observed_seconds as f64 + DAY as f64)
}

/// 1 for a point, one half when the interval is as wide as the forecast is high.
fn width_part(interval: f64, middle: f64) -> f64 {
    if interval <= 0.0 { 1.0 } else { (middle.max(0.0) / (middle.max(0.0) + interval)).clamp(0.0, 1.0) }
}

fn coverage_part(measured: f64, nominal: f64) -> f64 {
    (1.0 - (measured - nominal).abs() / WORTHLESS_MISS).clamp(0.0, 1.0)
}

fn skill_part(ratio: f64) -> f64 {
    (2.0 * (1.0 - ratio)).clamp(LEAST_SKILL, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn falls(values: &[f64]) -> bool {
        values.windows(2).all(|pair| pair[1] < pair[0]) && values.iter().all(|value| (0.0..=1.0).contains(value))
    }

    #[test]
    fn every_part_moves_one_way_only() {
        assert!(falls(&[14_u64, 7, 3, 1, 0].map(|days| history_part(days * DAY))));
        assert!(falls(&[0.0, 1.0, 5.0, 50.0, 5_000.0].map(|interval| width_part(interval, 10.0))));
        assert!(falls(&[0.8, 0.75, 0.7, 0.62].map(|measured| coverage_part(measured, 0.8))));
        assert!(falls(&[0.8, 0.85, 0.9, 0.99].map(|measured| coverage_part(measured, 0.8))));
        assert!(falls(&[0.5, 0.7, 0.9, 0.94].map(skill_part)));
        assert_eq!(skill_part(f64::MAX), LEAST_SKILL);
        assert_eq!(width_part(1.0, 0.0), 0.0);
    }

    #[test]
    fn the_score_grows_with_each_part_and_is_zero_without_coverage() {
        let middle = Trust { score: 0.0, width: 0.5, coverage: 0.5, skill: 0.5, history: 0.5, freshness: 0.5 };
        let base = combine(middle).score;
        assert!((base - 0.125).abs() < 1e-12);
        for better in [
            Trust { width: 0.9, ..middle },
            Trust { coverage: 0.9, ..middle },
            Trust { skill: 0.9, ..middle },
            Trust { history: 0.9, ..middle },
            Trust { freshness: 0.9, ..middle },
        ] {
            assert!(combine(better).score > base);
        }
        assert_eq!(with_coverage(middle, &[]).score, 0.0);
    }
}
