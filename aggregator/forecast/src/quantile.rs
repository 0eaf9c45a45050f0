//! Quantiles of weighted, possibly right-censored values, and the pinball loss.

/// One value with its weight; `censored` says that the true value is at least this.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weighted {
    /// The value.
    pub value: f64,
    /// Its weight, not negative.
    pub weight: f64,
    /// Whether it is a lower bound.
    pub censored: bool,
}

/// Pinball loss of the quantile `forecast` at `level` for `actual`, in the unit of the load.
pub fn pinball(level: f64, forecast: f64, actual: f64) -> f64 {
    let miss = actual - forecast;
    (level * miss).max((level - 1.0) * miss)
}

/// Sorts, then spreads the mass of each censored value over the larger ones (Efron's redistribution to the right).
///
/// Afterwards nothing is censored any more except what could not be moved because nothing is larger.
fn settle(values: &mut [Weighted]) {
    values.sort_by(|a, b| a.value.total_cmp(&b.value));
    if !values.iter().any(|value| value.censored) {
        return;
    }
    let mut tail: f64 = values.iter().map(|value| value.weight).sum();
    let mut factor = 1.0;
    let last = values.len().saturating_sub(1);
    for (index, value) in values.iter_mut().enumerate() {
        tail -= value.weight;
        if value.censored && index < last && tail > 0.0 {
            factor *= 1.0 + value.weight / tail;
            value.weight = 0.0;
        } else {
            value.weight *= factor;
        }
    }
}

/// The quantiles at `levels` (ascending), interpolated between values; `None` when there is no mass.
///
/// A value sits at the middle of its mass (Hazen's rule, as unbiased for few values as a simple rule gets); beyond the
/// first and last value the quantile stays there, so that it is always finite.
pub fn quantiles(values: &mut [Weighted], levels: &[f64]) -> Option<Vec<f64>> {
    settle(values);
    let total: f64 = values.iter().map(|value| value.weight).sum();
    if !(total > 0.0 && total.is_finite()) {
        return None;
    }
    let mut out = Vec::with_capacity(levels.len());
    let (mut index, mut before) = (0, 0.0);
    let mut previous: Option<(f64, f64)> = None;
    for level in levels {
        let want = level * total;
        while index < values.len() && before + values[index].weight / 2.0 < want {
            if values[index].weight > 0.0 {
                previous = Some((before + values[index].weight / 2.0, values[index].value));
            }
            before += values[index].weight;
            index += 1;
        }
        // Values without mass say nothing.
        while index < values.len() && values[index].weight <= 0.0 {
            index += 1;
        }
        let next = values.get(index).map(|value| (before + value.weight / 2.0, value.value));
        out.push(match (previous, next) {
            (Some((left, low)), Some((right, high))) if right > left => {
                low + (high - low) * ((want - left) / (right - left)).clamp(0.0, 1.0)
            }
            (_, Some((_, high))) => high,
            (Some((_, low)), None) => low,
            (None, None) => return None,
        });
    }
    Some(out)
}

/// The median of unweighted values; `None` when there are none.
pub fn median(values: &mut [f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let odd = values.len() % 2 == 1;
    let middle = values.len() / 2;
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    if odd {
        return Some(upper);
    }
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Some(lower + (upper - lower) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(values: &[f64]) -> Vec<Weighted> {
        values.iter().map(|value| Weighted { value: *value, weight: 1.0, censored: false }).collect()
    }

    #[test]
    fn quantiles_of_a_hundred() {
        let mut values = plain(&(1..=100).rev().map(f64::from).collect::<Vec<_>>());
        let got = quantiles(&mut values, &[0.0001, 0.1, 0.5, 0.9, 0.9999]).unwrap();
        assert_eq!(got, vec![1.0, 10.5, 50.5, 90.5, 100.0]);
    }

    #[test]
    fn no_mass_no_quantile() {
        assert_eq!(quantiles(&mut [], &[0.5]), None);
        assert_eq!(quantiles(&mut [Weighted { value: 1.0, weight: 0.0, censored: false }], &[0.5]), None);
        assert_eq!(quantiles(&mut plain(&[3.0]), &[0.1, 0.9]), Some(vec![3.0, 3.0]));
    }

    #[test]
    fn censored_mass_moves_right_and_never_lowers_a_quantile() {
        let levels = [0.1, 0.25, 0.5, 0.75, 0.9];
        let values = plain(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        let before = quantiles(&mut values.clone(), &levels).unwrap();
        for index in 0..values.len() {
            let mut censored = values.clone();
            censored[index].censored = true;
            let after = quantiles(&mut censored, &levels).unwrap();
            assert!(before.iter().zip(&after).all(|(b, a)| *a >= b - 1e-9), "{index}: {before:?} {after:?}");
            assert!(index == 7 || after.last() > before.last());
        }
    }

    #[test]
    fn pinball_charges_the_right_side() {
        assert!((pinball(0.9, 1.0, 3.0) - 1.8).abs() < 1e-12);
        assert!((pinball(0.9, 3.0, 1.0) - 0.2).abs() < 1e-12);
    }

    #[test]
    fn medians() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
