//! Looks after leases that the rest would forget: those of instances that the cloud has ended
//! meanwhile, and those nobody holds any more (instances that carry our tag, stand outside any group,
//! and that no session knows, since a journal was lost or a host died between two writes).
//!
//! Orphans are not ended here. They are adopted: shadows of ours from now on, and what becomes of them
//! is decided like everything else, by the plan and past the checker. Whoever reports nothing is
//! silent, and a silent shadow is released or ended as its group's policy says.

use std::collections::BTreeMap;
use std::sync::Arc;

use foreshadow_proto::convert::Id;

use crate::clock::Clock;
use crate::fleet::{Fleet, GROUP_TAG, OWNER_TAG, Outside, RunState, UNTIL_TAG};
use crate::observe::Timeline;
use crate::shadow::{Origin, Sessions};

/// A lease must have been over for this long, µs: the aggregator that holds it may be slow.
const GRACE_MICROS: i64 = 900_000_000;

/// One look at a cloud.
#[derive(Debug)]
pub(super) struct Reaper {
    owner: String,
    sessions: Sessions,
    timeline: Timeline,
    clock: Arc<dyn Clock>,
}

impl Reaper {
    pub const fn new(owner: String, sessions: Sessions, timeline: Timeline, clock: Arc<dyn Clock>) -> Self {
        Self { owner, sessions, timeline, clock }
    }

    /// Closes the sessions of what is no more, adopts what nobody holds.
    pub async fn look(&self, fleet: &dyn Fleet) {
        self.close_ended(fleet).await;
        self.adopt_orphans(fleet).await;
    }

    async fn close_ended(&self, fleet: &dyn Fleet) {
        let mut by_group: BTreeMap<Id, Vec<Id>> = BTreeMap::new();
        for session in self.sessions.sessions().await {
            let here = self.timeline.group(&session.group).is_some_and(|group| group.source == Some(fleet.name()));
            if session.ended.is_none() && session.origin == Origin::Ours && here {
                by_group.entry(session.group).or_default().push(session.instance);
            }
        }
        for (group, instances) in by_group {
            let Ok(shown) = fleet.outside(&group, &instances).await else { continue };
            for outside in shown.iter().filter(|outside| outside.state == RunState::Ended) {
                let closed = self.sessions.close(&outside.instance, "somebody else ended it", self.clock.now()).await;
                if let Err(error) = closed {
                    tracing::warn!(%error, "the session of an instance that ended is not closed");
                }
            }
        }
    }

    async fn adopt_orphans(&self, fleet: &dyn Fleet) {
        let tagged = match fleet.tagged(UNTIL_TAG).await {
            Ok(tagged) => tagged,
            Err(error) => return tracing::warn!(%error, "leases nobody holds cannot be looked for"),
        };
        let (held, now) = (self.sessions.sessions().await, self.clock.wall_micros());
        for outside in tagged {
            if held.iter().any(|session| session.ended.is_none() && session.instance == outside.instance) {
                continue;
            }
            let Some(group) = orphan(&outside, &self.owner, now) else { continue };
            tracing::warn!(instance = %outside.instance, %group, "a lease nobody holds: adopted");
            let found = std::slice::from_ref(&outside.instance);
            self.sessions.mark_ours(found, "found by its tag: its lease was over and nobody held it").await;
            self.timeline.orphan(&outside.instance, &group, now);
        }
    }
}

/// The group of an orphan; `None` for whatever is not one beyond doubt.
fn orphan(outside: &Outside, owner: &str, now_micros: i64) -> Option<Id> {
    let tag = |name: &str| outside.tags.get(name).map(String::as_str);
    let until: i64 = tag(UNTIL_TAG)?.parse().ok()?;
    let over = until.checked_mul(1_000_000)?.checked_add(GRACE_MICROS)? < now_micros;
    let ours = tag(OWNER_TAG) == Some(owner);
    let alone = outside.group.is_none() && outside.state == RunState::Running;
    (over && ours && alone).then(|| Id::new("group", tag(GROUP_TAG)?).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const NOW: i64 = 1_800_000_000_000_000;

    fn outside(until: &str, owner: &str) -> Outside {
        let tags = [(UNTIL_TAG, until), (OWNER_TAG, owner), (GROUP_TAG, "web")];
        Outside {
            instance: Id::new("instance", "i-1").expect("an id"),
            state: RunState::Running,
            group: None,
            in_target_group: Some(false),
            protected: false,
            tags: tags.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        }
    }

    #[test]
    fn only_what_is_ours_alone_and_long_over_is_an_orphan() {
        let over = (NOW / 1_000_000 - 901).to_string();
        assert_eq!(orphan(&outside(&over, "us"), "us", NOW).map(|group| group.to_string()).as_deref(), Some("web"));
        let recent = (NOW / 1_000_000 - 899).to_string();
        let grouped = Outside { group: Id::new("group", "web").ok(), ..outside(&over, "us") };
        let ended = Outside { state: RunState::Ended, ..outside(&over, "us") };
        let mut homeless = outside(&over, "us");
        homeless.tags.remove(GROUP_TAG);
        let bare = Outside { tags: BTreeMap::new(), ..outside(&over, "us") };
        for not in [
            outside(&recent, "us"),
            outside(&over, "them"),
            outside("soon", "us"),
            outside("9223372036854775807", "us"),
            grouped,
            ended,
            homeless,
            bare,
        ] {
            assert_eq!(orphan(&not, "us", NOW), None, "{not:?}");
        }
    }
}
