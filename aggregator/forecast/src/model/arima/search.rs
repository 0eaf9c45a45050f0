//! Which difference and which orders: KPSS, then the stepwise search of Hyndman and Khandakar.
//!
//! Hyndman and Khandakar 2008, "Automatic time series forecasting: the forecast package for R", J. Stat. Softw. 27(3): from
//! four small models step to the best neighbour while AICc falls. Here every model is judged by its exact likelihood, from
//! a start by Hannan and Rissanen (1982); the approximate one is not needed at this speed.

use nalgebra::{DMatrix, DVector};

use super::super::dot;
use super::filter::innovations;
use super::least_squares::minimise;
use super::process::{MAXIMUM_ORDER, Process};

/// The 5 % point of the KPSS statistic of a level (Kwiatkowski, Phillips, Schmidt and Shin 1992, table 1).
const KPSS_CRITICAL: f64 = 0.463;
/// The long autoregression whose misses stand for the shocks in the start.
const LONG_ORDER: usize = 20;
/// Rounds of the search for a model that is only compared, and how exact that has to be (AICc moves by n times this).
const ROUGH_ROUNDS: usize = 3;
const ROUGH: f64 = 1e-3;
/// Rounds for the model that is kept.
const FINE_ROUNDS: usize = 30;
const FINE: f64 = 1e-8;

/// The KPSS statistic of a level, with the bandwidth of Hobijn, Franses and Ooms (1998, "Generalizations of the KPSS-test for
/// stationarity"): short fixed ones call every strongly autocorrelated series integrated, and load is that.
pub(super) fn kpss(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let misses: Vec<f64> = values.iter().map(|value| value - mean).collect();
    let covariance = |lag: usize| dot(&misses[lag..], &misses[..misses.len() - lag]) / count;
    let (mut flat, mut sloped) = (covariance(0), 0.0);
    for lag in 1..=(count.powf(2.0 / 9.0) as usize).min(misses.len() - 1) {
        flat += 2.0 * covariance(lag);
        sloped += 2.0 * lag as f64 * covariance(lag);
    }
    let bandwidth = 1.1447 * (sloped / flat).powi(2).cbrt() * count.cbrt();
    let bandwidth = (bandwidth as usize).min(misses.len() - 1);
    let kernel = |lag: usize| 1.0 - lag as f64 / (bandwidth as f64 + 1.0);
    let long_run = covariance(0) + (1..=bandwidth).map(|lag| 2.0 * kernel(lag) * covariance(lag)).sum::<f64>();
    let mut sum = 0.0;
    let squares: f64 = misses
        .iter()
        .map(|miss| {
            sum += miss;
            sum * sum
        })
        .sum();
    squares / (count * count) / long_run
}

/// Whether the values have to be differenced once.
///
/// Never twice: a load has no parabola for trend, and the spread of its forecast would grow with the cube of time.
pub(super) fn is_integrated(values: &[f64]) -> bool {
    // A constant gives 0/0, which is no reason.
    values.len() > 2 && kpss(values) > KPSS_CRITICAL
}

/// A model with its standing.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub process: Process,
    /// Of the shocks, in the square of the values' unit.
    pub variance: f64,
    #[cfg(test)]
    pub log_likelihood: f64,
    pub aicc: f64,
}

/// Values (missing ones filled in), and which of them count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Data<'a> {
    pub values: &'a [f64],
    pub observed: &'a [bool],
    /// Parameters that were spent on regressors.
    pub spent: usize,
}

impl<'a> Data<'a> {
    /// The newest `length`.
    pub fn last(&self, length: usize) -> Data<'a> {
        let from = self.values.len().saturating_sub(length);
        Data { values: &self.values[from..], observed: &self.observed[from..], spent: self.spent }
    }
}

/// Exact maximum likelihood from `start`.
fn maximise(data: Data<'_>, start: &Process, rounds: usize, tolerance: f64) -> Option<Candidate> {
    let (ar, integrated) = (start.phi.len(), start.integrated);
    let found = minimise(start.to_free(), rounds, tolerance, |free, out| {
        let process = Process::of_free(free, ar, integrated);
        let Some(logarithms) = innovations(&process, data.values, data.observed, out) else { return false };
        let scale = (logarithms / (2.0 * out.len().max(1) as f64)).exp();
        out.iter_mut().for_each(|miss| *miss *= scale);
        true
    })?;
    let process = Process::of_free(&found.at, ar, integrated);
    let mut out = Vec::new();
    innovations(&process, data.values, data.observed, &mut out)?;
    let count = out.len() as f64;
    let parameters = (found.at.len() + 1 + data.spent) as f64;
    let log_likelihood = -0.5 * count * ((std::f64::consts::TAU * found.squares / count).ln() + 1.0);
    let room = count - parameters - 1.0;
    let aicc = 2.0 * parameters * (1.0 + (parameters + 1.0) / room) - 2.0 * log_likelihood;
    let variance = out.iter().map(|miss| miss * miss).sum::<f64>() / count;
    (room > 0.0 && aicc.is_finite()).then_some(Candidate {
        process,
        variance,
        #[cfg(test)]
        log_likelihood,
        aicc,
    })
}

/// The exact maximum near a model already found.
pub(super) fn refine(data: Data<'_>, start: &Process) -> Option<Candidate> {
    maximise(data, start, FINE_ROUNDS, FINE)
}

/// The orders with the least AICc that a stepwise search finds.
pub(super) fn stepwise(data: Data<'_>, integrated: bool) -> Option<Candidate> {
    let starts = Starts::new(data.values, integrated);
    let mut tried = [[false; MAXIMUM_ORDER + 1]; MAXIMUM_ORDER + 1];
    let mut best: Option<Candidate> = None;
    let mut attempt = |ar: usize, ma: usize, best: &mut Option<Candidate>| {
        if ar + ma > MAXIMUM_ORDER || std::mem::replace(&mut tried[ar][ma], true) {
            return false;
        }
        let found = maximise(data, &starts.of(ar, ma), ROUGH_ROUNDS, ROUGH);
        let better = found
            .filter(|found| found.process.is_well_inside() && best.as_ref().is_none_or(|best| found.aicc < best.aicc));
        let improved = better.is_some();
        *best = better.or(best.take());
        improved
    };
    for (ar, ma) in [(2, 2), (0, 0), (1, 0), (0, 1)] {
        attempt(ar, ma, &mut best);
    }
    const NEIGHBOURS: [(isize, isize); 8] = [(-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)];
    loop {
        let (ar, ma) = best.as_ref().map(|best| (best.process.phi.len(), best.process.theta.len()))?;
        let moved = NEIGHBOURS.iter().any(|(by_ar, by_ma)| {
            let to = (ar.checked_add_signed(*by_ar), ma.checked_add_signed(*by_ma));
            let (Some(ar), Some(ma)) = to else { return false };
            attempt(ar, ma, &mut best)
        });
        if !moved {
            return best;
        }
    }
}

/// The starts of Hannan and Rissanen for all orders, from one table of moments.
struct Starts {
    integrated: bool,
    /// Moments of [u(t), u(t−1) …, e(t−1) …].
    moments: DMatrix<f64>,
}

impl Starts {
    fn new(values: &[f64], integrated: bool) -> Self {
        let centred: Vec<f64> =
            if integrated { values.windows(2).map(|pair| pair[1] - pair[0]).collect() } else { values.to_vec() };
        let long = long_autoregression(&centred, LONG_ORDER.min(centred.len() / 4));
        let shocks: Vec<f64> =
            (0..centred.len()).map(|at| if at < long.len() { 0.0 } else { shock(&centred, &long, at) }).collect();
        const WIDTH: usize = 1 + 2 * MAXIMUM_ORDER;
        let mut sums = [[0.0; WIDTH]; WIDTH];
        for at in (long.len() + MAXIMUM_ORDER).min(centred.len())..centred.len() {
            let row: [f64; WIDTH] = std::array::from_fn(|column| match column {
                0..=MAXIMUM_ORDER => centred[at - column],
                _ => shocks[at - (column - MAXIMUM_ORDER)],
            });
            for i in 0..WIDTH {
                for j in 0..=i {
                    sums[i][j] += row[i] * row[j];
                }
            }
        }
        Self { integrated, moments: DMatrix::from_fn(WIDTH, WIDTH, |i, j| sums[i.max(j)][i.min(j)]) }
    }

    fn of(&self, ar: usize, ma: usize) -> Process {
        let columns: Vec<usize> = (1..=ar).chain((1..=ma).map(|lag| MAXIMUM_ORDER + lag)).collect();
        let width = columns.len();
        let scale = 1e-9 * self.moments[(0, 0)].max(f64::MIN_POSITIVE);
        let normal = DMatrix::from_fn(width, width, |i, j| {
            self.moments[(columns[i], columns[j])] + if i == j { scale } else { 0.0 }
        });
        let right = DVector::from_fn(width, |i, _| self.moments[(columns[i], 0)]);
        let solved = normal.cholesky().map_or_else(|| DVector::zeros(width), |factor| factor.solve(&right));
        let (phi, theta) = solved.as_slice().split_at(ar);
        Process { phi: phi.to_vec(), theta: theta.to_vec(), integrated: self.integrated }
    }
}

/// Coefficients by Yule and Walker (Levinson's recursion).
fn long_autoregression(values: &[f64], order: usize) -> Vec<f64> {
    let covariance = |lag: usize| dot(&values[lag..], &values[..values.len() - lag]);
    let mut error = if values.is_empty() { 0.0 } else { covariance(0) };
    let covariances: Vec<f64> = (0..=order).map(|lag| if lag < values.len() { covariance(lag) } else { 0.0 }).collect();
    let mut phi: Vec<f64> = Vec::with_capacity(order);
    for lag in 1..=order {
        if error <= 0.0 {
            break;
        }
        let known: f64 = phi.iter().enumerate().map(|(i, phi)| phi * covariances[lag - 1 - i]).sum();
        let partial = (covariances[lag] - known) / error;
        let before = phi.clone();
        for (index, value) in phi.iter_mut().enumerate() {
            *value -= partial * before[before.len() - 1 - index];
        }
        phi.push(partial);
        error *= 1.0 - partial * partial;
    }
    phi
}

fn shock(values: &[f64], phi: &[f64], at: usize) -> f64 {
    values[at] - phi.iter().enumerate().map(|(i, phi)| phi * values[at - 1 - i]).sum::<f64>()
}
