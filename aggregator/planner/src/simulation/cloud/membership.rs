//! Calls that name instances: attach, detach, standby, terminate, protect, tag. Each is all or
//! nothing: when one instance is refused, nothing is done to any.

use std::collections::BTreeSet;

use super::account::{Instance, Lifecycle};
use super::fault::{Call, CloudError, invalid, refused};
use super::record::Effect;
use super::{Done, Request, StrictCloud};

/// Attach, detach and standby take at most this many ids.
const MEMBERSHIP_LIMIT: usize = 20;
/// `TerminateInstanceInAutoScalingGroup` takes at most this many.
const TERMINATE_LIMIT: usize = 100;
/// `SetInstanceProtection` takes at most this many.
const PROTECTION_LIMIT: usize = 50;

impl StrictCloud {
    /// `AttachInstances`: running instances outside any group. The desired capacity grows by their
    /// number and must stay within `MaxSize`; they take on the group's protection setting and are
    /// in service once the load balancer finds them healthy.
    pub fn attach(&mut self, now: i64, group: &str, ids: &[String]) -> Result<(), CloudError> {
        let request = Request { call: Call::Attach, group: Some(group), token: None, ids };
        self.change(now, request, |cloud, _| {
            cloud.group(group)?;
            let instances = cloud.named(ids, MEMBERSHIP_LIMIT)?;
            if let Some(instance) = instances.iter().find(|it| it.lifecycle != Lifecycle::Detached) {
                return invalid(format!("instance {} is in a group or not running", instance.id));
            }
            cloud.make_room(group, ids.len())?;
            let protected = cloud.group_config(group).is_some_and(|config| config.protect_new);
            for instance in instances {
                if let Some(instance) = cloud.account_mut().instances.get_mut(&instance.id) {
                    instance.group = Some(group.to_owned());
                    instance.protected = protected;
                }
                cloud.register(&instance);
            }
            Ok(Done::applied((), ids))
        })
    }

    /// `DetachInstances`: members in service or in standby leave the load balancer and, when the
    /// deregistration delay is over, the group; they run on. With `decrement` the desired capacity
    /// shrinks by their number and must stay at or above `MinSize`; without, they are replaced.
    ///
    /// Detaching from standby with `decrement` lowers the desired capacity a second time, and the
    /// provider then ends other instances: AWS allows it, and so does this.
    pub fn detach(&mut self, now: i64, group: &str, ids: &[String], decrement: bool) -> Result<(), CloudError> {
        let request = Request { call: Call::Detach, group: Some(group), token: None, ids };
        self.change(now, request, |cloud, _| {
            let instances = cloud.members_named(group, ids, MEMBERSHIP_LIMIT)?;
            let fit = |it: &Instance| matches!(it.lifecycle, Lifecycle::InService | Lifecycle::Standby);
            if let Some(instance) = instances.iter().find(|it| !fit(it)) {
                return invalid(format!("instance {} is not in InService or Standby", instance.id));
            }
            cloud.shrink(group, ids.len(), decrement)?;
            for instance in instances {
                // One in standby has left the load balancer long ago.
                let serves = instance.lifecycle == Lifecycle::InService;
                let stay = if serves { cloud.config.deregistration_seconds } else { 1 };
                cloud.set_lifecycle(&instance.id, Lifecycle::Detaching, Some(stay));
            }
            Ok(Done::applied((), ids))
        })
    }

    /// `EnterStandby`: members in service stay in the group, out of the load balancer. Bounds as in
    /// [`detach`](Self::detach).
    pub fn enter_standby(&mut self, now: i64, group: &str, ids: &[String], decrement: bool) -> Result<(), CloudError> {
        let request = Request { call: Call::EnterStandby, group: Some(group), token: None, ids };
        self.change(now, request, |cloud, _| {
            let instances = cloud.members_named(group, ids, MEMBERSHIP_LIMIT)?;
            if let Some(instance) = instances.iter().find(|it| it.lifecycle != Lifecycle::InService) {
                return invalid(format!("instance {} is not in InService", instance.id));
            }
            cloud.shrink(group, ids.len(), decrement)?;
            for id in ids {
                cloud.set_lifecycle(id, Lifecycle::EnteringStandby, Some(cloud.config.deregistration_seconds));
            }
            Ok(Done::applied((), ids))
        })
    }

    /// `ExitStandby`: back to the load balancer; the desired capacity grows and must stay within `MaxSize`.
    pub fn exit_standby(&mut self, now: i64, group: &str, ids: &[String]) -> Result<(), CloudError> {
        let request = Request { call: Call::ExitStandby, group: Some(group), token: None, ids };
        self.change(now, request, |cloud, _| {
            let instances = cloud.members_named(group, ids, MEMBERSHIP_LIMIT)?;
            if let Some(instance) = instances.iter().find(|it| it.lifecycle != Lifecycle::Standby) {
                return invalid(format!("instance {} is not in Standby", instance.id));
            }
            cloud.make_room(group, ids.len())?;
            for instance in &instances {
                cloud.register(instance);
            }
            Ok(Done::applied((), ids))
        })
    }

    /// `TerminateInstanceInAutoScalingGroup`: members are drained, then ended. With `decrement` the
    /// desired capacity shrinks and must stay at or above `MinSize`; without, they are replaced.
    /// One already ending is left alone and not counted again; one that left the group is unknown.
    /// Protection is from scale-in only: it does not stop a call that names the instance.
    pub fn terminate_in_group(
        &mut self,
        now: i64,
        group: &str,
        ids: &[String],
        decrement: bool,
    ) -> Result<(), CloudError> {
        let request = Request { call: Call::TerminateInGroup, group: Some(group), token: None, ids };
        self.change(now, request, |cloud, _| {
            let instances = cloud.members_named(group, ids, TERMINATE_LIMIT)?;
            let to_end = |it: &Instance| it.lifecycle != Lifecycle::Terminating;
            let ending: Vec<String> = instances.into_iter().filter(to_end).map(|it| it.id).collect();
            if ending.is_empty() {
                return Ok(Done { answer: (), ids: ids.to_vec(), effect: Effect::Unchanged });
            }
            cloud.shrink(group, ending.len(), decrement)?;
            for id in &ending {
                cloud.end(id, true);
            }
            Ok(Done::applied((), &ending))
        })
    }

    /// `ec2:TerminateInstances`: any instance, at once, whatever the group's `MinSize`; a group it
    /// was in replaces it. Idempotent for as long as EC2 still shows the instance.
    pub fn terminate(&mut self, now: i64, ids: &[String]) -> Result<(), CloudError> {
        let request = Request { call: Call::Terminate, group: None, token: None, ids };
        self.change(now, request, |cloud, _| {
            if let Some(id) = ids.iter().find(|id| !cloud.account.instances.contains_key(*id)) {
                return refused("InvalidInstanceID.NotFound", format!("the instance ID '{id}' does not exist"));
            }
            let instances = cloud.named(ids, usize::MAX)?;
            let over = |it: &Instance| matches!(it.lifecycle, Lifecycle::Terminating | Lifecycle::Terminated);
            let mut ended = Vec::new();
            for instance in instances.into_iter().filter(|it| !over(it)) {
                cloud.end(&instance.id, false);
                cloud.notice(instance.group.as_deref().unwrap_or_default());
                ended.push(instance.id);
            }
            let effect = if ended.is_empty() { Effect::Unchanged } else { Effect::Applied };
            Ok(Done { answer: (), ids: if ended.is_empty() { ids.to_vec() } else { ended }, effect })
        })
    }

    /// `SetInstanceProtection` of members.
    pub fn set_protection(&mut self, now: i64, group: &str, ids: &[String], on: bool) -> Result<(), CloudError> {
        let request = Request { call: Call::SetProtection, group: Some(group), token: None, ids };
        self.change(now, request, |cloud, _| {
            for instance in cloud.members_named(group, ids, PROTECTION_LIMIT)? {
                if let Some(instance) = cloud.account_mut().instances.get_mut(&instance.id) {
                    instance.protected = on;
                }
            }
            cloud.notice(group);
            Ok(Done::applied((), ids))
        })
    }

    /// Sets a tag of an instance (`i-…`) or a group, or takes it away with `None`. Both are
    /// idempotent; a key that begins with `aws:` is the provider's own.
    pub fn tag(&mut self, now: i64, resource: &str, key: &str, value: Option<&str>) -> Result<(), CloudError> {
        let ids = [resource.to_owned()];
        let request = Request { call: Call::Tag, group: None, token: None, ids: &ids };
        self.change(now, request, |cloud, _| {
            if key.starts_with("aws:") {
                return refused("InvalidParameterValue", "tag keys starting with 'aws:' are reserved");
            }
            let account = cloud.account_mut();
            let tags = match account.instances.get_mut(resource) {
                Some(it) if it.lifecycle != Lifecycle::Terminated => Some(&mut it.tags),
                _ => account.groups.get_mut(resource).map(|group| &mut group.tags),
            };
            let Some(tags) = tags else {
                return refused("InvalidInstanceID.NotFound", format!("'{resource}' does not exist"));
            };
            let before = match value {
                Some(value) => tags.insert(key.to_owned(), value.to_owned()),
                None => tags.remove(key),
            };
            let effect = if before.as_deref() == value { Effect::Unchanged } else { Effect::Applied };
            Ok(Done { answer: (), ids: ids.to_vec(), effect })
        })
    }

    /// A deploy: instances launched from now on have this launch-template version.
    pub fn deploy(&mut self, now: i64, group: &str, template_version: u32) -> Result<(), CloudError> {
        let request = Request { call: Call::Deploy, group: Some(group), token: None, ids: &[] };
        self.change(now, request, |cloud, _| {
            cloud.group(group)?;
            if let Some(group) = cloud.account_mut().groups.get_mut(group) {
                group.template_version = template_version;
            }
            Ok(Done::applied((), &[]))
        })
    }

    /// The instances a call names: at least one, not too many, each once, each there.
    fn named(&self, ids: &[String], limit: usize) -> Result<Vec<Instance>, CloudError> {
        if ids.is_empty() || ids.len() > limit {
            return invalid(format!("{} instance ids, of 1 to {limit}", ids.len()));
        }
        if ids.iter().collect::<BTreeSet<_>>().len() < ids.len() {
            return invalid("an instance id is named twice");
        }
        let found: Vec<Instance> = ids.iter().filter_map(|id| self.account.instances.get(id)).cloned().collect();
        if found.len() < ids.len() {
            return invalid(format!("invalid instance ids among {ids:?}"));
        }
        Ok(found)
    }

    fn members_named(&self, group: &str, ids: &[String], limit: usize) -> Result<Vec<Instance>, CloudError> {
        self.group(group)?;
        let instances = self.named(ids, limit)?;
        match instances.iter().find(|instance| instance.group.as_deref() != Some(group)) {
            Some(instance) => {
                invalid(format!("the instance {} is not part of Auto Scaling group {group}", instance.id))
            }
            None => Ok(instances),
        }
    }

    /// Raises the desired capacity, within `MaxSize`. Instances that are there count even when the
    /// desired capacity has already been lowered below them.
    fn make_room(&mut self, group: &str, count: usize) -> Result<(), CloudError> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let counted = self.account.counted(group);
        let Some(state) = self.account_mut().groups.get_mut(group) else { return invalid("no such group") };
        let (desired, max) = (state.desired, state.max);
        if desired.max(counted).saturating_add(count) > max {
            return invalid(format!("max-size={max}, desired-size={desired}: no room for {count} more"));
        }
        state.desired += count;
        self.notice(group);
        Ok(())
    }

    /// Lowers the desired capacity when asked to, never below `MinSize`; the provider sees to the rest.
    fn shrink(&mut self, group: &str, count: usize, decrement: bool) -> Result<(), CloudError> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let Some(state) = self.account_mut().groups.get_mut(group) else { return invalid("no such group") };
        let (min, desired) = (state.min, state.desired);
        if decrement {
            let Some(lower) = desired.checked_sub(count).filter(|lower| *lower >= min) else {
                return invalid(format!(
                    "min-size={min}, desired-size={desired}: {count} fewer would violate min-size"
                ));
            };
            state.desired = lower;
        }
        self.notice(group);
        Ok(())
    }

    /// Waits for the load balancer to find a running instance healthy.
    fn register(&mut self, instance: &Instance) {
        let stay = self.start_up(instance.number, self.config.attach_seconds);
        self.set_lifecycle(&instance.id, Lifecycle::Pending, Some(stay));
    }
}
