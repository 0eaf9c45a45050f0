//! Replaying the past: what a model would have said at past origins, and what it missed.

use crate::history::{DAY, History, WEEK};
use crate::model::{Fitted, Model, Prediction};
use crate::quantile::{Weighted, pinball, quantiles};
use crate::types::{Band, Options};

/// The replay goes back at most this far: older behaviour says little about which model is right now.
const REPLAY_SECONDS: u64 = 2 * WEEK;
/// An origin counts half after this time.
const HALF_LIFE_SECONDS: f64 = 7.0 * DAY as f64;
/// How often a model is fitted anew, and into how many parts origins are dealt so that none is judged by its own errors.
pub(crate) const FOLDS: usize = 5;
/// Upper edges, in seconds ahead, of the ranges over which errors are pooled.
const REACHES: [u64; 11] = [900, 1_800, 2_700, 3_600, 5_400, 7_200, 10_800, 21_600, 43_200, 64_800, u64::MAX];

/// Origins whose misses make a spread.
const LEAST_ORIGINS: usize = 3;

pub(crate) fn reach_of(step: usize, step_seconds: u32) -> usize {
    let ahead = step as u64 * u64::from(step_seconds);
    REACHES.iter().position(|edge| ahead < *edge).unwrap_or(REACHES.len() - 1)
}

pub(crate) fn band_of(step: usize, step_seconds: u32) -> Band {
    Band::of(step as u64 * u64::from(step_seconds))
}

/// The past to replay: the whole history, and the origins as numbers of steps known, oldest first.
#[derive(Debug)]
pub(crate) struct Past<'a> {
    pub history: History<'a>,
    pub cuts: Vec<usize>,
    pub horizon: usize,
    pub levels: &'a [f64],
}

impl<'a> Past<'a> {
    /// Spreads origins evenly over the replayed part.
    ///
    /// The first third of a young history is left to the models to learn from; once there is a day, no origin lies within
    /// the first, so that seasonal naive can be replayed at all of them.
    pub fn new(history: History<'a>, options: &'a Options) -> Self {
        let length = history.len();
        let day = history.day().unwrap_or(usize::MAX);
        let third = length / 3;
        let young = if third < day && day < length.saturating_sub(length / 4) { day } else { third };
        let oldest = young.max(length.saturating_sub(history.steps(REPLAY_SECONDS))).max(1);
        let span = length.saturating_sub(oldest);
        let count = options.origins.min(span);
        let mut cuts: Vec<usize> = (0..count).map(|index| oldest + index * span / count).collect();
        cuts.dedup();
        Self { history, cuts, horizon: options.horizon_steps, levels: &options.levels }
    }

    /// How many steps of the horizon have come true since origin `index`.
    pub fn realised(&self, index: usize) -> usize {
        (self.history.len() - self.cuts[index]).min(self.horizon)
    }

    /// The part an origin belongs to; parts are contiguous in time.
    pub fn fold(&self, index: usize) -> usize {
        index * FOLDS / self.cuts.len().max(1)
    }

    /// How much an origin counts: the older, the less.
    pub fn weight(&self, index: usize) -> f64 {
        let age = (self.history.len() - self.cuts[index]) as f64 * f64::from(self.history.step_seconds);
        (-age / HALF_LIFE_SECONDS).exp2()
    }
}

/// What one model said at each origin.
#[derive(Debug)]
pub(crate) struct Replay {
    pub model: String,
    pub said: Vec<Option<Prediction>>,
    /// It was asked at every n-th origin only.
    pub every: usize,
}

impl Replay {
    /// `None` when the model refused at every origin.
    pub fn run(model: &dyn Model, past: &Past<'_>) -> Option<Self> {
        let every = model.replay_every().max(1);
        let mut fitted: Option<(usize, Box<dyn Fitted>)> = None;
        let said: Vec<Option<Prediction>> = (0..past.cuts.len())
            .map(|index| {
                if index % every != 0 {
                    return None;
                }
                let known = past.history.first(past.cuts[index]);
                let fold = past.fold(index);
                if fitted.as_ref().is_none_or(|(made, _)| *made != fold)
                    && let Ok(fresh) = model.fit(&known, past.horizon)
                {
                    fitted = Some((fold, fresh));
                }
                let (_, fitted) = fitted.as_ref()?;
                fitted.predict(&known, past.horizon, past.levels).ok().filter(|said| is_sane(said, past))
            })
            .collect();
        said.iter().any(Option::is_some).then_some(Self { model: model.name().to_owned(), said, every })
    }

    /// Whether the model needs no dressing.
    pub fn gives_quantiles(&self) -> bool {
        self.said.iter().flatten().any(|said| matches!(said, Prediction::Quantiles(_)))
    }

    /// `errors[reach][level]`, learned from all origins outside part `without`.
    pub fn errors(&self, past: &Past<'_>, without: Option<usize>) -> Vec<Vec<f64>> {
        let mut missed: Vec<Vec<Weighted>> = vec![Vec::new(); REACHES.len()];
        let mut evidence = vec![Evidence::default(); REACHES.len()];
        let step_seconds = past.history.step_seconds;
        for (index, said) in self.said.iter().enumerate() {
            let Some(Prediction::Path(path)) = said else { continue };
            if without == Some(past.fold(index)) {
                continue;
            }
            let weight = past.weight(index);
            for (step, value) in path.iter().take(past.realised(index)).enumerate() {
                let at = past.cuts[index] + step;
                if past.history.observed[at] {
                    let value = past.history.values[at] - value;
                    let censored = past.history.saturated[at];
                    let reach = reach_of(step, step_seconds);
                    missed[reach].push(Weighted { value, weight, censored });
                    evidence[reach].add(index, past.cuts[index], weight);
                }
            }
        }
        let ranges = missed.into_iter().zip(&evidence).enumerate().map(|(reach, (mut values, evidence))| {
            // One miss has no spread: it would pass for certainty. The nearest range speaks for it, widened.
            if evidence.origins < LEAST_ORIGINS && reach > 0 {
                return None;
            }
            let seen = evidence.independent(reach, step_seconds);
            let found = quantiles(&mut values, past.levels)?;
            let middle = quantiles(&mut values, &[0.5])?[0];
            Some(found.into_iter().map(|value| middle + (value - middle) * small_sample(seen)).collect())
        });
        fill_reaches(ranges.collect(), past.levels)
    }

    /// The quantiles at origin `index`, with a path dressed by `errors`.
    pub fn dressed(&self, past: &Past<'_>, index: usize, errors: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
        dress(self.said.get(index)?.as_ref()?, errors, past.levels.len(), past.history.step_seconds)
    }
}

/// How many origins an error range rests on, and over which span of steps.
#[derive(Debug, Clone, Default)]
struct Evidence {
    origins: usize,
    last: Option<usize>,
    first_cut: usize,
    last_cut: usize,
    sum: f64,
    squares: f64,
}

impl Evidence {
    fn add(&mut self, origin: usize, cut: usize, weight: f64) {
        if self.last == Some(origin) {
            return;
        }
        if self.last.is_none() {
            self.first_cut = cut;
        }
        self.origins += 1;
        (self.last, self.last_cut) = (Some(origin), cut);
        self.sum += weight;
        self.squares += weight * weight;
    }

    /// Between the number of origins (weights considered) and the number of windows of this reach that fit side by side
    /// into the span: overlapping windows miss together, but not in all things. The geometric mean of the two.
    fn independent(&self, reach: usize, step_seconds: u32) -> f64 {
        let span = (self.last_cut - self.first_cut) as f64 * f64::from(step_seconds);
        let side_by_side = 1.0 + span / REACHES[reach].min(DAY) as f64;
        if self.squares <= 0.0 {
            return 1.0;
        }
        let origins = self.sum * self.sum / self.squares;
        if origins <= side_by_side { origins } else { (origins * side_by_side).sqrt() }
    }
}

/// How much wider quantiles must be when they rest on few observations: about what Student's t with an estimated mean asks
/// for at 90 % (3.6 for one observation, 1.29 for five, 1.07 for twenty).
fn small_sample(count: f64) -> f64 {
    1.0 + 1.3 / (count.max(1.0) - 0.5)
}

/// The seconds ahead that stand for a range.
fn middle_of(reach: usize) -> f64 {
    let from = if reach == 0 { 0 } else { REACHES[reach - 1] };
    (from as f64 + REACHES[reach].min(DAY) as f64) / 2.0
}

/// Ranges nothing was measured in: the last one measured before, widened as a random walk would (with the square root of
/// time), for it was not seen how the error grows; before the first one, the first.
fn fill_reaches(mut table: Vec<Option<Vec<f64>>>, levels: &[f64]) -> Vec<Vec<f64>> {
    for index in 1..table.len() {
        if table[index].is_none()
            && let Some(before) = &table[index - 1]
        {
            let growth = (middle_of(index) / middle_of(index - 1)).sqrt();
            let middle = levels.iter().position(|level| *level >= 0.5 - 1e-9).unwrap_or(levels.len() - 1);
            let centre = before[middle];
            table[index] = Some(before.iter().map(|value| centre + (value - centre) * growth).collect());
        }
    }
    for index in (0..table.len().saturating_sub(1)).rev() {
        if table[index].is_none() {
            table[index] = table[index + 1].clone();
        }
    }
    if table.iter().any(Option::is_none) { Vec::new() } else { table.into_iter().flatten().collect() }
}

/// Quantiles of a prediction: its own, or its path plus the errors it used to make.
pub(crate) fn dress(said: &Prediction, errors: &[Vec<f64>], levels: usize, step_seconds: u32) -> Option<Vec<Vec<f64>>> {
    match said {
        Prediction::Quantiles(paths) => Some(paths.clone()),
        Prediction::Path(path) => {
            if errors.len() != REACHES.len() || errors.iter().any(|of_level| of_level.len() != levels) {
                return None;
            }
            let quantile = |level: usize| {
                path.iter()
                    .enumerate()
                    .map(|(step, value)| (value + errors[reach_of(step, step_seconds)][level]).max(0.0))
                    .collect()
            };
            Some((0..levels).map(quantile).collect())
        }
    }
}

/// Right shape, all finite.
fn is_sane(said: &Prediction, past: &Past<'_>) -> bool {
    let sane = |path: &Vec<f64>| path.len() == past.horizon && path.iter().all(|value| value.is_finite());
    match said {
        Prediction::Path(path) => sane(path),
        Prediction::Quantiles(paths) => paths.len() == past.levels.len() && paths.iter().all(sane),
    }
}

/// Per band: the sum of mean pinball losses, and the number of steps.
pub(crate) type Losses = [(f64, f64); 3];

/// Losses of `quantiles` made at origin `index`.
///
/// A lower bound is charged only where it already exceeds the quantile: beyond it nothing is known.
pub(crate) fn losses(past: &Past<'_>, index: usize, quantiles: &[Vec<f64>]) -> Losses {
    let mut sums = [(0.0, 0.0); 3];
    for step in 0..past.realised(index) {
        let at = past.cuts[index] + step;
        if !past.history.observed[at] {
            continue;
        }
        let actual = past.history.values[at];
        let mut loss = 0.0;
        for (level, path) in past.levels.iter().zip(quantiles) {
            if !(past.history.saturated[at] && path[step] >= actual) {
                loss += pinball(*level, path[step], actual);
            }
        }
        let sum = &mut sums[band_of(step, past.history.step_seconds).index()];
        sum.0 += loss / past.levels.len() as f64;
        sum.1 += 1.0;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Grid;
    use crate::series::Series;

    fn cuts(steps: usize) -> Vec<usize> {
        let grid = Grid::new(&Series::new(0, 900, vec![Some(1.0); steps]), u64::MAX).unwrap();
        Past::new(grid.all(), &Options::default()).cuts
    }

    #[test]
    fn origins_lie_in_the_known_part_in_order() {
        for steps in [2, 3, 10, 96, 130, 200, 1_000, 5_000] {
            let cuts = cuts(steps);
            assert!(cuts.windows(2).all(|pair| pair[0] < pair[1]), "{steps}: {cuts:?}");
            assert!(cuts.iter().all(|cut| (1..steps).contains(cut)), "{steps}: {cuts:?}");
            assert!(!cuts.is_empty());
        }
        assert!(cuts(200)[0] >= 96 && cuts(5_000)[0] == 5_000 - 14 * 96);
    }

    #[test]
    fn few_observations_widen() {
        let widths = [1.0, 2.0, 5.0, 20.0, 1_000.0].map(small_sample);
        assert!(widths.windows(2).all(|pair| pair[0] > pair[1]) && widths[4] > 1.0 && widths[4] < 1.01, "{widths:?}");
    }

    #[test]
    fn what_was_not_measured_is_wider_than_what_was() {
        let mut table = vec![None; REACHES.len()];
        table[1] = Some(vec![-2.0, 1.0, 4.0]);
        let filled = fill_reaches(table, &[0.1, 0.5, 0.9]);
        assert_eq!(filled[0], vec![-2.0, 1.0, 4.0]);
        assert!(filled.windows(2).skip(1).all(|pair| pair[1][2] > pair[0][2] && pair[1][0] < pair[0][0]));
        assert!(filled.iter().all(|errors| errors[1] == 1.0));
        assert!(fill_reaches(vec![None; REACHES.len()], &[0.1, 0.5, 0.9]).is_empty());
    }
}
