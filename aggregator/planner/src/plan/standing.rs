//! Holds that stand whatever is wanted.

use super::needs::{MetricNeeds, baseline_points};
use super::out;
use crate::demand::{Demand, InstanceMode};
use crate::evidence::{Evidence, Pulse};
use crate::hold::Hold;
use crate::policy::{Metric, Policy};

/// Quantile below which the forecast thought demand impossible.
const SURPRISE_QUANTILE: f64 = 0.05;
/// A minute may be quieter than the highest of its step, of which the forecast speaks. Below this share of the least that was thought
/// possible it is no quiet minute: the agents lie, or nobody comes through any more.
const SUDDEN: f64 = 0.25;
/// An inventory older than this is stale.
const INVENTORY_FRESH_SECONDS: u32 = 120;
/// CPU at or below this share of what it was has fallen …
const FALLEN: f64 = 0.7;
/// … and alone, where the network stands this much of what it was above it.
const APART: f64 = 0.3;
/// Or has not risen with the network: no more of it than this is used for what comes in.
const WORK: f64 = 0.5;
/// One in so many that serve and runs out of CPU credits is enough.
const SHORT_ONE_IN: u32 = 10;
/// Above this those that stay may not have the memory for what the others did, percent.
const FULL_PERCENT: f64 = 90.0;
/// From this on what the hosts give to others is no noise, percent of the processors' time.
const STOLEN_PERCENT: f64 = 5.0;

pub(super) fn holds(now: i64, policy: &Policy, evidence: &Evidence, needs: &[MetricNeeds]) -> Vec<Hold> {
    let mut holds = of_group(now, policy, evidence);
    holds.extend(vetoes(policy, evidence));
    for need in needs {
        of_metric(now, policy, evidence, need, &mut holds);
    }
    holds
}

/// Who is there is known: every source answered, and lately.
pub(super) fn is_known(evidence: &Evidence) -> bool {
    evidence.inventory.complete && evidence.inventory.age_seconds <= INVENTORY_FRESH_SECONDS
}

fn of_group(now: i64, policy: &Policy, evidence: &Evidence) -> Vec<Hold> {
    let (conditions, inventory) = (&evidence.conditions, &evidence.inventory);
    let age_seconds = inventory.age_seconds;
    let seconds_left = policy.warm_up_seconds.saturating_sub(conditions.started_seconds_ago);
    let percent = stolen(evidence);
    let (short, serving) = short_of_credits(evidence);
    let Pulse { cpu, network } = conditions.pulse.unwrap_or(Pulse { cpu: 1.0, network: 1.0 });
    let memory = if policy.targets.contains_key(&Metric::Memory) { None } else { conditions.memory_percent };
    let memory = memory.map_or(0.0, |percent| if percent.is_nan() { f64::INFINITY } else { percent });
    let (_, overdue) = out::warming(now, policy, evidence);
    [
        (conditions.paused, Hold::Paused),
        (conditions.not_owner, Hold::NotOwner),
        (conditions.clock_jumped, Hold::ClockJump),
        (conditions.changing, Hold::Changing),
        (conditions.deploying, Hold::Deploying),
        (conditions.foreign_scale_in, Hold::ForeignScaleIn),
        (conditions.untold, Hold::Untold),
        (conditions.common_cause, Hold::CommonCause),
        (conditions.launches_failing, Hold::LaunchesFailing),
        (network - cpu >= APART && (cpu <= FALLEN || cpu <= WORK * network), Hold::Hung { cpu, network }),
        (percent >= STOLEN_PERCENT, Hold::Stolen { percent }),
        (memory > FULL_PERCENT, Hold::MemoryFull { percent: memory }),
        (short > 0 && short >= serving.div_ceil(SHORT_ONE_IN), Hold::OutOfCredits { instances: short }),
        (overdue > 0, Hold::NeverReady { instances: overdue, after_seconds: policy.on_its_way_seconds() }),
        (conditions.agents_unauthenticated, Hold::UnauthenticatedEvidence),
        (conditions.claimed, Hold::ClaimedGroup),
        (!inventory.complete, Hold::PartialInventory),
        (age_seconds > INVENTORY_FRESH_SECONDS, Hold::StaleInventory { age_seconds }),
        (seconds_left > 0, Hold::WarmUp { seconds_left }),
    ]
    .into_iter()
    .filter_map(|(stands, hold)| stands.then_some(hold))
    .collect()
}

/// What errors or latency say against taking anybody away, whatever the load is.
fn vetoes(policy: &Policy, evidence: &Evidence) -> impl Iterator<Item = Hold> {
    policy.veto_above.iter().filter_map(|(&metric, &limit)| match evidence.conditions.vetoes.get(&metric) {
        Some(&value) if value <= limit => None,
        Some(&value) => Some(Hold::Vetoed { metric, value, limit }),
        None => Some(Hold::VetoUntold { metric }),
    })
}

/// Percent of the processors' time that those that serve are robbed of, on average.
fn stolen(evidence: &Evidence) -> f64 {
    let serving = evidence.inventory.instances.iter().filter(|instance| instance.mode == InstanceMode::Serving);
    let (sum, count) = serving
        .fold((0.0, 0.0), |(sum, count), instance| (sum + evidence.inventory.stolen_from(&instance.id), count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

/// How many of those that serve run out of CPU credits, and how many serve.
fn short_of_credits(evidence: &Evidence) -> (u32, u32) {
    let serving = evidence.inventory.instances.iter().filter(|instance| instance.mode == InstanceMode::Serving);
    serving.fold((0, 0), |(short, count), instance| {
        (short + u32::from(evidence.inventory.short_of_credits.contains(&instance.id)), count + 1)
    })
}

fn of_metric(now: i64, policy: &Policy, evidence: &Evidence, need: &MetricNeeds, holds: &mut Vec<Hold>) {
    let metric = need.metric;
    let Some((found, demand)) = evidence.metrics.get(&metric).and_then(|found| Some((found, found.demand?))) else {
        holds.push(Hold::NoEvidence { metric });
        return;
    };
    let (age_seconds, fresh_seconds) = (found.age_seconds, policy.fresh_seconds);
    if age_seconds > fresh_seconds {
        holds.push(Hold::StaleSamples { metric, age_seconds, fresh_seconds });
    }
    if demand.incomplete {
        holds.push(Hold::Incomplete { metric, reporting: demand.reporting, serving: demand.serving });
    }
    if demand.saturated {
        holds.push(Hold::Saturated { metric });
    }
    if let Some(doubt) = found.baseline_doubt {
        holds.push(Hold::BaselineInDoubt { metric, doubt });
    }
    let Some(path) = &found.forecast else {
        holds.push(Hold::NoForecast { metric });
        return;
    };
    let minimum = policy.minimum_trust;
    if need.trust < minimum {
        holds.push(Hold::LowTrust { metric, trust: need.trust, minimum });
    }
    if need.window.is_none() {
        holds.push(Hold::ShortHorizon { metric });
    }
    let target = policy.targets.get(&metric).copied().unwrap_or_default();
    // One quiet minute among five is no surprise: like is compared with like.
    let gross = found.highest_lately.map_or(demand.gross, |highest| highest.max(demand.gross));
    let net = |gross| Demand { gross, ..demand }.net(baseline_points(metric, found, target));
    let (highest, present) = (net(gross), net(demand.gross));
    if let Some(floor) = path.step_of(now).and_then(|step| path.demand(step, SURPRISE_QUANTILE))
        && (highest < floor || present < floor * SUDDEN)
    {
        holds.push(Hold::Surprise { metric, demand: present, expected_at_least: floor });
    }
}
