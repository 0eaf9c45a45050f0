//! What another autoscaler is told (KEDA): one number of instances, by the same step rule as our own plan and under the same
//! doubts. Present demand is a floor, the forecast counts as far as it is trusted, and a doubt keeps who is there.

use planner::evidence::Evidence;
use planner::hold::Hold;
use planner::plan::{MetricNeeds, Plan, need_of};
use planner::policy::{Metric, Policy};
use planner::rule;

/// Instances that should be there now; `None` without evidence of present demand.
pub(super) fn scaled_to(
    now: i64,
    policy: &Policy,
    plan: &Plan,
    evidence: &Evidence,
    metric: Option<Metric>,
    confidence: Option<f64>,
) -> Option<u32> {
    let needs = plan.needs.iter().filter(|need| metric.is_none_or(|metric| need.metric == metric));
    let needs: Vec<&MetricNeeds> = needs.collect();
    let there = plan.serving.saturating_add(plan.warming);
    let reactive = match needs.iter().filter_map(|need| need.reactive).max() {
        Some(reactive) => reactive,
        // Nobody is there to measure anything: the forecast alone can wake a group, where there is one.
        None if there == 0 && needs.iter().any(|need| need.ahead.is_some()) => 0,
        None => return None,
    };
    if plan.holds.contains(&Hold::Paused) {
        return Some(there);
    }
    let ahead = |need: &MetricNeeds| match confidence {
        Some(confidence) => highest(now, policy, evidence, need.metric, confidence),
        None => need.ahead.max(need.later),
    };
    let out = needs.iter().map(|need| {
        let own = need.reactive.unwrap_or_default();
        rule::step(there, own, ahead(need).unwrap_or(own), need.trust).out
    });
    let inward = needs.iter().map(|need| match (need.reactive, need.window) {
        (Some(own), Some(window)) => {
            let forecast = window.max(ahead(need).unwrap_or_default());
            let inward = rule::step(there, own.max(reactive), forecast, need.trust).inward;
            // A wrong idle baseline may buy, never kill.
            inward.min(there.saturating_sub(need.without_baseline.unwrap_or(there)))
        }
        _ => 0,
    });
    let doubted = plan.holds.iter().any(Hold::doubts_evidence);
    let (out, inward) = (out.max().unwrap_or_default(), inward.min().unwrap_or_default());
    let inward = if doubted || out > 0 { 0 } else { inward };
    let lead = i64::from(policy.launch_lead_seconds);
    let floor = policy.floor(now, now + lead).instances;
    let ceiling = policy.ceiling(now).instances;
    Some(there.saturating_add(out).saturating_sub(inward).max(floor).min(ceiling.max(floor)))
}

/// Need of the highest forecast within the launch lead and one step, at a confidence of one's own.
fn highest(now: i64, policy: &Policy, evidence: &Evidence, metric: Metric, confidence: f64) -> Option<u32> {
    let path = evidence.metrics.get(&metric)?.forecast.as_ref()?;
    let target = policy.targets.get(&metric)?;
    let until = now + i64::from(policy.launch_lead_seconds) + i64::from(path.step_seconds);
    let steps = (path.step_of(now)?..).take_while(|step| path.step_of(until).is_none_or(|last| *step <= last));
    let demand = steps.map_while(|step| path.demand(step, confidence)).reduce(f64::max)?;
    Some(need_of(policy, evidence, metric, *target, demand))
}

#[cfg(test)]
mod tests {
    use planner::policy::Mode;

    use super::*;

    /// Ten are there, four are needed now.
    fn plan(trust: f64, ahead: u32, window: u32, holds: Vec<Hold>) -> Plan {
        let needs = MetricNeeds {
            metric: Metric::Cpu,
            demand: Some(240.0),
            baseline: 0.0,
            reactive: Some(4),
            ahead: Some(ahead),
            later: None,
            window: Some(window),
            without_baseline: Some(4),
            trust,
            events: Vec::new(),
            window_events: Vec::new(),
        };
        Plan {
            group: "web".to_owned(),
            generation: 1,
            parent: None,
            mode: Mode::Observe,
            made_at: 0,
            valid_until: 30,
            confidence: 0.9,
            serving: 8,
            warming: 2,
            needs: vec![needs],
            wants_in: 0,
            binding: None,
            need_now: Some(4),
            need_ahead: Some(ahead),
            steps: Vec::new(),
            not_taken: Vec::new(),
            holds,
        }
    }

    fn told(plan: &Plan) -> Option<u32> {
        let policy = Policy { minimum: 2, maximum: 40, ..Policy::new("web") };
        scaled_to(0, &policy, plan, &Evidence::default(), None, None)
    }

    #[test]
    fn the_number_follows_the_step_rule() {
        assert_eq!(told(&plan(1.0, 20, 20, vec![])), Some(20), "all of a forecast that is trusted");
        assert_eq!(told(&plan(0.5, 20, 20, vec![])), Some(12), "half way from 4 to 20");
        assert_eq!(told(&plan(1.0, 5, 6, vec![])), Some(6), "down to the highest of the shadow window");
        assert_eq!(told(&plan(0.5, 5, 6, vec![])), Some(9), "a quarter of the way, bold by the square of trust");
        assert_eq!(told(&plan(0.0, 5, 6, vec![])), Some(10));
        assert_eq!(told(&plan(1.0, 100, 100, vec![])), Some(40), "the maximum");
        assert_eq!(told(&plan(1.0, 1, 1, vec![])), Some(4), "present demand is a floor");
    }

    #[test]
    fn a_doubt_keeps_who_is_there_and_a_pause_everything() {
        let stale = Hold::StaleSamples { metric: Metric::Cpu, age_seconds: 400, fresh_seconds: 90 };
        assert_eq!(told(&plan(1.0, 5, 6, vec![stale.clone()])), Some(10));
        assert_eq!(told(&plan(1.0, 20, 20, vec![stale])), Some(20), "it never keeps from scaling out");
        assert_eq!(told(&plan(1.0, 5, 6, vec![Hold::ClaimedGroup])), Some(6), "somebody else acts");
        assert_eq!(told(&plan(1.0, 20, 20, vec![Hold::Paused])), Some(10));
        let mut blind = plan(1.0, 20, 20, vec![]);
        blind.needs[0].reactive = None;
        assert_eq!(told(&blind), None);
        // Who was scaled to nobody is woken by the forecast, and sleeps on by it.
        (blind.serving, blind.warming) = (0, 0);
        let woken = |policy: &Policy, plan: &Plan| scaled_to(0, policy, plan, &Evidence::default(), None, None);
        let empty = Policy { minimum: 0, maximum: 40, ..Policy::new("web") };
        assert_eq!(woken(&empty, &blind), Some(20));
        blind.needs[0].ahead = Some(0);
        assert_eq!(woken(&empty, &blind), Some(0));
        blind.needs[0].ahead = None;
        assert_eq!(woken(&empty, &blind), None);
        let mut wrong_idle = plan(1.0, 5, 6, vec![]);
        wrong_idle.needs[0].without_baseline = Some(8);
        assert_eq!(told(&wrong_idle), Some(8));
    }
}
