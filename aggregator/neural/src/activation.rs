//! The two number types of the network: `f32` to train with, `f64` to check its gradients with.

use std::ops::{AddAssign, Neg};

use ndarray::LinalgScalar;

/// What the network computes with.
pub trait Real: LinalgScalar + PartialOrd + AddAssign + Neg<Output = Self> + Send + Sync + std::fmt::Debug {
    /// From a 64-bit number.
    fn of(value: f64) -> Self;
    /// To a 64-bit number.
    fn wide(self) -> f64;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;

    /// The logistic function, by way of the hyperbolic tangent.
    fn sigmoid(self) -> Self {
        let half = Self::of(0.5);
        half * (half * self).tanh() + half
    }
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }

    fn wide(self) -> f64 {
        self
    }

    fn tanh(self) -> Self {
        Self::tanh(self)
    }
}

impl Real for f32 {
    fn of(value: f64) -> Self {
        value as Self
    }

    fn wide(self) -> f64 {
        f64::from(self)
    }

    /// The rational function of Eigen (`ptanh_float`): within 4e-7 of the exact one, without a branch, so that the compiler
    /// makes vectors of it. The C library's would take more time than all matrix products together.
    fn tanh(self) -> Self {
        let x = self.clamp(-7.905_311, 7.905_311);
        let square = x * x;
        let above = [-2.760_768_5e-16, 2.000_188e-13, -8.604_672e-11, 5.122_297e-8, 1.485_722_4e-5, 6.372_619_3e-4];
        let above = above.iter().fold(0.0, |sum, next| sum * square + next) * square + 4.893_524_6e-3;
        let below = [1.198_258_4e-6, 1.185_347_1e-4, 2.268_434_6e-3];
        let below = below.iter().fold(0.0, |sum, next| sum * square + next) * square + 4.893_525e-3;
        x * above / below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_tangent_is_the_tangent() {
        let worst = (-200_000..=200_000)
            .map(|at| at as f32 * 1e-4)
            .map(|x| (f64::from(Real::tanh(x)) - f64::from(x).tanh()).abs())
            .fold(0.0, f64::max);
        assert!(worst < 4e-7, "{worst:e}");
        assert_eq!(Real::tanh(f32::MAX), Real::tanh(8.0_f32));
        assert!((Real::sigmoid(-30.0_f32) - 0.0).abs() < 1e-6);
    }
}
