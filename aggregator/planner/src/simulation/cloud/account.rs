//! What there is in the account: the ground truth that descriptions lag behind.

use std::collections::BTreeMap;

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lifecycle {
    /// In the group, starting or not yet healthy at the load balancer.
    Pending,
    InService,
    /// Leaving the group: the deregistration delay is not over.
    Detaching,
    /// Runs, and is billed, outside any group.
    Detached,
    EnteringStandby,
    /// In the group, out of the load balancer, not counted in the desired capacity.
    Standby,
    Terminating,
    Terminated,
}

impl Lifecycle {
    /// The provider counts it against the desired capacity.
    pub const fn counts(self) -> bool {
        matches!(self, Self::Pending | Self::InService)
    }

    /// It runs and costs.
    pub const fn is_live(self) -> bool {
        !matches!(self, Self::Terminated)
    }
}

/// The account at one time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Account {
    pub groups: BTreeMap<String, Group>,
    /// By id. Terminated ones stay for an hour, as in EC2.
    pub instances: BTreeMap<String, Instance>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    pub min: u32,
    pub max: u32,
    pub desired: u32,
    pub template_version: u32,
    /// The provider's own policy would scale in.
    pub tracking_scales_in: bool,
    pub tags: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    pub id: String,
    /// Counts from 1 in the order of launch; its start-up time and spread follow from it and the seed.
    pub number: u64,
    /// The group it was launched in.
    pub home: String,
    /// The group it is in now.
    pub group: Option<String>,
    pub lifecycle: Lifecycle,
    /// Since when it is in this state.
    pub since: i64,
    /// When it leaves this state by itself.
    pub until: Option<i64>,
    pub launched_at: i64,
    /// It has been in service before: pending again, it only waits for the load balancer.
    pub has_served: bool,
    pub template_version: u32,
    pub protected: bool,
    pub tags: BTreeMap<String, String>,
}

impl Account {
    /// Members of a group, in every state.
    pub fn members<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a Instance> {
        self.instances.values().filter(move |instance| instance.group.as_deref() == Some(group))
    }

    pub fn count(&self, group: &str, lifecycle: Lifecycle) -> u32 {
        number(self.members(group).filter(|instance| instance.lifecycle == lifecycle).count())
    }

    /// Pending and in service: what the provider holds against the desired capacity.
    pub fn counted(&self, group: &str) -> u32 {
        number(self.members(group).filter(|instance| instance.lifecycle.counts()).count())
    }

    /// Instances that run and cost, of any group or none.
    pub fn live(&self) -> u32 {
        number(self.instances.values().filter(|instance| instance.lifecycle.is_live()).count())
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
