//! The view a model gets of the past: one regular grid, gaps filled causally, nothing after the origin.
//!
//! Filling uses only what came before the gap (the same time a day or a week earlier, else the last value), so that the
//! grid up to any past origin is exactly the grid that would have been built at that origin. Replaying the past over one
//! grid is therefore free of leaks.

use std::ops::Range;

use crate::quantile::median;
use crate::series::{Announced, Series};

/// A day, in seconds.
pub const DAY: u64 = 86_400;
/// A week, in seconds.
pub const WEEK: u64 = 7 * DAY;

/// The load beneath an event is at most this many times that of the earlier day it is taken from, or that part of it: an hour
/// that fell silent, or began to climb ahead of the event, does not decide for a whole day.
const MOST_GROWN: f64 = 2.0;

/// A filled grid that owns its values.
#[derive(Debug, Clone)]
pub struct Grid {
    start: i64,
    step_seconds: u32,
    values: Vec<f64>,
    observed: Vec<bool>,
    saturated: Vec<bool>,
    set_aside: Vec<bool>,
    /// Where one event alone made a value; empty where none did anywhere.
    happened: Vec<Option<Happened>>,
    /// What was measured where a value was capped, by position.
    wild: Vec<(usize, f64)>,
}

impl Grid {
    /// The newest `cap_seconds` of a series, beginning at its first observation; `None` when nothing was observed.
    pub fn new(series: &Series, cap_seconds: u64) -> Option<Self> {
        let step = series.step_seconds.max(1);
        let cap = (cap_seconds / u64::from(step)).max(1) as usize;
        let from = series.values.len().saturating_sub(cap);
        let first = (from..series.values.len()).find(|index| ordinary(series, *index).is_some())?;
        let length = series.values.len() - first;
        let mut grid = Self {
            start: series.start + first as i64 * i64::from(step),
            step_seconds: step,
            values: Vec::with_capacity(length),
            observed: Vec::with_capacity(length),
            saturated: Vec::with_capacity(length),
            set_aside: Vec::with_capacity(length),
            happened: Vec::new(),
            wild: Vec::new(),
        };
        let mut event_began = 0;
        let (day, week) = (steps_of(DAY, step), steps_of(WEEK, step));
        let caps = caps(series, first);
        let mut next_cap = caps.iter().peekable();
        for index in first..series.values.len() {
            let at = grid.values.len();
            let own = ordinary(series, index).map(|value| match next_cap.next_if(|(capped, _)| *capped == index) {
                Some((_, cap)) => {
                    grid.wild.push((at, value));
                    *cap
                }
                None => value,
            });
            if !series.is_set_aside(index) {
                event_began = at + 1;
            }
            let earlier = |lag: Option<usize>| lag.and_then(|lag| at.checked_sub(lag)).map(|past| grid.values[past]);
            // Short gaps hold the last value; longer ones follow the season.
            let short = (at.saturating_sub(short_gap(step))..at).any(|past| grid.observed[past]);
            let held = grid.values.last().copied();
            let seasonal = || earlier(day).or_else(|| earlier(week)).or(held);
            let filled = if series.is_set_aside(index) {
                grid.without_event(event_began).or(held)
            } else if short {
                held
            } else {
                seasonal()
            };
            grid.values.push(own.or(filled).unwrap_or(0.0));
            grid.observed.push(own.is_some());
            grid.saturated.push(own.is_some() && series.is_saturated(index));
            grid.set_aside.push(series.is_set_aside(index) && series.value(index).is_some());
            if !series.announced.is_empty() {
                let of = |(announced, measured)| Happened { announced, measured };
                let seen = series.value(index).filter(|_| series.is_set_aside(index) && !series.is_saturated(index));
                grid.happened.push(series.announced(index).zip(seen).map(of));
            }
        }
        Some(grid)
    }

    /// Shows the newest `window` steps of what was known after the first `length` to `see`.
    ///
    /// The newest value may be the start of a surge: it is believed however wild it is, for too many machines are a lesser
    /// evil than too few.
    pub fn known<T>(&self, length: usize, window: usize, see: impl FnOnce(&History<'_>) -> T) -> T {
        let history = self.first(length).last(window);
        let newest = history.len().checked_sub(1).zip(length.min(self.values.len()).checked_sub(1));
        let wild = newest.and_then(|(last, at)| {
            let found = self.wild.binary_search_by_key(&at, |(index, _)| *index).ok()?;
            Some((last, self.wild[found].1))
        });
        match wild {
            Some((last, value)) => {
                let mut values = history.values.to_vec();
                values[last] = value;
                see(&History { values: &values, ..history })
            }
            None => see(&history),
        }
    }

    /// What the next step would have been without the event that began at step `began`: the same time on an earlier day that
    /// had none, times how much more the hour before the event had than the same hour of that day. So the load beneath an
    /// event that repeats grows with the group.
    ///
    /// The same day of the week is asked first, then the newest day, then older ones; `None` without any earlier day.
    fn without_event(&self, began: usize) -> Option<f64> {
        let at = self.values.len();
        let day = steps_of(DAY, self.step_seconds)?;
        let days = std::iter::once(7).chain(1..=at / day).filter(|days| days * day <= at);
        let mut lags = days.map(|days| days * day);
        let lag = lags.clone().find(|lag| self.observed[at - lag]).or_else(|| lags.next())?;
        let hour = (3_600 / self.step_seconds.max(1)).max(1) as usize;
        let before = (began.saturating_sub(hour).max(lag)..began).filter(|past| self.observed[*past]);
        let ratios = before.map(|past| self.values[past] / self.values[past - lag]);
        let grown = median(&mut ratios.filter(|ratio| ratio.is_finite()).collect::<Vec<_>>());
        Some(self.values[at - lag] * grown.unwrap_or(1.0).clamp(1.0 / MOST_GROWN, MOST_GROWN))
    }

    /// What was known after the first `length` steps.
    pub fn first(&self, length: usize) -> History<'_> {
        let length = length.min(self.values.len());
        History {
            start: self.start,
            step_seconds: self.step_seconds,
            values: &self.values[..length],
            observed: &self.observed[..length],
            saturated: &self.saturated[..length],
            set_aside: &self.set_aside[..length],
            happened: &self.happened[..length.min(self.happened.len())],
        }
    }

    /// Everything.
    pub fn all(&self) -> History<'_> {
        self.first(self.values.len())
    }
}

/// The value at `index`, unless an event made it.
fn ordinary(series: &Series, index: usize) -> Option<f64> {
    series.value(index).filter(|_| !series.is_set_aside(index))
}

/// How far back it is looked for what is believed.
const BELIEVED_DAYS: i64 = 28;

/// The values that are not believed, by position, each with what is put in its place: so one wild value cannot move a
/// forecast without bound.
///
/// What was reached about once a week or more often is believed as it is; beyond it, three times its distance from the median.
/// (A single spike still counts as by far the largest value seen; one that repeats or lasts is soon believed whole.) Only
/// values of the four weeks before decide, so a later value changes nothing about an earlier one.
fn caps(series: &Series, from: usize) -> Vec<(usize, f64)> {
    let step = i64::from(series.step_seconds.max(1));
    let day_of = |index: usize| (series.start + index as i64 * step).div_euclid(DAY as i64);
    // (day, first step, steps observed, largest value)
    let mut days: Vec<(i64, usize, usize, f64)> = Vec::new();
    let mut found = Vec::new();
    let mut begin = from;
    while begin < series.values.len() {
        let day = day_of(begin);
        let next_day = (day + 1) * DAY as i64 - series.start;
        let end = usize::try_from((next_day + step - 1).div_euclid(step)).unwrap_or(usize::MAX);
        let end = end.clamp(begin + 1, series.values.len());
        let values = || (begin..end).filter_map(|index| Some((index, ordinary(series, index)?)));
        let (observed, largest) =
            values().fold((0, 0.0_f64), |(count, largest), (_, value)| (count + 1, largest.max(value)));
        let first_kept = days.iter().position(|known| known.0 >= day - BELIEVED_DAYS).unwrap_or(days.len());
        days.drain(..first_kept);
        let before: usize = days.iter().map(|known| known.2).sum();
        let rare = 1 + (before as u64 * u64::from(series.step_seconds.max(1)) / WEEK) as usize;
        // The largest values of so many days were no smaller: nothing to look at.
        let mut tops: Vec<f64> = days.iter().map(|known| known.3).collect();
        tops.sort_by(|a, b| b.total_cmp(a));
        if tops.get(rare).is_none_or(|believed| largest > *believed) {
            let since = days.first().map_or(begin, |known| known.1);
            let mut seen: Vec<f64> = (since..begin).filter_map(|index| ordinary(series, index)).collect();
            let mut middle = median(&mut seen);
            let count = seen.len();
            if !days.is_empty() && count > rare + 1 {
                seen.select_nth_unstable_by(rare, |a, b| b.total_cmp(a));
                seen.truncate(rare + 1);
            }
            seen.sort_by(|a, b| b.total_cmp(a));
            for (index, value) in values() {
                // Within the first day the middle moves with every value.
                if days.is_empty() && value > seen.get(rare).copied().unwrap_or(0.0) {
                    middle = median(&mut seen.clone());
                }
                if let (Some(middle), Some(believed)) = (middle, seen.get(rare).copied())
                    && count.max(seen.len()) > 2 * rare
                    && believed > middle
                    && value > middle + 3.0 * (believed - middle)
                {
                    found.push((index, middle + 3.0 * (believed - middle)));
                }
                seen.insert(seen.partition_point(|known| *known >= value), value);
            }
        }
        days.push((day, begin, observed, largest));
        begin = end;
    }
    found
}

/// Gaps up to a quarter of an hour (at least one step) hold the last value.
fn short_gap(step: u32) -> usize {
    (900 / step.max(1)).max(1) as usize
}

/// How many steps make `seconds`; `None` when the step does not divide it.
pub fn steps_of(seconds: u64, step_seconds: u32) -> Option<usize> {
    let step = u64::from(step_seconds.max(1));
    (seconds.is_multiple_of(step) && seconds >= step).then_some((seconds / step) as usize)
}

/// A borrowed, filled grid that ends at an origin.
#[derive(Debug, Clone, Copy)]
pub struct History<'a> {
    /// Unix seconds of the first value.
    pub start: i64,
    /// Seconds of a step.
    pub step_seconds: u32,
    /// The values, gaps filled; finite and not negative.
    pub values: &'a [f64],
    /// False where a value was filled in.
    pub observed: &'a [bool],
    /// True where a value is only a lower bound.
    pub saturated: &'a [bool],
    /// True where a value was measured and belongs to an event: it is filled in as if it were not there.
    pub set_aside: &'a [bool],
    /// What was measured where one event alone made the load, and what was announced; empty where no event ever did.
    pub happened: &'a [Option<Happened>],
}

/// A measured value that an event made; the grid has in its place what there would have been without it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Happened {
    /// What was announced for it.
    pub announced: Announced,
    /// What was measured, not a mere lower bound.
    pub measured: f64,
}

impl<'a> History<'a> {
    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no step at all.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The first `length` steps.
    pub fn first(&self, length: usize) -> History<'a> {
        let length = length.min(self.values.len());
        History {
            start: self.start,
            step_seconds: self.step_seconds,
            values: &self.values[..length],
            observed: &self.observed[..length],
            saturated: &self.saturated[..length],
            set_aside: &self.set_aside[..length],
            happened: &self.happened[..length.min(self.happened.len())],
        }
    }

    /// The newest `length` steps.
    pub fn last(&self, length: usize) -> History<'a> {
        let from = self.values.len().saturating_sub(length);
        History {
            start: self.start + from as i64 * i64::from(self.step_seconds),
            step_seconds: self.step_seconds,
            values: &self.values[from..],
            observed: &self.observed[from..],
            saturated: &self.saturated[from..],
            set_aside: &self.set_aside[from..],
            happened: &self.happened[from.min(self.happened.len())..],
        }
    }

    /// Unix seconds just after the last step: the origin.
    pub fn end(&self) -> i64 {
        self.start + self.values.len() as i64 * i64::from(self.step_seconds)
    }

    /// Steps that make a day, if they do.
    pub fn day(&self) -> Option<usize> {
        steps_of(DAY, self.step_seconds)
    }

    /// Steps that make a week, if they do.
    pub fn week(&self) -> Option<usize> {
        steps_of(WEEK, self.step_seconds)
    }

    /// Steps within `seconds`, at least one.
    pub fn steps(&self, seconds: u64) -> usize {
        (seconds / u64::from(self.step_seconds.max(1))).max(1) as usize
    }

    /// How many steps were measured, those of events included.
    pub fn measured(&self) -> usize {
        self.observed.iter().zip(self.set_aside).filter(|(observed, aside)| **observed || **aside).count()
    }

    /// Seconds of observations (filled steps not counted).
    pub fn observed_seconds(&self) -> u64 {
        self.observed.iter().filter(|observed| **observed).count() as u64 * u64::from(self.step_seconds)
    }

    /// Steps since anything was measured.
    pub fn trailing_gap(&self) -> usize {
        let steps = self.observed.iter().zip(self.set_aside).rev();
        steps.take_while(|(observed, aside)| !**observed && !**aside).count()
    }

    /// The events that took place in it, by number, the newest first; at most `most` of them.
    pub fn events(&self, most: usize) -> Vec<i64> {
        let mut events: Vec<i64> = Vec::new();
        for event in self.happened.iter().rev().flatten().map(|happened| happened.announced.event) {
            if !events.contains(&event) && events.len() < most {
                events.push(event);
            }
        }
        events
    }

    /// Steps `from..to` of each time an event took place, the oldest first.
    pub fn times(&self, event: i64) -> Vec<Range<usize>> {
        let mut times: Vec<Range<usize>> = Vec::new();
        for (at, happened) in self.happened.iter().enumerate() {
            if happened.is_some_and(|happened| happened.announced.event == event) {
                match times.last_mut() {
                    Some(time) if time.end == at => time.end += 1,
                    _ => times.push(at..at + 1),
                }
            }
        }
        times
    }

    /// What share of the announced addition each time of an event came to by itself: in the mean over its steps, the oldest first.
    pub fn shares(&self, event: i64) -> Vec<f64> {
        let share = |time: Range<usize>| {
            let (mut without, mut measured, mut announced) = (0.0, 0.0, 0.0);
            for at in time {
                if let Some(happened) = self.happened[at] {
                    without += self.values[at];
                    measured += happened.measured;
                    announced += self.values[at] * happened.announced.factor;
                }
            }
            (measured - without) / (announced - without)
        };
        self.times(event).into_iter().map(share).filter(|share| share.is_finite()).collect()
    }

    /// The newest known value one or more whole `season`s before step `index`, which may lie after the end.
    pub fn seasonal(&self, index: usize, season: usize) -> Option<f64> {
        let mut past = index.checked_sub(season)?;
        while past >= self.values.len() {
            past = past.checked_sub(season)?;
        }
        Some(self.values[past])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filling_looks_only_backwards() {
        let values: Vec<Option<f64>> =
            (0..100).map(|v| (v % 7 != 3 && !(40..60).contains(&v)).then_some(f64::from(v))).collect();
        let whole = Grid::new(&Series::new(0, 3_600, values.clone()), 1_000 * DAY).unwrap();
        for length in 30..100 {
            let part = Grid::new(&Series::new(0, 3_600, values[..length].to_vec()), 1_000 * DAY).unwrap();
            assert_eq!(part.all().values, whole.first(length).values);
        }
    }

    #[test]
    fn long_gaps_follow_the_season_and_short_ones_hold() {
        let mut values: Vec<Option<f64>> = (0..48).map(|v| Some(f64::from(v % 24))).collect();
        values.extend([None, None, None]);
        let grid = Grid::new(&Series::new(0, 3_600, values), DAY * 10).unwrap();
        assert_eq!(grid.all().values[48..], [23.0, 1.0, 2.0]);
        assert_eq!(grid.all().trailing_gap(), 3);
    }

    /// Hours with a load of 10 that grows by a tenth each day, and a sale at five times the load in `hours`, set aside.
    fn with_sale(days: usize, hours: impl Fn(usize) -> bool) -> Grid {
        let load = |hour: usize| (10.0 + (hour % 24) as f64) * (1.0 + 0.1 * (hour / 24) as f64);
        let value = |hour| Some(load(hour) * if hours(hour) { 5.0 } else { 1.0 });
        let mut series = Series::new(0, 3_600, (0..24 * days).map(value).collect());
        series.set_aside = (0..24 * days).map(hours).collect();
        Grid::new(&series, 100 * DAY).unwrap()
    }

    #[test]
    fn beneath_an_event_lies_what_an_ordinary_day_would_have_brought() {
        let ordinary = with_sale(10, |_| false);
        for (name, sale) in [
            ("once", (&|hour: usize| hour >= 9 * 24 + 12) as &dyn Fn(usize) -> bool),
            ("two whole days", &|hour| hour >= 8 * 24),
            ("every day but the first", &|hour| hour > 24 && hour % 24 >= 18 && hour % 24 < 22),
            ("every day since it began", &|hour| hour % 24 >= 18 && hour % 24 < 22),
        ] {
            let grid = with_sale(10, sale);
            let (got, wanted) = (grid.all(), ordinary.all());
            for index in 24..got.len() {
                let miss = (got.values[index] / wanted.values[index] - 1.0).abs();
                assert!(miss < 0.15, "{name}, hour {index}: {} for {}", got.values[index], wanted.values[index]);
            }
            assert_eq!(got.trailing_gap(), 0, "{name}: somebody measured");
            assert_eq!(got.measured(), got.len(), "{name}");
            assert!(got.observed_seconds() < wanted.observed_seconds(), "{name}");
        }
        let silent = Series { set_aside: vec![true; 3], ..Series::new(0, 3_600, vec![None; 3]) };
        assert!(Grid::new(&silent, DAY).is_none());
    }

    #[test]
    fn an_event_does_not_decide_what_is_believed() {
        let grid = with_sale(21, |hour| hour / 24 == 10);
        assert!(grid.all().values.iter().all(|value| *value < 100.0 * 1.1), "{:?}", grid.all().values);
    }

    #[test]
    fn a_single_wild_value_is_capped_and_a_weekly_one_is_not() {
        let at = |wild: &[usize]| {
            let value = |v: usize| if wild.contains(&v) { 1e6 } else { 10.0 + (v % 5) as f64 };
            let values = (0..24 * 21).map(|v| Some(value(v))).collect();
            let grid = Grid::new(&Series::new(0, 3_600, values), 100 * DAY).unwrap();
            [100, 451].map(|hour| grid.all().values[hour])
        };
        assert_eq!(at(&[100]), [12.0 + 3.0 * 2.0, 11.0]);
        assert_eq!(at(&[100, 268, 436, 450, 451]), [18.0, 1e6], "what repeats is believed from then on");
        assert_eq!(at(&[]), [10.0, 11.0]);
    }

    #[test]
    fn the_newest_value_is_believed_and_counts_as_capped_once_it_is_not_the_newest() {
        let surge = Series::new(0, 60, (0..51).map(|v| Some(if v == 49 { 900.0 } else { f64::from(v % 3) })).collect());
        let grid = Grid::new(&surge, DAY).unwrap();
        assert_eq!(grid.known(50, 1_000, |history| history.values[49]), 900.0);
        assert_eq!(grid.known(50, 7, |history| history.values[6]), 900.0);
        assert_eq!(grid.known(51, 1_000, |history| history.values[49]), 4.0);
    }

    #[test]
    fn leading_gaps_are_cut_and_nothing_makes_nothing() {
        let grid = Grid::new(&Series::new(0, 60, vec![None, None, Some(2.0)]), DAY).unwrap();
        assert_eq!((grid.all().start, grid.all().len()), (120, 1));
        assert!(Grid::new(&Series::new(0, 60, vec![None, Some(f64::NAN), Some(-1.0)]), DAY).is_none());
    }

    #[test]
    fn seasonal_reaches_back_as_many_seasons_as_needed() {
        let values = [0.0, 1.0, 2.0, 3.0];
        let (observed, none) = ([true; 4], [false; 4]);
        let history = History {
            start: 0,
            step_seconds: 60,
            values: &values,
            observed: &observed,
            saturated: &none,
            set_aside: &none,
            happened: &[],
        };
        assert_eq!(history.seasonal(4, 2), Some(2.0));
        assert_eq!(history.seasonal(7, 2), Some(3.0));
        assert_eq!(history.seasonal(1, 2), None);
    }
}
