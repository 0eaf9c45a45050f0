//! Instances outside their group: how they stand, and their tags.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_autoscaling::types::Tag;
use foreshadow_proto::convert::Id;
use futures::StreamExt as _;

use super::AwsFleet;
use super::ec2::Seen;
use super::fault::Fault;
use super::hands::words;
use crate::fleet::{FleetError, Outside, RunState, Tags};

/// DescribeAutoScalingInstances takes at most this many ids.
const MEMBERS_PER_CALL: usize = 50;
/// Attributes are asked for one instance a call, this many at a time.
const AT_ONCE: usize = 4;
/// EC2 sets it on members of a group, and takes it off when they leave.
const MEMBER_TAG: &str = "aws:autoscaling:groupName";

/// What the load balancers of a group send to.
enum Targets {
    Known(BTreeSet<String>),
    /// Some are known, and there are others that cannot be asked.
    Partly(BTreeSet<String>),
}

impl Targets {
    fn holds(&self, instance: &Id) -> Option<bool> {
        match self {
            Self::Known(ids) => Some(ids.contains(instance.as_str())),
            Self::Partly(ids) => ids.contains(instance.as_str()).then_some(true),
        }
    }
}

impl AwsFleet {
    pub(super) async fn look_outside(&self, group: &Id, instances: &[Id]) -> Result<Vec<Outside>, FleetError> {
        if instances.is_empty() {
            return Ok(Vec::new());
        }
        let seen = self.query.instances(instances).await.map_err(|fault| fault.error("ec2:DescribeInstances"))?;
        let targets = self.targets(group).await;
        let mut found = self.stand(seen, &targets).await?;
        let known: BTreeSet<Id> = found.iter().map(|outside| outside.instance.clone()).collect();
        let unknown = instances.iter().filter(|instance| !known.contains(*instance)).map(|instance| Outside {
            instance: instance.clone(),
            state: RunState::Unknown,
            group: None,
            in_target_group: targets.holds(instance),
            // Not known: whoever is in doubt is protected.
            protected: true,
            tags: BTreeMap::new(),
        });
        found.extend(unknown.collect::<Vec<_>>());
        Ok(found)
    }

    pub(super) async fn find_tagged(&self, tag: &str) -> Result<Vec<Outside>, FleetError> {
        let seen = self.query.tagged(tag).await.map_err(|fault| fault.error("ec2:DescribeInstances"))?;
        // Of several groups, or of none any more: whose load balancers to ask is not known here.
        self.stand(seen, &Targets::Partly(BTreeSet::new())).await
    }

    async fn stand(&self, seen: Vec<Seen>, targets: &Targets) -> Result<Vec<Outside>, FleetError> {
        let ids: Vec<Id> = seen.iter().map(|seen| seen.instance.clone()).collect();
        let members = self.memberships(&ids).await;
        let members = members.map_err(|fault| fault.error("autoscaling:DescribeAutoScalingInstances"))?;
        let alive = ids.iter().zip(&seen).filter(|(_, seen)| seen.state != RunState::Ended);
        let asked = futures::stream::iter(alive.map(|(instance, _)| self.unprotected(instance)).collect::<Vec<_>>());
        let unprotected: BTreeSet<Id> = asked.buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
        let standing = seen.into_iter().map(|seen| {
            let tagged = || seen.tags.get(MEMBER_TAG).and_then(|group| Id::new("group", group).ok());
            Outside {
                group: members.get(&seen.instance).cloned().or_else(tagged),
                in_target_group: targets.holds(&seen.instance),
                protected: !unprotected.contains(&seen.instance),
                instance: seen.instance,
                state: seen.state,
                tags: seen.tags,
            }
        });
        Ok(standing.collect())
    }

    /// The instance, when it is known not to be protected.
    async fn unprotected(&self, instance: &Id) -> Option<Id> {
        match self.query.is_protected(instance).await {
            Ok(protected) => (!protected).then(|| instance.clone()),
            Err(fault) => {
                let problem = fault.problem("ec2:DescribeInstanceAttribute");
                tracing::warn!(%instance, problem, "whether it is protected from termination is not known");
                None
            }
        }
    }

    /// Which of these are in a group, by the group's own word.
    pub(super) async fn memberships(&self, instances: &[Id]) -> Result<BTreeMap<Id, Id>, Fault> {
        let mut found = BTreeMap::new();
        for ids in instances.chunks(MEMBERS_PER_CALL) {
            let asked = self.client.describe_auto_scaling_instances().set_instance_ids(Some(words(ids)));
            let page = self.read(|| asked.clone().send()).await?;
            for member in page.auto_scaling_instances() {
                let instance = Id::new("instance", member.instance_id.as_deref().unwrap_or_default());
                let group = Id::new("group", member.auto_scaling_group_name.as_deref().unwrap_or_default());
                if let (Ok(instance), Ok(group)) = (instance, group) {
                    found.insert(instance, group);
                }
            }
        }
        Ok(found)
    }

    /// What stands in the way of knowing is logged: the instances are then neither in nor out.
    async fn targets(&self, group: &Id) -> Targets {
        let state = match self.group(group).await {
            Ok(Some(state)) => state,
            Ok(None) => return Targets::Partly(BTreeSet::new()),
            Err(fault) => {
                let problem = fault.problem("autoscaling:DescribeAutoScalingGroups");
                tracing::warn!(%group, problem, "its load balancers are not known");
                return Targets::Partly(BTreeSet::new());
            }
        };
        let mut ids = BTreeSet::new();
        // Classic load balancers and VPC Lattice have no target groups that can be asked here.
        let sources = state.traffic_sources.as_deref().unwrap_or_default();
        let mut whole = state.load_balancer_names.as_deref().unwrap_or_default().is_empty()
            && sources.iter().all(|source| source.r#type.as_deref().is_none_or(|word| word == "elbv2"));
        for target_group in state.target_group_arns.as_deref().unwrap_or_default() {
            match self.query.targets(target_group).await {
                Ok(found) => ids.extend(found),
                Err(fault) => {
                    let problem = fault.problem("elasticloadbalancing:DescribeTargetHealth");
                    tracing::warn!(%group, target_group, problem, "who is in a target group is not known");
                    whole = false;
                }
            }
        }
        if whole { Targets::Known(ids) } else { Targets::Partly(ids) }
    }

    pub(super) async fn tag_instances(&self, instances: &[Id], tags: &Tags) -> Result<(), FleetError> {
        let (set, removed) = split(tags);
        self.query.set_tags(instances, &set).await.map_err(|fault| fault.error("ec2:CreateTags"))?;
        self.query.remove_tags(instances, &removed).await.map_err(|fault| fault.error("ec2:DeleteTags"))
    }

    pub(super) async fn tag_a_group(&self, group: &Id, tags: &Tags) -> Result<(), FleetError> {
        let of = |key: &str, value: Option<&str>| {
            Tag::builder()
                .resource_id(group.as_str())
                .resource_type("auto-scaling-group")
                .key(key)
                .set_value(value.map(str::to_owned))
                .propagate_at_launch(false)
                .build()
        };
        let (set, removed) = split(tags);
        if !set.is_empty() {
            let tags = set.into_iter().map(|(key, value)| of(key, Some(value))).collect();
            let asked = self.change(self.client.create_or_update_tags().set_tags(Some(tags)).send()).await;
            asked.map_err(|fault| fault.error("autoscaling:CreateOrUpdateTags"))?;
        }
        if !removed.is_empty() {
            let tags = removed.into_iter().map(|key| of(key, None)).collect();
            let asked = self.change(self.client.delete_tags().set_tags(Some(tags)).send()).await;
            asked.map_err(|fault| fault.error("autoscaling:DeleteTags"))?;
        }
        Ok(())
    }
}

/// Those to set and those to remove.
fn split(tags: &Tags) -> (Vec<(&str, &str)>, Vec<&str>) {
    let set = tags.iter().filter_map(|(key, value)| Some((*key, value.as_deref()?))).collect();
    let removed = tags.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| *key).collect();
    (set, removed)
}
