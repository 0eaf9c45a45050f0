//! The timeline itself: for every instance its placements over time, with what the sources and the
//! agents last said. Reads never wait; [`Observer`](super::Observer) moves it on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foreshadow_proto::convert::{Facts, Hello, Id};
use foreshadow_proto::v1;
use planner::evidence::Pick;
use tokio::sync::watch;

use super::decide::{self, Known, Patience};
use super::{InstanceMode, Placement};
use crate::fleet::{CpuCredits, GroupInventory, Inventory, Lifecycle, Member};

/// Group of instances that neither a source nor a claim puts anywhere.
pub const UNASSIGNED: &str = "unassigned";
/// How a member left its group, or its service.
const DETACHED: &str = "detached";
pub(crate) const STANDBY: &str = "standby";
pub(crate) const HELD: &str = "held by a termination hook";
/// What was found of an instance's network is believed for this long, µs.
const TALK_HEARD_MICROS: i64 = 120_000_000;
/// Placements kept per instance in memory.
const KEPT_PLACEMENTS: usize = 64;

/// Answers "which group, which mode, when". Cheap to clone.
#[derive(Debug, Clone)]
pub struct Timeline(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    patience: RwLock<Patience>,
    interval_millis: u32,
    shadow_interval_millis: u32,
    state: RwLock<State>,
    /// Wakes the observer: an agent said something that may move a placement.
    stirred: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    instances: HashMap<Id, Record>,
    groups: BTreeMap<Id, Source>,
    /// Every source was read completely once.
    read_once: bool,
    /// What is wrong with the latest reading of a source, by its name.
    problems: BTreeMap<&'static str, Vec<String>>,
}

/// What a source last said of a group.
#[derive(Debug, Clone)]
struct Source {
    name: &'static str,
    taken_micros: i64,
    complete: bool,
    inventory: GroupInventory,
}

#[derive(Debug, Default)]
struct Record {
    placements: Vec<Placement>,
    claimed: bool,
    member_of: Option<Id>,
    member: Option<Member>,
    /// What a source said of it before it left: its type still tells weight, price and lease.
    left: Option<Member>,
    was_member: bool,
    found_running: bool,
    first_seen: i64,
    agent: Agent,
    released: bool,
    shadow_until_micros: i64,
    /// Its lease is ours.
    kept: bool,
    /// Somebody talks to it by its network, and when that was found, µs since the epoch.
    talks: Option<(bool, i64)>,
    /// Ticks for its stream, if it ever had one.
    changes: Option<watch::Sender<()>>,
}

#[derive(Debug, Default)]
struct Agent {
    connected: bool,
    heard: Option<i64>,
    ready: Option<(bool, i64)>,
    said_goodbye: bool,
    claim: Option<Id>,
    facts: Facts,
    version: String,
    spool: Spool,
    /// Its latest words were those of the instance itself: by its own certificate, or by somebody who answers for it.
    proven: bool,
}

/// How an instance's samples come in, as the aggregator sees it. An agent that was not heard of since the start has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Spool {
    /// µs since the Unix epoch of the newest sample that is durable.
    pub newest_micros: Option<i64>,
    /// Samples the agent has made up to the newest one and that are neither here nor dropped: they wait on its disk.
    pub waiting: u64,
    /// Samples the agent had to drop in this stream before they were acknowledged.
    pub dropped: u64,
    /// From the start of the agent's process to its first acknowledged sample, ms, by its own word.
    pub first_acknowledged_millis: Option<u32>,
}

/// A placement that became true.
#[derive(Debug, Clone, PartialEq)]
pub struct Move {
    pub instance: Id,
    pub from: Option<Placement>,
    pub to: Placement,
    /// No source knows the group.
    pub claimed: bool,
    pub instance_type: Option<String>,
    /// What it was launched from.
    pub version: Option<String>,
    /// How a member left: `detached`, `standby`, …; `None` when it is being terminated, which opens no
    /// session.
    pub word: Option<&'static str>,
    /// Why, where that was heard.
    pub why: Option<String>,
}

/// An agent's claim of the state its cloud wants it in, which the inventory does not bear out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    pub instance: Id,
    pub group: Id,
    /// In the cloud's word.
    pub claim: String,
}

/// A group as it is now.
#[derive(Debug, Clone)]
pub struct GroupSnapshot {
    pub group: Id,
    /// `None` when only agents' claims make the group.
    pub source: Option<&'static str>,
    pub minimum: u32,
    pub maximum: u32,
    /// How many its provider is to have beyond those that are pending or in service; 0 where its picture is not whole.
    pub lacking: u32,
    pub complete: bool,
    pub taken_micros: i64,
    pub deploying: bool,
    /// The provider did not say whether it scales in or deploys.
    pub untold: bool,
    pub foreign_scale_in: bool,
    pub floor: Option<planner::evidence::Floor>,
    /// What a new instance would be launched from.
    pub version: Option<String>,
    /// The zones it launches into.
    pub zones: Vec<Id>,
    /// Its provider ends instances where a zone has too many.
    pub evens_zones: bool,
    /// By what the group picks who goes.
    pub termination: Vec<Pick>,
    /// The installation that may change it.
    pub owner: Option<String>,
    pub members: Vec<MemberSnapshot>,
}

impl GroupSnapshot {
    /// Nobody in it is heard of by somebody who does not prove to be that instance.
    pub fn is_proven(&self) -> bool {
        self.members.iter().all(|member| member.proven != Some(false))
    }
}

#[derive(Debug, Clone, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct MemberSnapshot {
    #[schema(value_type = String)]
    pub instance: Id,
    pub mode: InstanceMode,
    /// µs since the Unix epoch.
    pub since_micros: i64,
    pub instance_type: Option<String>,
    pub zone: Option<String>,
    /// What it was launched from.
    pub version: Option<String>,
    pub protected: bool,
    /// Of a burstable instance, where its source tells them.
    pub cpu_credits: Option<CpuCredits>,
    /// Where it stands in its group by the source's word, while it is out of service: `standby`,
    /// `retained`, `held by a termination hook`.
    pub out_of_service: Option<&'static str>,
    /// Its agent's stream is open.
    pub connected: bool,
    pub ready: Option<bool>,
    pub agent_version: Option<String>,
    /// The state the cloud wants it in, by its agent's word: a claim.
    pub claimed_state: Option<String>,
    /// The inventory says otherwise.
    pub claim_disagrees: bool,
    pub spool: Spool,
    /// What is heard of it is proven to be its own: by its certificate, or pushed by an operator. Absent when nothing
    /// was ever heard.
    pub proven: Option<bool>,
}

impl Timeline {
    /// An empty timeline. Intervals in ms.
    pub fn new(patience: Patience, interval_millis: u32, shadow_interval_millis: u32) -> Self {
        Self(Arc::new(Inner {
            patience: RwLock::new(patience),
            interval_millis,
            shadow_interval_millis,
            state: RwLock::default(),
            stirred: watch::Sender::new(0),
        }))
    }

    /// How long things may take from now on.
    pub fn set_patience(&self, patience: Patience) {
        *self.0.patience.write().unwrap_or_else(PoisonError::into_inner) = patience;
        self.0.stirred.send_modify(|count| *count += 1);
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn agent(&self, instance: &Id, now: i64, change: impl FnOnce(&mut Agent)) {
        let mut state = self.write();
        let record = state.instances.entry(instance.clone()).or_insert_with(|| Record::first_seen(now));
        change(&mut record.agent);
        drop(state);
        self.0.stirred.send_modify(|count| *count += 1);
    }

    /// An agent opened its stream.
    pub fn agent_connected(&self, hello: &Hello, now: i64) {
        self.agent(&hello.instance, now, |agent| {
            agent.connected = true;
            agent.heard = Some(now);
            agent.said_goodbye = false;
            agent.claim.clone_from(&hello.claimed_group);
            agent.facts = hello.facts.clone();
            agent.version.clone_from(&hello.agent_version);
            agent.proven = false;
        });
    }

    /// Whether what is heard of an instance is proven to be its own.
    pub fn agent_proven(&self, instance: &Id, proven: bool, now: i64) {
        let known = self.read().instances.get(instance).map(|record| record.agent.proven);
        if known != Some(proven) {
            self.agent(instance, now, |agent| agent.proven = proven);
        }
    }

    /// Facts that came late.
    pub fn agent_facts(&self, instance: &Id, facts: &Facts, now: i64) {
        self.agent(instance, now, |agent| {
            // Hello says it again after each break; it is news once a process.
            let before = std::mem::replace(&mut agent.facts, facts.clone()).first_acknowledged_millis;
            if let Some(millis) = facts.first_acknowledged_millis.filter(|_| before.is_none()) {
                metrics::histogram!("foreshadow_agent_first_acknowledged_seconds").record(f64::from(millis) / 1e3);
            }
        });
    }

    /// An agent's probe found the instance ready, or no longer ready.
    pub fn agent_ready(&self, instance: &Id, ready: bool, at_micros: i64) {
        self.agent(instance, at_micros, |agent| agent.ready = Some((ready, at_micros)));
    }

    /// An agent's stream broke.
    pub fn agent_disconnected(&self, instance: &Id, now: i64) {
        self.agent(instance, now, |agent| {
            agent.connected = false;
            agent.heard = Some(now);
        });
    }

    /// An agent ends on purpose.
    pub fn agent_said_goodbye(&self, instance: &Id, now: i64) {
        self.agent(instance, now, |agent| agent.said_goodbye = true);
    }

    /// Samples of an instance became durable. Moves no placement, so it stirs nobody.
    pub fn sampled(&self, instance: &Id, newest_micros: Option<i64>, waiting: u64, dropped: u64) {
        let mut state = self.write();
        let Some(record) = state.instances.get_mut(instance) else { return };
        let newest = record.agent.spool.newest_micros.max(newest_micros);
        record.agent.spool = Spool { newest_micros: newest, waiting, dropped, ..record.agent.spool };
    }

    /// Who pushes for an instance says which group it is of: a claim, as an agent's is.
    pub fn claims(&self, instance: &Id, group: &Id, now: i64) {
        let known =
            self.read().instances.get(instance).is_some_and(|record| record.agent.claim.as_ref() == Some(group));
        if !known {
            self.agent(instance, now, |agent| agent.claim = Some(group.clone()));
        }
    }

    /// Samples were pushed for an instance that has no stream of its own.
    pub fn pushed(&self, instance: &Id, now: i64) {
        self.agent(instance, now, |agent| {
            agent.heard = Some(now);
            agent.ready.get_or_insert((true, now));
        });
    }

    /// Whether somebody talks to an instance that left its group, by its network.
    pub fn talked_to(&self, instance: &Id, talks: bool, at_micros: i64) {
        if let Some(record) = self.write().instances.get_mut(instance) {
            record.talks = Some((talks, at_micros));
        }
    }

    /// An agent was heard from, ready or not.
    pub(crate) fn agent_heard(&self, instance: &Id, ready: bool, at_micros: i64) {
        self.agent(instance, at_micros, |agent| {
            agent.heard = Some(at_micros);
            if agent.ready.is_none_or(|(was, _)| was != ready) {
                agent.ready = Some((ready, at_micros));
            }
        });
    }

    /// Placement now; `None` for an instance nothing is known of.
    pub fn placement(&self, instance: &Id) -> Option<Placement> {
        self.read().instances.get(instance)?.placements.last().cloned()
    }

    /// Placement at a time, µs since the epoch: what a sample's mode is decided by.
    pub fn placement_at(&self, instance: &Id, at_micros: i64) -> Option<Placement> {
        let state = self.read();
        let placements = &state.instances.get(instance)?.placements;
        placements.iter().rev().find(|placement| placement.since_micros <= at_micros).cloned()
    }

    /// What the agent of this instance is to do now.
    pub fn directive(&self, instance: &Id) -> v1::Directive {
        let state = self.read();
        let record = state.instances.get(instance);
        let mode = record.and_then(|record| record.placements.last()).map(|placement| placement.mode);
        let in_shadow = matches!(mode, Some(InstanceMode::Shadow | InstanceMode::Draining));
        v1::Directive {
            interval_millis: if in_shadow { self.0.shadow_interval_millis } else { self.0.interval_millis },
            mode: match mode {
                None => v1::Mode::Unspecified,
                Some(InstanceMode::Warming) => v1::Mode::Warming,
                Some(InstanceMode::Serving) => v1::Mode::Serving,
                Some(InstanceMode::Draining) => v1::Mode::Draining,
                Some(InstanceMode::Shadow) => v1::Mode::Shadow,
                Some(InstanceMode::Gone) => v1::Mode::Gone,
            }
            .into(),
            shadow_until_micros: record.map_or(0, |record| record.shadow_until_micros),
            reason: mode.map_or_else(String::new, |mode| format!("{mode:?} by the inventory").to_lowercase()),
        }
    }

    /// Ticks whenever an instance's placement or lease changed; ended for one that nobody knows. Each has its own: what
    /// moves one of ten thousand wakes one.
    pub fn changes_of(&self, instance: &Id) -> watch::Receiver<()> {
        let mut state = self.write();
        let record = state.instances.get_mut(instance);
        record.map(|record| record.changes.get_or_insert_default().subscribe()).unwrap_or_else(|| watch::channel(()).1)
    }

    /// Ticks whenever an agent said something that may move a placement.
    pub fn stirred(&self) -> watch::Receiver<u64> {
        self.0.stirred.subscribe()
    }

    /// Every group that a source, a claim or a placement names.
    pub fn groups(&self) -> Vec<Id> {
        let state = self.read();
        let mut groups: BTreeSet<Id> = state.groups.keys().cloned().collect();
        groups.extend(
            state.instances.values().filter_map(|record| record.placements.last()).map(|placed| placed.group.clone()),
        );
        groups.into_iter().collect()
    }

    /// Whether a source has a group, or somebody in it is known.
    pub fn knows(&self, group: &Id) -> bool {
        let state = self.read();
        let placed = |record: &Record| {
            record.placements.last().is_some_and(|placed| placed.group == *group && placed.mode != InstanceMode::Gone)
        };
        state.groups.contains_key(group) || state.instances.values().any(placed)
    }

    /// Machines of all groups, those that are gone left out.
    pub fn machines(&self) -> usize {
        let placed = |record: &Record| record.placements.last().is_some_and(|placed| placed.mode != InstanceMode::Gone);
        self.read().instances.values().filter(|record| placed(record)).count()
    }

    /// Every inventory source was read completely once.
    pub fn is_read(&self) -> bool {
        self.read().read_once
    }

    /// What is wrong with the latest reading of the sources, in words.
    pub fn problems(&self) -> Vec<String> {
        let state = self.read();
        let said =
            state.problems.iter().flat_map(|(source, all)| all.iter().map(move |one| format!("{source}: {one}")));
        said.collect()
    }

    /// Everybody who is not gone, with the group, in one look: of thousands of groups one by one each would look at all.
    pub fn members(&self) -> Vec<(Id, MemberSnapshot)> {
        let state = self.read();
        let of = |(instance, record): (&Id, &Record)| {
            let placed = record.here()?;
            Some((placed.group.clone(), record.shown(instance, placed)))
        };
        let mut members: Vec<(Id, MemberSnapshot)> = state.instances.iter().filter_map(of).collect();
        drop(state);
        members.sort_by(|(group, a), (other, b)| group.cmp(other).then_with(|| a.instance.cmp(&b.instance)));
        members
    }

    /// A group as it is now, members that are gone left out.
    pub fn group(&self, group: &Id) -> Option<GroupSnapshot> {
        let state = self.read();
        let source = state.groups.get(group);
        let of_group = |(instance, record): (&Id, &Record)| {
            let placed = record.here().filter(|placed| placed.group == *group)?;
            Some(record.shown(instance, placed))
        };
        let mut members: Vec<MemberSnapshot> = state.instances.iter().filter_map(of_group).collect();
        if source.is_none() && members.is_empty() {
            return None;
        }
        members.sort_by(|a, b| a.instance.cmp(&b.instance));
        let inventory = source.map(|source| &source.inventory);
        // After a restart a group is known from the disk before its source is read again.
        let unread = source.is_none()
            && members.iter().any(|member| state.instances.get(&member.instance).is_some_and(|record| !record.claimed));
        Some(GroupSnapshot {
            group: group.clone(),
            source: source.map(|source| source.name).or(unread.then_some("not read yet")),
            minimum: inventory.map_or(0, |inventory| inventory.minimum),
            maximum: inventory.map_or(u32::MAX, |inventory| inventory.maximum),
            lacking: source.filter(|source| source.complete).map_or(0, |source| source.inventory.lacking()),
            complete: source.map_or(!unread, |source| source.complete),
            taken_micros: source.map_or(0, |source| source.taken_micros),
            deploying: inventory.is_some_and(|inventory| inventory.deploying),
            untold: inventory.is_some_and(|inventory| inventory.untold),
            foreign_scale_in: inventory.is_some_and(|inventory| inventory.foreign_scale_in),
            floor: inventory.and_then(|it| Some(planner::evidence::Floor { now: it.floor?, own: it.minimum })),
            version: inventory.and_then(|inventory| inventory.version.clone()),
            zones: inventory.map(|inventory| inventory.zones.clone()).unwrap_or_default(),
            evens_zones: inventory.is_some_and(|inventory| inventory.evens_zones),
            termination: inventory.map(|inventory| inventory.termination.clone()).unwrap_or_default(),
            owner: inventory.and_then(|inventory| inventory.owner.clone()),
            members,
        })
    }

    /// Who was first seen, in a group, at or after a time.
    pub fn newcomers(&self, group: &Id, since_micros: i64) -> BTreeSet<Id> {
        let new = |record: &Record| {
            let first = record.placements.first();
            first.is_some_and(|first| first.group == *group && first.since_micros >= since_micros)
                && record.placements.len() < KEPT_PLACEMENTS
        };
        self.read().instances.iter().filter(|(_, record)| new(record)).map(|(instance, _)| instance.clone()).collect()
    }

    /// Instances that were serving in a group at a time, with their types.
    pub fn serving_at(&self, group: &Id, at_micros: i64) -> Vec<(Id, Option<String>)> {
        let state = self.read();
        let mut serving: Vec<_> = state
            .instances
            .iter()
            .filter(|(_, record)| {
                let placed = record.placements.iter().rev().find(|placed| placed.since_micros <= at_micros);
                placed.is_some_and(|placed| placed.group == *group && placed.mode == InstanceMode::Serving)
            })
            .map(|(instance, record)| (instance.clone(), record.instance_type()))
            .collect();
        serving.sort();
        serving
    }

    /// Puts back what was known before a restart.
    pub(super) fn restore(&self, instance: Id, placement: Placement, claimed: bool, now: i64) {
        let mut state = self.write();
        let since = placement.since_micros;
        let record = state.instances.entry(instance).or_insert_with(|| Record::first_seen(since));
        record.claimed = claimed;
        record.was_member |= !claimed;
        record.found_running = true;
        // Who was let go before stays so: until its group has it again it opens no session.
        record.released = placement.mode == InstanceMode::Gone;
        // Its agent has had no time to come back: silence counts from now on.
        let apart = matches!(placement.mode, InstanceMode::Draining | InstanceMode::Shadow);
        record.agent.heard = apart.then_some(now);
        if !claimed {
            record.member_of = Some(placement.group.clone());
        }
        record.push(placement);
    }

    /// What a restart leaves of it: placements, as they are stored, and nothing of sources and agents. `now` in µs.
    pub(crate) fn reopened(&self, now: i64) -> Self {
        let patience = *self.0.patience.read().unwrap_or_else(PoisonError::into_inner);
        let opened = Self::new(patience, self.0.interval_millis, self.0.shadow_interval_millis);
        for (instance, record) in &self.read().instances {
            for placement in &record.placements {
                opened.restore(instance.clone(), placement.clone(), record.claimed, now);
            }
        }
        opened
    }

    /// Forgets instances that were gone before a time (µs), so that years of launches fit in memory.
    pub(super) fn forget_gone(&self, before: i64) {
        self.write().instances.retain(|_, record| {
            let gone = |placed: &Placement| placed.mode == InstanceMode::Gone && placed.since_micros < before;
            record.agent.connected || record.member.is_some() || !record.placements.last().is_some_and(gone)
        });
    }

    /// Takes a source's inventory in. An incomplete one adds and updates, but nothing goes absent.
    pub(crate) fn take(&self, source: &'static str, inventory: &Inventory) {
        let mut state = self.write();
        state.problems.insert(source, inventory.problems.clone());
        for (group, found) in &inventory.groups {
            state.take(source, group, found, inventory.taken_micros, inventory.complete);
        }
        // What is not shown is not known, whether a page is missing or the group alone.
        let unknown = |group: &Id| !inventory.complete || !inventory.groups.contains_key(group);
        let own = state.groups.iter_mut().filter(|(_, known)| known.name == source);
        for (_, known) in own.filter(|(group, _)| unknown(group)) {
            known.complete = false;
        }
    }

    /// Takes in what a source says of some of its groups, between two whole inventories. It makes no
    /// group complete that was not, brings no new group, and settles no problem.
    pub(crate) fn take_some(&self, source: &'static str, groups: &BTreeSet<Id>, inventory: &Inventory) {
        let mut state = self.write();
        for (group, found) in inventory.groups.iter().filter(|(group, _)| groups.contains(*group)) {
            let known = state.groups.get(group).filter(|known| known.name == source);
            let Some(known) = known.filter(|known| known.taken_micros <= inventory.taken_micros) else { continue };
            let complete = known.complete && inventory.complete;
            state.take(source, group, found, inventory.taken_micros, complete);
        }
    }

    /// Agents that claim another state than the inventory has.
    pub(crate) fn doubts(&self) -> Vec<Doubt> {
        let state = self.read();
        let doubts =
            state.instances.iter().filter(|(_, record)| record.disagrees()).filter_map(|(instance, record)| {
                let claim = record.agent.facts.target_lifecycle_state.clone()?;
                Some(Doubt { instance: instance.clone(), group: record.member_of.clone()?, claim })
            });
        doubts.collect()
    }

    /// The group of an instance, where a source has it or had it.
    pub fn member_of(&self, instance: &Id) -> Option<Id> {
        self.read().instances.get(instance)?.member_of.clone()
    }

    /// The group of an instance that a source has now, or has let go of without its end: a shadow. Nothing that an
    /// agent claims counts.
    pub fn present_in(&self, instance: &Id) -> Option<Id> {
        let state = self.read();
        let record = state.instances.get(instance)?;
        let apart = record.placements.last().is_some_and(|placed| {
            !record.claimed && matches!(placed.mode, InstanceMode::Draining | InstanceMode::Shadow)
        });
        if record.member.is_some() || apart { record.member_of.clone() } else { None }
    }

    /// The source that has a group.
    pub(crate) fn source_of(&self, group: &Id) -> Option<&'static str> {
        self.read().groups.get(group).map(|source| source.name)
    }

    /// Something is wrong beside the inventories, or no longer.
    pub(crate) fn set_problem(&self, of: &'static str, problem: Option<String>) {
        self.write().problems.insert(of, problem.into_iter().collect());
    }

    /// A source could not be read: what it said before is incomplete from now on.
    pub(crate) fn lost(&self, source: &'static str, problem: String) {
        let mut state = self.write();
        state.problems.insert(source, vec![problem]);
        for known in state.groups.values_mut().filter(|known| known.name == source) {
            known.complete = false;
        }
    }

    pub(crate) fn set_read(&self) {
        self.write().read_once = true;
    }

    /// What would change at `now`; nothing is changed yet.
    pub(crate) fn moves(&self, now: i64) -> Vec<Move> {
        let patience = *self.0.patience.read().unwrap_or_else(PoisonError::into_inner);
        let state = self.read();
        let mut moves: Vec<Move> = state
            .instances
            .iter()
            .filter_map(|(instance, record)| {
                let current = record.placements.last();
                let complete = match &record.member_of {
                    Some(group) => state.read_once && state.groups.get(group).is_some_and(|source| source.complete),
                    None => state.read_once,
                };
                let known = Known {
                    lifecycle: record.member.as_ref().map(|member| &member.lifecycle),
                    was_member: record.was_member,
                    complete,
                    found_running: record.found_running,
                    first_seen: record.first_seen,
                    current: current.map(|placed| (placed.mode, placed.since_micros)),
                    ready: record.agent.ready.map(|(ready, _)| ready),
                    heard: if record.agent.connected { Some(now) } else { record.agent.heard },
                    said_goodbye: record.agent.said_goodbye,
                    released: record.released,
                    kept: record.kept,
                    drain: record.member_of.as_ref().and_then(|group| {
                        let seconds = state.groups.get(group)?.inventory.deregistration_seconds?;
                        Some(i64::from(seconds) * 1_000_000)
                    }),
                    talks: record.talks.filter(|(_, at)| now - at <= TALK_HEARD_MICROS).map(|(talks, _)| talks),
                };
                let mode = decide::mode(&known, &patience, now)?;
                let group = record.group()?;
                if current.is_some_and(|placed| placed.mode == mode && placed.group == group) {
                    return None;
                }
                // Serving since the agent was ready, when that is what made it so; one that comes back from
                // shadow was ready all along.
                let warmed = current.is_none_or(|placed| placed.mode == InstanceMode::Warming);
                let since = match record.agent.ready {
                    Some((true, at)) if mode == InstanceMode::Serving && warmed => at.min(now),
                    _ => now,
                };
                let since_micros = current.map_or(since, |placed| since.max(placed.since_micros + 1));
                Some(Move {
                    instance: instance.clone(),
                    from: current.cloned(),
                    to: Placement { group, mode, since_micros },
                    claimed: !record.was_member,
                    instance_type: record.instance_type(),
                    version: record.version(),
                    word: record.word(),
                    why: None,
                })
            })
            .collect();
        moves.sort_by(|a, b| a.instance.cmp(&b.instance));
        moves
    }

    /// Makes moves true.
    pub(crate) fn apply(&self, moves: &[Move]) {
        let mut state = self.write();
        for change in moves {
            if let Some(record) = state.instances.get_mut(&change.instance) {
                record.claimed = change.claimed;
                record.push(change.to.clone());
                record.changed();
            }
        }
    }

    /// Sets the end of an instance's shadow lease, µs since the epoch; 0 for none. One of ours keeps it
    /// from being taken for gone by its silence alone.
    pub fn lease(&self, instance: &Id, until_micros: i64, ours: bool) {
        let mut state = self.write();
        let Some(record) = state.instances.get_mut(instance) else { return };
        let changed = record.shadow_until_micros != until_micros;
        record.shadow_until_micros = until_micros;
        record.kept = ours && until_micros > 0;
        if changed {
            record.changed();
        }
    }

    /// An instance that left a group before anybody knew it here: a shadow from now on.
    pub fn orphan(&self, instance: &Id, group: &Id, now: i64) {
        let mut state = self.write();
        let record = state.instances.entry(instance.clone()).or_insert_with(|| Record::first_seen(now));
        if record.member.is_none() {
            record.member_of = Some(group.clone());
            record.was_member = true;
            record.claimed = false;
            record.released = false;
            record.kept = true;
        }
        drop(state);
        self.0.stirred.send_modify(|count| *count += 1);
    }

    /// The shadow lease ended: the instance is left running and not measured as a shadow any more.
    pub fn release(&self, instance: &Id) {
        if let Some(record) = self.write().instances.get_mut(instance) {
            record.released = true;
            record.shadow_until_micros = 0;
        }
        self.0.stirred.send_modify(|count| *count += 1);
    }
}

impl State {
    /// What a source says of one group.
    fn take(&mut self, source: &'static str, group: &Id, found: &GroupInventory, taken_micros: i64, complete: bool) {
        // Who is there when a group is first seen was there before us: it need not warm up.
        let first = !self.groups.contains_key(group);
        let listed: BTreeSet<&Id> = found.members.iter().map(|member| &member.instance).collect();
        for record in self.instances.values_mut() {
            let here = record.member_of.as_ref() == Some(group);
            if here && complete && record.member.as_ref().is_some_and(|member| !listed.contains(&member.instance)) {
                record.left = record.member.take();
            }
        }
        for member in &found.members {
            let record = self
                .instances
                .entry(member.instance.clone())
                .or_insert_with(|| Record { found_running: first, ..Record::first_seen(taken_micros) });
            record.member_of = Some(group.clone());
            record.member = Some(member.clone());
            record.was_member = true;
            record.claimed = false;
            record.released = false;
        }
        self.groups.insert(group.clone(), Source { name: source, taken_micros, complete, inventory: found.clone() });
    }
}

impl Record {
    /// How it leaves, when it does.
    /// Where it stands, unless it is gone.
    fn here(&self) -> Option<&Placement> {
        self.placements.last().filter(|placed| placed.mode != InstanceMode::Gone)
    }

    fn shown(&self, instance: &Id, placed: &Placement) -> MemberSnapshot {
        MemberSnapshot {
            instance: instance.clone(),
            mode: placed.mode,
            since_micros: placed.since_micros,
            instance_type: self.instance_type(),
            zone: self.zone(),
            version: self.member.as_ref().and_then(|member| member.version.clone()),
            protected: self.member.as_ref().is_some_and(|member| member.protected),
            cpu_credits: self.member.as_ref().and_then(|member| member.cpu_credits),
            out_of_service: self.word().filter(|word| self.member.is_some() && *word != DETACHED),
            connected: self.agent.connected,
            ready: self.agent.ready.map(|(ready, _)| ready),
            agent_version: Some(self.agent.version.clone()).filter(|version| !version.is_empty()),
            claimed_state: self.agent.facts.target_lifecycle_state.clone(),
            claim_disagrees: self.disagrees(),
            spool: Spool { first_acknowledged_millis: self.agent.facts.first_acknowledged_millis, ..self.agent.spool },
            proven: self.agent.heard.map(|_| self.agent.proven),
        }
    }

    fn word(&self) -> Option<&'static str> {
        match self.member.as_ref().map(|member| &member.lifecycle) {
            Some(Lifecycle::Standby) => Some(STANDBY),
            Some(Lifecycle::Waiting) => Some(HELD),
            Some(Lifecycle::Retained) => Some("retained"),
            Some(Lifecycle::Terminating) => None,
            _ => Some(DETACHED),
        }
    }

    /// The agent says that its cloud wants it in service and the inventory has it outside, or the other
    /// way round. Words that are not known say nothing.
    fn disagrees(&self) -> bool {
        let Some(claim) = self.agent.facts.target_lifecycle_state.as_deref().filter(|_| self.was_member) else {
            return false;
        };
        let inside = match self.placements.last().map(|placed| placed.mode) {
            Some(InstanceMode::Warming | InstanceMode::Serving) => true,
            Some(InstanceMode::Draining | InstanceMode::Shadow) => false,
            Some(InstanceMode::Gone) | None => return false,
        };
        match claim {
            "InService" => !inside,
            "Detached" | "Standby" | "Terminated" => inside,
            _ => false,
        }
    }

    fn first_seen(now: i64) -> Self {
        Self { first_seen: now, ..Self::default() }
    }

    fn changed(&self) {
        if let Some(changes) = &self.changes {
            changes.send_replace(());
        }
    }

    fn push(&mut self, placement: Placement) {
        self.placements.push(placement);
        if self.placements.len() > KEPT_PLACEMENTS {
            self.placements.remove(0);
        }
    }

    /// The source's group; else where it was; else the agent's claim.
    fn group(&self) -> Option<Id> {
        self.member_of
            .clone()
            .or_else(|| self.agent.claim.clone())
            .or_else(|| self.placements.last().map(|placed| placed.group.clone()))
            .or_else(|| Id::new("group", UNASSIGNED).ok())
    }

    fn instance_type(&self) -> Option<String> {
        let from_source = self.member.as_ref().or(self.left.as_ref()).and_then(|member| member.instance_type.as_ref());
        from_source.or(self.agent.facts.instance_type.as_ref()).map(ToString::to_string)
    }

    fn version(&self) -> Option<String> {
        self.member.as_ref().or(self.left.as_ref())?.version.clone()
    }

    fn zone(&self) -> Option<String> {
        let from_source = self.member.as_ref().or(self.left.as_ref()).and_then(|member| member.zone.as_ref());
        from_source.or(self.agent.facts.zone.as_ref()).map(ToString::to_string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000_000;

    fn id(name: &str) -> Id {
        Id::new("id", name).expect("an id")
    }

    fn timeline() -> Timeline {
        Timeline::new(Patience { warm_up: 0, drain: 0, silent: 300_000_000 }, 1_000, 1_000)
    }

    fn placed(mode: InstanceMode, since_micros: i64) -> Placement {
        Placement { group: id("web"), mode, since_micros }
    }

    fn inventory(instances: &[&str], taken_micros: i64) -> Inventory {
        let members = instances.iter().map(|name| Member {
            instance: id(name),
            instance_type: Some(id("m5.large")),
            zone: None,
            lifecycle: Lifecycle::InService,
            protected: false,
            version: None,
            cpu_credits: None,
        });
        let group = GroupInventory { maximum: 9, members: members.collect(), ..GroupInventory::default() };
        Inventory { taken_micros, complete: true, groups: BTreeMap::from([(id("web"), group)]), ..Inventory::default() }
    }

    fn settle(timeline: &Timeline, now: i64) -> Vec<Move> {
        let moves = timeline.moves(now);
        timeline.apply(&moves);
        moves
    }

    #[test]
    fn a_group_that_is_missing_leaves_the_others_complete_and_takes_nobody_for_gone() {
        let timeline = timeline();
        let mut both = inventory(&["i-1"], NOW);
        let other = GroupInventory { maximum: 9, ..GroupInventory::default() };
        both.groups.insert(id("other"), other);
        timeline.take("aws", &both);
        timeline.set_read();
        settle(&timeline, NOW);
        let complete = |name: &str| timeline.group(&id(name)).is_some_and(|group| group.complete);
        assert!(complete("web") && complete("other"));
        let mut one = both.clone();
        one.groups.remove(&id("web"));
        one.missing.insert("web".to_owned());
        timeline.take("aws", &one);
        assert!(!complete("web") && complete("other"), "the missing one alone");
        assert_eq!(settle(&timeline, NOW + 1), [], "nobody of it moved");
        timeline.take("aws", &both);
        assert!(complete("web"), "it is back");
        timeline.take("aws", &Inventory { complete: false, ..both });
        assert!(!complete("web") && !complete("other"), "a page that is missing is everybody's");
    }

    #[test]
    fn what_has_been_gone_for_long_is_forgotten_and_nothing_else() {
        let timeline = timeline();
        for (name, mode, since) in [
            ("gone-long", InstanceMode::Gone, 10),
            ("gone-lately", InstanceMode::Gone, 30),
            ("serves", InstanceMode::Serving, 10),
        ] {
            timeline.restore(id(name), placed(mode, since), false, NOW);
        }
        timeline.forget_gone(20);
        let known = ["gone-long", "gone-lately", "serves"].map(|name| timeline.placement(&id(name)).is_some());
        assert_eq!(known, [false, true, true]);
    }

    #[test]
    fn who_comes_back_from_shadow_serves_from_then_on_and_not_before() {
        let timeline = timeline();
        timeline.take("file", &inventory(&["i-1"], NOW));
        timeline.set_read();
        timeline.pushed(&id("i-1"), NOW);
        timeline.take("file", &inventory(&[], NOW + 1));
        settle(&timeline, NOW + 1);
        settle(&timeline, NOW + 2);
        assert_eq!(timeline.placement(&id("i-1")).map(|placed| placed.mode), Some(InstanceMode::Shadow));
        timeline.take("file", &inventory(&["i-1"], NOW + 900));
        settle(&timeline, NOW + 900);
        let placed = timeline.placement(&id("i-1")).expect("known");
        assert_eq!((placed.mode, placed.since_micros), (InstanceMode::Serving, NOW + 900));
    }

    #[test]
    fn only_a_certificate_or_an_operator_proves_an_instance() {
        let timeline = timeline();
        timeline.take("file", &inventory(&["i-1", "i-2"], NOW));
        timeline.set_read();
        settle(&timeline, NOW);
        let proven = || timeline.group(&id("web")).expect("known").is_proven();
        assert!(proven(), "silent instances claim nothing");
        timeline.pushed(&id("i-1"), NOW);
        assert!(!proven(), "heard of, and not proven");
        timeline.agent_proven(&id("i-1"), true, NOW);
        assert!(proven());
        let hello = |instance: &str| Hello {
            instance: id(instance),
            stream: foreshadow_proto::convert::StreamId([1; 16]),
            boot_id: id("boot"),
            facts: Facts::default(),
            agent_version: String::new(),
            claimed_group: None,
            protocol: 1,
        };
        timeline.agent_connected(&hello("i-2"), NOW);
        assert!(!proven(), "one is enough");
        timeline.agent_proven(&id("i-2"), true, NOW);
        assert!(proven());
        // A later stream has to prove it anew.
        timeline.agent_connected(&hello("i-1"), NOW);
        assert!(!proven());
    }

    #[test]
    fn present_is_who_a_source_has_or_let_go_of_running() {
        let timeline = timeline();
        timeline.take("file", &inventory(&["i-1", "i-2"], NOW));
        timeline.set_read();
        settle(&timeline, NOW);
        let present = |name: &str| timeline.present_in(&id(name)).map(|group| group.to_string());
        assert_eq!(present("i-1").as_deref(), Some("web"));
        assert_eq!(present("i-9"), None);
        timeline.agent_connected(
            &Hello {
                protocol: 1,
                instance: id("i-3"),
                stream: foreshadow_proto::convert::StreamId([1; 16]),
                boot_id: id("boot"),
                facts: Facts::default(),
                agent_version: String::new(),
                claimed_group: Some(id("web")),
            },
            NOW,
        );
        settle(&timeline, NOW + 1);
        assert_eq!(present("i-3"), None, "a claim is no word of a source");
        // Detached and still heard of; then gone.
        timeline.agent_heard(&id("i-2"), true, NOW + 2);
        timeline.take("file", &inventory(&["i-1"], NOW + 2));
        settle(&timeline, NOW + 2);
        assert_eq!(present("i-2").as_deref(), Some("web"), "a shadow");
        settle(&timeline, NOW + 400_000_000);
        settle(&timeline, NOW + 800_000_000);
        assert_eq!(present("i-2"), None, "gone");
    }

    #[test]
    fn who_leaves_drains_for_as_long_as_its_load_balancer_lets_connections_end() {
        let timeline = timeline();
        let with = |names: &[&str], at: i64| {
            let mut told = inventory(names, at);
            told.groups.values_mut().for_each(|group| group.deregistration_seconds = Some(60));
            told
        };
        timeline.take("file", &with(&["i-1", "i-2"], NOW));
        timeline.set_read();
        timeline.agent_heard(&id("i-2"), true, NOW);
        settle(&timeline, NOW);
        timeline.take("file", &with(&["i-1"], NOW + 1));
        settle(&timeline, NOW + 1);
        let mode = |at: i64| {
            timeline.agent_heard(&id("i-2"), true, at);
            settle(&timeline, at);
            timeline.placement(&id("i-2")).map(|placed| placed.mode)
        };
        assert_eq!(mode(NOW + 59_000_000), Some(InstanceMode::Draining));
        assert_eq!(mode(NOW + 62_000_000), Some(InstanceMode::Shadow));
    }

    #[test]
    fn who_stands_by_is_held_or_is_kept_opens_a_foreign_session_by_its_word_and_who_is_dying_none() {
        use crate::clock::Now;
        use crate::shadow::{Book, Origin, ShadowConfig};
        for (lifecycle, word) in [
            ("Standby", Some("standby")),
            ("Terminating:Wait", Some("held by a termination hook")),
            ("Terminating:Retained", Some("retained")),
            ("Terminating", None),
            ("Terminating:Proceed", None),
        ] {
            let timeline = timeline();
            let mut book = Book::new(ShadowConfig::default(), Vec::new());
            let mut told = inventory(&["i-1", "i-2"], NOW);
            timeline.take("aws", &told);
            timeline.set_read();
            timeline.pushed(&id("i-1"), NOW);
            let clock = Now { wall: NOW / 1_000_000, boot: 1_000 };
            book.follow(&settle(&timeline, NOW), clock);
            let members = &mut told.groups.get_mut(&id("web")).expect("the group").members;
            members[0].lifecycle = Lifecycle::from_word(lifecycle);
            timeline.take("aws", &told);
            book.follow(&settle(&timeline, NOW + 1), clock);
            assert_eq!(timeline.placement(&id("i-1")).map(|it| it.mode), Some(InstanceMode::Draining), "{lifecycle}");
            let opened = book.sessions().iter().map(|it| (it.instance.as_str(), it.origin, it.reason.as_str()));
            let expected = word.map(|word| ("i-1", Origin::Foreign, word));
            assert_eq!(opened.collect::<Vec<_>>(), expected.into_iter().collect::<Vec<_>>(), "{lifecycle}");
            let shown = timeline.group(&id("web")).expect("known").members;
            let first = shown.iter().find(|it| it.instance == id("i-1")).expect("shown");
            assert_eq!(first.out_of_service, word, "{lifecycle}");
        }
    }

    #[test]
    fn an_instance_that_left_keeps_the_type_its_source_gave() {
        let timeline = timeline();
        timeline.take("file", &inventory(&["i-1", "i-2"], NOW));
        timeline.set_read();
        settle(&timeline, NOW);
        timeline.pushed(&id("i-1"), NOW);
        timeline.take("file", &inventory(&["i-2"], NOW + 1));
        let moves = settle(&timeline, NOW + 1);
        let left = moves.iter().find(|change| change.instance == id("i-1")).expect("it moved");
        assert_eq!(left.instance_type.as_deref(), Some("m5.large"), "its lease and price depend on it");
    }

    #[test]
    fn a_group_known_from_the_disk_is_incomplete_until_its_source_is_read() {
        let timeline = timeline();
        timeline.restore(id("i-1"), placed(InstanceMode::Serving, NOW), false, NOW);
        let before = timeline.group(&id("web")).expect("known");
        assert_eq!((before.source, before.complete), (Some("not read yet"), false));
        timeline.take("file", &inventory(&["i-1"], NOW));
        let after = timeline.group(&id("web")).expect("known");
        assert_eq!((after.source, after.complete), (Some("file"), true));
        timeline.restore(
            id("c-1"),
            Placement { group: id("claimed"), ..placed(InstanceMode::Serving, NOW) },
            true,
            NOW,
        );
        assert_eq!(timeline.group(&id("claimed")).expect("known").source, None, "a claim stays a claim");
    }

    #[test]
    fn who_was_let_go_before_a_restart_opens_no_session_after_it() {
        let timeline = timeline();
        timeline.restore(id("s-1"), placed(InstanceMode::Gone, NOW - 9), false, NOW);
        timeline.take("file", &inventory(&["i-1"], NOW));
        timeline.set_read();
        timeline.pushed(&id("s-1"), NOW);
        settle(&timeline, NOW + 1_000_000);
        let mode = || timeline.placement(&id("s-1")).map(|placed| placed.mode);
        assert_eq!(mode(), Some(InstanceMode::Gone), "it runs on and was released");
        timeline.take("file", &inventory(&["i-1", "s-1"], NOW + 2_000_000));
        settle(&timeline, NOW + 2_000_000);
        assert_ne!(mode(), Some(InstanceMode::Gone), "its group has it again");
    }

    #[test]
    fn after_a_restart_a_shadow_is_not_gone_before_its_agent_could_come_back() {
        let timeline = timeline();
        timeline.restore(id("s-1"), placed(InstanceMode::Shadow, NOW - 9), false, NOW);
        timeline.restore(id("s-2"), placed(InstanceMode::Shadow, NOW - 9), false, NOW);
        timeline.take("file", &inventory(&["i-1"], NOW));
        timeline.set_read();
        let mode = |name: &str| timeline.placement(&id(name)).map(|placed| placed.mode);
        settle(&timeline, NOW + 299_000_000);
        assert_eq!((mode("s-1"), mode("s-2")), (Some(InstanceMode::Shadow), Some(InstanceMode::Shadow)));
        timeline.lease(&id("s-1"), NOW, true);
        timeline.lease(&id("s-2"), NOW, false);
        settle(&timeline, NOW + 301_000_000);
        assert_eq!(mode("s-1"), Some(InstanceMode::Shadow), "one of ours is looked after however silent it is");
        assert_eq!(mode("s-2"), Some(InstanceMode::Gone));
    }

    #[test]
    fn what_is_said_of_some_groups_makes_no_inventory_complete() {
        let timeline = timeline();
        let some = BTreeSet::from([id("web")]);
        timeline.take_some("file", &some, &inventory(&["i-1"], NOW));
        assert!(timeline.group(&id("web")).is_none(), "a new group comes with a whole inventory");
        timeline.take("file", &inventory(&["i-1", "i-2"], NOW));
        timeline.set_read();
        timeline.pushed(&id("i-2"), NOW);
        settle(&timeline, NOW);
        timeline.lost("file", "throttled".to_owned());
        timeline.take_some("file", &some, &inventory(&["i-1"], NOW + 1));
        settle(&timeline, NOW + 1);
        let mode = || timeline.placement(&id("i-2")).map(|placed| placed.mode);
        assert_eq!(mode(), Some(InstanceMode::Serving), "the last whole reading failed");
        assert_eq!(timeline.problems(), ["file: throttled"]);
        timeline.take("file", &inventory(&["i-1", "i-2"], NOW + 2));
        timeline.take_some("file", &BTreeSet::new(), &inventory(&["i-1"], NOW + 3));
        timeline.take_some("file", &some, &Inventory { complete: false, ..inventory(&["i-1"], NOW + 3) });
        settle(&timeline, NOW + 3);
        assert_eq!(mode(), Some(InstanceMode::Serving), "another group, or half of it");
        timeline.take("file", &inventory(&["i-1", "i-2"], NOW + 4));
        timeline.take_some("file", &some, &inventory(&["i-1"], NOW + 3));
        timeline.take_some("aws", &some, &inventory(&["i-1"], NOW + 5));
        settle(&timeline, NOW + 5);
        assert_eq!(mode(), Some(InstanceMode::Serving), "older than what is known, or another source's");
        timeline.take_some("file", &some, &inventory(&["i-1"], NOW + 6));
        settle(&timeline, NOW + 6);
        assert_eq!(mode(), Some(InstanceMode::Draining));
    }

    #[test]
    fn how_long_an_agent_took_to_its_first_acknowledged_sample_is_counted_once_a_process() {
        let recorder = crate::telemetry::prometheus().build_recorder();
        let metrics = recorder.handle();
        let _recording = metrics::set_default_local_recorder(&recorder);
        let timeline = timeline();
        timeline.take("file", &inventory(&["i-1"], NOW));
        timeline.set_read();
        settle(&timeline, NOW);
        let shown = || timeline.group(&id("web")).expect("known").members.remove(0).spool;
        let counted = || {
            let told = metrics.render();
            let name = "foreshadow_agent_first_acknowledged_seconds_count ";
            told.lines().find_map(|line| line.strip_prefix(name)?.parse::<u32>().ok()).unwrap_or_default()
        };
        let facts = |millis| Facts { first_acknowledged_millis: millis, ..Facts::default() };
        let hello = |millis| Hello {
            instance: id("i-1"),
            stream: foreshadow_proto::convert::StreamId([1; 16]),
            boot_id: id("boot"),
            facts: facts(millis),
            agent_version: String::new(),
            claimed_group: None,
            protocol: 1,
        };
        timeline.agent_connected(&hello(None), NOW);
        assert_eq!((shown().first_acknowledged_millis, counted()), (None, 0), "absent is not zero");
        timeline.agent_facts(&id("i-1"), &facts(Some(2_037)), NOW);
        timeline.sampled(&id("i-1"), Some(NOW), 0, 0);
        assert_eq!((shown().first_acknowledged_millis, shown().newest_micros), (Some(2_037), Some(NOW)));
        // Facts of something else, and a stream that broke, say it again.
        timeline.agent_facts(&id("i-1"), &facts(Some(2_037)), NOW);
        timeline.agent_connected(&hello(Some(2_037)), NOW);
        timeline.agent_facts(&id("i-1"), &facts(Some(2_037)), NOW);
        assert_eq!((shown().first_acknowledged_millis, counted()), (Some(2_037), 1));
        // Another process.
        timeline.agent_connected(&hello(None), NOW);
        assert_eq!(shown().first_acknowledged_millis, None);
        timeline.agent_facts(&id("i-1"), &facts(Some(1_000)), NOW);
        assert_eq!((shown().first_acknowledged_millis, counted()), (Some(1_000), 2));
    }

    #[test]
    fn an_agents_claim_is_shown_and_moves_nothing() {
        let timeline = timeline();
        timeline.take("file", &inventory(&["i-1"], NOW));
        timeline.set_read();
        let claims = |word: &str| {
            let facts = Facts { target_lifecycle_state: Some(word.to_owned()), ..Facts::default() };
            timeline.agent_facts(&id("i-1"), &facts, NOW);
            timeline.agent_ready(&id("i-1"), true, NOW);
            settle(&timeline, NOW);
            let member = timeline.group(&id("web")).expect("known").members.remove(0);
            (member.mode, member.claim_disagrees, timeline.doubts().len())
        };
        assert_eq!(claims("InService"), (InstanceMode::Serving, false, 0));
        assert_eq!(claims("Detached"), (InstanceMode::Serving, true, 1), "the inventory has it serving");
        assert_eq!(claims("Warmed:Running"), (InstanceMode::Serving, false, 0));
        timeline.pushed(&id("i-1"), NOW);
        timeline.take("file", &inventory(&[], NOW + 1));
        settle(&timeline, NOW + 1);
        assert_eq!(claims("InService"), (InstanceMode::Draining, true, 1));
    }

    #[test]
    fn a_source_that_fails_is_told_and_its_groups_become_incomplete() {
        let timeline = timeline();
        timeline.take("file", &inventory(&["i-1"], NOW));
        assert_eq!(timeline.problems(), Vec::<String>::new());
        timeline.lost("file", "inventory.toml: cannot be read".to_owned());
        assert_eq!(timeline.problems(), ["file: inventory.toml: cannot be read"]);
        assert!(!timeline.group(&id("web")).expect("known").complete);
        timeline.take("file", &inventory(&["i-1"], NOW));
        assert!(timeline.problems().is_empty() && timeline.group(&id("web")).expect("known").complete);
    }
}
