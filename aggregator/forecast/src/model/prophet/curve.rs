//! From points in time to the scaled posterior and back: seasons, changepoints, and the fitted curve.

use std::f64::consts::TAU;

use super::posterior::{Column, Data, Parameters};
use crate::history::{DAY, WEEK};

/// Bends of the trend, spread over the first part of the points: the original's figures. What bends later than that is too
/// young to tell from noise.
const CHANGEPOINTS: usize = 25;
const CHANGEPOINT_RANGE: f64 = 0.8;
/// Scale of the normal priors on seasons and events: the original's, wide.
const COEFFICIENT_SCALE: f64 = 10.0;

/// What is learned from.
#[derive(Debug, Clone)]
pub(super) struct Points {
    /// Unix seconds, ascending.
    pub times: Vec<f64>,
    pub values: Vec<f64>,
    /// Row after row: for every event what it was announced to add to one.
    pub events: Vec<f64>,
    event_count: usize,
}

impl Points {
    /// No points yet.
    pub fn new(event_count: usize) -> Self {
        Self { times: Vec::new(), values: Vec::new(), events: Vec::new(), event_count }
    }

    fn events_at(&self, index: usize) -> &[f64] {
        &self.events[index * self.event_count..(index + 1) * self.event_count]
    }

    pub fn span_seconds(&self) -> f64 {
        self.times.last().copied().unwrap_or_default() - self.times.first().copied().unwrap_or_default()
    }

    /// The shortest time between two points.
    pub fn step_seconds(&self) -> f64 {
        self.times.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min)
    }
}

/// How many pairs of sine and cosine each season has; 0 is no such season.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Seasons {
    pub daily: usize,
    pub weekly: usize,
}

impl Seasons {
    /// No more pairs than points `step` seconds apart can tell from each other.
    pub fn resolved_by(self, step: f64) -> Self {
        let most = |period: u64| ((period as f64 / step - 1.0) / 2.0).max(0.0) as usize;
        Self { daily: self.daily.min(most(DAY)), weekly: self.weekly.min(most(WEEK)) }
    }

    fn width(self) -> usize {
        2 * (self.daily + self.weekly)
    }

    fn terms(self, time: f64, to: &mut Vec<f64>) {
        for (period, pairs) in [(DAY, self.daily), (WEEK, self.weekly)] {
            let angle = (time.rem_euclid(period as f64) / period as f64) * TAU;
            for pair in 1..=pairs {
                let (sine, cosine) = (pair as f64 * angle).sin_cos();
                to.extend([sine, cosine]);
            }
        }
    }
}

/// Which of Prophet's models.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Setup {
    /// The trend is a line that may bend; otherwise it is flat.
    pub bends: bool,
    /// After the last point the trend stays where it is; otherwise it goes on at its last slope, as the original's does.
    pub levels_off: bool,
    pub seasons: Seasons,
    /// Seasons multiply the trend instead of being added to it. Events always multiply it.
    pub multiplicative: bool,
    /// Events are expected to come true as announced; otherwise to do nothing.
    pub announced: bool,
}

/// A fitted curve.
#[derive(Debug, Clone)]
pub(super) struct Curve {
    start: f64,
    span: f64,
    scale: f64,
    /// Of the values seen.
    lowest: f64,
    highest: f64,
    setup: Setup,
    pub changepoints: Vec<f64>,
    pub parameters: Parameters,
}

impl Curve {
    /// `None` for less than two points, and where no maximum was found.
    pub fn fit(points: &Points, setup: &Setup) -> Option<Self> {
        let span = points.span_seconds();
        let highest = points.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let lowest = points.values.iter().copied().fold(f64::INFINITY, f64::min);
        if points.times.len() < 2 || span <= 0.0 || !highest.is_finite() || !lowest.is_finite() {
            return None;
        }
        let scale = if highest > 0.0 { highest } else { 1.0 };
        let start = points.times[0];
        let t: Vec<f64> = points.times.iter().map(|time| (time - start) / span).collect();
        let data = data(points, t, scale, setup);
        let found = data.fit()?;
        let parameters = Parameters::from_flat(&found.at, data.changepoints.len());
        let changepoints = data.changepoints;
        let setup = *setup;
        Some(Self { start, span, scale, lowest, highest, setup, changepoints, parameters })
    }

    /// The load expected at `time` (Unix seconds), with what each event was announced to add to one at that time.
    ///
    /// Without events it is no further outside the range seen than that range is wide, and never negative.
    pub fn at(&self, time: f64, events: &[f64]) -> f64 {
        let mut terms = Vec::with_capacity(self.setup.seasons.width());
        self.setup.seasons.terms(time, &mut terms);
        let (seasonal, of_events) = self.parameters.coefficients.split_at(terms.len());
        let season: f64 = terms.iter().zip(seasonal).map(|(x, coefficient)| x * coefficient).sum();
        let since = (time - self.start) / self.span;
        let since = if self.setup.levels_off { since.min(1.0) } else { since };
        let trend = self.parameters.trend(since, &self.changepoints);
        let base = if self.setup.multiplicative { trend * (1.0 + season) } else { trend + season };
        let range = self.highest - self.lowest;
        let ordinary = (base * self.scale).clamp((self.lowest - range).max(0.0), self.highest + range);
        let added: f64 = events.iter().zip(of_events).map(|(x, coefficient)| x * coefficient).sum();
        let trend = (trend * self.scale).clamp(0.0, self.highest + range);
        (ordinary + trend * added).max(0.0)
    }
}

/// The points as the posterior sees them.
pub(super) fn data(points: &Points, t: Vec<f64>, scale: f64, setup: &Setup) -> Data {
    let wide = |mean: f64| Column { mean, scale: COEFFICIENT_SCALE };
    let mut columns = vec![wide(0.0); setup.seasons.width()];
    columns.extend(vec![wide(if setup.announced { 1.0 } else { 0.0 }); points.event_count]);
    let mut x = Vec::with_capacity(t.len() * columns.len());
    for (index, time) in points.times.iter().enumerate() {
        setup.seasons.terms(*time, &mut x);
        x.extend(points.events_at(index));
    }
    Data {
        changepoints: if setup.bends { changepoints(&t) } else { Vec::new() },
        slopes: setup.bends,
        y: points.values.iter().map(|value| value / scale).collect(),
        additive: if setup.multiplicative { 0 } else { setup.seasons.width() },
        t,
        x,
        columns,
    }
}

/// At evenly spread points of the first part; fewer where there are few.
fn changepoints(t: &[f64]) -> Vec<f64> {
    let part = (t.len() as f64 * CHANGEPOINT_RANGE) as usize;
    let count = CHANGEPOINTS.min(part.saturating_sub(1));
    (1..=count).map(|place| t[(place as f64 * (part - 1) as f64 / count as f64).round_ties_even() as usize]).collect()
}
