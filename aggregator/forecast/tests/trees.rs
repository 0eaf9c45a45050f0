//! Boosted trees as a user of the crate meets them: what they follow, what they refuse, and that no input breaks them.

use forecast::Series;
use forecast::history::Grid;
use forecast::model::trees::Trees;
use forecast::model::{FitError, Model as _, Prediction};
use proptest::prelude::*;

const HOUR: u32 = 3_600;
const DAY: usize = 24;
const LEVELS: [f64; 5] = [0.05, 0.1, 0.5, 0.9, 0.95];

/// `[level][step]` from the end of the series on.
fn said_of(series: &Series, horizon: usize) -> Result<Vec<Vec<f64>>, FitError> {
    let grid = Grid::new(series, u64::MAX).ok_or(FitError::TooShort { need: 1, have: 0 })?;
    match Trees.fit(&grid.all(), horizon)?.predict(&grid.all(), horizon, &LEVELS)? {
        Prediction::Quantiles(paths) => Ok(paths),
        Prediction::Path(_) => panic!("quantiles were asked for"),
    }
}

fn said(steps: usize, value: impl Fn(usize) -> f64) -> Vec<Vec<f64>> {
    said_of(&Series::new(0, HOUR, (0..steps).map(|at| Some(value(at))).collect()), DAY).unwrap()
}

fn shape(at: usize) -> f64 {
    60.0 + 40.0 * (at as f64 / DAY as f64 * std::f64::consts::TAU).sin()
}

/// In [0, 1), the same for the same step.
fn noise(at: usize) -> f64 {
    let mixed = (at as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((mixed ^ (mixed >> 32)) >> 11) as f64 / (1_u64 << 53) as f64
}

#[test]
fn a_level_that_grows_is_followed_beyond_what_was_ever_seen() {
    let value = |at: usize| shape(at) * 1.02_f64.powf(at as f64 / DAY as f64);
    let steps = 35 * DAY;
    let made = said(steps, value);
    let miss = (0..DAY).map(|step| made[2][step] / value(steps + step) - 1.0).sum::<f64>() / DAY as f64;
    assert!(miss.abs() < 0.03, "{miss}");
    let highest = (0..steps).map(value).fold(0.0, f64::max);
    let peak = made[2].iter().copied().fold(0.0, f64::max);
    assert!(peak > highest, "{peak} {highest}");
}

#[test]
fn a_day_of_the_week_of_its_own_is_learned() {
    let value = |at: usize| shape(at) * if at / DAY % 7 == 5 { 0.4 } else { 1.0 };
    let steps = 40 * DAY;
    let made = said(steps, value);
    assert_eq!(steps / DAY % 7, 5);
    let miss = (0..DAY).map(|step| (made[2][step] - value(steps + step)).abs()).sum::<f64>() / DAY as f64;
    assert!(miss < 6.0, "{miss}");
}

#[test]
fn restless_hours_get_wide_intervals_and_calm_ones_narrow() {
    let restless = |at: usize| (8..16).contains(&(at % DAY));
    let value = |at: usize| 100.0 + if restless(at) { 60.0 } else { 2.0 } * (noise(at) - 0.5);
    let made = said(35 * DAY, value);
    let width = |step: usize| made[3][step] - made[1][step];
    assert!(width(12) > 5.0 * width(2) && width(12) < 70.0, "{} {}", width(12), width(2));
}

#[test]
fn eight_of_ten_lie_between_the_tenth_and_the_ninetieth() {
    let value = |at: usize| shape(at) * (0.7 + 0.6 * noise(at));
    let (mut inside, mut below, mut all) = (0, 0, 0);
    for days in 22..52 {
        let made = said(days * DAY, value);
        for (step, ((low, high), highest)) in made[1].iter().zip(&made[3]).zip(&made[4]).enumerate() {
            let actual = value(days * DAY + step);
            inside += u32::from(*low <= actual && actual <= *high);
            below += u32::from(actual <= *highest);
            all += 1;
        }
    }
    let (inside, below) = (f64::from(inside) / f64::from(all), f64::from(below) / f64::from(all));
    assert!((0.76..0.86).contains(&inside) && (0.92..0.98).contains(&below), "{inside} {below}");
}

#[test]
fn constants_stay_and_zeros_stay_zero() {
    for level in [0.0, 7.5, 1e90] {
        let made = said(10 * DAY, |_| level);
        assert!(made.iter().flatten().all(|value| (value - level).abs() <= 1e-6 * level), "{level}: {made:?}");
    }
}

#[test]
fn what_is_too_short_is_refused_with_what_is_needed() {
    for steps in [1, 3, DAY, 3 * DAY] {
        let series = Series::new(0, HOUR, vec![Some(3.0); steps]);
        match said_of(&series, DAY) {
            Err(FitError::TooShort { need, have }) => assert!(have < need, "{have} {need}"),
            other => panic!("{steps}: {other:?}"),
        }
    }
    let odd = Series::new(0, 7_000, vec![Some(3.0); 500]);
    assert!(matches!(said_of(&odd, 5), Err(FitError::Unsuitable(_))));
}

#[test]
fn saturated_values_do_not_hold_the_upper_quantile_down() {
    let value = |at: usize| shape(at) * (0.8 + 0.4 * noise(at));
    let mut series = Series::new(0, HOUR, (0..40 * DAY).map(|at| Some(value(at).min(90.0))).collect());
    let cut = said_of(&series, DAY).unwrap();
    series.saturated = (0..40 * DAY).map(|at| value(at) > 90.0).collect();
    let bounds = said_of(&series, DAY).unwrap();
    let peak = |paths: &[Vec<f64>]| paths[3][5..8].iter().sum::<f64>() / 3.0;
    assert!(peak(&bounds) > peak(&cut), "{} {}", peak(&bounds), peak(&cut));
}

#[test]
fn the_same_history_gives_the_same_bits_and_another_unit_the_same_shape() {
    let value = |at: usize| shape(at) * (0.8 + 0.4 * noise(at));
    let (once, again) = (said(30 * DAY, value), said(30 * DAY, value));
    assert_eq!(once, again);
    // A power of two changes no digit.
    let other = said(30 * DAY, |at| 1_024.0 * value(at));
    for (a, b) in once.iter().flatten().zip(other.iter().flatten()) {
        assert!((1_024.0 * a - b).abs() <= 1e-6 * b.abs(), "{a} {b}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn nothing_finite_breaks_them(
        values in prop::collection::vec(
            prop_oneof![4 => (0.0..100.0_f64).prop_map(Some), 2 => Just(None), 1 => Just(Some(0.0)), 1 => (0.0..1e100_f64).prop_map(Some)],
            1..400,
        ),
        horizon in 1..60_usize,
        saturated in any::<bool>(),
    ) {
        let mut series = Series::new(1_700_000_000 / 3_600 * 3_600, HOUR, values);
        if saturated {
            series.saturated = (0..series.values.len()).map(|at| at % 3 == 0).collect();
        }
        if let Ok(paths) = said_of(&series, horizon) {
            prop_assert_eq!(paths.len(), LEVELS.len());
            prop_assert!(paths.iter().all(|path| path.len() == horizon));
            prop_assert!(paths.iter().flatten().all(|value| value.is_finite() && *value >= 0.0), "{:?}", paths);
            prop_assert!(paths.windows(2).all(|pair| pair[0].iter().zip(&pair[1]).all(|(low, high)| low <= high)));
        }
    }
}
