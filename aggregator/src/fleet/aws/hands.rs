//! Moving instances in and out of their group or of service, and ending them. Always by id.

use std::collections::BTreeSet;

use aws_sdk_autoscaling::types::{AutoScalingGroup, Tag};
use foreshadow_proto::convert::Id;

use super::AwsFleet;
use super::describe::{lifecycle, own_minimum, size};
use super::fault::Fault;
use super::zones;
use crate::fleet::{Called, Lifecycle, MINIMUM_TAG};

/// AttachInstances, DetachInstances, EnterStandby and ExitStandby take at most this many ids.
const MOVED_PER_CALL: usize = 20;
/// TerminateInstances takes 1000; few, so that one id it does not like holds up few others.
const ENDED_PER_CALL: usize = 50;

/// Whereto an instance goes out of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Out {
    Detached,
    Standby,
}

impl AwsFleet {
    pub(super) async fn attach(&self, group: &Id, instances: &[Id]) -> Called {
        let instances = distinct(instances);
        if instances.is_empty() {
            return Called::Done { instances };
        }
        let state = match self.present(group).await {
            Ok(state) => state,
            Err(called) => return called,
        };
        if let Some(member) = instances.iter().find(|instance| place(&state, instance).is_some()) {
            return Called::Refused { why: format!("{member} is in the group already") };
        }
        if let Err(called) = has_room(&state, &instances) {
            return called;
        }
        match self.unfit_to_attach(&state, &instances).await {
            Ok(None) => {}
            Ok(Some(why)) => return Called::Refused { why },
            Err(called) => return called,
        }
        for (batch, ids) in instances.chunks(MOVED_PER_CALL).enumerate() {
            let asked = self.client.attach_instances().auto_scaling_group_name(group.as_str());
            if let Err(fault) = self.change(asked.set_instance_ids(Some(words(ids))).send()).await {
                return broken_off(batch, &fault, "autoscaling:AttachInstances");
            }
        }
        Called::Done { instances }
    }

    /// From standby back into service.
    pub(super) async fn exit_standby(&self, group: &Id, instances: &[Id]) -> Called {
        let instances = distinct(instances);
        let state = match self.all_stand_by(group, &instances).await {
            Ok(Some(state)) => state,
            Ok(None) => return Called::Done { instances },
            Err(called) => return called,
        };
        if let Err(called) = has_room(&state, &instances) {
            return called;
        }
        for (batch, ids) in instances.chunks(MOVED_PER_CALL).enumerate() {
            let asked = self.client.exit_standby().auto_scaling_group_name(group.as_str());
            if let Err(fault) = self.change(asked.set_instance_ids(Some(words(ids))).send()).await {
                return broken_off(batch, &fault, "autoscaling:ExitStandby");
            }
        }
        Called::Done { instances }
    }

    /// From standby out of the group. The desired capacity was lowered when they went into standby: lowered
    /// once more it would end others.
    pub(super) async fn leave(&self, group: &Id, instances: &[Id]) -> Called {
        let instances = distinct(instances);
        match self.all_stand_by(group, &instances).await {
            Ok(Some(_)) => {}
            Ok(None) => return Called::Done { instances },
            Err(called) => return called,
        }
        for (batch, ids) in instances.chunks(MOVED_PER_CALL).enumerate() {
            let asked = self.client.detach_instances().auto_scaling_group_name(group.as_str());
            let asked = asked.set_instance_ids(Some(words(ids))).should_decrement_desired_capacity(false);
            if let Err(fault) = self.change(asked.send()).await {
                return broken_off(batch, &fault, "autoscaling:DetachInstances");
            }
        }
        Called::Done { instances }
    }

    /// The group, when each of these stands by in it; nothing for nobody.
    async fn all_stand_by(&self, group: &Id, instances: &[Id]) -> Result<Option<AutoScalingGroup>, Called> {
        if instances.is_empty() {
            return Ok(None);
        }
        let state = self.present(group).await?;
        for instance in instances {
            let why = match place(&state, instance) {
                Some(Lifecycle::Standby) => continue,
                Some(other) => format!("{instance} is {other:?}, not in standby: nothing was changed"),
                None => format!("{instance} is not in the group: nothing was changed"),
            };
            return Err(Called::Refused { why });
        }
        Ok(Some(state))
    }

    /// Out of service and out of the desired capacity.
    pub(super) async fn take_out(&self, group: &Id, instances: &[Id], out: Out) -> Called {
        let instances = distinct(instances);
        if instances.is_empty() {
            return Called::Done { instances };
        }
        let state = match self.present(group).await {
            Ok(state) => state,
            Err(called) => return called,
        };
        for instance in &instances {
            // In standby the capacity was lowered before: lowered once more it would end another.
            let why = match place(&state, instance) {
                Some(Lifecycle::InService) => continue,
                Some(other) => format!("{instance} is {other:?}, not InService: nothing was detached"),
                None => format!("{instance} is not in the group: nothing was detached"),
            };
            return Called::Refused { why };
        }
        if let Some(why) = zones::uneven_without(&state, &instances) {
            return Called::Refused { why };
        }
        if let Err(called) = self.make_room(group, &state, many(&instances)).await {
            return called;
        }
        for (batch, ids) in instances.chunks(MOVED_PER_CALL).enumerate() {
            let failed = match out {
                Out::Detached => {
                    let asked = self.client.detach_instances().auto_scaling_group_name(group.as_str());
                    let asked = asked.set_instance_ids(Some(words(ids))).should_decrement_desired_capacity(true);
                    self.change(asked.send()).await.err().map(|fault| (fault, "autoscaling:DetachInstances"))
                }
                Out::Standby => {
                    let asked = self.client.enter_standby().auto_scaling_group_name(group.as_str());
                    let asked = asked.set_instance_ids(Some(words(ids))).should_decrement_desired_capacity(true);
                    self.change(asked.send()).await.err().map(|fault| (fault, "autoscaling:EnterStandby"))
                }
            };
            if let Some((fault, permission)) = failed {
                return broken_off(batch, &fault, permission);
            }
        }
        Called::Done { instances }
    }

    /// Lowers a MinSize that we raised, never below the user's own; where it is back there, the tag goes.
    async fn make_room(&self, group: &Id, state: &AutoScalingGroup, leaving: u32) -> Result<(), Called> {
        let minimum = size(state.min_size);
        let own = own_minimum(state);
        let floor = own.unwrap_or(minimum);
        let left = size(state.desired_capacity).checked_sub(leaving).filter(|left| *left >= floor);
        let Some(left) = left else {
            let why = format!("{leaving} fewer would leave the group below its MinSize {floor}: nothing was detached");
            return Err(Called::Refused { why });
        };
        if left >= minimum {
            return Ok(());
        }
        if left != floor {
            self.keep_minimum(group, state, left).await?;
        }
        // Whatever came of it, nothing was detached.
        self.set_minimum(group, left, floor).await.map_err(|fault| fault.before("autoscaling:UpdateAutoScalingGroup"))
    }

    /// How low target tracking may scale in: MinSize, with the user's own in a tag while it is above that. Never above the desired
    /// capacity, which would launch.
    pub(super) async fn floor(&self, group: &Id, from: u32, to: u32) -> Called {
        let state = match self.present(group).await {
            Ok(state) => state,
            Err(called) => return called,
        };
        let (minimum, desired) = (size(state.min_size), size(state.desired_capacity));
        if minimum == to {
            return Called::Done { instances: Vec::new() };
        }
        let own = own_minimum(&state);
        let refused = |why: String| Called::Refused { why: format!("{why}: MinSize was left as it is") };
        if minimum != from {
            return refused(format!("MinSize is {minimum} by now, not {from}"));
        }
        if to > desired {
            return refused(format!("{to} is above the desired capacity {desired} and would launch"));
        }
        if to < own.unwrap_or(minimum) {
            return refused(format!("{to} is below the MinSize {} that the group was given", own.unwrap_or(minimum)));
        }
        if own != Some(to)
            && let Err(called) = self.keep_minimum(group, &state, to).await
        {
            return called;
        }
        match self.set_minimum(group, to, own.unwrap_or(minimum)).await {
            Ok(()) => Called::Done { instances: Vec::new() },
            Err(fault) => fault.called("autoscaling:UpdateAutoScalingGroup"),
        }
    }

    /// Sets MinSize; where it is the user's own again, its tag goes.
    async fn set_minimum(&self, group: &Id, to: u32, own: u32) -> Result<(), Fault> {
        let wanted = i32::try_from(to).unwrap_or(i32::MAX);
        let asked = self.client.update_auto_scaling_group().auto_scaling_group_name(group.as_str()).min_size(wanted);
        self.change(asked.send()).await?;
        if to == own {
            let kept = Tag::builder().resource_id(group.as_str()).resource_type("auto-scaling-group").key(MINIMUM_TAG);
            if let Err(fault) = self.change(self.client.delete_tags().tags(kept.build()).send()).await {
                // It is not below MinSize any more, so it says nothing.
                tracing::warn!(%group, %fault, "the tag {MINIMUM_TAG} could not be removed");
            }
        }
        Ok(())
    }

    pub(super) async fn terminate(&self, instances: &[Id]) -> Called {
        let instances = distinct(instances);
        match self.memberships(&instances).await {
            Err(fault) => return fault.before("autoscaling:DescribeAutoScalingInstances"),
            Ok(groups) => {
                if let Some((member, group)) = groups.first_key_value() {
                    let why = format!("{member} is in the group {group}: nothing was terminated");
                    return Called::Refused { why };
                }
            }
        }
        for (batch, ids) in instances.chunks(ENDED_PER_CALL).enumerate() {
            match self.query.terminate(ids).await {
                Ok(()) => {}
                // With a protected one among them EC2 ends those in other zones all the same.
                Err(fault) if ids.len() > 1 && fault.code() == Some("OperationNotPermitted") => return Called::Unknown,
                Err(fault) => return broken_off(batch, &fault, "ec2:TerminateInstances"),
            }
        }
        Called::Done { instances }
    }
}

/// Attaching and leaving standby raise the desired capacity.
fn has_room(state: &AutoScalingGroup, instances: &[Id]) -> Result<(), Called> {
    let (desired, maximum) = (size(state.desired_capacity), size(state.max_size));
    if desired.saturating_add(many(instances)) > maximum {
        let why = format!("{} more than {desired} is above the group's MaxSize {maximum}", instances.len());
        return Err(Called::Refused { why });
    }
    Ok(())
}

/// A batch failed; after an earlier one went through it is not known how far the change came.
fn broken_off(batch: usize, fault: &Fault, permission: &str) -> Called {
    if batch == 0 { fault.called(permission) } else { Called::Unknown }
}

/// Where an instance stands in a group that was described.
pub(super) fn place(group: &AutoScalingGroup, instance: &Id) -> Option<Lifecycle> {
    let members = group.instances.as_deref().unwrap_or_default();
    members.iter().find(|member| member.instance_id.as_deref() == Some(instance.as_str())).map(lifecycle)
}

/// Each once, in the given order: a batch that names one twice is refused.
fn distinct(instances: &[Id]) -> Vec<Id> {
    let mut seen = BTreeSet::new();
    instances.iter().filter(|instance| seen.insert(*instance)).cloned().collect()
}

fn many(instances: &[Id]) -> u32 {
    u32::try_from(instances.len()).unwrap_or(u32::MAX)
}

pub(super) fn words(instances: &[Id]) -> Vec<String> {
    instances.iter().map(|instance| instance.as_str().to_owned()).collect()
}
