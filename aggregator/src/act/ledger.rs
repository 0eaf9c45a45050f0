//! What was done lately, and what of it is not to be seen yet. Pure: the journal's settlements go in,
//! pace, budgets and expectations come out.
//!
//! An inventory is older than the change it should show. Until it can show it, what we did counts as
//! done: an instance that was launched is on its way, one that was detached serves no more. So a
//! stale description neither launches twice nor takes away twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use foreshadow_proto::convert::Id;
use planner::demand::InstanceMode;

use super::executor::Seen;
use super::journal::{Intent, SHOWN_AFTER, Settled};
use crate::fleet::Action;

/// A launch that is not to be seen after this has failed, seconds (Cluster Autoscaler's
/// `max-node-provision-time`).
const LAUNCH_FAILED_AFTER: i64 = 900;
/// First and longest wait after a launch failed, or after the cloud would let nobody go, seconds (Cluster Autoscaler's node group
/// back-off).
const BACK_OFF: (i64, i64) = (300, 1_800);
/// So often a shadow is tried to be brought back at once: a description may not show yet that its lease was taken off.
const TRIED_AT_ONCE: u32 = 5;
/// First and longest time, seconds, for which one that could not be brought back so often is not tried again: meanwhile
/// others are launched in its place.
const TRIED_AGAIN_AFTER: (i64, i64) = (120, 1_800);
/// Failures further apart than this are no row, seconds (Cluster Autoscaler's `node-group-backoff-reset-timeout`).
const FORGIVEN_AFTER: i64 = 3 * 3_600;
/// Entries are kept this long, seconds.
const KEPT: i64 = 6 * 3_600;
/// The number serving is remembered this often, seconds.
const SERVED_EVERY: i64 = 600;
/// What the provider's desired capacity lacks is on its way for so long, seconds: it shows a replacement as pending within a
/// minute or two of losing a machine. Who is not there by then it cannot launch, and we try ourselves.
const REPLACED_WITHIN: i64 = 180;

/// Settled changes of the last six hours, all groups.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    entries: VecDeque<Entry>,
    groups: BTreeMap<Id, GroupLedger>,
    /// Shadows that could not be brought back: when last, and how often in a row.
    kept_out: BTreeMap<Id, (i64, u32)>,
}

#[derive(Debug, Clone)]
struct Entry {
    at: i64,
    group: Id,
    action: Action,
    /// Instances of it that the inventory has not shown yet.
    awaited: BTreeSet<Id>,
    /// It counts on a group of at least this size, by a provider that names no instances.
    awaited_size: Option<u32>,
    /// Members that a launch without names did not bring.
    before: BTreeSet<Id>,
    /// When its intent was written; its call followed soon after, unless `late`.
    written: i64,
    /// Its call went out long after, or nobody knows when: no lead is measured by it.
    late: bool,
    /// It may never have been done: when it does not show, nothing failed.
    in_doubt: bool,
}

#[derive(Debug, Clone, Default)]
struct GroupLedger {
    /// When and how often in a row launches failed.
    failed: Option<(i64, u32)>,
    /// When and how often in a row the cloud refused to let somebody out of it, or could not be reached for that.
    kept: Option<(i64, u32)>,
    /// The number serving, every ten minutes.
    served: VecDeque<(i64, u32)>,
    /// Members as they were last seen; `None` before the first inventory.
    members: Option<BTreeSet<Id>>,
    /// How many its provider is about to launch, and since when it is as many.
    replaced: Option<(u32, i64)>,
}

/// A way in which machines go; each is paced by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Out of service, into shadow.
    Out,
    /// To their end: terminated, or out of standby to be terminated then.
    End,
}

impl Way {
    /// `None` for what takes nobody away.
    pub const fn of(action: &Action) -> Option<Self> {
        match action {
            Action::Detach { .. } | Action::EnterStandby { .. } => Some(Self::Out),
            Action::Leave { .. } | Action::Terminate { .. } => Some(Self::End),
            Action::Launch { .. } | Action::Attach { .. } | Action::ExitStandby { .. } | Action::Floor { .. } => None,
        }
    }
}

/// Machines gone within the two windows of the pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gone {
    pub last_15_minutes: u32,
    pub last_6_hours: u32,
}

impl Ledger {
    /// Takes in what became of an intent.
    pub fn settled(&mut self, intent: &Intent, settled: &Settled, at: i64) {
        self.forget(at);
        let group = self.groups.entry(intent.group.clone()).or_default();
        match (settled, &intent.action) {
            (Settled::Done { instances }, action) => {
                let launch = matches!(action, Action::Launch { .. });
                let awaited_size = match action {
                    Action::Launch { size, .. } if instances.is_empty() => Some(*size),
                    _ => None,
                };
                // Nobody counts on one that was left in shadow; one that was left in its group may go yet.
                let named = if launch || action.brings_back() { instances } else { action.instances() };
                let moved = u32::try_from(instances.len()).unwrap_or(u32::MAX);
                // The provider's desired capacity moves with whoever comes and goes, above a raised minimum too.
                for earlier in self.entries.iter_mut().filter(|entry| entry.group == intent.group) {
                    // What was done to an instance last is what it waits for.
                    earlier.awaited.retain(|instance| !named.contains(instance));
                    if let Some(size) = &mut earlier.awaited_size {
                        *size = match action {
                            Action::Attach { .. } | Action::ExitStandby { .. } => size.saturating_add(moved),
                            Action::Detach { .. } | Action::EnterStandby { .. } => size.saturating_sub(moved),
                            _ => *size,
                        };
                    }
                }
                if action.brings_back() {
                    self.kept_out.retain(|instance, _| !instances.contains(instance));
                }
                if action.takes_out() {
                    group.kept = None;
                }
                self.entries.push_back(Entry {
                    at,
                    group: intent.group.clone(),
                    action: action.clone(),
                    awaited: named.iter().cloned().collect(),
                    awaited_size,
                    before: if awaited_size.is_some() { group.shown() } else { BTreeSet::new() },
                    written: intent.written_at,
                    late: intent.is_late(at),
                    in_doubt: false,
                });
            }
            // It may come up yet: as long as a launch takes, it is reckoned with.
            (Settled::Refused { in_doubt: true, .. }, Action::Launch { size, .. }) => self.entries.push_back(Entry {
                at,
                group: intent.group.clone(),
                action: intent.action.clone(),
                awaited: BTreeSet::new(),
                awaited_size: Some(*size),
                before: group.shown(),
                written: intent.written_at,
                late: true,
                in_doubt: true,
            }),
            // A checker's or a lease's refusal is no failure of the cloud: the call was never made.
            (Settled::Refused { by_cloud: true, .. }, Action::Launch { .. }) => group.failed = again(group.failed, at),
            // What it refused it would refuse again the next moment: its tags are not set and taken off every round.
            (Settled::Refused { by_cloud: true, .. }, action) if action.takes_out() => {
                group.kept = again(group.kept, at)
            }
            (Settled::Refused { .. }, action) if action.brings_back() => self.keep_out(action.instances(), at),
            (Settled::Refused { .. }, _) => {}
        }
    }

    /// These shadows could not be brought back, whatever the reason: for a while others come in their place.
    fn keep_out(&mut self, instances: &[Id], at: i64) {
        for instance in instances {
            let times = self.kept_out.get(instance).map_or(0, |(_, times)| *times);
            self.kept_out.insert(instance.clone(), (at, times.saturating_add(1)));
        }
    }

    /// Shadows that are not tried again yet.
    pub fn kept_out(&self, now: i64) -> BTreeSet<Id> {
        let waits = |(at, times): &(i64, u32)| {
            *times >= TRIED_AT_ONCE && now < at + doubled(TRIED_AGAIN_AFTER, times + 1 - TRIED_AT_ONCE)
        };
        self.kept_out.iter().filter(|(_, tried)| waits(tried)).map(|(instance, _)| instance.clone()).collect()
    }

    /// Compares with an inventory of a group. Gives back whom a launch that named nobody has brought, with the time of its
    /// call.
    pub fn seen(&mut self, group: &Id, seen: &Seen, now: i64) -> Vec<(Id, i64)> {
        let Seen { ref members, serving, lacking, taken, .. } = *seen;
        let (mut arrived, mut taken_in) = (Vec::new(), BTreeSet::new());
        let size = self.size(group, members);
        // Whom we brought back no launch has brought.
        let back = self.of(group).filter(|entry| entry.action.brings_back()).flat_map(|entry| &entry.awaited);
        let back: BTreeSet<Id> = back.cloned().collect();
        let state = self.groups.entry(group.clone()).or_default();
        let first = state.served.len() == 1;
        match state.served.back_mut() {
            // After a start agents come back one by one. Of its first ten minutes, in which nobody is taken away, the most counts: by
            // the few of the first picture hardly anybody might go for six hours.
            Some((at, most)) if now - *at < SERVED_EVERY => *most = if first { serving.max(*most) } else { *most },
            _ => {
                state.served.push_back((now, serving));
                while state.served.front().is_some_and(|(at, _)| now - at > KEPT) {
                    state.served.pop_front();
                }
            }
        }
        let before = state.replaced.filter(|(number, _)| lacking <= *number);
        state.replaced = (lacking > 0).then(|| (lacking, before.map_or(now, |(_, since)| since)));
        for entry in self.entries.iter_mut().filter(|entry| entry.group == *group) {
            match entry.action {
                Action::Launch { .. } => {
                    let awaited = entry.awaits();
                    entry.awaited.retain(|instance| !members.contains(instance));
                    if entry.awaited_size.is_some() {
                        // Of several launches that wait, the first has brought them; before a restart, nobody knows which.
                        let brought = members.difference(&entry.before).filter(|it| !back.contains(*it));
                        let brought = brought.filter(|it| !taken_in.contains(*it));
                        let brought: Vec<Id> = brought.cloned().collect();
                        if !entry.late && state.members.is_some() {
                            arrived.extend(brought.iter().map(|it| (it.clone(), entry.written)));
                        }
                        taken_in.extend(brought);
                        entry.before.extend(members.iter().cloned());
                    }
                    if entry.awaited_size.is_some_and(|wanted| size >= wanted) {
                        entry.awaited_size = None;
                    }
                    // One that was called before says nothing of the failure after it.
                    if awaited && !entry.awaits() && state.failed.is_some_and(|(at, _)| entry.at >= at) {
                        state.failed = None;
                    }
                    if entry.awaits() && now - entry.at > LAUNCH_FAILED_AFTER {
                        entry.awaited.clear();
                        entry.awaited_size = None;
                        if !entry.in_doubt {
                            state.failed = again(state.failed, now);
                        }
                    }
                }
                Action::Attach { .. } | Action::ExitStandby { .. } => {
                    entry.awaited.retain(|instance| !members.contains(instance) && taken < entry.at + SHOWN_AFTER);
                }
                Action::Floor { .. } => {}
                Action::Detach { .. }
                | Action::EnterStandby { .. }
                | Action::Leave { .. }
                | Action::Terminate { .. } => {
                    if taken >= entry.at + SHOWN_AFTER {
                        entry.awaited.clear();
                    }
                }
            }
        }
        state.members = Some(members.clone());
        arrived
    }

    /// Instances that are on their way: launched or attached by us, or about to be launched by the provider in place of who
    /// is lost, and not among `members`.
    pub fn expected(&self, group: &Id, members: &BTreeSet<Id>, now: i64) -> u32 {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let size = self.size(group, members);
        let mut by_size = 0;
        let mut by_name = BTreeSet::new();
        for entry in self.of(group) {
            if matches!(entry.action, Action::Launch { .. }) {
                by_name.extend(entry.awaited.iter().filter(|instance| !members.contains(*instance)));
                by_size = by_size.max(entry.awaited_size.unwrap_or_default().saturating_sub(size));
            }
        }
        let replaced = self.groups.get(group).and_then(|state| state.replaced);
        let replaced = replaced.filter(|(_, since)| now - since < REPLACED_WITHIN).map_or(0, |(number, _)| number);
        // What we launch the provider's desired capacity counts as well: one picture or the other shows it first.
        count(by_name.len()).max(by_size).max(replaced)
    }

    /// How many are in the group, with what the inventory does not show yet: whom we brought back, warming by its name, and
    /// without whom we took out.
    fn size(&self, group: &Id, members: &BTreeSet<Id>) -> u32 {
        let mut inside: BTreeSet<&Id> = members.iter().collect();
        for entry in self.of(group) {
            if entry.action.brings_back() {
                inside.extend(&entry.awaited);
            } else if entry.action.takes_out() {
                inside.retain(|instance| !entry.awaited.contains(*instance));
            }
        }
        u32::try_from(inside.len()).unwrap_or(u32::MAX)
    }

    /// The mode of an instance by what we did to it, while the inventory shows what it was before.
    pub fn mode(&self, group: &Id, instance: &Id, shown: InstanceMode) -> Option<InstanceMode> {
        use InstanceMode::{Draining, Gone, Serving, Shadow, Warming};
        let latest = self.of(group).filter(|entry| entry.awaited.contains(instance)).last()?;
        match (&latest.action, shown) {
            (action, Draining | Shadow) if action.brings_back() => Some(Warming),
            (action, Serving | Warming) if action.takes_out() => Some(Draining),
            (Action::Terminate { .. }, Draining | Shadow) => Some(Gone),
            _ => None,
        }
    }

    /// What went a way within the windows of the pace, in a group. `but` are those that are to go now: who left standby to
    /// end is not counted a second time when it ends.
    pub fn gone(&self, group: &Id, way: Way, but: &[Id], now: i64) -> Gone {
        gone(self.of(group), way, but, now)
    }

    /// What went a way in all groups within 15 minutes.
    pub fn gone_everywhere(&self, way: Way, but: &[Id], now: i64) -> u32 {
        gone(self.entries.iter(), way, but, now).last_15_minutes
    }

    /// Groups other than this one from which machines were taken away within the last minute.
    pub fn other_groups_in(&self, group: &Id, now: i64) -> BTreeSet<&Id> {
        let lately = self.entries.iter().filter(|entry| entry.group != *group && now - entry.at < SHOWN_AFTER);
        lately.filter(|entry| Way::of(&entry.action).is_some()).map(|entry| &entry.group).collect()
    }

    /// The number that served six hours ago, or the oldest that is known; 0 when none is.
    pub fn served_6_hours_ago(&self, group: &Id) -> u32 {
        let served = self.groups.get(group).and_then(|state| state.served.front());
        served.map_or(0, |(_, serving)| *serving)
    }

    /// Instances launched in a group within the last hour.
    pub fn launched_last_hour(&self, group: &Id, now: i64) -> u32 {
        let launched = self.of(group).filter(|entry| now - entry.at < 3_600).map(|entry| match entry.action {
            Action::Launch { count, .. } => count,
            _ => 0,
        });
        launched.sum()
    }

    /// Launches of a group failed lately.
    pub fn launches_failing(&self, group: &Id, now: i64) -> bool {
        self.launch_again_at(group, now).is_some()
    }

    /// When the next launch of a group is tried after one failed, seconds since the epoch; `None` when nothing is waited for.
    pub fn launch_again_at(&self, group: &Id, now: i64) -> Option<i64> {
        waited_until(self.groups.get(group)?.failed, now)
    }

    /// The cloud would let nobody out of a group lately, and is not asked again yet.
    pub fn keeps_in(&self, group: &Id, now: i64) -> bool {
        self.groups.get(group).is_some_and(|state| waited_until(state.kept, now).is_some())
    }

    fn of(&self, group: &Id) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.group == *group)
    }

    /// After a restart: what came of a launch before it is not expected again, though the provider may have ended it
    /// meanwhile. `newcomers`: who was first seen in a group at or after a time, seconds since the epoch. What was launched
    /// long ago was seen, or has failed, before the restart: it is no failure of now.
    pub fn restored(&mut self, newcomers: impl Fn(&Id, i64) -> BTreeSet<Id>, now: i64) {
        let mut brought: BTreeMap<Id, BTreeSet<Id>> = BTreeMap::new();
        for entry in self.entries.iter_mut().filter(|entry| entry.awaits()) {
            if now - entry.at > LAUNCH_FAILED_AFTER {
                entry.awaited.clear();
                entry.awaited_size = None;
            }
            let Action::Launch { count, .. } = entry.action else { continue };
            let came = newcomers(&entry.group, entry.written);
            entry.awaited.retain(|instance| !came.contains(instance));
            if entry.awaited_size.is_some() {
                // Of several launches, the first has brought them.
                let others = brought.entry(entry.group.clone()).or_default();
                let own: Vec<Id> = came.difference(others).take(count as usize).cloned().collect();
                if own.len() >= count as usize {
                    entry.awaited_size = None;
                }
                others.extend(own);
            }
        }
    }

    fn forget(&mut self, now: i64) {
        self.entries.retain(|entry| now - entry.at <= KEPT);
        self.kept_out.retain(|_, (at, _)| now - *at <= KEPT);
    }
}

impl Entry {
    fn awaits(&self) -> bool {
        !self.awaited.is_empty() || self.awaited_size.is_some()
    }
}

impl GroupLedger {
    fn shown(&self) -> BTreeSet<Id> {
        self.members.clone().unwrap_or_default()
    }
}

/// Once more in a row, unless the last time is long ago.
fn again(before: Option<(i64, u32)>, at: i64) -> Option<(i64, u32)> {
    let row = before.filter(|(last, _)| at - last < FORGIVEN_AFTER);
    Some((at, row.map_or(0, |(_, times)| times).saturating_add(1)))
}

/// When it is tried again, seconds since the epoch; `None` when nothing is waited for.
fn waited_until(failed: Option<(i64, u32)>, now: i64) -> Option<i64> {
    let (at, times) = failed?;
    Some(at + doubled(BACK_OFF, times)).filter(|again| now < *again)
}

/// The first wait, doubled with every time after the first, up to the longest.
fn doubled((first, longest): (i64, i64), times: u32) -> i64 {
    (first << (times.clamp(1, 8) - 1)).min(longest)
}

fn gone<'a>(entries: impl Iterator<Item = &'a Entry>, way: Way, but: &[Id], now: i64) -> Gone {
    let (mut lately, mut today) = (Vec::new(), Vec::new());
    for entry in entries.filter(|entry| Way::of(&entry.action) == Some(way) && now - entry.at < KEPT) {
        // One that was detached, came back and is detached again went twice; nobody ends twice.
        let named = entry.action.instances().iter().filter(|it| way == Way::Out || !but.contains(it));
        today.extend(named.clone());
        if now - entry.at < 900 {
            lately.extend(named);
        }
    }
    let number = |mut named: Vec<&Id>| {
        if way == Way::End {
            named.sort();
            named.dedup();
        }
        u32::try_from(named.len()).unwrap_or(u32::MAX)
    };
    Gone { last_15_minutes: number(lately), last_6_hours: number(today) }
}

#[cfg(test)]
mod tests;
