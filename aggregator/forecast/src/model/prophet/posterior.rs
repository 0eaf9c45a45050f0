//! Prophet's posterior (Taylor, Letham 2018, and the Stan program of the original) and the search for its maximum.
//!
//! `y ~ normal(trend · (1 + X_m β_m) + X_a β_a, σ)`; the trend is a line that bends at given changepoints. Priors: slope and
//! offset normal(0, 5), bends Laplace(0, τ), σ half normal(0, 0.5), coefficients normal(mean, scale). Time and load are scaled
//! to about one before. Minus the logarithm of the posterior is minimised, without its constants.

use nalgebra::{Cholesky, DMatrix, DVector, Dyn};

use super::lbfgs::{Minimum, minimise};

/// Scale of the Laplace prior on the bends: the original's.
pub(super) const BEND_SCALE: f64 = 0.05;
/// Precision of the priors on slope and offset, `1 / 5²`.
const LINE_PRECISION: f64 = 1.0 / 25.0;
/// Precision of the prior on σ, `1 / 0.5²`.
const NOISE_PRECISION: f64 = 4.0;
/// Below this a bend is rounded off, so that the objective is smooth; costs at most `ROUND / BEND_SCALE` nats a bend.
const ROUND: f64 = 1e-4;
/// The load is not known better than this (of its scale): without it, a perfect fit would have no maximum.
const LEAST_NOISE: f64 = 1e-4;
/// The search ends when the next step promises less than this many nats.
const TOLERANCE: f64 = 1e-3;
/// Rounds of steps between which the metric is made anew.
const ROUNDS: usize = 12;
const STEPS: usize = 25;

/// Where slope, offset and the logarithm of σ are in the parameters; bends follow, then coefficients.
const SLOPE: usize = 0;
const OFFSET: usize = 1;
const LN_NOISE: usize = 2;
const FIXED: usize = 3;

/// One column of `X`: its prior.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Column {
    pub mean: f64,
    pub scale: f64,
}

/// The scaled data, as the posterior sees them.
#[derive(Debug, Clone)]
pub(super) struct Data {
    /// Time, ascending, 0 at the first observation and 1 at the last.
    pub t: Vec<f64>,
    /// The load in units of its largest value.
    pub y: Vec<f64>,
    /// Where the trend may bend, ascending. None for a flat trend.
    pub changepoints: Vec<f64>,
    /// Whether the trend may rise at all.
    pub slopes: bool,
    /// Row after row of regressors, additive ones first.
    pub x: Vec<f64>,
    /// The columns of `x`.
    pub columns: Vec<Column>,
    /// How many of the columns are additive; the others are multiplicative.
    pub additive: usize,
}

/// The parameters in words.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Parameters {
    pub slope: f64,
    pub offset: f64,
    pub noise: f64,
    pub bends: Vec<f64>,
    pub coefficients: Vec<f64>,
}

impl Parameters {
    pub fn from_flat(flat: &[f64], bends: usize) -> Self {
        Self {
            slope: flat[SLOPE],
            offset: flat[OFFSET],
            noise: flat[LN_NOISE].exp(),
            bends: flat[FIXED..FIXED + bends].to_vec(),
            coefficients: flat[FIXED + bends..].to_vec(),
        }
    }

    /// The trend at scaled time `t`.
    pub fn trend(&self, t: f64, changepoints: &[f64]) -> f64 {
        let bent: f64 = changepoints.iter().zip(&self.bends).map(|(at, bend)| bend * (t - at).max(0.0)).sum();
        self.offset + self.slope * t + bent
    }
}

impl Data {
    fn width(&self) -> usize {
        FIXED + self.changepoints.len() + self.columns.len()
    }

    fn row(&self, index: usize) -> &[f64] {
        let width = self.columns.len();
        &self.x[index * width..(index + 1) * width]
    }

    /// Minus the logarithm of the posterior at `flat`; its gradient goes into `gradient`.
    pub fn value(&self, flat: &[f64], gradient: &mut [f64]) -> f64 {
        let count = self.changepoints.len();
        let (bends, coefficients) = flat[FIXED..].split_at(count);
        let (added, multiplied) = coefficients.split_at(self.additive);
        let variance = (2.0 * flat[LN_NOISE]).exp();
        gradient.fill(0.0);
        let (fixed, rest) = gradient.split_at_mut(FIXED);
        let (to_bends, to_coefficients) = rest.split_at_mut(count);
        let (to_added, to_multiplied) = to_coefficients.split_at_mut(self.additive);
        let (mut rate, mut offset, mut passed) = (if self.slopes { flat[SLOPE] } else { 0.0 }, flat[OFFSET], 0);
        // Sums of the trend's gradient, and of it times t, since the last changepoint; turned into suffix sums below.
        let (mut since, mut since_t) = (vec![0.0; count + 1], vec![0.0; count + 1]);
        let mut squares = 0.0;
        for (index, (t, y)) in self.t.iter().zip(&self.y).enumerate() {
            while passed < count && *t >= self.changepoints[passed] {
                rate += bends[passed];
                offset -= bends[passed] * self.changepoints[passed];
                passed += 1;
            }
            let trend = rate * t + offset;
            let (add, times) = self.row(index).split_at(self.additive);
            let factor = 1.0 + dot(times, multiplied);
            let miss = y - trend * factor - dot(add, added);
            squares += miss * miss;
            since[passed] -= miss * factor;
            since_t[passed] -= miss * factor * t;
            to_added.iter_mut().zip(add).for_each(|(to, x)| *to -= miss * x);
            let miss_of_trend = miss * trend;
            to_multiplied.iter_mut().zip(times).for_each(|(to, x)| *to -= miss_of_trend * x);
        }
        let length = self.t.len() as f64;
        squares += length * LEAST_NOISE * LEAST_NOISE;
        let mut value = length * flat[LN_NOISE] + squares / (2.0 * variance);
        fixed[LN_NOISE] = length - squares / variance + NOISE_PRECISION * variance;
        value += NOISE_PRECISION * variance / 2.0;
        let (mut tail, mut tail_t) = (0.0, 0.0);
        for index in (0..count).rev() {
            tail += since[index + 1];
            tail_t += since_t[index + 1];
            let rounded = bends[index].hypot(ROUND);
            to_bends[index] =
                (tail_t - self.changepoints[index] * tail) / variance + bends[index] / rounded / BEND_SCALE;
            value += rounded / BEND_SCALE;
        }
        let slope = if self.slopes { (tail_t + since_t[0]) / variance } else { 0.0 };
        fixed[SLOPE] = slope + LINE_PRECISION * flat[SLOPE];
        fixed[OFFSET] = (tail + since[0]) / variance + LINE_PRECISION * flat[OFFSET];
        value += LINE_PRECISION * (flat[SLOPE].powi(2) + flat[OFFSET].powi(2)) / 2.0;
        for ((to, coefficient), column) in to_coefficients.iter_mut().zip(coefficients).zip(&self.columns) {
            let off = (coefficient - column.mean) / column.scale;
            *to = *to / variance + off / column.scale;
            value += off * off / 2.0;
        }
        value
    }

    /// The most probable parameters: from the ridge regression nearest to the model, by L-BFGS.
    ///
    /// `None` when the curvature at the start is not positive, which only numbers out of bounds can bring about.
    pub fn fit(&self) -> Option<Minimum> {
        let normal = Normal::new(self);
        let count = self.changepoints.len();
        // Seasons explain most of a load's spread as a rule; a third of it is a fair first guess of what remains.
        let first_noise = (normal.spread / 3.0).max(LEAST_NOISE);
        let wide = vec![1.0 / (2.0 * BEND_SCALE * BEND_SCALE); count];
        let ridge = normal.factor(self, first_noise, &wide)?.solve(&normal.right_side(self, first_noise));
        let mut flat = vec![0.0; self.width()];
        flat[SLOPE] = ridge[0];
        flat[OFFSET] = ridge[1];
        flat[FIXED..].copy_from_slice(&ridge.as_slice()[2..]);
        flat[LN_NOISE] = self.best_noise(&flat).ln();
        let mut found = Minimum { at: flat, value: f64::INFINITY, converged: false };
        for _ in 0..ROUNDS {
            let noise = found.at[LN_NOISE].exp();
            let bends = &found.at[FIXED..FIXED + count];
            let precisions: Vec<f64> = bends.iter().map(|bend| 1.0 / (BEND_SCALE * bend.hypot(ROUND))).collect();
            let factor = normal.factor(self, noise, &precisions)?;
            let metric = |along: &mut [f64]| {
                let mut line = DVector::zeros(along.len() - 1);
                line[0] = along[SLOPE];
                line[1] = along[OFFSET];
                line.as_mut_slice()[2..].copy_from_slice(&along[FIXED..]);
                factor.solve_mut(&mut line);
                (along[SLOPE], along[OFFSET]) = (line[0], line[1]);
                along[LN_NOISE] /= 2.0 * self.t.len() as f64;
                along[FIXED..].copy_from_slice(&line.as_slice()[2..]);
            };
            found = minimise(found.at, STEPS, TOLERANCE, metric, |at, gradient| self.value(at, gradient));
            if found.converged {
                break;
            }
        }
        found.value.is_finite().then_some(found)
    }

    /// The most probable σ, everything else given: where the gradient along it is zero.
    fn best_noise(&self, flat: &[f64]) -> f64 {
        let mut at = flat.to_vec();
        at[LN_NOISE] = 0.0;
        let mut gradient = vec![0.0; at.len()];
        self.value(&at, &mut gradient);
        let length = self.t.len() as f64;
        let squares = (length + NOISE_PRECISION - gradient[LN_NOISE]).max(0.0);
        let root = (length * length + 4.0 * NOISE_PRECISION * squares).sqrt();
        ((root - length) / (2.0 * NOISE_PRECISION)).sqrt().max(LEAST_NOISE)
    }
}

/// The normal equations of the model made linear around a level trend: exact where all columns are additive.
struct Normal {
    /// Products of the columns slope, offset, bends, `x` (multiplicative ones times the mean load).
    products: DMatrix<f64>,
    with_y: DVector<f64>,
    /// Standard deviation of the load.
    spread: f64,
}

impl Normal {
    fn new(data: &Data) -> Self {
        let (count, width) = (data.changepoints.len(), data.width() - 1);
        let length = data.y.len() as f64;
        let mean = data.y.iter().sum::<f64>() / length;
        let spread = (data.y.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / length).sqrt();
        let mut products = DMatrix::zeros(width, width);
        let mut with_y = DVector::zeros(width);
        let mut row = vec![0.0; width];
        for (index, (t, y)) in data.t.iter().zip(&data.y).enumerate() {
            row[0] = if data.slopes { *t } else { 0.0 };
            row[1] = 1.0;
            for (value, at) in row[2..2 + count].iter_mut().zip(&data.changepoints) {
                *value = (t - at).max(0.0);
            }
            for (place, (value, x)) in row[2 + count..].iter_mut().zip(data.row(index)).enumerate() {
                *value = if place < data.additive { *x } else { mean * x };
            }
            for (column, value) in row.iter().enumerate() {
                if *value != 0.0 {
                    with_y[column] += value * y;
                    let products = &mut products.as_mut_slice()[column * width + column..(column + 1) * width];
                    products.iter_mut().zip(&row[column..]).for_each(|(to, other)| *to += value * other);
                }
            }
        }
        products.fill_upper_triangle_with_lower_triangle();
        Self { products, with_y, spread }
    }

    fn factor(&self, data: &Data, noise: f64, bends: &[f64]) -> Option<Cholesky<f64, Dyn>> {
        let mut matrix = &self.products / (noise * noise);
        let coefficients = data.columns.iter().map(|column| column.scale.powi(-2));
        let precisions = [LINE_PRECISION; 2].into_iter().chain(bends.iter().copied()).chain(coefficients);
        for (place, precision) in precisions.enumerate() {
            matrix[(place, place)] += precision;
        }
        Cholesky::new(matrix)
    }

    fn right_side(&self, data: &Data, noise: f64) -> DVector<f64> {
        let mut side = &self.with_y / (noise * noise);
        let from = 2 + data.changepoints.len();
        for (place, column) in data.columns.iter().enumerate() {
            side[from + place] += column.mean * column.scale.powi(-2);
        }
        side
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
