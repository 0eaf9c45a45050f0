//! Levenberg–Marquardt: damped Gauss–Newton with a numerical Jacobian.
//!
//! With the variance concentrated out, the exact likelihood of an ARMA process is a sum of squares (Ansley 1979: the misses
//! times the geometric mean of their standard deviations), so few rounds reach the maximum: for four parameters six passes
//! of the filter each, and three to five rounds. argmin has quasi-Newton methods, the simplex and undamped Gauss–Newton,
//! but not this, and its executor reads the clock, which nothing here may.

use nalgebra::{DMatrix, DVector};

use super::super::dot;

/// Of the numerical Jacobian; parameters are of the order of 1.
const STEP: f64 = 1e-6;
/// As a share of the diagonal: none to speak of at first, and at last a step no longer than a millionth.
const FIRST_DAMPING: f64 = 1e-3;
const LARGEST_DAMPING: f64 = 1e6;

/// Where the sum of squares is least.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Minimum {
    pub at: Vec<f64>,
    pub squares: f64,
}

/// From `start` at most `rounds` rounds, or until one gains less than `tolerance` of the sum.
///
/// `residuals` writes them for the parameters given, always equally many, and answers whether the parameters are possible.
pub(super) fn minimise(
    start: Vec<f64>,
    rounds: usize,
    tolerance: f64,
    mut residuals: impl FnMut(&[f64], &mut Vec<f64>) -> bool,
) -> Option<Minimum> {
    let squares = |of: &[f64]| dot(of, of);
    let mut here = Vec::new();
    if !residuals(&start, &mut here) {
        return None;
    }
    let mut best = Minimum { squares: squares(&here), at: start };
    let width = best.at.len();
    let mut damping = FIRST_DAMPING;
    let (mut there, mut slopes) = (Vec::new(), vec![Vec::new(); width]);
    for _ in 0..if width == 0 { 0 } else { rounds } {
        if !best.squares.is_finite() || best.squares <= 0.0 {
            break;
        }
        for (index, slope) in slopes.iter_mut().enumerate() {
            let mut moved = best.at.clone();
            moved[index] += STEP;
            if !residuals(&moved, &mut there) || there.len() != here.len() {
                return Some(best);
            }
            slope.clear();
            slope.extend(there.iter().zip(&here).map(|(there, here)| (there - here) / STEP));
        }
        let normal = DMatrix::from_fn(width, width, |i, j| dot(&slopes[i.min(j)], &slopes[i.max(j)]));
        let right = DVector::from_fn(width, |i, _| -dot(&slopes[i], &here));
        let before = best.squares;
        while damping <= LARGEST_DAMPING {
            let mut damped = normal.clone();
            for i in 0..width {
                damped[(i, i)] += damping * normal[(i, i)].max(1e-12 * best.squares);
            }
            let Some(step) = damped.cholesky().map(|factor| factor.solve(&right)) else {
                damping *= 10.0;
                continue;
            };
            let tried: Vec<f64> = best.at.iter().zip(step.iter()).map(|(at, step)| at + step).collect();
            if residuals(&tried, &mut there) && there.len() == here.len() && squares(&there) < best.squares {
                best = Minimum { squares: squares(&there), at: tried };
                std::mem::swap(&mut here, &mut there);
                damping = (damping / 10.0).max(1e-9);
                break;
            }
            damping *= 10.0;
        }
        if best.squares >= before * (1.0 - tolerance) {
            break;
        }
    }
    Some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_bottom_of_a_curved_valley() {
        let valley = |at: &[f64], out: &mut Vec<f64>| {
            out.clear();
            out.extend([10.0 * (at[1] - at[0] * at[0]), 1.0 - at[0]]);
            true
        };
        let found = minimise(vec![-1.2, 1.0], 100, 0.0, valley).unwrap();
        assert!(found.squares < 1e-12 && (found.at[0] - 1.0).abs() < 1e-6, "{found:?}");
    }
}
