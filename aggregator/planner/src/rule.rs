//! The step rule: how far a forecast may move a group away from what its present demand asks for.
//!
//! With n serving, R = reactive need, F = forecast need at the quantile, c = trust in [0, 1]:
//!
//! - out = max(R − n, ⌈R + c·(F − R)⌉ − n, 0)
//! - in  = ⌊g(c) · max(0, n − max(R, F))⌋ with g(c) = c², g(0) = 0
//!
//! So present demand is always a floor, c = 0 is reactive scale-out and no scale-in of ours, and
//! for the same paths a higher c never makes a step smaller.

use crate::capacity::ceiling;

/// What the rule asks for; at most one of the two is above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Instances to add.
    pub out: u32,
    /// Instances to take away.
    pub inward: u32,
}

/// How much of a possible scale-in a trust allows: slow at first, all of it at 1.
pub fn boldness(trust: f64) -> f64 {
    let trust = if trust.is_finite() { trust.clamp(0.0, 1.0) } else { 0.0 };
    trust * trust
}

/// The step rule.
pub fn step(serving: u32, reactive: u32, forecast: u32, trust: f64) -> Sizes {
    let c = if trust.is_finite() { trust.clamp(0.0, 1.0) } else { 0.0 };
    let (n, r, f) = (f64::from(serving), f64::from(reactive), f64::from(forecast));
    let followed = ceiling((r + c * (f - r)).max(0.0));
    let out = reactive.max(followed).saturating_sub(serving);
    let spare = (n - r.max(f)).max(0.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and serving")]
    let inward = (boldness(trust) * spare + 1e-9).floor() as u32;
    Sizes { out, inward }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn the_rule_is_exact(n in 0_u32..500, r in 0_u32..500, f in 0_u32..500, c in 0.0_f64..=1.0) {
            let sizes = step(n, r, f, c);
            let exact_out = (i64::from(r) - i64::from(n))
                .max(((f64::from(r) + c * (f64::from(f) - f64::from(r))) - 1e-6).ceil() as i64 - i64::from(n))
                .max(0);
            prop_assert_eq!(i64::from(sizes.out), exact_out);
            let spare = (i64::from(n) - i64::from(r.max(f))).max(0);
            prop_assert_eq!(i64::from(sizes.inward), (c * c * spare as f64 + 1e-9).floor() as i64);
            prop_assert!(sizes.out == 0 || sizes.inward == 0);
        }

        #[test]
        fn present_demand_is_a_floor(n in 0_u32..500, r in 0_u32..500, f in 0_u32..500, c in -1.0_f64..2.0) {
            let sizes = step(n, r, f, c);
            prop_assert!(n + sizes.out >= r, "never orders fewer than target tracking");
            prop_assert!(sizes.inward == 0 || n - sizes.inward >= r.max(f));
        }

        #[test]
        fn more_trust_never_makes_a_step_smaller(
            n in 0_u32..500, r in 0_u32..500, f in 0_u32..500, c in 0.0_f64..1.0, more in 0.0_f64..1.0,
        ) {
            // A forecast below present demand adds nothing at any trust: out is then R − n throughout.
            let (less, bolder) = (step(n, r, f, c), step(n, r, f, (c + more).min(1.0)));
            prop_assert!(bolder.out >= less.out);
            prop_assert!(bolder.inward >= less.inward);
        }

        #[test]
        fn no_trust_is_reactive(n in 0_u32..500, r in 0_u32..500, f in 0_u32..500) {
            prop_assert_eq!(step(n, r, f, 0.0), Sizes { out: r.saturating_sub(n), inward: 0 });
            prop_assert_eq!(step(n, r, f, f64::NAN), Sizes { out: r.saturating_sub(n), inward: 0 });
        }
    }

    #[test]
    fn more_than_all_trust_is_all_of_it_and_less_than_none_is_none() {
        assert_eq!(step(10, 4, 20, 2.0), Sizes { out: 10, inward: 0 });
        assert_eq!(step(10, 2, 2, 2.0), Sizes { out: 0, inward: 8 });
        assert_eq!(step(10, 10, 4, -1.0), Sizes { out: 0, inward: 0 });
        assert_eq!(step(10, 2, 2, -1.0), Sizes { out: 0, inward: 0 });
    }
}
