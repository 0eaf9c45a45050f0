//! Which instance was in which mode, and when: the inventory timeline.
//!
//! The cloud (or a file) says who belongs to a group, the agent's readiness says who can serve.
//! What an agent claims of its group counts only where no source knows the instance.
//!
//! The periodic description is the source of record. Events, the agents' word and an operator's are
//! hints: they make the cloud be asked sooner, and bring the reason.

mod decide;
mod hint;
mod letters;
mod notices;
mod observer;
pub(crate) mod sql;
mod timeline;

use foreshadow_proto::convert::Id;
use serde::{Deserialize, Serialize};

pub use decide::Patience;
pub use hint::Hint;
pub use letters::read_letters;
pub use observer::Observer;
pub use timeline::{Doubt, GroupSnapshot, MemberSnapshot, Move, Spool, Timeline, UNASSIGNED};
pub(crate) use timeline::{HELD, STANDBY};

/// What an instance is to its group (design, section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InstanceMode {
    Warming,
    Serving,
    Draining,
    Shadow,
    Gone,
}

/// Where an instance stands at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    pub group: Id,
    pub mode: InstanceMode,
    /// Since when, µs since the Unix epoch.
    pub since_micros: i64,
}
