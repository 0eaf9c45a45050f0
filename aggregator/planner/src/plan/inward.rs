//! Scale-in: who may be detached. Any doubt means nobody.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::needs::{MetricNeeds, capacity_of, spare_capacity};
use super::spare::price_of;
use super::zones::Zones;
use super::{Direction, NotTaken, Outcome, PlannedStep, Step, count};
use crate::demand::InstanceMode;
use crate::evidence::{Evidence, Instance, Inventory, Pick};
use crate::hold::{Budget, Hold};
use crate::policy::{Metric, Mode, Policy};
use crate::rule;

/// What is detached, and how many would be if no other group wanted to scale in and nothing paced it.
pub(super) fn scale_in(
    now: i64,
    policy: &Policy,
    evidence: &Evidence,
    needs: &[MetricNeeds],
    reactive: u32,
    standing: &[Hold],
) -> (Outcome, u32) {
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
    let (take, mut own) = floored(now, policy, evidence, needs, allowed, candidates.len());
    let Chosen { instances: mut gone, uneven } =
        chosen(&evidence.inventory, candidates, take, &mut Room::of_all(now, policy, evidence));
    own.extend((uneven > 0).then_some(Hold::UnevenZones { instances: uneven }));
    worthwhile(policy, evidence, take - uneven, &mut gone, &mut own);
    // A baseline in doubt is zero already: it asks for more, it forbids nothing.
    let against: Vec<Hold> =
        standing.iter().filter(|hold| !matches!(hold, Hold::BaselineInDoubt { .. })).cloned().collect();
    let wants_in = if against.iter().all(is_common) { u32::try_from(gone.len()).unwrap_or(u32::MAX) } else { 0 };
    paced(policy, evidence, &mut gone, &mut own);
    if !gone.is_empty() && against.is_empty() {
        let window = needs.iter().filter_map(|need| need.window).max().unwrap_or_default();
        let reason = format!(
            "{serving} serve; {reactive} are needed now and {window} at most within the next {} min",
            (policy.shadow_window_seconds + policy.launch_lead_seconds) / 60
        );
        let step = Step::Detach { instances: gone };
        let step = PlannedStep { step, reason, permitted: policy.mode >= Mode::Full };
        let holds = own.iter().filter(|hold| matches!(hold, Hold::UnevenZones { .. })).cloned().collect();
        let reason = format!("{uneven} more could go but for their zones");
        let kept = NotTaken { direction: Direction::ScaleIn, instances: uneven, reason, holds };
        let not_taken = (uneven > 0).then_some(kept).into_iter().collect();
        return (Outcome { steps: vec![step], not_taken, holds: own }, wants_in);
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
    (Outcome { steps: Vec::new(), not_taken: vec![not_taken], holds: own }, wants_in)
}

/// What holds one group and stands for many: a fall that surprises one is the fall that lets the next scale in, and a
/// change under way hides that more would go.
const fn is_common(hold: &Hold) -> bool {
    matches!(hold, Hold::CommonCause | Hold::Changing | Hold::Surprise { .. })
}

/// What of each metric's capacity may go.
struct Room<'a> {
    policy: &'a Policy,
    inventory: &'a Inventory,
    left: Vec<(Metric, f64)>,
}

/// A rounding error of this share of a machine keeps nobody.
const TOLERANCE: f64 = 2e-6;

impl<'a> Room<'a> {
    fn of_all(now: i64, policy: &'a Policy, evidence: &'a Evidence) -> Self {
        let serving = f64::from(count(evidence, InstanceMode::Serving));
        let left = policy.targets.keys().map(|metric| {
            let spare = spare_capacity(now, policy, evidence, *metric);
            (*metric, spare.map_or(0.0, |(there, spare)| spare + TOLERANCE * there / serving))
        });
        Self { policy, inventory: &evidence.inventory, left: left.collect() }
    }

    /// Those who stay carry everything without this one.
    fn is_for(&self, instance: &Instance) -> bool {
        self.left.iter().all(|(metric, left)| {
            capacity_of(self.policy, self.inventory, *metric, instance).is_some_and(|capacity| capacity <= *left)
        })
    }

    fn without(&mut self, instance: &Instance) {
        for (metric, left) in &mut self.left {
            *left -= capacity_of(self.policy, self.inventory, *metric, instance).unwrap_or_default();
        }
    }
}

/// Stops at the minimum, at the b = 0 answer of every metric and at what is not protected.
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
    (take, holds)
}

/// Nobody goes where that would save less than a change costs. What the pace makes of it is one change in several parts.
fn worthwhile(policy: &Policy, evidence: &Evidence, take: u32, gone: &mut Vec<String>, holds: &mut Vec<Hold>) {
    let going = u32::try_from(gone.len()).unwrap_or(u32::MAX);
    if going < take {
        holds.push(Hold::CarriesTooMuch { instances: take - going });
    }
    let hours = f64::from(policy.shadow_window_seconds) / 3_600.0;
    let saves = f64::from(going) * price_of(evidence.conditions.price_per_hour) * hours;
    let costs = policy.change_cost;
    if going > 0 && saves < costs {
        holds.push(Hold::SmallChange { saves, costs });
        gone.clear();
    }
}

/// Stops at what may stand in shadow, and at the pace at which machines may go.
fn paced(policy: &Policy, evidence: &Evidence, gone: &mut Vec<String>, holds: &mut Vec<Hold>) {
    let stand = count(evidence, InstanceMode::Shadow).saturating_add(count(evidence, InstanceMode::Draining));
    let limits = [
        policy
            .shadows_at_most
            .map(|at_most| (Hold::BudgetSpent { budget: Budget::Shadows { at_most } }, at_most.saturating_sub(stand))),
        evidence.conditions.detachable.map(|allowed| (Hold::Paced { allowed }, allowed)),
    ];
    for (hold, allowed) in limits.into_iter().flatten() {
        let most = usize::try_from(allowed).unwrap_or(usize::MAX);
        if gone.len() > most {
            gone.truncate(most);
            holds.push(hold);
        }
    }
}

/// How a group picks that does not say how.
const USUAL: [Pick; 2] = [Pick::OldVersion, Pick::Oldest];

/// Who goes, in their order.
struct Chosen {
    instances: Vec<String>,
    /// How many more would, but for their zones.
    uneven: u32,
}

/// Of the zone in which most serve first, so that zones stay even, then by the group's own termination policy. Who carries
/// more than may go is passed over.
fn chosen(inventory: &Inventory, mut candidates: Vec<&Instance>, take: u32, room: &mut Room<'_>) -> Chosen {
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
    let mut zones = Zones::of(inventory);
    // The provider refuses or undoes what makes zones more uneven than they are, or than one apart. Whoever follows one of these
    // is of a zone with as few: the fullest has nobody left who may go.
    let widest = if inventory.evens_zones { zones.spread().max(1) } else { usize::MAX };
    let mut chosen = Chosen { instances: Vec::new(), uneven: 0 };
    for _ in 0..take {
        candidates.retain(|candidate| room.is_for(candidate));
        let first = candidates.iter().enumerate().min_by(|(_, a), (_, b)| {
            let by_zone = zones.there(b).cmp(&zones.there(a));
            let by_policy = || picks.iter().fold(Ordering::Equal, |order, pick| order.then_with(|| by(pick, a, b)));
            by_zone.then_with(by_policy).then_with(|| a.id.cmp(&b.id))
        });
        let Some(index) = first.map(|(index, _)| index) else { break };
        let first = candidates.remove(index);
        room.without(first);
        zones.remove(first);
        if zones.spread() > widest {
            chosen.uneven += 1;
        } else {
            chosen.instances.push(first.id.clone());
        }
    }
    chosen
}
