//! How many machines must stay, and how fast others may go. Own arithmetic: whole machines are
//! counted up one by one instead of dividing and rounding.

use crate::facts::{Facts, Load, Place};
use crate::limits::Limits;
use crate::refusal::Refusal;

/// A rounding error of this share of a machine does not make another one needed.
const TOLERANCE: f64 = 1e-6;

/// Judges that `gone` machines fewer serve; with none fewer, that those who serve are enough.
pub(crate) fn fewer(gone: u32, facts: &Facts, refusals: &mut Vec<Refusal>) {
    let serving = facts.count(Place::Serving);
    let would_be = serving.saturating_sub(gone);
    let minimum = facts.floor();
    if would_be < minimum {
        refusals.push(Refusal::BelowMinimum { minimum, would_be });
    }
    if facts.loads.is_empty() {
        refusals.push(Refusal::NoObservation { metric: "every metric".to_owned() });
    }
    for load in &facts.loads {
        stays(load, serving, would_be, facts.leave_below_last_week, refusals);
    }
}

fn stays(load: &Load, serving: u32, would_be: u32, leave: bool, refusals: &mut Vec<Refusal>) {
    let metric = || load.metric.clone();
    let sound = load.weight > 0.0 && load.weight.is_finite() && load.target > 0.0 && load.target <= 100.0;
    let gross = load.gross.filter(|gross| gross.is_finite() && *gross >= 0.0);
    let (Some(gross), true, true) = (gross, load.certain, sound) else {
        refusals.push(Refusal::NoObservation { metric: metric() });
        return;
    };
    // Machines of the weight that serves on average.
    let weight = load.weight / f64::from(serving.max(1));
    let plain = smallest(gross, load.target * weight);
    if would_be < plain {
        refusals.push(Refusal::BelowNeedWithoutBaseline { metric: metric(), need: plain, would_be });
    }
    let baseline = if load.baseline.is_finite() { load.baseline.max(0.0) } else { f64::INFINITY };
    let need = smallest(gross - baseline.min(gross) * load.weight, (load.target - baseline) * weight);
    if would_be < need {
        refusals.push(Refusal::BelowObservedNeed { metric: metric(), need, would_be });
    }
    if let Some(then) = load.last_week.filter(|_| !leave) {
        let need = if then.is_finite() { smallest(then, load.target * weight) } else { u32::MAX };
        if would_be < need {
            refusals.push(Refusal::BelowLastWeek { metric: metric(), need, would_be });
        }
    }
}

/// The fewest machines that carry `load` points when each carries `each`.
fn smallest(load: f64, each: f64) -> u32 {
    if load <= 0.0 {
        return 0;
    }
    if each.is_nan() || each <= 0.0 {
        return u32::MAX;
    }
    let short = load - TOLERANCE * each;
    // A first guess from below, then machine by machine.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates at the range of u32")]
    let mut machines = (short / each - 1.0).max(0.0) as u32;
    while f64::from(machines) * each < short && machines < u32::MAX {
        machines += 1;
    }
    machines
}

/// Judges how fast machines go.
pub(crate) fn pace(gone: u32, facts: &Facts, limits: &Limits, refusals: &mut Vec<Refusal>) {
    let serving = facts.count(Place::Serving);
    let removed = facts.removed;
    let six_hours_ago = if removed.served_6_hours_ago == 0 { serving } else { removed.served_6_hours_ago };
    let pairs = [
        (15, removed.last_15_minutes, share(limits.share_15_minutes, serving)),
        (360, removed.last_6_hours, share(limits.share_6_hours, six_hours_ago)),
    ];
    for (within_minutes, already, allowed) in pairs {
        let would_be = already.saturating_add(gone);
        if would_be > allowed {
            refusals.push(Refusal::TooFast { within_minutes, allowed, would_be });
        }
    }
    let allowed = share(limits.fleet_share, facts.fleet.machines);
    let would_be = facts.fleet.removed_15_minutes.saturating_add(gone);
    if would_be > allowed {
        refusals.push(Refusal::FleetTooFast { allowed, would_be });
    }
}

/// A share of machines, rounded down; one always may.
fn share(share: f64, of: u32) -> u32 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates at the range of u32")]
    let machines = (share * f64::from(of)).floor().max(0.0) as u32;
    machines.max(1)
}
