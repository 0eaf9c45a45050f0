//! The strict fake behind the cloud seam. Its futures are ready at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use foreshadow_proto::convert::Id;
use planner::simulation::StrictCloud;
use planner::simulation::cloud::{self, CloudError, InstanceView, Member as CloudMember};

use crate::fleet::{
    Action, CLAIMED_TAG, Called, Fleet, FleetError, Found, GroupInventory, Inventory, Lifecycle, MINIMUM_TAG, Member,
    OWNER_TAG, Outside, Reach, RunState, Tags, Token,
};

/// `AttachInstances`, `DetachInstances`, `EnterStandby` and `ExitStandby` take this many ids.
const BATCH: usize = 20;
/// The tag by which a member shows its group.
const MEMBER_TAG: &str = "aws:autoscaling:groupName";

/// One account, at the time it is told.
#[derive(Debug)]
pub struct SimulatedFleet {
    groups: Vec<String>,
    state: Mutex<(StrictCloud, i64)>,
    /// What the clock of whoever describes is ahead of the cloud's, seconds.
    ahead: AtomicI64,
    /// Every other member is on a page that is lost.
    partial: AtomicBool,
    /// It knows no launch by a token: a raised minimum launches, and names nobody.
    by_size: bool,
}

impl SimulatedFleet {
    pub fn new(cloud: StrictCloud) -> Self {
        let groups = cloud.truth().groups.keys().cloned().collect();
        let now = cloud.clock();
        Self {
            groups,
            state: Mutex::new((cloud, now)),
            ahead: AtomicI64::new(0),
            partial: AtomicBool::new(false),
            by_size: false,
        }
    }

    /// As an AWS without `LaunchInstances`, or a group without a launch template.
    pub const fn launches_by_size(mut self) -> Self {
        self.by_size = true;
        self
    }

    fn state(&self) -> MutexGuard<'_, (StrictCloud, i64)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it is this time, seconds since the epoch.
    pub fn set_now(&self, now: i64) {
        let mut state = self.state();
        state.1 = now;
        state.0.advance(now);
    }

    /// From now on descriptions have lost a page, and say so.
    pub fn set_partial(&self, partial: bool) {
        self.partial.store(partial, Ordering::Relaxed);
    }

    /// Descriptions are stamped by a clock that is so far ahead, seconds.
    pub fn set_ahead(&self, ahead: i64) {
        self.ahead.store(ahead, Ordering::Relaxed);
    }

    /// Looks at, or changes, the account behind the seam.
    pub fn with<T>(&self, look: impl FnOnce(&mut StrictCloud) -> T) -> T {
        look(&mut self.state().0)
    }

    fn ask<T>(&self, call: impl FnOnce(&mut StrictCloud, i64) -> T) -> T {
        let mut state = self.state();
        let (cloud, now) = &mut *state;
        call(cloud, *now)
    }

    /// As on AWS: the user's own minimum is kept in a tag while ours is above it.
    fn floor(&self, group: &str, from: u32, to: u32) -> Called {
        let refused = |why: String| Called::Refused { why };
        let view = match self.ask(|cloud, now| cloud.describe(now, group, None)) {
            Ok(page) => page.group,
            Err(error) => return called(0, Err(error)).unwrap_or(Called::Unknown),
        };
        let own = own_minimum(&view.tags).unwrap_or(view.min);
        if view.min == to {
            return Called::Done { instances: Vec::new() };
        }
        if view.min != from || to > view.desired || to < own {
            return refused(format!(
                "a floor of {to}: it is {} now, {} are desired, {own} are the user's",
                view.min, view.desired
            ));
        }
        called(0, self.set_minimum(group, to, own)).unwrap_or(Called::Done { instances: Vec::new() })
    }

    /// The user's own minimum is safe before ours is set, and its tag goes after it.
    fn set_minimum(&self, group: &str, to: u32, own: u32) -> Result<(), CloudError> {
        self.ask(|cloud, now| {
            if to != own {
                cloud.tag(now, group, MINIMUM_TAG, Some(&own.to_string()))?;
            }
            cloud.set_minimum(now, group, to)?;
            if to == own { cloud.tag(now, group, MINIMUM_TAG, None) } else { Ok(()) }
        })
    }

    /// Raises the minimum to the size that is wanted.
    fn raise(&self, group: &str, size: u32) -> Called {
        let set = self.ask(|cloud, now| cloud.describe(now, group, None)).and_then(|page| {
            let own = own_minimum(&page.group.tags).unwrap_or(page.group.min);
            if page.group.min >= size { Ok(()) } else { self.set_minimum(group, size, own) }
        });
        called(0, set).unwrap_or(Called::Done { instances: Vec::new() })
    }

    /// Whom we take out may go below a minimum that is ours.
    fn lower(&self, group: &str, leaving: usize) -> Result<(), CloudError> {
        let view = self.ask(|cloud, now| cloud.describe(now, group, None))?.group;
        let left = view.desired.saturating_sub(u32::try_from(leaving).unwrap_or(u32::MAX));
        match own_minimum(&view.tags) {
            Some(own) if left < view.min => self.set_minimum(group, left.max(own), own),
            _ => Ok(()),
        }
    }

    fn instances(&self) -> Result<Vec<InstanceView>, FleetError> {
        let (mut found, mut token) = (Vec::new(), None::<String>);
        loop {
            let page = self.ask(|cloud, now| cloud.describe_instances(now, token.as_deref())).map_err(unreachable)?;
            found.extend(page.instances);
            match page.next_token {
                Some(next) => token = Some(next),
                None => return Ok(found),
            }
        }
    }
}

/// The user's own minimum, while ours is above it.
fn own_minimum(tags: &BTreeMap<String, String>) -> Option<u32> {
    tags.get(MINIMUM_TAG)?.parse().ok()
}

fn unreachable(error: CloudError) -> FleetError {
    FleetError::Unreachable { source_name: "simulated", problem: error.to_string() }
}

fn names(instances: &[Id]) -> Vec<String> {
    instances.iter().map(ToString::to_string).collect()
}

fn ids(names: &[String]) -> Vec<Id> {
    names.iter().filter_map(|name| Id::new("instance", name).ok()).collect()
}

fn member(member: &CloudMember) -> Option<Member> {
    Some(Member {
        instance: Id::new("instance", &member.id).ok()?,
        instance_type: None,
        zone: None,
        lifecycle: match member.lifecycle {
            cloud::Lifecycle::Pending => Lifecycle::Pending,
            cloud::Lifecycle::InService => Lifecycle::InService,
            cloud::Lifecycle::Detaching => Lifecycle::Detaching,
            cloud::Lifecycle::Detached => Lifecycle::Detached,
            cloud::Lifecycle::EnteringStandby | cloud::Lifecycle::Standby => Lifecycle::Standby,
            cloud::Lifecycle::Terminating | cloud::Lifecycle::Terminated => Lifecycle::Terminating,
        },
        protected: member.protected,
        version: Some(format!("v{}", member.template_version)),
        cpu_credits: None,
    })
}

fn outside(view: &InstanceView) -> Option<Outside> {
    let group = view.tags.get(MEMBER_TAG);
    Some(Outside {
        instance: Id::new("instance", &view.id).ok()?,
        state: match view.state {
            cloud::RunState::Running => RunState::Running,
            cloud::RunState::ShuttingDown | cloud::RunState::Terminated => RunState::Ended,
        },
        group: group.and_then(|name| Id::new("group", name).ok()),
        in_target_group: Some(group.is_some()),
        protected: false,
        tags: view.tags.clone(),
    })
}

/// What a batch came to; a later one that fails leaves it open what was done.
fn called(batch: usize, result: Result<(), CloudError>) -> Option<Called> {
    match result {
        Ok(()) => None,
        Err(_) if batch > 0 => Some(Called::Unknown),
        // An HTTP 500 on AWS, and nothing was done.
        Err(CloudError::Throttled) => Some(Called::Throttled),
        // As on AWS, where nobody can tell what was done of it.
        Err(CloudError::Refused { code: "ResourceContention", .. }) => Some(Called::Unknown),
        Err(CloudError::Refused { code, message }) => Some(Called::Refused { why: format!("{code}: {message}") }),
        Err(CloudError::Unknown) => Some(Called::Unknown),
    }
}

#[async_trait]
impl Fleet for SimulatedFleet {
    async fn describe(&self) -> Result<Inventory, FleetError> {
        let taken_micros = (self.ask(|_, now| now) + self.ahead.load(Ordering::Relaxed)) * 1_000_000;
        let mut inventory = Inventory { taken_micros, complete: true, ..Inventory::default() };
        for name in &self.groups {
            let (mut members, mut token) = (Vec::new(), None::<String>);
            let view = loop {
                let page = self.ask(|cloud, now| cloud.describe(now, name, token.as_deref())).map_err(unreachable)?;
                members.extend(page.members.iter().filter_map(member));
                match page.next_token {
                    Some(next) => token = Some(next),
                    None => break page.group,
                }
            };
            if self.partial.load(Ordering::Relaxed) {
                inventory.complete = false;
                let mut shown = 0..;
                members.retain(|_| shown.next().is_some_and(|number: usize| number.is_multiple_of(2)));
            }
            let Ok(group) = Id::new("group", name) else { continue };
            let found = GroupInventory {
                minimum: own_minimum(&view.tags).unwrap_or(view.min),
                floor: Some(view.min),
                maximum: view.max,
                desired: view.desired,
                members,
                foreign_scale_in: view.tracking_scales_in,
                deregistration_seconds: None,
                deploying: false,
                untold: false,
                version: Some(format!("v{}", view.template_version)),
                zones: Vec::new(),
                evens_zones: false,
                termination: Vec::new(),
                owner: view.tags.get(OWNER_TAG).cloned(),
                claimed: view.tags.get(CLAIMED_TAG).and_then(|at| at.parse().ok()),
            };
            inventory.groups.insert(group, found);
        }
        Ok(inventory)
    }

    fn name(&self) -> &'static str {
        "simulated"
    }

    fn reach(&self) -> Reach {
        Reach::Cloud
    }

    async fn outside(&self, _group: &Id, instances: &[Id]) -> Result<Vec<Outside>, FleetError> {
        let views = self.instances()?;
        let unknown = |instance: &Id| Outside {
            instance: instance.clone(),
            state: RunState::Unknown,
            group: None,
            in_target_group: None,
            protected: false,
            tags: BTreeMap::new(),
        };
        let of = |instance: &Id| views.iter().find(|view| view.id == instance.as_str()).and_then(outside);
        Ok(instances.iter().map(|instance| of(instance).unwrap_or_else(|| unknown(instance))).collect())
    }

    async fn call(&self, group: &Id, action: &Action, token: &Token) -> Called {
        let group = group.as_str();
        let instances = action.instances();
        if let Action::Launch { size, .. } = action
            && self.by_size
        {
            return self.raise(group, *size);
        }
        if let Action::Launch { count, .. } = action {
            return match self.ask(|cloud, now| cloud.launch(now, group, *count, Some(token.as_str()))) {
                Ok(launched) if launched.ids.is_empty() => Called::Refused { why: launched.errors.join(", ") },
                Ok(launched) => Called::Done { instances: ids(&launched.ids) },
                Err(error) => called(0, Err(error)).unwrap_or(Called::Unknown),
            };
        }
        if let Action::Floor { from, to } = action {
            return self.floor(group, *from, *to);
        }
        if self.by_size
            && action.takes_out()
            && let Some(failed) = called(0, self.lower(group, instances.len()))
        {
            return failed;
        }
        for (number, batch) in instances.chunks(BATCH).enumerate() {
            let batch = names(batch);
            let result = self.ask(|cloud, now| match action {
                Action::Attach { .. } => cloud.attach(now, group, &batch),
                Action::Detach { .. } => cloud.detach(now, group, &batch, true),
                Action::EnterStandby { .. } => cloud.enter_standby(now, group, &batch, true),
                Action::ExitStandby { .. } => cloud.exit_standby(now, group, &batch),
                Action::Leave { .. } => cloud.detach(now, group, &batch, false),
                _ => cloud.terminate(now, &batch),
            });
            if let Some(failed) = called(number, result) {
                return failed;
            }
        }
        Called::Done { instances: instances.to_vec() }
    }

    async fn outcome(&self, group: &Id, action: &Action, _token: &Token) -> Found {
        let instances = action.instances();
        let all = |count: usize| match count {
            0 => Found::NotDone,
            count if count == instances.len() => Found::Done { instances: instances.to_vec() },
            _ => Found::NotYet,
        };
        match action {
            Action::Launch { size, .. } if self.by_size => {
                match self.ask(|cloud, now| cloud.describe(now, group.as_str(), None)) {
                    Ok(page) if page.group.min >= *size => Found::Done { instances: Vec::new() },
                    Ok(_) => Found::NotDone,
                    Err(_) => Found::NotYet,
                }
            }
            Action::Launch { .. } => Found::NotDone,
            Action::Floor { to, .. } => match self.ask(|cloud, now| cloud.describe(now, group.as_str(), None)) {
                Ok(page) if page.group.min == *to => Found::Done { instances: Vec::new() },
                Ok(_) => Found::NotDone,
                Err(_) => Found::NotYet,
            },
            Action::Terminate { .. } => match self.outside(group, instances).await {
                Ok(shown) => all(shown.iter().filter(|it| matches!(it.state, RunState::Ended)).count()),
                Err(_) => Found::NotYet,
            },
            Action::EnterStandby { .. } | Action::ExitStandby { .. } => {
                let Ok(inventory) = self.describe().await else { return Found::NotYet };
                let Some(found) = inventory.groups.get(group) else { return Found::NotYet };
                let enters = matches!(action, Action::EnterStandby { .. });
                let there = |member: &Member| match member.lifecycle {
                    Lifecycle::Standby => enters,
                    Lifecycle::Pending | Lifecycle::InService => !enters,
                    _ => false,
                };
                let there = found.members.iter().filter(|member| instances.contains(&member.instance) && there(member));
                all(there.count())
            }
            Action::Attach { .. } | Action::Detach { .. } | Action::Leave { .. } => {
                let Ok(inventory) = self.describe().await else { return Found::NotYet };
                let Some(found) = inventory.groups.get(group) else { return Found::NotYet };
                let leaves = |it: &Lifecycle| matches!(it, Lifecycle::Detaching | Lifecycle::Detached);
                let inside = |instance: &&Id| {
                    found.members.iter().any(|member| member.instance == **instance && !leaves(&member.lifecycle))
                };
                let inside = instances.iter().filter(inside).count();
                all(if matches!(action, Action::Attach { .. }) { inside } else { instances.len() - inside })
            }
        }
    }

    async fn tag(&self, instances: &[Id], tags: &Tags) -> Result<(), FleetError> {
        for instance in instances {
            for (key, value) in tags {
                let set = self.ask(|cloud, now| cloud.tag(now, instance.as_str(), key, value.as_deref()));
                set.map_err(unreachable)?;
            }
        }
        Ok(())
    }

    async fn tag_group(&self, group: &Id, tags: &Tags) -> Result<(), FleetError> {
        self.tag(std::slice::from_ref(group), tags).await
    }

    async fn tagged(&self, tag: &str) -> Result<Vec<Outside>, FleetError> {
        Ok(self.instances()?.iter().filter(|view| view.tags.contains_key(tag)).filter_map(outside).collect())
    }
}
