use std::sync::Arc;

use proptest::prelude::*;
use serde::Deserialize;

use super::curve::data;
use super::posterior::Data;
use super::*;
use crate::history::Grid;
use crate::series::Series;

/// Written by `tests/oracles/prophet.py`: a series, and what Python's prophet makes of it.
#[derive(Debug, Deserialize)]
struct Case {
    start: i64,
    step_seconds: u32,
    flat: bool,
    multiplicative: bool,
    events: Vec<(usize, usize)>,
    values: Vec<Option<f64>>,
    slope: f64,
    offset: f64,
    noise: f64,
    bends: Vec<f64>,
    coefficients: Vec<f64>,
    daily: usize,
    weekly: usize,
    changepoints: Vec<f64>,
    forecast: Vec<f64>,
}

impl Case {
    fn all() -> Vec<(String, Self)> {
        let text = include_str!("../../../tests/oracles/prophet.json");
        let cases: std::collections::BTreeMap<String, Self> = serde_json::from_str(text).unwrap();
        assert_eq!(cases.len(), 5);
        cases.into_iter().collect()
    }

    fn middle(&self, index: usize) -> f64 {
        self.start as f64 + (index as f64 + 0.5) * f64::from(self.step_seconds)
    }

    /// What the event adds at a step; nothing where the case has no event.
    fn event(&self, index: usize) -> Vec<f64> {
        let within = self.events.iter().any(|(from, to)| (*from..*to).contains(&index));
        if self.events.is_empty() { Vec::new() } else { vec![f64::from(u8::from(within))] }
    }

    fn points(&self) -> Points {
        let mut points = Points::new(self.event(0).len());
        for (index, value) in self.values.iter().enumerate() {
            if let Some(value) = value {
                points.times.push(self.middle(index));
                points.values.push(*value);
                points.events.extend(self.event(index));
            }
        }
        points
    }

    fn setup(&self) -> Setup {
        Setup {
            bends: !self.flat,
            levels_off: false,
            seasons: Seasons { daily: self.daily, weekly: self.weekly },
            multiplicative: self.multiplicative,
            announced: false,
        }
    }

    fn data(&self) -> Data {
        let points = self.points();
        let t = points.times.iter().map(|time| (time - points.times[0]) / points.span_seconds()).collect();
        data(&points, t, points.values.iter().copied().fold(0.0, f64::max), &self.setup())
    }

    /// The original's parameters in our order. Its flat trend has bends that act on nothing.
    fn theirs(&self) -> Vec<f64> {
        let bends = if self.flat { &[] } else { self.bends.as_slice() };
        [&[self.slope, self.offset, self.noise.ln()], bends, &self.coefficients].concat()
    }
}

#[test]
fn forecasts_and_parameters_are_those_of_pythons_prophet() {
    for (name, case) in Case::all() {
        let curve = Curve::fit(&case.points(), &case.setup()).unwrap();
        if !case.flat {
            assert_eq!(curve.changepoints.len(), case.changepoints.len(), "{name}");
            assert!(curve.changepoints.iter().zip(&case.changepoints).all(|(a, b)| (a - b).abs() < 1e-8), "{name}");
        }
        let mean = case.forecast.iter().sum::<f64>() / case.forecast.len() as f64;
        for (ahead, theirs) in case.forecast.iter().enumerate() {
            let index = case.values.len() + ahead;
            let ours = curve.at(case.middle(index), &case.event(index));
            assert!((ours - theirs).abs() < 0.02 * mean, "{name}, {ahead} steps ahead: {ours}, theirs {theirs}");
        }
        assert!((curve.parameters.noise / case.noise - 1.0).abs() < 0.01, "{name}: {:?}", curve.parameters);
        // At least as probable as where the original stopped.
        let theirs = case.theirs();
        let badness = case.data().value(&theirs, &mut vec![0.0; theirs.len()]);
        let ours = case.data().fit().unwrap().value;
        assert!(ours <= badness + 0.01, "{name}: {ours} beside {badness}");
    }
}

#[test]
fn the_gradient_is_that_of_finite_differences() {
    for (name, case) in Case::all() {
        let data = case.data();
        let mut at = case.theirs();
        // Off the maximum, some bends small enough to be rounded off.
        for (place, value) in at.iter_mut().enumerate() {
            *value += 0.02 * ((place * 7919) % 13) as f64 / 13.0 - 0.01;
            if place % 5 == 4 {
                *value *= 1e-3;
            }
        }
        let mut gradient = vec![0.0; at.len()];
        data.value(&at, &mut gradient);
        let mut ignored = gradient.clone();
        for place in 0..at.len() {
            let middle = at[place];
            let mut side = |by: f64| {
                at[place] = middle + by;
                data.value(&at, &mut ignored)
            };
            let width = 1e-6;
            let difference = (side(width) - side(-width)) / (2.0 * width);
            at[place] = middle;
            let miss = (difference - gradient[place]).abs();
            assert!(miss < 1e-4 * (1.0 + gradient[place].abs()), "{name}, {place}: {difference} {}", gradient[place]);
        }
    }
}

const HOUR: u32 = 3_600;

fn grid(step_seconds: u32, values: Vec<Option<f64>>) -> Option<Grid> {
    Grid::new(&Series::new(1_700_000_400 / 86_400 * 86_400, step_seconds, values), u64::MAX)
}

fn said(model: &Prophet, grid: &Grid, horizon: usize) -> Vec<f64> {
    let history = grid.all();
    match model.fit(&history, horizon).unwrap().predict(&history, horizon, &[]).unwrap() {
        Prediction::Path(path) => path,
        Prediction::Quantiles(_) => panic!("a path"),
    }
}

fn any_load() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        2 => Just(None),
        8 => (0.0..100.0).prop_map(Some),
        1 => Just(Some(0.0)),
        1 => (0.0..1e99).prop_map(Some),
        1 => (0.0..1e-300).prop_map(Some),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_in_the_path_is_finite_within_reach_and_repeatable(
        values in prop::collection::vec(any_load(), 0..700), step in prop_oneof![Just(300_u32), Just(900), Just(HOUR), Just(7_201)],
    ) {
        let Some(grid) = grid(step, values) else { return Ok(()) };
        let Ok(fitted) = Prophet::default().fit(&grid.all(), 100) else { return Ok(()) };
        let first = fitted.predict(&grid.all(), 100, &[]).unwrap();
        let highest = grid.all().values.iter().copied().fold(0.0, f64::max);
        let Prediction::Path(path) = &first else { panic!("a path") };
        prop_assert!(path.iter().all(|value| (0.0..=2.0 * highest).contains(value)), "{:?}", path);
        let again = Prophet::default().fit(&grid.all(), 100).unwrap().predict(&grid.all(), 100, &[]).unwrap();
        prop_assert_eq!(first, again);
    }
}

#[test]
fn constant_and_zero_loads_stay_and_a_few_points_make_a_line() {
    for value in [0.0, 42.0, 1e99] {
        let path = said(&Prophet::default(), &grid(HOUR, vec![Some(value); 24 * 20]).unwrap(), 24);
        assert!(path.iter().all(|said| (said - value).abs() <= 1e-6 * value), "{value}: {path:?}");
    }
    let mut points = Points::new(0);
    let setup = Setup {
        bends: true,
        levels_off: false,
        seasons: Seasons { daily: 4, weekly: 3 },
        multiplicative: false,
        announced: true,
    };
    for (time, value) in [(0.0, 10.0), (3_600.0, 11.0), (7_200.0, 13.0)] {
        assert!(Curve::fit(&points, &setup).is_none_or(|curve| curve.at(1e5, &[]).is_finite()));
        points.times.push(time);
        points.values.push(value);
    }
    let curve = Curve::fit(&points, &setup).unwrap();
    assert!((0.0..=16.0).contains(&curve.at(10_800.0, &[])), "{curve:?}");
}

#[test]
fn nothing_is_learned_from_what_was_filled_in() {
    let load = |index: usize| 100.0 + 50.0 * (index as f64 / 24.0 * std::f64::consts::TAU).sin();
    let gone = |index: usize| index % 11 == 3 || (200..290).contains(&index) || (360..380).contains(&index);
    let values = (0..480).map(|index| (!gone(index)).then(|| load(index))).collect();
    let path = said(&Prophet::default(), &grid(HOUR, values).unwrap(), 48);
    assert!(path.iter().enumerate().all(|(ahead, value)| (value - load(480 + ahead)).abs() < 1.0), "{path:?}");
}

#[test]
fn an_announced_effect_is_learned_and_an_unknown_one_believed() {
    let load = |index: usize| 100.0 + 30.0 * (index as f64 / 24.0 * std::f64::consts::TAU).sin();
    let grid_start = i64::from(1_700_000_400 / 86_400 * 86_400_i32);
    let occurrence = |event: i64, hours: (i64, i64), intensity: f64| Occurrence {
        event,
        name: Arc::from("sale"),
        rises: grid_start + hours.0 * i64::from(HOUR),
        starts: grid_start + hours.0 * i64::from(HOUR),
        ends: grid_start + hours.1 * i64::from(HOUR),
        intensity,
        deleted: false,
    };
    // Announced as three times the load, it brought half as much again each time.
    let sales = [(100, 106), (201, 204), (300, 312)];
    let came = |index: usize| sales.iter().any(|(from, to)| (*from..*to).contains(&(index as i64)));
    let values = (0..480).map(|index| Some(load(index) + if came(index) { 50.0 } else { 0.0 })).collect();
    let grid = grid(HOUR, values).unwrap();
    let mut occurrences: Vec<Occurrence> = sales.into_iter().map(|hours| occurrence(1, hours, 3.0)).collect();
    occurrences.extend([occurrence(1, (490, 493), 3.0), occurrence(2, (500, 502), 1.7)]);
    occurrences.push(Occurrence { deleted: true, ..occurrence(3, (505, 507), 9.0) });
    let path = said(&Prophet::with_regressors(occurrences), &grid, 48);
    let plain = said(&Prophet::default(), &grid, 48);
    for (ahead, value) in path.iter().enumerate() {
        let hour = 480 + ahead;
        let more = match hour {
            490..493 => 50.0,
            500..502 => 70.0,
            _ => 0.0,
        };
        assert!((value - load(hour) - more).abs() < 5.0, "{hour}: {value} for {}", load(hour) + more);
    }
    assert!((plain[10] - path[10]).abs() > 40.0, "{} {}", plain[10], path[10]);
}

#[test]
fn the_trend_follows_a_load_that_moves_and_then_stays_level() {
    let season = |index: usize| 20.0 * (index as f64 / 24.0 * std::f64::consts::TAU).sin();
    let noise = |index: usize| (index * 7919 % 101) as f64 / 50.0 - 1.0;
    let path = |level: &dyn Fn(usize) -> f64| {
        let values = (0..480).map(|index| Some(level(index) + season(index) + noise(index))).collect();
        said(&Prophet::default(), &grid(HOUR, values).unwrap(), 24)
    };
    // Twice as much within three weeks: a flat trend would be a quarter too low.
    for (ahead, value) in path(&|index| 100.0 + 0.2 * index as f64).iter().enumerate() {
        assert!((value - 196.0 - season(480 + ahead)).abs() < 6.0, "{ahead}: {value}");
    }
    for (ahead, value) in path(&|_| 100.0).iter().enumerate() {
        assert!((value - 100.0 - season(480 + ahead)).abs() < 2.0, "{ahead}: {value}");
    }
}
