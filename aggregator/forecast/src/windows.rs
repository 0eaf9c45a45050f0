//! The maximum over a window: its quantiles are learned as such, for chaining the quantiles of steps says nothing about it.
//!
//! For windows of a few lengths the replayed origins tell how far the largest load within the window was above the largest
//! median of the forecast there, in widths of the interval. The quantiles of these scores, added to the largest median of
//! a window to come, are the quantiles of its maximum: split conformal prediction of the maximum, newer origins counting more.

use serde::{Deserialize, Serialize};

use crate::quantile::{Weighted, quantiles};
use crate::replay::{Past, kept_steps, small_sample};
use crate::selection::interval;
use crate::types::Forecast;

/// Lengths, in seconds, at which windows are learned; others lie between them.
const LENGTHS: [u64; 6] = [900, 3_600, 10_800, 21_600, 43_200, 86_400];
/// Fewer windows than this say nothing.
const LEAST_WINDOWS: f64 = 5.0;

/// How the maximum over windows of one length lay above the forecast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowSpread {
    /// Seconds of the window.
    pub seconds: u64,
    /// Per level of the forecast: quantiles of (maximum − largest median) / largest width.
    pub scores: Vec<f64>,
}

/// What the ensemble's calibrated quantiles at past origins say of windows. `paths` are at the kept steps.
pub(crate) fn learn(past: &Past<'_>, ensemble: &[Option<Vec<Vec<f64>>>]) -> Vec<WindowSpread> {
    let Some((low, high, _)) = interval(past.levels) else { return Vec::new() };
    let middle = middle(past.levels);
    let step_seconds = u64::from(past.history.step_seconds.max(1));
    let places = apart(past.steps);
    let steps: Vec<usize> = places.iter().map(|place| past.steps[*place]).collect();
    let mut spreads: Vec<WindowSpread> = Vec::new();
    for seconds in LENGTHS {
        let length = (seconds / step_seconds) as usize;
        if length == 0 {
            continue;
        }
        let (mut scores, mut sum, mut squares) = (Vec::new(), 0.0, 0.0);
        for (index, paths) in ensemble.iter().enumerate() {
            let Some(paths) = paths else { continue };
            let median = between(&steps, &places.iter().map(|place| paths[middle][*place]).collect::<Vec<_>>());
            let width = |place: &usize| paths[high][*place] - paths[low][*place];
            let widths = between(&steps, &places.iter().map(width).collect::<Vec<_>>());
            let weight = past.weight(index);
            let mut of_origin = 0.0;
            let mut from = 0;
            while from + length <= median.len() {
                let came = past.cuts[index] + from..past.cuts[index] + from + length;
                if came.end > past.history.len() {
                    break;
                }
                let seen = came.clone().filter(|at| past.history.observed[*at]).count();
                let largest = came.clone().map(|at| past.history.values[at]).fold(0.0, f64::max);
                let of = |values: &[f64]| values[from..from + length].iter().copied().fold(0.0, f64::max);
                let width = of(&widths);
                if seen * 2 >= length && width > 0.0 {
                    let value = (largest - of(&median)) / width;
                    let censored = came.clone().any(|at| past.history.saturated[at]);
                    scores.push(Weighted { value, weight, censored });
                    of_origin += weight;
                }
                from += length;
            }
            sum += of_origin.min(weight);
            squares += of_origin.min(weight) * weight;
        }
        let origins = if squares > 0.0 { sum * sum / squares } else { 0.0 };
        if origins < LEAST_WINDOWS {
            continue;
        }
        let Some(found) = quantiles(&mut scores, past.levels) else { continue };
        let centre = found[middle];
        let widened = found.iter().map(|score| centre + (score - centre) * small_sample(origins));
        // A longer window has no smaller maximum.
        let before = spreads.last().map(|spread| spread.scores.clone());
        let floor = |level: usize| before.as_ref().map_or(f64::NEG_INFINITY, |scores| scores[level]);
        let scores = widened.enumerate().map(|(level, score)| score.max(floor(level))).collect();
        spreads.push(WindowSpread { seconds, scores });
    }
    spreads
}

/// The kept steps, by position, that lie as far apart as the last two: the more of a restless path is seen, the larger its
/// maximum, so near windows must not be seen closer than far ones.
fn apart(steps: &[usize]) -> Vec<usize> {
    let gap = steps.len().checked_sub(2).map_or(1, |before| steps[before + 1] - steps[before]);
    let mut places: Vec<usize> = Vec::new();
    for (place, step) in steps.iter().enumerate() {
        if places.last().is_none_or(|last| step - steps[*last] >= gap) {
            places.push(place);
        }
    }
    places
}

/// A path at all steps, from that at the kept ones: straight lines between them, level beyond the last.
fn between(steps: &[usize], path: &[f64]) -> Vec<f64> {
    let last = steps.last().copied().unwrap_or_default();
    let gap = steps.len().checked_sub(2).map_or(1, |before| last - steps[before]);
    // The last kept step stands in the middle of what it stands for.
    let horizon = last + 1 + (gap - 1).div_ceil(2);
    let mut right = 0;
    (0..horizon)
        .map(|step| {
            while right < steps.len() && steps[right] < step {
                right += 1;
            }
            match (right.checked_sub(1), steps.get(right)) {
                (Some(left), Some(next)) if *next > step => {
                    let along = (step - steps[left]) as f64 / (next - steps[left]) as f64;
                    path[left] + along * (path[right] - path[left])
                }
                (_, Some(_)) => path[right],
                (Some(left), None) => path[left],
                (None, None) => 0.0,
            }
        })
        .collect()
}

fn middle(levels: &[f64]) -> usize {
    levels.iter().position(|level| *level >= 0.5 - 1e-9).unwrap_or(levels.len().saturating_sub(1))
}

impl Forecast {
    /// The quantile at `level` of the largest load within `[from, until)` (Unix seconds), learned from the maxima of past
    /// windows: it may lie below the largest quantile of the steps, for a path that is restless itself is not that of any maximum.
    ///
    /// Absent when the window is empty or reaches outside the forecast, when the level lies outside those that were forecast,
    /// and while the past was too short to tell.
    pub fn window_maximum(&self, from: i64, until: i64, level: f64) -> Option<f64> {
        let step = i64::from(self.step_seconds.max(1));
        if from >= until || from < self.start || until > self.end() {
            return None;
        }
        let first = usize::try_from((from - self.start).div_euclid(step)).ok()?;
        let last = usize::try_from((until - 1 - self.start).div_euclid(step)).ok()?;
        let (low, high, _) = interval(&self.levels)?;
        let upper = self.levels.iter().position(|known| *known >= level - 1e-9)?;
        let (lower, share) = if self.levels[upper] <= level + 1e-9 {
            (upper, 0.0)
        } else {
            let lower = upper.checked_sub(1)?;
            (lower, (level - self.levels[lower]) / (self.levels[upper] - self.levels[lower]))
        };
        if first == last && !self.windows.is_empty() {
            return self.at(from, level);
        }
        // Seen as the past was seen: at a few steps, and straight between them.
        let kept = kept_steps(self.paths.first()?.len(), self.step_seconds);
        let steps: Vec<usize> = apart(&kept).into_iter().map(|place| kept[place]).collect();
        let seen = |value: &dyn Fn(usize) -> f64| {
            let path = between(&steps, &steps.iter().map(|step| value(*step)).collect::<Vec<_>>());
            (first..=last).map(|step| path[step.min(path.len() - 1)]).fold(0.0, f64::max)
        };
        let median = seen(&|step| self.paths[middle(&self.levels)][step]);
        let width = seen(&|step| self.paths[high][step] - self.paths[low][step]);
        let score = |level: usize| self.score((last - first + 1) as u64 * step as u64, level);
        let of = |level: usize| Some((median + score(level)? * width).max(0.0));
        let (below, above) = (of(lower)?, of(upper)?);
        Some(below + share.max(0.0) * (above - below))
    }

    /// The score of windows of this length: between the learned lengths by the logarithm; beyond them the nearest.
    fn score(&self, seconds: u64, level: usize) -> Option<f64> {
        let at = |spread: &crate::windows::WindowSpread| spread.scores.get(level).copied();
        let right = self.windows.iter().position(|spread| spread.seconds >= seconds).unwrap_or(self.windows.len());
        let before = right.checked_sub(1).and_then(|left| self.windows.get(left));
        match (before, self.windows.get(right)) {
            (Some(left), Some(right)) => {
                let along =
                    (seconds as f64 / left.seconds as f64).ln() / (right.seconds as f64 / left.seconds as f64).ln();
                Some(at(left)? + along * (at(right)? - at(left)?))
            }
            (Some(only), None) | (None, Some(only)) => at(only),
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forecast() -> Forecast {
        Forecast {
            start: 0,
            step_seconds: 300,
            levels: vec![0.1, 0.5, 0.9],
            paths: vec![vec![8.0; 288], vec![10.0; 288], vec![12.0; 288]],
            windows: vec![
                WindowSpread { seconds: 900, scores: vec![0.0, 0.25, 0.5] },
                WindowSpread { seconds: 3_600, scores: vec![0.25, 0.5, 1.0] },
            ],
            ..Forecast::default()
        }
    }

    #[test]
    fn longer_windows_and_higher_levels_have_larger_maxima() {
        let forecast = forecast();
        let of = |until, level| forecast.window_maximum(0, until, level).unwrap();
        assert_eq!((of(900, 0.9), of(3_600, 0.9), of(3_600, 0.5)), (12.0, 14.0, 12.0));
        assert_eq!((of(300, 0.9), of(300, 0.1)), (12.0, 8.0), "a step alone is a step");
        assert!(of(1_800, 0.9) > 12.0 && of(1_800, 0.9) < 14.0);
        assert_eq!(of(86_400, 0.9), 14.0);
        assert!(of(3_600, 0.7) > of(3_600, 0.5) && of(3_600, 0.7) < of(3_600, 0.9));
    }

    #[test]
    fn near_windows_are_seen_no_closer_than_far_ones() {
        assert_eq!(apart(&[0, 1, 2, 3, 6, 9, 14, 19]), [0, 4, 6, 7]);
        assert_eq!(apart(&[0]), [0]);
    }

    #[test]
    fn between_kept_steps_lie_straight_lines() {
        assert_eq!(between(&[0, 1, 5], &[0.0, 2.0, 6.0]), [0.0, 2.0, 3.0, 4.0, 5.0, 6.0, 6.0, 6.0]);
        assert_eq!(between(&[1], &[3.0]), [3.0, 3.0]);
        assert!(between(&[], &[]).iter().all(|value| *value == 0.0));
    }

    #[test]
    fn what_is_not_covered_is_not_told() {
        let forecast = forecast();
        for (from, until, level) in [(0, 0, 0.9), (-1, 300, 0.9), (0, 86_401, 0.9), (0, 300, 0.95), (0, 300, 0.01)] {
            assert_eq!(forecast.window_maximum(from, until, level), None, "{from} {until} {level}");
        }
        assert_eq!(Forecast { windows: Vec::new(), ..forecast }.window_maximum(0, 300, 0.9), None);
    }
}
