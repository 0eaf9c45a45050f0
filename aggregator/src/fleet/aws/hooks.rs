//! Termination hooks of the user's: they hold an instance in `Terminating:Wait`, and a heartbeat holds it
//! for another period. AWS ends the wait after a hundred of them, or 48 hours.

use foreshadow_proto::convert::Id;

use super::AwsFleet;
use crate::fleet::FleetError;

const TERMINATING: &str = "autoscaling:EC2_INSTANCE_TERMINATING";

impl AwsFleet {
    /// One heartbeat for each of these and each termination hook of the group. Which hook holds an
    /// instance is not told: one that does not says so, and the others are asked all the same.
    pub(super) async fn heartbeat(&self, group: &Id, instances: &[Id]) -> Result<(), FleetError> {
        if instances.is_empty() {
            return Ok(());
        }
        let asked = self.client.describe_lifecycle_hooks().auto_scaling_group_name(group.as_str());
        let hooks = self.read(|| asked.clone().send()).await;
        let hooks = hooks.map_err(|fault| fault.error("autoscaling:DescribeLifecycleHooks"))?;
        let hooks = hooks.lifecycle_hooks.unwrap_or_default();
        let names: Vec<String> = hooks
            .into_iter()
            .filter(|hook| hook.lifecycle_transition.as_deref() == Some(TERMINATING))
            .filter_map(|hook| hook.lifecycle_hook_name)
            .collect();
        for instance in instances {
            let mut refused = None;
            let mut held = false;
            for hook in &names {
                let asked = self
                    .client
                    .record_lifecycle_action_heartbeat()
                    .auto_scaling_group_name(group.as_str())
                    .lifecycle_hook_name(hook)
                    .instance_id(instance.as_str());
                match self.change(asked.send()).await {
                    Ok(_) => held = true,
                    Err(fault) => refused = Some(fault),
                }
            }
            if let Some(fault) = refused.filter(|_| !held) {
                return Err(fault.error("autoscaling:RecordLifecycleActionHeartbeat"));
            }
        }
        Ok(())
    }
}
