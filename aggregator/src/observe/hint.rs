//! Hints: somebody says that something may have changed in the cloud. All a hint does is that the
//! cloud is asked sooner; nothing in it is believed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foreshadow_proto::convert::Id;
use tokio::sync::watch;

use super::notices::Notices;
use crate::fleet::Notice;

/// Asks for a description soon, and keeps what was heard. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Hint(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    given: watch::Sender<u64>,
    asked: Mutex<Asked>,
    notices: Mutex<Notices>,
}

/// What is to be described.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// Every group of every source.
    pub all: bool,
    pub groups: BTreeSet<Id>,
}

impl Hint {
    /// Something may have changed anywhere.
    pub fn give(&self) {
        self.asked().all = true;
        self.0.given.send_modify(|count| *count += 1);
    }

    /// Something may have changed in a group.
    pub fn group(&self, group: &Id) {
        self.asked().groups.insert(group.clone());
        self.0.given.send_modify(|count| *count += 1);
    }

    /// A group is to be described with the next description, which nobody is woken for.
    pub(super) fn group_again(&self, group: &Id) {
        self.asked().groups.insert(group.clone());
    }

    /// Keeps a notice; what was not heard of before is a hint. `now` in seconds since the epoch.
    pub fn notice(&self, notice: &Notice, now: i64) -> bool {
        let fresh = self.notices().hear(notice, now);
        let outcome = if fresh { "new" } else { "known" };
        metrics::counter!("foreshadow_notices_total", "by" => notice.heard_by.word(), "outcome" => outcome)
            .increment(1);
        if fresh {
            tracing::info!(
                group = %notice.group, instance = %notice.instance, by = notice.heard_by.word(), why = notice.why,
                "a move is heard of"
            );
            self.group(&notice.group);
        }
        fresh
    }

    /// What was heard.
    pub(super) fn notices(&self) -> MutexGuard<'_, Notices> {
        self.0.notices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is asked for since the last time.
    pub(super) fn take(&self) -> Asked {
        std::mem::take(&mut *self.asked())
    }

    pub(super) fn given(&self) -> watch::Receiver<u64> {
        self.0.given.subscribe()
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.0.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
