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
    /// Points, 0 to 100; `None` when the instance did not report.
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
    if reporting == 0 || reporting_weight <= 0.0 {
        return None;
    }
    let incomplete = reporting_weight < COMPLETE_SHARE * weight;
    if incomplete {
        return Some(Demand { gross, weight: reporting_weight, serving, reporting, incomplete, saturated });
    }
    Some(Demand { gross: gross * weight / reporting_weight, weight, serving, reporting, incomplete, saturated })
}

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
}
