//! What auto-ARIMA must keep, whatever the history looks like.

use forecast::Series;
use forecast::history::Grid;
use forecast::model::arima::AutoArima;
use forecast::model::{FitError, Model, Prediction};
use proptest::prelude::*;

const QUARTER: u32 = 900;
const DAY: usize = 96;
const LEVELS: [f64; 5] = [0.05, 0.1, 0.5, 0.9, 0.95];

/// Noise with variance 1: the same seed, the same noise.
fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    move || ((0..12).map(|_| uniform()).sum::<f64>() - 6.0).clamp(-4.0, 4.0)
}

fn grid(values: Vec<Option<f64>>, saturated: Vec<bool>) -> Option<Grid> {
    let mut series = Series::new(0, QUARTER, values);
    series.saturated = saturated;
    Grid::new(&series, u64::MAX)
}

fn paths(grid: &Grid, horizon: usize) -> Result<Vec<Vec<f64>>, FitError> {
    let history = grid.all();
    match AutoArima.fit(&history, horizon)?.predict(&history, horizon, &LEVELS)? {
        Prediction::Quantiles(paths) => Ok(paths),
        Prediction::Path(path) => panic!("quantiles are its own: {path:?}"),
    }
}

fn any_value() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        2 => Just(None),
        8 => (0.0..100.0).prop_map(Some),
        1 => Just(Some(0.0)),
        1 => (0.0..1e9).prop_map(Some),
        1 => (0.0..1e-9).prop_map(Some),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_in_what_goes_out_is_finite_sorted_and_repeatable(
        values in prop::collection::vec(any_value(), 0..700),
        saturated in prop::collection::vec(any::<bool>(), 0..700),
    ) {
        let Some(grid) = grid(values, saturated) else { return Ok(()) };
        match paths(&grid, DAY) {
            Ok(made) => {
                let largest = grid.all().values.iter().copied().fold(0.0, f64::max);
                prop_assert!(made.len() == LEVELS.len() && made.iter().all(|path| path.len() == DAY));
                prop_assert!(made.iter().flatten().all(|value| (0.0..=2.0 * largest).contains(value)));
                for pair in made.windows(2) {
                    prop_assert!(pair[0].iter().zip(&pair[1]).all(|(low, high)| low <= high));
                }
                prop_assert_eq!(made, paths(&grid, DAY).unwrap());
            }
            Err(FitError::TooShort { need, have }) => prop_assert!(have < need),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn gaps_everywhere_leave_the_season_where_it_is(seed: u64, every in 2_usize..12) {
        let shape = |at: usize| 50.0 + 30.0 * (at as f64 / DAY as f64 * std::f64::consts::TAU).sin();
        let mut noise = noise(seed);
        let value = |at: usize, noise: f64| (!at.is_multiple_of(every)).then_some(shape(at) + noise);
        let kept = (0..8 * DAY).map(|at| value(at, noise())).collect();
        let made = paths(&grid(kept, Vec::new()).unwrap(), DAY).unwrap();
        for (step, middle) in made[2].iter().enumerate() {
            prop_assert!((middle - shape(8 * DAY + step)).abs() < 3.0, "step {step}: {middle}");
        }
    }
}

#[test]
fn constants_stay_and_zeros_stay_zero() {
    for value in [0.0, 1e-9, 7.0, 1e9] {
        for length in [16, 100, 30 * DAY] {
            let made = paths(&grid(vec![Some(value); length], Vec::new()).unwrap(), 10).unwrap();
            let near = |got: &f64| (got - value).abs() <= 1e-9 * value;
            assert!(made.iter().flatten().all(near), "{length} of {value}: {made:?}");
        }
    }
}

#[test]
fn three_points_are_too_few_and_it_says_how_many_it_needs() {
    let answer = AutoArima.fit(&grid(vec![Some(1.0), Some(2.0), Some(4.0)], Vec::new()).unwrap().all(), 10);
    assert_eq!(answer.unwrap_err(), FitError::TooShort { need: 16, have: 3 });
    // Filled steps are not observations.
    let sparse = (0..100).map(|at| (at % 10 == 0).then_some(1.0)).collect();
    let answer = AutoArima.fit(&grid(sparse, Vec::new()).unwrap().all(), 10);
    assert_eq!(answer.unwrap_err(), FitError::TooShort { need: 16, have: 10 });
}

#[test]
fn a_larger_unit_changes_nothing_else() {
    let mut noise = noise(5);
    let values: Vec<f64> = (0..9 * DAY).map(|at| 60.0 + 20.0 * (at as f64 / 15.0).sin() + 4.0 * noise()).collect();
    let of =
        |unit: f64| paths(&grid(values.iter().map(|v| Some(v * unit)).collect(), Vec::new()).unwrap(), DAY).unwrap();
    let (one, other) = (of(1.0), of(4_096.0));
    assert!(one.iter().flatten().zip(other.iter().flatten()).all(|(a, b)| (a * 4_096.0 - b).abs() <= 1e-6 * b));
}

#[test]
fn a_bound_is_not_an_observation_that_pulls_down() {
    let mut noise = noise(9);
    let mut level = 0.0;
    let mut low: Vec<Option<f64>> = (0..3 * DAY)
        .map(|_| {
            level = 0.95 * level + noise();
            Some(50.0 + level)
        })
        .collect();
    // The last hour reads low because the instances were saturated at less: it can have been anything above.
    low.iter_mut().rev().take(4).for_each(|value| *value = Some(40.0));
    let marks: Vec<bool> = (0..3 * DAY).map(|at| at >= 3 * DAY - 4).collect();
    let believed = paths(&grid(low.clone(), Vec::new()).unwrap(), 4).unwrap();
    let bounds = paths(&grid(low, marks).unwrap(), 4).unwrap();
    assert!(bounds[2][0] > believed[2][0] + 3.0, "{} {}", bounds[2][0], believed[2][0]);
}

/// Of a process that is what the model assumes, the intervals hold what they promise, near and far.
#[test]
fn intervals_hold_on_what_the_model_assumes() {
    let (mut inside, mut far_inside) = (0, 0);
    const SERIES: usize = 150;
    for seed in 0..SERIES as u64 {
        let mut noise = noise(seed + 1);
        let mut state = 0.0;
        let values: Vec<f64> = (0..6 * DAY + 24)
            .map(|at| {
                state = 0.8 * state + noise();
                100.0 + 20.0 * (at as f64 / DAY as f64 * std::f64::consts::TAU).sin() + 3.0 * state
            })
            .collect();
        let known = values[..6 * DAY].iter().copied().map(Some).collect();
        let made = paths(&grid(known, Vec::new()).unwrap(), 24).unwrap();
        let holds = |step: usize| usize::from((made[1][step]..=made[3][step]).contains(&values[6 * DAY + step]));
        inside += holds(0);
        far_inside += holds(23);
    }
    // 80 % of 150 is 120; the standard deviation of the count is 5.
    for count in [inside, far_inside] {
        assert!((105..=135).contains(&count), "{inside} and {far_inside} of {SERIES}");
    }
}
