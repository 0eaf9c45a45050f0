//! Daylight saving: a day later is the same time on the clocks of a place, not 24 hours later.
//!
//! People live by their clocks, and so do the seasons of a load. A [`Zone`] is told as data (the crate has no database of
//! zones): from when on clocks are how far ahead of UTC. History is laid onto the clocks' grid, on which a day has 24 hours all
//! year: the hour that is skipped in spring is a gap, of the hour that comes twice in autumn the larger value counts. The forecast
//! is laid back onto UTC. A change that is no multiple of the step is not followed.

use serde::{Deserialize, Serialize};

use crate::series::Series;
use crate::types::Forecast;

/// From one time on, clocks are this far ahead of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transition {
    /// Unix seconds.
    pub at: i64,
    /// Seconds ahead of UTC from then on.
    pub offset_seconds: i32,
}

/// The clocks of a place, by their transitions, oldest first. Before the first its offset holds. Empty: UTC.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Zone(pub Vec<Transition>);

impl Zone {
    /// Whether clocks never change.
    pub fn is_steady(&self) -> bool {
        self.0.windows(2).all(|pair| pair[0].offset_seconds == pair[1].offset_seconds)
    }

    /// The largest change of the clocks, in seconds.
    pub fn largest_change(&self) -> u32 {
        let changes = self.0.windows(2).map(|pair| pair[1].offset_seconds.abs_diff(pair[0].offset_seconds));
        changes.max().unwrap_or(0)
    }

    /// Whether every change is a multiple of the step.
    pub fn divides(&self, step_seconds: u32) -> bool {
        self.0
            .windows(2)
            .all(|pair| (pair[1].offset_seconds - pair[0].offset_seconds).unsigned_abs() % step_seconds.max(1) == 0)
    }

    /// How far clocks are ahead of what they were at first. Constant offsets do not matter: a day is a day everywhere.
    fn ahead(&self, unix_s: i64) -> i64 {
        let Some(first) = self.0.first() else { return 0 };
        let now = self.0.iter().take_while(|transition| transition.at <= unix_s).last().unwrap_or(first);
        i64::from(now.offset_seconds) - i64::from(first.offset_seconds)
    }

    /// The series on the clocks' grid.
    pub(crate) fn local(&self, series: &Series) -> Series {
        let step = i64::from(series.step_seconds.max(1));
        let at = |index: usize| series.start + index as i64 * step;
        let start = series.start + self.ahead(series.start);
        let end = series.end() + self.ahead(series.end());
        let length = usize::try_from((end - start).div_euclid(step)).unwrap_or_default();
        let mut local = Series::new(start, series.step_seconds, vec![None; length]);
        let (mut saturated, mut set_aside) = (vec![false; length], vec![false; length]);
        let mut announced = vec![None; length];
        for index in 0..series.values.len() {
            let place = usize::try_from((at(index) + self.ahead(at(index)) - start).div_euclid(step));
            let Some(place) = place.ok().filter(|place| *place < length) else { continue };
            if let Some(value) = series.value(index) {
                let largest = local.values[place].map_or(value, |known: f64| known.max(value));
                local.values[place] = Some(largest);
            }
            saturated[place] |= series.is_saturated(index);
            set_aside[place] |= series.is_set_aside(index);
            announced[place] = announced[place].or(series.announced(index));
        }
        if saturated.contains(&true) {
            local.saturated = saturated;
        }
        if set_aside.contains(&true) {
            local.set_aside = set_aside;
        }
        if !series.announced.is_empty() {
            local.announced = announced;
        }
        local
    }

    /// A forecast on the clocks' grid, laid onto the `steps` steps from `start` (UTC) on.
    pub(crate) fn utc(&self, forecast: Forecast, start: i64, steps: usize) -> Forecast {
        let step = i64::from(forecast.step_seconds.max(1));
        let place = |index: usize| {
            let at = start + index as i64 * step;
            let place = (at + self.ahead(at) - forecast.start).div_euclid(step).max(0);
            usize::try_from(place).unwrap_or_default()
        };
        let path = |path: &Vec<f64>| -> Vec<f64> {
            let last = path.len().saturating_sub(1);
            (0..steps).filter_map(|index| path.get(place(index).min(last)).copied()).collect()
        };
        let paths = forecast.paths.iter().map(path).collect();
        let trained_at = forecast.trained_at - (forecast.start - start);
        Forecast { start, trained_at, paths, ..forecast }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600;

    /// Clocks that are put forward at hour 26 and back at hour 50.
    fn zone() -> Zone {
        let transition = |hour, offset_seconds| Transition { at: hour * HOUR, offset_seconds };
        Zone(vec![transition(-1_000, 3_600), transition(26, 7_200), transition(50, 3_600)])
    }

    #[test]
    fn on_the_clocks_grid_a_day_has_24_hours() {
        // The load is the hour on the clock.
        let clock = |hour: i64| (hour + if (26..50).contains(&hour) { 1 } else { 0 }) % 24;
        let series = Series::new(0, 3_600, (0..72).map(|hour| Some(clock(hour) as f64)).collect());
        let local = zone().local(&series);
        assert_eq!(local.values.len(), 72);
        for (hour, value) in local.values.iter().enumerate() {
            assert!(hour == 26 && value.is_none() || *value == Some((hour % 24) as f64), "{hour}: {value:?}");
        }
    }

    #[test]
    fn a_forecast_follows_the_clocks_back_to_utc() {
        let local = Forecast {
            start: 20 * HOUR,
            step_seconds: 3_600,
            levels: vec![0.5],
            paths: vec![(20..60).map(f64::from).collect()],
            trained_at: 19 * HOUR,
            ..Forecast::default()
        };
        let made = zone().utc(local, 20 * HOUR, 36);
        assert_eq!((made.start, made.trained_at, made.paths[0].len()), (20 * HOUR, 19 * HOUR, 36));
        assert_eq!(made.paths[0][5..8], [25.0, 27.0, 28.0], "one hour is skipped");
        assert_eq!(made.paths[0][28..32], [49.0, 50.0, 50.0, 51.0], "one hour comes twice");
    }

    #[test]
    fn only_changes_matter() {
        let steady = Zone(vec![Transition { at: 0, offset_seconds: 19_800 }]);
        assert!(steady.is_steady() && !zone().is_steady() && Zone::default().is_steady());
        assert!(zone().divides(900) && !zone().divides(5_000));
        assert_eq!(zone().largest_change(), 3_600);
    }
}
