//! Descriptions: a page at a time, each as old as the seed says, and any of them may fail.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::account::{Account, Instance, Lifecycle};
use super::fault::{Call, CloudError, Fault, invalid, refused};
use super::{Group, StrictCloud};

/// The tag by which a member shows its group; the provider sets and removes it.
const GROUP_TAG: &str = "aws:autoscaling:groupName";

/// One page of a group and its members.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupPage {
    pub group: GroupView,
    pub members: Vec<Member>,
    /// There are more members: ask again with this.
    pub next_token: Option<String>,
}

/// A group as `DescribeAutoScalingGroups` shows it.
pub type GroupView = Group;

/// A member as `DescribeAutoScalingInstances` shows it: without tags, and gone once it is detached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub id: String,
    pub lifecycle: Lifecycle,
    pub protected: bool,
    pub template_version: u32,
}

/// One page of the account's instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstancePage {
    pub instances: Vec<InstanceView>,
    pub next_token: Option<String>,
}

/// What `ec2:DescribeInstances` says of an instance's state; it knows nothing of groups but the tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    Running,
    ShuttingDown,
    Terminated,
}

/// An instance as `ec2:DescribeInstances` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceView {
    pub id: String,
    pub state: RunState,
    pub launched_at: i64,
    pub template_version: u32,
    /// With `aws:autoscaling:groupName` while it is in a group.
    pub tags: BTreeMap<String, String>,
}

impl StrictCloud {
    /// The group and one page of its members. Every page has an age of its own, up to `lag_seconds`:
    /// an instance that moves between two pages may be missing from both, or an older state may
    /// follow a newer one.
    pub fn describe(&mut self, now: i64, group: &str, next_token: Option<&str>) -> Result<GroupPage, CloudError> {
        let account = self.look(now, Call::DescribeGroup)?;
        let Some(view) = account.groups.get(group) else {
            return invalid(format!("no such group: {group}"));
        };
        let (page, next_token) = self.page(&account, next_token, |it| it.group.as_deref() == Some(group))?;
        let members = page
            .into_iter()
            .map(|it| Member {
                id: it.id.clone(),
                lifecycle: it.lifecycle,
                protected: it.protected,
                template_version: it.template_version,
            })
            .collect();
        Ok(GroupPage { group: view.clone(), members, next_token })
    }

    /// One page of all instances of the account, in groups or not; terminated ones for an hour.
    pub fn describe_instances(&mut self, now: i64, next_token: Option<&str>) -> Result<InstancePage, CloudError> {
        let account = self.look(now, Call::DescribeInstances)?;
        let (page, next_token) = self.page(&account, next_token, |_| true)?;
        Ok(InstancePage { instances: page.into_iter().map(view).collect(), next_token })
    }

    /// The account as this description sees it.
    fn look(&mut self, now: i64, call: Call) -> Result<Arc<Account>, CloudError> {
        self.advance(now);
        self.described += 1;
        let chance = self.ages.uniform();
        match self.faults.draw(call) {
            Some(Fault::Throttled) => return Err(CloudError::Throttled),
            Some(Fault::Contention | Fault::LostRequest | Fault::LostAnswer) => return Err(CloudError::Unknown),
            Some(Fault::InsufficientCapacity(_)) | None => {}
        }
        #[allow(clippy::cast_precision_loss, reason = "seconds")]
        let age = (chance * (self.config.lag_seconds + 1) as f64) as i64;
        let seen = self.clock - age;
        let held = self.history.iter().rev().find(|(since, _)| *since <= seen).or_else(|| self.history.front());
        Ok(held.map_or_else(|| Arc::clone(&self.account), |(_, account)| Arc::clone(account)))
    }

    /// A page in the order of ids, and the token of the next one: the last id of this one.
    fn page<'a>(
        &self,
        account: &'a Account,
        next_token: Option<&str>,
        wanted: impl Fn(&Instance) -> bool,
    ) -> Result<(Vec<&'a Instance>, Option<String>), CloudError> {
        let after = match next_token.map(|token| token.strip_prefix("after:")) {
            None => Bound::Unbounded,
            Some(Some(id)) => Bound::Excluded(id),
            Some(None) => return refused("InvalidNextToken", "the token is not one of ours"),
        };
        let size = self.config.page_size.max(1);
        let rest = account.instances.range::<str, _>((after, Bound::Unbounded)).map(|(_, it)| it);
        let mut page: Vec<&Instance> = rest.filter(|it| wanted(it)).take(size + 1).collect();
        let more = page.len() > size;
        page.truncate(size);
        let token = page.last().filter(|_| more).map(|last| format!("after:{}", last.id));
        Ok((page, token))
    }
}

fn view(instance: &Instance) -> InstanceView {
    let mut tags = instance.tags.clone();
    if let Some(group) = &instance.group {
        tags.insert(GROUP_TAG.to_owned(), group.clone());
    }
    InstanceView {
        id: instance.id.clone(),
        state: match instance.lifecycle {
            Lifecycle::Terminating => RunState::ShuttingDown,
            Lifecycle::Terminated => RunState::Terminated,
            _ => RunState::Running,
        },
        launched_at: instance.launched_at,
        template_version: instance.template_version,
        tags,
    }
}
