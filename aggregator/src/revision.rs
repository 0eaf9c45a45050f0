//! How often something was changed since the start: a stream that tells of it asks no database.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts changes. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Revision(Arc<AtomicU64>);

impl Revision {
    /// To be called once the change can be read: whoever hears of it asks at once.
    pub fn changed(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// Changes so far.
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}
