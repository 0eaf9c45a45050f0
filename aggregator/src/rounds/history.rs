//! A group's minutes for one metric, kept in memory so that a round does not read weeks anew.

use forecast::Series;
use planner::baseline::Baseline;

use crate::store::Minute;

/// Most minutes kept: what the forecast looks back, and a day.
pub const KEPT_MINUTES: usize = 43 * 1_440;

#[derive(Debug, Clone, Copy, PartialEq)]
struct Kept {
    gross: f64,
    weight: f64,
    lower_bound: bool,
}

/// Gross demand per minute, oldest first, on a regular grid with explicit gaps.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Start of the first minute, seconds since the epoch.
    start: i64,
    minutes: Vec<Option<Kept>>,
}

impl History {
    /// Adds a minute or replaces it; minutes older than what is kept are ignored.
    pub fn put(&mut self, minute: &Minute) {
        let kept = Kept { gross: minute.gross_mean, weight: minute.weight, lower_bound: minute.lower_bound };
        if self.minutes.is_empty() {
            self.start = minute.start;
        }
        let offset = (minute.start - self.start).div_euclid(60);
        if offset < 0 {
            let missing = usize::try_from(-offset).unwrap_or(usize::MAX);
            if missing.saturating_add(self.minutes.len()) > KEPT_MINUTES {
                return;
            }
            self.minutes.splice(0..0, std::iter::repeat_n(None, missing));
            self.start = minute.start;
        }
        let Ok(index) = usize::try_from((minute.start - self.start).div_euclid(60)) else { return };
        if index >= self.minutes.len() {
            // A jump far ahead starts anew rather than filling memory with gaps.
            if index > self.minutes.len() + KEPT_MINUTES {
                *self = Self::default();
                return self.put(minute);
            }
            self.minutes.resize(index + 1, None);
        }
        if let Some(slot) = self.minutes.get_mut(index) {
            *slot = Some(kept);
        }
        if self.minutes.len() > KEPT_MINUTES {
            let surplus = self.minutes.len() - KEPT_MINUTES;
            self.minutes.drain(..surplus);
            self.start += 60 * i64::try_from(surplus).unwrap_or_default();
        }
    }

    /// Net demand as a series: absent stays absent, lower bounds are marked. It ends with the last
    /// whole step, so that a step half seen is not taken for a quiet one.
    pub fn series(&self, baseline: &Baseline, step_seconds: u32) -> Series {
        let net = |kept: &Kept| (kept.gross - baseline.points * kept.weight).max(0.0);
        let end = self.end();
        let whole = end - end.rem_euclid(i64::from(step_seconds.max(60)));
        let count = usize::try_from((whole - self.start) / 60).unwrap_or_default().min(self.minutes.len());
        let minutes = self.minutes.get(..count).unwrap_or_default();
        let mut series = Series::new(self.start, 60, minutes.iter().map(|slot| slot.as_ref().map(net)).collect());
        series.saturated = minutes.iter().map(|slot| slot.is_some_and(|kept| kept.lower_bound)).collect();
        series
    }

    /// End of the newest minute, seconds since the epoch; 0 when empty.
    pub fn end(&self) -> i64 {
        self.start + 60 * i64::try_from(self.minutes.len()).unwrap_or_default()
    }

    /// Minutes that were measured.
    pub fn measured(&self) -> usize {
        self.minutes.iter().flatten().count()
    }
}

#[cfg(test)]
mod tests {
    use foreshadow_proto::convert::Id;

    use super::*;

    fn minute(start: i64, gross: f64) -> Minute {
        Minute {
            group: Id::new("group", "web").expect("an id"),
            metric: "cpu".to_owned(),
            start,
            gross_mean: gross,
            gross_maximum: gross,
            weight: 2.0,
            serving: 2,
            reporting: 2,
            lower_bound: false,
        }
    }

    #[test]
    fn gaps_stay_absent_and_late_minutes_find_their_place() {
        let mut history = History::default();
        for (start, gross) in [(600, 10.0), (780, 30.0), (660, 20.0), (540, 5.0)] {
            history.put(&minute(start, gross));
        }
        let series = history.series(&Baseline { points: 1.0, ..Baseline::default() }, 60);
        assert_eq!(series.start, 540);
        assert_eq!(series.values, [Some(3.0), Some(8.0), Some(18.0), None, Some(28.0)]);
    }

    #[test]
    fn the_series_ends_with_a_whole_step() {
        let mut history = History::default();
        (0..7).for_each(|index| history.put(&minute(index * 60, 1.0)));
        assert_eq!(history.series(&Baseline::default(), 300).values.len(), 5);
    }

    #[test]
    fn memory_is_bounded() {
        let mut history = History::default();
        history.put(&minute(0, 1.0));
        history.put(&minute(60 * (KEPT_MINUTES as i64 + 10), 1.0));
        assert!(history.minutes.len() <= KEPT_MINUTES);
        history.put(&minute(i64::from(u32::MAX) * 60, 1.0));
        assert_eq!(history.minutes.len(), 1);
        history.put(&minute(0, 1.0));
        assert_eq!(history.measured(), 1, "far older than what is kept");
    }
}
