//! Which instance was in which mode, and when: the inventory timeline.
//!
//! The cloud (or a file) says who belongs to a group, the agent's readiness says who can serve.
//! What an agent claims of its group counts only where no source knows the instance.

mod aws;
mod decide;
mod file;
mod observer;
pub(crate) mod sql;
mod timeline;

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use foreshadow_proto::convert::Id;
use serde::{Deserialize, Serialize};

pub use aws::AwsFleet;
pub use decide::Patience;
pub use file::FileFleet;
pub use observer::{Hint, Observer};
pub use timeline::{GroupSnapshot, MemberSnapshot, Move, Timeline, UNASSIGNED};

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

/// The read half of the cloud seam. The acting half comes with the executor.
#[async_trait]
pub trait Fleet: fmt::Debug + Send + Sync + 'static {
    /// All groups it knows, as they are now. An error or a lost page never looks like a complete
    /// inventory: `complete` is true only when every page was read.
    async fn describe(&self) -> Result<Inventory, FleetError>;

    /// For messages: `aws`, `file`.
    fn name(&self) -> &'static str;
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum FleetError {
    #[error("{source_name}: {problem}")]
    Unreachable { source_name: &'static str, problem: String },
    #[error("{source_name}: {problem}")]
    Invalid { source_name: &'static str, problem: String },
}

/// What a source says of all its groups at one time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory {
    pub taken_micros: i64,
    pub complete: bool,
    /// What was missing or odd, for people.
    pub problems: Vec<String>,
    pub groups: BTreeMap<Id, GroupInventory>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct GroupInventory {
    pub minimum: u32,
    pub maximum: u32,
    pub desired: u32,
    pub members: Vec<Member>,
    /// A policy of the provider may scale this group in behind our back.
    pub foreign_scale_in: bool,
    /// An instance refresh or deploy is running.
    pub deploying: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    pub instance: Id,
    pub instance_type: Option<Id>,
    pub zone: Option<Id>,
    pub lifecycle: Lifecycle,
    /// Protected from scale-in.
    pub protected: bool,
}

/// The provider's word for a member's state; unknown words never fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lifecycle {
    Pending,
    InService,
    Standby,
    Detaching,
    Detached,
    Terminating,
    Other(String),
}

impl Lifecycle {
    /// From the provider's word; `Pending:Wait`, `Terminating:Proceed` and such by their first part.
    pub fn from_word(word: &str) -> Self {
        match word.split(':').next().unwrap_or_default() {
            // Terminating:Retained keeps running and leaves the group's capacity.
            _ if word == "Terminating:Retained" => Self::Standby,
            "Pending" => Self::Pending,
            "InService" => Self::InService,
            "Standby" | "EnteringStandby" => Self::Standby,
            "Detaching" => Self::Detaching,
            "Detached" => Self::Detached,
            "Terminating" | "Terminated" => Self::Terminating,
            _ => Self::Other(word.to_owned()),
        }
    }
}
