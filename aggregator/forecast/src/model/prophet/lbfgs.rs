//! L-BFGS (Nocedal 1980) with the weak Wolfe line search by bisection of Lewis and Overton (2013), which also holds up where
//! the objective bends sharply, as the Laplace prior makes it do at zero.
//!
//! Not argmin's: there value and gradient are asked for separately, which doubles the passes over the data, and the first
//! metric cannot be given. Here it is, and a good one makes twenty steps of two hundred.

/// How many past steps shape the metric.
const MEMORY: usize = 12;
/// The share of the expected decrease a step must bring, and the share of the slope it may leave.
const DECREASE: f64 = 1e-4;
const CURVATURE: f64 = 0.9;
/// Halvings and doublings of one line search.
const BISECTIONS: usize = 40;

/// Where the search ended.
#[derive(Debug, Clone)]
pub(super) struct Minimum {
    pub at: Vec<f64>,
    pub value: f64,
    /// The expected decrease fell below the tolerance; otherwise the steps ran out, or the line search found nothing better.
    pub converged: bool,
}

/// Minimises `objective`, which returns the value and writes the gradient, by at most `steps` steps.
///
/// `metric` replaces a gradient by the first metric's step along it (for instance the inverse of the curvature at the start);
/// it must be positive definite. The search ends when half the slope along the next step, which is the decrease a quadratic
/// would bring, is below `tolerance`. The value never rises above that at `start`.
pub(super) fn minimise(
    start: Vec<f64>,
    steps: usize,
    tolerance: f64,
    metric: impl Fn(&mut [f64]),
    mut objective: impl FnMut(&[f64], &mut [f64]) -> f64,
) -> Minimum {
    let width = start.len();
    let mut at = start;
    let mut gradient = vec![0.0; width];
    let mut value = objective(&at, &mut gradient);
    let mut past: Vec<Pair> = Vec::with_capacity(MEMORY);
    let (mut tried, mut new_gradient) = (vec![0.0; width], vec![0.0; width]);
    for _ in 0..steps {
        let direction = direction(&gradient, &past, &metric);
        let slope = dot(&gradient, &direction);
        if !(slope.is_finite() && value.is_finite()) {
            break;
        }
        if -slope / 2.0 <= tolerance {
            return Minimum { at, value, converged: true };
        }
        // `low` brought enough and left too much slope; `high` brought too little.
        let (mut low, mut high, mut length) = (0.0, f64::INFINITY, 1.0);
        let mut reached = None;
        for _ in 0..BISECTIONS {
            step(&mut tried, &at, &direction, length);
            let new_value = objective(&tried, &mut new_gradient);
            // A value that is no number is too far away as well.
            if new_value <= value + DECREASE * length * slope {
                if dot(&new_gradient, &direction) >= CURVATURE * slope {
                    reached = Some(new_value);
                    break;
                }
                low = length;
            } else {
                high = length;
            }
            length = if high.is_finite() { (low + high) / 2.0 } else { 2.0 * length };
        }
        if reached.is_none() && low > 0.0 {
            step(&mut tried, &at, &direction, low);
            reached = Some(objective(&tried, &mut new_gradient));
        }
        let Some(new_value) = reached else { break };
        let pair = Pair::new(&at, &tried, &gradient, &new_gradient);
        if pair.curvature > 0.0 {
            if past.len() == MEMORY {
                past.remove(0);
            }
            past.push(pair);
        }
        std::mem::swap(&mut at, &mut tried);
        std::mem::swap(&mut gradient, &mut new_gradient);
        value = new_value;
    }
    Minimum { at, value, converged: false }
}

/// One past step and what it did to the gradient.
#[derive(Debug)]
struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    curvature: f64,
}

impl Pair {
    fn new(from: &[f64], to: &[f64], before: &[f64], after: &[f64]) -> Self {
        let difference = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a - b).collect() };
        let (step, change) = (difference(to, from), difference(after, before));
        let curvature = dot(&step, &change);
        Self { step, change, curvature }
    }
}

/// The two-loop recursion: minus the gradient, seen through the metric that the past steps have shaped.
fn direction(gradient: &[f64], past: &[Pair], metric: &impl Fn(&mut [f64])) -> Vec<f64> {
    let mut along: Vec<f64> = gradient.iter().map(|value| -value).collect();
    let mut shares = vec![0.0; past.len()];
    for (pair, share) in past.iter().zip(&mut shares).rev() {
        *share = dot(&pair.step, &along) / pair.curvature;
        add(&mut along, &pair.change, -*share);
    }
    metric(&mut along);
    for (pair, share) in past.iter().zip(&shares) {
        let back = dot(&pair.change, &along) / pair.curvature;
        add(&mut along, &pair.step, share - back);
    }
    along
}

fn step(to: &mut [f64], from: &[f64], direction: &[f64], length: f64) {
    for ((to, from), along) in to.iter_mut().zip(from).zip(direction) {
        *to = from + length * along;
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], what: &[f64], times: f64) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += times * what);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rosenbrock(at: &[f64], gradient: &mut [f64]) -> f64 {
        let (x, y) = (at[0], at[1]);
        gradient[0] = -2.0 * (1.0 - x) - 400.0 * x * (y - x * x);
        gradient[1] = 200.0 * (y - x * x);
        (1.0 - x).powi(2) + 100.0 * (y - x * x).powi(2)
    }

    #[test]
    fn the_valley_of_rosenbrock_is_walked_to_its_end() {
        let found = minimise(vec![-1.2, 1.0], 200, 1e-14, |_| {}, rosenbrock);
        assert!(found.converged && found.at.iter().all(|value| (value - 1.0).abs() < 1e-5), "{found:?}");
    }

    #[test]
    fn a_sharp_bend_is_found() {
        // |x - 1| + 5 |y + 2|, not smooth at its minimum.
        let objective = |at: &[f64], gradient: &mut [f64]| {
            gradient[0] = (at[0] - 1.0).signum();
            gradient[1] = 5.0 * (at[1] + 2.0).signum();
            (at[0] - 1.0).abs() + 5.0 * (at[1] + 2.0).abs()
        };
        let found = minimise(vec![30.0, 40.0], 300, 1e-9, |_| {}, objective);
        assert!(found.value < 1e-3, "{found:?}");
    }

    #[test]
    fn what_is_no_number_is_avoided_and_nothing_gets_worse() {
        // Defined for positive x only.
        let objective = |at: &[f64], gradient: &mut [f64]| {
            gradient[0] = 1.0 - 1.0 / at[0];
            at[0] - at[0].ln()
        };
        let found = minimise(vec![50.0], 100, 1e-12, |along| along[0] *= 1_000.0, objective);
        assert!((found.at[0] - 1.0).abs() < 1e-5, "{found:?}");
        let nowhere = minimise(
            vec![3.0],
            10,
            1e-9,
            |_| {},
            |_, gradient| {
                gradient[0] = f64::NAN;
                f64::NAN
            },
        );
        assert_eq!((nowhere.at, nowhere.converged), (vec![3.0], false));
    }
}
