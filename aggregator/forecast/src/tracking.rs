//! After the fact: did the published intervals hold? Fed with forecasts when they are made and with the load when it came.
//!
//! Of every forecast only a few steps are remembered, so that a tracker stays small however often it is fed. Coverage rolls:
//! the newest [`WINDOW`] outcomes of each band count, older ones are forgotten. What they came to is summed up by hour, for
//! whoever keeps it ([`Tracker::take_hours`]) and gives it back after a restart ([`Tracker::remember`]).

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use crate::adaptive::Adaptive;
use crate::quantile::pinball;
use crate::selection::{interval, unmeasured, wide_interval};
use crate::trust;
use crate::types::{Band, BandCoverage, Forecast, WideCoverage};

/// Outcomes remembered per band.
pub const WINDOW: usize = 1_000;
/// Outcomes below which the live figure does not replace the replayed one: ±10 points of noise.
pub const ENOUGH: u64 = 60;
/// Promises kept waiting; a day of forecasts every five minutes is 2 016.
const PENDING: usize = 4_096;
/// Seconds ahead at which a promise is taken from each forecast.
const LEADS: [i64; 7] = [0, 1_800, 5_400, 10_800, 21_600, 43_200, 79_200];

/// Hours that are summed up here, of each band.
const HOURS: usize = 48;

/// What one forecast said of one step.
#[derive(Debug, Clone, PartialEq)]
struct Record {
    /// Unix seconds of the step's start.
    due: i64,
    /// How far ahead it was said.
    band: Band,
    /// Lower end of the interval.
    low: f64,
    /// Upper end of the interval.
    high: f64,
    /// The ends of the wider interval, where there is one: rounded outwards to half the size, for thousands wait.
    wide: Option<[f32; 2]>,
    /// The quantiles as they were published. Half as exact as they were made: thousands wait, and no loss is seen to so many digits.
    said: Box<[f32]>,
    /// The models' own quantiles, before what was learned live moved them; empty where nothing is to be learned.
    own: Vec<f64>,
}

/// The ends of an interval in half the size; what is exactly on one of them stays inside.
fn outwards(low: f64, high: f64) -> [f32; 2] {
    let (below, above) = (low as f32, high as f32);
    [
        if f64::from(below) > low { below.next_down() } else { below },
        if f64::from(above) < high { above.next_up() } else { above },
    ]
}

/// A load that came, beside what was promised of it.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    inside: bool,
    /// The same of the wider interval; absent where nothing is known of it.
    wide: Option<bool>,
}

/// The promises still open and the outcomes of those that came due.
#[derive(Debug, Clone, Default)]
pub struct Tracker {
    nominal: Option<f64>,
    wide_nominal: Option<f64>,
    levels: Vec<f64>,
    adaptive: Adaptive,
    pending: VecDeque<Record>,
    /// Per band, newest last.
    outcomes: [VecDeque<Outcome>; 3],
    /// By hour and band.
    hours: BTreeMap<(i64, Band), Hour>,
    /// The oldest hour that changed since they were taken.
    changed_since: Option<i64>,
}

/// What the forecasts of one band came to within one hour.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Hour {
    /// How far ahead it was said.
    pub band: Band,
    /// Unix seconds of the hour's start.
    pub hour: i64,
    /// The share of loads that the interval promised to hold.
    pub promised: f64,
    /// Outcomes inside the interval.
    pub inside: u32,
    /// All outcomes.
    pub outcomes: u32,
    /// The same of the wider interval; absent where nothing is known of it.
    pub wide: Option<WideHour>,
    /// Pinball loss of what was published, mean over the levels and summed up over those `compared`; in the unit of the series.
    pub loss: f64,
    /// The same of the load a day before, as if nothing else were known.
    pub day_before: f64,
    /// Outcomes of which both losses are known.
    pub compared: u32,
}

/// What the wider interval came to within one hour.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct WideHour {
    /// The share of loads that it promised to hold.
    pub promised: f64,
    /// Outcomes inside it.
    pub inside: u32,
    /// All outcomes of which that is known.
    pub outcomes: u32,
}

impl Hour {
    const fn new(band: Band, hour: i64, promised: f64) -> Self {
        Self { band, hour, promised, inside: 0, outcomes: 0, wide: None, loss: 0.0, day_before: 0.0, compared: 0 }
    }

    fn count(&mut self, outcome: Outcome, wide_promised: Option<f64>) {
        self.outcomes += 1;
        self.inside += u32::from(outcome.inside);
        let (Some(inside), Some(promised)) = (outcome.wide, wide_promised) else { return };
        let known = self.wide.filter(|known| (known.promised - promised).abs() < 1e-9);
        let known = known.unwrap_or(WideHour { promised, inside: 0, outcomes: 0 });
        let (inside, outcomes) = (known.inside + u32::from(inside), known.outcomes + 1);
        self.wide = Some(WideHour { promised, inside, outcomes });
    }
}

/// The share of those that were inside; absent where there is none.
fn share(inside: impl Iterator<Item = bool>) -> Option<f64> {
    let (held, all) = inside.fold((0_u32, 0_u32), |(held, all), inside| (held + u32::from(inside), all + 1));
    (all > 0).then(|| f64::from(held) / f64::from(all))
}

/// Pinball loss, mean over the levels.
fn loss(levels: &[f64], said: impl Iterator<Item = f64>, actual: f64) -> f64 {
    let sum: f64 = levels.iter().zip(said).map(|(level, quantile)| pinball(*level, quantile, actual)).sum();
    sum / levels.len().max(1) as f64
}

impl Tracker {
    /// Makes the forecast of the models the one to publish: its quantiles are moved by what was learned from the steps that
    /// came true, what it now promises is remembered, and measured coverage and trust are put in. Once per forecast.
    pub fn issue(&mut self, forecast: &mut Forecast) {
        let own = forecast.paths.clone();
        if self.levels != forecast.levels {
            (self.levels, self.adaptive) = (forecast.levels.clone(), Adaptive::default());
        }
        self.adaptive.apply(forecast);
        self.promise(forecast, &own);
        self.publish(forecast);
    }

    /// Takes back what was summed up before a restart, so that coverage and trust go on: of the newest promise, oldest hour first.
    /// When within its hour each came due is not known any more.
    pub fn remember(&mut self, hours: &[Hour]) {
        let Some(promised) = hours.last().map(|hour| hour.promised) else { return };
        self.nominal = Some(promised);
        self.wide_nominal = hours.iter().rev().find_map(|hour| Some(hour.wide?.promised));
        for hour in hours.iter().filter(|hour| (hour.promised - promised).abs() < 1e-9) {
            let outcomes = &mut self.outcomes[hour.band.index()];
            let wide =
                hour.wide.filter(|wide| self.wide_nominal.is_some_and(|known| (known - wide.promised).abs() < 1e-9));
            outcomes.extend((0..hour.outcomes).map(|number| Outcome {
                inside: number < hour.inside,
                wide: wide.filter(|wide| number < wide.outcomes).map(|wide| number < wide.inside),
            }));
            while outcomes.len() > WINDOW {
                outcomes.pop_front();
            }
            self.hours.insert((hour.hour, hour.band), *hour);
        }
        self.forget();
    }

    /// What moves the quantiles: learned from the steps that came true.
    pub const fn adaptive(&self) -> &Adaptive {
        &self.adaptive
    }

    /// Goes on with what was learned before a restart.
    pub fn go_on(&mut self, adaptive: Adaptive) {
        if adaptive.is_whole() {
            (self.levels, self.adaptive) = (adaptive.levels().to_vec(), adaptive);
        }
    }

    fn promise(&mut self, forecast: &Forecast, own: &[Vec<f64>]) {
        let Some((low, high, nominal)) = interval(&forecast.levels) else { return };
        if self.nominal.is_some_and(|known| (known - nominal).abs() > 1e-9) {
            // Another promise: the old outcomes do not speak for it.
            let kept = std::mem::take(self);
            (self.levels, self.adaptive) = (kept.levels, kept.adaptive);
            (self.hours, self.changed_since) = (kept.hours, kept.changed_since);
        }
        self.nominal = Some(nominal);
        let wide = wide_interval(&forecast.levels);
        self.promise_wide(wide.map(|(_, _, nominal)| nominal));
        let step = i64::from(forecast.step_seconds.max(1));
        for lead in LEADS {
            let index = (lead / step) as usize;
            let at = |level: usize| forecast.paths.get(level).and_then(|path| path.get(index)).copied();
            let (Some(low), Some(high)) = (at(low), at(high)) else { continue };
            let ahead = index as i64 * step;
            let own = own.iter().filter_map(|path| path.get(index)).copied().collect();
            let said = forecast.paths.iter().filter_map(|path| path.get(index)).map(|value| *value as f32).collect();
            let wide = wide.and_then(|(low, high, _)| Some(outwards(at(low)?, at(high)?)));
            let (due, band) = (forecast.start + ahead, Band::of(ahead as u64));
            let record = Record { due, band, low, high, wide, said, own };
            // A step that is shorter than the gap between leads gives each lead its own; a longer one repeats.
            if self.pending.back() != Some(&record) {
                self.pending.push_back(record);
            }
        }
        while self.pending.len() > PENDING {
            self.pending.pop_front();
        }
    }

    /// Another promise of the wider interval, or none: the old outcomes do not speak for it.
    fn promise_wide(&mut self, nominal: Option<f64>) {
        let same = |known: f64| nominal.is_some_and(|nominal| (nominal - known).abs() < 1e-9);
        if self.wide_nominal.is_some_and(|known| !same(known)) {
            self.pending.iter_mut().for_each(|record| record.wide = None);
            self.outcomes.iter_mut().flatten().for_each(|outcome| outcome.wide = None);
        }
        self.wide_nominal = nominal;
    }

    /// Settles every promise for the step that starts at `at` (Unix seconds) with the load it turned out to have, and with that of
    /// the same step a day before where it is known.
    ///
    /// `saturated` says the load was at least `value`: inside or below, it then proves nothing and is not counted, and no loss is
    /// known. Call it once per completed step; promises whose step was never observed are forgotten uncounted.
    pub fn observed(&mut self, at: i64, value: f64, saturated: bool, day_before: Option<f64>) {
        if !value.is_finite() {
            return;
        }
        let Self { nominal, wide_nominal, levels, adaptive, pending, outcomes, hours, changed_since } = self;
        let promised = nominal.unwrap_or(0.0);
        pending.retain(|record| {
            if record.due > at {
                return true;
            }
            if record.due < at {
                return false;
            }
            adaptive.learn(levels, record.band, &record.own, value, saturated);
            if saturated && value <= record.high {
                return false;
            }
            let ends = record.wide.map(|ends| ends.map(f64::from));
            let outcome = Outcome {
                inside: value >= record.low && value <= record.high,
                // A lower bound within the wider interval proves nothing of it, though it is above the other.
                wide: ends
                    .filter(|[_, high]| !saturated || value > *high)
                    .map(|[low, high]| value >= low && value <= high),
            };
            let outcomes = &mut outcomes[record.band.index()];
            outcomes.push_back(outcome);
            while outcomes.len() > WINDOW {
                outcomes.pop_front();
            }
            let start = at.div_euclid(3_600) * 3_600;
            let hour = hours.entry((start, record.band)).or_insert(Hour::new(record.band, start, promised));
            if (hour.promised - promised).abs() > 1e-9 {
                // Another promise since the hour began: the old outcomes do not speak for it.
                *hour = Hour::new(record.band, start, promised);
            }
            hour.count(outcome, *wide_nominal);
            if let Some(before) = day_before.filter(|before| before.is_finite() && !saturated) {
                hour.loss += loss(levels, record.said.iter().map(|said| f64::from(*said)), value);
                hour.day_before += loss(levels, std::iter::repeat(before), value);
                hour.compared += 1;
            }
            *changed_since = Some(changed_since.map_or(start, |since| since.min(start)));
            false
        });
        self.forget();
    }

    fn forget(&mut self) {
        while self.hours.len() > HOURS * Band::ALL.len() {
            self.hours.pop_first();
        }
    }

    /// The hours that changed since they were taken last.
    pub fn take_hours(&mut self) -> Vec<Hour> {
        let since = self.changed_since.take();
        since.into_iter().flat_map(|since| self.hours.range((since, Band::Hour)..)).map(|(_, hour)| *hour).collect()
    }

    /// The newest hours, oldest first: coverage and loss over time as far as they are kept here.
    pub fn hours(&self) -> Vec<Hour> {
        self.hours.values().copied().collect()
    }

    /// Measured beside promised, live, per band.
    pub fn coverage(&self) -> Vec<BandCoverage> {
        let mut coverage = unmeasured(&[]);
        for (of_band, outcomes) in coverage.iter_mut().zip(&self.outcomes) {
            of_band.nominal = self.nominal.unwrap_or(0.0);
            of_band.observations = outcomes.len() as u64;
            of_band.measured = share(outcomes.iter().map(|outcome| outcome.inside));
            of_band.wide = self.wide_nominal.map(|nominal| WideCoverage {
                nominal,
                measured: share(outcomes.iter().filter_map(|outcome| outcome.wide)),
                observations: outcomes.iter().filter(|outcome| outcome.wide.is_some()).count() as u64,
            });
        }
        coverage
    }

    /// Puts live coverage into a forecast where there are [`ENOUGH`] outcomes, and the trust that follows from it.
    pub fn publish(&self, forecast: &mut Forecast) {
        for live in self.coverage() {
            let Some(shown) = forecast.coverage.iter_mut().find(|shown| shown.band == live.band) else { continue };
            if let (Some(live), Some(shown)) = (live.wide, &mut shown.wide)
                && live.observations >= ENOUGH
                && (shown.nominal - live.nominal).abs() < 1e-9
            {
                *shown = live;
            }
            if live.observations >= ENOUGH && (shown.nominal - live.nominal).abs() < 1e-9 {
                (shown.measured, shown.observations) = (live.measured, live.observations);
            }
        }
        forecast.trust = trust::with_coverage(forecast.trust, &forecast.coverage);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Trust;

    impl Tracker {
        /// Remembers what a forecast says as it is: nothing learned moves it.
        fn made(&mut self, forecast: &Forecast) {
            self.levels.clone_from(&forecast.levels);
            self.promise(forecast, &[]);
        }
    }

    fn forecast(start: i64) -> Forecast {
        Forecast {
            start,
            step_seconds: 300,
            levels: vec![0.1, 0.5, 0.9],
            paths: vec![vec![10.0; 288], vec![15.0; 288], vec![20.0; 288]],
            model: "level".into(),
            trained_at: start,
            trust: Trust { score: 0.5, width: 1.0, coverage: 1.0, skill: 1.0, history: 0.5, freshness: 1.0 },
            coverage: unmeasured(&[0.1, 0.5, 0.9]),
            history_seconds: 0,
            windows: Vec::new(),
            learned: Vec::new(),
        }
    }

    #[test]
    fn counts_inside_and_outside_per_band() {
        let mut tracker = Tracker::default();
        for step in 0..600 {
            tracker.made(&forecast(step * 300));
            // Every fourth load is outside.
            tracker.observed(step * 300, if step % 4 == 0 { 25.0 } else { 12.0 }, false, None);
        }
        let coverage = tracker.coverage();
        assert!(coverage.iter().all(|band| (band.nominal - 0.8).abs() < 1e-9), "{coverage:?}");
        assert!((coverage[0].measured.unwrap() - 0.75).abs() < 0.01, "{coverage:?}");
        let hours = tracker.hours();
        let near: Vec<_> = hours.iter().filter(|hour| hour.band == Band::Hour).collect();
        assert!(near.windows(2).all(|pair| pair[1].hour == pair[0].hour + 3_600), "{near:?}");
        // Twelve steps an hour, each promised at two leads; three of the twelve fall outside.
        assert!(near[1..near.len() - 1].iter().all(|hour| (hour.inside, hour.outcomes) == (18, 24)), "{near:?}");
        assert!(near.iter().all(|hour| (hour.compared, hour.loss) == (0, 0.0)), "no day before, no comparison");
        assert_eq!(coverage[0].observations, WINDOW as u64);
        assert!(coverage[2].observations > 600 && coverage[2].observations <= WINDOW as u64, "{coverage:?}");
        let mut published = forecast(0);
        tracker.publish(&mut published);
        assert!((published.coverage[0].measured.unwrap() - 0.75).abs() < 0.01);
        assert!(published.trust.score < 0.5 && published.trust.score > 0.3, "{:?}", published.trust);
    }

    /// As [`forecast`], with the interval from the 5 % to the 95 % quantile around the other.
    fn with_wide(start: i64) -> Forecast {
        let levels = vec![0.05, 0.1, 0.5, 0.9, 0.95];
        let paths = [8.3, 10.0, 15.0, 20.0, 22.7].map(|demand| vec![demand; 288]).to_vec();
        Forecast { coverage: unmeasured(&levels), levels, paths, ..forecast(start) }
    }

    #[test]
    fn the_wider_interval_is_measured_beside_the_other() {
        let mut tracker = Tracker::default();
        for step in 0..600 {
            tracker.made(&with_wide(step * 300));
            // Of ten loads two lie between the ends of both intervals, one of them on the very end of the wider, and one beyond.
            let load = match step % 10 {
                0 => 22.7,
                1 => 9.0,
                2 => 22.8,
                _ => 12.0,
            };
            tracker.observed(step * 300, load, false, None);
        }
        let near = &tracker.coverage()[0];
        let wide = near.wide.as_ref().unwrap();
        assert!((near.measured.unwrap() - 0.7).abs() < 0.01 && near.observations == WINDOW as u64, "{near:?}");
        assert!((wide.nominal - 0.9).abs() < 1e-9 && wide.observations == WINDOW as u64, "{wide:?}");
        assert!((wide.measured.unwrap() - 0.9).abs() < 0.01, "{wide:?}");
        // It is published, and a restart goes on with it.
        let mut published = with_wide(0);
        tracker.publish(&mut published);
        assert_eq!(published.coverage[0].wide, near.wide);
        let mut next = Tracker::default();
        next.remember(&tracker.hours());
        let after = next.coverage()[0].wide.clone().unwrap();
        assert!((after.measured.unwrap() - 0.9).abs() < 0.03 && after.observations == WINDOW as u64, "{after:?}");
        // Without those levels there is none, and what was measured does not come back with them.
        next.made(&forecast(600 * 300));
        assert!(next.coverage().iter().all(|band| band.wide.is_none() && band.observations > 0));
        next.made(&with_wide(601 * 300));
        let again = next.coverage()[0].wide.clone().unwrap();
        assert_eq!((again.measured, again.observations), (None, 0));
    }

    #[test]
    fn a_wider_interval_that_is_new_is_not_known_before() {
        let mut tracker = Tracker::default();
        for step in 0..100 {
            tracker.made(&forecast(step * 300));
            tracker.observed(step * 300, 12.0, false, None);
        }
        tracker.made(&with_wide(30_000));
        // At least so much: beyond the one, and maybe within the other.
        tracker.observed(30_000, 21.0, true, None);
        let mut published = with_wide(30_300);
        tracker.publish(&mut published);
        assert!(published.coverage[0].observations >= ENOUGH && published.coverage[0].measured.unwrap() > 0.9);
        let wide = published.coverage[0].wide.clone().unwrap();
        assert_eq!((wide.measured, wide.observations), (None, 0));
        tracker.made(&with_wide(30_300));
        tracker.observed(30_300, 25.0, true, None);
        let wide = tracker.coverage()[0].wide.clone().unwrap();
        assert!(wide.measured == Some(0.0) && wide.observations > 0, "{wide:?}");
    }

    #[test]
    fn unknown_is_not_counted() {
        let mut tracker = Tracker::default();
        tracker.made(&forecast(0));
        tracker.observed(0, 12.0, true, None);
        tracker.observed(1_800, f64::NAN, false, None);
        tracker.observed(3_600, 12.0, false, None);
        assert!(tracker.coverage().iter().all(|band| band.measured.is_none()));
        // A lower bound above the interval is a miss all the same.
        tracker.observed(5_400, 30.0, true, Some(30.0));
        assert_eq!(tracker.hours().iter().map(|hour| (hour.outcomes, hour.compared)).collect::<Vec<_>>(), [(1, 0)]);
        assert_eq!(tracker.coverage()[1].measured, Some(0.0));
    }

    #[test]
    fn what_came_moves_the_next_forecast_at_once_and_coverage_is_that_of_what_was_published() {
        let mut tracker = Tracker::default();
        let mut inside = 0;
        for step in 0..2_500 {
            let mut issued = forecast(step * 300);
            tracker.issue(&mut issued);
            // The load lies far above what the models say, and wobbles.
            let load = 30.0 + (step * 7 % 11) as f64;
            inside += i64::from(step >= 1_500 && issued.paths[0][0] <= load && load <= issued.paths[2][0]);
            tracker.observed(step * 300, load, false, None);
        }
        assert!((inside - 800).abs() < 60, "{inside} of 1000");
        let measured = tracker.coverage()[0].measured.unwrap();
        assert!((measured - 0.8).abs() < 0.08, "{measured}");
    }

    #[test]
    fn what_an_hour_cost_is_the_loss_of_what_was_published_beside_that_of_the_day_before() {
        let mut tracker = Tracker::default();
        for (step, day_before) in [(0, Some(8.0)), (1, Some(f64::NAN)), (2, None)] {
            tracker.made(&forecast(step * 300));
            tracker.observed(step * 300, 12.0, false, day_before);
        }
        let [hour] = tracker.hours()[..] else { panic!("{:?}", tracker.hours()) };
        assert!((hour.outcomes, hour.compared) == (3, 1) && (hour.promised - 0.8).abs() < 1e-9, "{hour:?}");
        // Quantiles of 10, 15 and 20 at .1, .5 and .9 for 12: losses of .2, 1.5 and .8.
        assert!((hour.loss - 2.5 / 3.0).abs() < 1e-6, "{hour:?}");
        // Eight for all of them: four times .1, .5 and .9.
        assert!((hour.day_before - 2.0).abs() < 1e-9, "{hour:?}");
    }

    #[test]
    fn a_restart_goes_on_with_what_was_taken() {
        let mut tracker = Tracker::default();
        let mut kept: BTreeMap<(i64, Band), Hour> = BTreeMap::new();
        let mut keep = |tracker: &mut Tracker| {
            let taken = tracker.take_hours();
            kept.extend(taken.iter().map(|hour| ((hour.hour, hour.band), *hour)));
            taken.len()
        };
        for step in 0..600 {
            tracker.made(&forecast(step * 300));
            tracker.observed(step * 300, if step % 4 == 0 { 25.0 } else { 12.0 }, false, Some(11.0));
            let taken = keep(&mut tracker);
            assert!((1..=3).contains(&taken), "those of one hour: {taken}");
        }
        assert_eq!(keep(&mut tracker), 0, "nothing changed since");
        let mut next = Tracker::default();
        next.remember(&kept.values().copied().collect::<Vec<_>>());
        assert_eq!(next.hours(), tracker.hours());
        assert_eq!(next.take_hours(), [], "it is kept already");
        for (before, after) in tracker.coverage().iter().zip(next.coverage()) {
            assert_eq!((before.nominal, before.observations), (after.nominal, after.observations));
            assert!((before.measured.unwrap() - after.measured.unwrap()).abs() < 0.03, "{before:?} {after:?}");
        }
        // The hour that a restart came in goes on, and is one.
        let open = next.hours().last().copied().unwrap();
        next.made(&forecast(600 * 300));
        next.observed(600 * 300, 12.0, false, None);
        let hour = next.take_hours()[0];
        assert_eq!((hour.hour, hour.outcomes), (600 * 300, 1), "a new hour");
        assert!(open.hour < hour.hour);
        // Another promise is not judged by the old one.
        let mut other = forecast(601 * 300);
        other.levels = vec![0.05, 0.5, 0.95];
        next.issue(&mut other);
        assert!(next.coverage().iter().all(|band| band.observations == 0), "{:?}", next.coverage());
        next.observed(601 * 300, 12.0, false, None);
        let hour = next.hours().into_iter().find(|hour| hour.hour == 600 * 300).unwrap();
        assert!(hour.outcomes == 1 && (hour.promised - 0.9).abs() < 1e-9, "{hour:?}");
        // Nor is what was kept of it.
        let mut later = Tracker::default();
        later.remember(&next.hours());
        assert!((later.coverage()[0].nominal - 0.9).abs() < 1e-9 && later.coverage()[0].observations == 1);
    }

    #[test]
    fn stays_small() {
        let mut tracker = Tracker::default();
        for step in 0..5_000 {
            tracker.made(&forecast(step * 300));
            tracker.observed(step * 300, 12.0, false, None);
        }
        assert!(tracker.pending.len() <= PENDING);
        assert_eq!(tracker.hours().len(), 3 * HOURS);
    }
}
