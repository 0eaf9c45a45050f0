//! Earned shares: every model is replayed over the group's own past, and each horizon band keeps its own shares.

use serde::{Deserialize, Serialize};

use crate::conformal::{self, Calibrated, calibrate};
use crate::model;
use crate::quantile::median;
use crate::replay::{FOLDS, Losses, Past, Replay, band_of, losses};
use crate::types::{Band, BandCoverage, WideCoverage};
use crate::windows::{self, WindowSpread};

/// Shares are (loss)^-POWER: near enough to the best model to follow it, soft enough not to jump between equals.
const POWER: i32 = 6;
/// Shares below this are not worth their cost.
const SMALLEST_SHARE: f64 = 0.01;

/// A model that could speak at a smaller part of the origins it was asked at is not judged.
const LEAST_JUDGED: f64 = 1.0 / 3.0;

/// Where models with a smaller part of the shares spoke, the mixture was another one: that says nothing of what it holds.
const LEAST_SPOKEN: f64 = 0.5;

/// Deviations between the 10 % and the 90 % quantile of a normal distribution.
const DEVIATIONS: f64 = 2.563;
/// Models are counted as no further apart than this: beyond it an interval says nothing but that nobody knows.
const MOST_APART: f64 = 100.0;

/// What a selection has found out; small, and kept between forecasts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Champion {
    /// Unix seconds: the end of the history it was made on.
    pub trained_at: i64,
    /// Seconds of a step; a forecast with another step needs another selection.
    pub step_seconds: u32,
    /// The levels it was made for.
    pub levels: Vec<f64>,
    /// How restless the load is by hour of the day (UTC), 1 on average: errors of paths are that much wider or narrower.
    #[serde(default)]
    pub restless: Vec<f64>,
    /// Every model that could be replayed, with or without a share.
    pub members: Vec<Member>,
    /// `offsets[band][level]`, in widths of the interval: what calibration adds to the quantiles.
    pub offsets: Vec<Vec<f64>>,
    /// How far apart the models usually are, per band: where they are further, the interval is wider.
    #[serde(default)]
    pub apart: Vec<f64>,
    /// Loss of the ensemble over that of seasonal naive, per band; absent where there is no seasonal naive yet.
    pub skill: Vec<Option<f64>>,
    /// How the maximum over windows lay above the forecast.
    #[serde(default)]
    pub windows: Vec<WindowSpread>,
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

/// `[model][origin]`: the quantiles each model would have published.
type Dressed = Vec<Vec<Option<Vec<Vec<f64>>>>>;

/// What the replays say of the models.
pub(crate) fn standings(past: &Past<'_>, replays: &[Replay]) -> Champion {
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
    let compare = |own: &[Option<Losses>], asked: &[bool]| relative(past, own, &scores[0], asked);
    let ratios: Vec<[Option<f64>; 3]> =
        scores.iter().zip(replays).map(|(own, replay)| compare(own, &replay.asked)).collect();
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

    let parts = |index: usize| -> Vec<(&Vec<Vec<f64>>, [f64; 3])> {
        dressed.iter().zip(&weights).filter_map(|(of, weight)| Some((of[index].as_ref()?, *weight))).collect()
    };
    let spoken: Vec<f64> = (0..past.cuts.len())
        .map(|index| parts(index).iter().flat_map(|(_, weights)| weights).sum::<f64>() / Band::ALL.len() as f64)
        .collect();
    let least = spoken.iter().copied().fold(0.0, f64::max).min(LEAST_SPOKEN);
    let ensemble: Vec<Option<Mixture>> = (0..past.cuts.len())
        .map(|index| {
            let said = || mix(&parts(index), past.levels, past.steps, past.history.step_seconds);
            if spoken[index] >= least { said() } else { None }
        })
        .collect();
    let apart = usually_apart(past, &ensemble);
    let widened = |said: Mixture| said.widened(&apart, past.levels, past.steps, past.history.step_seconds);
    let ensemble: Vec<Option<Vec<Vec<f64>>>> = ensemble.into_iter().map(|said| said.map(widened)).collect();
    let Calibrated { offsets, coverage } = calibrate(past, &ensemble);
    let moved: Vec<Option<Vec<Vec<f64>>>> = ensemble
        .iter()
        .map(|said| {
            let mut said = said.clone()?;
            conformal::apply(&mut said, &offsets, past.levels, past.steps, past.history.step_seconds);
            tidy(&mut said).then_some(said)
        })
        .collect();
    let windows = windows::learn(past, &moved);
    let own: Vec<_> =
        ensemble.iter().enumerate().map(|(index, said)| Some(losses(past, index, said.as_ref()?))).collect();
    // Where it said nothing, there is nothing to compare.
    let spoke: Vec<bool> = ensemble.iter().map(Option::is_some).collect();
    let skill = if is_naive.first() == Some(&true) { compare(&own, &spoke) } else { [None; 3] };
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
        restless: past.restless.clone(),
        members,
        offsets,
        apart,
        skill: skill.to_vec(),
        windows,
        coverage,
    }
}

/// Loss beside a reference on the origins both have, newer ones counting more.
///
/// An origin counts by the inverse square root of its loss, halfway between absolute and relative error: one bad hour does
/// not decide for two weeks, and neither do a hundred calm nights.
///
/// Absent in a band where a model, of the origins it was asked at, could speak at too few of them to be more than lucky.
fn relative(past: &Past<'_>, own: &[Option<Losses>], reference: &[Option<Losses>], asked: &[bool]) -> [Option<f64>; 3] {
    let mut sums = [(0.0, 0.0, 0.0, 0.0); 3];
    for (index, (own, reference)) in own.iter().zip(reference).enumerate() {
        let Some(reference) = reference else { continue };
        for (band, sums) in sums.iter_mut().enumerate() {
            if asked[index] {
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
pub(crate) fn share_at(weights: &[f64; 3], step: usize, step_seconds: u32) -> f64 {
    const MIDDLES: [f64; 3] = [1_800.0, 12_600.0, 43_200.0];
    let ahead = ((step as f64 + 0.5) * f64::from(step_seconds)).clamp(MIDDLES[0], MIDDLES[2]);
    let right = if ahead <= MIDDLES[1] { 1 } else { 2 };
    let (from, to) = (MIDDLES[right - 1], MIDDLES[right]);
    let along = (ahead / from).ln() / (to / from).ln();
    weights[right - 1] + (weights[right] - weights[right - 1]) * along
}

/// What models say together, and where they contradict each other.
#[derive(Debug, Clone)]
pub(crate) struct Mixture {
    pub paths: Vec<Vec<f64>>,
    /// Per step, how much wider a distribution is that holds what every model says than the mean of theirs: 1 where all agree.
    apart: Vec<f64>,
}

/// The weighted mean of quantiles, level by level; `None` when no part has a share.
pub(crate) fn mix(
    parts: &[(&Vec<Vec<f64>>, [f64; 3])],
    levels: &[f64],
    steps: &[usize],
    step_seconds: u32,
) -> Option<Mixture> {
    let (ends, middle) = (interval(levels), middle(levels));
    let mut paths = vec![vec![0.0; steps.len()]; levels.len()];
    let mut apart = Vec::with_capacity(steps.len());
    for (place, step) in steps.iter().enumerate() {
        let at: Vec<f64> = parts.iter().map(|(_, weights)| share_at(weights, *step, step_seconds)).collect();
        let total: f64 = at.iter().sum();
        if total <= 0.0 {
            return None;
        }
        for (level, path) in paths.iter_mut().enumerate() {
            path[place] = parts.iter().zip(&at).map(|((said, _), share)| share / total * said[level][place]).sum();
        }
        let centre = paths[middle][place];
        let between: f64 = parts
            .iter()
            .zip(&at)
            .map(|((said, _), share)| share / total * (said[middle][place] - centre).powi(2))
            .sum();
        let width = ends.map_or(0.0, |(low, high, _)| paths[high][place] - paths[low][place]);
        // The law of total variance: that of a mixture is the mean of the variances and the variance of the means.
        let within = (width / DEVIATIONS).powi(2);
        apart.push(if within > 0.0 { (1.0 + between / within).sqrt().min(MOST_APART) } else { 1.0 });
    }
    Some(Mixture { paths, apart })
}

/// How far apart the models usually were, per band: the median over what was replayed.
fn usually_apart(past: &Past<'_>, ensemble: &[Option<Mixture>]) -> Vec<f64> {
    let of_band = |band: Band| {
        let said = ensemble.iter().flatten().flat_map(|said| past.steps.iter().zip(&said.apart));
        let mut apart: Vec<f64> = said
            .filter(|(step, _)| band_of(**step, past.history.step_seconds) == band)
            .map(|(_, apart)| *apart)
            .collect();
        median(&mut apart).unwrap_or(MOST_APART)
    };
    Band::ALL.map(of_band).to_vec()
}

impl Mixture {
    /// The quantiles, wider where the models are further apart than they usually are.
    ///
    /// After a shift some models follow the new level and some repeat the old one. The mean of their quantiles then lies where
    /// none of them expects the load, and is as sure of it as ever: the interval has to hold both. What they are apart usually
    /// their errors speak of already.
    pub fn widened(self, usually: &[f64], levels: &[f64], steps: &[usize], step_seconds: u32) -> Vec<Vec<f64>> {
        let Self { mut paths, apart } = self;
        let middle = middle(levels);
        for (place, (step, apart)) in steps.iter().zip(apart).enumerate() {
            let Some(usually) = usually.get(band_of(*step, step_seconds).index()) else { continue };
            let (by, centre) = ((apart / usually).max(1.0), paths[middle][place]);
            paths.iter_mut().for_each(|path| path[place] = centre + (path[place] - centre) * by);
        }
        paths
    }
}

/// The level that stands for the middle.
fn middle(levels: &[f64]) -> usize {
    levels.iter().position(|level| *level >= 0.5 - 1e-9).unwrap_or(levels.len().saturating_sub(1))
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

/// The nominal coverage of the interval that is measured: from the 10 % to the 90 % quantile, or the widest there is.
pub(crate) fn interval(levels: &[f64]) -> Option<(usize, usize, f64)> {
    let find = |level: f64| levels.iter().position(|known| (known - level).abs() < 1e-9);
    let (low, high) = match (find(0.1), find(0.9)) {
        (Some(low), Some(high)) => (low, high),
        _ => (0, levels.len().checked_sub(1)?),
    };
    (low < high).then(|| (low, high, levels[high] - levels[low]))
}

/// The wider interval that is measured beside it: from the 5 % to the 95 % quantile, where the other is not that one itself.
pub(crate) fn wide_interval(levels: &[f64]) -> Option<(usize, usize, f64)> {
    let find = |level: f64| levels.iter().position(|known| (known - level).abs() < 1e-9);
    let (low, high) = (find(0.05)?, find(0.95)?);
    let (narrow, ..) = interval(levels)?;
    (low < narrow).then(|| (low, high, levels[high] - levels[low]))
}

/// Coverage before anything was measured.
pub(crate) fn unmeasured(levels: &[f64]) -> Vec<BandCoverage> {
    let nominal = interval(levels).map_or(0.0, |(_, _, nominal)| nominal);
    let wide = wide_interval(levels).map(|(_, _, nominal)| WideCoverage { nominal, measured: None, observations: 0 });
    Band::ALL.map(|band| BandCoverage { band, nominal, measured: None, observations: 0, wide: wide.clone() }).to_vec()
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
    fn models_that_contradict_each_other_more_than_they_usually_do_widen_the_interval() {
        let levels = [0.1, 0.5, 0.9];
        let around = |centre: f64| levels.iter().map(|level| vec![centre + 2.563 * (level - 0.5) / 0.8]).collect();
        let mixed = |apart: f64, usually: f64| {
            let (old, new): (Vec<Vec<f64>>, Vec<Vec<f64>>) = (around(50.0 - apart), around(50.0 + apart));
            let said = mix(&[(&old, [1.0; 3]), (&new, [1.0; 3])], &levels, &[0], 900).unwrap();
            said.widened(&[usually; 3], &levels, &[0], 900).into_iter().map(|path| path[0]).collect::<Vec<_>>()
        };
        let width = |paths: Vec<f64>| (paths[2] - paths[0]) / 2.563;
        // A deviation of one each: with a distance of √3 to either side the whole has one of two.
        assert!((width(mixed(3_f64.sqrt(), 1.0)) - 2.0).abs() < 1e-9);
        assert!((width(mixed(3_f64.sqrt(), 2.0)) - 1.0).abs() < 1e-9, "as far as usually");
        assert!((width(mixed(0.0, 2.0)) - 1.0).abs() < 1e-9, "nearer than usually is no reason to be surer");
        let torn = mixed(40.0, 1.0);
        assert!(torn[0] < 10.0 && torn[1] == 50.0 && torn[2] > 90.0, "{torn:?}");
        assert!(width(mixed(1e9, 1.0)) < 101.0);
    }

    #[test]
    fn tidy_sorts_and_refuses_what_is_not_finite() {
        let mut crossed = vec![vec![3.0], vec![-1.0], vec![2.0]];
        assert!(tidy(&mut crossed));
        assert_eq!(crossed, vec![vec![0.0], vec![2.0], vec![3.0]]);
        assert!(!tidy(&mut [vec![1.0], vec![f64::NAN]]));
    }
}
