//! Groups whose past was changed from outside the rounds: what was learned from the old one is learned anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use foreshadow_proto::convert::Id;

/// A past is learned from once nothing more of it came for this long, seconds: an import comes in parts.
const SETTLED_SECONDS: i64 = 5;

/// Tells the rounds. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Revised(Arc<Mutex<BTreeMap<Id, i64>>>);

impl Revised {
    /// A group's past was changed at `now`, seconds since boot.
    pub fn tell(&self, group: &Id, now: i64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(group.clone(), now);
    }

    /// Whether a group's past was changed after `since` and has come to rest, seconds since boot.
    pub(super) fn settled(&self, group: &Id, since: i64, now: i64) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(group).is_some_and(|at| *at >= since && now - at >= SETTLED_SECONDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once_and_when_it_has_come_to_rest() {
        let (revised, group) = (Revised::default(), Id::new("group", "web").expect("an id"));
        assert!(!revised.settled(&group, 0, 100));
        revised.tell(&group, 100);
        revised.tell(&group, 103);
        assert!(!revised.settled(&group, 0, 107), "more may be on its way");
        assert!(revised.settled(&group, 0, 108));
        assert!(!revised.settled(&group, 108, 200), "once");
    }
}
