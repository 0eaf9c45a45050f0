//! What a group refuses, or answers in its own way, is refused beforehand: AZRebalance, a zone that the
//! group does not have, an image that is gone.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_autoscaling::types::AutoScalingGroup;
use foreshadow_proto::convert::Id;

use super::AwsFleet;
use super::describe::lifecycle;
use crate::fleet::{Called, Lifecycle, RunState};

/// AWS evens the zones of this group out, by launching in one and terminating in another.
pub(super) fn evens_zones(group: &AutoScalingGroup) -> bool {
    let suspended = group.suspended_processes.as_deref().unwrap_or_default();
    let rebalances = !suspended.iter().any(|process| process.process_name.as_deref() == Some("AZRebalance"));
    rebalances && group.availability_zones.as_deref().unwrap_or_default().len() > 1
}

/// Why these must not go at once: zones would differ by more than one, and more than they do, and
/// AZRebalance would launch in one and terminate in another.
pub(super) fn uneven_without(group: &AutoScalingGroup, leaving: &[Id]) -> Option<String> {
    if !evens_zones(group) {
        return None;
    }
    let zones = group.availability_zones.as_deref().unwrap_or_default();
    let mut before: BTreeMap<&str, usize> = zones.iter().map(|zone| (zone.as_str(), 0)).collect();
    let mut after = before.clone();
    for member in group.instances.as_deref().unwrap_or_default() {
        let zone = member.availability_zone.as_deref().unwrap_or_default();
        if !matches!(lifecycle(member), Lifecycle::InService | Lifecycle::Pending) {
            continue;
        }
        *before.entry(zone).or_default() += 1;
        let stays = !leaving.iter().any(|id| member.instance_id.as_deref() == Some(id.as_str()));
        *after.entry(zone).or_default() += usize::from(stays);
    }
    let spread = |of: &BTreeMap<&str, usize>| {
        of.values().max().copied().unwrap_or_default() - of.values().min().copied().unwrap_or_default()
    };
    let (was, would_be) = (spread(&before), spread(&after));
    (would_be > 1 && would_be > was).then(|| {
        format!(
            "zones would be {after:?}: AZRebalance would launch and terminate to even them out; fewer at once, \
             or suspend AZRebalance: nothing was changed"
        )
    })
}

impl AwsFleet {
    /// Why the group would not take these, in words; `None` when nothing is known to speak against it.
    pub(super) async fn unfit_to_attach(
        &self,
        group: &AutoScalingGroup,
        instances: &[Id],
    ) -> Result<Option<String>, Called> {
        let seen = self.query.instances(instances).await.map_err(|fault| fault.before("ec2:DescribeInstances"))?;
        let zones = group.availability_zones.as_deref().unwrap_or_default();
        let mut images = BTreeSet::new();
        for instance in instances {
            let Some(found) = seen.iter().find(|seen| seen.instance == *instance) else {
                return Ok(Some(format!("EC2 does not show {instance}: nothing was attached")));
            };
            if found.state != RunState::Running {
                return Ok(Some(format!("{instance} does not run: nothing was attached")));
            }
            if let Some(zone) = found.zone.as_ref().filter(|zone| !zones.is_empty() && !zones.contains(zone)) {
                return Ok(Some(format!("{instance} is in the zone {zone}, which the group does not have")));
            }
            images.extend(found.image.clone());
        }
        let images: Vec<String> = images.into_iter().collect();
        let there = self.query.images(&images).await.map_err(|fault| fault.before("ec2:DescribeImages"))?;
        let missing = images.iter().find(|image| !there.contains(*image));
        Ok(missing.map(|image| format!("the image {image} is gone, and Auto Scaling attaches nothing made from it")))
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_autoscaling::types::{Instance, SuspendedProcess};

    use super::*;

    fn group(zones: &[(&str, usize)], suspended: &str) -> (AutoScalingGroup, Vec<Id>) {
        let process = SuspendedProcess::builder().process_name(suspended).build();
        let mut group = AutoScalingGroup::builder().suspended_processes(process);
        let mut ids = Vec::new();
        for (zone, count) in zones {
            group = group.availability_zones(*zone);
            for number in 0..*count {
                let id = format!("i-{zone}-{number}");
                let member =
                    Instance::builder().instance_id(&id).availability_zone(*zone).lifecycle_state("InService".into());
                group = group.instances(member.build());
                ids.push(Id::new("instance", &id).expect("an id"));
            }
        }
        (group.build(), ids)
    }

    #[test]
    fn zones_stay_even_or_nobody_goes() {
        let (even, ids) = group(&[("a", 3), ("b", 3)], "HealthCheck");
        assert_eq!(uneven_without(&even, &ids[..1]), None, "3 and 2 are even enough");
        assert_eq!(uneven_without(&even, &[ids[0].clone(), ids[3].clone()]), None);
        let why = uneven_without(&even, &ids[..2]).expect("1 and 3 are not");
        assert!(why.contains("AZRebalance"), "{why}");
        let (pinned, _) = group(&[("a", 3), ("b", 3)], "AZRebalance");
        assert_eq!(uneven_without(&pinned, &ids[..2]), None, "it is suspended");
        assert!(evens_zones(&even) && !evens_zones(&pinned), "who comes back goes by the same");
        let (lopsided, ids) = group(&[("a", 4), ("b", 1)], "HealthCheck");
        assert_eq!(uneven_without(&lopsided, &ids[..1]), None, "it becomes more even");
        let (one, ids) = group(&[("a", 4)], "HealthCheck");
        assert_eq!(uneven_without(&one, &ids[..3]), None);
        assert!(!evens_zones(&one));
    }
}
