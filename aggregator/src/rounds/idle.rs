//! What idle and serving instances use: the evidence for the idle baseline. A shadow speaks from the moment it is one: what
//! it used while it served or drained is not idle.

use std::collections::HashMap;

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
    let points: Vec<(f64, f64)> = of(InstanceMode::Serving)
        .flat_map(|(kind, slices)| {
            (1..=9).filter_map(move |minute| {
                let range = slices_of_minute((now_slice - minute * SLICES_PER_MINUTE) * 10);
                let traffic = slices.mean(Signal::Packets, range.clone())?;
                Some((traffic, minutes::utilisation(policy, metric, kind, slices, range)?))
            })
        })
        .collect();
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
        of_types: of_types(&idle),
        regression: regression(&points),
        serving: of(InstanceMode::Serving).filter_map(use_of).collect(),
    }
}

#[cfg(test)]
mod tests {
    use foreshadow_proto::convert::Sample;

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

    /// Fourteen minutes of a sample every ten seconds; until `idle_for` seconds ago it served at 50.
    fn slices(idle_for: i64, idle: f64) -> InstanceSlices {
        let mut slices = InstanceSlices::default();
        for at in (NOW - 840..=NOW).step_by(10) {
            slices.add(&Sample {
                sequence: 1,
                wall_micros: at * 1_000_000,
                monotonic_micros: 0,
                covers_millis: 10_000,
                cpu_percent: Some(if at > NOW - idle_for { idle } else { 50.0 }),
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
