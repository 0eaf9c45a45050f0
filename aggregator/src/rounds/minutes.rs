//! From instances' slices to what a group carried: the minute rollup and present demand.

use std::collections::HashMap;
use std::ops::Range;

use foreshadow_proto::convert::Id;
use planner::demand::{Demand, InstanceMode, Reading, measure};
use planner::policy::{Metric, Policy};

use super::slices::{InstanceSlices, Signal, slices_of_minute};
use crate::store::Minute;

/// Who served, with the type that gives the weight.
pub type Serving = [(Id, Option<String>)];

/// Utilisation of one instance over slices, points; `None` when it did not report or the metric
/// cannot be had for its type.
pub fn utilisation(
    policy: &Policy,
    metric: Metric,
    instance_type: Option<&str>,
    slices: &InstanceSlices,
    range: Range<i64>,
) -> Option<f64> {
    let signal = match metric {
        Metric::Cpu => Signal::Cpu,
        Metric::Memory => Signal::Memory,
        Metric::NetworkIn => Signal::NetworkIn,
        Metric::NetworkOut => Signal::NetworkOut,
    };
    let value = slices.mean(signal, range)?;
    if metric.is_network() {
        let bandwidth = policy.bandwidth_bits.get(instance_type?)?;
        return Some((100.0 * value / bandwidth).min(100.0));
    }
    Some(value)
}

/// Demand of the instances that served over slices.
pub fn demand(
    policy: &Policy,
    metric: Metric,
    serving: &Serving,
    slices: &HashMap<Id, InstanceSlices>,
    range: Range<i64>,
) -> Option<Demand> {
    let readings: Vec<Reading> = serving
        .iter()
        .map(|(instance, instance_type)| {
            let kind = instance_type.as_deref();
            let found = slices.get(instance);
            Reading {
                mode: InstanceMode::Serving,
                weight: policy.weight(metric, kind).unwrap_or(1.0),
                utilisation: found.and_then(|found| utilisation(policy, metric, kind, found, range.clone())),
            }
        })
        .collect();
    measure(&readings)
}

/// The rollup of one minute; absent when nothing that served reported.
pub fn minute(
    policy: &Policy,
    group: &Id,
    metric: Metric,
    serving: &Serving,
    slices: &HashMap<Id, InstanceSlices>,
    start: i64,
) -> Option<Minute> {
    let range = slices_of_minute(start);
    let whole = demand(policy, metric, serving, slices, range.clone())?;
    // The highest ten seconds: a slice in which too few report says less than the minute does.
    let highest = range
        .filter_map(|slice| demand(policy, metric, serving, slices, slice..slice + 1))
        .filter(|slice| !slice.incomplete)
        .map(|slice| slice.gross)
        .fold(whole.gross, f64::max);
    Some(Minute {
        group: group.clone(),
        metric: metric.to_string(),
        start,
        gross_mean: whole.gross,
        gross_maximum: highest,
        weight: whole.weight,
        serving: whole.serving,
        reporting: whole.reporting,
        lower_bound: whole.is_lower_bound(),
    })
}

#[cfg(test)]
mod tests {
    use foreshadow_proto::convert::Sample;

    use super::*;

    const START: i64 = 1_800_000_000;

    fn slices(cpu: impl Fn(i64) -> f64) -> InstanceSlices {
        let mut slices = InstanceSlices::default();
        for second in 1..=60 {
            slices.add(&Sample {
                sequence: 1,
                wall_micros: (START + second) * 1_000_000,
                monotonic_micros: 0,
                covers_millis: 1_000,
                cpu_percent: Some(cpu(second)),
                cpu_busiest_percent: None,
                cpu_steal_percent: None,
                memory_used_bytes: None,
                memory_total_bytes: None,
                network: None,
            });
        }
        slices
    }

    #[test]
    fn a_minute_has_mean_and_maximum_over_those_that_serve() {
        let id = |name: &str| Id::new("instance", name).expect("an id");
        let all = HashMap::from([
            (id("a"), slices(|second| if second <= 10 { 80.0 } else { 20.0 })),
            (id("b"), slices(|_| 40.0)),
            (id("shadow"), slices(|_| 100.0)),
        ]);
        let serving = [(id("a"), None), (id("b"), None)];
        let policy = Policy::new("web");
        let minute = minute(&policy, &id("web"), Metric::Cpu, &serving, &all, START).expect("measured");
        assert!((minute.gross_mean - 70.0).abs() < 1e-9);
        assert!((minute.gross_maximum - 120.0).abs() < 1e-9);
        assert_eq!((minute.serving, minute.reporting, minute.lower_bound), (2, 2, false));
    }

    #[test]
    fn a_silent_half_makes_a_lower_bound_and_nobody_makes_nothing() {
        let id = |name: &str| Id::new("instance", name).expect("an id");
        let all = HashMap::from([(id("a"), slices(|_| 50.0))]);
        let policy = Policy::new("web");
        let serving = [(id("a"), None), (id("b"), None)];
        let half = minute(&policy, &id("web"), Metric::Cpu, &serving, &all, START).expect("measured");
        assert!(half.lower_bound && (half.gross_mean - 50.0).abs() < 1e-9);
        assert_eq!(minute(&policy, &id("web"), Metric::Cpu, &serving[1..], &all, START), None);
        assert_eq!(minute(&policy, &id("web"), Metric::NetworkIn, &serving, &all, START), None);
    }
}
