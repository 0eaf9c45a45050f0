//! What was done lately, and what of it is not to be seen yet. Pure: the journal's settlements go in,
//! pace, budgets and expectations come out.
//!
//! An inventory is older than the change it should show. Until it can show it, what we did counts as
//! done: an instance that was launched is on its way, one that was detached serves no more. So a
//! stale description neither launches twice nor takes away twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use foreshadow_proto::convert::Id;
use planner::demand::InstanceMode;

use super::journal::{Intent, SHOWN_AFTER, Settled};
use crate::fleet::Action;

/// A launch that is not to be seen after this has failed, seconds (Cluster Autoscaler's
/// `max-node-provision-time`).
const LAUNCH_FAILED_AFTER: i64 = 900;
/// First and longest wait after a launch failed, seconds (Cluster Autoscaler's node group back-off).
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
    /// The number serving, every ten minutes.
    served: VecDeque<(i64, u32)>,
    /// Members as they were last seen; `None` before the first inventory.
    members: Option<BTreeSet<Id>>,
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
            (Settled::Refused { by_cloud: true, .. }, Action::Launch { .. }) => group.fail(at),
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

    /// Compares with an inventory of a group: who is there, since when the picture was taken. Gives
    /// back whom a launch that named nobody has brought, with the time of its call.
    pub fn seen(&mut self, group: &Id, members: &BTreeSet<Id>, serving: u32, taken: i64, now: i64) -> Vec<(Id, i64)> {
        let (mut arrived, mut taken_in) = (Vec::new(), BTreeSet::new());
        let size = self.size(group, members);
        // Whom we brought back no launch has brought.
        let back = self.of(group).filter(|entry| entry.action.brings_back()).flat_map(|entry| &entry.awaited);
        let back: BTreeSet<Id> = back.cloned().collect();
        let state = self.groups.entry(group.clone()).or_default();
        if state.served.back().is_none_or(|(at, _)| now - at >= SERVED_EVERY) {
            state.served.push_back((now, serving));
            while state.served.front().is_some_and(|(at, _)| now - at > KEPT) {
                state.served.pop_front();
            }
        }
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
                    if awaited && !entry.awaits() {
                        state.failed = None;
                    }
                    if entry.awaits() && now - entry.at > LAUNCH_FAILED_AFTER {
                        entry.awaited.clear();
                        entry.awaited_size = None;
                        if !entry.in_doubt {
                            state.fail(now);
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

    /// Instances that are on their way: launched or attached by us and not among `members`.
    pub fn expected(&self, group: &Id, members: &BTreeSet<Id>) -> u32 {
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
        count(by_name.len()).max(by_size)
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
        let (at, times) = self.groups.get(group)?.failed?;
        Some(at + back_off(times)).filter(|again| now < *again)
    }

    fn of(&self, group: &Id) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.group == *group)
    }

    /// What was launched this long ago was seen before the restart, or has failed before it: it is no failure of now.
    pub fn restored(&mut self, now: i64) {
        for entry in self.entries.iter_mut().filter(|entry| now - entry.at > LAUNCH_FAILED_AFTER) {
            entry.awaited.clear();
            entry.awaited_size = None;
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

    fn fail(&mut self, at: i64) {
        let row = self.failed.filter(|(last, _)| at - last < FORGIVEN_AFTER);
        let times = row.map_or(0, |(_, times)| times);
        self.failed = Some((at, times.saturating_add(1)));
    }
}

fn back_off(times: u32) -> i64 {
    doubled(BACK_OFF, times)
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
mod tests {
    use super::*;
    use crate::fleet::Token;
    use crate::store::StoreId;

    const NOW: i64 = 1_800_000_000;

    fn id(name: &str) -> Id {
        Id::new("id", name).expect("an id")
    }

    fn ids(names: &[&str]) -> Vec<Id> {
        names.iter().map(|name| id(name)).collect()
    }

    fn set(names: &[&str]) -> BTreeSet<Id> {
        names.iter().map(|name| id(name)).collect()
    }

    fn intent(action: Action) -> Intent {
        let group = id("web");
        let token = Token::new(StoreId([1; 16]), &group, 1, 0);
        Intent { token, group, generation: 1, step: 0, epoch: 1, action, written_at: NOW, valid_until: NOW + 60 }
    }

    fn done(ledger: &mut Ledger, action: Action, instances: &[&str], at: i64) {
        ledger.settled(&intent(action), &Settled::Done { instances: ids(instances) }, at);
    }

    #[test]
    fn what_was_launched_is_expected_until_it_is_seen_whatever_a_stale_inventory_says() {
        let mut ledger = Ledger::default();
        done(&mut ledger, Action::launch(2, 4), &["i-3", "i-4"], NOW);
        let stale = set(&["i-1", "i-2"]);
        ledger.seen(&id("web"), &stale, 2, NOW + 30, NOW + 30);
        assert_eq!(ledger.expected(&id("web"), &stale), 2);
        let one = set(&["i-1", "i-2", "i-3"]);
        ledger.seen(&id("web"), &one, 2, NOW + 40, NOW + 40);
        assert_eq!(ledger.expected(&id("web"), &one), 1);
        // Once seen it is not expected again, although it left since.
        assert_eq!(ledger.expected(&id("web"), &stale), 1);
        assert_eq!(ledger.expected(&id("other"), &stale), 0);
        assert_eq!(ledger.launched_last_hour(&id("web"), NOW + 3_599), 2);
        assert_eq!(ledger.launched_last_hour(&id("web"), NOW + 3_600), 0);
    }

    #[test]
    fn a_raised_minimum_is_expected_to_fill_the_group() {
        let mut ledger = Ledger::default();
        ledger.seen(&id("web"), &set(&["i-1", "i-2"]), 2, NOW - 5, NOW - 5);
        done(&mut ledger, Action::launch(2, 4), &[], NOW);
        assert_eq!(ledger.expected(&id("web"), &set(&["i-1", "i-2"])), 2);
        let one = ledger.seen(&id("web"), &set(&["i-1", "i-2", "i-3"]), 2, NOW + 30, NOW + 30);
        assert_eq!(one, [(id("i-3"), NOW)], "whom it brought, for the lead time");
        let other = ledger.seen(&id("web"), &set(&["i-1", "i-2", "i-3", "i-4"]), 2, NOW + 40, NOW + 40);
        assert_eq!(other, [(id("i-4"), NOW)]);
        assert_eq!(ledger.expected(&id("web"), &set(&["i-1", "i-2"])), 0, "it was full once");
    }

    #[test]
    fn whom_we_brought_back_fills_no_place_of_a_launch() {
        let mut ledger = Ledger::default();
        let (web, two) = (id("web"), set(&["i-1", "i-2"]));
        ledger.seen(&web, &two, 2, NOW - 5, NOW - 5);
        let back = Action::ExitStandby { instances: ids(&["s-1", "s-2"]) };
        done(&mut ledger, back, &["s-1"], NOW);
        let mode = |ledger: &Ledger, name| ledger.mode(&web, &id(name), InstanceMode::Shadow);
        assert_eq!(
            (mode(&ledger, "s-1"), mode(&ledger, "s-2")),
            (Some(InstanceMode::Warming), None),
            "one was left out"
        );
        // Two that are there, one that comes back, and two more.
        done(&mut ledger, Action::launch(2, 5), &[], NOW + 1);
        assert_eq!(ledger.expected(&web, &two), 2, "the third warms by its name");
        let three = set(&["i-1", "i-2", "s-1"]);
        assert_eq!(ledger.seen(&web, &three, 3, NOW + 20, NOW + 20), [], "no launch has brought it");
        assert_eq!(ledger.expected(&web, &three), 2);
        // Another comes back before the launched are to be seen: the provider's size grows with it.
        done(&mut ledger, Action::ExitStandby { instances: ids(&["s-2"]) }, &["s-2"], NOW + 30);
        assert_eq!(ledger.expected(&web, &three), 2);
        let five = set(&["i-1", "i-2", "i-3", "s-1", "s-2"]);
        assert_eq!(ledger.seen(&web, &five, 5, NOW + 60, NOW + 60), [(id("i-3"), NOW)]);
        assert_eq!(ledger.expected(&web, &five), 1);
        // And it shrinks with whom we take out.
        done(&mut ledger, Action::Detach { instances: ids(&["i-1"]) }, &["i-1"], NOW + 70);
        for shown in [five, set(&["i-2", "i-3", "s-1", "s-2"])] {
            drop(ledger.seen(&web, &shown, 5, NOW + 80, NOW + 80));
            assert_eq!(ledger.expected(&web, &shown), 1, "one is on its way still");
        }
    }

    #[test]
    fn of_launches_that_name_nobody_the_first_has_brought_who_comes_and_a_late_one_measures_nothing() {
        let mut ledger = Ledger::default();
        let (web, two) = (id("web"), set(&["i-1", "i-2"]));
        ledger.seen(&web, &two, 2, NOW - 5, NOW - 5);
        done(&mut ledger, Action::launch(2, 4), &[], NOW);
        let second = Intent { written_at: NOW + 40, ..intent(Action::launch(1, 5)) };
        ledger.settled(&second, &Settled::Done { instances: Vec::new() }, NOW + 41);
        let four = set(&["i-1", "i-2", "i-3", "i-4"]);
        assert_eq!(ledger.seen(&web, &four, 2, NOW + 60, NOW + 60), [(id("i-3"), NOW), (id("i-4"), NOW)]);
        let five = set(&["i-1", "i-2", "i-3", "i-4", "i-5"]);
        assert_eq!(ledger.seen(&web, &five, 2, NOW + 70, NOW + 70), [(id("i-5"), NOW + 40)]);
        // Done a quarter of an hour after it was written, since the process was down: nobody knows when it was called.
        let late = Intent { written_at: NOW + 80, ..intent(Action::launch(1, 6)) };
        ledger.settled(&late, &Settled::Done { instances: Vec::new() }, NOW + 980);
        let six = set(&["i-1", "i-2", "i-3", "i-4", "i-5", "i-6"]);
        assert_eq!(ledger.seen(&web, &six, 2, NOW + 1_000, NOW + 1_000), []);
        // After a restart nobody knows who was there before.
        let mut again = Ledger::default();
        done(&mut again, Action::launch(1, 3), &[], NOW);
        again.restored(NOW + 10);
        assert_eq!(again.seen(&web, &set(&["i-1", "i-2"]), 2, NOW + 20, NOW + 20), []);
        assert_eq!(again.seen(&web, &set(&["i-1", "i-2", "i-3"]), 2, NOW + 30, NOW + 30), [(id("i-3"), NOW)]);
    }

    #[test]
    fn who_comes_back_soon_after_it_left_serves() {
        use InstanceMode::{Draining, Serving, Shadow, Warming};
        let (mut ledger, web) = (Ledger::default(), id("web"));
        let mode = |ledger: &Ledger, shown| ledger.mode(&web, &id("i-1"), shown);
        done(&mut ledger, Action::EnterStandby { instances: ids(&["i-1"]) }, &["i-1"], NOW);
        assert_eq!(mode(&ledger, Serving), Some(Draining));
        done(&mut ledger, Action::ExitStandby { instances: ids(&["i-1"]) }, &["i-1"], NOW + 20);
        assert_eq!((mode(&ledger, Shadow), mode(&ledger, Serving)), (Some(Warming), None));
        ledger.seen(&web, &set(&["i-1"]), 1, NOW + 30, NOW + 30);
        assert_eq!(mode(&ledger, Serving), None, "that it left is over, whenever an inventory could show it");
    }

    #[test]
    fn what_was_taken_away_serves_no_more_until_an_inventory_can_show_it() {
        let mut ledger = Ledger::default();
        done(&mut ledger, Action::Detach { instances: ids(&["i-1"]) }, &["i-1"], NOW);
        done(&mut ledger, Action::Terminate { instances: ids(&["s-1"]) }, &["s-1"], NOW);
        done(&mut ledger, Action::Attach { instances: ids(&["s-2"]) }, &["s-2"], NOW);
        let still = set(&["i-1", "i-2"]);
        ledger.seen(&id("web"), &still, 2, NOW + 59, NOW + 60);
        use InstanceMode::{Serving, Shadow};
        let mode = |ledger: &Ledger, name: &str, shown| ledger.mode(&id("web"), &id(name), shown);
        assert_eq!(mode(&ledger, "i-1", Serving), Some(InstanceMode::Draining));
        assert_eq!(mode(&ledger, "s-1", Shadow), Some(InstanceMode::Gone));
        assert_eq!(mode(&ledger, "s-2", Shadow), Some(InstanceMode::Warming));
        assert_eq!(mode(&ledger, "i-2", Serving), None);
        // What the inventory shows already is believed: a shadow can come back at once.
        assert_eq!((mode(&ledger, "i-1", Shadow), mode(&ledger, "s-2", Serving)), (None, None));
        ledger.seen(&id("web"), &still, 2, NOW + 60, NOW + 70);
        let later =
            [("i-1", Serving), ("s-1", Shadow), ("s-2", Shadow)].map(|(name, shown)| mode(&ledger, name, shown));
        assert_eq!(later, [None; 3]);
    }

    #[test]
    fn the_pace_counts_each_kind_by_itself() {
        let mut ledger = Ledger::default();
        for at in [NOW - KEPT - 1, NOW - 1_000, NOW - 10] {
            done(&mut ledger, Action::Detach { instances: ids(&["i-1", "i-2"]) }, &["i-1", "i-2"], at);
        }
        done(&mut ledger, Action::Terminate { instances: ids(&["s-1"]) }, &["s-1"], NOW);
        let web = id("web");
        assert_eq!(ledger.gone(&web, Way::Out, &[], NOW), Gone { last_15_minutes: 2, last_6_hours: 4 });
        assert_eq!(ledger.gone(&web, Way::End, &[], NOW), Gone { last_15_minutes: 1, last_6_hours: 1 });
        let everywhere = |way| ledger.gone_everywhere(way, &[], NOW);
        assert_eq!((everywhere(Way::Out), everywhere(Way::End)), (2, 1));
        let other = |group: &str| ledger.other_groups_in(&id(group), NOW).len();
        assert_eq!((other("web"), other("api")), (0, 1));
    }

    #[test]
    fn who_leaves_standby_to_end_went_once() {
        let mut ledger = Ledger::default();
        done(&mut ledger, Action::Leave { instances: ids(&["s-1", "s-2"]) }, &["s-1", "s-2"], NOW - 100);
        let gone = |ledger: &Ledger, but: &[&str]| ledger.gone(&id("web"), Way::End, &ids(but), NOW).last_15_minutes;
        assert_eq!((gone(&ledger, &[]), gone(&ledger, &["s-1"])), (2, 1), "its end is no second one");
        assert_eq!(ledger.other_groups_in(&id("api"), NOW - 60).len(), 1, "and one group at a time counts it");
        done(&mut ledger, Action::Terminate { instances: ids(&["s-1"]) }, &["s-1"], NOW);
        assert_eq!(gone(&ledger, &[]), 2);
        assert_eq!(ledger.gone_everywhere(Way::End, &ids(&["s-2"]), NOW), 1);
        assert_eq!(ledger.gone_everywhere(Way::Out, &[], NOW), 0);
    }

    #[test]
    fn launches_that_fail_back_off_and_a_success_ends_it() {
        let mut ledger = Ledger::default();
        let launch = || intent(Action::launch(1, 3));
        let refused = |by_cloud| Settled::Refused { why: vec!["no capacity".to_owned()], by_cloud, in_doubt: false };
        ledger.settled(&launch(), &refused(false), NOW);
        assert!(!ledger.launches_failing(&id("web"), NOW), "the checker's refusal is no failure");
        ledger.settled(&launch(), &refused(true), NOW);
        assert!(ledger.launches_failing(&id("web"), NOW + 299) && !ledger.launches_failing(&id("web"), NOW + 300));
        let again = |ledger: &Ledger, at| ledger.launch_again_at(&id("web"), at);
        assert_eq!((again(&ledger, NOW), again(&ledger, NOW + 300)), (Some(NOW + 300), None));
        let mut seldom = ledger.clone();
        seldom.settled(&launch(), &refused(true), NOW + FORGIVEN_AFTER);
        assert_eq!(
            again(&seldom, NOW + FORGIVEN_AFTER),
            Some(NOW + FORGIVEN_AFTER + 300),
            "hours later it is the first"
        );
        ledger.settled(&launch(), &refused(true), NOW + 300);
        assert!(ledger.launches_failing(&id("web"), NOW + 899));
        for _ in 0..9 {
            ledger.settled(&launch(), &refused(true), NOW + 900);
        }
        assert!(!ledger.launches_failing(&id("web"), NOW + 900 + 1_800), "half an hour is the longest");
        done(&mut ledger, Action::launch(1, 3), &["i-9"], NOW + 900);
        ledger.seen(&id("web"), &set(&["i-9"]), 0, NOW + 910, NOW + 910);
        assert!(!ledger.launches_failing(&id("web"), NOW + 910));
        // One that never shows has failed.
        done(&mut ledger, Action::launch(1, 3), &["i-10"], NOW + 2_000);
        ledger.seen(&id("web"), &set(&["i-9"]), 0, NOW + 2_901, NOW + 2_901);
        assert!(ledger.launches_failing(&id("web"), NOW + 2_901));
        assert_eq!(ledger.expected(&id("web"), &set(&["i-9"])), 0);
    }

    #[test]
    fn a_launch_in_doubt_is_reckoned_with_and_is_no_failure() {
        let mut ledger = Ledger::default();
        let two = set(&["i-1", "i-2"]);
        let doubt = Settled::Refused { why: vec!["throttled".to_owned()], by_cloud: true, in_doubt: true };
        ledger.settled(&intent(Action::launch(2, 4)), &doubt, NOW);
        assert_eq!(ledger.expected(&id("web"), &two), 2);
        assert_eq!(ledger.launched_last_hour(&id("web"), NOW + 1), 2);
        ledger.seen(&id("web"), &two, 2, NOW + 901, NOW + 901);
        assert_eq!(ledger.expected(&id("web"), &two), 0);
        assert!(!ledger.launches_failing(&id("web"), NOW + 902));
    }

    #[test]
    fn a_shadow_that_could_not_be_brought_back_is_left_alone_for_longer_each_time() {
        let mut ledger = Ledger::default();
        let attach = intent(Action::Attach { instances: ids(&["s-1"]) });
        let refused = Settled::Refused { why: vec!["its image is gone".to_owned()], by_cloud: true, in_doubt: false };
        for tried in 1..i64::from(TRIED_AT_ONCE) {
            ledger.settled(&attach, &refused, NOW - 100 + 10 * tried);
            assert_eq!(ledger.kept_out(NOW - 99 + 10 * tried), set(&[]), "tried again at once");
        }
        ledger.settled(&attach, &refused, NOW);
        assert_eq!((ledger.kept_out(NOW + 119), ledger.kept_out(NOW + 120)), (set(&["s-1"]), set(&[])));
        ledger.settled(&attach, &refused, NOW + 120);
        assert_eq!((ledger.kept_out(NOW + 359), ledger.kept_out(NOW + 360)), (set(&["s-1"]), set(&[])));
        for _ in 0..20 {
            ledger.settled(&attach, &refused, NOW + 400);
        }
        assert_eq!((ledger.kept_out(NOW + 2_199), ledger.kept_out(NOW + 2_200)), (set(&["s-1"]), set(&[])));
        done(&mut ledger, Action::Attach { instances: ids(&["s-1"]) }, &["s-1"], NOW + 2_200);
        ledger.settled(&attach, &refused, NOW + 3_000);
        assert_eq!(ledger.kept_out(NOW + 3_001), set(&[]), "it came back in between: from the beginning");
    }

    #[test]
    fn what_was_launched_long_before_a_restart_is_no_failure_of_now() {
        let mut ledger = Ledger::default();
        done(&mut ledger, Action::launch(1, 3), &["i-3"], NOW - 3_600);
        done(&mut ledger, Action::launch(1, 4), &["i-4"], NOW - 60);
        ledger.restored(NOW);
        ledger.seen(&id("web"), &set(&["i-1"]), 1, NOW + 10, NOW + 10);
        assert!(!ledger.launches_failing(&id("web"), NOW + 10), "whoever left since did not fail to come");
        assert_eq!(ledger.expected(&id("web"), &set(&["i-1"])), 1, "the other is on its way");
    }

    #[test]
    fn six_hours_ago_is_remembered() {
        let mut ledger = Ledger::default();
        for minute in 0..600 {
            ledger.seen(&id("web"), &set(&[]), minute, NOW, NOW + 60 * i64::from(minute));
        }
        assert_eq!(ledger.served_6_hours_ago(&id("web")), 230);
        assert_eq!(ledger.served_6_hours_ago(&id("api")), 0);
    }
}
