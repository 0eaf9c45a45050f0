//! Fourier terms for the day, the week, and what else was found: long seasons as a few waves instead of a seasonal ARIMA of hundreds of lags.
//!
//! (Hyndman, "Forecasting with long seasonal periods"; Young, Pedregal and Tych 1999 call it dynamic harmonic regression.)
//! All waves repeat with the longest season, so sums over the history are kept per phase of it.

use nalgebra::{DMatrix, DVector};

use super::super::dot;
use super::filter::innovations;
use super::process::Process;

/// Against waves that phases without observations cannot tell apart, as a share of each wave's own weight.
const RIDGE: f64 = 1e-6;

/// The constant and the waves, one row per phase of the longest season.
#[derive(Debug, Clone)]
pub(super) struct Waves {
    /// Steps of the longest season; 1 when there is none.
    pub season: usize,
    /// How often each wave goes up and down in the season.
    pub cycles: Vec<usize>,
    /// By column: the constant, then cosine and sine of each wave.
    columns: Vec<Vec<f64>>,
}

impl Waves {
    pub fn new(season: usize, mut cycles: Vec<usize>) -> Self {
        cycles.sort_unstable();
        cycles.dedup();
        cycles.retain(|cycles| *cycles > 0 && 2 * cycles < season);
        let angle = |step: usize| step as f64 / season as f64 * std::f64::consts::TAU;
        let (cosine, sine): (Vec<f64>, Vec<f64>) =
            (0..season).map(|step| (angle(step).cos(), angle(step).sin())).unzip();
        let mut columns = vec![vec![1.0; season]];
        for cycles in &cycles {
            for wave in [&cosine, &sine] {
                columns.push((0..season).map(|phase| wave[phase * cycles % season]).collect());
            }
        }
        Self { season, cycles, columns }
    }

    fn width(&self) -> usize {
        self.columns.len()
    }

    /// The value of the regression at each phase.
    pub fn profile(&self, coefficients: &[f64]) -> Vec<f64> {
        let at = |phase: usize| self.columns.iter().zip(coefficients).map(|(column, b)| column[phase] * b).sum();
        (0..self.season).map(at).collect()
    }

    /// The same without the constant, for a season beside another one whose waves have it.
    pub fn level_profile(&self, coefficients: &[f64]) -> Vec<f64> {
        let constant = coefficients.first().copied().unwrap_or_default();
        self.profile(coefficients).into_iter().map(|value| value - constant).collect()
    }

    /// Coefficients by ordinary least squares on the values, or on their differences (then without the constant).
    ///
    /// Waves are where this loses nothing for long: least squares is as efficient as any (Grenander and Rosenblatt 1957).
    pub fn ordinary(
        &self,
        values: &[f64],
        observed: &[bool],
        first_phase: usize,
        differences: bool,
    ) -> Option<Vec<f64>> {
        let (mut counts, mut sums) = (vec![0.0; self.season], vec![0.0; self.season]);
        let mut phase = first_phase % self.season;
        for at in 0..values.len() {
            let before = at.checked_sub(1).filter(|before| observed[*before]);
            if observed[at] && (!differences || before.is_some()) {
                counts[phase] += 1.0;
                sums[phase] += values[at] - if differences { values[at - 1] } else { 0.0 };
            }
            phase = if phase + 1 == self.season { 0 } else { phase + 1 };
        }
        let columns: Vec<Vec<f64>> = if differences {
            let before = |phase: usize| if phase == 0 { self.season - 1 } else { phase - 1 };
            let differenced = |column: &Vec<f64>| (0..self.season).map(|at| column[at] - column[before(at)]).collect();
            self.columns.iter().skip(1).map(differenced).collect()
        } else {
            self.columns.clone()
        };
        let weighted: Vec<Vec<f64>> =
            columns.iter().map(|c| c.iter().zip(&counts).map(|(c, n)| c * n).collect()).collect();
        let normal = normal(&columns, &weighted);
        let right = DVector::from_fn(columns.len(), |i, _| dot(&columns[i], &sums));
        let solved = normal.cholesky()?.solve(&right);
        let constant = differences.then_some(0.0);
        Some(constant.into_iter().chain(solved.iter().copied()).collect())
    }

    /// Coefficients by generalised least squares under `process` (Harvey and Phillips 1979: the filter turns values and
    /// waves into innovations). A wave that does not earn its two parameters by AIC is left out (0).
    pub fn generalised(
        &self,
        process: &Process,
        values: &[f64],
        observed: &[bool],
        first_phase: usize,
        prune: bool,
    ) -> Option<Vec<f64>> {
        let from = usize::from(process.integrated);
        let mut filtered = Vec::with_capacity(self.width());
        let mut unrolled = Vec::with_capacity(values.len());
        for column in &self.columns[from..] {
            unrolled.clear();
            let cycle = column[first_phase % self.season..].iter().chain(column.iter().cycle());
            unrolled.extend(cycle.take(values.len()));
            let mut out = Vec::with_capacity(values.len());
            innovations(process, &unrolled, observed, &mut out)?;
            filtered.push(out);
        }
        let mut target = Vec::with_capacity(values.len());
        innovations(process, values, observed, &mut target)?;
        let normal = normal(&filtered, &filtered);
        let right = DVector::from_fn(filtered.len(), |i, _| dot(&filtered[i], &target));
        let factor = normal.clone().cholesky()?;
        let solved = factor.solve(&right);
        let mut kept: Vec<usize> = (0..solved.len()).collect();
        if prune && solved.len() > 1 - from {
            let freedom = (target.len() as f64 - solved.len() as f64).max(1.0);
            let variance = (dot(&target, &target) - solved.dot(&right)).max(0.0) / freedom;
            let inverse = factor.inverse();
            let pair = |wave: usize| (1 - from) + 2 * wave;
            for wave in (0..self.cycles.len()).rev() {
                let at = pair(wave);
                let own = inverse.fixed_view::<2, 2>(at, at).try_inverse()?;
                let b = solved.fixed_rows::<2>(at);
                if (b.transpose() * own * b)[(0, 0)] < 4.0 * variance {
                    kept.drain(at..at + 2);
                }
            }
        }
        if kept.is_empty() {
            return Some(vec![0.0; self.width()]);
        }
        let small = DMatrix::from_fn(kept.len(), kept.len(), |i, j| normal[(kept[i], kept[j])]);
        let solved = small.cholesky()?.solve(&DVector::from_fn(kept.len(), |i, _| right[kept[i]]));
        let mut coefficients = vec![0.0; self.width()];
        for (index, value) in kept.iter().zip(solved.iter()) {
            coefficients[from + index] = *value;
        }
        Some(coefficients)
    }
}

fn normal(left: &[Vec<f64>], right: &[Vec<f64>]) -> DMatrix<f64> {
    let mut normal = DMatrix::zeros(left.len(), left.len());
    for i in 0..left.len() {
        for j in 0..=i {
            let value = dot(&left[i], &right[j]);
            normal[(i, j)] = value;
            normal[(j, i)] = value;
        }
        normal[(i, i)] *= 1.0 + RIDGE;
    }
    normal
}
