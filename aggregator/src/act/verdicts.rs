//! What the checker says of a step: for people when the plan is made, and for the journal, on a
//! fresh description, right before the call.

use std::collections::{BTreeMap, BTreeSet};

use checker::{Change, Facts, Fleet, Limits, Load, Machine, Place, ShadowFacts};
use planner::demand::InstanceMode;
use planner::evidence::{Evidence, Instance, Origin};
use planner::plan::{Plan, Step};
use planner::policy::{AtLimit, Metric, Policy};
use serde::Serialize;

use super::executor::Record;

/// A plan with all it was made from.
#[derive(Debug, Clone)]
pub struct Planned {
    pub plan: Plan,
    pub policy: Policy,
    pub evidence: Evidence,
    /// Highest gross demand in the same hour a week ago, points.
    pub last_week: BTreeMap<Metric, f64>,
    pub fleet: Fleet,
    /// The source that has the group, and what the group would launch.
    pub source: Option<&'static str>,
    pub version: Option<String>,
}

/// What the plan's evidence does not hold.
#[derive(Debug, Clone, Default)]
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

/// Judges every step of a plan by the evidence it was made from. `around` tells of each.
pub fn judge(planned: &Planned, limits: &Limits, around: impl Fn(&Step) -> Surroundings) -> Vec<Verdict> {
    let judged = planned.plan.steps.iter().enumerate().filter_map(|(step, taken)| {
        let refusals = refusals(planned, &change(&taken.step)?, limits, &around(&taken.step));
        Some(Verdict { step, allowed: refusals.is_empty(), refusals })
    });
    judged.collect()
}

/// Why the checker refuses a change, in words; empty when it does not.
pub fn refusals(planned: &Planned, change: &Change, limits: &Limits, around: &Surroundings) -> Vec<String> {
    let refusals = checker::check(change, &facts(planned, around), limits);
    refusals.iter().map(ToString::to_string).collect()
}

/// Steps that change no machine are not the checker's concern.
pub fn change(step: &Step) -> Option<Change> {
    match step {
        Step::Launch { count } => Some(Change::Launch { count: *count }),
        Step::Reattach { instances } => Some(Change::Reattach { instances: instances.clone() }),
        Step::Detach { instances } => Some(Change::Detach { instances: instances.clone() }),
        Step::Terminate { instances } => Some(Change::Terminate { instances: instances.clone() }),
        Step::Extend { .. } | Step::Release { .. } | Step::Adopt { .. } => None,
    }
}

fn facts(planned: &Planned, around: &Surroundings) -> Facts {
    let Planned { plan, policy, evidence, last_week, fleet, .. } = planned;
    let loads = policy.targets.iter().map(|(metric, target)| {
        let found = evidence.metrics.get(metric);
        let demand = found.and_then(|found| found.demand);
        Load {
            metric: metric.to_string(),
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
        machines: evidence.inventory.instances.iter().map(|it| machine(policy, it, around)).collect(),
        minimum: policy.minimum,
        maximum: policy.maximum,
        loads: loads.collect(),
        removed: around.record.removed,
        launched_last_hour: around.record.launched_last_hour,
        launches_per_hour: policy.launches_per_hour,
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

fn machine(policy: &Policy, instance: &Instance, around: &Surroundings) -> Machine {
    let shadow = instance.shadow.as_ref();
    Machine {
        id: instance.id.clone(),
        place: match instance.mode {
            InstanceMode::Warming => Place::Warming,
            InstanceMode::Serving => Place::Serving,
            InstanceMode::Draining => Place::Draining,
            InstanceMode::Shadow => Place::Shadow,
            InstanceMode::Gone => Place::Gone,
        },
        protected: instance.protected,
        ours: shadow.is_some_and(|shadow| shadow.origin == Origin::Ours),
        in_target_group: around.balanced.contains(&instance.id),
        shadow: shadow.map(|shadow| ShadowFacts {
            lease_over: shadow.lease_over,
            may_end_silent: policy.silent_at_limit == AtLimit::Terminate && around.now >= shadow.hard_limit,
            sample_age_seconds: shadow.sample_age_seconds,
            quiet_seconds: shadow.quiet_seconds,
        }),
    }
}

#[cfg(test)]
mod tests {
    use planner::baseline::Baseline;
    use planner::demand::Demand;
    use planner::evidence::{Conditions, Inventory, MetricEvidence};
    use planner::plan::PlannedStep;

    use super::*;

    fn planned() -> Planned {
        let instances = (0..10).map(|number| Instance {
            id: format!("i-{number}"),
            instance_type: None,
            zone: None,
            mode: InstanceMode::Serving,
            since: 0,
            protected: false,
            shadow: None,
        });
        let demand =
            Demand { gross: 200.0, weight: 10.0, serving: 10, reporting: 10, incomplete: false, saturated: false };
        let found = MetricEvidence { demand: Some(demand), baseline: Baseline::default(), ..MetricEvidence::default() };
        let evidence = Evidence {
            inventory: Inventory { complete: true, age_seconds: 1, instances: instances.collect(), expected: 0 },
            metrics: BTreeMap::from([(Metric::Cpu, found)]),
            conditions: Conditions { started_seconds_ago: 10_000, ..Conditions::default() },
        };
        let policy = Policy::new("web");
        let (mut plan, _) = planner::plan(1_000, &policy, &evidence, &planner::plan::Memory::default());
        let detach = |count: usize| Step::Detach { instances: (0..count).map(|n| format!("i-{n}")).collect() };
        plan.steps =
            [detach(1), detach(3)].map(|step| PlannedStep { step, reason: String::new(), permitted: false }).to_vec();
        let fleet = Fleet { groups: 1, machines: 200, ..Fleet::default() };
        Planned { plan, policy, evidence, last_week: BTreeMap::new(), fleet, source: None, version: None }
    }

    fn at_once(planned: &Planned) -> Vec<Verdict> {
        judge(planned, &Limits::default(), |_| Surroundings { now: 1_000, ..Surroundings::default() })
    }

    #[test]
    fn each_step_is_judged_on_its_own() {
        let verdicts = at_once(&planned());
        assert_eq!((verdicts[0].step, verdicts[0].allowed), (0, true));
        assert_eq!(verdicts[1].refusals, ["3 gone within 15 min, 1 may"]);
    }

    #[test]
    fn last_week_reaches_the_checker() {
        let mut planned = planned();
        planned.last_week.insert(Metric::Cpu, 600.0);
        assert_eq!(at_once(&planned)[0].refusals, ["cpu needed 10 in this hour a week ago, 9 would serve"]);
    }

    #[test]
    fn our_own_doing_reaches_the_checker() {
        let mut record = Record::default();
        record.removed.last_15_minutes = 1;
        let around = Surroundings { now: 1_000, record, ..Surroundings::default() };
        let verdicts = judge(&planned(), &Limits::default(), |_| around.clone());
        assert_eq!(verdicts[0].refusals, ["2 gone within 15 min, 1 may"]);
    }
}
