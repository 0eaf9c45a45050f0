//! The exact Gaussian likelihood by the Kalman filter, with missing values; the same filter forecasts.
//!
//! The state is Harvey's (1989, "Forecasting, structural time series models and the Kalman filter", 3.3): the level (the
//! last observation, for an integrated process) and the ARMA vector, whose first element is the next difference. It starts
//! from the stationary distribution (Gardner, Harvey and Phillips 1980, AS 154; solved here by doubling). The level starts
//! diffuse: the first observation is what it is known from, and is not itself scored. That is the exact diffuse likelihood
//! of one difference, and unlike differencing beforehand it loses nothing at a gap.

#![allow(clippy::needless_range_loop, reason = "rows and columns of small matrices are read best by their indices")]

use super::process::{MAXIMUM_ORDER, Process};

/// The longest ARMA vector, max(p, q + 1).
const VECTOR: usize = MAXIMUM_ORDER + 1;
const STATE: usize = VECTOR + 1;
/// A state whose variances add up to less than this (shocks have 1) is known, and the long recursion has become the short one.
/// Theta near the unit circle takes hundreds of steps to get there, at ten times the cost.
const KNOWN: f64 = 1e-6;
/// Doublings after which a process has no stationary distribution worth the name (2^40 steps).
const DOUBLINGS: usize = 40;

type Square<const N: usize> = [[f64; N]; N];

/// What is expected of the next observation; the variance is in units of that of a shock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Expected {
    pub mean: f64,
    pub variance: f64,
}

/// The filter between two observations.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    length: usize,
    phi: [f64; VECTOR],
    /// What a shock adds to the vector: 1 and theta.
    shock: [f64; VECTOR],
    integrated: bool,
    /// An integrated process before its first observation.
    unborn: bool,
    level: f64,
    vector: [f64; VECTOR],
    /// Of the level and the vector, before the next observation.
    covariance: Square<STATE>,
    /// Whether all that is unknown is the next shock; then the covariance is not kept.
    known: bool,
}

impl Filter {
    /// At the beginning of time; `None` when the process has no stationary distribution.
    pub fn new(process: &Process) -> Option<Self> {
        let (ar, ma) = (process.phi.len(), process.theta.len());
        let length = ar.max(ma + 1);
        if length > VECTOR {
            return None;
        }
        let (mut phi, mut shock) = ([0.0; VECTOR], [0.0; VECTOR]);
        phi[..ar].copy_from_slice(&process.phi);
        shock[0] = 1.0;
        shock[1..=ma].copy_from_slice(&process.theta);
        let mut covariance = [[0.0; STATE]; STATE];
        let stationary = stationary(&phi, &shock, length)?;
        for (row, from) in covariance[1..].iter_mut().zip(&stationary) {
            row[1..].copy_from_slice(from);
        }
        let integrated = process.integrated;
        let vector = [0.0; VECTOR];
        Some(Self { length, phi, shock, integrated, unborn: integrated, level: 0.0, vector, covariance, known: false })
    }

    /// What is expected of the next observation; an integrated process before its first one expects nothing in particular.
    pub fn expected(&self) -> Expected {
        let c = &self.covariance;
        let variance = if self.known { 1.0 } else { c[0][0] + 2.0 * c[0][1] + c[1][1] };
        Expected { mean: self.level + self.vector[0], variance }
    }

    /// Takes in an observation; the answer is what it missed by, and the variance of that.
    #[inline]
    pub fn observe(&mut self, value: f64) -> Option<(f64, f64)> {
        if self.unborn {
            (self.unborn, self.level) = (false, value);
            return None;
        }
        let Expected { mean, variance } = self.expected();
        let miss = value - mean;
        if self.known {
            for (element, shock) in self.vector.iter_mut().zip(&self.shock) {
                *element += shock * miss;
            }
        } else if variance > 0.0 {
            self.update(miss, variance);
        }
        self.advance();
        Some((miss, variance))
    }

    /// Passes over a missing observation.
    pub fn miss(&mut self) {
        if self.unborn {
            return;
        }
        if self.known {
            self.covariance = [[0.0; STATE]; STATE];
            self.add_shock();
            self.known = false;
        }
        self.advance();
    }

    /// The first row of the covariance that is not always zero.
    fn from(&self) -> usize {
        usize::from(!self.integrated)
    }

    fn update(&mut self, miss: f64, variance: f64) {
        let (from, to) = (self.from(), self.length + 1);
        let mut gain = [0.0; STATE];
        for (gain, row) in gain[..to].iter_mut().zip(&self.covariance) {
            *gain = row[0] + row[1];
        }
        let share = miss / variance;
        self.level += gain[0] * share;
        for (element, gain) in self.vector.iter_mut().zip(&gain[1..]) {
            *element += gain * share;
        }
        let mut left = 0.0;
        for i in from..to {
            let own = gain[i] / variance;
            for j in from..to {
                self.covariance[i][j] -= own * gain[j];
            }
            left += self.covariance[i][i].abs();
        }
        // Nothing is measured with noise: what an observation leaves unknown fades, unless theta lies on the unit circle.
        self.known = left < KNOWN;
    }

    /// To the next step in time: the mean, and unless all is known the covariance.
    #[inline]
    fn advance(&mut self) {
        let first = self.vector[0];
        if self.integrated {
            self.level += first;
        }
        // All of it, zeros included: a loop of fixed length is the quick one.
        for i in 0..VECTOR {
            let next = if i + 1 < VECTOR { self.vector[i + 1] } else { 0.0 };
            self.vector[i] = self.phi[i] * first + next;
        }
        if !self.known {
            self.advance_covariance();
        }
    }

    fn advance_covariance(&mut self) {
        let (from, to) = (self.from(), self.length + 1);
        // Row by row, then column by column: the level takes the first element, each element phi of the first and its successor.
        let mut half = [[0.0; STATE + 1]; STATE];
        for j in from..to {
            half[0][j] = self.covariance[0][j] + self.covariance[1][j];
            for i in 1..to {
                let next = if i + 1 < to { self.covariance[i + 1][j] } else { 0.0 };
                half[i][j] = self.phi[i - 1] * self.covariance[1][j] + next;
            }
        }
        for i in from..to {
            self.covariance[i][0] = if self.integrated { half[i][0] + half[i][1] } else { 0.0 };
            for j in 1..to {
                self.covariance[i][j] = self.phi[j - 1] * half[i][1] + half[i][j + 1];
            }
        }
        self.add_shock();
    }

    fn add_shock(&mut self) {
        for i in 0..self.length {
            for j in 0..self.length {
                self.covariance[i + 1][j + 1] += self.shock[i] * self.shock[j];
            }
        }
    }
}

/// The covariance P = T·P·Tᵀ + R·Rᵀ of the ARMA vector, by doubling: Σ over 2ᵏ steps of the past, until the rest is nothing.
fn stationary(phi: &[f64; VECTOR], shock: &[f64; VECTOR], length: usize) -> Option<Square<VECTOR>> {
    let (mut step, mut sum) = ([[0.0; VECTOR]; VECTOR], [[0.0; VECTOR]; VECTOR]);
    for i in 0..length {
        step[i][0] = phi[i];
        if i + 1 < length {
            step[i][i + 1] = 1.0;
        }
        for j in 0..length {
            sum[i][j] = shock[i] * shock[j];
        }
    }
    for _ in 0..DOUBLINGS {
        let half = product(&step, &sum, length, false);
        let more = product(&half, &step, length, true);
        let mut largest: f64 = 0.0;
        for i in 0..length {
            for j in 0..length {
                sum[i][j] += more[i][j];
                largest = largest.max(more[i][j].abs());
            }
        }
        if !largest.is_finite() {
            return None;
        }
        if largest <= 1e-15 * sum[0][0] {
            return Some(sum);
        }
        step = product(&step, &step, length, false);
    }
    None
}

/// a·b, or a·bᵀ.
fn product(a: &Square<VECTOR>, b: &Square<VECTOR>, length: usize, transposed: bool) -> Square<VECTOR> {
    let mut out = [[0.0; VECTOR]; VECTOR];
    for i in 0..length {
        for j in 0..length {
            out[i][j] = (0..length).map(|k| a[i][k] * if transposed { b[j][k] } else { b[k][j] }).sum();
        }
    }
    out
}

/// Misses divided by their standard deviation (shocks have 1), and Σ ln of the variances; `None` without a stationary
/// distribution. Missing values have no entry.
pub(super) fn innovations(process: &Process, values: &[f64], observed: &[bool], out: &mut Vec<f64>) -> Option<f64> {
    out.clear();
    let mut filter = Filter::new(process)?;
    let mut logarithms = 0.0;
    for (value, observed) in values.iter().zip(observed) {
        if !observed {
            filter.miss();
        } else if let Some((miss, variance)) = filter.observe(*value) {
            if variance == 1.0 {
                out.push(miss);
            } else {
                out.push(miss / variance.sqrt());
                logarithms += variance.ln();
            }
        }
    }
    logarithms.is_finite().then_some(logarithms)
}

/// The logarithm of the likelihood of `values` with shocks of variance `variance`.
#[cfg(test)]
pub(super) fn log_likelihood(process: &Process, variance: f64, values: &[f64], observed: &[bool]) -> Option<f64> {
    let mut out = Vec::new();
    let logarithms = innovations(process, values, observed, &mut out)?;
    let squares: f64 = out.iter().map(|miss| miss * miss).sum();
    let count = out.len() as f64;
    Some(-0.5 * (count * (std::f64::consts::TAU * variance).ln() + logarithms + squares / variance))
}
