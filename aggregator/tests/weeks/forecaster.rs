//! A forecast that costs nothing: the same time yesterday at today's level, with wide quantiles. The
//! weeks are about what is done with a forecast, also a wrong one.

use std::collections::VecDeque;

use planner::demand::Demand;
use planner::evidence::Forecast;
use planner::simulation::Load;

const STEP: i64 = 300;
/// Two hours: the shadow window, the launch lead and a margin.
const STEPS: i64 = 24;
const LEVELS: [(f64, f64); 6] = [(0.05, 0.70), (0.25, 0.88), (0.5, 1.0), (0.9, 1.18), (0.95, 1.25), (0.99, 1.4)];

#[derive(Debug, Default)]
pub struct Forecaster {
    /// Net demand, one value a minute from `start` on.
    minutes: Vec<f64>,
    start: i64,
    /// Gross demand of the last five minutes, as far as it was measured.
    lately: VecDeque<Option<f64>>,
}

impl Forecaster {
    pub fn new(start: i64) -> Self {
        Self { start, ..Self::default() }
    }

    /// One that has lived through the day before `start`.
    pub fn warm(start: i64, load: &mut Load) -> Self {
        let begun = start - 86_400;
        Self {
            minutes: (0..1_440).map(|minute| load.minute(begun + 60 * minute)).collect(),
            start: begun,
            ..Self::default()
        }
    }

    /// A minute, net of the idle baseline, points.
    pub fn take(&mut self, demand: Option<Demand>, baseline: f64) {
        let last = self.minutes.last().copied().unwrap_or_default();
        self.minutes.push(demand.map_or(last, |demand| demand.net(baseline)));
        self.lately.push_back(demand.map(|demand| demand.gross));
        if self.lately.len() > 5 {
            self.lately.pop_front();
        }
    }

    /// Highest gross demand of the last five minutes.
    pub fn lately(&self) -> Option<f64> {
        self.lately.iter().flatten().copied().reduce(f64::max)
    }

    /// `None` on the first day.
    pub fn forecast(&self, now: i64, trust: f64) -> Option<Forecast> {
        let begun = now.div_euclid(STEP) * STEP;
        let at = |time: i64| {
            let minute = usize::try_from((time - 86_400 - self.start).div_euclid(60)).ok()?;
            self.minutes.get(minute).copied()
        };
        let highest = |from: i64| {
            (0..STEP / 60).map(|minute| at(from + 60 * minute)).try_fold(0.0, |most, net| Some(f64::max(most, net?)))
        };
        let recent: f64 = self.minutes.iter().rev().take(15).sum();
        let yesterday: f64 = (1..=15).filter_map(|back| at(now - 60 * back)).sum();
        let level = if yesterday > 0.0 { (recent / yesterday).clamp(0.5, 2.0) } else { 1.0 };
        let points = (0..STEPS).map(|step| highest(begun + step * STEP)).collect::<Option<Vec<f64>>>()?;
        let path = |factor: f64| points.iter().map(|point| point * level * factor).collect();
        Some(Forecast {
            start: begun,
            step_seconds: STEP as u32,
            levels: LEVELS.map(|(level, _)| level).to_vec(),
            paths: LEVELS.map(|(_, factor)| path(factor)).to_vec(),
            model: "yesterday".to_owned(),
            events: Vec::new(),
            trained_at: begun,
            trust,
            measured_coverage: None,
            nominal_coverage: 0.9,
            window_maximum: None,
        })
    }
}
