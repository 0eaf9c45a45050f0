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
        for step in 0..past.realised(index) {
            let at = past.cuts[index] + step;
            if !past.history.observed[at] {
                continue;
            }
            let band = band_of(step, past.history.step_seconds).index();
            let (actual, width) = (past.history.values[at], width(paths, step, levels));
            let moved = |level: usize| paths[level][step] + offsets[band][level] * width;
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
pub(crate) fn apply(paths: &mut [Vec<f64>], offsets: &[Vec<f64>], levels: &[f64], step_seconds: u32) {
    let horizon = paths.first().map_or(0, Vec::len);
    for step in 0..horizon {
        let width = width(paths, step, levels);
        let Some(offsets) = offsets.get(band_of(step, step_seconds).index()) else { continue };
        for (path, offset) in paths.iter_mut().zip(offsets) {
            path[step] += offset * width;
        }
    }
}
