//! Scale-in: who may be detached. Any doubt means nobody.

use std::collections::BTreeSet;

use super::needs::MetricNeeds;
use super::{Direction, NotTaken, Outcome, PlannedStep, Step, count};
use crate::demand::InstanceMode;
use crate::evidence::{Evidence, Instance};
use crate::hold::Hold;
use crate::policy::{Mode, Policy};
use crate::rule;

pub(super) fn scale_in(
    policy: &Policy,
    evidence: &Evidence,
    needs: &[MetricNeeds],
    reactive: u32,
    standing: &[Hold],
) -> Outcome {
    let serving = count(evidence, InstanceMode::Serving);
    // Every metric must agree: the smallest step of all, and present need of the greediest.
    let by_metric = needs.iter().map(|need| match (need.reactive, need.window) {
        (Some(own), Some(window)) => rule::step(serving, own.max(reactive), window, need.trust).inward,
        _ => 0,
    });
    let allowed = by_metric.min().unwrap_or_default();
    let candidates: Vec<&Instance> = evidence
        .inventory
        .instances
        .iter()
        .filter(|instance| instance.mode == InstanceMode::Serving && !instance.protected)
        .collect();
    let (take, own) = floored(policy, evidence, needs, allowed, candidates.len());
    // A baseline in doubt is zero already: it asks for more, it forbids nothing.
    let against: Vec<Hold> =
        standing.iter().filter(|hold| !matches!(hold, Hold::BaselineInDoubt { .. })).cloned().collect();
    if take > 0 && against.is_empty() {
        let window = needs.iter().filter_map(|need| need.window).max().unwrap_or_default();
        let reason = format!(
            "{serving} serve; {reactive} are needed now and {window} at most within the next {} min",
            (policy.shadow_window_seconds + policy.launch_lead_seconds) / 60
        );
        let step = Step::Detach { instances: chosen(candidates, take) };
        let step = PlannedStep { step, reason, permitted: policy.mode >= Mode::Full };
        return Outcome { steps: vec![step], not_taken: Vec::new(), holds: own };
    }
    let possible = serving.saturating_sub(reactive);
    let reason = if possible == 0 {
        "present demand needs every serving instance".to_owned()
    } else if against.is_empty() && allowed == 0 {
        let events: BTreeSet<&str> = needs.iter().flat_map(|need| &need.window_events).map(String::as_str).collect();
        let raised = events.into_iter().collect::<Vec<_>>().join(", ");
        let raised = if raised.is_empty() { raised } else { format!(", raised by {raised},") };
        format!("the forecast{raised} needs them within the shadow window, or its trust is too low")
    } else {
        format!("{possible} could go by present demand alone")
    };
    let holds = own.iter().cloned().chain(against).collect();
    let not_taken = NotTaken { direction: Direction::ScaleIn, instances: possible, reason, holds };
    Outcome { steps: Vec::new(), not_taken: vec![not_taken], holds: own }
}

/// Stops at the minimum, at the b = 0 answer of every metric, at what is not protected, and at the
/// pace at which machines may go.
fn floored(
    policy: &Policy,
    evidence: &Evidence,
    needs: &[MetricNeeds],
    allowed: u32,
    unprotected: usize,
) -> (u32, Vec<Hold>) {
    let serving = count(evidence, InstanceMode::Serving);
    let (mut take, mut holds) = (allowed, Vec::new());
    let floor = serving.saturating_sub(policy.minimum);
    if take > floor {
        holds.push(Hold::AtMinimum { minimum: policy.minimum });
        take = floor;
    }
    for need in needs {
        if let Some(tracking) = need.without_baseline
            && take > serving.saturating_sub(tracking)
        {
            holds.push(Hold::WithoutBaseline { metric: need.metric, need: tracking });
            take = serving.saturating_sub(tracking);
        }
    }
    let unprotected = u32::try_from(unprotected).unwrap_or(u32::MAX);
    if take > unprotected {
        holds.push(Hold::Protected { instances: serving - unprotected });
        take = unprotected;
    }
    if let Some(allowed) = evidence.conditions.detachable.filter(|allowed| take > *allowed) {
        holds.push(Hold::Paced { allowed });
        take = allowed;
    }
    (take, holds)
}

/// The zone with most first, then the oldest: even zones, old versions go before new ones.
fn chosen(mut candidates: Vec<&Instance>, take: u32) -> Vec<String> {
    let mut chosen = Vec::new();
    for _ in 0..take {
        let zone_size = |zone: &Option<String>| candidates.iter().filter(|other| &other.zone == zone).count();
        let best = candidates.iter().enumerate().max_by(|(_, a), (_, b)| {
            let by_zone = zone_size(&a.zone).cmp(&zone_size(&b.zone));
            by_zone.then_with(|| b.since.cmp(&a.since)).then_with(|| b.id.cmp(&a.id))
        });
        let Some(index) = best.map(|(index, _)| index) else { break };
        chosen.push(candidates.remove(index).id.clone());
    }
    chosen
}
