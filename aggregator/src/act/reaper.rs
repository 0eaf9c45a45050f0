//! Looks after leases that the rest would forget: those of instances that the cloud has ended
//! meanwhile, those whose tags are gone or were left on an instance that serves, and those nobody holds any more (instances that carry our tag, stand outside any group,
//! and that no session knows, since a journal was lost or a host died between two writes).
//!
//! Orphans are not ended here. They are adopted: shadows of ours from now on, and what becomes of them
//! is decided like everything else, by the plan and past the checker. Whoever reports nothing is
//! silent, and a silent shadow is released or ended as its group's policy says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foreshadow_proto::convert::Id;
use planner::policy::Mode;

use super::call;
use super::control::{Control, Standing};
use crate::clock::Clock;
use crate::fleet::{Fleet, GROUP_TAG, OWNER_TAG, Outside, RunState, UNTIL_TAG};
use crate::observe::{InstanceMode, Timeline};
use crate::shadow::{Origin, Sessions, ShadowSession};

/// A lease must have been over for this long, µs: the aggregator that holds it may be slow.
const GRACE_MICROS: i64 = 900_000_000;

/// One look at a cloud.
#[derive(Debug)]
pub(super) struct Reaper {
    owner: String,
    sessions: Sessions,
    timeline: Timeline,
    clock: Arc<dyn Clock>,
    control: Control,
    /// What open intents name: it is being changed, and left alone.
    moving: BTreeSet<Id>,
}

impl Reaper {
    pub const fn new(
        owner: String,
        sessions: Sessions,
        timeline: Timeline,
        clock: Arc<dyn Clock>,
        control: Control,
        moving: BTreeSet<Id>,
    ) -> Self {
        Self { owner, sessions, timeline, clock, control, moving }
    }

    /// Closes the sessions of what is no more, tags again what lost its tags, adopts what nobody holds.
    pub async fn look(&self, fleet: &dyn Fleet) {
        self.look_after_sessions(fleet).await;
        self.look_for_tags(fleet).await;
    }

    async fn look_after_sessions(&self, fleet: &dyn Fleet) {
        let mut by_group: BTreeMap<Id, Vec<ShadowSession>> = BTreeMap::new();
        for session in self.sessions.sessions().await {
            let here = self.timeline.group(&session.group).is_some_and(|group| group.source == Some(fleet.name()));
            if session.ended.is_none() && session.origin == Origin::Ours && here {
                by_group.entry(session.group.clone()).or_default().push(session);
            }
        }
        for (group, sessions) in by_group {
            let instances: Vec<Id> = sessions.iter().map(|session| session.instance.clone()).collect();
            let Ok(shown) = fleet.outside(&group, &instances).await else { continue };
            for outside in shown {
                if outside.state == RunState::Ended {
                    let why = "somebody else ended it";
                    if let Err(error) = self.sessions.close(&outside.instance, why, self.clock.now()).await {
                        tracing::warn!(%error, "the session of an instance that ended is not closed");
                    }
                }
                let session = sessions.iter().find(|session| session.instance == outside.instance);
                let lost = lost_its_lease(&outside)
                    && may_tag(&self.control.standing(&group))
                    && !self.moving.contains(&outside.instance);
                let Some(session) = session.filter(|_| lost) else { continue };
                tracing::warn!(instance = %outside.instance, %group, "a shadow of ours has lost its lease: tagged again");
                let again = call::lease(fleet, &group, &[outside.instance], &self.owner, session.until).await;
                if let Err(error) = again {
                    tracing::warn!(error, "a lease cannot be tagged");
                }
            }
        }
    }

    /// It is in service or on its way into it, and nothing is being done to it. Who stands by is in its group as well, under
    /// a lease.
    fn serves(&self, outside: &Outside) -> bool {
        let group = outside.group.as_ref().and_then(|group| self.timeline.group(group));
        let here = group.and_then(|group| group.members.into_iter().find(|it| it.instance == outside.instance));
        let inside = here.is_some_and(|it| matches!(it.mode, InstanceMode::Serving | InstanceMode::Warming));
        let may = outside.group.as_ref().is_some_and(|group| may_tag(&self.control.standing(group)));
        inside && may && !self.moving.contains(&outside.instance)
    }

    async fn look_for_tags(&self, fleet: &dyn Fleet) {
        let tagged = match fleet.tagged(UNTIL_TAG).await {
            Ok(tagged) => tagged,
            Err(error) => return tracing::warn!(%error, "leases nobody holds cannot be looked for"),
        };
        let (held, now) = (self.sessions.sessions().await, self.clock.wall_micros());
        for outside in tagged {
            if held.iter().any(|session| session.ended.is_none() && session.instance == outside.instance) {
                continue;
            }
            if left_over(&outside, &self.owner, now) && self.serves(&outside) {
                if let Err(error) = call::untag(fleet, std::slice::from_ref(&outside.instance)).await {
                    tracing::warn!(%error, instance = %outside.instance, "who serves carries the tags of a lease on");
                }
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

/// In `observe`, and while it is paused, not even a tag is changed.
pub(crate) fn may_tag(standing: &Standing) -> bool {
    !standing.paused && standing.mode > Mode::Observe
}

/// It stands outside every group without the tags by which it could be found and ended.
pub(crate) fn lost_its_lease(outside: &Outside) -> bool {
    let alone = outside.group.is_none() && outside.state == RunState::Running;
    alone && ![UNTIL_TAG, GROUP_TAG, OWNER_TAG].iter().all(|tag| outside.tags.contains_key(*tag))
}

/// The group of an orphan; `None` for whatever is not one beyond doubt.
fn orphan(outside: &Outside, owner: &str, now_micros: i64) -> Option<Id> {
    let alone = outside.group.is_none() && outside.state == RunState::Running;
    let group = outside.tags.get(GROUP_TAG).filter(|_| alone && long_over(outside, owner, now_micros))?;
    Id::new("group", group.as_str()).ok()
}

/// A lease of ours that ran out on an instance that is in a group: it was never detached, or came back.
fn left_over(outside: &Outside, owner: &str, now_micros: i64) -> bool {
    outside.group.is_some() && long_over(outside, owner, now_micros)
}

/// It carries a lease of ours, and that ended a while ago.
fn long_over(outside: &Outside, owner: &str, now_micros: i64) -> bool {
    let until = outside.tags.get(UNTIL_TAG).and_then(|until| until.parse::<i64>().ok());
    let end = until.and_then(|until| until.checked_mul(1_000_000)?.checked_add(GRACE_MICROS));
    end.is_some_and(|end| end < now_micros) && outside.tags.get(OWNER_TAG).is_some_and(|found| found == owner)
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

    #[test]
    fn whoever_stands_alone_without_all_its_tags_has_lost_its_lease() {
        let whole = outside("1800000000", "us");
        assert!(!lost_its_lease(&whole));
        for tag in [UNTIL_TAG, GROUP_TAG, OWNER_TAG] {
            let mut bare = whole.clone();
            bare.tags.remove(tag);
            assert!(lost_its_lease(&bare), "{tag}");
            assert!(!lost_its_lease(&Outside { group: Id::new("group", "web").ok(), ..bare.clone() }), "it came back");
            assert!(!lost_its_lease(&Outside { state: RunState::Ended, ..bare }));
        }
    }

    #[test]
    fn the_tags_of_a_lease_that_is_long_over_are_left_over_on_whoever_is_in_a_group() {
        let (over, recent) = ((NOW / 1_000_000 - 901).to_string(), (NOW / 1_000_000 - 899).to_string());
        let inside =
            |until: &str, owner: &str| Outside { group: Id::new("group", "web").ok(), ..outside(until, owner) };
        assert!(left_over(&inside(&over, "us"), "us", NOW));
        assert!(!left_over(&inside(&recent, "us"), "us", NOW), "the call may still come");
        assert!(!left_over(&inside(&over, "them"), "us", NOW));
        assert!(!left_over(&outside(&over, "us"), "us", NOW), "it stands outside: an orphan");
    }
}
