//! Direct regression: for every range of the horizon, the median of the load as a linear function of its season and of how
//! far the recent past was off that season.
//!
//! The base is an exponentially weighted daily profile. The regressors are deviations from it (the last value, the last
//! hour, six hours and day; yesterday, last week, the smoothed profile, the plain level), so that the fit decides for each
//! series how fast a deviation fades and whether there is a season at all. Fitted for least absolute error (iteratively
//! reweighted ridge regression), so that a spike weighs no more than any other miss.

use super::dot;
use super::seasonal::season;
use super::{FitError, Fitted, Model, Prediction};
use crate::history::{DAY, History};

/// Upper edges, in seconds ahead, of the ranges that are fitted apart.
const RANGES: [u64; 8] = [900, 1_800, 3_600, 7_200, 14_400, 28_800, 57_600, u64::MAX];
/// Weight of the newest day in the daily profile.
const DAY_WEIGHT: f64 = 0.3;
/// Weight of the newest week in the weekly profile.
const WEEK_WEIGHT: f64 = 0.5;
/// Rows per range: more cost time and change little.
const ROWS: usize = 600;
/// Only this much of the newest history is learned from, in seconds.
const LEARN_SECONDS: u64 = 28 * DAY;
/// Reweighting rounds from squared to absolute error.
const ROUNDS: usize = 4;
/// Regressors, the constant among them.
const WIDTH: usize = 9;
/// Ridge penalty, as a share of the number of rows (regressors are scaled to unit variance).
const RIDGE: f64 = 0.01;

/// The regression model.
#[derive(Debug, Clone, Copy)]
pub struct Regression;

impl Model for Regression {
    fn name(&self) -> &'static str {
        "regression"
    }

    /// Cheap, and soon wrong: when the level shifts, so does what a deviation means.
    fn refit_seconds(&self) -> u64 {
        3_600
    }

    fn fit(&self, history: &History<'_>, horizon: usize) -> Result<Box<dyn Fitted>, FitError> {
        Ok(Box::new(Fit::learn(history, horizon)?))
    }
}

/// The solved ranges.
#[derive(Debug, Clone)]
pub(super) struct Fit {
    day: usize,
    coefficients: Vec<[f64; WIDTH]>,
}

impl Fit {
    /// Solves every range on the newest [`LEARN_SECONDS`] of a history.
    pub(super) fn learn(history: &History<'_>, horizon: usize) -> Result<Self, FitError> {
        let day = season(history, DAY)?;
        // Deviations exist from the second day on; half a day of them is the least there is to learn from.
        let need = 2 * day + day / 2;
        if history.len() < need {
            return Err(FitError::TooShort { need, have: history.len() });
        }
        let recent = history.last(history.steps(LEARN_SECONDS));
        let features = Features::new(&recent, day);
        let mut coefficients = Vec::new();
        let mut from = 0;
        for edge in RANGES {
            let to = (edge / u64::from(history.step_seconds)).clamp(1, horizon.min(day) as u64) as usize;
            let to = to.max(from);
            let fitted = if to > from { features.fit_range(from, to) } else { None };
            let previous = coefficients.last().cloned();
            coefficients.push(fitted.or(previous).ok_or_else(|| FitError::Failed("no range could be solved".into()))?);
            from = to;
        }
        Ok(Self { day, coefficients })
    }

    /// The median of the step `step` after an origin; beyond a day, that of the day's last range at the same time of day.
    pub(super) fn median(&self, features: &Features<'_>, origin: usize, step: usize) -> f64 {
        let within = step % self.day;
        let ahead = step as u64 * u64::from(features.step_seconds);
        let range = RANGES.iter().position(|edge| ahead < *edge).unwrap_or(RANGES.len() - 1);
        let row = features.row(origin, within);
        let value: f64 = row.iter().zip(&self.coefficients[range]).map(|(x, b)| x * b).sum();
        value + features.profile[origin + within]
    }
}

impl Fitted for Fit {
    fn predict(&self, history: &History<'_>, horizon: usize, _levels: &[f64]) -> Result<Prediction, FitError> {
        let recent = history.last(history.steps(LEARN_SECONDS));
        let features = Features::new(&recent, self.day);
        let origin = recent.len();
        // Sanity: a median outside what was ever seen, by more than its range, is a failed fit.
        let low = recent.values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = recent.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let path = (0..horizon)
            .map(|step| self.median(&features, origin, step).clamp((low - (high - low)).max(0.0), high + (high - low)))
            .collect();
        Ok(Prediction::Path(path))
    }
}

/// Everything the regressors are made of, for each step of the history and a day beyond.
#[derive(Debug)]
pub(super) struct Features<'a> {
    step_seconds: u32,
    values: &'a [f64],
    observed: &'a [bool],
    day: usize,
    pub(super) hour: usize,
    /// `profile[t]` uses only days before `t`'s.
    pub(super) profile: Vec<f64>,
    /// Sums of the profile, to smooth it.
    pub(super) profile_sums: Vec<f64>,
    pub(super) weekly: Vec<f64>,
    /// Sums of values and of deviations up to each step.
    pub(super) value_sums: Vec<f64>,
    pub(super) deviation_sums: Vec<f64>,
    scale: f64,
}

impl<'a> Features<'a> {
    pub(super) fn new(history: &History<'a>, day: usize) -> Self {
        let values = history.values;
        let length = values.len();
        let profile = profile(values, day, DAY_WEIGHT, None);
        let weekly = history
            .week()
            .filter(|week| length > *week)
            .map_or_else(|| profile.clone(), |week| profile_of_week(values, week, day, &profile));
        let hour = history.steps(3_600);
        let profile_sums = sums_of(profile.len(), |index| profile[index]);
        let value_sums = sums_of(length, |index| values[index]);
        let deviation_sums = sums_of(length, |index| values[index] - profile[index]);
        let mean = value_sums[length] / length.max(1) as f64;
        let scale = if mean > 0.0 { mean } else { 1.0 };
        let (step_seconds, observed) = (history.step_seconds, history.observed);
        Self {
            step_seconds,
            values,
            observed,
            day,
            hour,
            profile,
            profile_sums,
            weekly,
            value_sums,
            deviation_sums,
            scale,
        }
    }

    /// The mean of the `length` values before `end`, from their sums.
    pub(super) fn mean(sums: &[f64], end: usize, length: usize) -> f64 {
        let from = end.saturating_sub(length);
        (sums[end] - sums[from]) / (end - from).max(1) as f64
    }

    /// The profile at `at`, the mean over an hour to either side as far as it was known at the origin.
    fn smooth(&self, origin: usize, at: usize) -> f64 {
        let (from, to) = (at.saturating_sub(self.hour), (at + self.hour + 1).min(origin + self.day));
        (self.profile_sums[to] - self.profile_sums[from]) / (to - from) as f64
    }

    /// Regressors for the step `within` (less than a day) after an origin, from what was known at it.
    fn row(&self, origin: usize, within: usize) -> [f64; WIDTH] {
        let at = origin + within;
        let base = self.profile[at];
        let last = self.values[origin - 1] - self.profile[origin - 1];
        [
            self.scale,
            last,
            Self::mean(&self.deviation_sums, origin, self.hour),
            Self::mean(&self.deviation_sums, origin, 6 * self.hour),
            Self::mean(&self.deviation_sums, origin, self.day),
            self.values[at - self.day] - base,
            self.weekly[at] - base,
            self.smooth(origin, at) - base,
            Self::mean(&self.value_sums, origin, self.day) - base,
        ]
    }

    /// Coefficients for the steps `from..to` ahead; `None` when there is nothing to learn from.
    fn fit_range(&self, from: usize, to: usize) -> Option<[f64; WIDTH]> {
        let length = self.values.len();
        let first = 2 * self.day;
        let stride = ((length - first) / ROWS).max(1);
        let mut rows = Vec::new();
        let mut targets = Vec::new();
        let mut at = first + self.day.min(to);
        let mut turn = 0;
        while at < length {
            // Every step of the range in turn, deterministically.
            let within = from + turn % (to - from);
            turn += 7;
            if self.observed[at] {
                rows.push(self.row(at - within, within));
                targets.push(self.values[at] - self.profile[at]);
            }
            at += stride;
        }
        if rows.len() < 2 * WIDTH { None } else { least_absolute(&rows, &targets) }
    }
}

/// The sums of the first 0, 1, … `length` values.
pub(super) fn sums_of(length: usize, value: impl Fn(usize) -> f64) -> Vec<f64> {
    let mut sums = Vec::with_capacity(length + 1);
    let mut sum = 0.0;
    sums.push(sum);
    for index in 0..length {
        sum += value(index);
        sums.push(sum);
    }
    sums
}

/// `profile[t]` = weighted mean of the values one, two, … seasons before `t`; for `t` up to a season beyond the end.
fn profile(values: &[f64], season: usize, newest: f64, before: Option<&[f64]>) -> Vec<f64> {
    let mut profile: Vec<f64> = Vec::with_capacity(values.len() + season);
    for index in 0..values.len() + season {
        profile.push(match index.checked_sub(season) {
            Some(past) => newest * values[past] + (1.0 - newest) * profile[past],
            None => before.map_or_else(|| values[index.min(values.len() - 1)], |known| known[index]),
        });
    }
    profile
}

/// The weekly profile; within the first week it is the daily one.
fn profile_of_week(values: &[f64], week: usize, day: usize, daily: &[f64]) -> Vec<f64> {
    let mut weekly = daily.to_vec();
    for index in week..values.len() + day {
        let past = index - week;
        let known = past >= week;
        weekly[index] =
            if known { WEEK_WEIGHT * values[past] + (1.0 - WEEK_WEIGHT) * weekly[past] } else { values[past] };
    }
    weekly
}

/// Least absolute error with a ridge penalty, by iteratively reweighted least squares.
fn least_absolute(rows: &[[f64; WIDTH]], targets: &[f64]) -> Option<[f64; WIDTH]> {
    let count = rows.len() as f64;
    // Column by column: sums of products run along memory. A regressor that is always zero stays out of it.
    let mut shrink = [0.0; WIDTH];
    let columns: Vec<Vec<f64>> = (0..WIDTH)
        .map(|i| {
            let square = rows.iter().map(|row| row[i] * row[i]).sum::<f64>() / count;
            shrink[i] = if square > 1e-18 { 1.0 / square.sqrt() } else { 0.0 };
            rows.iter().map(|row| row[i] * shrink[i]).collect()
        })
        .collect();
    let typical = targets.iter().map(|target| target.abs()).sum::<f64>() / count;
    let floor = (typical * 0.02).max(1e-9);
    let mut weights = vec![1.0; rows.len()];
    let (mut weighted, mut fit) = (vec![0.0; rows.len()], vec![0.0; rows.len()]);
    let mut solution = [0.0; WIDTH];
    for _ in 0..ROUNDS {
        let mut normal = [[0.0; WIDTH]; WIDTH];
        let mut right = [0.0; WIDTH];
        let total: f64 = weights.iter().sum();
        for i in 0..WIDTH {
            for ((weighted, x), weight) in weighted.iter_mut().zip(&columns[i]).zip(&weights) {
                *weighted = x * weight;
            }
            right[i] = dot(&weighted, targets);
            for j in 0..=i {
                normal[i][j] = dot(&weighted, &columns[j]);
            }
            normal[i][i] += RIDGE * total;
        }
        solution = cholesky_solve(&normal, &right)?;
        fit.fill(0.0);
        for (column, b) in columns.iter().zip(&solution) {
            for (fit, x) in fit.iter_mut().zip(column) {
                *fit += x * b;
            }
        }
        for ((target, fit), weight) in targets.iter().zip(&fit).zip(&mut weights) {
            *weight = 1.0 / (target - fit).abs().max(floor);
        }
    }
    let solution: [f64; WIDTH] = std::array::from_fn(|i| solution[i] * shrink[i]);
    solution.iter().all(|value| value.is_finite()).then_some(solution)
}

/// Solves a symmetric positive definite system given by its lower triangle.
fn cholesky_solve(matrix: &[[f64; WIDTH]; WIDTH], right: &[f64; WIDTH]) -> Option<[f64; WIDTH]> {
    let mut lower = [[0.0; WIDTH]; WIDTH];
    for i in 0..WIDTH {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|k| lower[i][k] * lower[j][k]).sum();
            if i == j {
                let pivot = matrix[i][i] - sum;
                if !(pivot > 0.0 && pivot.is_finite()) {
                    return None;
                }
                lower[i][i] = pivot.sqrt();
            } else {
                lower[i][j] = (matrix[i][j] - sum) / lower[j][j];
            }
        }
    }
    let mut out = *right;
    for i in 0..WIDTH {
        let sum: f64 = (0..i).map(|k| lower[i][k] * out[k]).sum();
        out[i] = (out[i] - sum) / lower[i][i];
    }
    for i in (0..WIDTH).rev() {
        let sum: f64 = (i + 1..WIDTH).map(|k| lower[k][i] * out[k]).sum();
        out[i] = (out[i] - sum) / lower[i][i];
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cholesky_solves() {
        let mut matrix = [[0.0; WIDTH]; WIDTH];
        for (i, row) in matrix.iter_mut().enumerate() {
            for (j, value) in row.iter_mut().enumerate() {
                *value = if i == j { 10.0 } else { 1.0 / (1.0 + i.abs_diff(j) as f64) };
            }
        }
        let want: [f64; WIDTH] = std::array::from_fn(|i| i as f64 - 3.0);
        let right = std::array::from_fn(|i| (0..WIDTH).map(|j| matrix[i][j] * want[j]).sum());
        let got = cholesky_solve(&matrix, &right).unwrap();
        assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-9));
        assert!(cholesky_solve(&[[0.0; WIDTH]; WIDTH], &right).is_none());
    }

    #[test]
    fn one_wild_target_does_not_move_the_median_fit() {
        let rows: Vec<[f64; WIDTH]> =
            (0..200).map(|i| std::array::from_fn(|j| if j == 0 { 1.0 } else { ((i * (j + 3)) % 17) as f64 })).collect();
        let mut targets: Vec<f64> = rows.iter().map(|row| 2.0 + 0.5 * row[1]).collect();
        let calm = least_absolute(&rows, &targets).unwrap();
        targets[50] = 1e6;
        let wild = least_absolute(&rows, &targets).unwrap();
        let at = |b: &[f64; WIDTH]| rows[7].iter().zip(b).map(|(x, b)| x * b).sum::<f64>();
        assert!((at(&calm) - at(&wild)).abs() < 0.5, "{} {}", at(&calm), at(&wild));
    }
}
