//! The independent judge of every plan. It shares no code with the planner and does its own
//! arithmetic, so that one wrong line of planning cannot both propose and approve. What was observed, it is
//! told: demand, the idle baseline and weights reach both from one place.
//!
//! [`check`] takes one [`Change`], the [`Facts`] as they were described afresh, and the
//! [`Limits`]; it gives every [`Refusal`] at once. No refusal means the change may be made. An
//! empty list of instances is refused: empty means nothing, never everything.
//!
//! Units: utilisation in points (percent of one instance), times in seconds since the Unix epoch.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod facts;
mod limits;
mod refusal;
mod size;

use std::collections::BTreeSet;

pub use facts::{Change, Facts, Fleet, Load, Machine, Place, Pulse, Removed, ShadowFacts, Veto, Window};
pub use limits::{Limits, LimitsProblem};
pub use refusal::Refusal;

/// Every reason against a change; none means it may be made.
pub fn check(change: &Change, facts: &Facts, limits: &Limits) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    standing(change, facts, limits, &mut refusals);
    match change {
        Change::Launch { count } => {
            more(*count, facts, &mut refusals);
            let would_be = facts.launched_last_hour.saturating_add(*count);
            if would_be > facts.launches_per_hour {
                refusals.push(Refusal::TooManyLaunches { per_hour: facts.launches_per_hour, would_be });
            }
            size::cost(*count, facts, &mut refusals);
        }
        Change::Reattach { instances } => {
            named(instances, facts, &mut refusals, |machine| match machine.place {
                Place::Shadow if machine.ours => None,
                Place::Shadow => Some(Refusal::Foreign { instance: machine.id.clone() }),
                _ => Some(Refusal::NotInShadow { instance: machine.id.clone() }),
            });
            more(count(instances), facts, &mut refusals);
        }
        Change::Detach { instances } => {
            named(instances, facts, &mut refusals, |machine| match machine.place {
                Place::Serving => None,
                _ => Some(Refusal::NotServing { instance: machine.id.clone() }),
            });
            size::fewer(instances, facts, &mut refusals);
            size::shadows(count(instances), facts, &mut refusals);
            size::pace(count(instances), facts, limits, &mut refusals);
        }
        Change::Leave { instances } => {
            // Its end begins here: everything that an end needs, but that it still is in its group.
            named(instances, facts, &mut refusals, |machine| match machine.place {
                Place::Shadow if !machine.ours => Some(Refusal::Foreign { instance: machine.id.clone() }),
                Place::Shadow if machine.in_group => agrees(machine, limits),
                _ => Some(Refusal::NotInStandby { instance: machine.id.clone() }),
            });
            size::fewer(&[], facts, &mut refusals);
            size::pace(count(instances), facts, limits, &mut refusals);
        }
        Change::Terminate { instances } => {
            named(instances, facts, &mut refusals, |machine| match machine.place {
                Place::Shadow if !machine.ours => Some(Refusal::Foreign { instance: machine.id.clone() }),
                Place::Shadow if machine.in_target_group => {
                    Some(Refusal::InTargetGroup { instance: machine.id.clone() })
                }
                Place::Shadow if machine.in_group => Some(Refusal::InGroup { instance: machine.id.clone() }),
                Place::Shadow => agrees(machine, limits),
                Place::Warming | Place::Serving => Some(Refusal::InGroup { instance: machine.id.clone() }),
                Place::Draining | Place::Gone => Some(Refusal::NotInShadow { instance: machine.id.clone() }),
            });
            size::fewer(&[], facts, &mut refusals);
            size::pace(count(instances), facts, limits, &mut refusals);
        }
        Change::Floor { from, to } => floor(*from, *to, facts, &mut refusals),
    }
    refusals
}

/// A shadow's own word against its end.
fn agrees(machine: &Machine, limits: &Limits) -> Option<Refusal> {
    let instance = machine.id.clone();
    let Some(shadow) = machine.shadow.filter(|shadow| shadow.lease_over) else {
        return Some(Refusal::LeaseRuns { instance });
    };
    if shadow.sample_age_seconds.is_none_or(|age| age > limits.sample_fresh_seconds) {
        return (!shadow.may_end_silent).then_some(Refusal::SilentShadow { instance });
    }
    let quiet_seconds = shadow.quiet_seconds;
    (quiet_seconds < limits.quiet_seconds).then_some(Refusal::StillTalks { instance, quiet_seconds })
}

/// What stands against any change, and against any that takes away.
fn standing(change: &Change, facts: &Facts, limits: &Limits, refusals: &mut Vec<Refusal>) {
    if facts.now > facts.valid_until || facts.now < facts.made_at {
        refusals.push(Refusal::OldPlan { made_at: facts.made_at, valid_until: facts.valid_until });
    }
    if !facts.inventory_complete {
        refusals.push(Refusal::PartialInventory);
    }
    if facts.inventory_age_seconds > limits.inventory_fresh_seconds {
        refusals.push(Refusal::StaleInventory { age_seconds: facts.inventory_age_seconds });
    }
    if !facts.authenticated && !facts.loopback {
        refusals.push(Refusal::UnauthenticatedEvidence);
    }
    if !change.takes_away() {
        return;
    }
    let early = limits.warm_up_seconds.saturating_sub(facts.running_seconds);
    if early > 0 {
        refusals.push(Refusal::JustStarted { seconds_left: early });
    }
    if facts.launches_failing {
        refusals.push(Refusal::LaunchesFailing);
    }
    let Fleet { groups, groups_that_want_in, other_groups_in, .. } = facts.fleet;
    if f64::from(groups_that_want_in) > limits.common_cause_share * f64::from(groups) && groups_that_want_in > 1 {
        refusals.push(Refusal::CommonCause { groups_that_want_in, groups });
    }
    if other_groups_in > 0 {
        refusals.push(Refusal::OneGroupAtATime { other_groups: other_groups_in });
    }
    size::plausible(facts, refusals);
    if let Some(problem) = limits.problems(facts.loopback).into_iter().next() {
        refusals.push(Refusal::ShortenedSafety { field: problem.field.to_owned() });
    }
}

fn more(count: u32, facts: &Facts, refusals: &mut Vec<Refusal>) {
    let present = facts.count(Place::Serving).saturating_add(facts.count(Place::Warming));
    if count == 0 {
        refusals.push(Refusal::Nothing);
    }
    let maximum = facts.ceiling();
    if present.saturating_add(count) > maximum {
        refusals.push(Refusal::AboveMaximum { maximum, would_be: present.saturating_add(count) });
    }
}

/// A floor keeps what is there: above it, it would launch; below the minimum it would keep nobody.
fn floor(from: u32, to: u32, facts: &Facts, refusals: &mut Vec<Refusal>) {
    let present = facts.count(Place::Serving).saturating_add(facts.count(Place::Warming));
    if from == to {
        refusals.push(Refusal::Nothing);
    }
    if to > present {
        refusals.push(Refusal::FloorAbovePresent { present, would_be: to });
    }
    let (minimum, maximum) = (facts.floor(), facts.ceiling());
    if to > maximum {
        refusals.push(Refusal::AboveMaximum { maximum, would_be: to });
    }
    if to < minimum.min(present) {
        refusals.push(Refusal::BelowMinimum { minimum, would_be: to });
    }
}

/// Each instance must be known, meant once, unprotected, and pass `judge`.
fn named(
    instances: &[String],
    facts: &Facts,
    refusals: &mut Vec<Refusal>,
    judge: impl Fn(&Machine) -> Option<Refusal>,
) {
    if instances.is_empty() {
        refusals.push(Refusal::Nothing);
    }
    let mut seen = BTreeSet::new();
    for instance in instances {
        if !seen.insert(instance) {
            refusals.push(Refusal::Twice { instance: instance.clone() });
            continue;
        }
        match facts.machines.iter().find(|machine| machine.id == *instance) {
            None => refusals.push(Refusal::Unknown { instance: instance.clone() }),
            Some(machine) => {
                if machine.protected {
                    refusals.push(Refusal::Protected { instance: instance.clone() });
                }
                refusals.extend(judge(machine));
            }
        }
    }
}

fn count(instances: &[String]) -> u32 {
    u32::try_from(instances.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
