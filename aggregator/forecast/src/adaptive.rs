//! Live calibration: at every step that comes true the quantiles of its horizon band follow what the load did.
//!
//! Quantile tracking, the proportional part of conformal PID control (Angelopoulos, Candès, Tibshirani 2023): after a load above
//! its quantile the offset of that quantile rises by `rate · level`, after one below it falls by `rate · (1 − level)`, so that in the
//! long run it is exceeded as often as promised, whatever the load does. Offsets are counted in widths of the interval, so that they
//! are free of scale; the width is guarded from below by the misses lately made, so that an interval that was too sure of itself
//! (width zero) can open again; and offsets are clamped, so that no quantile becomes infinite.

use serde::{Deserialize, Serialize};

use crate::selection::{interval, tidy};
use crate::types::{Band, Forecast};

/// How far one miss moves an offset, in widths, per band. Further ahead neighbouring steps miss together, so each says less.
const RATES: [f64; 3] = [0.05, 0.02, 0.01];
/// No offset beyond this many widths.
const LARGEST_OFFSET: f64 = 6.0;
/// Weight of the newest miss in the typical one.
const NEWEST: f64 = 0.02;
/// A width is at least this part of the typical miss.
const LEAST_WIDTH: f64 = 0.5;

/// What the published quantiles have learned since they are published.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Adaptive {
    levels: Vec<f64>,
    /// `offsets[band][level]`, in widths.
    offsets: Vec<Vec<f64>>,
    /// How far the load lately was from the median, per band.
    missed: [f64; 3],
}

impl Adaptive {
    /// Other levels are another promise: what was learned for the old ones is forgotten.
    fn follow(&mut self, levels: &[f64]) {
        if self.levels != levels {
            *self = Self {
                levels: levels.to_vec(),
                offsets: vec![vec![0.0; levels.len()]; Band::ALL.len()],
                missed: [0.0; 3],
            };
        }
    }

    /// Whether it has the shape that its levels ask for: it may come from a file.
    pub(crate) fn is_whole(&self) -> bool {
        let (bands, levels) = (Band::ALL.len(), self.levels.len());
        self.offsets.len() == bands && self.offsets.iter().all(|of_band| of_band.len() == levels)
    }

    pub(crate) fn levels(&self) -> &[f64] {
        &self.levels
    }

    fn width(&self, band: Band, low: f64, high: f64) -> f64 {
        (high - low).max(LEAST_WIDTH * self.missed[band.index()])
    }

    /// Learns from one step: its quantiles as the models gave them, and the load that came. `saturated` says that the load was
    /// at least `actual`; quantiles above it then learn nothing.
    pub fn learn(&mut self, levels: &[f64], band: Band, quantiles: &[f64], actual: f64, saturated: bool) {
        let Some((low, high, _)) = interval(levels) else { return };
        if quantiles.len() != levels.len() || !actual.is_finite() {
            return;
        }
        self.follow(levels);
        let width = self.width(band, quantiles[low], quantiles[high]);
        let middle = levels.iter().position(|level| *level >= 0.5 - 1e-9).unwrap_or(high);
        for ((offset, level), quantile) in self.offsets[band.index()].iter_mut().zip(levels).zip(quantiles) {
            let exceeded = actual > quantile + *offset * width;
            if exceeded || !saturated {
                let miss = f64::from(u8::from(exceeded)) - (1.0 - level);
                *offset = (*offset + RATES[band.index()] * miss).clamp(-LARGEST_OFFSET, LARGEST_OFFSET);
            }
        }
        let missed = &mut self.missed[band.index()];
        *missed += NEWEST * ((actual - quantiles[middle]).abs() - *missed);
    }

    /// Moves the quantiles of a forecast as was learned; they stay finite, not negative and in order.
    pub fn apply(&self, forecast: &mut Forecast) {
        if self.levels != forecast.levels {
            return;
        }
        let Some((low, high, _)) = interval(&forecast.levels) else { return };
        let before = forecast.paths.clone();
        for step in 0..before.first().map_or(0, Vec::len) {
            let band = Band::of(step as u64 * u64::from(forecast.step_seconds));
            let width = self.width(band, before[low][step], before[high][step]);
            for (path, offset) in forecast.paths.iter_mut().zip(&self.offsets[band.index()]) {
                path[step] += offset * width;
            }
        }
        if !tidy(&mut forecast.paths) {
            forecast.paths = before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVELS: [f64; 3] = [0.1, 0.5, 0.9];

    /// Noise of variance one, about normal; the same seed, the same noise.
    fn noise(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        move || {
            let mut uniform = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 11) as f64 / (1_u64 << 53) as f64
            };
            (0..12).map(|_| uniform()).sum::<f64>() - 6.0
        }
    }

    /// The share of loads inside the moved interval.
    fn held(adaptive: &mut Adaptive, band: Band, loads: impl Iterator<Item = f64>) -> f64 {
        let quantiles = [100.0 - 1.2816, 100.0, 100.0 + 1.2816];
        let (mut inside, mut all) = (0.0, 0.0);
        for load in loads {
            let mut forecast = Forecast {
                step_seconds: 300,
                levels: LEVELS.to_vec(),
                paths: quantiles.iter().map(|value| vec![*value; 80]).collect(),
                ..Forecast::default()
            };
            adaptive.apply(&mut forecast);
            let step = [0, 12, 72][band.index()];
            inside += f64::from(u8::from((forecast.paths[0][step]..=forecast.paths[2][step]).contains(&load)));
            all += 1.0;
            adaptive.learn(&LEVELS, band, &quantiles, load, false);
        }
        inside / all
    }

    #[test]
    fn coverage_is_back_within_three_points_five_hundred_observations_after_a_threefold_noise_jump() {
        for seed in 0..8 {
            let (mut adaptive, mut noise) = (Adaptive::default(), noise(seed));
            let before = held(&mut adaptive, Band::Hour, (0..2_000).map(|_| 100.0 + noise()));
            let jump = held(&mut adaptive, Band::Hour, (0..500).map(|_| 100.0 + 3.0 * noise()));
            let after = held(&mut adaptive, Band::Hour, (0..2_000).map(|_| 100.0 + 3.0 * noise()));
            assert!((before - 0.8).abs() < 0.03 && (after - 0.8).abs() < 0.03, "{seed}: {before} {jump} {after}");
            assert!(jump > 0.6, "{seed}: {jump}");
            let calm = held(&mut adaptive, Band::Hour, (0..4_000).map(|_| 100.0 + noise()));
            assert!((calm - 0.8).abs() < 0.04, "{seed}: {calm}");
        }
    }

    #[test]
    fn every_band_learns_and_none_learns_from_another() {
        let (mut adaptive, mut noise) = (Adaptive::default(), noise(1));
        held(&mut adaptive, Band::Day, (0..4_000).map(|_| 100.0 + 3.0 * noise()));
        assert!(adaptive.offsets[2][2] > 0.5 && adaptive.offsets[0] == [0.0; 3] && adaptive.offsets[1] == [0.0; 3]);
    }

    #[test]
    fn an_interval_without_width_opens_and_no_offset_grows_without_end() {
        let mut adaptive = Adaptive::default();
        for step in 0..100_000 {
            adaptive.learn(&LEVELS, Band::Hour, &[5.0; 3], if step % 2 == 0 { 5.0 } else { 9.0 }, false);
        }
        let mut forecast =
            Forecast { step_seconds: 300, levels: LEVELS.to_vec(), paths: vec![vec![5.0]; 3], ..Forecast::default() };
        adaptive.apply(&mut forecast);
        assert!(forecast.paths[2][0] >= 8.5 && forecast.paths[2][0] < 60.0, "{:?}", forecast.paths);
        assert!(adaptive.offsets.iter().flatten().all(|offset| offset.abs() <= LARGEST_OFFSET));
    }

    #[test]
    fn a_lower_bound_below_a_quantile_teaches_it_nothing() {
        let mut adaptive = Adaptive::default();
        adaptive.learn(&LEVELS, Band::Hour, &[1.0, 2.0, 3.0], 1.5, true);
        assert_eq!(adaptive.offsets[0][2], 0.0);
        assert!(adaptive.offsets[0][0] > 0.0, "above the lowest quantile it was");
    }
}
