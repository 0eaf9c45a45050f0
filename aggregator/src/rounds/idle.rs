//! What idle and serving instances use: the evidence for the idle baseline. A shadow speaks from the moment it is one: what
//! it used while it served or drained is not idle.

use std::collections::{BTreeMap, HashMap};

use foreshadow_proto::convert::Id;
use planner::baseline::{Measured, of_types, regression};
use planner::policy::{Metric, Policy};

use super::minutes;
use super::slices::{InstanceSlices, SLICE_MICROS, SLICES_PER_MINUTE, Signal, slices_of_minute};
use crate::observe::{InstanceMode, MemberSnapshot};

/// Use is averaged over this many slices (ten minutes).
pub const SLICES: i64 = 60;
/// A shadow must have been one for so many slices (five minutes) before it says anything.
const LEAST_SLICES: i64 = 30;

/// What shadows and those that serve used of a metric up to `now` (seconds since the epoch).
pub fn measured(
    policy: &Policy,
    metric: Metric,
    members: &[MemberSnapshot],
    slices: &HashMap<Id, InstanceSlices>,
    now: i64,
) -> Measured {
    let now_slice = now.div_euclid(10);
    let of = |mode: InstanceMode| {
        members.iter().filter(move |member| member.mode == mode).filter_map(|member: &MemberSnapshot| {
            Some((member.instance_type.as_deref(), slices.get(&member.instance)?))
        })
    };
    let use_of = |(kind, slices): (Option<&str>, &InstanceSlices)| {
        minutes::utilisation(policy, metric, kind, slices, now_slice - SLICES..now_slice)
    };
    let mut minutes_of: BTreeMap<Option<&str>, Vec<(f64, f64)>> = BTreeMap::new();
    for (kind, slices) in of(InstanceMode::Serving) {
        minutes_of.entry(kind).or_default().extend((1..=9).filter_map(|minute| {
            let range = slices_of_minute((now_slice - minute * SLICES_PER_MINUTE) * 10);
            let traffic = slices.mean(Signal::Packets, range.clone())?;
            Some((traffic, minutes::utilisation(policy, metric, kind, slices, range)?))
        }));
    }
    let idle: Vec<(Option<&str>, f64, u32)> = members
        .iter()
        .filter(|member| member.mode == InstanceMode::Shadow)
        .filter_map(|member| {
            let since = (member.since_micros - 1).div_euclid(SLICE_MICROS) + 1;
            let range = since.max(now_slice - SLICES)..now_slice;
            let samples = range.end - range.start;
            let (kind, slices) = (member.instance_type.as_deref(), slices.get(&member.instance)?);
            let used = (samples >= LEAST_SLICES).then(|| minutes::utilisation(policy, metric, kind, slices, range))?;
            Some((kind, used?, u32::try_from(samples).unwrap_or_default()))
        })
        .collect();
    Measured {
        shadows: idle.iter().map(|(_, points, _)| *points).collect(),
        of_types: of_types(&idle, |kind| regression(minutes_of.get(&kind)?)),
        regression: regression(&minutes_of.values().flatten().copied().collect::<Vec<_>>()),
        serving: of(InstanceMode::Serving).filter_map(use_of).collect(),
    }
}

#[cfg(test)]
mod tests {
    use foreshadow_proto::convert::{NetworkRates, Sample};

    use super::*;
    use crate::observe::Spool;

    const NOW: i64 = 1_800_000_000;

    fn member(name: &str, kind: &str, shadow_for: i64) -> MemberSnapshot {
        MemberSnapshot {
            instance: Id::new("instance", name).expect("an id"),
            mode: InstanceMode::Shadow,
            since_micros: (NOW - shadow_for) * 1_000_000,
            instance_type: Some(kind.to_owned()),
            zone: None,
            version: None,
            protected: false,
            cpu_credits: None,
            out_of_service: None,
            connected: true,
            ready: None,
            agent_version: None,
            claimed_state: None,
            claim_disagrees: false,
            spool: Spool::default(),
            proven: None,
        }
    }

    /// Fourteen minutes of a sample every ten seconds, CPU and packets by their time.
    fn sampled(used: impl Fn(i64) -> (f64, Option<f64>)) -> InstanceSlices {
        let mut slices = InstanceSlices::default();
        for at in (NOW - 840..=NOW).step_by(10) {
            let (cpu, packets) = used(at);
            let rates =
                |in_packets| NetworkRates { in_packets, in_bytes: 0.0, out_bytes: 0.0, out_packets: 0.0, errors: 0.0 };
            slices.add(&Sample {
                sequence: 1,
                wall_micros: at * 1_000_000,
                monotonic_micros: 0,
                covers_millis: 10_000,
                cpu_percent: Some(cpu),
                cpu_busiest_percent: None,
                cpu_steal_percent: None,
                memory_used_bytes: None,
                memory_total_bytes: None,
                network: packets.map(rates),
            });
        }
        slices
    }

    /// Until `idle_for` seconds ago it served at 50.
    fn slices(idle_for: i64, idle: f64) -> InstanceSlices {
        sampled(|at| (if at > NOW - idle_for { idle } else { 50.0 }, None))
    }

    #[test]
    fn each_type_has_the_line_of_its_own_that_serve() {
        // By type what they use without traffic, and for one packet a second.
        let types = [("large", 4.0, 0.05), ("small", 10.0, 0.1)];
        let (mut members, mut all) = (Vec::new(), HashMap::new());
        for (kind, idle, each) in types {
            for number in 0..5 {
                let serves = number > 0;
                let mode = if serves { InstanceMode::Serving } else { InstanceMode::Shadow };
                let member = MemberSnapshot { mode, ..member(&format!("{kind}-{number}"), kind, 9_999) };
                let used = sampled(|at| {
                    let packets = if serves { 50.0 * ((NOW - at) / 60 + i64::from(number)) as f64 } else { 0.0 };
                    (idle + each * packets, Some(packets))
                });
                all.insert(member.instance.clone(), used);
                members.push(member);
            }
        }
        let found = measured(&Policy::new("web"), Metric::Cpu, &members, &all, NOW);
        let lines: Vec<_> = found.of_types.iter().map(|it| (&*it.instance_type, it.points, it.regression)).collect();
        for ((kind, idle, _), (told, shadows, line)) in types.into_iter().zip(lines) {
            let line = line.expect("traffic varies");
            assert_eq!((kind, idle, 36), (told, shadows, line.minutes), "four for nine minutes");
            assert!((line.points - idle).abs() < 1.0, "{kind}: {line:?}");
        }
        assert_eq!(found.regression.map(|line| line.minutes), Some(72));
    }

    #[test]
    fn a_shadow_speaks_only_of_the_time_since_it_is_one() {
        let of = |shadow_for: i64, idle_for: i64| {
            let members = [member("i-1", "m5.large", shadow_for)];
            let all = HashMap::from([(members[0].instance.clone(), slices(idle_for, 4.0))]);
            measured(&Policy::new("web"), Metric::Cpu, &members, &all, NOW)
        };
        assert_eq!(of(299, 299).shadows, Vec::<f64>::new(), "too short to say anything");
        assert_eq!(of(300, 300).shadows, [4.0], "nothing of the time in which it served");
        assert_eq!(of(9_999, 300).shadows.len(), 1);
        assert!(of(9_999, 300).shadows[0] > 20.0, "ten minutes of one that is a shadow for long");
        let told = &of(400, 400).of_types[0];
        assert_eq!((told.instance_type.as_str(), told.shadows, told.readings), ("m5.large", 1, 40));
    }
}
