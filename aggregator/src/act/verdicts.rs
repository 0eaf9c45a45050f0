//! What the checker says of a step: for people when the plan is made, and for the journal, on a
//! fresh description, right before the call.

use std::collections::{BTreeMap, BTreeSet};

use checker::{Change, Facts, Fleet, Limits, Load, Machine, Place, ShadowFacts};
use foreshadow_proto::convert::Id;
use planner::demand::InstanceMode;
use planner::evidence::{Evidence, Instance, Inventory, Origin};
use planner::meanwhile::{self, Call, Described, Doing, Leash};
use planner::plan::{Memory, Plan};
use planner::policy::{AtLimit, Metric, Policy};
use serde::{Deserialize, Serialize};

use super::call::Fresh;
use super::control::Standing;
use super::executor::{Executor, Record};
use super::journal::Intent;
use super::ledger::Way;
use crate::fleet::{Action, Lifecycle, Member, Reach, RunState};

/// A plan with all it was made from.
#[derive(Debug, Clone)]
pub struct Planned {
    pub plan: Plan,
    pub policy: Policy,
    pub evidence: Evidence,
    /// What the round before left.
    pub memory: Memory,
    /// Highest gross demand in the same hour a week ago, points.
    pub last_week: BTreeMap<Metric, f64>,
    pub fleet: Fleet,
    /// The source that has the group, and what the group would launch.
    pub source: Option<&'static str>,
    pub version: Option<String>,
}

/// What the plan's evidence does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Surroundings {
    /// Seconds since the epoch.
    pub now: i64,
    pub record: Record,
    /// The cloud is this very machine.
    pub loopback: bool,
    /// An operator gave leave to go below last week's need.
    pub leave_below_last_week: bool,
    /// Instances a load balancer still sends to, or of which it is not known.
    pub balanced: BTreeSet<String>,
}

/// The checker's answer to one step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Index of the step in the plan.
    pub step: usize,
    pub allowed: bool,
    /// Why not, in words.
    pub refusals: Vec<String>,
}

/// The checker's word on one step, and what it was told beside the evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judged {
    /// Index of the step in the plan.
    pub step: usize,
    pub change: Change,
    pub around: Surroundings,
    /// Why not, in words; empty when it may be.
    pub refusals: Vec<String>,
}

impl Judged {
    /// The answer without what led to it.
    pub fn verdict(self) -> Verdict {
        Verdict { step: self.step, allowed: self.refusals.is_empty(), refusals: self.refusals }
    }
}

/// Why the checker refuses a change, in words; empty when it does not.
pub fn refusals(planned: &Planned, change: &Change, limits: &Limits, around: &Surroundings) -> Vec<String> {
    let refusals = checker::check(change, &facts(planned, around), limits);
    refusals.iter().map(ToString::to_string).collect()
}

fn facts(planned: &Planned, around: &Surroundings) -> Facts {
    let Planned { plan, policy, evidence, last_week, fleet, .. } = planned;
    let loads = policy.targets.iter().map(|(metric, target)| {
        let found = evidence.metrics.get(metric);
        let demand = found.and_then(|found| found.demand);
        Load {
            metric: metric.to_string(),
            amount: metric.is_custom(),
            target: *target,
            gross: demand.map(|demand| demand.gross),
            weight: demand.map_or(0.0, |demand| demand.weight),
            certain: demand.is_some_and(|demand| !demand.is_lower_bound()),
            baseline: found.map_or(0.0, |found| found.baseline.points),
            last_week: last_week.get(metric).copied(),
        }
    });
    Facts {
        now: around.now,
        made_at: plan.made_at,
        valid_until: plan.valid_until,
        inventory_complete: evidence.inventory.complete,
        inventory_age_seconds: evidence.inventory.age_seconds,
        machines: evidence
            .inventory
            .instances
            .iter()
            .map(|it| machine(policy, &evidence.inventory, it, around))
            .collect(),
        minimum: policy.minimum,
        maximum: policy.maximum,
        windows: policy.windows.iter().map(window).collect(),
        loads: loads.collect(),
        removed: around.record.removed,
        launched_last_hour: around.record.launched_last_hour,
        launches_per_hour: policy.launches_per_hour,
        expected: evidence.inventory.expected,
        price_per_hour: evidence.conditions.price_per_hour,
        spend_per_hour: policy.spend_per_hour,
        shadows_at_most: policy.shadows_at_most,
        pulse: evidence.conditions.pulse.map(|pulse| checker::Pulse { cpu: pulse.cpu, network: pulse.network }),
        memory_percent: evidence.conditions.memory_percent.filter(|_| !policy.targets.contains_key(&Metric::Memory)),
        vetoes: policy.veto_above.iter().map(|(metric, limit)| veto(*metric, *limit, evidence)).collect(),
        fleet: Fleet {
            other_groups_in: around.record.other_groups_in,
            removed_15_minutes: around.record.removed_everywhere,
            ..*fleet
        },
        running_seconds: evidence.conditions.started_seconds_ago,
        launches_failing: around.record.launches_failing || evidence.conditions.launches_failing,
        authenticated: !evidence.conditions.agents_unauthenticated,
        loopback: around.loopback,
        leave_below_last_week: around.leave_below_last_week,
    }
}

fn veto(metric: Metric, limit: f64, evidence: &Evidence) -> checker::Veto {
    checker::Veto { metric: metric.to_string(), limit, highest: evidence.conditions.vetoes.get(&metric).copied() }
}

fn window(window: &planner::bounds::Window) -> checker::Window {
    let planner::bounds::Window { from, until, minimum, maximum, .. } = *window;
    checker::Window { from, until, minimum, maximum }
}

fn machine(policy: &Policy, inventory: &Inventory, instance: &Instance, around: &Surroundings) -> Machine {
    let (shadow, kind) = (instance.shadow.as_ref(), instance.instance_type.as_deref());
    let weights = policy.targets.keys().filter_map(|metric| Some((metric.to_string(), policy.weight(*metric, kind)?)));
    Machine {
        id: instance.id.clone(),
        place: match instance.mode {
            InstanceMode::Warming => Place::Warming,
            InstanceMode::Serving => Place::Serving,
            InstanceMode::Draining => Place::Draining,
            InstanceMode::Shadow => Place::Shadow,
            InstanceMode::Gone => Place::Gone,
        },
        weights: weights.collect(),
        stolen_percent: inventory.stolen.get(&instance.id).copied().unwrap_or_default(),
        short_of_credits: inventory.short_of_credits.contains(&instance.id),
        price_per_hour: kind.and_then(|name| inventory.prices.get(name)).copied(),
        protected: instance.protected,
        ours: shadow.is_some_and(|shadow| shadow.origin == Origin::Ours),
        in_target_group: around.balanced.contains(&instance.id),
        in_group: shadow.is_some_and(|shadow| shadow.in_group),
        shadow: shadow.map(|shadow| ShadowFacts {
            lease_over: shadow.lease_over,
            may_end_silent: policy.silent_at_limit == AtLimit::Terminate && around.now >= shadow.hard_limit,
            sample_age_seconds: shadow.sample_age_seconds,
            quiet_seconds: shadow.quiet_seconds,
        }),
    }
}

/// Everything that speaks against a call at its very moment: what an operator said, what changed in
/// the group, and the checker on what was described just now.
pub fn last_word(
    intent: &Intent,
    planned: &Planned,
    fresh: &Fresh,
    standing: &Standing,
    reach: Reach,
    executor: &Executor,
    now: i64,
) -> Vec<String> {
    let described = Described {
        deploying: fresh.group.deploying,
        another_version: fresh.group.version != planned.version,
        present: present(fresh),
        desired: fresh.group.desired,
    };
    let leaving = leaving(&intent.action);
    let call = call(intent, &leaving, now);
    let latest = (&planned.plan, &planned.policy, &planned.evidence);
    let meanwhile = meanwhile::against(call, leash(standing), described, latest, now);
    let balanced = fresh.outside.iter().filter(|outside| outside.in_target_group != Some(false));
    let around = Surroundings {
        balanced: balanced.map(|outside| outside.instance.to_string()).collect(),
        ..executor.surroundings(&intent.group, &intent.action, reach, now)
    };
    let refreshed = refreshed(planned, fresh, now);
    let checked = self::refusals(&refreshed, &change_of(&intent.action), executor.limits(), &around);
    meanwhile.iter().map(ToString::to_string).chain(checked).collect()
}

/// What the latest plan says against taking away what an older one did not need, and what changed since the checker's word, which is
/// `since` seconds old and good for `within`: asked when nothing but the call is left.
pub fn still(
    intent: &Intent,
    newest: Option<&Planned>,
    standing: &Standing,
    owns: bool,
    (since, within): (i64, i64),
) -> Result<(), String> {
    if let Some(changed) = meanwhile::still(doing(&intent.action), leash(standing), owns, since, within) {
        return Err(changed.to_string());
    }
    let leaving = leaving(&intent.action);
    let call = call(intent, &leaving, intent.written_at);
    let said = newest.map(|newest| meanwhile::by_latest(call, &newest.plan, &newest.evidence)).unwrap_or_default();
    let said: Vec<String> = said.iter().map(ToString::to_string).collect();
    if said.is_empty() { Ok(()) } else { Err(said.join("; ")) }
}

fn call<'c>(intent: &Intent, leaving: &'c [String], now: i64) -> Call<'c> {
    Call { doing: doing(&intent.action), leaving, generation: intent.generation, late: intent.is_late(now) }
}

fn leash(standing: &Standing) -> Leash {
    Leash { mode: standing.mode, paused: standing.paused }
}

/// Who serves no more when it is done.
fn leaving(action: &Action) -> Vec<String> {
    let out = Way::of(action) == Some(Way::Out);
    action.instances().iter().filter(|_| out).map(ToString::to_string).collect()
}

const fn doing(action: &Action) -> Doing {
    match action {
        Action::Launch { count, size, .. } => Doing::Launch { count: *count, size: *size },
        Action::Floor { .. } => Doing::Floor,
        Action::Attach { .. } | Action::ExitStandby { .. } => Doing::BringBack,
        Action::Detach { .. } | Action::EnterStandby { .. } | Action::Leave { .. } | Action::Terminate { .. } => {
            Doing::TakeAway
        }
    }
}

/// How many are in the group and serve or will, by what was described just now.
fn present(fresh: &Fresh) -> u32 {
    let inside = |member: &&Member| matches!(member.lifecycle, Lifecycle::InService | Lifecycle::Pending);
    u32::try_from(fresh.group.members.iter().filter(inside).count()).unwrap_or(u32::MAX)
}

/// The change in the checker's words.
pub fn change_of(action: &Action) -> Change {
    let names = |instances: &[Id]| instances.iter().map(ToString::to_string).collect();
    match action {
        Action::Launch { count, .. } => Change::Launch { count: *count },
        Action::Attach { instances } | Action::ExitStandby { instances } => {
            Change::Reattach { instances: names(instances) }
        }
        Action::Detach { instances } | Action::EnterStandby { instances } => {
            Change::Detach { instances: names(instances) }
        }
        Action::Leave { instances } => Change::Leave { instances: names(instances) },
        Action::Terminate { instances } => Change::Terminate { instances: names(instances) },
        Action::Floor { from, to } => Change::Floor { from: *from, to: *to },
    }
}

/// The plan's evidence with the inventory as it was described just now.
fn refreshed(planned: &Planned, fresh: &Fresh, now: i64) -> Planned {
    let mut planned = planned.clone();
    let inventory = &mut planned.evidence.inventory;
    inventory.complete &= fresh.complete;
    inventory.age_seconds = u32::try_from(now - fresh.taken).unwrap_or_default();
    let mut inside: BTreeMap<String, &Member> =
        fresh.group.members.iter().map(|member| (member.instance.to_string(), member)).collect();
    for instance in &mut inventory.instances {
        let member = inside.remove(&instance.id);
        // Where a shadow stands, only what was described just now says.
        if let Some(shadow) = &mut instance.shadow {
            shadow.in_group = member.is_some();
        }
        match member {
            Some(member) => {
                instance.protected = member.protected;
                instance.mode = match (&member.lifecycle, instance.mode) {
                    // What we did and the description cannot show yet.
                    (_, mode @ (InstanceMode::Draining | InstanceMode::Gone)) if instance.shadow.is_none() => mode,
                    (Lifecycle::InService, InstanceMode::Serving) => InstanceMode::Serving,
                    (Lifecycle::Standby, InstanceMode::Shadow) => InstanceMode::Shadow,
                    (Lifecycle::InService | Lifecycle::Pending | Lifecycle::Other(_), _) => InstanceMode::Warming,
                    _ => InstanceMode::Draining,
                };
            }
            None if matches!(instance.mode, InstanceMode::Serving | InstanceMode::Warming) => {
                instance.mode = InstanceMode::Gone;
            }
            None => {}
        }
        let outside = fresh.outside.iter().find(|outside| outside.instance.as_str() == instance.id);
        if let Some(outside) = outside {
            instance.protected |= outside.protected;
            if outside.group.is_some() {
                instance.mode = InstanceMode::Serving;
            } else if outside.state != RunState::Running {
                instance.mode = InstanceMode::Gone;
            }
        }
    }
    // Newcomers are on their way, whatever they are.
    inventory.instances.extend(inside.into_iter().map(|(id, member)| Instance {
        id,
        instance_type: member.instance_type.as_ref().map(ToString::to_string),
        zone: None,
        mode: InstanceMode::Warming,
        since: now,
        protected: member.protected,
        shadow: None,
    }));
    planned
}

#[cfg(test)]
pub(crate) mod tests;
