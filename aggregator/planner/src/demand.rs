//! What a group carries, from the readings of its serving instances.
//!
//! Gross demand G = N_serving × weighted mean of wᵢuᵢ over those that report, when at least 90 % of
//! them do. Below that the sum over those that report is all that is certain: a lower bound, good
//! for scale-out and never for scale-in. Demand is net of the idle baseline: D = G − b·W.

use serde::{Deserialize, Serialize};

/// What an instance is to its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceMode {
    Warming,
    Serving,
    Draining,
    Shadow,
    Gone,
}

/// One instance at one time. Everything but `Serving` is left out of demand.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    pub mode: InstanceMode,
    /// Capacity relative to the reference type; above zero.
    pub weight: f64,
    /// Points, 0 to 100, or its part of a load of its own unit; `None` when the instance did not report.
    pub utilisation: Option<f64>,
}

/// At or above this an instance is saturated: it may want more than it shows.
pub const SATURATED_POINTS: f64 = 98.0;
/// Share of serving weight that must report for demand to be more than a lower bound.
pub const COMPLETE_SHARE: f64 = 0.9;

/// Gross demand of a group for one metric.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Demand {
    /// Σ wᵢuᵢ over serving instances, points.
    pub gross: f64,
    /// Σ wᵢ over serving instances (those that report, when incomplete).
    pub weight: f64,
    pub serving: u32,
    pub reporting: u32,
    /// Fewer than 90 % report.
    pub incomplete: bool,
    /// An instance is saturated: the true demand may be higher.
    pub saturated: bool,
}

impl Demand {
    /// True demand may be higher than `net` says.
    pub const fn is_lower_bound(&self) -> bool {
        self.incomplete || self.saturated
    }

    /// Demand net of the idle baseline (points per instance of weight 1), never below zero.
    pub fn net(&self, baseline: f64) -> f64 {
        (self.gross - baseline * self.weight).max(0.0)
    }
}

/// Measures demand. `None` when nothing serving reports: absent is not zero.
pub fn measure(readings: &[Reading]) -> Option<Demand> {
    let (mut weight, mut reporting_weight, mut gross) = (0.0, 0.0, 0.0);
    let (mut serving, mut reporting, mut saturated) = (0_u32, 0_u32, false);
    for reading in readings.iter().filter(|reading| reading.mode == InstanceMode::Serving) {
        serving += 1;
        weight += reading.weight;
        if let Some(utilisation) = reading.utilisation.filter(|utilisation| utilisation.is_finite()) {
            reporting += 1;
            reporting_weight += reading.weight;
            gross += reading.weight * utilisation;
            saturated |= utilisation >= SATURATED_POINTS;
        }
    }
    if reporting_weight <= 0.0 {
        return None;
    }
    let incomplete = reporting_weight < COMPLETE_SHARE * weight;
    if incomplete {
        return Some(Demand { gross, weight: reporting_weight, serving, reporting, incomplete, saturated });
    }
    Some(Demand { gross: gross * weight / reporting_weight, weight, serving, reporting, incomplete, saturated })
}

/// A load of its own unit that each instance tells its part of: the sum of their parts, scaled up by the weight of the few that
/// did not. Nothing in it is a share of an instance, so nobody is saturated.
pub fn sum(parts: &[Reading]) -> Option<Demand> {
    let (mut weight, mut reporting_weight, mut gross) = (0.0, 0.0, 0.0);
    let (mut serving, mut reporting) = (0_u32, 0_u32);
    for part in parts.iter().filter(|part| part.mode == InstanceMode::Serving) {
        serving += 1;
        weight += part.weight;
        if let Some(amount) = part.utilisation.filter(|amount| is_load(*amount)) {
            reporting += 1;
            reporting_weight += part.weight;
            gross += amount;
        }
    }
    if reporting_weight <= 0.0 {
        return None;
    }
    let incomplete = reporting_weight < COMPLETE_SHARE * weight;
    let (gross, weight) =
        if incomplete { (gross, reporting_weight) } else { (gross * weight / reporting_weight, weight) };
    Some(Demand { gross, weight, serving, reporting, incomplete, saturated: false })
}

/// A load of its own unit that is told of the group as a whole: nobody's part of it can be missing, and it is there also when
/// nobody serves.
pub fn whole(value: f64, serving: u32, weight: f64) -> Option<Demand> {
    let told = Demand { gross: value, weight, serving, reporting: serving.max(1), incomplete: false, saturated: false };
    is_load(value).then_some(told)
}

/// What can be a load at all.
pub fn is_load(value: f64) -> bool {
    (0.0..=MOST_LOAD).contains(&value)
}

/// Beyond it nothing that is counted in instances makes sense.
const MOST_LOAD: f64 = 1e12;

#[cfg(test)]
mod tests {
    use super::*;

    fn serving(utilisation: Option<f64>) -> Reading {
        Reading { mode: InstanceMode::Serving, weight: 1.0, utilisation }
    }

    #[test]
    fn only_serving_makes_demand() {
        let mut readings = vec![serving(Some(50.0)), serving(Some(70.0))];
        for mode in [InstanceMode::Warming, InstanceMode::Draining, InstanceMode::Shadow, InstanceMode::Gone] {
            readings.push(Reading { mode, weight: 1.0, utilisation: Some(100.0) });
        }
        let demand = measure(&readings).expect("two report");
        assert_eq!((demand.gross, demand.weight, demand.serving), (120.0, 2.0, 2));
        assert!(!demand.is_lower_bound());
    }

    #[test]
    fn absent_is_not_zero() {
        assert_eq!(measure(&[]), None);
        assert_eq!(measure(&[serving(None)]), None);
        let mut readings = vec![serving(Some(60.0)); 19];
        readings.push(serving(None));
        let demand = measure(&readings).expect("19 of 20 report");
        assert!((demand.gross - 1_200.0).abs() < 1e-9 && !demand.incomplete, "{demand:?}");
    }

    #[test]
    fn below_nine_tenths_it_is_a_lower_bound() {
        let readings = [serving(Some(60.0)), serving(None)];
        let demand = measure(&readings).expect("one reports");
        assert_eq!((demand.gross, demand.weight, demand.incomplete), (60.0, 1.0, true));
    }

    #[test]
    fn saturation_is_a_lower_bound() {
        assert!(measure(&[serving(Some(99.0))]).expect("reports").is_lower_bound());
    }

    #[test]
    fn demand_is_net_of_the_baseline_and_never_negative() {
        let demand = measure(&[serving(Some(30.0)), serving(Some(10.0))]).expect("report");
        assert_eq!(demand.net(8.0), 24.0);
        assert_eq!(demand.net(90.0), 0.0);
    }

    #[test]
    fn parts_of_a_load_add_up_and_absent_is_not_zero() {
        let demand = sum(&[serving(Some(250.0)), serving(Some(50.0))]).expect("both tell");
        assert_eq!((demand.gross, demand.weight, demand.reporting, demand.is_lower_bound()), (300.0, 2.0, 2, false));
        assert_eq!(sum(&[serving(None)]), None);
        assert_eq!(sum(&[serving(Some(f64::NAN)), serving(Some(-1.0)), serving(Some(f64::INFINITY))]), None);
        let half = sum(&[serving(Some(60.0)), serving(None)]).expect("one tells");
        assert_eq!((half.gross, half.weight, half.serving, half.incomplete), (60.0, 1.0, 2, true));
        let mut parts = vec![serving(Some(10.0)); 19];
        parts.push(serving(None));
        let most = sum(&parts).expect("19 of 20 tell");
        assert!((most.gross - 200.0).abs() < 1e-9 && !most.incomplete && most.weight == 20.0, "{most:?}");
        let heavy = Reading { weight: 3.0, ..serving(Some(90.0)) };
        assert_eq!(sum(&[heavy, serving(Some(30.0))]).expect("both tell").gross, 120.0, "a part is not weighted");
        let shadow = Reading { mode: InstanceMode::Shadow, ..serving(Some(90.0)) };
        assert_eq!(sum(&[shadow, serving(Some(30.0))]).expect("one serves").gross, 30.0);
    }

    #[test]
    fn what_is_told_of_the_whole_is_there_also_when_nobody_serves() {
        let demand = whole(500.0, 0, 0.0).expect("a load");
        assert_eq!((demand.gross, demand.net(0.0), demand.serving, demand.reporting), (500.0, 500.0, 0, 1));
        assert!(!whole(0.0, 3, 3.0).expect("zero is a value").is_lower_bound());
        for value in [f64::NAN, -0.5, f64::INFINITY, 2e12] {
            assert_eq!(whole(value, 3, 3.0), None, "{value}");
        }
    }

    #[test]
    fn what_is_no_number_is_not_reported() {
        let mut readings = vec![serving(Some(60.0)); 19];
        for absent in [f64::NAN, f64::INFINITY] {
            readings.truncate(19);
            readings.push(serving(Some(absent)));
            let demand = measure(&readings).expect("19 of 20 report");
            assert!((demand.gross - 1_200.0).abs() < 1e-9 && demand.reporting == 19, "{demand:?}");
        }
    }

    #[test]
    fn nine_tenths_are_enough_and_less_is_a_lower_bound() {
        let told = |reporting: usize, ask: fn(&[Reading]) -> Option<Demand>| {
            let readings = [vec![serving(Some(50.0)); reporting], vec![serving(None); 10 - reporting]].concat();
            ask(&readings).expect("most report").is_lower_bound()
        };
        for ask in [measure, sum] {
            assert_eq!((told(9, ask), told(8, ask)), (false, true));
        }
    }

    #[test]
    fn one_at_ninety_eight_may_want_more() {
        let saturated = |points| measure(&[serving(Some(points)), serving(Some(1.0))]).expect("both report").saturated;
        assert_eq!((saturated(97.9), saturated(98.0)), (false, true));
    }
}
