//! Scale-in: who may be detached. Any doubt means nobody.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::needs::MetricNeeds;
use super::spare::price_of;
use super::{Direction, NotTaken, Outcome, PlannedStep, Step, count};
use crate::demand::InstanceMode;
use crate::evidence::{Evidence, Instance, Inventory, Pick};
use crate::hold::Hold;
use crate::policy::{Mode, Policy};
use crate::rule;

pub(super) fn scale_in(
    now: i64,
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
    let (take, own) = floored(now, policy, evidence, needs, allowed, candidates.len());
    // A baseline in doubt is zero already: it asks for more, it forbids nothing.
    let against: Vec<Hold> =
        standing.iter().filter(|hold| !matches!(hold, Hold::BaselineInDoubt { .. })).cloned().collect();
    if take > 0 && against.is_empty() {
        let window = needs.iter().filter_map(|need| need.window).max().unwrap_or_default();
        let reason = format!(
            "{serving} serve; {reactive} are needed now and {window} at most within the next {} min",
            (policy.shadow_window_seconds + policy.launch_lead_seconds) / 60
        );
        let step = Step::Detach { instances: chosen(&evidence.inventory, candidates, take) };
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
    now: i64,
    policy: &Policy,
    evidence: &Evidence,
    needs: &[MetricNeeds],
    allowed: u32,
    unprotected: usize,
) -> (u32, Vec<Hold>) {
    let serving = count(evidence, InstanceMode::Serving);
    let (mut take, mut holds) = (allowed, Vec::new());
    // Also a floor that begins only later: who goes now would have to come back for it.
    let floor = policy.floor_within_sight(now);
    let spare = serving.saturating_sub(floor.instances);
    if take > spare {
        holds.push(Hold::AtMinimum { minimum: floor.instances, window: floor.window.map(str::to_owned) });
        take = spare;
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
    let (saves, costs) = (saved(policy, evidence, take), policy.change_cost);
    if take > 0 && saves < costs {
        holds.push(Hold::SmallChange { saves, costs });
        take = 0;
    }
    if let Some(allowed) = evidence.conditions.detachable.filter(|allowed| take > *allowed) {
        holds.push(Hold::Paced { allowed });
        take = allowed;
    }
    (take, holds)
}

/// What it saves within the shadow window that so many go. What the pace makes of it is one change in several parts.
fn saved(policy: &Policy, evidence: &Evidence, take: u32) -> f64 {
    let hours = f64::from(policy.shadow_window_seconds) / 3_600.0;
    f64::from(take) * price_of(evidence.conditions.price_per_hour) * hours
}

/// How a group picks that does not say how.
const USUAL: [Pick; 2] = [Pick::OldVersion, Pick::Oldest];

/// The zone with most first, so that zones stay even, then by the group's own termination policy.
fn chosen(inventory: &Inventory, mut candidates: Vec<&Instance>, take: u32) -> Vec<String> {
    let picks = if inventory.termination.is_empty() { &USUAL[..] } else { &inventory.termination };
    // Whether a goes before b.
    let by = |pick: &Pick, a: &Instance, b: &Instance| match pick {
        Pick::OldVersion => {
            let old = |instance: &Instance| inventory.old_versions.contains(&instance.id);
            old(b).cmp(&old(a))
        }
        Pick::Oldest => a.since.cmp(&b.since),
        Pick::Newest => b.since.cmp(&a.since),
    };
    let mut chosen = Vec::new();
    for _ in 0..take {
        let zone_size = |zone: &Option<String>| candidates.iter().filter(|other| &other.zone == zone).count();
        let first = candidates.iter().enumerate().min_by(|(_, a), (_, b)| {
            let by_zone = zone_size(&b.zone).cmp(&zone_size(&a.zone));
            let by_policy = || picks.iter().fold(Ordering::Equal, |order, pick| order.then_with(|| by(pick, a, b)));
            by_zone.then_with(by_policy).then_with(|| a.id.cmp(&b.id))
        });
        let Some(index) = first.map(|(index, _)| index) else { break };
        chosen.push(candidates.remove(index).id.clone());
    }
    chosen
}
