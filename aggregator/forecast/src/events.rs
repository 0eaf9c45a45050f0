//! Events: load that is known ahead, because somebody announced it.
//!
//! An occurrence acts on a forecast in two places, and on what is scored in none:
//! - [`ordinary`] takes it out of the history. What was measured while it lasted is set aside, so that no model repeats
//!   yesterday's sale tomorrow, and neither coverage nor trust is judged by an intensity that a person guessed. While less than
//!   a day of ordinary history remains, there is nothing better to learn from: then values are divided by the intensity.
//! - [`raise`] puts it onto the forecast the models made: each quantile of each step it touches is multiplied, so that the
//!   interval widens in proportion. Never below the path without it.
//!
//! Models that take events as regressors (ARIMA) say what share of the announced addition came true when the event took place before
//! ([`Response`]). It is never in their paths: the forecast carries it beside them ([`Learned`], the mixture's as far as those models have a share of
//! it), and [`raise`] alone applies it. So no event counts twice, and one that is announced now is on the forecast at once.
//!
//! Where occurrences overlap the highest intensity holds, not the product: an event that was entered twice, or once for all
//! groups and once for one, then means what each of its authors wrote.

use std::collections::BTreeMap;
use std::sync::Arc;

use distrs::Normal;
use serde::{Deserialize, Serialize};

use crate::history::DAY;
use crate::selection::share_at;
use crate::series::{Announced, Series};
use crate::types::Forecast;

/// One time an event takes place. Times are Unix seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Occurrence {
    /// Which event, by its number.
    pub event: i64,
    /// What people call the event.
    pub name: Arc<str>,
    /// Demand begins to climb here, at `starts` or before.
    pub rises: i64,
    /// The whole intensity holds from here.
    pub starts: i64,
    /// And up to here, exclusive.
    pub ends: i64,
    /// Demand over demand without the event; 1 or less changes nothing.
    pub intensity: f64,
    /// It was taken back at `ends`: it explains the history up to there, and raises nothing.
    pub deleted: bool,
}

impl Occurrence {
    /// Whether any of `[from, to)` lies within the climb or the event.
    pub fn overlaps(&self, from: i64, to: i64) -> bool {
        self.rises < self.ends && self.rises < to && from < self.ends && from < to
    }

    /// The highest factor within `[from, to)`, at least 1. It climbs in a straight line from `rises` to `starts`.
    pub fn highest(&self, from: i64, to: i64) -> f64 {
        if !self.overlaps(from, to) || !self.intensity.is_finite() {
            return 1.0;
        }
        let most = (self.intensity - 1.0).max(0.0);
        if to > self.starts {
            return 1.0 + most;
        }
        let climb = self.starts.saturating_sub(self.rises).max(1) as f64;
        1.0 + most * (to.saturating_sub(self.rises) as f64 / climb).clamp(0.0, 1.0)
    }
}

/// What a model that takes events as regressors learned of one: so much of what was announced to be added came true.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Response {
    /// Which event, by its number.
    pub event: i64,
    /// 1: as announced; 0: nothing happened; 2: twice as much was added.
    pub share: f64,
    /// How well that is known: a standard deviation.
    pub deviation: f64,
}

/// The same of a mixture of models, by band: the members that learned nothing of the event expect it as announced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// Which event, by its number.
    pub event: i64,
    /// See [`Response::share`].
    pub shares: [f64; 3],
    /// See [`Response::deviation`].
    pub deviations: [f64; 3],
}

impl Learned {
    /// What models with these weights by band say of each event that any of them learned something of.
    pub(crate) fn mix(said: &[(Vec<Response>, [f64; 3])]) -> Vec<Self> {
        let mut learned: BTreeMap<i64, Self> = BTreeMap::new();
        let whole: [f64; 3] = std::array::from_fn(|band| said.iter().map(|(_, weights)| weights[band]).sum());
        for (responses, weights) in said {
            for response in responses {
                let event = response.event;
                let fresh = || Self { event, shares: [1.0; 3], deviations: [0.0; 3] };
                let learned = learned.entry(event).or_insert_with(fresh);
                for band in 0..3 {
                    let weight = weights[band] / whole[band].max(f64::MIN_POSITIVE);
                    learned.shares[band] += weight * (response.share - 1.0);
                    learned.deviations[band] += weight * response.deviation;
                }
            }
        }
        learned.into_values().collect()
    }

    /// What an announced factor comes to at a level of the normal distribution, `step` steps ahead; at least 1.
    fn factor(&self, announced: f64, level: f64, step: usize, step_seconds: u32) -> f64 {
        let at = |of: &[f64; 3]| share_at(of, step, step_seconds);
        let share = at(&self.shares) + level * at(&self.deviations);
        1.0 + (announced - 1.0) * share.max(0.0)
    }
}

/// The forecast with every occurrence that falls within it; a step that is touched is raised whole, since within a step it is
/// the maximum that hurts. Model, trust and measured coverage stay those of the forecast that was given.
pub fn raise(forecast: &Forecast, occurrences: &[Occurrence]) -> Forecast {
    let steps = forecast.paths.iter().map(Vec::len).max().unwrap_or_default();
    let (start, step_seconds) = (forecast.start, forecast.step_seconds);
    let learned = |event: i64| forecast.learned.iter().find(|learned| learned.event == event);
    let here = || occurrences.iter().filter(|one| !one.deleted);
    let typed = factors(start, step_seconds, steps, here().filter(|one| learned(one.event).is_none()));
    let known: Vec<(&Learned, Vec<f64>)> = forecast
        .learned
        .iter()
        .map(|learned| (learned, factors(start, step_seconds, steps, here().filter(|one| one.event == learned.event))))
        .collect();
    let mut raised = forecast.clone();
    for (path, level) in raised.paths.iter_mut().zip(&forecast.levels) {
        let level = if known.is_empty() { 0.0 } else { Normal::ppf(*level, 0.0, 1.0) };
        for (step, (value, typed)) in path.iter_mut().zip(&typed).enumerate() {
            let of = |(learned, announced): &(&Learned, Vec<f64>)| match announced[step] {
                announced if announced > 1.0 => learned.factor(announced, level, step, step_seconds),
                _ => 1.0,
            };
            *value *= known.iter().map(of).fold(*typed, f64::max);
        }
    }
    raised
}

/// The history as if no event had been: see the head of this module.
pub fn ordinary(mut series: Series, occurrences: &[Occurrence]) -> Series {
    let factors = factors(series.start, series.step_seconds, series.values.len(), occurrences.iter());
    let is_event = |index: usize| factors.get(index).is_some_and(|factor| *factor > 1.0);
    if !(0..series.values.len()).any(is_event) {
        return series;
    }
    let rest = (0..series.values.len()).filter(|index| series.value(*index).is_some() && !is_event(*index)).count();
    if rest as u64 * u64::from(series.step_seconds) >= DAY {
        series.set_aside = (0..series.values.len()).map(is_event).collect();
        series.announced = announced(series.start, series.step_seconds, series.values.len(), occurrences);
    } else {
        for (value, factor) in series.values.iter_mut().zip(&factors) {
            *value = value.map(|value| value / factor);
        }
    }
    series
}

/// What was announced for each step that one event alone touches.
fn announced(start: i64, step_seconds: u32, steps: usize, occurrences: &[Occurrence]) -> Vec<Option<Announced>> {
    let mut of_event: BTreeMap<i64, Vec<&Occurrence>> = BTreeMap::new();
    occurrences.iter().for_each(|one| of_event.entry(one.event).or_default().push(one));
    let mut announced: Vec<Option<Announced>> = vec![None; steps];
    let mut several = vec![false; steps];
    for (event, occurrences) in of_event {
        let factors = factors(start, step_seconds, steps, occurrences.into_iter());
        for ((factor, known), several) in factors.into_iter().zip(&mut announced).zip(&mut several) {
            if factor > 1.0 {
                *several |= known.is_some();
                *known = Some(Announced { event, factor }).filter(|_| !*several);
            }
        }
    }
    announced
}

/// The highest factor within each step of a grid.
fn factors<'a>(
    start: i64,
    step_seconds: u32,
    steps: usize,
    occurrences: impl Iterator<Item = &'a Occurrence>,
) -> Vec<f64> {
    let step = i64::from(step_seconds.max(1));
    let mut factors = vec![1.0_f64; steps];
    for occurrence in occurrences {
        let index = |at: i64| usize::try_from(at.saturating_sub(start).div_euclid(step)).unwrap_or_default();
        let touched = index(occurrence.rises)..index(occurrence.ends.saturating_sub(1)).saturating_add(1).min(steps);
        for index in touched {
            let from = start + step * index as i64;
            if let Some(factor) = factors.get_mut(index) {
                *factor = factor.max(occurrence.highest(from, from + step));
            }
        }
    }
    factors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Trust;

    fn sale(rises: i64, starts: i64, ends: i64, intensity: f64) -> Occurrence {
        Occurrence { event: 1, name: "sale".into(), rises, starts, ends, intensity, deleted: false }
    }

    fn forecast() -> Forecast {
        Forecast {
            start: 6_000,
            step_seconds: 300,
            levels: vec![0.1, 0.5, 0.9],
            paths: vec![vec![10.0; 12], vec![15.0; 12], vec![20.0; 12]],
            model: "level".into(),
            trained_at: 6_000,
            trust: Trust { score: 0.5, ..Trust::default() },
            coverage: Vec::new(),
            history_seconds: 0,
            windows: Vec::new(),
            learned: Vec::new(),
        }
    }

    #[test]
    fn every_step_that_is_touched_is_raised_whole_and_no_other() {
        // One second of the third step, all of the fourth, one second of the fifth.
        let raised = raise(&forecast(), &[sale(6_899, 6_899, 7_201, 3.0)]);
        assert_eq!(raised.paths[1], [15., 15., 45., 45., 45., 15., 15., 15., 15., 15., 15., 15.]);
        assert_eq!(raised.paths[2][3] - raised.paths[0][3], 30.0, "the interval widens in proportion");
        assert_eq!((raised.trust, raised.start), (forecast().trust, 6_000));
    }

    #[test]
    fn demand_climbs_in_a_straight_line_before_the_start() {
        let raised = raise(&forecast(), &[sale(6_300, 7_500, 8_100, 5.0)]);
        assert_eq!(raised.paths[0][..8], [10., 20., 30., 40., 50., 50., 50., 10.]);
    }

    #[test]
    fn where_events_overlap_the_highest_holds_however_often_it_was_entered() {
        let all = [sale(0, 0, 9_000, 1.5), sale(0, 0, 9_000, 3.0), sale(0, 0, 9_000, 3.0)];
        assert_eq!(raise(&forecast(), &all).paths[0], [30.; 10].into_iter().chain([10.; 2]).collect::<Vec<_>>());
    }

    #[test]
    fn an_event_longer_than_the_horizon_raises_all_of_it_and_one_elsewhere_nothing() {
        assert_eq!(raise(&forecast(), &[sale(0, 0, i64::MAX, 2.0)]).paths[0], [20.0; 12]);
        assert_eq!(raise(&forecast(), &[sale(i64::MIN, i64::MIN, i64::MAX, 2.0)]).paths[0], [20.0; 12]);
        for elsewhere in [(0, 6_000), (9_600, 9_900), (7_000, 7_000), (7_500, 7_000)] {
            let elsewhere = sale(elsewhere.0, elsewhere.0, elsewhere.1, 9.0);
            assert_eq!(raise(&forecast(), &[elsewhere]), forecast());
        }
        let deleted = Occurrence { deleted: true, ..sale(0, 0, 7_000, 9.0) };
        assert_eq!(raise(&forecast(), std::slice::from_ref(&deleted)), forecast(), "not even the step it ended in");
        let history = Series::new(0, 60, vec![Some(6.0); 2_000]);
        assert!(ordinary(history, &[deleted]).is_set_aside(100), "what had taken place did");
        for odd in [1.0, 0.5, -3.0, f64::NAN, f64::INFINITY] {
            assert_eq!(raise(&forecast(), &[sale(0, 0, 9_000, odd)]), forecast(), "{odd}");
        }
    }

    #[test]
    fn history_within_events_is_set_aside_once_there_is_a_day_of_other() {
        let series = Series::new(0, 60, vec![Some(6.0); 1_500]);
        let seen = ordinary(series.clone(), &[sale(0, 600, 3_600, 3.0)]);
        assert_eq!(seen.values, series.values);
        assert!((0..1_500).all(|minute| seen.is_set_aside(minute) == (minute < 60)));
        assert_eq!(ordinary(series.clone(), &[sale(90_000, 90_000, 99_000, 3.0)]), series);
    }

    #[test]
    fn a_young_history_is_divided_by_what_was_announced() {
        let series = Series::new(0, 60, vec![Some(6.0); 1_400]);
        let seen = ordinary(series, &[sale(0, 0, 3_600, 3.0)]);
        assert!(seen.set_aside.is_empty());
        assert!((0..1_400).all(|minute| seen.values[minute] == Some(if minute < 60 { 2.0 } else { 6.0 })));
    }
}
