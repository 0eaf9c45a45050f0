//! A group's minutes for one metric, kept in memory so that a round does not read weeks anew.

use forecast::Series;
use planner::baseline::Baseline;

use crate::store::Minute;

/// Most minutes kept: what the forecast looks back, and a day.
pub const KEPT_MINUTES: usize = 43 * 1_440;

/// A newest minute that is older than this is none.
const LATELY_MINUTES: usize = 180;

/// One minute in eight bytes: six weeks of them are kept for every group and metric.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Kept {
    /// Not a number where nothing was measured.
    gross: f32,
    /// Below zero where the demand is a lower bound.
    weight: f32,
}

impl Kept {
    const ABSENT: Self = Self { gross: f32::NAN, weight: 0.0 };

    fn new(gross: f64, weight: f64, lower_bound: bool) -> Self {
        let weight = not_below(weight.max(0.0));
        Self { gross: not_below(gross), weight: if lower_bound { -weight } else { weight } }
    }

    /// Gross demand, weight, and whether it is a lower bound; `None` where nothing was measured.
    fn read(self) -> Option<(f64, f64, bool)> {
        let lower_bound = self.weight.is_sign_negative();
        (!self.gross.is_nan()).then(|| (f64::from(self.gross), f64::from(self.weight.abs()), lower_bound))
    }
}

/// The nearest single-precision number that is not smaller: demand is never rounded down.
#[allow(clippy::cast_possible_truncation, reason = "what is lost is put back on")]
fn not_below(value: f64) -> f32 {
    let near = value as f32;
    if f64::from(near) < value { near.next_up() } else { near }
}

/// Gross demand per minute, oldest first, on a regular grid with explicit gaps.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Start of the first minute, seconds since the epoch.
    start: i64,
    minutes: Vec<Kept>,
}

impl History {
    /// Adds a minute or replaces it; minutes older than what is kept are ignored.
    pub fn put(&mut self, minute: &Minute) {
        let kept = Kept::new(minute.gross_mean, minute.weight, minute.lower_bound);
        if self.minutes.is_empty() {
            self.start = minute.start;
        }
        let offset = (minute.start - self.start).div_euclid(60);
        if offset < 0 {
            let missing = usize::try_from(-offset).unwrap_or(usize::MAX);
            if missing.saturating_add(self.minutes.len()) > KEPT_MINUTES {
                return;
            }
            self.minutes.splice(0..0, std::iter::repeat_n(Kept::ABSENT, missing));
            self.start = minute.start;
        }
        let Ok(index) = usize::try_from((minute.start - self.start).div_euclid(60)) else { return };
        if index >= self.minutes.len() {
            // A jump far ahead starts anew rather than filling memory with gaps.
            if index > self.minutes.len() + KEPT_MINUTES {
                *self = Self::default();
                return self.put(minute);
            }
            self.minutes.resize(index + 1, Kept::ABSENT);
        }
        if let Some(slot) = self.minutes.get_mut(index) {
            *slot = kept;
        }
        if self.minutes.len() > KEPT_MINUTES {
            let surplus = self.minutes.len() - KEPT_MINUTES;
            self.minutes.drain(..surplus);
            self.start += 60 * i64::try_from(surplus).unwrap_or_default();
        }
    }

    /// Whether a minute was measured.
    pub fn has(&self, start: i64) -> bool {
        let index = usize::try_from((start - self.start).div_euclid(60));
        index.is_ok_and(|index| self.minutes.get(index).is_some_and(|kept| kept.read().is_some()))
    }

    /// Net demand as a series up to `until` (seconds since the epoch): absent stays absent, lower
    /// bounds are marked. Minutes that nobody measured lately are gaps at its end, so that the
    /// forecast knows how stale it is.
    pub fn series(&self, baseline: &Baseline, until: i64) -> Series {
        let net = |(gross, weight, _): (f64, f64, bool)| (gross - baseline.points * weight).max(0.0);
        let count = usize::try_from((until - self.start).div_euclid(60)).unwrap_or_default();
        let count = if self.minutes.is_empty() { 0 } else { count.min(self.minutes.len() + KEPT_MINUTES) };
        let minutes = || self.minutes.iter().map(|kept| kept.read()).chain(std::iter::repeat(None)).take(count);
        let mut series = Series::new(self.start, 60, minutes().map(|kept| kept.map(net)).collect());
        series.saturated = minutes().map(|kept| kept.is_some_and(|(.., lower_bound)| lower_bound)).collect();
        series
    }

    /// Start and gross demand of the newest minute that was measured, of the last three hours that are kept.
    pub fn newest(&self) -> Option<(i64, f64)> {
        let lately = self.minutes.iter().enumerate().rev().take(LATELY_MINUTES);
        let mut measured = lately.filter_map(|(index, kept)| Some((index, kept.read()?.0)));
        let (index, gross) = measured.next()?;
        Some((self.start + 60 * i64::try_from(index).ok()?, gross))
    }

    /// Highest gross demand of the minutes in `[from, to)`; `None` when none was measured.
    pub fn highest_gross(&self, from: i64, to: i64) -> Option<f64> {
        let index = |at: i64| usize::try_from((at - self.start).div_euclid(60)).unwrap_or_default();
        let minutes = self.minutes.get(index(from)..index(to).min(self.minutes.len()))?;
        minutes.iter().filter_map(|kept| Some(kept.read()?.0)).reduce(f64::max)
    }
}

#[cfg(test)]
mod tests {
    use foreshadow_proto::convert::Id;

    use super::*;

    #[test]
    fn the_newest_minute_is_the_last_that_was_measured_lately() {
        let mut history = History::default();
        assert_eq!(history.newest(), None);
        history.put(&minute(600, 41.5));
        history.put(&minute(660, 42.5));
        assert_eq!(history.newest(), Some((660, 42.5)));
        // A gap, and then three hours of nothing.
        history.put(&minute(900, 7.0));
        assert_eq!(history.newest(), Some((900, 7.0)));
        history.minutes.resize(history.minutes.len() + LATELY_MINUTES - 1, Kept::ABSENT);
        assert_eq!(history.newest(), Some((900, 7.0)));
        history.minutes.push(Kept::ABSENT);
        assert_eq!(history.newest(), None);
    }

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
        let series = history.series(&Baseline { points: 1.0, ..Baseline::default() }, 840);
        assert_eq!(series.start, 540);
        assert_eq!(series.values, [Some(3.0), Some(8.0), Some(18.0), None, Some(28.0)]);
    }

    #[test]
    fn the_series_ends_where_it_is_asked_to_with_gaps_for_silence() {
        let mut history = History::default();
        (0..7).for_each(|index| history.put(&minute(index * 60, 1.0)));
        assert_eq!(history.series(&Baseline::default(), 300).values, [Some(1.0); 5]);
        let silent = history.series(&Baseline::default(), 600).values;
        assert_eq!((silent.len(), silent.last()), (10, Some(&None)));
        assert!(History::default().series(&Baseline::default(), 600).values.is_empty());
        assert!(history.series(&Baseline::default(), i64::MAX).values.len() <= 7 + KEPT_MINUTES);
    }

    #[test]
    fn the_highest_of_a_week_ago_is_found() {
        let mut history = History::default();
        for (start, gross) in [(600, 10.0), (660, 40.0), (900, 30.0)] {
            history.put(&minute(start, gross));
        }
        assert_eq!(history.highest_gross(600, 720), Some(40.0));
        assert_eq!(history.highest_gross(0, 660), Some(10.0));
        assert_eq!(history.highest_gross(720, 900), None);
        assert_eq!(history.highest_gross(5_000, 9_000), None);
    }

    #[test]
    fn a_minute_takes_eight_bytes_and_is_never_rounded_down() {
        assert_eq!(size_of::<Kept>(), 8);
        for gross in [0.0, 0.1, 33.3, 1e-9, 123_456.789] {
            let (kept, weight, lower_bound) = Kept::new(gross, 2.5, true).read().expect("measured");
            assert!(kept >= gross && kept <= gross * (1.0 + 1e-6) + 1e-30, "{gross} {kept}");
            assert!(weight >= 2.5 && lower_bound && !Kept::new(gross, 0.0, false).read().expect("measured").2);
        }
        assert_eq!(Kept::ABSENT.read(), None);
        assert!(Kept::new(1.0, 0.0, true).read().expect("measured").2, "a lower bound of nobody is one all the same");
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
        assert_eq!(history.minutes.len(), 1, "far older than what is kept");
    }
}
