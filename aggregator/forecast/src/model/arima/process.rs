//! An ARMA process, stationary and invertible by construction, and how its coefficients are searched without bounds.
//!
//! Partial autocorrelations in (−1, 1) name the stationary processes one to one (Barndorff-Nielsen and Schou 1973; Monahan
//! 1984, "A note on enforcing stationarity in autoregressive-moving average models"). Each is the hyperbolic tangent of a
//! free number, so that the search needs no bounds and cannot leave what is allowed.

/// The largest order of either part, and of both together.
pub(super) const MAXIMUM_ORDER: usize = 5;
/// A start from outside is drawn this far inside the stationary processes.
const NEAREST: f64 = 0.97;
/// Roots nearer to the unit circle than this are refused by the order search: such a model is over-differenced, or needs a
/// difference more. (R draws the line at 1.01, for months and quarters; a load that returns to its level within hours has
/// 0.995 from one five minutes to the next.)
const LEAST_ROOT: f64 = 1.001;

/// u(t) = Σ phi·u(t−i) + e(t) + Σ theta·e(t−j); the variance of e is kept elsewhere.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Process {
    /// The autoregressive part.
    pub phi: Vec<f64>,
    /// The moving average.
    pub theta: Vec<f64>,
    /// Whether the observations are the running sum of u.
    pub integrated: bool,
}

impl Process {
    /// The process of free numbers: those of the autoregressive part first.
    pub fn of_free(free: &[f64], ar: usize, integrated: bool) -> Self {
        let tanh = |part: &[f64]| part.iter().map(|x| x.tanh()).collect::<Vec<_>>();
        let phi = coefficients(&tanh(&free[..ar]));
        let theta = coefficients(&tanh(&free[ar..])).iter().map(|c| -c).collect();
        Self { phi, theta, integrated }
    }

    /// The free numbers of this process, or of one near it that is stationary and invertible.
    pub fn to_free(&self) -> Vec<f64> {
        let minus: Vec<f64> = self.theta.iter().map(|c| -c).collect();
        let parts = [partials(&self.phi), partials(&minus)];
        parts.iter().flatten().map(|r| r.clamp(-NEAREST, NEAREST).atanh()).collect()
    }

    /// Whether no root is too near to the unit circle.
    pub fn is_well_inside(&self) -> bool {
        let inside = |part: &[f64], sign: f64| {
            let scaled: Vec<f64> =
                part.iter().enumerate().map(|(i, c)| sign * c * LEAST_ROOT.powi(i as i32 + 1)).collect();
            partials(&scaled).iter().all(|r| r.abs() < 1.0)
        };
        inside(&self.phi, 1.0) && inside(&self.theta, -1.0)
    }

    /// The weights of past shocks in an observation (the psi weights), the newest first; the first is 1.
    #[cfg(test)]
    pub fn psi_weights(&self, count: usize) -> Vec<f64> {
        let mut psi: Vec<f64> = Vec::with_capacity(count);
        for index in 0..count {
            let own = if index == 0 { 1.0 } else { self.theta.get(index - 1).copied().unwrap_or(0.0) };
            let before = self.phi.iter().enumerate().filter(|(lag, _)| *lag < index);
            psi.push(own + before.map(|(lag, phi)| phi * psi[index - 1 - lag]).sum::<f64>());
        }
        if self.integrated {
            for index in 1..psi.len() {
                psi[index] += psi[index - 1];
            }
        }
        psi
    }
}

/// Autoregressive coefficients from partial autocorrelations (Durbin and Levinson).
fn coefficients(partials: &[f64]) -> Vec<f64> {
    let mut phi: Vec<f64> = Vec::with_capacity(partials.len());
    for partial in partials {
        let before = phi.clone();
        for (index, value) in phi.iter_mut().enumerate() {
            *value -= partial * before[before.len() - 1 - index];
        }
        phi.push(*partial);
    }
    phi
}

/// Partial autocorrelations from coefficients; a value of 1 or more says that the process is not stationary.
fn partials(phi: &[f64]) -> Vec<f64> {
    let mut phi = phi.to_vec();
    let mut partials = vec![0.0; phi.len()];
    while let Some(last) = phi.pop() {
        partials[phi.len()] = last;
        if last.is_nan() || last.abs() >= 1.0 {
            // What is shorter cannot be told any more: the start is drawn inside, and the root test has its answer.
            return partials;
        }
        let before = phi.clone();
        for (index, value) in phi.iter_mut().enumerate() {
            *value = (*value + last * before[before.len() - 1 - index]) / (1.0 - last * last);
        }
    }
    partials
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_numbers_and_coefficients_are_one_to_one() {
        let process = Process { phi: vec![1.1, -0.4, 0.15], theta: vec![0.3, -0.2], integrated: true };
        let again = Process::of_free(&process.to_free(), 3, true);
        let pairs = process.phi.iter().chain(&process.theta).zip(again.phi.iter().chain(&again.theta));
        assert!(pairs.clone().count() == 5 && pairs.clone().all(|(a, b)| (a - b).abs() < 1e-12), "{again:?}");
        // Any free numbers are stationary: their partial autocorrelations come back inside (−1, 1).
        let far = Process::of_free(&[3.0, -2.0, 4.0, 9.0], 2, false);
        assert!(partials(&far.phi).iter().all(|r| r.abs() < 1.0), "{far:?}");
    }

    #[test]
    fn roots_near_the_unit_circle_are_refused() {
        let with = |phi: f64, theta: f64| Process { phi: vec![phi], theta: vec![theta], integrated: false };
        assert!(with(0.998, 0.5).is_well_inside());
        assert!(!with(0.9995, 0.5).is_well_inside());
        assert!(!with(0.5, -0.9995).is_well_inside());
        assert!(Process::default().is_well_inside());
    }

    #[test]
    fn psi_weights_of_a_sum() {
        let process = Process { phi: vec![0.5], theta: vec![0.2], integrated: false };
        assert_eq!(process.psi_weights(4), vec![1.0, 0.7, 0.35, 0.175]);
        let process = Process { phi: vec![], theta: vec![-0.4], integrated: true };
        assert_eq!(process.psi_weights(3), vec![1.0, 0.6, 0.6]);
    }
}
