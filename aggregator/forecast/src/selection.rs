//! Earned shares: every model is replayed over the group's own past, and each horizon band keeps its own shares.

use serde::{Deserialize, Serialize};

use crate::conformal::{Calibrated, calibrate};
use crate::history::Grid;
use crate::model::{self, Pool};
use crate::replay::{FOLDS, Losses, Past, Replay, dress, losses};
use crate::series::Series;
use crate::trust;
use crate::types::{Band, BandCoverage, Forecast, ForecastError, MINIMUM_HISTORY_SECONDS, Options};

/// Shares are (loss)^-POWER: near enough to the best model to follow it, soft enough not to jump between equals.
const POWER: i32 = 4;
/// Shares below this are not worth their cost.
const SMALLEST_SHARE: f64 = 0.01;

/// A model that could speak at a smaller part of the origins it was asked at is not judged.
const LEAST_JUDGED: f64 = 1.0 / 3.0;

/// What a selection has found out; small, and kept between forecasts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Champion {
    /// Unix seconds: the end of the history it was made on.
    pub trained_at: i64,
    /// Seconds of a step; a forecast with another step needs another selection.
    pub step_seconds: u32,
    /// The levels it was made for.
    pub levels: Vec<f64>,
    /// Every model that could be replayed, with or without a share.
    pub members: Vec<Member>,
    /// `offsets[band][level]`, in widths of the interval: what calibration adds to the quantiles.
    pub offsets: Vec<Vec<f64>>,
    /// Loss of the ensemble over that of seasonal naive, per band; absent where there is no seasonal naive yet.
    pub skill: Vec<Option<f64>>,
    /// What the intervals held in the replay, calibrated only with what was known at the time.
    pub coverage: Vec<BandCoverage>,
}

/// One model's standing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// The model's name.
    pub model: String,
    /// Its share per band; shares of a band add up to 1.
    pub weights: Vec<f64>,
    /// Its pinball loss per band (large ones tempered) beside that of the first model (seasonal naive once there is a day), below 1 is
    /// better; absent where it could not be replayed.
    pub losses: Vec<Option<f64>>,
    /// `errors[reach][level]`: quantiles of what its path missed; empty for a model that gives quantiles itself.
    pub errors: Vec<Vec<f64>>,
}

/// The history as models see it, or why there is too little of it.
fn prepare(history: &Series, options: &Options) -> Result<Grid, ForecastError> {
    options.validate()?;
    let coarse = history.coarser(options.step_seconds, options.aggregate);
    let too_short = |have_seconds| ForecastError::TooShort { need_seconds: MINIMUM_HISTORY_SECONDS, have_seconds };
    let grid = Grid::new(&coarse, options.history_seconds).ok_or_else(|| too_short(0))?;
    let have = grid.all().observed_seconds();
    if have < MINIMUM_HISTORY_SECONDS || grid.all().len() < 2 {
        return Err(too_short(have));
    }
    let gap = grid.all().trailing_gap() as u64 * u64::from(options.step_seconds);
    if gap > trust::STALE_SECONDS {
        return Err(ForecastError::Stale { gap_seconds: gap });
    }
    Ok(grid)
}

/// Replays the past and learns what each model has earned. The expensive half: hourly is often enough.
///
/// The history should reach to the present, with gaps where nothing was observed: the forecast begins where it ends (at the
/// end of the last whole step), and how stale it is can be seen only from gaps.
///
/// # Errors
/// [`ForecastError`] when there is less than half an hour of observations, or no model can be fitted.
pub fn select(history: &Series, options: &Options) -> Result<Champion, ForecastError> {
    select_from(&Pool::default(), history, options)
}

/// As [`select`], with the models of this pool.
///
/// # Errors
/// As for [`select`].
pub fn select_from(pool: &Pool, history: &Series, options: &Options) -> Result<Champion, ForecastError> {
    let grid = prepare(history, options)?;
    let past = Past::new(grid.all(), options);
    let pool = wanted(pool, options);
    let replays: Vec<Replay> = pool.models().filter_map(|model| Replay::run(model, &past)).collect();
    if replays.is_empty() {
        return Err(ForecastError::NoModel("every model of the pool refused".to_owned()));
    }
    Ok(standings(&past, &replays))
}

/// The part of the pool that the options ask for.
fn wanted(pool: &Pool, options: &Options) -> Pool {
    options.only.as_deref().map_or_else(|| pool.clone(), |name| pool.only(name))
}

/// `[model][origin]`: the quantiles each model would have published.
type Dressed = Vec<Vec<Option<Vec<Vec<f64>>>>>;

fn standings(past: &Past<'_>, replays: &[Replay]) -> Champion {
    let dressed: Dressed = replays
        .iter()
        .map(|replay| {
            let errors: Vec<_> = (0..FOLDS).map(|fold| replay.errors(past, Some(fold))).collect();
            (0..past.cuts.len()).map(|index| replay.dressed(past, index, &errors[past.fold(index)])).collect()
        })
        .collect();
    let scores: Vec<Vec<Option<Losses>>> = dressed
        .iter()
        .map(|origins| {
            origins.iter().enumerate().map(|(index, said)| Some(losses(past, index, said.as_ref()?))).collect()
        })
        .collect();
    // Models are compared with the first one on the origins both could speak at.
    let compare = |own: &[Option<Losses>], every| relative(past, own, &scores[0], every);
    let ratios: Vec<[Option<f64>; 3]> =
        scores.iter().zip(replays).map(|(own, replay)| compare(own, replay.every)).collect();
    let is_naive: Vec<bool> = replays.iter().map(|replay| replay.model.starts_with(model::SEASONAL_NAIVE)).collect();
    let mut weights = shares(&ratios, &is_naive);
    let finals: Vec<Vec<Vec<f64>>> = replays.iter().map(|replay| replay.errors(past, None)).collect();
    if weights.iter().flatten().all(|weight| *weight == 0.0) {
        // Too young to judge anybody by anything but its own errors: the first that has any.
        let speaks = |model: &usize| !finals[*model].is_empty() || replays[*model].gives_quantiles();
        if let Some(first) = (0..replays.len()).find(speaks) {
            weights[first] = [1.0; 3];
        }
    }

    let ensemble: Vec<Option<Vec<Vec<f64>>>> = (0..past.cuts.len())
        .map(|index| {
            let parts: Vec<_> =
                dressed.iter().zip(&weights).filter_map(|(of, weight)| Some((of[index].as_ref()?, *weight))).collect();
            mix(&parts, past.levels.len(), past.horizon, past.history.step_seconds)
        })
        .collect();
    let Calibrated { offsets, coverage } = calibrate(past, &ensemble);
    let own: Vec<_> =
        ensemble.iter().enumerate().map(|(index, said)| Some(losses(past, index, said.as_ref()?))).collect();
    let skill = if is_naive.first() == Some(&true) { compare(&own, 1) } else { [None; 3] };
    let members = replays
        .iter()
        .zip(finals)
        .zip(&weights)
        .zip(&ratios)
        .map(|(((replay, errors), weights), ratios)| Member {
            model: replay.model.clone(),
            weights: weights.to_vec(),
            losses: ratios.to_vec(),
            errors,
        })
        .collect();
    Champion {
        trained_at: past.history.end(),
        step_seconds: past.history.step_seconds,
        levels: past.levels.to_vec(),
        members,
        offsets,
        skill: skill.to_vec(),
        coverage,
    }
}

/// Loss beside a reference on the origins both have, newer ones counting more.
///
/// An origin counts by the inverse square root of its loss, halfway between absolute and relative error: one bad hour does
/// not decide for two weeks, and neither do a hundred calm nights.
///
/// Absent in a band where a model, asked at every n-th origin, could speak at too few of them to be more than lucky.
fn relative(past: &Past<'_>, own: &[Option<Losses>], reference: &[Option<Losses>], every: usize) -> [Option<f64>; 3] {
    let mut sums = [(0.0, 0.0, 0.0, 0.0); 3];
    for (index, (own, reference)) in own.iter().zip(reference).enumerate() {
        let Some(reference) = reference else { continue };
        for (band, sums) in sums.iter_mut().enumerate() {
            if index % every == 0 {
                sums.3 += reference[band].1;
            }
            if let Some(own) = own {
                let level = (reference[band].0 + own[band].0) / (2.0 * reference[band].1.max(1.0));
                let weight = past.weight(index) / level.max(f64::MIN_POSITIVE).sqrt();
                sums.0 += weight * own[band].0;
                sums.1 += weight * reference[band].0;
                sums.2 += reference[band].1;
            }
        }
    }
    sums.map(|(own, reference, common, asked)| {
        let judged = common > 0.0 && common >= LEAST_JUDGED * asked;
        judged.then(|| {
            if reference > 0.0 {
                own / reference
            } else if own > 0.0 {
                f64::MAX
            } else {
                1.0
            }
        })
    })
}

/// Shares per model and band: a model that does not beat seasonal naive gets none; if nobody does, naive gets all.
fn shares(ratios: &[[Option<f64>; 3]], is_naive: &[bool]) -> Vec<[f64; 3]> {
    let mut shares = vec![[0.0; 3]; ratios.len()];
    for band in 0..3 {
        let floor = ratios.iter().zip(is_naive).filter(|(_, naive)| **naive).filter_map(|(ratio, _)| ratio[band]);
        let floor = floor.fold(f64::INFINITY, f64::min);
        for (model, ratio) in ratios.iter().enumerate() {
            let Some(ratio) = ratio[band] else { continue };
            if is_naive[model] && ratio <= floor || ratio < floor {
                shares[model][band] = ratio.max(1e-3).powi(-POWER);
            }
        }
        normalise(&mut shares, band);
        for share in shares.iter_mut() {
            if share[band] < SMALLEST_SHARE {
                share[band] = 0.0;
            }
        }
        normalise(&mut shares, band);
    }
    // A band nobody could be judged in borrows from the nearest band.
    for (band, lender) in [(1, 0), (2, 1), (1, 2), (0, 1)] {
        if shares.iter().all(|share| share[band] == 0.0) {
            shares.iter_mut().for_each(|share| share[band] = share[lender]);
        }
    }
    shares
}

fn normalise(shares: &mut [[f64; 3]], band: usize) {
    let total: f64 = shares.iter().map(|share| share[band]).sum();
    if total > 0.0 {
        shares.iter_mut().for_each(|share| share[band] /= total);
    }
}

/// Shares at a step: those of the band's middle, passing over smoothly on the way from one middle to the next.
fn share_at(weights: &[f64; 3], step: usize, step_seconds: u32) -> f64 {
    const MIDDLES: [f64; 3] = [1_800.0, 12_600.0, 43_200.0];
    let ahead = ((step as f64 + 0.5) * f64::from(step_seconds)).clamp(MIDDLES[0], MIDDLES[2]);
    let right = if ahead <= MIDDLES[1] { 1 } else { 2 };
    let (from, to) = (MIDDLES[right - 1], MIDDLES[right]);
    let along = (ahead / from).ln() / (to / from).ln();
    weights[right - 1] + (weights[right] - weights[right - 1]) * along
}

/// The weighted mean of quantiles, level by level; `None` when no part has a share.
pub(crate) fn mix(
    parts: &[(&Vec<Vec<f64>>, [f64; 3])],
    levels: usize,
    horizon: usize,
    step_seconds: u32,
) -> Option<Vec<Vec<f64>>> {
    let mut paths = vec![vec![0.0; horizon]; levels];
    for step in 0..horizon {
        let at: Vec<f64> = parts.iter().map(|(_, weights)| share_at(weights, step, step_seconds)).collect();
        let total: f64 = at.iter().sum();
        if total <= 0.0 {
            return None;
        }
        for (level, path) in paths.iter_mut().enumerate() {
            path[step] = parts.iter().zip(&at).map(|((said, _), share)| share / total * said[level][step]).sum();
        }
    }
    Some(paths)
}

/// Finite, not negative, never falling from one level to the next.
pub(crate) fn tidy(paths: &mut [Vec<f64>]) -> bool {
    let horizon = paths.first().map_or(0, Vec::len);
    for step in 0..horizon {
        let mut column: Vec<f64> = paths.iter().map(|path| path[step]).collect();
        if column.iter().any(|value| !value.is_finite()) {
            return false;
        }
        column.sort_by(f64::total_cmp);
        for (path, value) in paths.iter_mut().zip(column) {
            path[step] = value.max(0.0);
        }
    }
    true
}

/// Forecasts from the newest history with what a selection found out. The cheap half: every step.
///
/// # Errors
/// [`ForecastError`] as for [`select`], and when the champion was made for other levels or another step.
pub fn forecast(history: &Series, champion: &Champion, options: &Options) -> Result<Forecast, ForecastError> {
    forecast_from(&Pool::default(), history, champion, options)
}

/// As [`forecast`], with the models of this pool.
///
/// # Errors
/// As for [`forecast`].
pub fn forecast_from(
    pool: &Pool,
    history: &Series,
    champion: &Champion,
    options: &Options,
) -> Result<Forecast, ForecastError> {
    if champion.step_seconds != options.step_seconds || champion.levels != options.levels {
        return Err(ForecastError::Options("the champion was selected for another step or other levels".to_owned()));
    }
    let grid = prepare(history, options)?;
    let all = grid.all();
    let (levels, horizon) = (options.levels.len(), options.horizon_steps);
    let pool = wanted(pool, options);
    let mut said = Vec::new();
    for member in &champion.members {
        let weights: [f64; 3] = std::array::from_fn(|band| member.weights.get(band).copied().unwrap_or(0.0));
        let Some(model) = pool.get(&member.model) else { continue };
        if weights.iter().all(|weight| *weight <= 0.0) {
            continue;
        }
        let prediction = model.fit(&all, horizon).and_then(|fitted| fitted.predict(&all, horizon, &options.levels));
        let dressed = prediction.ok().and_then(|said| dress(&said, &member.errors, levels, options.step_seconds));
        if let Some(dressed) = dressed.filter(|paths| paths.iter().flatten().all(|value| value.is_finite())) {
            said.push((dressed, weights, member.model.clone()));
        }
    }
    let parts: Vec<_> = said.iter().map(|(paths, weights, _)| (paths, *weights)).collect();
    let mut paths = mix(&parts, levels, horizon, options.step_seconds)
        .ok_or_else(|| ForecastError::NoModel("every model with a share refused".to_owned()))?;
    crate::conformal::apply(&mut paths, &champion.offsets, &options.levels, options.step_seconds);
    if !tidy(&mut paths) {
        return Err(ForecastError::NoModel("the mixture is not finite".to_owned()));
    }
    let mut shares: Vec<(f64, &str)> = said.iter().map(|(_, weights, name)| (weights[0], name.as_str())).collect();
    shares.sort_by(|a, b| b.0.total_cmp(&a.0));
    shares.truncate(shares.iter().filter(|(share, _)| *share >= 0.005).count().max(1));
    let model = match shares.as_slice() {
        [(_, only)] => (*only).to_owned(),
        many => {
            many.iter().map(|(share, name)| format!("{name} {:.0} %", share * 100.0)).collect::<Vec<_>>().join(" + ")
        }
    };
    let trust = trust::score(&all, &paths, champion, options);
    Ok(Forecast {
        start: all.end(),
        step_seconds: options.step_seconds,
        levels: options.levels.clone(),
        paths,
        model,
        trained_at: champion.trained_at,
        trust,
        coverage: champion.coverage.clone(),
        history_seconds: all.observed_seconds(),
    })
}

/// The nominal coverage of the interval that is measured: from the 10 % to the 90 % quantile, or the widest there is.
pub(crate) fn interval(levels: &[f64]) -> Option<(usize, usize, f64)> {
    let find = |level: f64| levels.iter().position(|known| (known - level).abs() < 1e-9);
    let (low, high) = match (find(0.1), find(0.9)) {
        (Some(low), Some(high)) => (low, high),
        _ => (0, levels.len().checked_sub(1)?),
    };
    (low < high).then(|| (low, high, levels[high] - levels[low]))
}

/// Coverage before anything was measured.
pub(crate) fn unmeasured(levels: &[f64]) -> Vec<BandCoverage> {
    let nominal = interval(levels).map_or(0.0, |(_, _, nominal)| nominal);
    Band::ALL.map(|band| BandCoverage { band, nominal, measured: None, observations: 0 }).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naive_keeps_what_nobody_beats() {
        let ratios = [[Some(1.0); 3], [Some(1.2), Some(0.5), None], [Some(1.1), Some(1.0), None]];
        let shares = shares(&ratios, &[true, false, false]);
        assert_eq!(shares[0][0], 1.0);
        assert!(shares[1][1] > 0.9 && shares[0][1] > 0.0 && shares[2][1] == 0.0, "{shares:?}");
        // Nobody but naive was judged a day ahead.
        assert_eq!(shares[0][2], 1.0);
    }

    #[test]
    fn the_worse_naive_has_no_share() {
        let shares = shares(&[[Some(1.0); 3], [Some(0.4); 3]], &[true, true]);
        assert_eq!(shares, vec![[0.0; 3], [1.0; 3]]);
    }

    #[test]
    fn unjudged_bands_borrow_from_the_nearest() {
        let shares = shares(&[[Some(1.0), None, None], [Some(0.1), None, None]], &[true, false]);
        assert_eq!(shares[1][2], shares[1][0]);
        assert!(shares[1][0] > 0.99);
    }

    #[test]
    fn shares_pass_over_smoothly() {
        let weights = [1.0, 0.0, 1.0];
        let path: Vec<f64> = (0..96).map(|step| share_at(&weights, step, 900)).collect();
        assert_eq!((path[0], path[95]), (1.0, 1.0));
        assert!(path.iter().copied().fold(1.0, f64::min) < 0.05);
        assert!(path.windows(2).all(|pair| (pair[0] - pair[1]).abs() < 0.3), "{path:?}");
    }

    #[test]
    fn tidy_sorts_and_refuses_what_is_not_finite() {
        let mut crossed = vec![vec![3.0], vec![-1.0], vec![2.0]];
        assert!(tidy(&mut crossed));
        assert_eq!(crossed, vec![vec![0.0], vec![2.0], vec![3.0]]);
        assert!(!tidy(&mut [vec![1.0], vec![f64::NAN]]));
    }
}
