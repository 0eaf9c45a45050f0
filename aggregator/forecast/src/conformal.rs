//! Conformal calibration on the replayed past, per horizon band: quantiles are moved until they held what they promised.
//!
//! The replayed steps are gone through in the order in which they came true, whichever origin they belong to. An offset per
//! band and level (in widths of the 80 % interval, so that it is free of scale) follows every miss: quantile tracking, the
//! proportional part of conformal PID control (Angelopoulos, Candès, Tibshirani 2023). A part of each miss moves the offset of
//! every band: of one band only a few dozen origins speak, and that the mean of the models' quantiles is too wide, or that the
//! load has become more restless, is true of all. Offsets are clamped, so that no
//! quantile becomes infinite. Coverage is measured with the offset that was known at the origin, so it is what would really
//! have been held. What is published is calibrated once more as it comes true: [`crate::adaptive`].

use crate::replay::{Past, band_of};
use crate::selection::{interval, unmeasured, wide_interval};
use crate::types::{Band, BandCoverage, WideCoverage};

/// How much of a width one fully missed origin moves the offset, per band. A day ahead the windows of neighbouring origins
/// overlap and miss together, so each says less.
const RATES: [f64; 3] = [0.1, 0.1, 0.03];
/// The same of what all bands have in common.
const COMMON_RATE: f64 = 0.02;
/// No offset beyond this many widths.
const LARGEST_OFFSET: f64 = 3.0;

#[derive(Debug)]
pub(crate) struct Calibrated {
    pub offsets: Vec<Vec<f64>>,
    pub coverage: Vec<BandCoverage>,
}

/// The local scale an offset is expressed in.
fn width(paths: &[Vec<f64>], step: usize, levels: &[f64]) -> f64 {
    interval(levels).map_or(0.0, |(low, high, _)| (paths[high][step] - paths[low][step]).max(0.0))
}

/// Learns offsets from what the ensemble said at past origins, and measures what it held.
pub(crate) fn calibrate(past: &Past<'_>, ensemble: &[Option<Vec<Vec<f64>>>]) -> Calibrated {
    let levels = past.levels;
    let mut offsets = vec![vec![0.0; levels.len()]; Band::ALL.len()];
    let mut coverage = unmeasured(levels);
    let mut held = Held::default();
    let mut wide_held = Held::default();
    let band_at = |step: usize| band_of(step, past.history.step_seconds).index();
    let mut whole = [0.0; 3];
    for (step, stands) in past.steps.iter().zip(&past.stands) {
        whole[band_at(*step)] += stands;
    }
    // (place, origin, kept step, step ahead), in the order of time.
    let mut came: Vec<(usize, usize, usize, usize)> = (0..past.cuts.len())
        .filter(|index| ensemble[*index].is_some())
        .flat_map(|index| past.seen(index).map(move |(kept, step, at)| (at, index, kept, step)))
        .collect();
    came.sort_unstable();
    // What was known at each origin.
    let mut at_origin: Vec<Option<Vec<Vec<f64>>>> = vec![None; past.cuts.len()];
    let mut next = 0;
    for (at, index, kept, step) in came {
        while next < past.cuts.len() && past.cuts[next] <= at {
            at_origin[next] = Some(offsets.clone());
            next += 1;
        }
        let (Some(paths), Some(known)) = (&ensemble[index], &at_origin[index]) else { continue };
        let band = band_at(step);
        let (actual, width, saturated) =
            (past.history.values[at], width(paths, kept, levels), past.history.saturated[at]);
        let said = |level: usize| paths[level][kept] + known[band][level] * width;
        for (held, ends) in [(&mut held, interval(levels)), (&mut wide_held, wide_interval(levels))] {
            let Some((low, high)) = ends.map(|(low, high, _)| (said(low), said(high))) else { continue };
            // Of a load that was at least this, only that it is above is known.
            if !(saturated && actual <= high) {
                held.count(band, actual >= low && actual <= high, past.stands[kept]);
            }
        }
        let share = past.stands[kept] / whole[band];
        for (level, promised) in levels.iter().enumerate() {
            let exceeded = actual > paths[level][kept] + offsets[band][level] * width;
            // A lower bound below the quantile says nothing about it.
            if exceeded || !saturated {
                let miss = f64::from(u8::from(exceeded)) - (1.0 - promised);
                for (other, of_band) in offsets.iter_mut().enumerate() {
                    let rate = COMMON_RATE + if other == band { RATES[band] } else { 0.0 };
                    of_band[level] = (of_band[level] + rate * share * miss).clamp(-LARGEST_OFFSET, LARGEST_OFFSET);
                }
            }
        }
    }
    for (band, shown) in coverage.iter_mut().enumerate() {
        (shown.measured, shown.observations) = held.of(band);
        if let Some(WideCoverage { measured, observations, .. }) = &mut shown.wide {
            (*measured, *observations) = wide_held.of(band);
        }
    }
    Calibrated { offsets, coverage }
}

/// What an interval held in the replay, by band: each step weighs as many as it stands for.
#[derive(Debug, Default)]
struct Held {
    inside: [f64; 3],
    outside: [f64; 3],
    observations: [u64; 3],
}

impl Held {
    fn count(&mut self, band: usize, inside: bool, stands: f64) {
        self.observations[band] += 1;
        let counted = if inside { &mut self.inside } else { &mut self.outside };
        counted[band] += stands;
    }

    /// The share that was inside, absent where there was nothing, and of how many.
    fn of(&self, band: usize) -> (Option<f64>, u64) {
        let share = || self.inside[band] / (self.inside[band] + self.outside[band]);
        ((self.observations[band] > 0).then(share), self.observations[band])
    }
}

/// Moves quantiles by the offsets of their band.
pub(crate) fn apply(paths: &mut [Vec<f64>], offsets: &[Vec<f64>], levels: &[f64], steps: &[usize], step_seconds: u32) {
    for (place, step) in steps.iter().enumerate() {
        let width = width(paths, place, levels);
        let Some(offsets) = offsets.get(band_of(*step, step_seconds).index()) else { continue };
        for (path, offset) in paths.iter_mut().zip(offsets) {
            path[place] += offset * width;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Grid;
    use crate::series::Series;

    /// Values 0..100 evenly spread, and an interval around 50 of the given half width.
    fn calibrated(half: f64) -> Calibrated {
        calibrated_at(&[0.1, 0.5, 0.9], &[50.0 - half, 50.0, 50.0 + half])
    }

    fn calibrated_at(levels: &[f64], said: &[f64]) -> Calibrated {
        let values = (0..4_000_u64).map(|index| Some((index * 37 % 101) as f64)).collect();
        let grid = Grid::new(&Series::new(0, 900, values), u64::MAX).unwrap();
        let (steps, origins): (Vec<usize>, Vec<usize>) = ((0..96).collect(), (2_656..4_000).step_by(13).collect());
        let past = Past::new(&grid, 4_000, &origins, &steps, levels);
        let paths: Vec<Vec<f64>> = said.iter().map(|value| vec![*value; 96]).collect();
        calibrate(&past, &vec![Some(paths); past.cuts.len()])
    }

    #[test]
    fn offsets_go_where_the_misses_are() {
        let (narrow, right, wide) = (calibrated(10.0), calibrated(40.0), calibrated(80.0));
        for band in 0..3 {
            assert!(narrow.offsets[band][2] > 0.3 && narrow.offsets[band][0] < -0.3, "{:?}", narrow.offsets);
            assert!(right.offsets[band].iter().all(|offset| offset.abs() < 0.1), "{:?}", right.offsets);
            assert!(wide.offsets[band][2] < 0.0 && wide.offsets[band][0] > 0.0, "{:?}", wide.offsets);
        }
    }

    #[test]
    fn a_band_of_which_nothing_is_known_begins_with_what_the_others_learned() {
        let values = (0..4_000_u64).map(|index| Some((index * 37 % 101) as f64)).collect();
        let grid = Grid::new(&Series::new(0, 900, values), u64::MAX).unwrap();
        let (steps, origins): (Vec<usize>, Vec<usize>) = ((0..4).collect(), (2_656..4_000).step_by(13).collect());
        let levels = [0.1, 0.5, 0.9];
        let past = Past::new(&grid, 4_000, &origins, &steps, &levels);
        let paths: Vec<Vec<f64>> = [40.0, 50.0, 60.0].iter().map(|value| vec![*value; 4]).collect();
        let offsets = calibrate(&past, &vec![Some(paths); past.cuts.len()]).offsets;
        assert!(offsets[2][2] > 0.1 && offsets[2][0] < -0.1 && offsets[0][2] > offsets[2][2], "{offsets:?}");
    }

    #[test]
    fn coverage_is_what_was_held_at_the_time() {
        let measured = |made: &Calibrated| made.coverage[1].measured.unwrap();
        let (narrow, right, wide) = (calibrated(10.0), calibrated(40.0), calibrated(80.0));
        // It began at a fifth and was brought up while it ran.
        assert!(measured(&narrow) < 0.79 && measured(&narrow) > 0.4, "{}", measured(&narrow));
        assert!((measured(&right) - 0.8).abs() < 0.03, "{}", measured(&right));
        assert!(measured(&wide) > 0.81, "{}", measured(&wide));
        assert!(right.coverage.iter().all(|band| (band.nominal - 0.8).abs() < 1e-9 && band.observations > 0));
        assert!(right.coverage.iter().all(|band| band.wide.is_none()), "it is not forecast");
    }

    #[test]
    fn the_wider_interval_is_measured_as_well() {
        // Of 101 values evenly spread 81 lie within the one and 91 within the other, and nothing needs to be moved.
        let made = calibrated_at(&[0.05, 0.1, 0.5, 0.9, 0.95], &[5.0, 10.0, 50.0, 90.0, 95.0]);
        for band in &made.coverage {
            let wide = band.wide.as_ref().unwrap();
            assert!((wide.nominal - 0.9).abs() < 1e-9 && wide.observations == band.observations, "{band:?}");
            assert!(
                (wide.measured.unwrap() - 0.9).abs() < 0.03 && (band.measured.unwrap() - 0.8).abs() < 0.03,
                "{band:?}"
            );
        }
    }

    #[test]
    fn applying_moves_by_widths() {
        let mut paths = vec![vec![10.0], vec![20.0], vec![30.0]];
        apply(&mut paths, &[vec![-0.5, 0.0, 0.25]], &[0.1, 0.5, 0.9], &[0], 900);
        assert_eq!(paths, vec![vec![0.0], vec![20.0], vec![35.0]]);
    }
}
