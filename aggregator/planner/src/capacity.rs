//! How many instances a demand takes.
//!
//! An instance of weight w at target τ with idle baseline b carries w(τ − b) points; need is the
//! smallest n whose instances carry the demand. With a mix of types n counts instances of the mean
//! weight of those that serve.

/// Smallest n with n · w̄ · (target − b) ≥ demand. `u32::MAX` when an instance carries nothing,
/// which no bounded baseline can bring about, and when the demand is no number: doubt asks for more, never for nobody.
pub fn need(demand: f64, target: f64, baseline: f64, mean_weight: f64) -> u32 {
    if demand <= 0.0 {
        return 0;
    }
    let carries = mean_weight * (target - baseline);
    if demand.is_nan() || carries.is_nan() || carries <= 0.0 {
        return u32::MAX;
    }
    ceiling(demand / carries)
}

/// The b = 0 answer ⌈n·u/target⌉ that no baseline may undercut when machines are taken away.
pub fn need_without_baseline(gross: f64, target: f64, mean_weight: f64) -> u32 {
    need(gross, target, 0.0, mean_weight)
}

/// Rounds up, but not for a rounding error: 6.000000001 instances are six.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast stops at the range of u32")]
pub(crate) fn ceiling(instances: f64) -> u32 {
    (instances - 1e-6).ceil() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_baseline_makes_the_first_step_right() {
        // b = 10, target 50, ten instances at 70 %: the usual ⌈n·u/target⌉ is 14, right is 15.
        assert_eq!(need_without_baseline(700.0, 50.0, 1.0), 14);
        assert_eq!(need(700.0 - 100.0, 50.0, 10.0, 1.0), 15);
        // At 20 % the usual answer keeps 4, right is 2.5 → 3.
        assert_eq!(need_without_baseline(200.0, 50.0, 1.0), 4);
        assert_eq!(need(100.0, 50.0, 10.0, 1.0), 3);
    }

    #[test]
    fn doubt_never_asks_for_nobody() {
        assert_eq!(need(10.0, 50.0, 50.0, 1.0), u32::MAX);
        assert_eq!(need(10.0, 50.0, 60.0, 1.0), u32::MAX);
        assert_eq!(need(0.0, 50.0, 0.0, 1.0), 0);
        assert_eq!(need(600.0000001, 60.0, 0.0, 1.0), 10);
    }

    #[test]
    fn no_demand_asks_for_nobody_whatever_one_carries() {
        for carries_nothing in [50.0, 60.0, f64::NAN] {
            for demand in [0.0, -10.0, f64::NEG_INFINITY] {
                assert_eq!(need(demand, 50.0, carries_nothing, 1.0), 0, "{demand}");
            }
        }
        for no_number in [f64::INFINITY, f64::NAN] {
            assert_eq!(need(no_number, 50.0, 0.0, 1.0), u32::MAX, "{no_number}: in doubt nobody may go");
        }
    }

    #[test]
    fn what_one_carries_that_is_no_number_is_nothing() {
        assert_eq!(need(10.0, 50.0, f64::NAN, 1.0), u32::MAX);
        assert_eq!(need(10.0, 50.0, 0.0, f64::NAN), u32::MAX);
    }

    #[test]
    fn more_than_can_be_counted_is_the_most() {
        assert_eq!((ceiling(1e30), ceiling(-3.0), ceiling(0.2)), (u32::MAX, 0, 1));
    }
}
