//! Did the intervals hold? Forecasts of the scored time against what came, by how far ahead they were made.

use serde::Serialize;

use super::Setting;
use super::foresight::Foresight;
use super::load::Load;

/// What an upper quantile, and an interval, promised and held at one reach.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Held {
    /// From the making of a forecast to the start of its step, seconds.
    pub ahead_seconds: u32,
    pub steps: u32,
    /// Share of steps that stayed at or below each level: promised, held.
    pub below: Vec<(f64, f64)>,
    /// Share of steps within the interval from the 10 % to the 90 % quantile.
    pub within_80: f64,
}

/// Reaches that are looked at, seconds; the launch lead comes besides.
const REACHES: [u32; 3] = [0, 3_600, 7_200];

/// Measures every forecast whose step lies in the scored minutes.
pub fn measured(load: &Load, setting: &Setting, foresight: &Foresight) -> Vec<Held> {
    let Some(step) = foresight.by_step.values().next().map(|forecast| forecast.step_seconds) else { return Vec::new() };
    let mut reaches: Vec<u32> = REACHES.to_vec();
    reaches.push(setting.startup.div_ceil(step) * step);
    reaches.sort_unstable();
    reaches.dedup();
    reaches.into_iter().filter_map(|ahead| at(load, setting, foresight, step, ahead)).collect()
}

fn at(load: &Load, setting: &Setting, foresight: &Foresight, step: u32, ahead: u32) -> Option<Held> {
    let index = (ahead / step) as usize;
    let levels = foresight.by_step.values().next()?.levels.clone();
    let (mut steps, mut within, mut below) = (0_u32, 0_u32, vec![0_u32; levels.len()]);
    for forecast in foresight.by_step.values() {
        let start = forecast.start + i64::from(ahead);
        let Some(actual) = highest(load, setting, start, step) else { continue };
        let value = |level: usize| forecast.paths.get(level).and_then(|path| path.get(index)).copied();
        if value(0).is_none() {
            continue;
        }
        steps += 1;
        for (level, count) in below.iter_mut().enumerate() {
            *count += u32::from(value(level).is_some_and(|value| actual <= value));
        }
        let (low, high) = (forecast.at(start, 0.1), forecast.at(start, 0.9));
        within += u32::from(low.zip(high).is_some_and(|(low, high)| low <= actual && actual <= high));
    }
    let share = |count: u32| f64::from(count) / f64::from(steps);
    (steps > 0).then(|| Held {
        ahead_seconds: ahead,
        steps,
        below: levels.into_iter().zip(below.into_iter().map(share)).collect(),
        within_80: share(within),
    })
}

/// Highest demand of the minutes of a step that is wholly scored, points.
pub fn highest(load: &Load, setting: &Setting, start: i64, step: u32) -> Option<f64> {
    let first = usize::try_from((start - load.start).div_euclid(60)).ok().filter(|first| *first >= load.from)?;
    let last = first + (step / 60) as usize;
    (last <= load.minutes.len()).then(|| (first..last).map(|at| load.demand(at, setting)).fold(0.0, f64::max))
}
