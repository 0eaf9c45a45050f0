//! A load series on a regular grid: gaps are explicit, saturated values are lower bounds.

use serde::{Deserialize, Serialize};

/// How values are folded into a coarser step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregate {
    /// The largest value within the step: what has to be provisioned for.
    #[default]
    Maximum,
    /// The mean within the step: what scorers of public series use.
    Mean,
}

/// Values at `start`, `start + step`, …; `None` is a gap (absent is not zero).
///
/// A value stamped `t` covers `[t, t + step_seconds)`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Series {
    /// Unix seconds of the first value.
    pub start: i64,
    /// Seconds between values, at least 1.
    pub step_seconds: u32,
    /// The values; non-finite, negative and absurd ones (above [`LARGEST_VALUE`]) are treated as gaps.
    pub values: Vec<Option<f64>>,
    /// True where the value is only a lower bound of the load. May be empty: then nothing was saturated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub saturated: Vec<bool>,
    /// True where an event made the load: somebody measured, so the history is fresh, but no model learns from the value and
    /// none is judged by it. May be empty: then nothing is set aside. See [`crate::events`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_aside: Vec<bool>,
    /// What was announced for each value that one event alone made; nothing of the others. May be empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub announced: Vec<Option<Announced>>,
}

/// What was announced for one step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Announced {
    /// Which event, by its number.
    pub event: i64,
    /// Load over load without it, above 1.
    pub factor: f64,
}

impl Series {
    /// A series without saturation marks.
    pub fn new(start: i64, step_seconds: u32, values: Vec<Option<f64>>) -> Self {
        Self { start, step_seconds: step_seconds.max(1), values, ..Self::default() }
    }

    /// Puts `(unix seconds, value)` rows in any order onto a grid aligned to the Unix epoch.
    ///
    /// Rows of the same step are folded by `aggregate`; steps without a usable row stay gaps. No rows, no values. A grid
    /// of more than [`MAXIMUM_LENGTH`] steps keeps the newest of them, so that one wild timestamp cannot exhaust memory.
    pub fn resample(rows: &[(i64, f64)], step_seconds: u32, aggregate: Aggregate) -> Self {
        let step = i64::from(step_seconds.max(1));
        let usable = || rows.iter().filter(|(_, value)| is_usable(*value));
        let Some(last) = usable().map(|(at, _)| at.div_euclid(step)).max() else {
            return Self::new(0, step_seconds, Vec::new());
        };
        let oldest = last.saturating_sub(MAXIMUM_LENGTH as i64 - 1);
        let first = usable().map(|(at, _)| at.div_euclid(step)).filter(|bin| *bin >= oldest).min().unwrap_or(last);
        let mut folds = vec![Fold::default(); (last - first + 1) as usize];
        for (at, value) in usable() {
            let bin = at.div_euclid(step);
            if bin >= first {
                folds[(bin - first) as usize].add(*value, false);
            }
        }
        let values = folds.iter().map(|fold| fold.value(aggregate)).collect();
        Self::new(first * step, step_seconds, values)
    }

    /// The usable value at `index`.
    pub fn value(&self, index: usize) -> Option<f64> {
        self.values.get(index).copied().flatten().filter(|value| is_usable(*value))
    }

    /// Whether the value at `index` is only a lower bound.
    pub fn is_saturated(&self, index: usize) -> bool {
        self.saturated.get(index).copied().unwrap_or(false)
    }

    /// Whether the value at `index` belongs to an event.
    pub fn is_set_aside(&self, index: usize) -> bool {
        self.set_aside.get(index).copied().unwrap_or(false)
    }

    /// What was announced for the value at `index`, where one event alone made it.
    pub fn announced(&self, index: usize) -> Option<Announced> {
        self.announced.get(index).copied().flatten()
    }

    /// Unix seconds just after the last value.
    pub fn end(&self) -> i64 {
        self.start.saturating_add(self.values.len() as i64 * i64::from(self.step_seconds.max(1)))
    }

    /// How many values are there (gaps not counted).
    pub fn observations(&self) -> usize {
        (0..self.values.len()).filter(|index| self.value(*index).is_some()).count()
    }

    /// Only what was known at `unix_s`: values whose whole step lies before it.
    pub fn before(&self, unix_s: i64) -> Self {
        let step = i64::from(self.step_seconds.max(1));
        let keep = unix_s.saturating_sub(self.start).div_euclid(step).clamp(0, self.values.len() as i64) as usize;
        Self {
            start: self.start,
            step_seconds: self.step_seconds,
            values: self.values[..keep].to_vec(),
            saturated: self.saturated.iter().take(keep).copied().collect(),
            set_aside: self.set_aside.iter().take(keep).copied().collect(),
            announced: self.announced.iter().take(keep).copied().collect(),
        }
    }

    /// Folds into steps of `step_seconds`, aligned to the Unix epoch.
    ///
    /// A step of which less than half was observed stays absent; one that an event touches anywhere is set aside whole, for
    /// within a step it is the maximum that counts. The first and last step are dropped when the series covers
    /// only a part of them: a part has neither the mean nor the maximum of the whole. A step that is not longer than the
    /// series' own, or no multiple of it, leaves a grid in which finer values are repeated or shared by position.
    pub fn coarser(&self, step_seconds: u32, aggregate: Aggregate) -> Self {
        let own = i64::from(self.step_seconds.max(1));
        let step = i64::from(step_seconds.max(1));
        if own == step && self.start.rem_euclid(step) == 0 {
            return self.clone();
        }
        let first = (self.start + step - 1).div_euclid(step);
        let last = self.end().div_euclid(step);
        if last <= first || last - first > MAXIMUM_LENGTH as i64 {
            return Self::new(first.saturating_mul(step), step_seconds, Vec::new());
        }
        let mut values = Vec::with_capacity((last - first) as usize);
        let mut saturated = Vec::new();
        let mut any_saturated = false;
        let mut set_aside = Vec::new();
        let mut announced = Vec::new();
        for bin in first..last {
            let (from, to) = (bin * step, (bin + 1) * step);
            // Own steps that start within the bin; when own steps are longer, the one that covers it.
            let begin = if own >= step { (from - self.start).div_euclid(own) } else { ceil(from - self.start, own) };
            let end = if own >= step { begin + 1 } else { ceil(to - self.start, own) };
            let mut fold = Fold::default();
            let mut aside = false;
            let mut of_event = OfEvent::default();
            for index in begin.max(0)..end.min(self.values.len() as i64) {
                aside |= self.is_set_aside(index as usize);
                of_event.add(self.is_set_aside(index as usize), self.announced(index as usize));
                if let Some(value) = self.value(index as usize) {
                    fold.add(value, self.is_saturated(index as usize));
                }
            }
            let enough = i64::from(fold.count) * 2 >= (end - begin).max(1);
            values.push(if enough { fold.value(aggregate) } else { None });
            saturated.push(enough && fold.saturated);
            any_saturated |= enough && fold.saturated;
            set_aside.push(aside);
            announced.push(of_event.alone(aggregate));
        }
        let saturated = if any_saturated { saturated } else { Vec::new() };
        let set_aside = if set_aside.contains(&true) { set_aside } else { Vec::new() };
        let announced = if announced.iter().any(Option::is_some) { announced } else { Vec::new() };
        Self { start: first * step, step_seconds, values, saturated, set_aside, announced }
    }
}

/// No load is larger; what claims to be is treated as a gap.
pub const LARGEST_VALUE: f64 = 1e100;

/// The longest grid that is ever built: 15 months of minutes, and then some.
pub const MAXIMUM_LENGTH: usize = 1_000_000;

/// Not negative, and small enough that sums and squares of a long history stay finite.
fn is_usable(value: f64) -> bool {
    (0.0..=LARGEST_VALUE).contains(&value)
}

fn ceil(value: i64, by: i64) -> i64 {
    value.div_euclid(by) + i64::from(value.rem_euclid(by) != 0)
}

/// What was announced for the values that are folded into one.
#[derive(Debug, Clone, Copy, Default)]
struct OfEvent {
    one: Option<Announced>,
    ordinary: bool,
    several: bool,
}

impl OfEvent {
    fn add(&mut self, set_aside: bool, announced: Option<Announced>) {
        match (announced, self.one) {
            (None, _) if set_aside => self.several = true,
            (None, _) => self.ordinary = true,
            (Some(new), Some(one)) if new.event != one.event => self.several = true,
            (Some(new), one) => {
                let factor = one.map_or(new.factor, |one| one.factor.max(new.factor));
                self.one = Some(Announced { factor, ..new });
            }
        }
    }

    /// Of a mean, all has to be the event's; the highest value is the event's where any is.
    fn alone(self, aggregate: Aggregate) -> Option<Announced> {
        self.one.filter(|_| !self.several && (!self.ordinary || aggregate == Aggregate::Maximum))
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Fold {
    count: u32,
    sum: f64,
    maximum: f64,
    saturated: bool,
}

impl Fold {
    fn add(&mut self, value: f64, saturated: bool) {
        self.count += 1;
        self.sum += value;
        self.maximum = self.maximum.max(value);
        self.saturated |= saturated;
    }

    fn value(&self, aggregate: Aggregate) -> Option<f64> {
        match (self.count, aggregate) {
            (0, _) => None,
            (_, Aggregate::Maximum) => Some(self.maximum),
            (count, Aggregate::Mean) => Some(self.sum / f64::from(count)).filter(|mean| mean.is_finite()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coarser_keeps_absent_what_is_less_than_half_there() {
        let series = Series::new(0, 60, vec![Some(1.0), Some(3.0), None, None, None, Some(5.0), None, Some(7.0)]);
        assert_eq!(series.coarser(240, Aggregate::Maximum).values, vec![Some(3.0), Some(7.0)]);
        assert_eq!(series.coarser(240, Aggregate::Mean).values, vec![Some(2.0), Some(6.0)]);
        let sparse = Series::new(0, 60, vec![Some(1.0), None, None, None]);
        assert_eq!(sparse.coarser(240, Aggregate::Mean).values, vec![None]);
    }

    #[test]
    fn coarser_drops_partial_steps_at_both_ends() {
        let series = Series::new(120, 60, (0..9).map(|v| Some(f64::from(v))).collect());
        let coarse = series.coarser(300, Aggregate::Maximum);
        assert_eq!((coarse.start, coarse.values), (300, vec![Some(7.0)]));
    }

    #[test]
    fn saturation_survives_folding() {
        let mut series = Series::new(0, 60, vec![Some(1.0), Some(2.0), Some(3.0), Some(4.0)]);
        series.saturated = vec![false, true, false, false];
        assert_eq!(series.coarser(120, Aggregate::Maximum).saturated, vec![true, false]);
    }

    #[test]
    fn resample_aligns_to_the_epoch_and_keeps_gaps() {
        let rows = [(3_700, 4.0), (100, 1.0), (130, 3.0), (200, f64::NAN)];
        let series = Series::resample(&rows, 900, Aggregate::Mean);
        assert_eq!((series.start, series.values), (0, vec![Some(2.0), None, None, None, Some(4.0)]));
        assert!(Series::resample(&[], 900, Aggregate::Mean).values.is_empty());
    }

    #[test]
    fn before_keeps_only_whole_steps() {
        let series = Series::new(0, 60, vec![Some(1.0), Some(2.0), Some(3.0)]);
        assert_eq!(series.before(179).values.len(), 2);
        assert_eq!(series.before(180).values.len(), 3);
        assert_eq!(series.before(-5).values.len(), 0);
    }
}
