//! What the checker says of a plan's steps. In `observe` nothing is carried out, but a person sees
//! beforehand what would be refused, and why.

use checker::{Change, Facts, Fleet, Limits, Load, Machine, Place, Removed};
use planner::demand::InstanceMode;
use planner::evidence::Evidence;
use planner::plan::{Plan, Step};
use planner::policy::{Metric, Policy};
use serde::Serialize;

/// The checker's answer to one step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Index of the step in the plan.
    pub step: usize,
    pub allowed: bool,
    /// Why not, in words.
    pub refusals: Vec<String>,
}

/// Judges every step of a plan by the evidence it was made from.
pub fn judge(
    policy: &Policy,
    plan: &Plan,
    evidence: &Evidence,
    fleet: Fleet,
    last_week: impl Fn(Metric) -> Option<f64>,
) -> Vec<Verdict> {
    let facts = facts(policy, plan, evidence, fleet, last_week);
    let limits = Limits::default();
    let judged = plan.steps.iter().enumerate().filter_map(|(step, planned)| {
        let refusals = checker::check(&change(&planned.step)?, &facts, &limits);
        let refusals: Vec<String> = refusals.iter().map(ToString::to_string).collect();
        Some(Verdict { step, allowed: refusals.is_empty(), refusals })
    });
    judged.collect()
}

/// Steps that change no machine are not the checker's concern.
fn change(step: &Step) -> Option<Change> {
    match step {
        Step::Launch { count } => Some(Change::Launch { count: *count }),
        Step::Reattach { instances } => Some(Change::Reattach { instances: instances.clone() }),
        Step::Detach { instances } => Some(Change::Detach { instances: instances.clone() }),
        Step::Terminate { instances } => Some(Change::Terminate { instances: instances.clone() }),
        Step::Extend { .. } | Step::Release { .. } | Step::Adopt { .. } => None,
    }
}

fn facts(
    policy: &Policy,
    plan: &Plan,
    evidence: &Evidence,
    fleet: Fleet,
    last_week: impl Fn(Metric) -> Option<f64>,
) -> Facts {
    let machines = evidence.inventory.instances.iter().map(|instance| Machine {
        id: instance.id.clone(),
        place: match instance.mode {
            InstanceMode::Warming => Place::Warming,
            InstanceMode::Serving => Place::Serving,
            InstanceMode::Draining => Place::Draining,
            InstanceMode::Shadow => Place::Shadow,
            InstanceMode::Gone => Place::Gone,
        },
        protected: instance.protected,
        // Every shadow of this version is foreign.
        ours: false,
        in_target_group: false,
    });
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
            last_week: last_week(*metric),
        }
    });
    Facts {
        now: plan.made_at,
        made_at: plan.made_at,
        valid_until: plan.valid_until,
        inventory_complete: evidence.inventory.complete,
        inventory_age_seconds: evidence.inventory.age_seconds,
        machines: machines.collect(),
        minimum: policy.minimum,
        maximum: policy.maximum,
        loads: loads.collect(),
        removed: Removed::default(),
        fleet,
        running_seconds: evidence.conditions.started_seconds_ago,
        launches_failing: evidence.conditions.launches_failing,
        authenticated: !evidence.conditions.agents_unauthenticated,
        loopback: false,
        leave_below_last_week: false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use planner::baseline::Baseline;
    use planner::demand::Demand;
    use planner::evidence::{Conditions, Instance, Inventory, MetricEvidence};
    use planner::plan::PlannedStep;

    use super::*;

    fn plan_and_evidence() -> (Policy, Plan, Evidence) {
        let instances = (0..10).map(|number| Instance {
            id: format!("i-{number}"),
            instance_type: None,
            zone: None,
            mode: InstanceMode::Serving,
            since: 0,
            protected: false,
            fit_to_reattach: false,
        });
        let demand =
            Demand { gross: 200.0, weight: 10.0, serving: 10, reporting: 10, incomplete: false, saturated: false };
        let found = MetricEvidence { demand: Some(demand), baseline: Baseline::default(), ..MetricEvidence::default() };
        let evidence = Evidence {
            inventory: Inventory { complete: true, age_seconds: 1, instances: instances.collect() },
            metrics: BTreeMap::from([(Metric::Cpu, found)]),
            conditions: Conditions { started_seconds_ago: 10_000, ..Conditions::default() },
        };
        let policy = Policy::new("web");
        let (mut plan, _) = planner::plan(1_000, &policy, &evidence, &planner::plan::Memory::default());
        let detach = |count: usize| Step::Detach { instances: (0..count).map(|n| format!("i-{n}")).collect() };
        plan.steps =
            [detach(1), detach(3)].map(|step| PlannedStep { step, reason: String::new(), permitted: false }).to_vec();
        (policy, plan, evidence)
    }

    #[test]
    fn each_step_is_judged_on_its_own() {
        let (policy, plan, evidence) = plan_and_evidence();
        let fleet = Fleet { groups: 1, machines: 200, ..Fleet::default() };
        let verdicts = judge(&policy, &plan, &evidence, fleet, |_| None);
        assert_eq!((verdicts[0].step, verdicts[0].allowed), (0, true));
        assert_eq!(verdicts[1].refusals, ["3 gone within 15 min, 1 may"]);
    }

    #[test]
    fn last_week_reaches_the_checker() {
        let (policy, plan, evidence) = plan_and_evidence();
        let fleet = Fleet { groups: 1, machines: 200, ..Fleet::default() };
        let verdicts = judge(&policy, &plan, &evidence, fleet, |_| Some(600.0));
        assert_eq!(verdicts[0].refusals, ["cpu needed 10 in this hour a week ago, 9 would serve"]);
    }
}
