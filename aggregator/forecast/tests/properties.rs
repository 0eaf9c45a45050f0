//! What every forecast must keep, whatever the history looks like.

use forecast::{Band, Forecast, ForecastError, Options, Series, forecast, select};
use proptest::prelude::*;

const QUARTER: u32 = 900;
const DAY: usize = 96;

/// A small generator of noise in [0, 1): the same seed, the same series.
fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn options() -> Options {
    Options { step_seconds: QUARTER, horizon_steps: DAY, ..Options::default() }
}

/// A daily shape with some noise.
fn daily(steps: usize, seed: u64) -> Series {
    let mut noise = noise(seed);
    let value = |index: usize, noise: f64| {
        let phase = index as f64 / DAY as f64 * std::f64::consts::TAU;
        Some(100.0 + 60.0 * phase.sin() + 20.0 * (noise - 0.5))
    };
    Series::new(0, QUARTER, (0..steps).map(|index| value(index, noise())).collect())
}

fn run(series: &Series, options: &Options) -> Result<Forecast, ForecastError> {
    let champion = select(series, options)?;
    forecast(series, &champion, options)
}

fn assert_sound(made: &Forecast, options: &Options) -> Result<(), TestCaseError> {
    prop_assert_eq!(made.paths.len(), options.levels.len());
    for path in &made.paths {
        prop_assert_eq!(path.len(), options.horizon_steps);
        prop_assert!(path.iter().all(|value| value.is_finite() && *value >= 0.0));
    }
    for pair in made.paths.windows(2) {
        prop_assert!(pair[0].iter().zip(&pair[1]).all(|(low, high)| low <= high));
    }
    prop_assert!((0.0..=1.0).contains(&made.trust.score));
    for band in &made.coverage {
        prop_assert!(band.measured.is_none_or(|measured| (0.0..=1.0).contains(&measured)));
    }
    Ok(())
}

/// Loads with gaps, spikes, zeros, jumps and nonsense.
fn any_value() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        1 => Just(None),
        8 => (0.0..100.0).prop_map(Some),
        1 => Just(Some(0.0)),
        1 => (0.0..1e9).prop_map(Some),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-1.0), Just(f64::MAX)].prop_map(Some),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_in_what_goes_out_is_finite_sorted_and_repeatable(
        values in prop::collection::vec(any_value(), 0..600),
        saturated in prop::collection::vec(any::<bool>(), 0..600),
        start in -1_000_000_i64..2_000_000_000,
    ) {
        let mut series = Series::new(start, QUARTER, values);
        series.saturated = saturated;
        let options = options();
        match run(&series, &options) {
            Ok(made) => {
                assert_sound(&made, &options)?;
                let largest = series.values.iter().flatten().filter(|v| **v <= 1e9).fold(0.0_f64, |a, b| a.max(*b));
                prop_assert!(made.paths.iter().flatten().all(|value| *value <= 100.0 * largest.max(1.0)));
                prop_assert_eq!(&made, &run(&series, &options).unwrap());
            }
            Err(ForecastError::Options(reason)) => prop_assert!(false, "{reason}"),
            Err(_) => {}
        }
    }

    #[test]
    fn steps_that_do_not_divide_a_day_still_give_a_forecast(step in 60_u32..5_000, length in 80_usize..400, seed: u64) {
        let mut noise = noise(seed);
        let series = Series::new(0, step, (0..length).map(|_| Some(10.0 + noise())).collect());
        let options = Options { step_seconds: step, horizon_steps: 20, ..Options::default() };
        assert_sound(&run(&series, &options).unwrap(), &options)?;
    }

    /// The first hours of a group: what was hardly seen is never told as certain, however far ahead.
    #[test]
    fn a_young_history_is_never_sure_of_a_far_step(
        minutes in prop::collection::vec(0.0_f64..100.0, 30..360), saturated in prop::collection::vec(any::<bool>(), 360),
    ) {
        let mut series = Series::new(0, 60, minutes.iter().copied().map(Some).collect());
        series.saturated = minutes.iter().zip(saturated).map(|(value, at)| at && *value > 95.0).collect();
        let made = run(&series, &Options::default()).unwrap();
        let width = |step: usize| made.paths[4][step] - made.paths[1][step];
        let nearest = width(0);
        prop_assert!(nearest > 0.0, "{:?}", made.paths);
        for step in [3, 6, 12, 36, 72, 144, 287] {
            prop_assert!(width(step) >= 0.1 * nearest, "step {step}: {} beside {nearest}", width(step));
        }
    }

    #[test]
    fn a_larger_unit_changes_nothing_else(days in 1_usize..12, seed: u64) {
        let series = daily(days * DAY + 7, seed);
        let mut larger = series.clone();
        larger.values.iter_mut().flatten().for_each(|value| *value *= 4_096.0);
        let (one, other) = (run(&series, &options()).unwrap(), run(&larger, &options()).unwrap());
        for (a, b) in one.paths.iter().flatten().zip(other.paths.iter().flatten()) {
            prop_assert!((a * 4_096.0 - b).abs() <= 0.01 * b.abs().max(4_096.0), "{a} {b}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    /// Exactly it cannot be: a load is never negative, and larger loads are thought to be more restless ones.
    #[test]
    fn a_load_on_a_floor_is_forecast_on_that_floor(days in 8_usize..14, floor in 50.0_f64..2_000.0, seed: u64) {
        let series = daily(days * DAY + 7, seed);
        let mut raised = series.clone();
        raised.values.iter_mut().flatten().for_each(|value| *value += floor);
        let (one, other) = (run(&series, &options()).unwrap(), run(&raised, &options()).unwrap());
        for level in 1..=3 {
            let apart = one.paths[level].iter().zip(&other.paths[level]).map(|(a, b)| (b - a - floor).abs());
            let apart = apart.sum::<f64>() / DAY as f64;
            prop_assert!(apart < 4.0, "level {level}, floor {floor}: {apart} of a noise of 20");
        }
    }

    /// However large, and wherever but at the very end, where it may be the start of a surge.
    #[test]
    fn an_outlier_of_any_size_moves_the_forecast_within_bounds(
        place in 1_usize..8 * DAY, exponent in 3.0_f64..90.0, seed: u64,
    ) {
        let calm = daily(10 * DAY, seed);
        let mut wild = calm.clone();
        let last = wild.values.len() - 1;
        wild.values[last - place] = Some(10.0_f64.powf(exponent));
        let made = run(&wild, &options()).unwrap();
        let highest = made.paths[4].iter().copied().fold(0.0, f64::max);
        prop_assert!(highest < 1_000.0, "{highest} where no load but one was above 170");
        let calm = run(&calm, &options()).unwrap();
        let moved = calm.paths[2].iter().zip(&made.paths[2]).map(|(a, b)| (a - b).abs()).sum::<f64>() / DAY as f64;
        prop_assert!(moved < 30.0, "{moved}");
    }

    #[test]
    fn gaps_everywhere_leave_a_forecast_of_what_is_left(missing in 0.1_f64..0.7, seed: u64) {
        let mut series = daily(12 * DAY, seed);
        let mut noise = noise(seed ^ 1);
        let last = series.values.len() - 1;
        series.values[..last].iter_mut().for_each(|value| *value = value.filter(|_| noise() >= missing));
        let made = run(&series, &options()).unwrap();
        assert_sound(&made, &options())?;
        let truth = |step: usize| 100.0 + 60.0 * (step as f64 / DAY as f64 * std::f64::consts::TAU).sin();
        let missed = (0..DAY).map(|step| (made.paths[2][step] - truth(step)).abs()).sum::<f64>() / DAY as f64;
        prop_assert!(missed < 15.0, "{missed} with {missing} missing");
    }

    #[test]
    fn three_points_are_enough_or_it_says_that_they_are_not(
        values in prop::array::uniform3(0.0_f64..1e6), apart in 1_usize..20, step in prop::sample::select(vec![60_u32, 900, 3_600]),
    ) {
        let mut series = Series::new(0, step, vec![None; 2 * apart + 1]);
        (0..3).for_each(|point| series.values[point * apart] = Some(values[point]));
        let options = Options { step_seconds: step, ..options() };
        match run(&series, &options) {
            Ok(made) => {
                assert_sound(&made, &options)?;
                prop_assert!(step >= 900 && made.trust.score < 0.2, "{:?}", made.trust);
            }
            // With nothing between them no model can be judged, and none is made up.
            Err(ForecastError::TooShort { .. } | ForecastError::Stale { .. } | ForecastError::NoModel(_)) => {}
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

#[test]
fn nothing_after_the_origin_is_used() {
    let rows = |after: f64| -> Vec<(i64, f64)> {
        let series = daily(8 * DAY, 3);
        let value = |index: usize| if index < 6 * DAY { series.value(index).unwrap() } else { after };
        (0..8 * DAY).map(|index| (index as i64 * i64::from(QUARTER), value(index))).collect()
    };
    let origin = 6 * DAY as i64 * i64::from(QUARTER);
    let options = forecast::score::options(QUARTER, DAY, None);
    let low = forecast::score::quantiles(&rows(0.0), origin, &options).unwrap();
    let high = forecast::score::quantiles(&rows(1e6), origin, &options).unwrap();
    assert_eq!(low, high);
    assert_eq!(low.len(), forecast::score::LEVELS.len());
}

#[test]
fn rows_that_end_early_do_not_shift_the_answer_in_time() {
    let series = daily(6 * DAY, 3);
    let rows: Vec<(i64, f64)> =
        (0..6 * DAY).map(|index| (index as i64 * i64::from(QUARTER), series.value(index).unwrap())).collect();
    let options = forecast::score::options(QUARTER, DAY, None);
    let origin = (6 * DAY as i64 + 8) * i64::from(QUARTER);
    let made = forecast::score::quantiles(&rows, origin, &options).unwrap();
    // Two hours into the day the shape stands at 100 + 60·sin(30°), not at 100.
    assert!((made["0.5"][0] - 130.0).abs() < 12.0, "{}", made["0.5"][0]);
}

#[test]
fn half_an_hour_gives_a_forecast_nobody_should_lean_on_and_less_gives_none() {
    let options = Options::default();
    let minutes = |count: usize| Series::new(0, 60, vec![Some(10.0); count]);
    let made = run(&minutes(30), &options).unwrap();
    assert_eq!((made.start, made.history_seconds), (1_800, 1_800));
    assert!(made.trust.score < 0.03, "{:?}", made.trust);
    let none = select(&minutes(24), &options).unwrap_err();
    assert_eq!(none, ForecastError::TooShort { need_seconds: 1_800, have_seconds: 1_200 });
    assert_eq!(
        select(&minutes(0), &options).unwrap_err(),
        ForecastError::TooShort { need_seconds: 1_800, have_seconds: 0 }
    );
}

#[test]
fn short_history_is_wide_far_ahead() {
    let mut noise = noise(5);
    let series = Series::new(0, 60, (0..60).map(|_| Some(100.0 + 10.0 * noise())).collect());
    let made = run(&series, &Options::default()).unwrap();
    let width = |at: i64| made.at(made.start + at, 0.9).unwrap() - made.at(made.start + at, 0.1).unwrap();
    assert!(width(80_000) > 3.0 * width(0), "{} {}", width(0), width(80_000));
}

#[test]
fn stale_history_gives_none() {
    let mut series = daily(4 * DAY, 1);
    series.values.extend(vec![None; 28]);
    assert_eq!(select(&series, &options()).unwrap_err(), ForecastError::Stale { gap_seconds: 25_200 });
    series.values.truncate(4 * DAY + 8);
    let fresh = run(&daily(4 * DAY, 1), &options()).unwrap().trust;
    let gap = run(&series, &options()).unwrap().trust;
    assert!(gap.freshness == 0.0 && gap.score == 0.0 && fresh.score > 0.3, "{fresh:?} {gap:?}");
}

#[test]
fn constant_and_zero_series_stay_what_they_are() {
    for value in [0.0, 42.0] {
        for steps in [DAY / 2, 2 * DAY, 9 * DAY, 30 * DAY] {
            let made = run(&Series::new(0, QUARTER, vec![Some(value); steps]), &options()).unwrap();
            let far = made.paths.iter().flatten().map(|path| (path - value).abs()).fold(0.0, f64::max);
            assert!(far <= 1e-6 * (1.0 + value), "{value} {steps}: {far}");
        }
    }
}

#[test]
fn spikes_do_not_explode() {
    let mut noise = noise(11);
    // One in every 67 steps, sooner or later among them: always after as many, they would be a season, and forecast.
    let when: Vec<usize> = (0..20 * DAY / 67 + 1).map(|_| (67.0 * noise()) as usize).collect();
    let is_spike = |index: usize| index % 67 == when[index / 67];
    let values: Vec<Option<f64>> =
        (0..20 * DAY).map(|index| Some(if is_spike(index) { 1_000.0 * noise() } else { noise() })).collect();
    let options = Options { levels: forecast::score::LEVELS.to_vec(), ..options() };
    let made = run(&Series::new(0, QUARTER, values), &options).unwrap();
    let furthest = made.paths.iter().flatten().copied().fold(0.0, f64::max);
    assert!(furthest < 5_000.0, "{furthest} by {}", made.model);
    let highest = made.paths[4].iter().copied().fold(0.0, f64::max);
    assert!(highest < 50.0, "{highest} by {}", made.model);
}

#[test]
fn one_wild_value_hardly_moves_the_median() {
    let calm = daily(15 * DAY, 2);
    let mut wild = calm.clone();
    wild.values[15 * DAY - 300] = Some(1e6);
    let (calm, wild) = (run(&calm, &options()).unwrap(), run(&wild, &options()).unwrap());
    let moved = calm.paths[2].iter().zip(&wild.paths[2]).map(|(a, b)| (a - b).abs());
    assert!(moved.sum::<f64>() / (DAY as f64) < 25.0);
}

#[test]
fn lower_bounds_never_lower_the_forecast() {
    // The load is capped at 120: the true peaks are unknown.
    let mut capped = daily(14 * DAY, 4);
    capped.values.iter_mut().flatten().for_each(|value| *value = value.min(120.0));
    let mut marked = capped.clone();
    marked.saturated = (0..marked.values.len()).map(|index| marked.value(index) == Some(120.0)).collect();
    let only = Options { only: Some("empirical_seasonal".into()), ..options() };
    let (plain, bounds) = (run(&capped, &only).unwrap(), run(&marked, &only).unwrap());
    let top = only.levels.len() - 2;
    let sum = |made: &Forecast| made.paths[top].iter().sum::<f64>();
    assert!(sum(&bounds) > sum(&plain), "{} {}", sum(&bounds), sum(&plain));
}

#[test]
fn the_season_is_found_and_naive_is_beaten() {
    let series = daily(14 * DAY, 9);
    let made = run(&series, &options()).unwrap();
    for step in 0..DAY {
        let truth = 100.0 + 60.0 * (step as f64 / DAY as f64 * std::f64::consts::TAU).sin();
        assert!((made.paths[2][step] - truth).abs() < 12.0, "{step}: {} {truth}", made.paths[2][step]);
    }
    let champion = select(&series, &options()).unwrap();
    assert!(champion.skill.iter().all(|ratio| ratio.unwrap() < 0.9), "{:?}", champion.skill);
    for band in 0..3 {
        let total: f64 = champion.members.iter().map(|member| member.weights[band]).sum();
        assert!((total - 1.0).abs() < 1e-9);
    }
}

#[test]
fn a_season_that_is_neither_a_day_nor_a_week_is_found_and_forecast() {
    // A batch every nine hours: neither yesterday nor last week tells when the next is due.
    let season = 36;
    let mut noise = noise(4);
    let load = |index: usize| if index % season < 6 { 150.0 } else { 50.0 };
    let values = (0..14 * DAY + 11).map(|index| Some(load(index) + 10.0 * (noise() - 0.5))).collect();
    let series = Series::new(0, QUARTER, values);
    let champion = select(&series, &options()).unwrap();
    let losses = |name: &str| champion.members.iter().find(|member| member.model == name).unwrap().losses.clone();
    assert!(losses("climate_found").iter().all(|loss| loss.unwrap() < 0.5), "{:?}", champion.members);
    let made = forecast(&series, &champion, &options()).unwrap();
    let miss: f64 =
        (0..DAY).map(|step| (made.paths[2][step] - load(14 * DAY + 11 + step)).abs()).sum::<f64>() / DAY as f64;
    assert!(miss < 5.0, "{miss}");
}

#[test]
fn a_season_that_is_gone_leaves_a_forecast() {
    // The only model with a share is one that has nothing more to say.
    let mut noise = noise(4);
    let batches = |index: usize| if index % 36 < 6 { 150.0 } else { 50.0 };
    let values = (0..14 * DAY).map(|index| Some(batches(index) + 10.0 * (noise() - 0.5))).collect();
    let mut champion = select(&Series::new(0, QUARTER, values), &options()).unwrap();
    for member in &mut champion.members {
        member.weights.fill(if member.model == "climate_found" { 1.0 } else { 0.0 });
    }
    let made = forecast(&daily(14 * DAY, 3), &champion, &options()).unwrap();
    assert_eq!(made.model, "seasonal_naive_day");
    assert_sound(&made, &options()).unwrap();
}

#[test]
fn a_model_that_does_not_beat_seasonal_naive_has_no_share() {
    let champion = select(&daily(14 * DAY, 9), &options()).unwrap();
    let floor = |band: usize| {
        let naive = champion.members.iter().filter(|member| member.model.starts_with("seasonal_naive"));
        naive.filter_map(|member| member.losses[band]).fold(f64::INFINITY, f64::min)
    };
    for member in &champion.members {
        for band in 0..3 {
            let naive = member.model.starts_with("seasonal_naive");
            assert!(member.weights[band] == 0.0 || naive || member.losses[band].unwrap() < floor(band), "{member:?}");
        }
    }
    assert_eq!(champion.members.iter().find(|member| member.model == "level").unwrap().weights[2], 0.0);
}

#[test]
fn intervals_hold_on_series_they_were_not_tuned_on() {
    let mut inside = [0_u32; 3];
    let mut total = [0_u32; 3];
    for seed in 0..6 {
        let series = daily(12 * DAY, 100 + seed);
        for origin in (10 * DAY..11 * DAY).step_by(31) {
            let made = run(&series.before(origin as i64 * i64::from(QUARTER)), &options()).unwrap();
            for step in 0..DAY {
                let band = Band::of(step as u64 * u64::from(QUARTER)).index();
                let actual = series.value(origin + step).unwrap();
                total[band] += 1;
                inside[band] += u32::from(made.paths[1][step] <= actual && actual <= made.paths[3][step]);
            }
        }
    }
    for band in Band::ALL {
        let held = f64::from(inside[band.index()]) / f64::from(total[band.index()]);
        assert!((0.7..0.9).contains(&held), "{}: {held}", band.name());
    }
}

#[test]
fn trust_grows_with_history() {
    let score = |days: f64| run(&daily((days * DAY as f64) as usize, 6), &options()).unwrap().trust.score;
    let scores = [0.25, 3.0, 28.0].map(score);
    assert!(scores[0] < scores[1] && scores[1] < scores[2], "{scores:?}");
    assert!(scores[0] < 0.2 && scores[2] > 0.6, "{scores:?}");
}

#[test]
fn a_champion_survives_serde_and_refuses_another_step() {
    let series = daily(9 * DAY, 8);
    let champion = select(&series, &options()).unwrap();
    let text = serde_json::to_string(&champion).unwrap();
    let back: forecast::Champion = serde_json::from_str(&text).unwrap();
    let made = forecast(&series, &champion, &options()).unwrap();
    let again = forecast(&series, &back, &options()).unwrap();
    for (a, b) in made.paths.iter().flatten().zip(again.paths.iter().flatten()) {
        assert!((a - b).abs() <= 1e-9 * a.abs());
    }
    let other = Options { step_seconds: 1_800, ..options() };
    assert!(matches!(forecast(&series, &champion, &other), Err(ForecastError::Options(_))));
}
