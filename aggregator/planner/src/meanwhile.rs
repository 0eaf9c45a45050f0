//! What speaks against a call at its very moment, beside the checker: what an operator said since it was planned, what changed in
//! the group, and what a newer plan says. Every reason is a type, and words only where it is written down.

use std::fmt;

use crate::demand::InstanceMode;
use crate::evidence::Evidence;
use crate::hold::Hold;
use crate::plan::Plan;
use crate::policy::{Mode, Policy};

/// What a call does to its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// `count` more, which makes a group of `size`.
    Launch { count: u32, size: u32 },
    /// Holds up the size below which the provider takes nobody.
    Floor,
    /// Shadows back into service.
    BringBack,
    /// Out of service, or out of this world.
    TakeAway,
}

impl Doing {
    /// The weakest mode in which it may be.
    pub const fn least_mode(self) -> Mode {
        match self {
            Self::Launch { .. } | Self::Floor | Self::BringBack => Mode::ScaleOut,
            Self::TakeAway => Mode::Full,
        }
    }
}

/// A call that is about to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call<'c> {
    pub doing: Doing,
    /// Who serves no more when it is done.
    pub leaving: &'c [String],
    /// Of the plan that it is a step of.
    pub generation: u64,
    /// It was written down longer ago than a call takes.
    pub late: bool,
}

/// The leash at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leash {
    pub mode: Mode,
    pub paused: bool,
}

/// The group as it was described just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Described {
    /// A deploy or an instance refresh is under way.
    pub deploying: bool,
    /// Another version than that which was planned with would be launched.
    pub another_version: bool,
    /// Who serves or will.
    pub present: u32,
    /// What the provider was asked for; may be read stale right after a change of ours.
    pub desired: u32,
}

/// A reason not to make a call that was planned and checked.
#[derive(Debug, Clone, PartialEq)]
pub enum Meanwhile {
    /// By an operator, the group or everything.
    Paused,
    /// The mode is weaker than the call needs.
    Tightened { mode: Mode },
    /// The group has another owner.
    TakenOver,
    /// What was described is older than its word is good for.
    OldWord { seconds: i64 },
    /// A deploy runs, or another version is launched by now.
    Deployed,
    /// A newer plan holds for what the checker cannot see.
    Holds { latest: u64, generation: u64, hold: Hold },
    /// A newer plan needs those that would go, or does not know.
    MayNeed { latest: u64, generation: u64 },
    /// As many instances as a newer plan needs are there.
    Present { latest: u64, generation: u64, needed: u32 },
    /// It would undo what somebody did to the size, instances.
    MadeSmaller { size: u32 },
}

impl fmt::Display for Meanwhile {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused => write!(to, "paused meanwhile"),
            Self::Tightened { mode } => write!(to, "the mode is {mode} by now"),
            Self::TakenOver => write!(to, "another owner has taken the group over"),
            Self::OldWord { seconds } => {
                write!(to, "what was described is {seconds} s old by now: the next plan looks again")
            }
            Self::Deployed => write!(to, "a deploy changed the group meanwhile"),
            Self::Holds { latest, generation, hold } => {
                write!(to, "plan {latest}, newer than the {generation} of this step, holds: {hold}")
            }
            Self::MayNeed { latest, generation } => {
                write!(to, "plan {latest}, newer than the {generation} of this step, may need them")
            }
            Self::Present { latest, generation, needed } => {
                write!(to, "plan {latest} needs {needed}, and they are there without this launch of plan {generation}")
            }
            Self::MadeSmaller { size } => {
                write!(to, "it would make {size} of a group that somebody made smaller since")
            }
        }
    }
}

/// All that speaks against a call, by what was described just now and by the latest plan. `now` in seconds since the epoch.
pub fn against(
    call: Call<'_>,
    leash: Leash,
    described: Described,
    latest: (&Plan, &Policy, &Evidence),
    now: i64,
) -> Vec<Meanwhile> {
    let (plan, policy, evidence) = latest;
    let mut reasons: Vec<Meanwhile> = leashed(call.doing, leash).into_iter().collect();
    reasons.extend(by_latest(call, plan, evidence));
    match call.doing {
        Doing::BringBack if described.deploying || described.another_version => reasons.push(Meanwhile::Deployed),
        Doing::TakeAway if described.deploying => reasons.push(Meanwhile::Deployed),
        Doing::Launch { count, size } if plan.generation != call.generation => {
            if let Some(needed) = needed(plan, policy, now)
                && described.present >= needed
            {
                reasons.push(Meanwhile::Present { latest: plan.generation, generation: call.generation, needed });
            }
            // Its size was right for the group of then.
            if call.late && size > described.present.max(described.desired).saturating_add(count) {
                reasons.push(Meanwhile::MadeSmaller { size });
            }
        }
        _ => {}
    }
    reasons
}

/// What the latest plan says against taking away what an older one did not need: what it holds for and the checker cannot see, or
/// that it may need them by now. Asked once more when nothing but the call is left.
pub fn by_latest(call: Call<'_>, plan: &Plan, evidence: &Evidence) -> Vec<Meanwhile> {
    let (generation, latest) = (call.generation, plan.generation);
    if call.doing != Doing::TakeAway || latest == generation {
        return Vec::new();
    }
    let held = plan.holds.iter().find(|hold| forbids(hold)).cloned();
    let held = held.map(|hold| Meanwhile::Holds { latest, generation, hold });
    let needed = (!carries(call, plan, evidence)).then_some(Meanwhile::MayNeed { latest, generation });
    held.into_iter().chain(needed).collect()
}

/// What may have changed since the checker's word, asked when nothing but the call is left. The word is `since` seconds old and good
/// for `within`.
pub fn still(doing: Doing, leash: Leash, owns: bool, since: i64, within: i64) -> Option<Meanwhile> {
    leashed(doing, leash)
        .or((!owns).then_some(Meanwhile::TakenOver))
        .or((since > within).then_some(Meanwhile::OldWord { seconds: since }))
}

fn leashed(doing: Doing, leash: Leash) -> Option<Meanwhile> {
    let tightened = leash.mode < doing.least_mode();
    leash.paused.then_some(Meanwhile::Paused).or(tightened.then_some(Meanwhile::Tightened { mode: leash.mode }))
}

/// Whether what a plan holds for forbids to take anybody away, whoever decided it. The others say how many may go, or that what
/// is under way is to be seen first.
const fn forbids(hold: &Hold) -> bool {
    let another_acts = matches!(
        hold,
        Hold::NotOwner | Hold::ForeignScaleIn | Hold::Untold | Hold::LaunchesFailing | Hold::ClaimedGroup
    );
    another_acts || hold.doubts_evidence()
}

/// Whether those that stay are as many as the latest plan needs now and within the shadow window; what it does not know they do
/// not carry.
fn carries(call: Call<'_>, plan: &Plan, evidence: &Evidence) -> bool {
    let stays = |id: &String| !call.leaving.contains(id);
    let serving = evidence.inventory.instances.iter().filter(|it| it.mode == InstanceMode::Serving);
    let stay = u32::try_from(serving.filter(|it| stays(&it.id)).count()).unwrap_or_default();
    !plan.needs.is_empty() && plan.needs.iter().all(|need| need.met_by(stay))
}

/// How many the latest plan needs, by whatever asks for most; `None` while it does not know.
fn needed(plan: &Plan, policy: &Policy, now: i64) -> Option<u32> {
    Some(plan.need_now?.max(plan.need_ahead?).max(policy.least_ahead(now)))
}
