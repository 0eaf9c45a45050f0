//! Level shifts: from one day on the load is another one (a service moved in, a cache went away).
//!
//! What models missed before a shift says little about what they miss now, so origins before it count less. The daily medians
//! tell: they are free of the day's season, and neither a spike nor an outage of a few hours moves them.

use crate::history::{DAY, History};
use crate::quantile::median;

/// How much less an origin before the newest shift counts.
pub(crate) const BEFORE_SHIFT: f64 = 0.25;
/// The medians of this many days to either side are compared.
const SIDES: usize = 5;
/// A shift is this many times the spread of the daily medians within the sides.
const SPREADS: f64 = 4.0;
/// And at least this part of the larger of the two levels.
const LEAST_PART: f64 = 0.2;

/// The newest step from which on the level is another one; whole days are counted back from the end. `None` when there is no
/// such step, or less than four days.
pub(crate) fn newest(history: &History<'_>) -> Option<usize> {
    let day = history.day()?;
    let days = history.len() / day;
    let first = history.len() - days * day;
    let medians: Vec<f64> = (0..days)
        .map(|index| {
            let from = first + index * day;
            median(&mut history.values[from..from + day].to_vec()).unwrap_or(0.0)
        })
        .collect();
    // Two days after it at the least: one may be a holiday.
    let found = (2..medians.len().saturating_sub(1)).rev().find(|split| {
        let before = &medians[split.saturating_sub(SIDES)..*split];
        let after = &medians[*split..(*split + SIDES).min(medians.len())];
        // A week has two levels: five days beside two are no shift unless it lasts.
        let lasts = after.len() >= 3.min(medians.len() - split) && after.len() >= 2;
        lasts && is_shift(before, after)
    })?;
    Some(first + found * day)
}

fn is_shift(before: &[f64], after: &[f64]) -> bool {
    let middle = |values: &[f64]| median(&mut values.to_vec()).unwrap_or(0.0);
    let (old, new) = (middle(before), middle(after));
    let spread = |values: &[f64], middle: f64| values.iter().map(|value| (value - middle).abs()).fold(0.0, f64::max);
    let apart = (new - old).abs();
    apart > LEAST_PART * old.max(new) && apart > SPREADS * spread(before, old).max(spread(after, new))
}

/// Seconds of a day make its steps; kept here so that the head of this file stays true.
const _: () = assert!(DAY == 86_400);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Grid;
    use crate::series::Series;

    fn found(days: usize, level: impl Fn(usize) -> f64) -> Option<usize> {
        let value = |index: usize| level(index) * (2.0 + (index as f64 / 24.0 * std::f64::consts::TAU).sin());
        let values = (0..24 * days).map(|index| Some(value(index))).collect();
        newest(&Grid::new(&Series::new(0, 3_600, values), u64::MAX).unwrap().all())
    }

    #[test]
    fn a_load_that_doubles_for_good_is_found_and_a_steady_one_is_not() {
        let at = found(14, |index| if index < 24 * 9 { 50.0 } else { 100.0 });
        assert_eq!(at, Some(24 * 9));
        assert_eq!(found(14, |_| 50.0), None);
        assert_eq!(found(3, |index| if index < 24 { 50.0 } else { 100.0 }), None);
    }

    #[test]
    fn neither_a_day_off_nor_slow_growth_is_a_shift() {
        assert_eq!(found(14, |index| if index / 24 == 13 { 20.0 } else { 50.0 }), None);
        assert_eq!(found(14, |index| if index / 24 == 8 { 20.0 } else { 50.0 }), None);
        assert_eq!(found(21, |index| 50.0 + index as f64 / 24.0), None);
    }

    #[test]
    fn the_newest_of_two_counts() {
        let level = |index: usize| [50.0, 100.0, 20.0][index / (24 * 6)];
        assert_eq!(found(18, level), Some(24 * 12));
    }
}
