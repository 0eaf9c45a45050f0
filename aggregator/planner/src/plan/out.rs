//! Scale-out: what to add, and how much of it at once. Fit shadows come back before anything is
//! launched.

use std::cmp::Reverse;

use super::needs::MetricNeeds;
use super::zones::Zones;
use super::{Direction, NotTaken, Outcome, PlannedStep, Step, count};
use crate::demand::InstanceMode;
use crate::evidence::{Evidence, Instance, Shadow};
use crate::hold::{Budget, Hold};
use crate::policy::{Mode, Policy};
use crate::rule;

/// A plan may always add this many instances, whatever the share.
const LAUNCH_AT_LEAST: u32 = 4;

/// Instances beyond those that serve: the step rule's most demanding metric, and the floor that holds when they are ready.
pub(super) fn wanted(now: i64, policy: &Policy, needs: &[MetricNeeds], serving: u32) -> u32 {
    let by_metric = needs.iter().filter_map(|need| {
        let own = need.reactive?;
        Some(rule::step(serving, own, need.ahead.unwrap_or(own), need.trust).out)
    });
    let wanted = by_metric.max().unwrap_or_default().max(policy.floor_ahead(now).instances.saturating_sub(serving));
    // Where a change is made anyway, what the next one would bring comes along.
    let along = needs.iter().filter_map(|need| {
        let (own, later) = (need.reactive?, need.later?);
        Some(rule::step(serving, own, later, need.trust).out)
    });
    if wanted > 0 { along.fold(wanted, u32::max) } else { 0 }
}

/// Caps what is wanted by what already warms, by the maximum and by one plan's share.
pub(super) fn scale_out(
    now: i64,
    policy: &Policy,
    evidence: &Evidence,
    needs: &[MetricNeeds],
    wanted: u32,
    standing: &[Hold],
) -> Outcome {
    let reason = reason(now, policy, needs);
    if wanted == 0 {
        let reason = "what serves is enough for present demand and forecast".to_owned();
        return Outcome { not_taken: vec![not_taken(0, reason, Vec::new())], ..Outcome::default() };
    }
    // A paused group, another's, one whose clock jumped or that is being changed is left alone; other
    // holds stop scale-in only.
    let left_alone: Vec<Hold> = standing
        .iter()
        .filter(|hold| matches!(hold, Hold::Paused | Hold::NotOwner | Hold::ClockJump | Hold::Changing))
        .cloned()
        .collect();
    if !left_alone.is_empty() {
        return Outcome { not_taken: vec![not_taken(wanted, reason, left_alone)], ..Outcome::default() };
    }
    let (add, mut holds) = capped(now, policy, evidence, wanted);
    let Back { instances: mut reattach, mut uneven } = fit_shadows(evidence, add);
    let number = |instances: &[String]| u32::try_from(instances.len()).unwrap_or(u32::MAX);
    // What runs already costs nothing more when it serves: budgets are for launches.
    let launch = afforded(now, policy, evidence, add.saturating_sub(number(&reattach)), &mut holds);
    // Where nobody can be launched in their place, need counts for more than even zones.
    let lacking = add.saturating_sub(number(&reattach)).saturating_sub(launch);
    let left = uneven.split_off(uneven.len().min(usize::try_from(lacking).unwrap_or(usize::MAX)));
    holds.extend((!left.is_empty()).then_some(Hold::UnevenZones { instances: number(&left) }));
    reattach.append(&mut uneven);
    let added = number(&reattach).saturating_add(launch);
    let permitted = policy.mode >= Mode::ScaleOut;
    let mut steps = Vec::new();
    if !reattach.is_empty() {
        steps.push(PlannedStep { step: Step::Reattach { instances: reattach }, reason: reason.clone(), permitted });
    }
    if launch > 0 {
        steps.push(PlannedStep { step: Step::Launch { count: launch }, reason: reason.clone(), permitted });
    }
    let not_taken = (added < wanted).then(|| not_taken(wanted - added, reason, holds.clone())).into_iter().collect();
    Outcome { steps, not_taken, holds }
}

/// Those that are on their way, and those that are so for longer than anything takes: nobody counts on them.
pub(super) fn warming(now: i64, policy: &Policy, evidence: &Evidence) -> (u32, u32) {
    let all = count(evidence, InstanceMode::Warming);
    let late = |instance: &&Instance| {
        instance.mode == InstanceMode::Warming && now - instance.since > i64::from(policy.on_its_way_seconds())
    };
    let overdue = evidence.inventory.instances.iter().filter(late).count();
    let overdue = u32::try_from(overdue).unwrap_or(u32::MAX);
    (all.saturating_sub(overdue).saturating_add(evidence.inventory.expected), overdue)
}

fn capped(now: i64, policy: &Policy, evidence: &Evidence, wanted: u32) -> (u32, Vec<Hold>) {
    let serving = count(evidence, InstanceMode::Serving);
    let (warming, overdue) = warming(now, policy, evidence);
    // The provider counts them all.
    let present = serving.saturating_add(warming).saturating_add(overdue);
    let mut holds = Vec::new();
    let mut add = wanted.saturating_sub(warming);
    if warming > 0 {
        holds.push(Hold::Warming { instances: warming });
    }
    let ceiling = policy.ceiling(now);
    let room = ceiling.instances.saturating_sub(present);
    if add > room {
        let (maximum, window) = (ceiling.instances, ceiling.window.map(str::to_owned));
        holds.push(Hold::AtMaximum { maximum, wanted: present.saturating_add(add), window });
        add = room;
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped by the cast to u32's range")]
    let allowed = ((f64::from(serving) * policy.launch_share).ceil() as u32).max(LAUNCH_AT_LEAST);
    if add > allowed {
        holds.push(Hold::LaunchCapped { wanted: add, allowed });
        add = allowed;
    }
    (add, holds)
}

/// Stops while launches fail, and at the launches and the money that an hour may take.
fn afforded(now: i64, policy: &Policy, evidence: &Evidence, wanted: u32, holds: &mut Vec<Hold>) -> u32 {
    let mut launch = wanted;
    if let Some(next_try) = evidence.conditions.launch_again_at.filter(|at| *at > now)
        && launch > 0
    {
        holds.push(Hold::BackOff { next_try, seconds_left: u32::try_from(next_try - now).unwrap_or(u32::MAX) });
        launch = 0;
    }
    let left = policy.launches_per_hour.saturating_sub(evidence.conditions.launched_last_hour);
    if launch > left {
        holds.push(Hold::BudgetSpent { budget: Budget::Launches { per_hour: policy.launches_per_hour } });
        launch = left;
    }
    let Some(per_hour) = policy.spend_per_hour.filter(|_| launch > 0) else { return launch };
    let Some((cost, price)) = evidence.conditions.cost_per_hour.zip(evidence.conditions.price_per_hour) else {
        holds.push(Hold::Unpriced { types: evidence.inventory.unpriced() });
        return 0;
    };
    if price > 0.0 {
        // Whom the inventory does not show yet costs as well.
        let cost = cost + f64::from(evidence.inventory.expected) * price;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped by the cast to u32's range"
        )]
        let affordable = ((per_hour - cost) / price + 1e-9).floor().max(0.0) as u32;
        if launch > affordable {
            holds.push(Hold::BudgetSpent { budget: Budget::Money { per_hour } });
            launch = affordable;
        }
    }
    launch
}

/// Shadows that could come back, in their order.
struct Back {
    instances: Vec<String>,
    /// Those after which the provider would end somebody to even its zones out.
    uneven: Vec<String>,
}

/// From the zone with the fewest first, so that zones stay even; in it whoever was detached last: its caches are the
/// warmest.
fn fit_shadows(evidence: &Evidence, most: u32) -> Back {
    let inventory = &evidence.inventory;
    let mut zones = Zones::of(inventory);
    let fit = |instance: &&Instance| {
        instance.mode == InstanceMode::Shadow && instance.shadow.as_ref().is_some_and(Shadow::is_fit)
    };
    let mut shadows: Vec<&Instance> = inventory.instances.iter().filter(fit).collect();
    let mut back = Back { instances: Vec::new(), uneven: Vec::new() };
    for _ in 0..most {
        let next = shadows.iter().enumerate().min_by_key(|(_, it)| (zones.there(it), Reverse(it.since), &it.id));
        let Some(index) = next.map(|(index, _)| index) else { break };
        let next = shadows.remove(index);
        let before = zones.spread();
        zones.add(next);
        let after = zones.spread();
        // Whoever follows is of a zone with as many, or more.
        if !back.uneven.is_empty() || inventory.evens_zones && after > before.max(1) {
            back.uneven.push(next.id.clone());
        } else {
            back.instances.push(next.id.clone());
        }
    }
    back
}

fn reason(now: i64, policy: &Policy, needs: &[MetricNeeds]) -> String {
    let Some(need) = needs.iter().max_by_key(|need| need.reactive.max(need.ahead)) else { return String::new() };
    let floor = policy.floor_ahead(now);
    let now = need.reactive.unwrap_or_default();
    if now.max(need.ahead.unwrap_or_default()) < floor.instances {
        let of = floor.window.map_or_else(String::new, |name| format!(", by the window {name}"));
        return format!("the minimum is {}{of}", floor.instances);
    }
    match need.ahead {
        Some(ahead) if ahead > now => format!(
            "{} needs {now} now and {ahead} within {} s of launching (trust {:.2}){}{}",
            need.metric,
            policy.launch_lead_seconds,
            need.trust,
            along(need),
            raised_by(&need.events)
        ),
        _ => format!("{} needs {now} now{}", need.metric, along(need)),
    }
}

/// Says what comes along because another change would cost.
fn along(need: &MetricNeeds) -> String {
    let later = need.later.filter(|later| Some(*later) > need.ahead);
    later.map_or_else(String::new, |later| format!(", {later} soon after, brought forward"))
}

/// Says when it is an event that asks.
fn raised_by(events: &[String]) -> String {
    if events.is_empty() { String::new() } else { format!(", raised by {}", events.join(", ")) }
}

const fn not_taken(instances: u32, reason: String, holds: Vec<Hold>) -> NotTaken {
    NotTaken { direction: Direction::ScaleOut, instances, reason, holds }
}
