//! When the past is asked: origins and fits on grids that are fixed to the Unix epoch.
//!
//! Because both depend on the time alone (and, while a history is young, on its length), a selection that was reached step
//! by step has asked the same models at the same times as one that begins from nothing.

use crate::history::DAY;
use crate::types::Options;

/// Origins lie at most this far back: older behaviour says little about which model is right now.
const REPLAY_SECONDS: u64 = 14 * DAY;
/// No fit lasts longer.
const LONGEST_FIT_SECONDS: u64 = 3 * DAY;
/// While the history is young, origins lie this many times closer than its length: half of it is replayed.
const YOUNG_ORIGINS: u64 = 64;
/// A fit lasts this part of the history it was made on.
const FIT_SHARE: u64 = 8;
/// How long a fit may last: from these the longest that fits is taken.
const FITS: [u64; 8] = [900, 1_800, 3_600, 7_200, 14_400, 28_800, DAY, 2 * DAY];
/// How long standings last while the history is young.
const STANDINGS: [u64; 3] = [900, 1_800, 3_600];
/// A history this many times as old as standings are is judged anew.
const STANDINGS_SHARE: u64 = 24;

/// Origins are a whole number of these and one more apart: so they wander over the hour's and the day's clock, and a load that
/// does something every hour is not always seen at the same minute.
const WANDER_SECONDS: u64 = 900;

/// Into how many parts the time between origins is divided at once.
const MOST_PARTS: u64 = 5;

/// The times of one set of options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schedule {
    step: i64,
    replay: u64,
    longest_fit: u64,
    /// Seconds of history a model sees at most: all that is kept, less what lies before the oldest origin's fit.
    window: u64,
    /// Seconds between origins of a grown history.
    spacing: u64,
}

impl Schedule {
    pub fn new(options: &Options) -> Self {
        let replay = REPLAY_SECONDS.min(options.history_seconds / 3).max(1);
        let longest_fit = LONGEST_FIT_SECONDS.min(options.history_seconds / 8).max(1);
        Self {
            step: i64::from(options.step_seconds.max(1)),
            replay,
            longest_fit,
            window: options.history_seconds.saturating_sub(replay + longest_fit).max(1),
            spacing: (replay / options.origins.max(1) as u64).max(1) / WANDER_SECONDS * WANDER_SECONDS + WANDER_SECONDS,
        }
    }

    /// Steps of history a model sees at most.
    pub fn window(&self) -> usize {
        (self.window / self.step as u64).max(1) as usize
    }

    /// Seconds between origins after `known` seconds of history: divided while the history is young, so that the grid of an
    /// older history is part of that of a younger one.
    fn spacing(&self, known: u64) -> i64 {
        let wanted = (known / YOUNG_ORIGINS).max(self.step as u64);
        let mut spacing = self.spacing;
        while spacing > wanted {
            let divides = |parts: &u64| spacing.is_multiple_of(*parts) && spacing / parts >= self.step as u64;
            let Some(parts) = (2..=MOST_PARTS).find(divides) else { break };
            spacing /= parts;
        }
        (spacing as i64).max(self.step)
    }

    /// The first step that is not before `at`, on the grid of a history that begins at `start`.
    fn ceil(&self, at: i64, start: i64) -> i64 {
        start + (at - start + self.step - 1).div_euclid(self.step) * self.step
    }

    /// Origins of a history, oldest first, each with its number; each lies on a step, after the oldest judged time and
    /// before the end.
    ///
    /// The first third of a young history is left to the models to learn from; once there is a day, no origin lies within
    /// the first, so that seasonal naive can be replayed at all of them.
    pub fn origins(&self, start: i64, end: i64) -> Vec<(i64, i64)> {
        let known = (end - start).max(0) as u64;
        let third = known / 3;
        let young = if third < DAY && DAY < known - known / 4 { DAY } else { third };
        let oldest = start + young.max(known.saturating_sub(self.replay)).max(self.step as u64) as i64;
        let spacing = self.spacing(known);
        let mut origins: Vec<(i64, i64)> = Vec::new();
        for number in oldest.div_euclid(spacing)..=end.div_euclid(spacing) {
            let at = self.ceil(number * spacing, start);
            if at >= oldest && at < end && origins.last().is_none_or(|(_, last)| *last < at) {
                origins.push((number, at));
            }
        }
        origins
    }

    /// The time at which a model that is asked at `at` was fitted.
    pub fn fitted_at(&self, start: i64, at: i64, refit_seconds: u64) -> i64 {
        let share = (at - start).max(0) as u64 / FIT_SHARE;
        let longest = refit_seconds.clamp(1, self.longest_fit);
        let lasts = FITS.iter().copied().filter(|lasts| *lasts <= share).max().unwrap_or(0);
        let lasts = if lasts >= longest || share >= longest { longest } else { lasts };
        if lasts == 0 {
            return at;
        }
        let on_grid = at.div_euclid(lasts as i64) * lasts as i64;
        let step_before = start + (on_grid - start).div_euclid(self.step) * self.step;
        if step_before > start { step_before } else { at }
    }

    /// The time the standings of a history that ends at `end` speak of.
    pub fn judged_at(&self, start: i64, end: i64) -> i64 {
        let share = (end - start).max(0) as u64 / STANDINGS_SHARE;
        let Some(lasts) = STANDINGS.iter().copied().filter(|lasts| *lasts <= share).max() else { return end };
        let on_grid = end.div_euclid(lasts as i64) * lasts as i64;
        start + (on_grid - start).div_euclid(self.step) * self.step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600;

    fn schedule() -> Schedule {
        Schedule::new(&Options::default())
    }

    #[test]
    fn origins_lie_in_the_judged_part_in_order() {
        for hours in [1, 3, 10, 24, 33, 50, 240, 1_008] {
            let origins = schedule().origins(600, 600 + hours * HOUR);
            assert!(origins.windows(2).all(|pair| pair[0].1 < pair[1].1), "{hours}: {origins:?}");
            assert!(!origins.is_empty() && origins.len() <= 160, "{hours}: {}", origins.len());
            assert!(origins.iter().all(|(_, at)| *at > 600 && *at < 600 + hours * HOUR && (at - 600) % 300 == 0));
        }
        assert!((45..=48).contains(&schedule().origins(0, 42 * 24 * HOUR).len()));
        assert!(schedule().origins(0, 50 * HOUR)[0].1 >= 24 * HOUR);
    }

    #[test]
    fn a_later_history_asks_nothing_of_the_past_that_was_not_asked_before() {
        for step_seconds in [300_u32, 900, 3_600] {
            let schedule = Schedule::new(&Options { step_seconds, ..Options::default() });
            let step_seconds = i64::from(step_seconds);
            let mut known: std::collections::BTreeSet<i64> = std::collections::BTreeSet::new();
            let mut last = 0;
            for step in 2..(45 * 24 * HOUR / step_seconds) {
                let end = step * step_seconds;
                let origins = schedule.origins((end - 42 * 24 * HOUR).max(0), end);
                assert!(origins.iter().all(|(_, at)| *at >= last || known.contains(at)), "{step}");
                known.extend(origins.iter().map(|(_, at)| *at));
                last = end;
            }
        }
    }

    #[test]
    fn a_fit_is_older_than_what_is_asked_of_it_but_not_by_much() {
        let schedule = schedule();
        for hours in 1..1_200 {
            let at = hours * HOUR;
            let fitted = schedule.fitted_at(0, at, 2 * DAY);
            assert!(
                fitted > 0 && fitted <= at && at - fitted < (at / 8).max(1).min(2 * DAY as i64),
                "{hours}: {fitted}"
            );
        }
    }

    #[test]
    fn what_models_see_and_what_is_replayed_fit_into_what_is_kept() {
        for days in [1, 14, 42, 460] {
            let schedule = Schedule::new(&Options { history_seconds: days * DAY, ..Options::default() });
            assert!(schedule.window + schedule.replay + schedule.longest_fit <= days * DAY);
        }
    }
}
