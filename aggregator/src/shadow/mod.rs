//! Shadow sessions: the leases under which detached instances go on reporting.
//!
//! A session opens when an instance leaves its group and closes when it comes back, falls silent
//! or its lease ends. Sessions of origin `foreign` are measured, shown and priced; at the end of the
//! lease the instance is released: left running, no longer looked at. Sessions of origin `ours` stay
//! open past their lease until the plan ends them: by re-attachment, termination or release.

mod book;
mod config;
mod sessions;
pub(crate) mod sql;

use foreshadow_proto::convert::Id;
use serde::{Deserialize, Serialize};

pub use book::{Book, Changed, SessionError};
pub use config::{ConfigProblem, ShadowConfig};
pub use sessions::{Sessions, ShadowError};

/// Who took the instance out of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A journalled Detach of this installation.
    Ours,
    /// A human, a deploy, the cloud: measured, never touched.
    Foreign,
}

/// What was seen that ended a session: a description may show otherwise again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// In its group.
    Back,
    /// Silent, or nowhere.
    Gone,
}

/// One detached instance under measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ShadowSession {
    pub session: i64,
    #[schema(value_type = String)]
    pub instance: Id,
    #[schema(value_type = String)]
    pub group: Id,
    pub instance_type: Option<String>,
    /// What it was launched from; only while its group would launch the same may it come back.
    pub version: Option<String>,
    pub origin: Origin,
    /// Seconds since the Unix epoch.
    pub started: i64,
    /// End of the lease, seconds since the Unix epoch.
    pub until: i64,
    /// The same by the clock that counts since boot: the lease is over when both say so.
    #[serde(skip)]
    pub boot_until: i64,
    /// No extension goes beyond this, seconds since the Unix epoch.
    pub hard_limit: i64,
    /// When the session ended, absent while open.
    pub ended: Option<i64>,
    /// What was seen that ended it; absent while open, and where a word or its lease ended it.
    #[serde(skip)]
    pub seen: Option<Seen>,
    pub reason: String,
    /// Price of the instance while it stands in shadow, per hour, where the configuration knows it.
    pub price_per_hour: Option<f64>,
}
