//! How many machines must stay, and how fast others may go. Own arithmetic: whole machines are
//! counted up one by one instead of dividing and rounding.

use crate::facts::{Facts, Load, Machine, Place};
use crate::limits::Limits;
use crate::refusal::Refusal;

/// A rounding error of this share of a machine does not make another one needed.
const TOLERANCE: f64 = 1e-6;

/// The metric that a host takes from when it gives processors to others.
const PROCESSORS: &str = "cpu";

/// Judges that these machines serve no more; with none of them, that those who serve are enough.
pub(crate) fn fewer(gone: &[String], facts: &Facts, refusals: &mut Vec<Refusal>) {
    let serving = || facts.machines.iter().filter(|machine| machine.place == Place::Serving);
    let stay: Vec<&Machine> = serving().filter(|machine| !gone.contains(&machine.id)).collect();
    let would_be = u32::try_from(stay.len()).unwrap_or(u32::MAX);
    let minimum = facts.floor();
    if would_be < minimum {
        refusals.push(Refusal::BelowMinimum { minimum, would_be });
    }
    if facts.loads.is_empty() {
        refusals.push(Refusal::NoObservation { metric: "every metric".to_owned() });
    }
    for load in &facts.loads {
        // Machines as they stay on average; where nobody stays, as those that serve; of the reference where nobody does.
        let each = mean(&stay, &load.metric).or_else(|| mean(&serving().collect::<Vec<_>>(), &load.metric));
        stays(load, each.unwrap_or(1.0), would_be, facts.leave_below_last_week, refusals);
    }
}

/// What a machine carries of a metric on average; nothing where that is not told.
fn mean(machines: &[&Machine], metric: &str) -> Option<f64> {
    let mut sum = 0.0;
    for machine in machines {
        let weight = machine.weights.get(metric).copied().filter(|weight| weight.is_finite() && *weight > 0.0);
        let kept = if metric == PROCESSORS { 100.0 - stolen(machine) } else { 100.0 };
        sum += weight.unwrap_or_default() * kept / 100.0;
    }
    #[allow(clippy::cast_precision_loss, reason = "a count of machines")]
    (!machines.is_empty()).then(|| sum / machines.len() as f64)
}

/// Percent of its time that a machine is robbed of; all of it where the figure cannot be.
fn stolen(machine: &Machine) -> f64 {
    if machine.stolen_percent >= 0.0 { machine.stolen_percent.min(100.0) } else { 100.0 }
}

/// From this share on, percent, what the hosts give to others speaks against taking anybody away.
const STOLEN_PERCENT: f64 = 5.0;

/// Judges whether what is seen of those that serve can be what they are needed for.
pub(crate) fn plausible(facts: &Facts, refusals: &mut Vec<Refusal>) {
    let serving: Vec<f64> =
        facts.machines.iter().filter(|machine| machine.place == Place::Serving).map(stolen).collect();
    #[allow(clippy::cast_precision_loss, reason = "a count of machines")]
    let limit = STOLEN_PERCENT * serving.len() as f64;
    let sum: f64 = serving.iter().sum();
    if sum >= limit && limit > 0.0 {
        refusals.push(Refusal::Stolen { percent: STOLEN_PERCENT * sum / limit });
    }
    // A tenth of those that serve, who will soon carry less than they do.
    let serving = facts.machines.iter().filter(|machine| machine.place == Place::Serving);
    let (short, enough): (Vec<_>, Vec<_>) = serving.partition(|machine| machine.short_of_credits);
    if 9 * short.len() >= enough.len() && !short.is_empty() {
        refusals.push(Refusal::OutOfCredits { instances: u32::try_from(short.len()).unwrap_or(u32::MAX) });
    }
    // A tenth of it left is too little to give any of it away.
    if let Some(percent) = facts.memory_percent
        && (100.0 - percent < 10.0 || percent.is_nan())
    {
        refusals.push(Refusal::MemoryFull { percent });
    }
    for veto in &facts.vetoes {
        if !veto.highest.is_some_and(|highest| veto.limit >= highest) {
            refusals.push(Refusal::Vetoed { metric: veto.metric.clone() });
        }
    }
    // The network stands three tenths of what it was above CPU, which lost three tenths or stands at half of it or less; or nobody can
    // tell.
    if let Some(pulse) = facts.pulse
        && !(10.0 * (pulse.network - pulse.cpu) < 3.0 || 10.0 * pulse.cpu > 7.0 && pulse.network < 2.0 * pulse.cpu)
    {
        refusals.push(Refusal::Hung { cpu: pulse.cpu, network: pulse.network });
    }
}

/// Judges how many stand in shadow when `more` join them.
pub(crate) fn shadows(more: u32, facts: &Facts, refusals: &mut Vec<Refusal>) {
    let stand = facts.count(Place::Shadow).saturating_add(facts.count(Place::Draining));
    let would_be = stand.saturating_add(more);
    if let Some(at_most) = facts.shadows_at_most
        && would_be > at_most
    {
        refusals.push(Refusal::TooManyShadows { at_most, would_be });
    }
}

/// Judges what the group costs with `more` machines: all that are there, all on their way, each new one as dear as the dearest.
pub(crate) fn cost(more: u32, facts: &Facts, refusals: &mut Vec<Refusal>) {
    let Some(per_hour) = facts.spend_per_hour else { return };
    let (mut dearest, mut would_be) = (0.0_f64, 0.0);
    let there = facts.machines.iter().filter(|machine| machine.place != Place::Gone);
    let prices = there.map(|machine| (machine.id.as_str(), machine.price_per_hour, 1.0));
    let coming = f64::from(facts.expected.saturating_add(more));
    for (name, price, machines) in prices.chain([("one more", facts.price_per_hour, 0.0)]) {
        let Some(price) = price.filter(|price| price.is_finite() && *price >= 0.0) else {
            refusals.push(Refusal::Unpriced { instance: name.to_owned() });
            return;
        };
        dearest = dearest.max(price);
        would_be += machines * price;
    }
    would_be += coming * dearest;
    if would_be > per_hour + TOLERANCE {
        refusals.push(Refusal::TooDear { per_hour, would_be });
    }
}

fn stays(load: &Load, weight: f64, would_be: u32, leave: bool, refusals: &mut Vec<Refusal>) {
    let metric = || load.metric.clone();
    let share = load.target <= 100.0 && !load.amount;
    // An amount that something idle is taken off is not what it says it is.
    let amount = load.amount && load.target.is_finite() && load.baseline == 0.0;
    let sound = load.weight > 0.0 && load.weight.is_finite() && load.target > 0.0 && (share || amount);
    let gross = load.gross.filter(|gross| gross.is_finite() && *gross >= 0.0);
    let (Some(gross), true, true) = (gross, load.certain, sound) else {
        refusals.push(Refusal::NoObservation { metric: metric() });
        return;
    };
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
