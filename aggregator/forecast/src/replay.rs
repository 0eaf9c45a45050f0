//! Replaying the past: what models said at past origins, and what they missed.

use crate::history::{DAY, Grid, History};
use crate::model::Prediction;
use crate::quantile::{Weighted, pinball, quantiles};
use crate::shift::{self, BEFORE_SHIFT};
use crate::types::Band;

/// An origin counts half after this time.
const HALF_LIFE_SECONDS: f64 = 7.0 * DAY as f64;
/// Into how many parts origins are dealt so that none is judged by its own errors.
pub(crate) const FOLDS: usize = 5;
/// Upper edges, in seconds ahead, of the ranges over which errors are pooled.
const REACHES: [u64; 11] = [900, 1_800, 2_700, 3_600, 5_400, 7_200, 10_800, 21_600, 43_200, 64_800, u64::MAX];
/// Steps kept of a prediction per range: neighbours miss together, so more cost memory and say little.
const KEPT_PER_REACH: usize = 4;
/// Origins whose misses make a spread.
const LEAST_ORIGINS: usize = 3;

pub(crate) fn reach_of(step: usize, step_seconds: u32) -> usize {
    let ahead = step as u64 * u64::from(step_seconds);
    REACHES.iter().position(|edge| ahead < *edge).unwrap_or(REACHES.len() - 1)
}

pub(crate) fn band_of(step: usize, step_seconds: u32) -> Band {
    Band::of(step as u64 * u64::from(step_seconds))
}

/// The steps of a horizon that are kept of what was said, ascending: a few of every range.
pub(crate) fn kept_steps(horizon: usize, step_seconds: u32) -> Vec<usize> {
    let mut kept = Vec::new();
    let mut from = 0;
    while from < horizon {
        let reach = reach_of(from, step_seconds);
        let count = (from..horizon).take_while(|step| reach_of(*step, step_seconds) == reach).count();
        let take = count.min(KEPT_PER_REACH);
        kept.extend((0..take).map(|index| from + (2 * index + 1) * count / (2 * take)));
        from += count;
    }
    kept
}

/// How many steps each kept one stands for: those of its range, shared.
fn stands_for(steps: &[usize], step_seconds: u32) -> Vec<f64> {
    let edge = |reach: usize| REACHES[reach].min(DAY) as f64 / f64::from(step_seconds.max(1));
    let share = |step: &usize| {
        let reach = reach_of(*step, step_seconds);
        let kept = steps.iter().filter(|other| reach_of(**other, step_seconds) == reach).count();
        let from = if reach == 0 { 0.0 } else { edge(reach - 1) };
        ((edge(reach) - from) / kept.max(1) as f64).max(1.0)
    };
    steps.iter().map(share).collect()
}

/// Days over which it is looked how restless the hours are.
const RESTLESS_DAYS: usize = 14;
/// Hours of a day.
const HOURS: usize = 24;

/// How much the load of each hour of the day differs from the day before, 1 on average; all 1 while there are no three days.
fn restless(history: &History<'_>) -> Vec<f64> {
    let Some(day) = history.day().filter(|day| history.len() >= 3 * day) else { return vec![1.0; HOURS] };
    let from = history.len().saturating_sub(RESTLESS_DAYS * day).max(day);
    let mut moves: Vec<(usize, f64)> = Vec::new();
    for at in from..history.len() {
        if history.observed[at] && history.observed[at - day] {
            let hour = hour_of(history.start + at as i64 * i64::from(history.step_seconds));
            moves.push((hour, (history.values[at] - history.values[at - day]).abs()));
        }
    }
    let mean = moves.iter().map(|(_, moved)| moved).sum::<f64>() / moves.len().max(1) as f64;
    if mean <= 0.0 {
        return vec![1.0; HOURS];
    }
    let mut hours = vec![(0.0, 0.0); HOURS];
    for (hour, moved) in moves {
        hours[hour].0 += moved.min(4.0 * mean);
        hours[hour].1 += 1.0;
    }
    let own: Vec<f64> = hours.iter().map(|(sum, count)| if *count > 0.0 { sum / count / mean } else { 1.0 }).collect();
    let smooth = |hour: usize| {
        let around = (own[(hour + 23) % HOURS] + 2.0 * own[hour] + own[(hour + 1) % HOURS]) / 4.0;
        around.clamp(0.1, 10.0)
    };
    let smooth: Vec<f64> = (0..HOURS).map(smooth).collect();
    let mean = smooth.iter().sum::<f64>() / HOURS as f64;
    smooth.iter().map(|own| own / mean).collect()
}

fn hour_of(unix_s: i64) -> usize {
    unix_s.div_euclid(3_600).rem_euclid(HOURS as i64) as usize
}

/// How restless the load is at a time; 1 where nothing is known.
pub(crate) fn restless_at(restless: &[f64], unix_s: i64) -> f64 {
    restless.get(hour_of(unix_s)).copied().unwrap_or(1.0)
}

/// What a model said at one origin, at the kept steps: single precision beside a scale of its own.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Said {
    scale: f64,
    levels: usize,
    /// One path, or one per level behind each other.
    values: Box<[f32]>,
}

impl Said {
    /// `None` when it has the wrong shape or is not finite.
    pub fn keep(said: &Prediction, steps: &[usize], horizon: usize, levels: usize) -> Option<Self> {
        let sane = |path: &Vec<f64>| path.len() == horizon && path.iter().all(|value| value.is_finite());
        let paths = match said {
            Prediction::Path(path) => std::slice::from_ref(path),
            Prediction::Quantiles(paths) => paths.as_slice(),
        };
        let levels = if matches!(said, Prediction::Path(_)) { 0 } else { levels };
        if !paths.iter().all(sane) || levels > 0 && paths.len() != levels {
            return None;
        }
        let kept = || paths.iter().flat_map(|path| steps.iter().map(|step| path[*step]));
        let largest = kept().fold(0.0_f64, |largest, value| largest.max(value.abs()));
        let scale = if largest > 0.0 { largest } else { 1.0 };
        Some(Self { scale, levels, values: kept().map(|value| (value / scale) as f32).collect() })
    }

    /// As a prediction of the kept steps alone.
    pub fn prediction(&self) -> Prediction {
        let value = |value: &f32| f64::from(*value) * self.scale;
        match self.levels {
            0 => Prediction::Path(self.values.iter().map(value).collect()),
            levels => {
                let length = self.values.len() / levels;
                let path = |path: &[f32]| path.iter().map(value).collect();
                Prediction::Quantiles(self.values.chunks(length.max(1)).map(path).collect())
            }
        }
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.values)
    }
}

/// The past that is judged: a history, and the origins as numbers of steps known, oldest first.
#[derive(Debug)]
pub(crate) struct Past<'a> {
    pub history: History<'a>,
    pub cuts: Vec<usize>,
    /// The steps ahead that were kept.
    pub steps: &'a [usize],
    /// How many steps of the horizon each of them stands for.
    pub stands: Vec<f64>,
    /// How restless the load is by hour of the day, 1 on average.
    pub restless: Vec<f64>,
    /// Origins before this step count less: the level was another one.
    pub shift: usize,
    pub levels: &'a [f64],
}

impl<'a> Past<'a> {
    /// Only origins that have begun to come true count.
    pub fn new(grid: &'a Grid, length: usize, origins: &[usize], steps: &'a [usize], levels: &'a [f64]) -> Self {
        let history = grid.first(length);
        let cuts = origins.iter().copied().filter(|cut| *cut < history.len()).collect();
        Self {
            history,
            cuts,
            steps,
            stands: stands_for(steps, history.step_seconds),
            restless: restless(&history),
            shift: shift::newest(&history).unwrap_or(0),
            levels,
        }
    }

    /// How many of the kept steps have come true since origin `index`.
    pub fn realised(&self, index: usize) -> usize {
        self.steps.partition_point(|step| self.cuts[index] + step < self.history.len())
    }

    /// The part an origin belongs to; parts are contiguous in time.
    pub fn fold(&self, index: usize) -> usize {
        index * FOLDS / self.cuts.len().max(1)
    }

    /// How much an origin counts: the older, the less.
    pub fn weight(&self, index: usize) -> f64 {
        let age = (self.history.len() - self.cuts[index]) as f64 * f64::from(self.history.step_seconds);
        let shifted = if self.cuts[index] < self.shift { BEFORE_SHIFT } else { 1.0 };
        shifted * (-age / HALF_LIFE_SECONDS).exp2()
    }

    /// How restless the load is at this place of the history.
    pub fn restless_at(&self, at: usize) -> f64 {
        restless_at(&self.restless, self.history.start + at as i64 * i64::from(self.history.step_seconds))
    }

    /// The kept steps since origin `index` that were observed: position among the kept ones, step ahead, and place.
    pub fn seen(&self, index: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        let cut = self.cuts[index];
        let realised = self.steps[..self.realised(index)].iter().enumerate();
        realised.map(move |(kept, step)| (kept, *step, cut + step)).filter(|(.., at)| self.history.observed[*at])
    }
}

/// What one model said at each origin.
#[derive(Debug)]
pub(crate) struct Replay {
    pub model: String,
    pub said: Vec<Option<Prediction>>,
    /// Where it was asked; a dear model is not asked everywhere.
    pub asked: Vec<bool>,
}

impl Replay {
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
            for (kept, step, at) in past.seen(index) {
                let value = (past.history.values[at] - path[kept]) / past.restless_at(at);
                let censored = past.history.saturated[at];
                let reach = reach_of(step, step_seconds);
                missed[reach].push(Weighted { value, weight, censored });
                evidence[reach].add(index, past.cuts[index], weight);
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
        let step_seconds = i64::from(past.history.step_seconds);
        let origin = past.history.start + past.cuts[index] as i64 * step_seconds;
        let wide = |step: &usize| restless_at(&past.restless, origin + *step as i64 * step_seconds);
        let wide: Vec<f64> = past.steps.iter().map(wide).collect();
        dress(self.said.get(index)?.as_ref()?, errors, &wide, past.levels.len(), past.steps, past.history.step_seconds)
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
pub(crate) fn small_sample(count: f64) -> f64 {
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

/// Quantiles of a prediction of `steps`: its own, or its path plus the errors it used to make.
pub(crate) fn dress(
    said: &Prediction,
    errors: &[Vec<f64>],
    wide: &[f64],
    levels: usize,
    steps: &[usize],
    step_seconds: u32,
) -> Option<Vec<Vec<f64>>> {
    match said {
        Prediction::Quantiles(paths) => Some(paths.clone()),
        Prediction::Path(path) => {
            if errors.len() != REACHES.len() || errors.iter().any(|of_level| of_level.len() != levels) {
                return None;
            }
            let reaches: Vec<usize> = steps.iter().map(|step| reach_of(*step, step_seconds)).collect();
            let quantile = |level: usize| {
                path.iter()
                    .zip(reaches.iter().zip(wide))
                    .map(|(value, (reach, wide))| (value + wide * errors[*reach][level]).max(0.0))
                    .collect()
            };
            Some((0..levels).map(quantile).collect())
        }
    }
}

/// Per band: the sum of mean pinball losses, and the number of steps.
pub(crate) type Losses = [(f64, f64); 3];

/// Losses of `quantiles` made at origin `index`.
///
/// A lower bound is charged only where it already exceeds the quantile: beyond it nothing is known.
pub(crate) fn losses(past: &Past<'_>, index: usize, quantiles: &[Vec<f64>]) -> Losses {
    let mut sums = [(0.0, 0.0); 3];
    for (kept, step, at) in past.seen(index) {
        let actual = past.history.values[at];
        let mut loss = 0.0;
        for (level, path) in past.levels.iter().zip(quantiles) {
            if !(past.history.saturated[at] && path[kept] >= actual) {
                loss += pinball(*level, path[kept], actual);
            }
        }
        let sum = &mut sums[band_of(step, past.history.step_seconds).index()];
        // A step that stands for many counts as many.
        sum.0 += past.stands[kept] * loss / past.levels.len() as f64;
        sum.1 += past.stands[kept];
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_steps_are_kept_whole_and_far_ones_thinned() {
        assert_eq!(kept_steps(24, 3_600).len(), 18);
        let kept = kept_steps(288, 300);
        assert!(kept.windows(2).all(|pair| pair[0] < pair[1]) && kept[..12] == (0..12).collect::<Vec<_>>());
        assert!(kept.len() <= 44 && *kept.last().unwrap() > 270, "{kept:?}");
        assert_eq!(kept_steps(1, 300), [0]);
    }

    #[test]
    fn what_was_said_is_kept_well_enough_and_nonsense_is_not() {
        let said = Prediction::Quantiles(vec![vec![1e90, 2e90, 3.0], vec![4e90, 5e90, 6e90]]);
        let kept = Said::keep(&said, &[0, 2], 3, 2).unwrap();
        let Prediction::Quantiles(paths) = kept.prediction() else { panic!("quantiles") };
        assert!((paths[1][1] / 6e90 - 1.0).abs() < 1e-6 && (paths[0][0] / 1e90 - 1.0).abs() < 1e-6, "{paths:?}");
        assert!(Said::keep(&said, &[0], 3, 3).is_none() && Said::keep(&said, &[0], 2, 2).is_none());
        assert!(Said::keep(&Prediction::Path(vec![f64::NAN]), &[0], 1, 2).is_none());
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
