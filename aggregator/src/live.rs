//! Samples as they become durable, for whoever wants to follow: the rounds and `GET /shadow/metrics`.

use std::sync::Arc;

use foreshadow_proto::convert::{Id, StreamId};
use tokio::sync::broadcast;

use crate::observe::Placement;
use crate::store::Stored;

/// Batches a slow follower may lag behind before it is told that it missed some: more than a second of ten thousand agents,
/// since the rounds follow nothing while they plan, and what they missed they read from the store. Some 3 MB.
const FOLLOWERS_LAG: usize = 16_384;

/// Durable samples of one batch with the instance's placement at that time.
#[derive(Debug, Clone)]
pub struct Arrived {
    pub instance: Id,
    pub stream: StreamId,
    /// Placement now; a sample's own is asked of the timeline by its time.
    pub placement: Option<Placement>,
    pub samples: Arc<[Stored]>,
}

/// Hands durable samples on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Live(broadcast::Sender<Arrived>);

impl Default for Live {
    fn default() -> Self {
        Self(broadcast::channel(FOLLOWERS_LAG).0)
    }
}

impl Live {
    /// Tells all followers; nobody following is fine.
    pub fn tell(&self, arrived: Arrived) {
        drop(self.0.send(arrived));
    }

    pub fn follow(&self) -> broadcast::Receiver<Arrived> {
        self.0.subscribe()
    }
}
