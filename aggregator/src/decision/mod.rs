//! What was decided and from what: policy, evidence, the checker's word, all in one record that makes the same plan
//! again, byte for byte, on any machine and without a cloud.
//!
//! [`Decision`] is the record, [`replay`] makes it again, [`DecisionLog`] keeps it, [`command`] is `foreshadow replay`.

pub mod command;
mod log;
mod replay;
pub(crate) mod sql;

use std::collections::BTreeMap;

use checker::{Fleet, Limits};
use planner::evidence::Evidence;
use planner::plan::{Memory, Plan};
use planner::policy::{Metric, Policy};
use serde::{Deserialize, Serialize};

use crate::act::{Judged, Planned};

pub use log::{DecisionLog, Kept};
pub use replay::{Difference, ReplayError, replay};

/// The layout of a record. A record of a later one is not read.
pub const FORMAT: u32 = 1;

/// One round's decision with everything it was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    pub format: u32,
    /// Version of the product that decided.
    pub version: String,
    pub policy: Policy,
    /// What the round before left.
    pub memory: Memory,
    /// With the forecast as far as the plan could look.
    pub evidence: Evidence,
    pub plan: Plan,
    /// What the checker judged by, beside the evidence.
    pub limits: Limits,
    pub fleet: Fleet,
    /// Highest gross demand in the same hour a week ago, points.
    pub last_week: BTreeMap<Metric, f64>,
    pub judged: Vec<Judged>,
}

impl Decision {
    /// The record of a plan.
    pub fn of(planned: &Planned, limits: Limits, judged: Vec<Judged>) -> Self {
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            policy: planned.policy.clone(),
            memory: planned.memory.clone(),
            evidence: planned.evidence.within_sight(planned.plan.made_at, &planned.policy),
            plan: planned.plan.clone(),
            limits,
            fleet: planned.fleet,
            last_week: planned.last_week.clone(),
            judged,
        }
    }

    /// The plan as it was handed to the checker.
    fn planned(&self, plan: Plan) -> Planned {
        Planned {
            plan,
            policy: self.policy.clone(),
            evidence: self.evidence.clone(),
            memory: self.memory.clone(),
            last_week: self.last_week.clone(),
            fleet: self.fleet,
            source: None,
            version: None,
        }
    }
}
