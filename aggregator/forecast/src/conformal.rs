//! Adaptive conformal calibration per horizon band: quantiles are moved until they held what they promised.
//!
//! For every level the replayed origins are gone through in time. An offset (in widths of the 80 % interval, so that it is
//! free of scale) is applied, whether the load stayed below is noted, and the offset follows the miss: quantile tracking,
//! the proportional part of conformal PID control (Angelopoulos, Candès, Tibshirani 2023). Offsets are clamped, so that no
//! quantile becomes infinite. Coverage is measured with the offset of the time, so it is what was really held.

use crate::replay::{Past, band_of};
use crate::selection::{interval, unmeasured};
use crate::types::{Band, BandCoverage};

/// How much of a width one fully missed origin moves the offset.
const RATE: f64 = 0.1;
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
    let mut inside = [0_u64; 3];
    for (index, paths) in ensemble.iter().enumerate() {
        let Some(paths) = paths else { continue };
        let mut above = vec![vec![(0.0, 0.0); levels.len()]; Band::ALL.len()];
        for (kept, step, at) in past.seen(index) {
            let band = band_of(step, past.history.step_seconds).index();
            let (actual, width) = (past.history.values[at], width(paths, kept, levels));
            let moved = |level: usize| paths[level][kept] + offsets[band][level] * width;
            for (level, above) in above[band].iter_mut().enumerate() {
                let exceeded = actual > moved(level);
                // A lower bound below the quantile says nothing about it.
                if exceeded || !past.history.saturated[at] {
                    above.0 += f64::from(u8::from(exceeded));
                    above.1 += 1.0;
                }
            }
            if let Some((low, high, _)) = interval(levels)
                && !(past.history.saturated[at] && actual <= moved(high))
            {
                coverage[band].observations += 1;
                inside[band] += u64::from(actual >= moved(low) && actual <= moved(high));
            }
        }
        for (of_band, above) in offsets.iter_mut().zip(&above) {
            for (level, (exceeded, count)) in above.iter().enumerate() {
                if *count > 0.0 {
                    let step = RATE * (exceeded / count - (1.0 - levels[level]));
                    of_band[level] = (of_band[level] + step).clamp(-LARGEST_OFFSET, LARGEST_OFFSET);
                }
            }
        }
    }
    for (of_band, inside) in coverage.iter_mut().zip(inside) {
        of_band.measured = (of_band.observations > 0).then(|| inside as f64 / of_band.observations as f64);
    }
    Calibrated { offsets, coverage }
}

/// Moves quantiles by the offsets of their band.
pub(crate) fn apply(
    paths: &mut [Vec<f64>],
    offsets: &[Vec<f64>],
    levels: &[f64],
    steps: &[usize],
    step_seconds: u32,
) {
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
        let values = (0..4_000_u64).map(|index| Some((index * 37 % 101) as f64)).collect();
        let grid = Grid::new(&Series::new(0, 900, values), u64::MAX).unwrap();
        let (steps, origins): (Vec<usize>, Vec<usize>) = ((0..96).collect(), (2_656..4_000).step_by(13).collect());
        let past = Past::new(&grid, 4_000, &origins, &steps, &[0.1, 0.5, 0.9]);
        let paths = vec![vec![50.0 - half; 96], vec![50.0; 96], vec![50.0 + half; 96]];
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
    fn coverage_is_what_was_held_at_the_time() {
        let measured = |made: &Calibrated| made.coverage[2].measured.unwrap();
        let (narrow, right, wide) = (calibrated(10.0), calibrated(40.0), calibrated(80.0));
        // It began at a fifth and was brought up while it ran.
        assert!(measured(&narrow) < 0.79 && measured(&narrow) > 0.4, "{}", measured(&narrow));
        assert!((measured(&right) - 0.8).abs() < 0.03, "{}", measured(&right));
        assert!(measured(&wide) > 0.81, "{}", measured(&wide));
        assert!(right.coverage.iter().all(|band| (band.nominal - 0.8).abs() < 1e-9 && band.observations > 0));
    }

    #[test]
    fn applying_moves_by_widths() {
        let mut paths = vec![vec![10.0], vec![20.0], vec![30.0]];
        apply(&mut paths, &[vec![-0.5, 0.0, 0.25]], &[0.1, 0.5, 0.9], &[0], 900);
        assert_eq!(paths, vec![vec![0.0], vec![20.0], vec![35.0]]);
    }
}
