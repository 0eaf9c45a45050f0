//! Events: what they may do to a forecast, and what they must never do to what is learned and scored.

use forecast::events::{Learned, Occurrence, ordinary, raise};
use forecast::{Forecast, Options, Series, Trust, forecast, select};
use proptest::prelude::*;

const QUARTER: u32 = 900;
const DAY: usize = 96;

fn daily(days: usize) -> Series {
    let value = |index: usize| {
        let phase = index as f64 / DAY as f64 * std::f64::consts::TAU;
        Some(100.0 + 60.0 * phase.sin() + ((index * 7_919) % 13) as f64)
    };
    Series::new(0, QUARTER, (0..days * DAY).map(value).collect())
}

/// The series with `factor` times the load while `sale` lasts.
fn with(series: &Series, sale: &Occurrence, factor: f64) -> Series {
    let mut series = series.clone();
    for (index, value) in series.values.iter_mut().enumerate() {
        let from = i64::from(QUARTER) * index as i64;
        if sale.overlaps(from, from + i64::from(QUARTER)) {
            *value = value.map(|value| value * factor);
        }
    }
    series
}

fn sale(starts: i64, hours: i64, intensity: f64) -> Occurrence {
    Occurrence {
        event: 1,
        name: "sale".into(),
        rises: starts,
        starts,
        ends: starts + hours * 3_600,
        intensity,
        deleted: false,
    }
}

fn run(series: &Series) -> Forecast {
    let options = Options { step_seconds: QUARTER, horizon_steps: DAY, ..Options::default() };
    let champion = select(series, &options).unwrap();
    forecast(series, &champion, &options).unwrap()
}

/// How far the medians of two forecasts are apart, over the mean of the second.
fn apart(one: &Forecast, other: &Forecast) -> f64 {
    let middle = one.levels.iter().position(|level| *level == 0.5).unwrap();
    let total: f64 = other.paths[middle].iter().sum();
    one.paths[middle].iter().zip(&other.paths[middle]).map(|(one, other)| (one - other).abs()).sum::<f64>() / total
}

#[test]
fn yesterdays_sale_is_not_repeated_tomorrow() {
    let calm = daily(10);
    // Eight hours of yesterday, four times the load, announced with a wrong intensity.
    let sale = sale(9 * 86_400 + 6 * 3_600, 8, 1.5);
    let sold = with(&calm, &sale, 4.0);
    let (expected, learned) = (run(&calm), run(&ordinary(sold.clone(), std::slice::from_ref(&sale))));
    assert!(apart(&learned, &expected) < 0.05, "{}", apart(&learned, &expected));
    // What the history would have taught.
    assert!(apart(&run(&sold), &expected) > 0.1, "{}", apart(&run(&sold), &expected));
}

#[test]
fn a_wrong_intensity_spoils_neither_trust_nor_coverage() {
    let calm = run(&daily(10));
    for (hours, real, announced) in [(8, 4.0, 1.5), (8, 1.0, 20.0), (36, 6.0, 2.0)] {
        // It still goes on: the newest hour is all event.
        let sale = sale(10 * 86_400 - hours * 3_600, hours + 12, announced);
        let made = run(&ordinary(with(&daily(10), &sale, real), std::slice::from_ref(&sale)));
        assert_eq!(made.trust.freshness, 1.0, "what is measured is fresh, whatever made it");
        assert!(made.trust.score > 0.85 * calm.trust.score, "{:?} beside {:?}", made.trust, calm.trust);
        for (band, ordinary) in made.coverage.iter().zip(&calm.coverage) {
            let (held, usual) = (band.measured.unwrap(), ordinary.measured.unwrap());
            assert!((held - usual).abs() < 0.1, "{held} beside {usual} of {real} announced as {announced}");
        }
        assert!(apart(&made, &calm) < 0.1, "{real} announced as {announced}: {}", apart(&made, &calm));
    }
}

#[test]
fn a_group_that_never_saw_an_ordinary_day_is_forecast_all_the_same() {
    let always = Occurrence {
        event: 1,
        name: "always".into(),
        rises: i64::MIN,
        starts: i64::MIN,
        ends: i64::MAX,
        intensity: 3.0,
        deleted: false,
    };
    let events = std::slice::from_ref(&always);
    let made = raise(&run(&ordinary(daily(10), events)), events);
    assert!(apart(&made, &run(&daily(10))) < 0.01, "divided and multiplied by the same");
}

#[test]
fn a_thousand_events_are_no_matter() {
    let many: Vec<Occurrence> = (0..1_000).map(|day| sale(day * 86_400, 3, 1.5 + day as f64 / 1_000.0)).collect();
    let series = ordinary(Series::new(0, 60, vec![Some(1.0); 60_000]), &many);
    assert_eq!(series.set_aside.iter().filter(|aside| **aside).count(), 41 * 180 + 180);
}

prop_compose! {
    fn any_occurrence()(rises in -50_000_i64..150_000, climb in 0_i64..20_000, length in 0_i64..120_000,
        intensity in prop_oneof![0.0..120.0, Just(f64::NAN)]) -> Occurrence {
        let starts = rises + climb;
        Occurrence { event: 1, name: "any".into(), rises, starts, ends: starts + length, intensity, deleted: false }
    }
}

prop_compose! {
    fn any_forecast()(start in 0_i64..50_000, step_seconds in 1_u32..4_000, steps in 1_usize..60,
        lows in prop::collection::vec(0.0..1e6, 60), widths in prop::collection::vec(0.0..1e6, 60)) -> Forecast {
        let path = |times: f64| lows.iter().zip(&widths).map(|(low, width)| low + times * width).take(steps).collect();
        Forecast {
            start, step_seconds,
            levels: vec![0.1, 0.5, 0.9],
            paths: vec![path(0.0), path(1.0), path(3.0)],
            model: "any".into(),
            trained_at: start,
            trust: Trust::default(),
            coverage: Vec::new(),
            history_seconds: 0,
            windows: Vec::new(),
            learned: Vec::new(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn an_event_never_lowers_never_disorders_and_raises_only_what_it_touches(
        made in any_forecast(), events in prop::collection::vec(any_occurrence(), 0..6),
    ) {
        let raised = raise(&made, &events);
        for (step, from) in (0..made.paths[0].len()).map(|step| (step, made.start + i64::from(made.step_seconds) * step as i64)) {
            let to = from + i64::from(made.step_seconds);
            let wanted = events.iter().map(|event| event.highest(from, to)).fold(1.0, f64::max);
            for (path, plain) in raised.paths.iter().zip(&made.paths) {
                prop_assert!(path[step].is_finite() && path[step] >= plain[step]);
                prop_assert_eq!(path[step], plain[step] * wanted);
            }
            prop_assert!(raised.paths[0][step] <= raised.paths[1][step] && raised.paths[1][step] <= raised.paths[2][step]);
            if !events.iter().any(|event| event.overlaps(from, to)) {
                prop_assert_eq!(raised.paths[1][step], made.paths[1][step]);
            }
        }
    }

    #[test]
    fn whatever_was_learned_of_an_event_it_is_never_lowered_nor_disordered_and_raised_only_where_it_is(
        mut made in any_forecast(), events in prop::collection::vec(any_occurrence(), 0..6),
        shares in prop::array::uniform3(0.0..10.0), deviations in prop::array::uniform3(0.0..3.0),
    ) {
        made.learned = vec![Learned { event: 1, shares, deviations }];
        let raised = raise(&made, &events);
        for (step, from) in (0..made.paths[0].len()).map(|step| (step, made.start + i64::from(made.step_seconds) * step as i64)) {
            let touched = events.iter().any(|event| event.overlaps(from, from + i64::from(made.step_seconds)));
            for (path, plain) in raised.paths.iter().zip(&made.paths) {
                prop_assert!(path[step].is_finite() && path[step] >= plain[step]);
                prop_assert!(touched || path[step] == plain[step]);
            }
            prop_assert!(raised.paths[0][step] <= raised.paths[1][step] && raised.paths[1][step] <= raised.paths[2][step]);
        }
    }

    #[test]
    fn one_more_event_or_a_higher_intensity_never_lowers(
        made in any_forecast(), events in prop::collection::vec(any_occurrence(), 0..4), more in any_occurrence(), by in 1.0..3.0,
    ) {
        let at_least = |higher: &Forecast, lower: &Forecast| {
            higher.paths.iter().flatten().zip(lower.paths.iter().flatten()).all(|(high, low)| high >= low)
        };
        let one_more: Vec<_> = events.iter().cloned().chain([more]).collect();
        prop_assert!(at_least(&raise(&made, &one_more), &raise(&made, &events)));
        let stronger: Vec<_> = events.iter().cloned().map(|event| Occurrence { intensity: event.intensity * by, ..event }).collect();
        prop_assert!(at_least(&raise(&made, &stronger), &raise(&made, &events)));
    }

    #[test]
    fn minutes_outside_events_are_learned_as_they_are(
        events in prop::collection::vec(any_occurrence(), 0..5), length in 1_usize..2_500,
    ) {
        let series = Series::new(-600, 60, (0..length).map(|minute| (minute % 7 != 3).then_some(6.0)).collect());
        let seen = ordinary(series.clone(), &events);
        prop_assert_eq!(seen.values.len(), length);
        for minute in 0..length {
            let from = -600 + 60 * minute as i64;
            let inside = events.iter().any(|event| event.highest(from, from + 60) > 1.0);
            if !inside {
                prop_assert_eq!(seen.value(minute), series.value(minute));
                prop_assert!(!seen.is_set_aside(minute));
            } else if !seen.set_aside.is_empty() {
                prop_assert!(seen.is_set_aside(minute));
            } else {
                prop_assert!(seen.value(minute) <= series.value(minute));
            }
        }
    }
}

/// Fifteen days with a sale of three hours every second day, announced as `announced` times the load and really `real` times it; the next one is tomorrow.
fn repeated(announced: f64, real: f64) -> (Series, Vec<Occurrence>) {
    let day = 86_400;
    let sales: Vec<Occurrence> = (0..8).map(|turn| sale((2 * turn + 1) * day + 9 * 3_600, 3, announced)).collect();
    let sold = sales.iter().take(7).fold(daily(15), |series, sale| with(&series, sale, real));
    (ordinary(sold, &sales), sales)
}

/// Medians of the raised forecast over those of the own one, in the middle of tomorrow's sale.
fn raised_by(made: &Forecast, sales: &[Occurrence]) -> f64 {
    let at = sales.last().unwrap().starts + 5_400;
    raise(made, sales).at(at, 0.5).unwrap() / made.at(at, 0.5).unwrap()
}

#[test]
fn arima_alone_forecasts_what_a_repeated_event_really_came_to() {
    let options = Options {
        step_seconds: QUARTER,
        horizon_steps: DAY,
        only: Some("auto_arima".to_owned()),
        ..Options::default()
    };
    for (announced, real) in [(3.0, 1.6), (2.0, 3.0), (4.0, 1.0)] {
        let (series, sales) = repeated(announced, real);
        let champion = select(&series, &options).unwrap();
        let made = forecast(&series, &champion, &options).unwrap();
        let came = raised_by(&made, &sales);
        assert!(
            (came / real - 1.0).abs() < 0.1,
            "{announced} announced, {real} came, {came} forecast: {:?}",
            made.learned
        );
        // It is applied once: the own paths are those of a load without any sale.
        let calm = forecast(&daily(15), &select(&daily(15), &options).unwrap(), &options).unwrap();
        assert!(apart(&made, &calm) < 0.05, "{}", apart(&made, &calm));
        // An event that never was before is believed.
        let new = Occurrence { event: 2, ..sales.last().unwrap().clone() };
        assert!((raised_by(&made, &[new]) - announced).abs() < 1e-9);
    }
}

#[test]
fn an_event_that_came_to_something_else_each_time_widens_the_interval() {
    let day = 86_400;
    let sales: Vec<Occurrence> = (0..8).map(|turn| sale((2 * turn + 1) * day + 9 * 3_600, 3, 3.0)).collect();
    let options = Options {
        step_seconds: QUARTER,
        horizon_steps: DAY,
        only: Some("auto_arima".to_owned()),
        ..Options::default()
    };
    let relative = |each: [f64; 7]| {
        let sold = sales.iter().zip(each).fold(daily(15), |series, (sale, real)| with(&series, sale, real));
        let series = ordinary(sold, &sales);
        let made = forecast(&series, &select(&series, &options).unwrap(), &options).unwrap();
        let (raised, at) = (raise(&made, &sales), sales[7].starts + 5_400);
        (raised.at(at, 0.9).unwrap() - raised.at(at, 0.1).unwrap()) / raised.at(at, 0.5).unwrap()
    };
    let (steady, various) = (relative([2.0; 7]), relative([1.2, 2.8, 1.5, 2.5, 1.3, 2.7, 2.0]));
    assert!(various > 2.0 * steady, "{various} beside {steady}");
}

#[test]
fn the_mixture_follows_what_was_learned_as_far_as_those_who_learned_it_have_a_share() {
    let (series, sales) = repeated(3.0, 1.5);
    let made = run(&series);
    let raised = raise(&made, &sales);
    let came = raised_by(&made, &sales);
    let arima = made.model.contains("auto_arima");
    assert!(if arima { came < 3.0 && came > 1.4 } else { (came - 3.0).abs() < 1e-9 }, "{came} by {}", made.model);
    for (low, high) in raised.paths.iter().zip(&raised.paths[1..]) {
        assert!(low.iter().zip(high).all(|(low, high)| low <= high), "quantiles stay in order");
    }
    for (own, raised) in made.paths.iter().flatten().zip(raised.paths.iter().flatten()) {
        assert!(raised >= own, "never lowered");
    }
}
