//! What a group would launch from now: template and version, or launch configuration.

use std::collections::BTreeMap;

use aws_sdk_autoscaling::types::{AutoScalingGroup, LaunchTemplateSpecification};
use futures::StreamExt as _;

use super::AwsFleet;
use super::describe::AT_ONCE;
use super::ec2::Template;

/// Launch templates by id or name.
pub(super) type Templates = BTreeMap<String, Result<Template, String>>;

impl AwsFleet {
    /// The launch templates by which these groups launch a version that moves.
    pub(super) async fn templates(&self, groups: &[AutoScalingGroup]) -> Templates {
        let named: BTreeMap<String, &'static str> =
            groups.iter().filter_map(moving).map(|(by, value)| (value.to_owned(), by)).collect();
        let asked: Vec<_> = named.into_iter().map(|(value, by)| self.template(by, value)).collect();
        futures::stream::iter(asked).buffer_unordered(AT_ONCE).collect().await
    }

    async fn template(&self, by: &'static str, value: String) -> (String, Result<Template, String>) {
        let found = self.query.template(by, &value).await;
        (value, found.map_err(|fault| fault.problem("ec2:DescribeLaunchTemplates")))
    }
}

/// The template of a group whose version is told by a word that moves, and by what it is asked for.
fn moving(group: &AutoScalingGroup) -> Option<(&'static str, &str)> {
    if group.launch_configuration_name.is_some() {
        return None;
    }
    let template = specification(group)?;
    if plain(Some(template)).is_some() {
        return None;
    }
    let by_id = template.launch_template_id.as_deref().map(|id| ("LaunchTemplateId.1", id));
    by_id.or_else(|| Some(("LaunchTemplateName.1", template.launch_template_name.as_deref()?)))
}

/// What the group would launch from now.
pub(super) fn version(group: &AutoScalingGroup, templates: &Templates, problems: &mut Vec<String>) -> Option<String> {
    if let Some(configuration) = &group.launch_configuration_name {
        return Some(configuration.clone());
    }
    let Some((_, value)) = moving(group) else { return plain(specification(group)) };
    let found = match templates.get(value)? {
        Ok(found) => found,
        Err(problem) => {
            problems.push(format!("{}: {problem}", group.auto_scaling_group_name.as_deref().unwrap_or_default()));
            return None;
        }
    };
    // Without a version it is the default one.
    let number = match specification(group)?.version.as_deref() {
        Some("$Latest") => &found.latest,
        None | Some("" | "$Default") => &found.default,
        Some(number) => number,
    };
    Some(format!("{}:{number}", found.id))
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
pub(super) fn plain(template: Option<&LaunchTemplateSpecification>) -> Option<String> {
    let template = template?;
    let number = template.version.as_deref()?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| template.launch_template_id.as_deref().map(|id| format!("{id}:{number}")))?
}

#[cfg(test)]
mod tests {
    use super::*;

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
