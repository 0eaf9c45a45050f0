//! From plans to effects, without IO: picks the step, keeps the journal and the ledger, tells the
//! planner what of our own doing it must reckon with, and the checker what it cannot see itself.
//!
//! The service drives it against a cloud and a disk; the tests drive it through simulated weeks.

use std::collections::{BTreeMap, BTreeSet};

use checker::{Limits, Removed};
use foreshadow_proto::convert::Id;
use planner::demand::InstanceMode;
use planner::evidence::{Instance, Inventory};
use planner::plan::{PlannedStep, Step};
use planner::policy::ShadowBy;
use serde::{Deserialize, Serialize};

use super::control::Standing;
use super::journal::{Effect, Event, Intent, Journal, Settled};
use super::ledger::{Gone, Ledger, Way};
use super::verdicts::{self, Judged, Planned, Surroundings, Verdict};
use crate::fleet::{Action, Reach, Token};
use crate::store::StoreId;

/// What takes machines away names this many at most: one call carries them all (`DetachInstances`, `EnterStandby`), and no
/// second one follows when the plan is old.
const AWAY_AT_ONCE: usize = 20;

/// How a plan goes on.
#[derive(Debug)]
pub enum Next {
    /// A step that concerns leases alone.
    Lease(PlannedStep),
    /// An intent is begun.
    Effects(Vec<Effect>),
    End,
}

/// One installation's hands.
#[derive(Debug)]
pub struct Executor {
    installation: StoreId,
    epoch: u64,
    limits: Limits,
    journal: Journal,
    ledger: Ledger,
    /// By group: until when it may go below last week's need, seconds since the Unix epoch.
    leaves: BTreeMap<Id, i64>,
}

/// A group as an inventory shows it.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Who serves or warms, by the inventory alone.
    pub members: BTreeSet<Id>,
    pub serving: u32,
    /// By how much they are fewer than the provider is to have.
    pub lacking: u32,
    /// When the picture was taken, seconds since the epoch.
    pub taken: i64,
    /// Instances of all groups together.
    pub machines: u32,
}

/// What the planner must reckon with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outlook {
    pub changing: bool,
    pub launches_failing: bool,
    /// No launch is tried before this, seconds since the epoch.
    pub launch_again_at: Option<i64>,
    pub launched_last_hour: u32,
    pub expected: u32,
    pub detachable: u32,
    pub terminable: u32,
    /// Modes that the inventory cannot show yet.
    pub modes: BTreeMap<Id, InstanceMode>,
    /// Shadows that could not be brought back and are not tried again yet.
    pub kept_out: BTreeSet<Id>,
    /// Whom a launch that named nobody has brought, with the time of its call.
    pub arrived: Vec<(Id, i64)>,
}

impl Executor {
    /// `epoch` is that of the lease under which everything is done.
    pub fn new(installation: StoreId, epoch: u64, limits: Limits) -> Self {
        Self {
            installation,
            epoch,
            limits,
            journal: Journal::default(),
            ledger: Ledger::default(),
            leaves: BTreeMap::new(),
        }
    }

    /// By group: until when it may go below last week's need, seconds since the Unix epoch.
    pub fn set_leaves(&mut self, leaves: BTreeMap<Id, i64>) {
        self.leaves = leaves;
    }

    pub const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The intents that are not settled.
    pub fn open(&self) -> impl Iterator<Item = &Intent> {
        self.journal.open()
    }

    /// Takes in what was settled before a restart, oldest first.
    pub fn restore(
        &mut self,
        settled: &[(Intent, Settled, i64)],
        newcomers: impl Fn(&Id, i64) -> BTreeSet<Id>,
        now: i64,
    ) {
        for (intent, settled, at) in settled {
            self.ledger.settled(intent, settled, *at);
        }
        self.ledger.restored(newcomers, now);
    }

    /// The next step of a plan, from `index` on, that its mode permits and the checker would allow;
    /// `index` moves behind it. Nothing is begun in a group that is busy or paused.
    pub fn next(&mut self, planned: &Planned, index: &mut usize, standing: &Standing, reach: Reach, now: i64) -> Next {
        if standing.paused {
            return Next::End;
        }
        let Ok(group) = Id::new("group", &planned.plan.group) else { return Next::End };
        while let Some(step) = planned.plan.steps.get(*index) {
            let at = std::mem::replace(index, *index + 1);
            if !step.permitted {
                continue;
            }
            match &step.step {
                Step::Extend { instances } => {
                    let instances = self.at_rest(&group, instances);
                    if instances.is_empty() {
                        continue;
                    }
                    return Next::Lease(PlannedStep { step: Step::Extend { instances }, ..step.clone() });
                }
                Step::Release { .. } | Step::Adopt { .. } => return Next::Lease(step.clone()),
                _ => {}
            }
            let Some(intent) = self.intent(planned, at, now) else { continue };
            let around = self.surroundings(&group, &intent.action, reach, planned.plan.made_at);
            // What the checker refuses already is not worth a line in the journal, nor a description.
            if !verdicts::refusals(planned, &verdicts::change_of(&intent.action), &self.limits, &around).is_empty() {
                continue;
            }
            let effects = self.on(Event::Begin(intent), now);
            if effects.is_empty() {
                // An older plan's change is under way: what would follow this step was made for a group without that change.
                *index = planned.plan.steps.len();
                return Next::End;
            }
            return Next::Effects(effects);
        }
        Next::End
    }

    /// Whom no open intent names, and nothing was done to that this plan could not see: a lease that is extended is tagged, and
    /// who is on the way back, or came back, carries none.
    fn at_rest(&self, group: &Id, names: &[String]) -> Vec<String> {
        let moving: BTreeSet<&Id> = self.open().flat_map(|intent| intent.action.instances()).collect();
        let rests = |name: &&String| {
            let Ok(id) = Id::new("instance", name) else { return false };
            !moving.contains(&id) && self.ledger.mode(group, &id, InstanceMode::Shadow).is_none()
        };
        names.iter().filter(rests).cloned().collect()
    }

    /// What the checker says of every step, by the evidence of the plan itself.
    pub fn judge(&self, planned: &Planned, reach: Reach) -> Vec<Verdict> {
        self.judged(planned, reach).into_iter().map(Judged::verdict).collect()
    }

    /// The same with what it was told.
    pub fn judged(&self, planned: &Planned, reach: Reach) -> Vec<Judged> {
        let Ok(group) = Id::new("group", &planned.plan.group) else { return Vec::new() };
        let judged = (0..planned.plan.steps.len()).filter_map(|step| {
            let action = self.action(planned, step)?;
            let around = self.surroundings(&group, &action, reach, planned.plan.made_at);
            let change = verdicts::change_of(&action);
            let refusals = verdicts::refusals(planned, &change, &self.limits, &around);
            Some(Judged { step, change, around, refusals })
        });
        judged.collect()
    }

    /// What the checker must know beside the plan's evidence.
    pub fn surroundings(&self, group: &Id, action: &Action, reach: Reach, now: i64) -> Surroundings {
        let record = self.record(group, action, now);
        let leave_below_last_week = self.leaves.get(group).is_some_and(|until| now < *until);
        Surroundings {
            now,
            record,
            loopback: reach == Reach::Loopback,
            leave_below_last_week,
            ..Surroundings::default()
        }
    }

    /// What a step does to the cloud; `None` when that is nothing.
    fn action(&self, planned: &Planned, step: usize) -> Option<Action> {
        let ids =
            |names: &[String]| names.iter().map(|name| Id::new("instance", name).ok()).collect::<Option<Vec<_>>>();
        match &planned.plan.steps.get(step)?.step {
            Step::Launch { count } => {
                let inventory = &planned.evidence.inventory;
                let inside = self.inside(planned)?;
                let present = u32::try_from(inside.len()).unwrap_or(u32::MAX).saturating_add(inventory.expected);
                Some(Action::Launch {
                    count: *count,
                    size: present.saturating_add(*count),
                    zones: spread(inventory, &inside, *count),
                })
            }
            // One intent is one call: of shadows that stand by and shadows that are detached one kind comes
            // first, and the other with the next plan.
            Step::Reattach { instances } => {
                let (standing_by, detached) = apart(planned, ids(instances)?);
                Some(if standing_by.is_empty() {
                    Action::Attach { instances: detached }
                } else {
                    Action::ExitStandby { instances: standing_by }
                })
            }
            Step::Detach { instances } => Some(match planned.policy.shadow_by {
                ShadowBy::Detach => Action::Detach { instances: at_once(ids(instances)?) },
                ShadowBy::Standby => Action::EnterStandby { instances: at_once(ids(instances)?) },
            }),
            // Nobody is terminated who is in a group: who stands by leaves it first, and ends with a later plan.
            Step::Terminate { instances } => {
                let (standing_by, detached) = apart(planned, ids(instances)?);
                Some(if detached.is_empty() {
                    Action::Leave { instances: at_once(standing_by) }
                } else {
                    Action::Terminate { instances: at_once(detached) }
                })
            }
            Step::Floor { from, to } => Some(Action::Floor { from: *from, to: *to }),
            Step::Extend { .. } | Step::Release { .. } | Step::Adopt { .. } => None,
        }
    }

    /// Who serves or is on its way by the plan's evidence, and by what was done since: whom the same plan brought back
    /// belongs to the size that a launch behind it asks for.
    fn inside<'a>(&self, planned: &'a Planned) -> Option<Vec<&'a Instance>> {
        let group = Id::new("group", &planned.plan.group).ok()?;
        let inside = |instance: &&Instance| {
            let done =
                Id::new("instance", &instance.id).ok().and_then(|id| self.ledger.mode(&group, &id, instance.mode));
            matches!(done.unwrap_or(instance.mode), InstanceMode::Serving | InstanceMode::Warming)
        };
        Some(planned.evidence.inventory.instances.iter().filter(inside).collect())
    }

    fn intent(&self, planned: &Planned, index: usize, now: i64) -> Option<Intent> {
        let plan = &planned.plan;
        let action = self.action(planned, index)?;
        let group = Id::new("group", &plan.group).ok()?;
        let step = u32::try_from(index).ok()?;
        Some(Intent {
            token: Token::new(self.installation, &group, plan.generation, step),
            group,
            generation: plan.generation,
            step,
            epoch: self.epoch,
            action,
            written_at: now,
            valid_until: plan.valid_until,
        })
    }

    /// Moves the journal on, and the ledger with it.
    pub fn on(&mut self, event: Event, now: i64) -> Vec<Effect> {
        let effects = self.journal.on(event, now);
        for effect in &effects {
            if let Effect::Settle(intent, settled) = effect {
                self.ledger.settled(intent, settled, now);
            }
        }
        effects
    }

    /// Compares with what an inventory shows and tells what it cannot show.
    pub fn outlook(&mut self, group: &Id, seen: &Seen, known: &BTreeMap<Id, InstanceMode>, now: i64) -> Outlook {
        let arrived = self.ledger.seen(group, seen, now);
        let allowance = |way: Way| {
            let gone: Gone = self.ledger.gone(group, way, &[], now);
            let before = self.ledger.served_6_hours_ago(group);
            let before = if before == 0 { seen.serving } else { before };
            let fleet = share(self.limits.fleet_share, seen.machines);
            let left = share(self.limits.share_15_minutes, seen.serving).saturating_sub(gone.last_15_minutes);
            left.min(share(self.limits.share_6_hours, before).saturating_sub(gone.last_6_hours))
                .min(fleet.saturating_sub(self.gone_everywhere(group, way, &[], now)))
        };
        Outlook {
            changing: !self.journal.is_idle(group),
            launches_failing: self.ledger.launches_failing(group, now),
            launch_again_at: self.ledger.launch_again_at(group, now),
            launched_last_hour: self.ledger.launched_last_hour(group, now),
            expected: self.ledger.expected(group, &seen.members, now),
            detachable: if self.ledger.keeps_in(group, now) { 0 } else { allowance(Way::Out) },
            terminable: allowance(Way::End),
            arrived,
            kept_out: self.ledger.kept_out(now),
            modes: known
                .iter()
                .filter_map(|(it, shown)| Some((it.clone(), self.ledger.mode(group, it, *shown)?)))
                .collect(),
        }
    }

    /// Intents of other groups that take machines away and are not settled: done, for all that is known.
    fn begun_elsewhere<'a>(&'a self, group: &'a Id) -> impl Iterator<Item = (&'a Id, Way, usize)> {
        self.journal
            .open()
            .filter(move |intent| intent.group != *group)
            .filter_map(|intent| Some((&intent.group, Way::of(&intent.action)?, intent.action.instances().len())))
    }

    /// What goes a way in all groups within 15 minutes, but for what is to go now.
    fn gone_everywhere(&self, group: &Id, way: Way, but: &[Id], now: i64) -> u32 {
        let begun: usize = self.begun_elsewhere(group).filter(|(_, begun, _)| *begun == way).map(|(.., it)| it).sum();
        self.ledger.gone_everywhere(way, but, now).saturating_add(u32::try_from(begun).unwrap_or(u32::MAX))
    }

    fn record(&self, group: &Id, action: &Action, now: i64) -> Record {
        let (way, named) = (Way::of(action).unwrap_or(Way::Out), action.instances());
        let gone = self.ledger.gone(group, way, named, now);
        let mut others = self.ledger.other_groups_in(group, now);
        others.extend(self.begun_elsewhere(group).map(|(other, ..)| other));
        Record {
            removed: Removed {
                last_15_minutes: gone.last_15_minutes,
                last_6_hours: gone.last_6_hours,
                served_6_hours_ago: self.ledger.served_6_hours_ago(group),
            },
            launched_last_hour: self.ledger.launched_last_hour(group, now),
            launches_failing: self.ledger.launches_failing(group, now),
            other_groups_in: u32::try_from(others.len()).unwrap_or(u32::MAX),
            removed_everywhere: self.gone_everywhere(group, way, named, now),
        }
    }
}

/// How many of a launch go into which zone, so that zones are as even as they can be: one after the other into the zone
/// with the fewest, of equals into the first by name. The zones that get none follow, those with the fewest first: they are
/// asked for what the others do not have. Empty where there is but one.
fn spread(inventory: &Inventory, inside: &[&Instance], count: u32) -> Vec<(Id, u32)> {
    let named: Option<BTreeSet<Id>> = inventory.zones.iter().map(|zone| Id::new("zone", zone).ok()).collect();
    let Some(zones) = named.filter(|zones| zones.len() > 1) else { return Vec::new() };
    let there = |zone: &Id| inside.iter().filter(|it| it.zone.as_deref() == Some(zone.as_str())).count();
    let mut shares: Vec<(Id, usize, u32)> = zones.into_iter().map(|zone| (zone.clone(), there(&zone), 0)).collect();
    for _ in 0..count {
        if let Some((_, there, share)) = shares.iter_mut().min_by_key(|(_, there, _)| *there) {
            (*there, *share) = (*there + 1, *share + 1);
        }
    }
    shares.sort_by_key(|(_, there, share)| (*share == 0).then_some(*there));
    shares.into_iter().map(|(zone, _, share)| (zone, share)).collect()
}

/// Our own doing of late, in a group and elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    pub removed: Removed,
    pub launched_last_hour: u32,
    pub launches_failing: bool,
    pub other_groups_in: u32,
    pub removed_everywhere: u32,
}

fn at_once(mut instances: Vec<Id>) -> Vec<Id> {
    instances.truncate(AWAY_AT_ONCE);
    instances
}

/// Shadows that stand by in their group, and those that are detached.
fn apart(planned: &Planned, instances: Vec<Id>) -> (Vec<Id>, Vec<Id>) {
    let stands_by = |instance: &Id| {
        let known = planned.evidence.inventory.instances.iter().find(|it| it.id == instance.as_str());
        known.and_then(|it| it.shadow.as_ref()).is_some_and(|shadow| shadow.in_group)
    };
    instances.into_iter().partition(stands_by)
}

/// A share of machines, rounded down; one always may.
fn share(share: f64, of: u32) -> u32 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates at the range of u32")]
    let machines = (share * f64::from(of)).floor().max(0.0) as u32;
    machines.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inventory(zones: &[&str], members: &[(&str, InstanceMode)]) -> Inventory {
        let instances = members.iter().enumerate().map(|(number, (zone, mode))| Instance {
            id: format!("i-{number}"),
            instance_type: None,
            zone: Some((*zone).to_owned()),
            mode: *mode,
            since: 0,
            protected: false,
            shadow: None,
        });
        let zones = zones.iter().map(ToString::to_string).collect();
        Inventory { zones, instances: instances.collect(), ..Inventory::default() }
    }

    #[test]
    fn leave_to_go_below_last_week_holds_for_its_group_until_its_time() {
        let [web, api] = ["web", "api"].map(|name| Id::new("group", name).expect("an id"));
        let mut executor = Executor::new(StoreId([1; 16]), 1, Limits::default());
        executor.set_leaves(BTreeMap::from([(web.clone(), 1_000)]));
        let launch = Action::Launch { count: 1, size: 1, zones: Vec::new() };
        let leave = |group: &Id, now| executor.surroundings(group, &launch, Reach::Cloud, now).leave_below_last_week;
        assert_eq!([leave(&web, 999), leave(&web, 1_000), leave(&api, 999)], [true, false, false]);
    }

    /// A plan that was made while an attach was under way extends a lease of whom it brings back.
    #[test]
    fn the_lease_of_whom_an_attach_brings_back_is_not_extended() {
        const NOW: i64 = 1_800_000_000;
        let ids = |names: &[&str]| names.iter().map(|name| Id::new("id", name).expect("an id")).collect::<Vec<_>>();
        let web = Id::new("group", "web").expect("an id");
        let mut executor = Executor::new(StoreId([1; 16]), 1, Limits::default());
        let names = ["s-1", "s-2"].map(str::to_owned);
        assert_eq!(executor.at_rest(&web, &names), names);
        let token = Token::new(StoreId([1; 16]), &web, 1, 0);
        let (action, valid_until) = (Action::Attach { instances: ids(&["s-1"]) }, NOW + 60);
        let (group, generation) = (web.clone(), 1);
        let intent = Intent { token, group, generation, step: 0, epoch: 1, action, written_at: NOW, valid_until };
        let token = intent.token.clone();
        drop(executor.on(Event::Begin(intent), NOW));
        assert_eq!(executor.at_rest(&web, &names), ["s-2"], "it is on the way");
        drop(executor.on(Event::Written(token.clone()), NOW));
        drop(executor.on(Event::Checked { token: token.clone(), refusals: Vec::new(), owns: true }, NOW));
        let outcome = crate::fleet::Called::Done { instances: ids(&["s-1"]) };
        let effects = executor.on(Event::Called { token, outcome }, NOW);
        assert!(matches!(effects[..], [Effect::Settle(..)]) && executor.open().next().is_none(), "{effects:?}");
        assert_eq!(executor.at_rest(&web, &names), ["s-2"], "it came back, and no inventory shows it");
    }

    #[test]
    fn what_other_groups_have_begun_counts_before_it_is_settled() {
        const NOW: i64 = 1_800_000_000;
        let ids = |names: &[&str]| names.iter().map(|name| Id::new("id", name).expect("an id")).collect::<Vec<_>>();
        let [web, api] = ["web", "api"].map(|name| Id::new("group", name).expect("an id"));
        let mut executor = Executor::new(StoreId([1; 16]), 1, Limits::default());
        let intent = |action: Action| Intent {
            token: Token::new(StoreId([1; 16]), &api, 1, 0),
            group: api.clone(),
            generation: 1,
            step: 0,
            epoch: 1,
            action,
            written_at: NOW,
            valid_until: NOW + 60,
        };
        let detach = Action::Detach { instances: ids(&["i-1"]) };
        let end = Action::Terminate { instances: ids(&["s-1"]) };
        let seen = Seen { serving: 10, taken: NOW, machines: 150, ..Seen::default() };
        let told = |executor: &mut Executor| {
            let outlook = executor.outlook(&web, &seen, &BTreeMap::new(), NOW);
            let [out, ends] = [&detach, &end].map(|action| executor.record(&web, action, NOW));
            let others = (out.other_groups_in, ends.other_groups_in);
            (others, (out.removed_everywhere, ends.removed_everywhere), (outlook.detachable, outlook.terminable))
        };
        // A fleet of 150 may lose three in a quarter of an hour, this group of ten one of its own.
        assert_eq!(told(&mut executor), ((0, 0), (0, 0), (1, 1)));
        let two = Action::Detach { instances: ids(&["i-2", "i-3"]) };
        let three = Action::Leave { instances: ids(&["s-2", "s-3", "s-4"]) };
        for (begun, removed, allowed) in [(two, (2, 0), (1, 1)), (three, (0, 3), (1, 0)), (end.clone(), (0, 1), (1, 1))]
        {
            // Whatever has become of it: it is on the way, or nobody knows.
            drop(executor.on(Event::Begin(intent(begun)), NOW));
            assert_eq!(told(&mut executor), ((1, 1), removed, allowed));
            let own = executor.record(&api, &detach, NOW);
            assert_eq!((own.other_groups_in, own.removed_everywhere), (0, 0), "its own is not another's");
            drop(executor.on(Event::NotWritten(Token::new(StoreId([1; 16]), &api, 1, 0)), NOW));
            assert_eq!(told(&mut executor), ((0, 0), (0, 0), (1, 1)));
        }
        // What takes nobody away is in nobody's way.
        drop(executor.on(Event::Begin(intent(Action::launch(1, 3))), NOW));
        assert_eq!(told(&mut executor).0, (0, 0));
    }

    #[test]
    fn who_is_taken_away_at_once_fits_in_one_call() {
        use super::super::verdicts::tests::planned;
        let executor = Executor::new(StoreId([1; 16]), 1, Limits::default());
        let names: Vec<String> = (0..25).map(|number| format!("i-{number}")).collect();
        let named = |by, step: Step| {
            let mut planned = planned();
            planned.policy.shadow_by = by;
            planned.plan.steps = vec![PlannedStep { step, reason: String::new(), permitted: true }];
            executor.action(&planned, 0).map_or(0, |action| action.instances().len())
        };
        for by in [ShadowBy::Detach, ShadowBy::Standby] {
            assert_eq!(named(by, Step::Detach { instances: names.clone() }), 20);
        }
        assert_eq!(named(ShadowBy::Detach, Step::Terminate { instances: names.clone() }), 20);
        // Who comes back is waited for: several calls carry them all.
        assert_eq!(named(ShadowBy::Detach, Step::Reattach { instances: names }), 25);
    }

    #[test]
    fn a_launch_asks_for_a_size_with_whom_its_plan_brought_back() {
        use super::super::verdicts::tests::planned;
        let mut planned = planned();
        let group = Id::new("group", &planned.plan.group).expect("an id");
        // Eight serve, two stand by; twelve are needed.
        let away = ["i-8", "i-9"];
        for instance in planned.evidence.inventory.instances.iter_mut().filter(|it| away.contains(&it.id.as_str())) {
            instance.mode = InstanceMode::Shadow;
            instance.shadow = Some(planner::evidence::Shadow {
                origin: planner::evidence::Origin::Ours,
                until: 2_000,
                lease_over: false,
                hard_limit: 9_000,
                unfit: Vec::new(),
                sample_age_seconds: Some(1),
                quiet_seconds: 60,
                price_per_hour: None,
                in_group: true,
                ending: false,
            });
        }
        let step = |step| PlannedStep { step, reason: String::new(), permitted: true };
        let instances: Vec<String> = away.map(str::to_owned).to_vec();
        planned.plan.steps = vec![step(Step::Reattach { instances }), step(Step::Launch { count: 2 })];
        let size = |executor: &Executor| match executor.action(&planned, 1) {
            Some(Action::Launch { size, .. }) => size,
            other => panic!("{other:?}"),
        };
        let mut executor = Executor::new(StoreId([1; 16]), 1, Limits::default());
        assert_eq!(size(&executor), 10, "nobody is back yet");
        let back = executor.intent(&planned, 0, 1_000).expect("an intent");
        for (instances, expected) in [(&back.action.instances()[..1], 11), (back.action.instances(), 12)] {
            let mut executor = Executor::new(StoreId([1; 16]), 1, Limits::default());
            executor.ledger.settled(&back, &Settled::Done { instances: instances.to_vec() }, 1_001);
            assert_eq!(size(&executor), expected, "{instances:?} of {group} are back");
        }
        let refused = Settled::Refused { why: vec!["no".to_owned()], by_cloud: true, in_doubt: false };
        executor.ledger.settled(&back, &refused, 1_001);
        assert_eq!(size(&executor), 10, "nobody came back");
    }

    #[test]
    fn a_plan_that_meets_another_change_is_over() {
        use planner::policy::Mode;

        use super::super::verdicts::tests::planned;
        let mut planned = planned();
        let standing = Standing {
            mode: Mode::Full,
            at_most: Mode::Full,
            paused: false,
            group: None,
            everywhere: None,
            leave: None,
        };
        let detach = |name: &str| PlannedStep {
            step: Step::Detach { instances: vec![name.to_owned()] },
            reason: String::new(),
            permitted: true,
        };
        planned.plan.steps = vec![detach("i-1"), detach("i-2")];
        let mut executor = Executor::new(StoreId([1; 16]), 1, Limits::default());
        let mut older = executor.intent(&planned, 0, 1_000).expect("an intent");
        older.token = Token::new(StoreId([1; 16]), &older.group, planned.plan.generation + 9, 0);
        let token = older.token.clone();
        assert_eq!(executor.on(Event::Begin(older), 1_000).len(), 1);
        let mut index = 0;
        let next =
            |executor: &mut Executor, index: &mut usize| executor.next(&planned, index, &standing, Reach::Cloud, 1_000);
        assert!(matches!(next(&mut executor, &mut index), Next::End));
        // It comes to its end, and what this plan wanted after its first step is not done.
        drop(executor.on(Event::NotWritten(token), 1_001));
        assert!(matches!(next(&mut executor, &mut index), Next::End));
        let mut again = 0;
        assert!(matches!(next(&mut executor, &mut again), Next::Effects(_)), "the next plan may");
    }

    #[test]
    fn a_launch_evens_the_zones_out() {
        use InstanceMode::{Serving, Shadow, Warming};
        let said = |inventory: &Inventory, count| -> Vec<(String, u32)> {
            let inside: Vec<&Instance> =
                inventory.instances.iter().filter(|it| matches!(it.mode, Serving | Warming)).collect();
            spread(inventory, &inside, count).into_iter().map(|(zone, share)| (zone.to_string(), share)).collect()
        };
        let shares =
            |pairs: &[(&str, u32)]| pairs.iter().map(|(zone, share)| ((*zone).to_owned(), *share)).collect::<Vec<_>>();
        let three = inventory(&["c", "a", "b"], &[("a", Serving), ("a", Warming), ("b", Serving), ("c", Shadow)]);
        assert_eq!(said(&three, 1), shares(&[("c", 1), ("b", 0), ("a", 0)]), "a shadow is in no zone's way");
        assert_eq!(said(&three, 3), shares(&[("b", 1), ("c", 2), ("a", 0)]), "what has enough is asked last");
        assert_eq!(said(&three, 5), shares(&[("a", 1), ("b", 2), ("c", 2)]));
        assert_eq!(said(&inventory(&["a"], &[]), 5), shares(&[]), "nothing to spread over");
        assert_eq!(said(&inventory(&[], &[("a", Serving)]), 5), shares(&[]));
    }
}
