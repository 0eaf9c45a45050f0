//! Gradient-boosted quantile trees: the median by boosted trees, its error by others, the levels by what was missed unseen.
//!
//! One row is one step ahead of one past origin (direct forecasting over the whole horizon), everything in it relative to
//! the level at its origin, so that a load which grows is followed beyond what was ever seen. The trees correct the direct
//! regression, which follows a level as no tree does. Days are dealt into [`BAGS`] parts, and one ensemble per part learns
//! without it; together they forecast, and what each misses on the part it did not see is an honest error
//! (cross-conformal prediction, Vovk 2015). One more ensemble learns how large that error is at which time, origin and
//! reach; quantiles are the median plus that size times the quantile of errors in units of it. So every level comes from
//! the same few trees, levels cannot cross, and the tails are measured instead of fitted: quantile regression by trees
//! alone holds 58 % where it promises 80.
//!
//! Own boosting ([`boost`]) and not a crate's: forust-ml 0.8 and gbdt 0.1 have no pinball loss (and the first no licence in
//! its manifest); perpetual 3.0-rc (Apache-2.0) has one, but is a release candidate of 35 000 lines that brings threads, a
//! random generator and a reader of the machine's memory into a crate that knows none of them.

mod bins;
mod boost;
mod features;
mod grow;

use self::bins::{Cuts, Rows};
use self::boost::{Boosted, Growth};
use self::features::{Features, WIDTH};
use super::regression::Fit as LinearFit;
use super::seasonal::season;
use super::{FitError, Fitted, Model, Prediction};
use crate::history::{DAY, History};
use crate::quantile::{Weighted, median, quantiles};

/// Only this much of the newest history is learned from, in seconds.
const LEARN_SECONDS: u64 = 42 * DAY;
/// Rows: more cost time and change little.
const ROWS: usize = 1_000;
/// Parts the days are dealt into; each ensemble does without one.
const BAGS: usize = 3;
/// The share of rows whose step ahead is drawn evenly on a logarithmic scale; the others are on a plain one.
const NEAR: f64 = 0.6;
/// Steps of the golden ratio fall evenly, and without chance.
const GOLDEN: f64 = 0.618_033_988_749_895;
/// Upper edges, in seconds ahead, of the ranges over which errors are pooled.
const REACHES: [u64; 4] = [3_600, 10_800, 28_800, u64::MAX];
/// A range with fewer errors borrows those of all.
const LEAST_ERRORS: usize = 60;
/// No error is thought smaller than this part of the median one.
const LEAST_SPREAD: f64 = 0.1;

/// How the median is grown.
const MEDIAN: Growth = Growth { level: 0.5, trees: 15, leaves: 8, least_rows: 40, rate: 0.25 };
/// How the size of the error is grown: eight of ten are smaller.
const SPREAD: Growth = Growth { level: 0.8, trees: 8, leaves: 8, least_rows: 40, rate: 0.25 };
/// Replayed at every n-th origin: a fit is dear.
const EVERY: usize = 4;
/// As the regression that they correct: what was learned before a shift of level misleads after it.
const REFIT_SECONDS: u64 = 3_600;

/// The model.
#[derive(Debug, Clone, Copy)]
pub struct Trees;

impl Model for Trees {
    fn name(&self) -> &'static str {
        "trees"
    }

    fn replay_every(&self) -> usize {
        EVERY
    }

    fn refit_seconds(&self) -> u64 {
        REFIT_SECONDS
    }

    fn fit(&self, history: &History<'_>, horizon: usize) -> Result<Box<dyn Fitted>, FitError> {
        let day = season(history, DAY)?;
        // Rows begin on the third day; less than a day and a half of them cannot be dealt into parts.
        let need = 3 * day + day / 2;
        if history.len() < need {
            return Err(FitError::TooShort { need, have: history.len() });
        }
        let linear = LinearFit::learn(history, horizon)?;
        let recent = history.last(history.steps(LEARN_SECONDS));
        let features = Features::new(&recent, day, &linear);
        let Samples { mut rows, cuts, parts, reaches } = Samples::draw(&recent, &features, day, horizon)?;

        let mut missed = vec![0.0; parts.len()];
        let medians: Vec<Boosted> = (0..BAGS)
            .map(|bag| {
                let of = |row: &u32| parts[*row as usize] % BAGS != bag;
                let seen: Vec<u32> = (0..parts.len() as u32).filter(of).collect();
                let made = Boosted::learn(&rows, &seen, &MEDIAN);
                for (row, missed) in missed.iter_mut().enumerate().filter(|(row, _)| parts[*row] % BAGS == bag) {
                    *missed = rows.targets[row] - made.predict_row(&rows, row);
                }
                made
            })
            .collect();

        // A lower bound that was exceeded by the forecast is no miss that is known.
        let sizes = missed.iter().zip(&rows.censored);
        rows.targets = sizes.map(|(miss, censored)| if *censored { miss.max(0.0) } else { miss.abs() }).collect();
        let everything: Vec<u32> = (0..parts.len() as u32).collect();
        let spread = Boosted::learn(&rows, &everything, &SPREAD);
        let typical = median(&mut rows.targets.clone()).unwrap_or(0.0);
        let least_spread = (typical * LEAST_SPREAD).max(1e-9);
        let mut errors = vec![Vec::new(); REACHES.len()];
        for (row, missed) in missed.iter().enumerate() {
            let value = missed / spread.predict_row(&rows, row).max(least_spread);
            errors[reaches[row]].push(Weighted { value, weight: 1.0, censored: rows.censored[row] });
        }
        Ok(Box::new(Fit { day, linear, cuts, medians, spread, least_spread, errors }))
    }
}

fn reach_of(step: usize, step_seconds: u32) -> usize {
    let ahead = step as u64 * u64::from(step_seconds);
    REACHES.iter().position(|edge| ahead < *edge).unwrap_or(REACHES.len() - 1)
}

/// What is learned from.
#[derive(Debug)]
struct Samples {
    rows: Rows,
    cuts: Cuts,
    /// The day of each row, counted back from the end.
    parts: Vec<usize>,
    /// The range of steps ahead of each row.
    reaches: Vec<usize>,
}

impl Samples {
    /// Rows spread evenly over the history, each at another distance from its origin.
    fn draw(recent: &History<'_>, features: &Features<'_>, day: usize, horizon: usize) -> Result<Self, FitError> {
        let first = 2 * day;
        let span = recent.len() - first;
        let furthest = horizon.min(day);
        let count = ROWS.min(span * furthest);
        let mut values = Vec::with_capacity(count * WIDTH);
        let (mut targets, mut censored) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let (mut parts, mut reaches) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for turn in 0..count {
            let at = first + (turn * span) / count;
            let along = (turn as f64 * GOLDEN).fract();
            let within = if along < NEAR {
                ((furthest as f64 + 1.0).powf(along / NEAR) - 1.0) as usize
            } else {
                ((along - NEAR) / (1.0 - NEAR) * furthest as f64) as usize
            };
            let within = within.min(furthest - 1);
            if recent.observed[at] {
                let origin = at - within;
                values.extend(features.row(origin, within));
                targets.push((recent.values[at] - features.base(origin, within)) / features.scale(origin));
                censored.push(recent.saturated[at]);
                parts.push((recent.len() - 1 - at) / day);
                reaches.push(reach_of(within, recent.step_seconds));
            }
        }
        if targets.len() < 2 * LEAST_ERRORS {
            return Err(FitError::TooShort { need: first + 2 * LEAST_ERRORS, have: first + targets.len() });
        }
        let cuts = Cuts::learn(&values, WIDTH);
        let mut bins = Vec::with_capacity(values.len());
        values.chunks_exact(WIDTH).for_each(|row| cuts.bin(row, &mut bins));
        Ok(Self { rows: Rows { width: WIDTH, bins, targets, censored }, cuts, parts, reaches })
    }
}

#[derive(Debug)]
struct Fit {
    day: usize,
    linear: LinearFit,
    cuts: Cuts,
    medians: Vec<Boosted>,
    spread: Boosted,
    least_spread: f64,
    /// Per range of steps ahead, in units of the expected size.
    errors: Vec<Vec<Weighted>>,
}

impl Fit {
    /// `[reach][level]`: quantiles of the errors.
    fn tables(&self, levels: &[f64]) -> Option<Vec<Vec<f64>>> {
        let table = |errors: &Vec<Weighted>| {
            let mut seen = if errors.len() < LEAST_ERRORS { self.errors.concat() } else { errors.clone() };
            quantiles(&mut seen, levels)
        };
        self.errors.iter().map(table).collect()
    }
}

impl Fitted for Fit {
    fn predict(&self, history: &History<'_>, horizon: usize, levels: &[f64]) -> Result<Prediction, FitError> {
        let recent = history.last(history.steps(LEARN_SECONDS));
        let features = Features::new(&recent, self.day, &self.linear);
        let origin = recent.len();
        let scale = features.scale(origin);
        let tables = self.tables(levels).ok_or_else(|| FitError::Failed("no errors to learn from".into()))?;
        // Sanity: further outside what was ever seen than its range is wide is a failed fit.
        let low = recent.values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = recent.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (least, most) = ((low - (high - low)).max(0.0), high + (high - low));
        let mut paths = vec![Vec::with_capacity(horizon); levels.len()];
        let mut row = Vec::with_capacity(WIDTH);
        for step in 0..horizon {
            let within = step % self.day;
            row.clear();
            self.cuts.bin(&features.row(origin, within), &mut row);
            let trees = self.medians.iter().map(|median| median.predict(&row)).sum::<f64>();
            let middle = features.base(origin, within) + scale * trees / self.medians.len().max(1) as f64;
            let spread = scale * self.spread.predict(&row).max(self.least_spread);
            for (path, error) in paths.iter_mut().zip(&tables[reach_of(step, recent.step_seconds)]) {
                path.push((middle + spread * error).clamp(least, most));
            }
        }
        Ok(Prediction::Quantiles(paths))
    }
}
