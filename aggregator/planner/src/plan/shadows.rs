//! What becomes of the shadows: extended, terminated, released, adopted.
//!
//! A shadow of ours is terminated when its lease is over and all agree: the forecast (the window is
//! met without it), the present (nothing holds), and the shadow itself (fresh samples, nobody talks
//! to it, unprotected). Agreed and worth keeping, or not agreed, its lease is extended; where it can
//! be extended no more it is released with an alarm: at once if it disagrees itself, and an hour later if
//! only the group does, for a hold at that very moment is no reason to leave it running for ever. Foreign
//! ones are never touched.

use super::needs::MetricNeeds;
use super::spare::{self, Worth};
use super::{Direction, NotTaken, Outcome, PlannedStep, Step, count};
use crate::demand::InstanceMode;
use crate::evidence::{Evidence, Instance, Origin, Shadow};
use crate::hold::{Disagreement, Hold};
use crate::policy::{Adopt, AtLimit, Mode, Policy};

/// How long a shadow at its hard limit waits for what speaks against its end and is not its own, seconds: longer than a deploy
/// takes, and little beside the day it may stand.
const PASSING_SECONDS: i64 = 3_600;

/// What is to become of one shadow, and why.
enum Fate {
    Terminate(Worth),
    TerminateSilent,
    ExtendWorthy(Worth),
    ExtendDisagreed(Option<Disagreement>),
    /// At its hard limit, and what speaks against its end is the group's and may pass.
    Outlasts(Option<Disagreement>),
    Release,
    /// Agreed, but no more may go at once.
    Paced,
    Wait,
}

/// Decides on every shadow that no other step of the plan takes.
pub(super) fn decide(
    now: i64,
    policy: &Policy,
    evidence: &Evidence,
    needs: &[MetricNeeds],
    standing: &[Hold],
    taken: &[String],
) -> Outcome {
    let mut outcome = Outcome::default();
    let shadows: Vec<(&Instance, &Shadow)> = evidence
        .inventory
        .instances
        .iter()
        .filter(|instance| instance.mode == InstanceMode::Shadow && !taken.contains(&instance.id))
        .filter_map(|instance| Some((instance, instance.shadow.as_ref()?)))
        .collect();
    let (ours, foreign): (Vec<_>, Vec<_>) = shadows.into_iter().partition(|(_, it)| it.origin == Origin::Ours);
    // Nothing could be done with who is ended already.
    let foreign: Vec<_> = foreign.into_iter().filter(|(_, shadow)| !shadow.ending).collect();
    adopt(policy, &foreign, &mut outcome);
    // The youngest are the best spares: they are valued first.
    let mut ours = ours;
    ours.sort_by(|(a, _), (b, _)| b.since.cmp(&a.since).then_with(|| a.id.cmp(&b.id)));
    let against: Vec<Hold> =
        standing.iter().filter(|hold| !matches!(hold, Hold::BaselineInDoubt { .. })).cloned().collect();
    let serving = count(evidence, InstanceMode::Serving);
    let met = serving >= policy.floor_within_sight(now).instances && met_without(needs, serving);
    let mut fates = Vec::new();
    let mut spares = 0;
    for (instance, shadow) in &ours {
        spares += u32::from(shadow.is_fit());
        let itself = own_word(policy, instance, shadow);
        // Its silence is decided beforehand where the policy ends it for that.
        let silent_ends = itself == Some(Disagreement::Silent) && policy.silent_at_limit == AtLimit::Terminate;
        let own = itself.or((!met).then_some(Disagreement::MayBeNeeded));
        let agreed = own.is_none() && against.is_empty();
        let worth = spare::worth(now, policy, evidence, serving.saturating_add(spares), shadow.price_per_hour);
        let at_limit = now >= shadow.hard_limit;
        fates.push(match (shadow.lease_over, agreed) {
            (false, _) => Fate::Wait,
            (true, true) if shadow.is_fit() && worth.is_worth_it() && !at_limit => Fate::ExtendWorthy(worth),
            (true, true) => Fate::Terminate(worth),
            (true, false) if !at_limit => Fate::ExtendDisagreed(own),
            // Only its silence speaks against it.
            (true, false) if silent_ends && met && against.is_empty() => Fate::TerminateSilent,
            (true, false) if (itself.is_none() || silent_ends) && now - shadow.hard_limit < PASSING_SECONDS => {
                Fate::Outlasts((!met).then_some(Disagreement::MayBeNeeded))
            }
            (true, false) => Fate::Release,
        });
    }
    paced(evidence, &mut fates, &mut outcome);
    steps(policy, &ours, &fates, serving, needs, &mut outcome);
    waits(now, &ours, &fates, &against, &mut outcome);
    outcome
}

/// Terminates the oldest first, and no more than may go at once.
fn paced(evidence: &Evidence, fates: &mut [Fate], outcome: &mut Outcome) {
    let Some(allowed) = evidence.conditions.terminable else { return };
    let ends = |fate: &&mut Fate| matches!(fate, Fate::Terminate(_) | Fate::TerminateSilent);
    let mut surplus = 0;
    let most = usize::try_from(allowed).unwrap_or(usize::MAX);
    for fate in fates.iter_mut().rev().filter(ends).skip(most) {
        *fate = Fate::Paced;
        surplus += 1;
    }
    if surplus > 0 {
        let hold = Hold::Paced { allowed };
        let reason = "all agree, but no more may go at once".to_owned();
        let left = NotTaken { direction: Direction::Shadow, instances: surplus, reason, holds: vec![hold.clone()] };
        outcome.not_taken.push(left);
        outcome.holds.push(hold);
    }
}

/// Foreign shadows are measured and nothing else, unless the group's policy adopts them all.
fn adopt(policy: &Policy, foreign: &[(&Instance, &Shadow)], outcome: &mut Outcome) {
    if foreign.is_empty() {
        return;
    }
    if policy.adopt == Adopt::All {
        let instances = foreign.iter().map(|(instance, _)| instance.id.clone()).collect();
        let reason = "the policy adopts every shadow".to_owned();
        let permitted = policy.mode >= Mode::Full;
        outcome.steps.push(PlannedStep { step: Step::Adopt { instances }, reason, permitted });
        return;
    }
    outcome.not_taken.push(NotTaken {
        direction: Direction::Shadow,
        instances: u32::try_from(foreign.len()).unwrap_or(u32::MAX),
        reason: "detached by somebody else: measured, never touched unless adopted".to_owned(),
        holds: Vec::new(),
    });
}

/// Why a shadow by itself does not agree.
fn own_word(policy: &Policy, instance: &Instance, shadow: &Shadow) -> Option<Disagreement> {
    if instance.protected {
        return Some(Disagreement::Protected);
    }
    if shadow.ending {
        return Some(Disagreement::Ending);
    }
    if shadow.sample_age_seconds.is_none_or(|age| age > policy.fresh_seconds) {
        return Some(Disagreement::Silent);
    }
    (shadow.quiet_seconds < policy.quiet_seconds)
        .then_some(Disagreement::StillTalks { wanted_seconds: policy.quiet_seconds })
}

/// Present demand and the highest forecast over the window are met by those that serve.
fn met_without(needs: &[MetricNeeds], serving: u32) -> bool {
    !needs.is_empty() && needs.iter().all(|need| need.met_by(serving))
}

fn steps(
    policy: &Policy,
    ours: &[(&Instance, &Shadow)],
    fates: &[Fate],
    serving: u32,
    needs: &[MetricNeeds],
    outcome: &mut Outcome,
) {
    let with = |wanted: fn(&Fate) -> bool| -> Vec<String> {
        let chosen = ours.iter().zip(fates).filter(|(_, fate)| wanted(fate));
        chosen.map(|((instance, _), _)| instance.id.clone()).collect()
    };
    let window = needs.iter().filter_map(|need| need.window).max().unwrap_or_default();
    let worth_of = |wanted: fn(&Fate) -> Option<Worth>| fates.iter().find_map(wanted);
    let kept = worth_of(|fate| match fate {
        Fate::ExtendWorthy(worth) => Some(*worth),
        _ => None,
    });
    let kept = kept.map_or_else(String::new, |worth| format!("worth keeping: {}", said(&worth)));
    // The youngest of them, which is worth most.
    let ended = worth_of(|fate| match fate {
        Fate::Terminate(worth) => Some(*worth),
        _ => None,
    });
    let ended = ended.map_or_else(String::new, |worth| {
        let why = if worth.is_worth_it() { "it could not come back, or not for longer" } else { "not worth keeping" };
        format!("; {why}: {}", said(&worth))
    });
    let extended = with(|fate| matches!(fate, Fate::ExtendWorthy(_)));
    let doubted = with(|fate| matches!(fate, Fate::ExtendDisagreed(_)));
    let agreed =
        format!("all agree: {serving} serve, {window} at most are needed within the window, it is idle{ended}");
    let mut push = |step: Step, reason: String, least: Mode| {
        if !step.instances().is_empty() {
            outcome.steps.push(PlannedStep { step, reason, permitted: policy.mode >= least });
        }
    };
    push(Step::Terminate { instances: with(|fate| matches!(fate, Fate::Terminate(_))) }, agreed, Mode::Full);
    push(
        Step::Terminate { instances: with(|fate| matches!(fate, Fate::TerminateSilent)) },
        "silent at its hard limit, which the policy ends by termination".to_owned(),
        Mode::Full,
    );
    push(Step::Extend { instances: extended }, kept, Mode::ScaleOut);
    push(Step::Extend { instances: doubted }, "the lease is over and not all agree".to_owned(), Mode::ScaleOut);
    push(
        Step::Release { instances: with(|fate| matches!(fate, Fate::Release)) },
        "at its hard limit and not all agree: left running, look at it".to_owned(),
        Mode::ScaleOut,
    );
}

/// Both sides of a worth, in words.
fn said(worth: &Worth) -> String {
    format!(
        "needed with probability {:.2}, {:.2} of one missing then, saves {:.3} against a price of {:.3}",
        worth.probability, worth.shortfall, worth.saves, worth.costs
    )
}

/// Why shadows that stay do stay.
fn waits(now: i64, ours: &[(&Instance, &Shadow)], fates: &[Fate], against: &[Hold], outcome: &mut Outcome) {
    let waiting = ours.iter().zip(fates).filter(|(_, fate)| matches!(fate, Fate::Wait));
    let leases: Vec<i64> = waiting.map(|((_, shadow), _)| shadow.until).collect();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    if let Some(first) = leases.iter().min() {
        outcome.not_taken.push(NotTaken {
            direction: Direction::Shadow,
            instances: count(leases.len()),
            reason: format!("leases run on, the first for {} s", (first - now).max(0)),
            holds: Vec::new(),
        });
    }
    let doubts: Vec<Option<Disagreement>> = fates
        .iter()
        .filter_map(|fate| match fate {
            Fate::ExtendDisagreed(own) | Fate::Outlasts(own) => Some(*own),
            _ => None,
        })
        .collect();
    if doubts.is_empty() {
        return;
    }
    let mut holds = against.to_vec();
    let mut seen: Vec<Disagreement> = Vec::new();
    for why in doubts.iter().flatten() {
        if !seen.contains(why) {
            seen.push(*why);
            let shadows = count(doubts.iter().filter(|other| other.as_ref() == Some(why)).count());
            holds.push(Hold::ShadowDisagrees { shadows, why: *why });
        }
    }
    outcome.not_taken.push(NotTaken {
        direction: Direction::Shadow,
        instances: count(doubts.len()),
        reason: "not all agree to terminate".to_owned(),
        holds,
    });
}
