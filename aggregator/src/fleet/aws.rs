//! Auto Scaling groups by the AWS API: the read half. `AWS_ENDPOINT_URL` and the usual credential
//! chain are honoured. Permissions: autoscaling:DescribeAutoScalingGroups, DescribePolicies,
//! DescribeInstanceRefreshes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::config::timeout::TimeoutConfig;
use aws_sdk_autoscaling::error::ProvideErrorMetadata;
use aws_sdk_autoscaling::types::{AutoScalingGroup, Instance};
use aws_smithy_http_client::tls;
use foreshadow_proto::convert::Id;

use super::{Fleet, FleetError, GroupInventory, Inventory, Lifecycle, Member};
use crate::clock::Clock;

/// Names in one describe call; AWS takes up to 50.
const NAMES_PER_CALL: usize = 50;
/// A call that takes longer has failed; the next round asks again.
const CALL_DEADLINE: Duration = Duration::from_secs(20);

/// Describes named Auto Scaling groups.
#[derive(Debug)]
pub struct AwsFleet {
    client: Client,
    groups: Vec<String>,
    clock: Arc<dyn Clock>,
}

impl AwsFleet {
    /// Takes region and credentials from the usual places unless a region is given.
    pub async fn new(groups: Vec<String>, region: Option<String>, clock: Arc<dyn Clock>) -> Self {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .build_https();
        let timeouts = TimeoutConfig::builder().operation_timeout(CALL_DEADLINE).build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http).timeout_config(timeouts);
        if let Some(region) = region {
            loader = loader.region(Region::new(region));
        }
        Self { client: Client::new(&loader.load().await), groups, clock }
    }

    async fn pages(&self) -> Result<Vec<AutoScalingGroup>, FleetError> {
        let mut found = Vec::new();
        for names in self.groups.chunks(NAMES_PER_CALL) {
            let mut next_token = None;
            loop {
                let page = self
                    .client
                    .describe_auto_scaling_groups()
                    .set_auto_scaling_group_names(Some(names.to_vec()))
                    .set_next_token(next_token)
                    .send()
                    .await
                    .map_err(|error| FleetError::Unreachable {
                        source_name: "aws",
                        problem: advice(error.code(), &short(&error)),
                    })?;
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
        let policies = self
            .client
            .describe_policies()
            .auto_scaling_group_name(group)
            .send()
            .await
            .map_err(|error| format!("{group}: DescribePolicies: {}", error.code().unwrap_or("failed")))?;
        Ok(policies.scaling_policies.unwrap_or_default().iter().any(|policy| {
            let enabled = policy.enabled.unwrap_or(true);
            let tracking = policy.target_tracking_configuration.as_ref();
            // A target tracking policy scales in unless told not to; a simple or step policy may.
            let scales_in = tracking.is_none_or(|tracking| !tracking.disable_scale_in.unwrap_or(false));
            enabled && scales_in && policy.policy_type.as_deref() != Some("PredictiveScaling")
        }))
    }

    async fn deploying(&self, group: &str) -> Result<bool, String> {
        let refreshes = self
            .client
            .describe_instance_refreshes()
            .auto_scaling_group_name(group)
            .send()
            .await
            .map_err(|error| format!("{group}: DescribeInstanceRefreshes: {}", error.code().unwrap_or("failed")))?;
        Ok(refreshes.instance_refreshes.unwrap_or_default().iter().any(|refresh| {
            let status = refresh.status.as_ref().map_or("", |status| status.as_str());
            matches!(status, "Pending" | "InProgress" | "Cancelling" | "RollbackInProgress" | "Baking")
        }))
    }
}

#[async_trait]
impl Fleet for AwsFleet {
    async fn describe(&self) -> Result<Inventory, FleetError> {
        let taken_micros = self.clock.wall_micros();
        let pages = self.pages().await?;
        let mut inventory = Inventory { taken_micros, complete: true, ..Inventory::default() };
        for group in &pages {
            let name = group.auto_scaling_group_name.as_deref().unwrap_or_default();
            let Ok(id) = Id::new("group", name) else {
                inventory.problems.push(format!("the group name {name:?} cannot be used"));
                inventory.complete = false;
                continue;
            };
            let mut found = group_inventory(group, &mut inventory.problems);
            match self.foreign_scale_in(name).await {
                Ok(foreign) => found.foreign_scale_in = foreign,
                Err(problem) => inventory.problems.push(problem),
            }
            match self.deploying(name).await {
                Ok(deploying) => found.deploying = deploying,
                Err(problem) => inventory.problems.push(problem),
            }
            inventory.groups.insert(id, found);
        }
        for wanted in &self.groups {
            if !pages.iter().any(|group| group.auto_scaling_group_name.as_deref() == Some(wanted)) {
                inventory
                    .problems
                    .push(format!("no Auto Scaling group is called {wanted:?} in this account and region"));
                inventory.complete = false;
            }
        }
        Ok(inventory)
    }

    fn name(&self) -> &'static str {
        "aws"
    }
}

fn group_inventory(group: &AutoScalingGroup, problems: &mut Vec<String>) -> GroupInventory {
    let count = |size: Option<i32>| size.and_then(|size| u32::try_from(size).ok()).unwrap_or_default();
    let members = group.instances.as_deref().unwrap_or_default().iter().filter_map(|instance| match member(instance) {
        Ok(member) => Some(member),
        Err(problem) => {
            problems.push(problem);
            None
        }
    });
    GroupInventory {
        minimum: count(group.min_size),
        maximum: count(group.max_size),
        desired: count(group.desired_capacity),
        members: members.collect(),
        ..GroupInventory::default()
    }
}

fn member(instance: &Instance) -> Result<Member, String> {
    let id = instance.instance_id.as_deref().unwrap_or_default();
    Ok(Member {
        instance: Id::new("instance", id).map_err(|error| error.to_string())?,
        instance_type: instance.instance_type.as_deref().and_then(|name| Id::new("type", name).ok()),
        zone: instance.availability_zone.as_deref().and_then(|name| Id::new("zone", name).ok()),
        lifecycle: Lifecycle::from_word(instance.lifecycle_state.as_ref().map_or("", |state| state.as_str())),
        protected: instance.protected_from_scale_in.unwrap_or(false),
        version: None,
    })
}

/// Code and message, or the chain of causes; never the raw response, which fills pages.
fn short<E: std::error::Error + ProvideErrorMetadata>(error: &E) -> String {
    if let Some(code) = error.code() {
        return format!("{code}: {}", error.message().unwrap_or("no message"));
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    text
}

fn advice(code: Option<&str>, whole: &str) -> String {
    match code {
        Some("AccessDenied" | "UnauthorizedOperation") => {
            format!("access denied: grant autoscaling:DescribeAutoScalingGroups ({whole})")
        }
        Some("Throttling" | "ThrottlingException") => "the API throttles: asking again next round".to_owned(),
        Some("ExpiredToken" | "InvalidClientTokenId") => format!("the credentials are not valid ({whole})"),
        _ if whole.contains("region") => format!("no region: set inventory.aws.region or AWS_REGION ({whole})"),
        _ if whole.contains("credential") => {
            format!("no credentials: give the host a role or set AWS_ACCESS_KEY_ID and its secret ({whole})")
        }
        _ => whole.to_owned(),
    }
}
