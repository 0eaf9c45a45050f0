//! After the fact: did the published intervals hold? Fed with forecasts when they are made and with the load when it came.
//!
//! Of every forecast only a few steps are remembered, so that a tracker stays small however often it is fed. Coverage rolls:
//! the newest [`WINDOW`] outcomes of each band count, older ones are forgotten.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::adaptive::Adaptive;
use crate::selection::{interval, unmeasured};
use crate::trust;
use crate::types::{Band, BandCoverage, Forecast};

/// Outcomes remembered per band.
pub const WINDOW: usize = 1_000;
/// Outcomes below which the live figure does not replace the replayed one: ±10 points of noise.
pub const ENOUGH: u64 = 60;
/// Promises kept waiting; a day of forecasts every five minutes is 2 016.
const PENDING: usize = 4_096;
/// Seconds ahead at which a promise is taken from each forecast.
const LEADS: [i64; 7] = [0, 1_800, 5_400, 10_800, 21_600, 43_200, 79_200];

/// What one forecast said of one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Unix seconds of the step's start.
    pub due: i64,
    /// How far ahead it was said.
    pub band: Band,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// The models' own quantiles, before what was learned live moved them; empty where nothing is to be learned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own: Vec<f64>,
}

/// The promises still open and the outcomes of those that came due.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Tracker {
    nominal: Option<f64>,
    #[serde(default)]
    levels: Vec<f64>,
    #[serde(default)]
    adaptive: Adaptive,
    pending: VecDeque<Record>,
    /// Per band, newest last: Unix seconds of the step, and whether the load was inside.
    outcomes: [VecDeque<(i64, bool)>; 3],
}

/// What the intervals of one band held within one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// How far ahead it was said.
    pub band: Band,
    /// Unix seconds of the hour's start.
    pub hour: i64,
    /// Outcomes inside the interval.
    pub inside: u32,
    /// All outcomes.
    pub outcomes: u32,
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

    /// Remembers what a forecast says of a few steps ahead, as it is. Call it once per forecast that was not
    /// [issued](Self::issue).
    pub fn made(&mut self, forecast: &Forecast) {
        self.promise(forecast, &[]);
    }

    fn promise(&mut self, forecast: &Forecast, own: &[Vec<f64>]) {
        let Some((low, high, nominal)) = interval(&forecast.levels) else { return };
        if self.nominal.is_some_and(|known| (known - nominal).abs() > 1e-9) {
            // Another promise: the old outcomes do not speak for it.
            let kept = std::mem::take(self);
            (self.levels, self.adaptive) = (kept.levels, kept.adaptive);
        }
        self.nominal = Some(nominal);
        let step = i64::from(forecast.step_seconds.max(1));
        for lead in LEADS {
            let index = (lead / step) as usize;
            let at = |level: usize| forecast.paths.get(level).and_then(|path| path.get(index)).copied();
            let (Some(low), Some(high)) = (at(low), at(high)) else { continue };
            let ahead = index as i64 * step;
            let own = own.iter().filter_map(|path| path.get(index)).copied().collect();
            let record = Record { due: forecast.start + ahead, band: Band::of(ahead as u64), low, high, own };
            // A step that is shorter than the gap between leads gives each lead its own; a longer one repeats.
            if self.pending.back() != Some(&record) {
                self.pending.push_back(record);
            }
        }
        while self.pending.len() > PENDING {
            self.pending.pop_front();
        }
    }

    /// Settles every promise for the step that starts at `at` (Unix seconds) with the load it turned out to have.
    ///
    /// `saturated` says the load was at least `value`: inside or below, it then proves nothing and is not counted. Call it
    /// once per completed step; promises whose step was never observed are forgotten uncounted.
    pub fn observed(&mut self, at: i64, value: f64, saturated: bool) {
        if !value.is_finite() {
            return;
        }
        let Self { levels, adaptive, pending, outcomes, .. } = self;
        pending.retain(|record| {
            if record.due > at {
                return true;
            }
            if record.due == at {
                adaptive.learn(levels, record.band, &record.own, value, saturated);
            }
            if record.due == at && !(saturated && value <= record.high) {
                let outcomes = &mut outcomes[record.band.index()];
                outcomes.push_back((at, value >= record.low && value <= record.high));
                while outcomes.len() > WINDOW {
                    outcomes.pop_front();
                }
            }
            false
        });
    }

    /// Measured beside promised, live, per band.
    pub fn coverage(&self) -> Vec<BandCoverage> {
        let mut coverage = unmeasured(&[]);
        for (of_band, outcomes) in coverage.iter_mut().zip(&self.outcomes) {
            of_band.nominal = self.nominal.unwrap_or(0.0);
            of_band.observations = outcomes.len() as u64;
            let inside = outcomes.iter().filter(|(_, inside)| *inside).count();
            of_band.measured = (!outcomes.is_empty()).then(|| inside as f64 / outcomes.len() as f64);
        }
        coverage
    }

    /// The outcomes that [`Self::coverage`] counts, by hour, oldest first: coverage over time as far as it is kept.
    pub fn held_by_hour(&self) -> Vec<Held> {
        let mut held: Vec<Held> = Vec::new();
        for (band, outcomes) in Band::ALL.into_iter().zip(&self.outcomes) {
            for (at, inside) in outcomes {
                let hour = at.div_euclid(3_600) * 3_600;
                let inside = u32::from(*inside);
                match held.last_mut() {
                    Some(last) if last.band == band && last.hour == hour => {
                        last.inside += inside;
                        last.outcomes += 1;
                    }
                    _ => held.push(Held { band, hour, inside, outcomes: 1 }),
                }
            }
        }
        held
    }

    /// Puts live coverage into a forecast where there are [`ENOUGH`] outcomes, and the trust that follows from it.
    pub fn publish(&self, forecast: &mut Forecast) {
        for live in self.coverage() {
            if live.observations >= ENOUGH
                && let Some(shown) = forecast.coverage.iter_mut().find(|shown| shown.band == live.band)
                && (shown.nominal - live.nominal).abs() < 1e-9
            {
                *shown = live;
            }
        }
        forecast.trust = trust::with_coverage(forecast.trust, &forecast.coverage);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Trust;

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
        }
    }

    #[test]
    fn counts_inside_and_outside_per_band() {
        let mut tracker = Tracker::default();
        for step in 0..600 {
            tracker.made(&forecast(step * 300));
            // Every fourth load is outside.
            tracker.observed(step * 300, if step % 4 == 0 { 25.0 } else { 12.0 }, false);
        }
        let coverage = tracker.coverage();
        assert!(coverage.iter().all(|band| (band.nominal - 0.8).abs() < 1e-9), "{coverage:?}");
        assert!((coverage[0].measured.unwrap() - 0.75).abs() < 0.01, "{coverage:?}");
        let held = tracker.held_by_hour();
        let near: Vec<_> = held.iter().filter(|hour| hour.band == Band::Hour).collect();
        assert!(near.windows(2).all(|pair| pair[1].hour == pair[0].hour + 3_600), "{near:?}");
        assert_eq!(near.iter().map(|hour| u64::from(hour.outcomes)).sum::<u64>(), coverage[0].observations);
        // Twelve steps an hour, each promised at two leads; three of the twelve fall outside.
        assert!(near[1..near.len() - 1].iter().all(|hour| (hour.inside, hour.outcomes) == (18, 24)), "{near:?}");
        assert_eq!(coverage[0].observations, WINDOW as u64);
        assert!(coverage[2].observations > 600 && coverage[2].observations <= WINDOW as u64, "{coverage:?}");
        let mut published = forecast(0);
        tracker.publish(&mut published);
        assert!((published.coverage[0].measured.unwrap() - 0.75).abs() < 0.01);
        assert!(published.trust.score < 0.5 && published.trust.score > 0.3, "{:?}", published.trust);
    }

    #[test]
    fn unknown_is_not_counted() {
        let mut tracker = Tracker::default();
        tracker.made(&forecast(0));
        tracker.observed(0, 12.0, true);
        tracker.observed(1_800, f64::NAN, false);
        tracker.observed(3_600, 12.0, false);
        assert!(tracker.coverage().iter().all(|band| band.measured.is_none()));
        // A lower bound above the interval is a miss all the same.
        tracker.observed(5_400, 30.0, true);
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
            tracker.observed(step * 300, load, false);
        }
        assert!((inside - 800).abs() < 60, "{inside} of 1000");
        let measured = tracker.coverage()[0].measured.unwrap();
        assert!((measured - 0.8).abs() < 0.08, "{measured}");
    }

    #[test]
    fn stays_small_and_survives_serde() {
        let mut tracker = Tracker::default();
        for step in 0..5_000 {
            tracker.made(&forecast(step * 300));
        }
        assert!(tracker.pending.len() <= PENDING);
        let text = serde_json::to_string(&tracker).unwrap();
        assert_eq!(serde_json::from_str::<Tracker>(&text).unwrap(), tracker);
    }
}
