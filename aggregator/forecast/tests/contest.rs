//! A contest that lives on says what one from nothing says, keeps little, and does little.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use forecast::history::History;
use forecast::model::{FitError, Fitted, Model, Prediction};
use forecast::{Contest, Options, Pool, Series};
use proptest::prelude::*;

const QUARTER: u32 = 900;
const DAY: usize = 96;

fn options() -> Options {
    Options { step_seconds: QUARTER, horizon_steps: DAY, ..Options::default() }
}

/// A daily shape with noise, gaps and a few wild values.
fn series(steps: usize, seed: u64) -> Series {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let value = |index: usize, noise: f64, fate: f64| {
        let shape = 100.0 + 60.0 * (index as f64 / DAY as f64 * std::f64::consts::TAU).sin();
        if fate < 0.02 { None } else { Some(if fate > 0.998 { 5_000.0 } else { shape + 20.0 * noise }) }
    };
    let values = (0..steps).map(|index| value(index, noise(), noise())).collect();
    Series::new(1_699_999_200 / 900 * 900, QUARTER, values)
}

fn first(series: &Series, steps: usize) -> Series {
    Series { values: series.values[..steps].to_vec(), ..series.clone() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn whatever_way_it_came_to_a_history_it_says_the_same(
        seed: u64,
        length in 20_usize..12 * DAY,
        stops in prop::collection::vec(0.0_f64..1.0, 0..12),
    ) {
        let whole = series(length, seed);
        let mut contest = Contest::new(&Pool::default(), &options()).unwrap();
        let mut stops: Vec<usize> = stops.iter().map(|stop| (stop * length as f64) as usize).collect();
        stops.sort_unstable();
        for stop in stops {
            // What is too short says so, and is no reason to be another contest afterwards.
            drop(contest.forecast(&first(&whole, stop)));
        }
        let walked = contest.forecast(&whole);
        let mut fresh = Contest::new(&Pool::default(), &options()).unwrap();
        prop_assert_eq!(walked, fresh.forecast(&whole));
        prop_assert_eq!(contest.champion(), fresh.champion());
    }
}

/// The level of the last hour; counts how often it is fitted and asked.
#[derive(Debug, Default)]
struct Counted {
    fits: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct FittedCounted(Arc<AtomicUsize>);

impl Model for Counted {
    fn name(&self) -> &str {
        "counted"
    }

    fn fit(&self, _history: &History<'_>, _horizon: usize) -> Result<Box<dyn Fitted>, FitError> {
        self.fits.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(FittedCounted(Arc::clone(&self.asked))))
    }
}

impl Fitted for FittedCounted {
    fn predict(&self, history: &History<'_>, horizon: usize, _levels: &[f64]) -> Result<Prediction, FitError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let last = history.values.last().copied().unwrap_or_default();
        Ok(Prediction::Path(vec![last; horizon]))
    }
}

#[test]
fn a_day_of_steps_asks_for_each_step_and_each_new_origin_once() {
    let whole = series(22 * DAY, 7);
    let model = Counted::default();
    let (fits, asked) = (Arc::clone(&model.fits), Arc::clone(&model.asked));
    let pool = Pool::default().only("level").with(Arc::new(model));
    let mut contest = Contest::new(&pool, &options()).unwrap();
    contest.forecast(&first(&whole, 21 * DAY)).unwrap();
    let (fits_before, asked_before) = (fits.load(Ordering::Relaxed), asked.load(Ordering::Relaxed));
    for step in 1..=DAY {
        contest.forecast(&first(&whole, 21 * DAY + step)).unwrap();
    }
    let (fits, asked) = (fits.load(Ordering::Relaxed) - fits_before, asked.load(Ordering::Relaxed) - asked_before);
    assert!(asked <= DAY + 5, "{asked} questions for {DAY} steps and three or four origins");
    assert!(fits <= 5, "{fits} fits in a day");
}

#[test]
fn memory_does_not_grow_with_time() {
    let whole = series(60 * DAY, 3);
    let mut contest = Contest::new(&Pool::default(), &options()).unwrap();
    let mut most = 0;
    for days in [20, 30, 45, 60] {
        contest.forecast(&first(&whole, days * DAY)).unwrap();
        most = most.max(contest.bytes());
    }
    assert!(most < 200_000 && contest.bytes() <= most, "{most}");
}

#[test]
fn a_restart_forecasts_at_once_with_what_was_known_and_catches_up() {
    let whole = series(20 * DAY, 11);
    let mut before = Contest::new(&Pool::default(), &options()).unwrap();
    before.forecast(&first(&whole, 20 * DAY - 1)).unwrap();
    let kept = serde_json::to_string(before.champion().unwrap()).unwrap();
    let champion = serde_json::from_str(&kept).unwrap();
    let mut after = Contest::resume(&Pool::default(), &options(), champion).unwrap();
    let made = after.forecast(&whole).unwrap();
    assert_eq!(made.trained_at, before.champion().unwrap().trained_at, "the old champion speaks");
    let mut rounds = 1;
    while after.learn(&whole, 8).unwrap() > 0 {
        rounds += 1;
        assert!(rounds < 20);
    }
    let mut fresh = Contest::new(&Pool::default(), &options()).unwrap();
    assert_eq!(after.forecast(&whole), fresh.forecast(&whole));
    let other = Options { step_seconds: 1_800, ..options() };
    assert!(Contest::resume(&Pool::default(), &other, before.champion().unwrap().clone()).is_err());
}

#[test]
fn a_past_that_was_revised_is_asked_anew() {
    let whole = series(16 * DAY, 5);
    let mut revised = whole.clone();
    revised.values.iter_mut().flatten().for_each(|value| *value *= 0.8);
    let mut contest = Contest::new(&Pool::default(), &options()).unwrap();
    contest.forecast(&whole).unwrap();
    while contest.learn(&revised, 8).unwrap() > 0 {}
    let mut fresh = Contest::new(&Pool::default(), &options()).unwrap();
    assert_eq!(contest.forecast(&revised), fresh.forecast(&revised));
}

#[test]
fn what_comes_later_changes_no_earlier_answer() {
    let rows = |after: f64| -> Vec<(i64, f64)> {
        let known = series(12 * DAY, 9);
        let value = |index: usize| if index < 9 * DAY { known.value(index).unwrap_or(100.0) } else { after };
        (0..12 * DAY).map(|index| (known.start + index as i64 * i64::from(QUARTER), value(index))).collect()
    };
    let options = forecast::score::options(QUARTER, DAY, None);
    let origins: Vec<i64> = [6, 7, 8, 9].map(|days| rows(0.0)[days * DAY].0).to_vec();
    let answers = |rows: &[(i64, f64)]| {
        let mut contest = Contest::new(&Pool::default(), &options).unwrap();
        origins.iter().map(|at| forecast::score::next(&mut contest, rows, *at).unwrap()).collect::<Vec<_>>()
    };
    let (low, high) = (answers(&rows(0.0)), answers(&rows(1e6)));
    assert_eq!(low, high);
    for (at, answer) in origins.iter().zip(&low) {
        assert_eq!(answer, &forecast::score::quantiles(&rows(0.0), *at, &options).unwrap(), "as from nothing");
    }
}

/// The maximum over windows holds what it promises on series nothing was tuned on.
#[test]
fn window_maxima_hold_what_they_promise() {
    let pool = Pool::default();
    let only = Options { only: Some("empirical_seasonal".into()), ..options() };
    let (mut below, mut all) = ([0.0; 3], 0.0);
    for seed in 20..26 {
        let whole = series(30 * DAY, seed);
        let mut contest = Contest::new(&pool, &only).unwrap();
        for origin in (16 * DAY..29 * DAY).step_by(13) {
            let made = contest.forecast(&first(&whole, origin)).unwrap();
            let until = made.start + 4 * 3_600;
            let values = (origin..origin + 16).filter_map(|index| whole.value(index)).filter(|value| *value < 1_000.0);
            let largest = values.fold(0.0, f64::max);
            for (count, level) in below.iter_mut().zip([0.5, 0.9, 0.95]) {
                let quantile = made.window_maximum(made.start, until, level).unwrap();
                *count += f64::from(u8::from(largest <= quantile));
            }
            all += 1.0;
        }
    }
    let held = below.map(|count| count / all);
    assert!(all > 500.0 && (0.4..=0.75).contains(&held[0]), "{held:?}");
    assert!((0.86..=0.96).contains(&held[1]) && (0.91..=0.99).contains(&held[2]), "{held:?}");
}

/// A load that follows the clocks is forecast as well across a change of the clocks as on any other day.
#[test]
fn seasons_follow_the_clocks_of_the_zone() {
    let change = 1_700_006_400 + 20 * 86_400;
    let before = forecast::Transition { at: 0, offset_seconds: 3_600 };
    let zone = forecast::Zone(vec![before, forecast::Transition { at: change, offset_seconds: 7_200 }]);
    let start = change - 20 * 86_400;
    let load = |at: i64| {
        let clock = at + if at >= change { 7_200 } else { 3_600 };
        if (9..17).contains(&(clock.rem_euclid(86_400) / 3_600)) { 100.0 } else { 10.0 }
    };
    let steps = 20 * DAY - 8;
    let at = |index: usize| start + index as i64 * i64::from(QUARTER);
    let history = Series::new(start, QUARTER, (0..steps).map(|index| Some(load(at(index)))).collect());
    let missed = |zone: forecast::Zone| {
        let mut contest = Contest::new(&Pool::default(), &Options { zone, ..options() }).unwrap();
        let made = contest.forecast(&history).unwrap();
        assert_eq!((made.start, made.paths[2].len()), (at(steps), DAY));
        let miss = |step: usize| (made.paths[2][step] - load(at(steps + step))).abs();
        (0..DAY).map(miss).sum::<f64>() / DAY as f64
    };
    let (without, with) = (missed(forecast::Zone::default()), missed(zone));
    assert!(with < 1.0 && without > 5.0, "{with} {without}");
}
