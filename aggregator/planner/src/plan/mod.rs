//! The plan: an immutable value with a typed reason for every step and for every step not taken.
//!
//! The plan of a group in `observe` is the very plan `full` would carry out; the mode only decides
//! whether it may be. Read on in the order of the work: [`needs`] counts instances, [`standing`]
//! collects what holds, [`out`] adds, [`floor`] keeps what the provider would take, [`inward`] detaches, [`shadows`] decides what becomes of those
//! that stand in shadow, [`spare`] what one of them is worth, [`zones`] who serves where.

mod floor;
mod inward;
mod needs;
mod out;
mod shadows;
mod spare;
mod standing;
mod zones;

use serde::{Deserialize, Serialize};

use crate::demand::InstanceMode;
use crate::evidence::Evidence;
use crate::hold::Hold;
use crate::policy::{Metric, Mode, Policy};

pub use needs::{MetricNeeds, need_of};
pub use spare::{Worth, worth};

/// What one round remembers for the next.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Generation of the latest plan; 0 before the first.
    pub generation: u64,
}

/// One action the plan asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    Launch {
        count: u32,
    },
    Reattach {
        instances: Vec<String>,
    },
    Detach {
        instances: Vec<String>,
    },
    Terminate {
        instances: Vec<String>,
    },
    Extend {
        instances: Vec<String>,
    },
    Release {
        instances: Vec<String>,
    },
    Adopt {
        instances: Vec<String>,
    },
    /// The provider's own scale-in goes no lower than `to`, and went no lower than `from` before.
    Floor {
        from: u32,
        to: u32,
    },
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

impl PlannedStep {
    /// The instances it names.
    fn named(&self) -> Vec<String> {
        self.step.instances().to_vec()
    }
}

impl Step {
    /// The instances it names; a launch and a floor name none.
    pub fn instances(&self) -> &[String] {
        match self {
            Self::Launch { .. } | Self::Floor { .. } => &[],
            Self::Reattach { instances }
            | Self::Detach { instances }
            | Self::Terminate { instances }
            | Self::Extend { instances }
            | Self::Release { instances }
            | Self::Adopt { instances } => instances,
        }
    }
}

/// Which way a step would have gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    ScaleOut,
    ScaleIn,
    /// Termination of what stands in shadow.
    Shadow,
}

/// What was considered and not done, with every hold that stood in its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NotTaken {
    pub direction: Direction,
    /// How many instances it would have concerned.
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
    /// How many it would detach if no other group wanted to scale in and nothing paced it: by this it is seen that many
    /// groups want to at once.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wants_in: u32,
    pub steps: Vec<PlannedStep>,
    pub not_taken: Vec<NotTaken>,
    /// Everything that holds, whether or not it stood in the way of a step.
    pub holds: Vec<Hold>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What one direction comes to: its steps, what it leaves out, and the holds it met by itself.
#[derive(Debug, Default)]
struct Outcome {
    steps: Vec<PlannedStep>,
    not_taken: Vec<NotTaken>,
    holds: Vec<Hold>,
}

/// Makes the next plan. Pure: the same arguments give the same plan.
pub fn plan(now: i64, policy: &Policy, evidence: &Evidence, memory: &Memory) -> (Plan, Memory) {
    let needs = needs::of_all(now, policy, evidence);
    let serving = count(evidence, InstanceMode::Serving);
    let warming = count(evidence, InstanceMode::Warming).saturating_add(evidence.inventory.expected);
    let mut holds = standing::holds(now, policy, evidence, &needs);
    let need_now = needs.iter().filter_map(|need| need.reactive).max();
    let mut wants_in = 0;
    let mut outcomes = match need_now {
        None => {
            let unseen = NotTaken {
                direction: Direction::ScaleIn,
                instances: 0,
                reason: "there is no evidence of present demand".to_owned(),
                holds: holds.clone(),
            };
            let unseen = Outcome { not_taken: vec![unseen], ..Outcome::default() };
            // A floor needs no evidence but of who is there: nobody reports of a group that is to wake.
            match out::wanted(now, policy, &needs, serving) {
                wanted if wanted > 0 && standing::is_known(evidence) => {
                    vec![unseen, out::scale_out(now, policy, evidence, &needs, wanted, &holds)]
                }
                _ => vec![unseen],
            }
        }
        Some(reactive) => {
            let wanted = out::wanted(now, policy, &needs, serving);
            let out = out::scale_out(now, policy, evidence, &needs, wanted, &holds);
            if wanted > 0 {
                vec![out]
            } else {
                let (inward, wanted) = inward::scale_in(now, policy, evidence, &needs, reactive, &holds);
                wants_in = wanted;
                vec![out, inward]
            }
        }
    };
    let taken: Vec<String> = outcomes.iter().flat_map(|outcome| &outcome.steps).flat_map(PlannedStep::named).collect();
    outcomes.push(floor::keep(now, policy, evidence, &needs, &holds));
    outcomes.push(shadows::decide(now, policy, evidence, &needs, &holds, &taken));
    let (mut steps, mut not_taken) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        steps.extend(outcome.steps);
        not_taken.extend(outcome.not_taken);
        holds.extend(outcome.holds);
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
        binding: needs::binding(&needs),
        need_now,
        need_ahead: needs.iter().filter_map(|need| need.ahead).max(),
        needs,
        wants_in,
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
