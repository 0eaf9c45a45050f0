//! From instances' slices, and from what is told of declared metrics, to what a group carried: the minute rollup and present
//! demand.

use std::collections::HashMap;
use std::ops::Range;

use foreshadow_proto::convert::Id;
use planner::demand::{Demand, InstanceMode, Reading, measure, sum, whole};
use planner::policy::{Metric, Policy};

use super::slices::{InstanceSlices, Signal, slices_of_minute};
use crate::config::Of;
use crate::readings::{self, Series};
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
        // Nothing an agent samples.
        Metric::Custom(_) => return None,
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
    let over = |slices_of: Range<i64>| demand(policy, metric, serving, slices, slices_of);
    Some(rolled_up(group, metric, start, &over(range.clone())?, range.filter_map(|slice| over(slice..slice + 1))))
}

/// One minute from its demand and that of its slices.
fn rolled_up(group: &Id, metric: Metric, start: i64, whole: &Demand, slices: impl Iterator<Item = Demand>) -> Minute {
    // The highest ten seconds: a slice in which too few report says less than the minute does.
    let complete = slices.filter(|slice| !slice.incomplete);
    Minute {
        group: group.clone(),
        metric: metric.to_string(),
        start,
        gross_mean: whole.gross,
        gross_maximum: complete.map(|slice| slice.gross).fold(whole.gross, f64::max),
        weight: whole.weight,
        serving: whole.serving,
        reporting: whole.reporting,
        lower_bound: whole.is_lower_bound(),
    }
}

/// Demand of a declared metric; `value` is what was told of a group, or of one of its instances.
fn told(
    policy: &Policy,
    (metric, of): (Metric, Of),
    group: &Id,
    serving: &Serving,
    value: impl Fn(&Id) -> Option<f64>,
) -> Option<Demand> {
    let weight_of = |kind: &Option<String>| policy.weight(metric, kind.as_deref()).unwrap_or(1.0);
    match of {
        Of::Group => {
            let weight = serving.iter().map(|(_, kind)| weight_of(kind)).sum();
            whole(value(group)?, u32::try_from(serving.len()).unwrap_or(u32::MAX), weight)
        }
        Of::Instance => {
            let part = |(instance, kind): &(Id, Option<String>)| Reading {
                mode: InstanceMode::Serving,
                weight: weight_of(kind),
                utilisation: value(instance),
            };
            sum(&serving.iter().map(part).collect::<Vec<_>>())
        }
    }
}

/// The rollup of one minute of a declared metric; absent when nothing of it was told.
pub fn told_minute(
    policy: &Policy,
    metric: (Metric, Of),
    group: &Id,
    serving: &Serving,
    series: &Series,
    start: i64,
) -> Option<Minute> {
    let over = |from: i64, to: i64| {
        told(policy, metric, group, serving, |subject| readings::mean(series.get(subject)?, from, to))
    };
    let slices = (start..start + 60).step_by(10).filter_map(|from| over(from, from + 10));
    Some(rolled_up(group, metric.0, start, &over(start, start + 60)?, slices))
}

/// What a veto looks back over, seconds: as long as a shadow must be quiet.
pub const VETO_SECONDS: i64 = 600;

/// The highest of the last ten minutes, of the group or of any instance that serves; absent where it is not told now, by one of
/// ten too many or by the group.
pub fn highest(of: Of, group: &Id, serving: &Serving, series: &Series, now: i64) -> Option<f64> {
    let of_one = |subject: &Id| readings::highest(series.get(subject)?, now - VETO_SECONDS, now);
    match of {
        Of::Group => of_one(group),
        Of::Instance => {
            let told: Vec<f64> = serving.iter().filter_map(|(instance, _)| of_one(instance)).collect();
            let enough = 10 * told.len() >= 9 * serving.len();
            told.into_iter().reduce(f64::max).filter(|_| enough)
        }
    }
}

/// Present demand of a declared metric with the age of the newest value behind it, seconds.
pub fn told_now(
    policy: &Policy,
    metric: (Metric, Of),
    group: &Id,
    serving: &Serving,
    series: &Series,
    now: i64,
) -> Option<(Demand, u32)> {
    let present = |subject: &Id| readings::present(series.get(subject)?, now);
    let demand = told(policy, metric, group, serving, |subject| Some(present(subject)?.0))?;
    let age = match metric.1 {
        Of::Group => present(group)?.1,
        Of::Instance => serving.iter().filter_map(|(instance, _)| Some(present(instance)?.1)).min()?,
    };
    Some((demand, u32::try_from(age).unwrap_or(u32::MAX)))
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

    #[test]
    fn what_is_told_of_a_group_or_of_its_instances_makes_minutes_and_a_present() {
        let id = |name: &str| Id::new("instance", name).expect("an id");
        let (metric, policy) = (Metric::declare("told_here").expect("a name"), Policy::new("web"));
        let serving = [(id("a"), None), (id("b"), None)];
        let group = Series::from([(id("web"), vec![(START - 5, 100.0), (START + 30, 400.0)])]);
        let of_group = |serving: &Serving, at: i64| {
            told_minute(&policy, (metric, Of::Group), &id("web"), serving, &group, START + at)
        };
        let first = of_group(&serving, 0).expect("told");
        assert!((first.gross_mean - 250.0).abs() < 1e-9 && (first.gross_maximum - 400.0).abs() < 1e-9, "{first:?}");
        assert_eq!((first.serving, first.reporting, first.lower_bound, first.weight), (2, 2, false, 2.0));
        assert_eq!(of_group(&serving, 180), None, "absent is not zero");
        let asleep = of_group(&[], 0).expect("a queue is there also when nobody serves");
        assert!(asleep.gross_mean > 0.0 && !asleep.is_imported());
        let parts = Series::from([
            (id("a"), vec![(START, 30.0)]),
            (id("b"), vec![(START + 1, 50.0)]),
            (id("shadow"), vec![(START, 900.0)]),
            (id("web"), vec![(START, 900.0)]),
        ]);
        let now = |serving: &Serving, at: i64| {
            told_now(&policy, (metric, Of::Instance), &id("web"), serving, &parts, START + at)
        };
        let (demand, age) = now(&serving, 60).expect("told");
        assert_eq!((demand.gross, demand.reporting, age), (80.0, 2, 59));
        let (one, _) = now(&serving, 121).expect("one of them still stands");
        assert_eq!((one.gross, one.reporting, one.serving, one.incomplete), (50.0, 1, 2, true));
        assert_eq!(now(&serving, 122), None);
        assert_eq!(now(&[(id("c"), None)], 60), None, "nobody who serves tells it");
        let worst = |of, serving: &Serving, at: i64| highest(of, &id("web"), serving, &parts, START + at);
        assert_eq!(worst(Of::Instance, &serving, 60), Some(50.0), "of those that serve");
        assert_eq!(worst(Of::Instance, &serving, 121), None, "half of them are silent");
        assert_eq!(worst(Of::Instance, &[], 60), None);
        assert_eq!((worst(Of::Group, &serving, 60), worst(Of::Group, &serving, 121)), (Some(900.0), None));
    }
}
