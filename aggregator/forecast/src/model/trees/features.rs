//! What the trees look at: everything relative to the level at the origin, so that what was learned at one level holds at
//! another.

use super::super::regression::{Features as Linear, Fit as LinearFit, profile, profile_of_week};
use crate::history::History;

/// Features of a row.
pub(super) const WIDTH: usize = 17;

/// Sums that make windows cheap.
#[derive(Debug)]
struct Sums(Vec<f64>);

impl Sums {
    fn of(length: usize, value: impl Fn(usize) -> f64) -> Self {
        let mut sums = Vec::with_capacity(length + 1);
        let mut sum = 0.0;
        sums.push(sum);
        for index in 0..length {
            sum += value(index);
            sums.push(sum);
        }
        Self(sums)
    }

    /// The mean of the `length` values before `end`.
    fn mean(&self, end: usize, length: usize) -> f64 {
        let from = end.saturating_sub(length);
        (self.0[end] - self.0[from]) / (end - from).max(1) as f64
    }
}

/// The history, prepared for rows at any origin within it.
#[derive(Debug)]
pub(super) struct Features<'a> {
    history: History<'a>,
    day: usize,
    week: Option<usize>,
    hour: usize,
    daily: Vec<f64>,
    weekly: Vec<f64>,
    profile: Sums,
    values: Sums,
    off: Sums,
    rough: Sums,
    least_scale: f64,
    linear: Linear<'a>,
    linear_fit: Option<LinearFit>,
    mode: f64,
}

impl<'a> Features<'a> {
    pub fn new(history: &History<'a>, day: usize, linear_fit: Option<LinearFit>) -> Self {
        let values = history.values;
        let length = values.len();
        let daily = profile(values, day, 0.3, None);
        let week = history.week().filter(|week| length > *week);
        let weekly = week.map_or_else(|| daily.clone(), |week| profile_of_week(values, week, day, &daily));
        let hour = history.steps(3_600);
        let profile = Sums::of(daily.len(), |index| daily[index]);
        let sums = Sums::of(length, |index| values[index]);
        let off = Sums::of(length, |index| values[index] - daily[index]);
        let rough = Sums::of(length, |index| (values[index] - daily[index]).abs());
        let mean = sums.mean(length, length);
        let least_scale = if mean > 0.0 { mean * 0.05 } else { 1.0 };
        Self { history: *history, day, week, hour, daily, weekly, profile, values: sums, off, rough, least_scale, linear: Linear::new(history, day), linear_fit, mode: super::env("BASE", 1.0) }
    }

    pub fn scale(&self, origin: usize) -> f64 {
        self.values.mean(origin, self.day).max(self.least_scale)
    }

    /// What the trees correct.
    pub fn base(&self, origin: usize, within: usize) -> f64 {
        let at = origin + within;
        if let Some(fit) = &self.linear_fit {
            return fit.median(&self.linear, origin, within);
        }
        if self.mode == 0.0 {
            return 0.5 * (self.daily[at] + self.weekly[at]);
        }
        let ahead = (within as f64 + 0.5) * f64::from(self.history.step_seconds);
        0.5 * (self.daily[at] + self.weekly[at]) + self.off.mean(origin, self.hour) * (-ahead / 10_800.0).exp()
    }

    /// The row for the step `within` (less than a day) after an origin, from what was known at it.
    pub fn row(&self, origin: usize, within: usize) -> [f64; WIDTH] {
        let at = origin + within;
        let scale = self.scale(origin);
        let base = self.base(origin, within);
        let step = i64::from(self.history.step_seconds);
        let time = self.history.start + at as i64 * step;
        let level = self.values.mean(origin, self.hour);
        let last = self.history.values[origin - 1];
        let known = |lag: usize| match at.checked_sub(lag) {
            Some(past) if self.history.observed[past] => (self.history.values[past] - base) / scale,
            _ => f64::NAN,
        };
        [
            within as f64,
            time.rem_euclid(86_400) as f64,
            time.div_euclid(86_400).rem_euclid(7) as f64,
            known(self.day),
            self.week.map_or(f64::NAN, known),
            (self.daily[at] - base) / scale,
            (self.weekly[at] - self.daily[at]) / scale,
            (self.profile.mean((at + self.hour + 1).min(origin + self.day), 2 * self.hour + 1) - self.daily[at]) / scale,
            (last - self.daily[origin - 1]) / scale,
            self.off.mean(origin, self.hour) / scale,
            self.off.mean(origin, 6 * self.hour) / scale,
            self.off.mean(origin, self.day) / scale,
            (level - base) / scale,
            (self.values.mean(origin, self.day) - base) / scale,
            (level - self.values.mean(origin - self.hour.min(origin), self.hour)) / scale,
            self.rough.mean(origin, 3 * self.hour) / scale,
            self.rough.mean((at + 1 + self.hour / 2 - self.day).min(origin), self.hour) / scale,
        ]
    }
}
