//! What idle and serving instances use: the evidence for the idle baseline.

use std::collections::HashMap;

use foreshadow_proto::convert::Id;
use planner::baseline::{Measured, regression};
use planner::policy::{Metric, Policy};

use super::minutes;
use super::slices::{InstanceSlices, SLICES_PER_MINUTE, Signal, slices_of_minute};
use crate::observe::{GroupSnapshot, InstanceMode, MemberSnapshot};

/// Use is averaged over this many slices (ten minutes).
pub const SLICES: i64 = 60;

/// What shadows and those that serve used of a metric up to `now` (seconds since the epoch).
pub fn measured(
    policy: &Policy,
    metric: Metric,
    snapshot: &GroupSnapshot,
    slices: &HashMap<Id, InstanceSlices>,
    now: i64,
) -> Measured {
    let now_slice = now.div_euclid(10);
    let of = |mode: InstanceMode| {
        snapshot.members.iter().filter(move |member| member.mode == mode).filter_map(|member: &MemberSnapshot| {
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
    Measured {
        shadows: of(InstanceMode::Shadow).filter_map(use_of).collect(),
        regression: regression(&points),
        serving: of(InstanceMode::Serving).filter_map(use_of).collect(),
    }
}
