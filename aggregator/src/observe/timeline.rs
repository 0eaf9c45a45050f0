//! The timeline itself: for every instance, its placements over time. Read from memory, written
//! through to the state database before it counts.

use std::sync::Arc;

use foreshadow_proto::convert::{Hello, Id};
use foreshadow_proto::v1;
use tokio::sync::watch;

use super::Placement;

/// Answers "which group, which mode, when". Cheap to clone.
#[derive(Debug, Clone)]
pub struct Timeline {
    changes: Arc<watch::Sender<u64>>,
}

impl Timeline {
    /// An agent opened its stream.
    pub fn agent_connected(&self, _hello: &Hello, _now_micros: i64) {}

    /// An agent's probe found the instance ready, or no longer ready.
    pub fn agent_ready(&self, _instance: &Id, _ready: bool, _at_micros: i64) {}

    /// An agent said goodbye or its stream broke.
    pub fn agent_disconnected(&self, _instance: &Id, _now_micros: i64) {}

    /// Placement now; `None` for an instance no source and no claim puts into a group.
    pub fn placement(&self, _instance: &Id) -> Option<Placement> {
        None
    }

    /// Placement at a time, µs since the Unix epoch: what a sample's mode is decided by.
    pub fn placement_at(&self, _instance: &Id, _at_micros: i64) -> Option<Placement> {
        None
    }

    /// What the agent of this instance is to do now.
    pub fn directive(&self, _instance: &Id) -> v1::Directive {
        v1::Directive::default()
    }

    /// Ticks whenever a placement, lease or interval changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
