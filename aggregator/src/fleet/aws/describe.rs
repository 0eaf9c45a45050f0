//! Groups as Auto Scaling shows them.

use std::collections::BTreeMap;

use aws_sdk_autoscaling::types::{AutoScalingGroup, Instance, LaunchTemplateSpecification};
use foreshadow_proto::convert::Id;
use planner::evidence::Pick;

use super::AwsFleet;
use super::ec2::Template;
use super::fault::Fault;
use crate::fleet::{FleetError, GroupInventory, Inventory, Lifecycle, MINIMUM_TAG, Member, OWNER_TAG};

/// Names in one describe call; AWS takes up to 50.
const NAMES_PER_CALL: usize = 50;
const DESCRIBE: &str = "autoscaling:DescribeAutoScalingGroups";

/// Launch templates met in one description.
type Templates = BTreeMap<String, Option<Template>>;

impl AwsFleet {
    pub(super) async fn inventory(&self, wanted: &[String]) -> Result<Inventory, FleetError> {
        let taken_micros = self.clock.wall_micros();
        let pages = self.pages(wanted).await.map_err(|fault| fault.error(DESCRIBE))?;
        let mut inventory = Inventory { taken_micros, complete: true, ..Inventory::default() };
        let mut templates = Templates::new();
        for group in &pages {
            let name = group.auto_scaling_group_name.as_deref().unwrap_or_default();
            let Ok(id) = Id::new("group", name) else {
                inventory.problems.push(format!("the group name {name:?} cannot be used"));
                inventory.complete = false;
                continue;
            };
            let mut found = group_inventory(group, &mut inventory.problems);
            found.version = self.version(group, &mut templates, &mut inventory.problems).await;
            match self.foreign_scale_in(name).await {
                Ok(foreign) => found.foreign_scale_in = foreign,
                Err(problem) => {
                    found.untold = true;
                    inventory.problems.push(problem);
                }
            }
            match self.deploying(name).await {
                Ok(deploying) => found.deploying = deploying,
                Err(problem) => {
                    found.untold = true;
                    inventory.problems.push(problem);
                }
            }
            inventory.groups.insert(id, found);
        }
        for wanted in wanted {
            if !pages.iter().any(|group| group.auto_scaling_group_name.as_deref() == Some(wanted)) {
                inventory
                    .problems
                    .push(format!("no Auto Scaling group is called {wanted:?} in this account and region"));
                inventory.complete = false;
            }
        }
        Ok(inventory)
    }

    /// One group as it is now; `None` when there is none of that name.
    pub(super) async fn group(&self, group: &Id) -> Result<Option<AutoScalingGroup>, Fault> {
        Ok(self.pages(&[group.as_str().to_owned()]).await?.pop())
    }

    async fn pages(&self, groups: &[String]) -> Result<Vec<AutoScalingGroup>, Fault> {
        let mut found = Vec::new();
        for names in groups.chunks(NAMES_PER_CALL) {
            let mut next_token = None;
            loop {
                let page = self
                    .reading
                    .describe_auto_scaling_groups()
                    .set_auto_scaling_group_names(Some(names.to_vec()))
                    .set_next_token(next_token)
                    .send()
                    .await
                    .map_err(|error| Fault::from_sdk(&error))?;
                found.extend(page.auto_scaling_groups.unwrap_or_default());
                next_token = page.next_token.filter(|token| !token.is_empty());
                if next_token.is_none() {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Whether a policy of the provider may scale the group in; an error is a problem that is shown.
    async fn foreign_scale_in(&self, group: &str) -> Result<bool, String> {
        let policies =
            self.reading.describe_policies().auto_scaling_group_name(group).send().await.map_err(|error| {
                format!("{group}: DescribePolicies: {}", Fault::from_sdk(&error).code().unwrap_or("failed"))
            })?;
        Ok(policies.scaling_policies.unwrap_or_default().iter().any(|policy| {
            let enabled = policy.enabled.unwrap_or(true);
            let tracking = policy.target_tracking_configuration.as_ref();
            // A target tracking policy scales in unless told not to; a simple or step policy may.
            let scales_in = tracking.is_none_or(|tracking| !tracking.disable_scale_in.unwrap_or(false));
            enabled && scales_in && policy.policy_type.as_deref() != Some("PredictiveScaling")
        }))
    }

    async fn deploying(&self, group: &str) -> Result<bool, String> {
        let asked = self.reading.describe_instance_refreshes().auto_scaling_group_name(group);
        let refreshes = asked.send().await.map_err(|error| {
            format!("{group}: DescribeInstanceRefreshes: {}", Fault::from_sdk(&error).code().unwrap_or("failed"))
        })?;
        Ok(refreshes.instance_refreshes.unwrap_or_default().iter().any(|refresh| {
            let status = refresh.status.as_ref().map_or("", |status| status.as_str());
            matches!(status, "Pending" | "InProgress" | "Cancelling" | "RollbackInProgress" | "Baking")
        }))
    }

    /// What the group would launch from now.
    async fn version(
        &self,
        group: &AutoScalingGroup,
        templates: &mut Templates,
        problems: &mut Vec<String>,
    ) -> Option<String> {
        if let Some(configuration) = &group.launch_configuration_name {
            return Some(configuration.clone());
        }
        let template = specification(group)?;
        if let Some(plain) = plain(Some(template)) {
            return Some(plain);
        }
        let by_id = template.launch_template_id.as_deref().map(|id| ("LaunchTemplateId.1", id));
        let (by, value) =
            by_id.or_else(|| Some(("LaunchTemplateName.1", template.launch_template_name.as_deref()?)))?;
        if !templates.contains_key(value) {
            let found = self.query.template(by, value).await;
            if let Err(fault) = &found {
                let group = group.auto_scaling_group_name.as_deref().unwrap_or_default();
                problems.push(format!("{group}: {}", fault.problem("ec2:DescribeLaunchTemplates")));
            }
            templates.insert(value.to_owned(), found.ok());
        }
        let found = templates.get(value)?.as_ref()?;
        // Without a version it is the default one.
        let number = match template.version.as_deref() {
            Some("$Latest") => &found.latest,
            None | Some("" | "$Default") => &found.default,
            Some(number) => number,
        };
        Some(format!("{}:{number}", found.id))
    }
}

/// The one template of a group; with several, by instance type, there is no single version.
pub(super) fn specification(group: &AutoScalingGroup) -> Option<&LaunchTemplateSpecification> {
    if let Some(template) = &group.launch_template {
        return Some(template);
    }
    let mixed = group.mixed_instances_policy.as_ref()?.launch_template.as_ref()?;
    let overridden = mixed.overrides.as_deref().unwrap_or_default();
    if overridden.iter().any(|own| own.launch_template_specification.is_some()) {
        return None;
    }
    mixed.launch_template_specification.as_ref()
}

/// Template and version where both are there in plain.
fn plain(template: Option<&LaunchTemplateSpecification>) -> Option<String> {
    let template = template?;
    let number = template.version.as_deref()?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| template.launch_template_id.as_deref().map(|id| format!("{id}:{number}")))?
}

pub(super) fn tag<'g>(group: &'g AutoScalingGroup, key: &str) -> Option<&'g str> {
    let tags = group.tags.as_deref().unwrap_or_default();
    tags.iter().find(|tag| tag.key.as_deref() == Some(key)).and_then(|tag| tag.value.as_deref())
}

pub(super) fn size(size: Option<i32>) -> u32 {
    size.and_then(|size| u32::try_from(size).ok()).unwrap_or_default()
}

/// The user's own MinSize while ours is above it.
pub(super) fn own_minimum(group: &AutoScalingGroup) -> Option<u32> {
    tag(group, MINIMUM_TAG)?.trim().parse().ok().filter(|own| *own < size(group.min_size))
}

fn group_inventory(group: &AutoScalingGroup, problems: &mut Vec<String>) -> GroupInventory {
    let members = group.instances.as_deref().unwrap_or_default().iter().filter_map(|instance| match member(instance) {
        Ok(member) => Some(member),
        Err(problem) => {
            problems.push(problem);
            None
        }
    });
    let zones = group.availability_zones.iter().flatten();
    GroupInventory {
        minimum: own_minimum(group).unwrap_or(size(group.min_size)),
        floor: Some(size(group.min_size)),
        maximum: size(group.max_size),
        desired: size(group.desired_capacity),
        members: members.collect(),
        zones: zones.filter_map(|zone| Id::new("zone", zone).ok()).collect(),
        termination: group.termination_policies.iter().flatten().filter_map(|word| pick(word)).collect(),
        owner: tag(group, OWNER_TAG).filter(|owner| !owner.is_empty()).map(str::to_owned),
        ..GroupInventory::default()
    }
}

/// A termination policy in the planner's words. What goes by the billing hour, by prices or by a function of the
/// user's is left out: the next of the group's policies decides.
fn pick(word: &str) -> Option<Pick> {
    match word {
        "Default" | "OldestLaunchConfiguration" | "OldestLaunchTemplate" => Some(Pick::OldVersion),
        "OldestInstance" => Some(Pick::Oldest),
        "NewestInstance" => Some(Pick::Newest),
        _ => None,
    }
}

fn member(instance: &Instance) -> Result<Member, String> {
    let id = instance.instance_id.as_deref().unwrap_or_default();
    Ok(Member {
        instance: Id::new("instance", id).map_err(|error| error.to_string())?,
        instance_type: instance.instance_type.as_deref().and_then(|name| Id::new("type", name).ok()),
        zone: instance.availability_zone.as_deref().and_then(|name| Id::new("zone", name).ok()),
        lifecycle: lifecycle(instance),
        protected: instance.protected_from_scale_in.unwrap_or(false),
        // What $Latest was when it was launched is not known: only a number counts.
        version: instance.launch_configuration_name.clone().or_else(|| plain(instance.launch_template.as_ref())),
    })
}

pub(super) fn lifecycle(instance: &Instance) -> Lifecycle {
    Lifecycle::from_word(instance.lifecycle_state.as_ref().map_or("", |state| state.as_str()))
}

#[cfg(test)]
mod tests {
    use aws_sdk_autoscaling::types::TagDescription;

    use super::*;

    #[test]
    fn the_users_minimum_counts_only_while_ours_is_above_it() {
        let group = |min: i32, value: &str| {
            let tag = TagDescription::builder().key(MINIMUM_TAG).value(value).build();
            AutoScalingGroup::builder().min_size(min).tags(tag).build()
        };
        assert_eq!(own_minimum(&group(8, "2")), Some(2));
        assert_eq!(group_inventory(&group(8, "2"), &mut Vec::new()).minimum, 2);
        // Raised and not yet, or no longer, or nonsense: MinSize itself is the user's.
        for (min, value) in [(2, "2"), (1, "2"), (8, "two"), (8, ""), (8, "-1")] {
            assert_eq!(own_minimum(&group(min, value)), None, "{min} {value}");
            let read = group_inventory(&group(min, value), &mut Vec::new()).minimum;
            assert_eq!(read, u32::try_from(min).expect("a size"));
        }
    }

    #[test]
    fn zones_and_termination_policies_are_read_in_their_order() {
        let group = AutoScalingGroup::builder()
            .set_availability_zones(Some(vec!["b".to_owned(), "a".to_owned()]))
            .set_termination_policies(Some(
                ["ClosestToNextInstanceHour", "NewestInstance", "Default", "arn:aws:lambda:x"]
                    .map(str::to_owned)
                    .to_vec(),
            ));
        let read = group_inventory(&group.build(), &mut Vec::new());
        assert_eq!(read.zones.iter().map(Id::as_str).collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(read.termination, [Pick::Newest, Pick::OldVersion]);
    }

    #[test]
    fn a_version_is_a_number_and_nothing_that_moves() {
        let of = |version: &str| {
            plain(Some(&LaunchTemplateSpecification::builder().launch_template_id("lt-1").version(version).build()))
        };
        assert_eq!(of("7"), Some("lt-1:7".to_owned()));
        for moving in ["$Latest", "$Default", "", "7a"] {
            assert_eq!(of(moving), None, "{moving}");
        }
    }
}
