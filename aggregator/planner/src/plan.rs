//! The plan: an immutable value with a typed reason for every step and for every step not taken.
//!
//! The plan of a group in `observe` is the very plan `full` would carry out; the mode only decides
//! whether it may be.

use serde::{Deserialize, Serialize};

use crate::capacity;
use crate::demand::InstanceMode;
use crate::evidence::{Evidence, Instance, MetricEvidence};
use crate::hold::Hold;
use crate::policy::{Metric, Mode, Policy};
use crate::rule;

/// Quantile below which the forecast thought demand impossible.
const SURPRISE_QUANTILE: f64 = 0.05;
/// Scale-in must be sure: the window maximum is taken at this quantile at least.
const SCALE_IN_QUANTILE: f64 = 0.95;
/// A plan may always add this many instances, whatever the share.
const LAUNCH_AT_LEAST: u32 = 4;
/// An inventory older than this is stale.
const INVENTORY_FRESH_SECONDS: u32 = 120;

/// What one round remembers for the next.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Generation of the latest plan; 0 before the first.
    pub generation: u64,
}

/// Need for one metric, instances of the mean weight that serves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricNeeds {
    pub metric: Metric,
    /// For present demand.
    pub reactive: Option<u32>,
    /// For the forecast at the policy's confidence over the launch lead and one step.
    pub ahead: Option<u32>,
    /// For the highest forecast over the shadow window, at 95 % or the confidence if higher.
    pub window: Option<u32>,
    /// For present demand as if idle instances used nothing.
    pub without_baseline: Option<u32>,
    pub trust: f64,
}

/// One action the plan asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    Launch { count: u32 },
    Reattach { instances: Vec<String> },
    Detach { instances: Vec<String> },
    Terminate { instances: Vec<String> },
    Extend { instances: Vec<String> },
    Release { instances: Vec<String> },
    Adopt { instances: Vec<String> },
}

/// A step with why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedStep {
    #[serde(flatten)]
    pub step: Step,
    pub reason: String,
    /// The group's mode lets it be carried out.
    pub permitted: bool,
}

/// What was considered and not done, with every hold that stood in its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NotTaken {
    /// `scale_out` or `scale_in`.
    pub step: String,
    pub instances: u32,
    pub reason: String,
    pub holds: Vec<Hold>,
}

/// The plan of one group at one time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub group: String,
    pub generation: u64,
    pub parent: Option<u64>,
    pub mode: Mode,
    pub made_at: i64,
    pub valid_until: i64,
    pub confidence: f64,
    pub serving: u32,
    pub warming: u32,
    pub needs: Vec<MetricNeeds>,
    /// The metric that asks for most.
    pub binding: Option<Metric>,
    /// Highest reactive need; absent without evidence.
    pub need_now: Option<u32>,
    /// Highest forecast need.
    pub need_ahead: Option<u32>,
    pub steps: Vec<PlannedStep>,
    pub not_taken: Vec<NotTaken>,
    /// Everything that holds, whether or not it stood in the way of a step.
    pub holds: Vec<Hold>,
}

/// Makes the next plan. Pure: the same arguments give the same plan.
pub fn plan(now: i64, policy: &Policy, evidence: &Evidence, memory: &Memory) -> (Plan, Memory) {
    let needs: Vec<MetricNeeds> =
        policy.targets.iter().map(|(metric, target)| metric_needs(now, policy, evidence, *metric, *target)).collect();
    let serving = count(evidence, InstanceMode::Serving);
    let warming = count(evidence, InstanceMode::Warming);
    let mut holds = holds(now, policy, evidence, &needs);
    let (mut steps, mut not_taken) = (Vec::new(), Vec::new());

    let need_now = needs.iter().filter_map(|need| need.reactive).max();
    let need_ahead = needs.iter().filter_map(|need| need.ahead).max();
    let binding = binding(&needs);
    if let Some(reactive) = need_now {
        let out = wanted_out(&needs, serving, reactive, policy);
        let capped = scale_out(policy, evidence, out, serving, warming, &mut holds);
        describe_out(policy, evidence, &capped, &needs, &mut steps, &mut not_taken);
        if out == 0 {
            let (step, refused) = scale_in(policy, evidence, &needs, serving, reactive, &mut holds);
            steps.extend(step);
            not_taken.extend(refused);
        }
    } else {
        not_taken.push(NotTaken {
            step: "scale_in".to_owned(),
            instances: 0,
            reason: "there is no evidence of present demand".to_owned(),
            holds: holds.clone(),
        });
    }
    let generation = memory.generation + 1;
    let plan = Plan {
        group: policy.group.clone(),
        generation,
        parent: (memory.generation > 0).then_some(memory.generation),
        mode: policy.mode,
        made_at: now,
        valid_until: now + i64::from(policy.valid_seconds),
        confidence: policy.confidence,
        serving,
        warming,
        needs,
        binding,
        need_now,
        need_ahead,
        steps,
        not_taken,
        holds,
    };
    (plan, Memory { generation })
}

fn count(evidence: &Evidence, mode: InstanceMode) -> u32 {
    let instances = evidence.inventory.instances.iter().filter(|instance| instance.mode == mode).count();
    u32::try_from(instances).unwrap_or(u32::MAX)
}

/// Mean weight of the serving instances for a metric; 1 when none serves.
fn mean_weight(policy: &Policy, evidence: &Evidence, metric: Metric) -> f64 {
    let weights: Vec<f64> = evidence
        .inventory
        .instances
        .iter()
        .filter(|instance| instance.mode == InstanceMode::Serving)
        .filter_map(|instance| policy.weight(metric, instance.instance_type.as_deref()))
        .collect();
    if weights.is_empty() {
        return 1.0;
    }
    #[allow(clippy::cast_precision_loss, reason = "a group has far fewer than 2^53 instances")]
    let count = weights.len() as f64;
    weights.iter().sum::<f64>() / count
}

/// The baseline in use for a metric, kept below half the target whatever the evidence says.
fn baseline_points(metric: &MetricEvidence, target: f64) -> f64 {
    let points = metric.baseline.points;
    if points.is_finite() { points.clamp(0.0, target / 2.0) } else { 0.0 }
}

/// Instances of the serving mean weight that carry a net demand of `metric`, points.
pub fn need_of(policy: &Policy, evidence: &Evidence, metric: Metric, target: f64, demand: f64) -> u32 {
    let baseline = evidence.metrics.get(&metric).map_or(0.0, |found| baseline_points(found, target));
    capacity::need(demand, target, baseline, mean_weight(policy, evidence, metric))
}

fn metric_needs(now: i64, policy: &Policy, evidence: &Evidence, metric: Metric, target: f64) -> MetricNeeds {
    let Some(found) = evidence.metrics.get(&metric) else {
        return MetricNeeds { metric, reactive: None, ahead: None, window: None, without_baseline: None, trust: 0.0 };
    };
    let weight = mean_weight(policy, evidence, metric);
    let baseline = baseline_points(found, target);
    let need = |demand: f64| need_of(policy, evidence, metric, target, demand);
    let forecast = found.forecast.as_ref();
    let lead = i64::from(policy.launch_lead_seconds);
    let ahead = forecast.and_then(|path| {
        let until = (now + lead + i64::from(path.step_seconds)).min(path.until());
        path.highest(now, until, policy.confidence)
    });
    let window = forecast.and_then(|path| {
        let until = now + i64::from(policy.shadow_window_seconds) + lead;
        path.highest(now, until, policy.confidence.max(SCALE_IN_QUANTILE))
    });
    MetricNeeds {
        metric,
        reactive: found.demand.map(|demand| need(demand.net(baseline))),
        ahead: ahead.map(need),
        window: window.map(need),
        without_baseline: found.demand.map(|demand| capacity::need_without_baseline(demand.gross, target, weight)),
        trust: forecast.map_or(0.0, |path| if path.trust.is_finite() { path.trust.clamp(0.0, 1.0) } else { 0.0 }),
    }
}

fn binding(needs: &[MetricNeeds]) -> Option<Metric> {
    let most = |need: &MetricNeeds| need.reactive.max(need.ahead);
    // The first of equals, so that the answer does not flicker.
    let highest = needs.iter().filter_map(most).max()?;
    needs.iter().find(|need| most(need) == Some(highest)).map(|need| need.metric)
}

fn wanted_out(needs: &[MetricNeeds], serving: u32, reactive: u32, policy: &Policy) -> u32 {
    needs
        .iter()
        .filter_map(|need| {
            let own = need.reactive?;
            Some(rule::step(serving, own, need.ahead.unwrap_or(own), need.trust).out)
        })
        .max()
        .unwrap_or_default()
        .max(reactive.saturating_sub(serving))
        .max(policy.minimum.saturating_sub(serving))
}

/// Holds that stand whatever is wanted.
fn holds(now: i64, policy: &Policy, evidence: &Evidence, needs: &[MetricNeeds]) -> Vec<Hold> {
    let mut holds = Vec::new();
    let conditions = &evidence.conditions;
    let inventory = &evidence.inventory;
    let mut when = |condition: bool, hold: Hold| {
        if condition {
            holds.push(hold);
        }
    };
    when(conditions.paused, Hold::Paused);
    when(conditions.not_owner, Hold::NotOwner);
    when(conditions.clock_jumped, Hold::ClockJump);
    when(conditions.deploying, Hold::Deploying);
    when(conditions.foreign_scale_in, Hold::ForeignScaleIn);
    when(conditions.common_cause, Hold::CommonCause);
    when(conditions.launches_failing, Hold::LaunchesFailing);
    when(conditions.agents_unauthenticated, Hold::UnauthenticatedEvidence);
    when(conditions.claimed, Hold::ClaimedGroup);
    when(!inventory.complete, Hold::PartialInventory);
    let age_seconds = inventory.age_seconds;
    when(age_seconds > INVENTORY_FRESH_SECONDS, Hold::StaleInventory { age_seconds });
    let seconds_left = policy.warm_up_seconds.saturating_sub(conditions.started_seconds_ago);
    when(seconds_left > 0, Hold::WarmUp { seconds_left });
    for need in needs {
        let metric = need.metric;
        let Some((found, demand)) = evidence.metrics.get(&metric).and_then(|found| Some((found, found.demand?))) else {
            when(true, Hold::NoEvidence { metric });
            continue;
        };
        let (age_seconds, fresh_seconds) = (found.age_seconds, policy.fresh_seconds);
        when(age_seconds > fresh_seconds, Hold::StaleSamples { metric, age_seconds, fresh_seconds });
        let (reporting, serving) = (demand.reporting, demand.serving);
        when(demand.incomplete, Hold::Incomplete { metric, reporting, serving });
        when(demand.saturated, Hold::Saturated { metric });
        if let Some(doubt) = found.baseline_doubt {
            when(true, Hold::BaselineInDoubt { metric, doubt });
        }
        match &found.forecast {
            None => when(true, Hold::NoForecast { metric }),
            Some(path) => {
                let minimum = policy.minimum_trust;
                when(need.trust < minimum, Hold::LowTrust { metric, trust: need.trust, minimum });
                when(need.window.is_none(), Hold::ShortHorizon { metric });
                let target = policy.targets.get(&metric).copied().unwrap_or_default();
                let net = demand.net(baseline_points(found, target));
                if let Some(floor) = path.step_of(now).and_then(|step| path.demand(step, SURPRISE_QUANTILE)) {
                    when(net < floor, Hold::Surprise { metric, demand: net, expected_at_least: floor });
                }
            }
        }
    }
    holds
}

struct Out {
    wanted: u32,
    add: u32,
    reattach: Vec<String>,
    holds: Vec<Hold>,
}

/// Caps a scale-out by the maximum, by what is warming already and by one plan's share.
fn scale_out(
    policy: &Policy,
    evidence: &Evidence,
    wanted: u32,
    serving: u32,
    warming: u32,
    holds: &mut Vec<Hold>,
) -> Out {
    let mut own = Vec::new();
    let mut add = wanted.saturating_sub(warming);
    if wanted > 0 && warming > 0 {
        own.push(Hold::Warming { instances: warming });
    }
    let present = serving.saturating_add(warming);
    let room = policy.maximum.saturating_sub(present);
    if add > room {
        own.push(Hold::AtMaximum { maximum: policy.maximum, wanted: present.saturating_add(add) });
        add = room;
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped by the cast to u32's range")]
    let allowed = ((f64::from(serving) * policy.launch_share).ceil() as u32).max(LAUNCH_AT_LEAST);
    if add > allowed {
        own.push(Hold::LaunchCapped { wanted: add, allowed });
        add = allowed;
    }
    // A paused or foreign group is left alone entirely; every other hold stops scale-in only.
    let stopped = holds.iter().filter(|hold| {
        matches!(hold, Hold::Paused | Hold::NotOwner | Hold::ClockJump | Hold::ClaimedGroup | Hold::NoEvidence { .. })
    });
    let stopped: Vec<Hold> = stopped.filter(|hold| !matches!(hold, Hold::ClaimedGroup)).cloned().collect();
    let only_missing = stopped.iter().all(|hold| matches!(hold, Hold::NoEvidence { .. }));
    if !stopped.is_empty() && !only_missing {
        own.extend(stopped);
        add = 0;
    }
    holds.extend(own.iter().filter(|hold| !matches!(hold, Hold::Paused | Hold::NotOwner | Hold::ClockJump)).cloned());
    let mut fit: Vec<&Instance> = evidence
        .inventory
        .instances
        .iter()
        .filter(|instance| instance.mode == InstanceMode::Shadow && instance.fit_to_reattach)
        .collect();
    fit.sort_by(|a, b| b.since.cmp(&a.since).then_with(|| a.id.cmp(&b.id)));
    let reattach: Vec<String> =
        fit.into_iter().take(usize::try_from(add).unwrap_or(usize::MAX)).map(|instance| instance.id.clone()).collect();
    Out { wanted, add, reattach, holds: own }
}

fn describe_out(
    policy: &Policy,
    _evidence: &Evidence,
    out: &Out,
    needs: &[MetricNeeds],
    steps: &mut Vec<PlannedStep>,
    not_taken: &mut Vec<NotTaken>,
) {
    let permitted = policy.mode >= Mode::ScaleOut;
    let reason = || {
        let most = needs.iter().max_by_key(|need| need.reactive.max(need.ahead));
        most.map_or_else(String::new, |need| {
            let now = need.reactive.map_or_else(|| "?".to_owned(), |n| n.to_string());
            match need.ahead {
                Some(ahead) if ahead > need.reactive.unwrap_or_default() => format!(
                    "{} needs {now} now and {ahead} within {} s of launching (trust {:.2})",
                    need.metric, policy.launch_lead_seconds, need.trust
                ),
                _ => format!("{} needs {now} now", need.metric),
            }
        })
    };
    let reattached = u32::try_from(out.reattach.len()).unwrap_or(u32::MAX);
    if reattached > 0 {
        let step = Step::Reattach { instances: out.reattach.clone() };
        steps.push(PlannedStep { step, reason: reason(), permitted });
    }
    let launch = out.add.saturating_sub(reattached);
    if launch > 0 {
        steps.push(PlannedStep { step: Step::Launch { count: launch }, reason: reason(), permitted });
    }
    if out.add < out.wanted {
        not_taken.push(NotTaken {
            step: "scale_out".to_owned(),
            instances: out.wanted - out.add,
            reason: reason(),
            holds: out.holds.clone(),
        });
    } else if out.wanted == 0 {
        not_taken.push(NotTaken {
            step: "scale_out".to_owned(),
            instances: 0,
            reason: "what serves is enough for present demand and forecast".to_owned(),
            holds: Vec::new(),
        });
    }
}

fn scale_in(
    policy: &Policy,
    evidence: &Evidence,
    needs: &[MetricNeeds],
    serving: u32,
    reactive: u32,
    holds: &mut Vec<Hold>,
) -> (Option<PlannedStep>, Option<NotTaken>) {
    // Every metric must agree: the smallest step of all, and present need of the greediest.
    let allowed = needs
        .iter()
        .map(|need| match (need.reactive, need.window) {
            (Some(own), Some(window)) => rule::step(serving, own.max(reactive), window, need.trust).inward,
            _ => 0,
        })
        .min()
        .unwrap_or_default();
    let possible = serving.saturating_sub(reactive);
    let mut own: Vec<Hold> = Vec::new();
    let mut take = allowed;
    let floor = serving.saturating_sub(policy.minimum);
    if take > floor {
        own.push(Hold::AtMinimum { minimum: policy.minimum });
        take = floor;
    }
    for need in needs {
        if let Some(tracking) = need.without_baseline
            && take > serving.saturating_sub(tracking)
        {
            own.push(Hold::WithoutBaseline { metric: need.metric, need: tracking });
            take = serving.saturating_sub(tracking);
        }
    }
    let mut candidates: Vec<&Instance> =
        evidence.inventory.instances.iter().filter(|instance| instance.mode == InstanceMode::Serving).collect();
    let protected = candidates.iter().filter(|instance| instance.protected).count();
    candidates.retain(|instance| !instance.protected);
    if usize::try_from(take).unwrap_or(usize::MAX) > candidates.len() {
        own.push(Hold::Protected { instances: u32::try_from(protected).unwrap_or(u32::MAX) });
        take = u32::try_from(candidates.len()).unwrap_or(u32::MAX);
    }
    let standing: Vec<Hold> =
        holds.iter().filter(|hold| !matches!(hold, Hold::BaselineInDoubt { .. })).cloned().collect();
    holds.extend(own.iter().cloned());
    if take == 0 || !standing.is_empty() {
        let reason = if possible == 0 {
            "present demand needs every serving instance".to_owned()
        } else if standing.is_empty() && allowed == 0 {
            "the forecast needs them within the shadow window, or its trust is too low".to_owned()
        } else {
            format!("{possible} could go by present demand alone")
        };
        own.extend(standing);
        let refused = NotTaken { step: "scale_in".to_owned(), instances: possible, reason, holds: own };
        return (None, Some(refused));
    }
    // The zone with most first, then the oldest: even zones, old versions go before new ones.
    let mut chosen: Vec<String> = Vec::new();
    for _ in 0..take {
        let zone_size = |zone: &Option<String>| candidates.iter().filter(|other| &other.zone == zone).count();
        let best = candidates.iter().enumerate().max_by(|(_, a), (_, b)| {
            zone_size(&a.zone)
                .cmp(&zone_size(&b.zone))
                .then_with(|| b.since.cmp(&a.since))
                .then_with(|| b.id.cmp(&a.id))
        });
        let Some(index) = best.map(|(index, _)| index) else { break };
        chosen.push(candidates.remove(index).id.clone());
    }
    let window = needs.iter().filter_map(|need| need.window).max().unwrap_or_default();
    let reason = format!(
        "{serving} serve; {reactive} are needed now and {window} at most within the next {} min",
        (policy.shadow_window_seconds + policy.launch_lead_seconds) / 60
    );
    let step = Step::Detach { instances: chosen };
    (Some(PlannedStep { step, reason, permitted: policy.mode >= Mode::Full }), None)
}
