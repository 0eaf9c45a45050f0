//! What the trees look at: everything relative to the level at the origin, so that what was learned at one level holds at
//! another.

use super::super::regression::{Features as LinearFeatures, Fit as LinearFit, sums_of};
use crate::history::{DAY, History};

/// Features of a row.
pub(super) const WIDTH: usize = 17;
/// No level is thought smaller than this part of the whole history's mean: a row from a dead night would weigh more than all.
const LEAST_LEVEL: f64 = 0.05;

/// The history, prepared for rows at any origin from its second day on.
#[derive(Debug)]
pub(super) struct Features<'a> {
    history: History<'a>,
    day: usize,
    week: Option<usize>,
    linear: LinearFeatures<'a>,
    solved: &'a LinearFit,
    /// Sums of absolute deviations from it.
    rough_sums: Vec<f64>,
    least_scale: f64,
}

fn mean(sums: &[f64], end: usize, length: usize) -> f64 {
    LinearFeatures::mean(sums, end, length)
}

impl<'a> Features<'a> {
    /// Prepares `history`, whose direct regression is `solved`.
    pub fn new(history: &History<'a>, day: usize, solved: &'a LinearFit) -> Self {
        let linear = LinearFeatures::new(history, day);
        let (values, profile, length) = (history.values, &linear.profile, history.len());
        let week = history.week().filter(|week| length > *week);
        let rough_sums = sums_of(length, |index| (values[index] - profile[index]).abs());
        let whole = mean(&linear.value_sums, length, length);
        let least_scale = if whole > 0.0 { whole * LEAST_LEVEL } else { 1.0 };
        Self { history: *history, day, week, linear, solved, rough_sums, least_scale }
    }

    /// The level at an origin: what a row is measured in.
    pub fn scale(&self, origin: usize) -> f64 {
        mean(&self.linear.value_sums, origin, self.day).max(self.least_scale)
    }

    /// What the trees correct: the direct regression. It follows a level as no tree does; trees find what is not linear.
    pub fn base(&self, origin: usize, within: usize) -> f64 {
        self.solved.median(&self.linear, origin, within)
    }

    /// The row for the step `within` (less than a day) after an origin, from what was known at it; what was not is `NaN`.
    pub fn row(&self, origin: usize, within: usize) -> [f64; WIDTH] {
        let (linear, day, hour) = (&self.linear, self.day, self.linear.hour);
        let at = origin + within;
        let scale = self.scale(origin);
        let base = self.base(origin, within);
        let time = self.history.start + at as i64 * i64::from(self.history.step_seconds);
        let known = |lag: usize| match at.checked_sub(lag) {
            Some(past) if self.history.observed[past] => (self.history.values[past] - base) / scale,
            _ => f64::NAN,
        };
        let level = mean(&linear.value_sums, origin, hour);
        let (daily, off, rough) = (linear.profile[at], &linear.deviation_sums, &self.rough_sums);
        let around = mean(&linear.profile_sums, (at + hour + 1).min(origin + day), 2 * hour + 1);
        [
            // When: steps ahead, time of day, day of the week.
            within as f64,
            time.rem_euclid(DAY as i64) as f64,
            time.div_euclid(DAY as i64).rem_euclid(7) as f64,
            // The season at that time: yesterday, last week, the profiles, and where the profile is heading.
            known(day),
            self.week.map_or(f64::NAN, known),
            (daily - base) / scale,
            (linear.weekly[at] - daily) / scale,
            (around - daily) / scale,
            // How far the recent past was off it: the last value, hour, six hours, day.
            (self.history.values[origin - 1] - linear.profile[origin - 1]) / scale,
            mean(off, origin, hour) / scale,
            mean(off, origin, 6 * hour) / scale,
            mean(off, origin, day) / scale,
            // The plain level of the last hour and day, and its slope.
            (level - base) / scale,
            (mean(&linear.value_sums, origin, day) - base) / scale,
            (level - mean(&linear.value_sums, origin.saturating_sub(hour), hour)) / scale,
            // How restless it was lately, and yesterday at that time.
            mean(rough, origin, 3 * hour) / scale,
            mean(rough, (at + 1 + hour / 2 - day).min(origin), hour) / scale,
        ]
    }
}
