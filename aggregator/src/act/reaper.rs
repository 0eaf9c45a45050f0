//! Looks after leases that the rest would forget: those of instances that the cloud has ended
//! meanwhile, those whose tags are gone or were left on an instance that serves, and those nobody holds any more
//! (instances that carry our tag, stand outside any group, and that no session knows, since a journal was lost or a host died between two writes).
//!
//! Orphans are not ended here. Those of a group that is there are adopted: shadows of ours from now on, and what becomes
//! of them is decided like everything else, by the plan and past the checker. Whoever reports nothing is
//! silent, and a silent shadow is released or ended as its group's policy says.
//!
//! The others are stranded: of a group that no source has, of another installation, or taken out by who knows whom. No plan is made for them, and nobody
//! can say whether a load balancer sends to them, so they are never ended here. They are an alarm until somebody takes them over or
//! ends them; those of ours are released when the longest lease is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foreshadow_proto::convert::Id;
use planner::policy::Mode;
use serde::Serialize;

use super::call;
use super::control::{Control, Standing};
use crate::clock::Clock;
use crate::fleet::{Fleet, GROUP_TAG, OWNER_TAG, Outside, RunState, Tags, UNTIL_TAG};
use crate::observe::{InstanceMode, Timeline};
use crate::shadow::{Origin, Sessions, ShadowSession};

/// A lease must have been over for this long, seconds: the aggregator that holds it may be slow.
const GRACE_SECONDS: i64 = 900;

/// What stands in the tag of a lease instead of its end, when whoever carries it was perhaps not detached by us.
const IN_DOUBT: &str = "in doubt";

/// An instance that carries a lease which is over, and that no plan will ever end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Stranded {
    #[schema(value_type = String)]
    pub instance: Id,
    /// As its tag says.
    pub group: Option<String>,
    /// The installation that tagged it.
    pub owner: Option<String>,
    /// When its lease ended, seconds since the Unix epoch; absent where its tag is no time.
    pub until: Option<i64>,
    pub why: String,
}

impl Stranded {
    /// It carries tags of ours and was perhaps taken out by hand.
    fn in_doubt(outside: &Outside, owner: &str) -> Self {
        Self {
            instance: outside.instance.clone(),
            group: outside.tags.get(GROUP_TAG).cloned(),
            owner: Some(owner.to_owned()),
            until: outside.tags.get(UNTIL_TAG).and_then(|until| until.parse().ok()),
            why: "it carries our lease and was perhaps taken out by hand: a call of ours was given up unanswered, or somebody else \
                  detached it"
                .to_owned(),
        }
    }

    /// In words, with what to do.
    pub fn warning(&self) -> String {
        let instance = &self.instance;
        format!(
            "{instance} runs and costs, and nobody ends it: {}. End it yourself, or take it over: foreshadow shadow take \
             {instance} --group GROUP --reason \"…\"",
            self.why
        )
    }
}

/// What an instance with a lease tag is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tagged {
    /// Held, serving, ending, or not over for long enough.
    Nothing,
    /// Ours alone, long over: its group by its tag.
    Orphan {
        group: Id,
        until: i64,
    },
    Stranded(Stranded),
}

/// What came of one look at a cloud.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// Who is stranded; `None`: it could not look.
    pub stranded: Option<Vec<Stranded>>,
    /// A shadow of ours stands without its tags, and could not be tagged.
    pub unleased: bool,
}

/// Looks at one cloud.
#[derive(Debug)]
pub(super) struct Reaper {
    owner: String,
    sessions: Sessions,
    timeline: Timeline,
    clock: Arc<dyn Clock>,
    control: Control,
    /// What open intents name: it is being changed, and left alone.
    moving: BTreeSet<Id>,
    /// Whom a call that was given up in doubt names.
    doubted: BTreeSet<Id>,
}

impl Reaper {
    pub const fn new(
        owner: String,
        sessions: Sessions,
        timeline: Timeline,
        clock: Arc<dyn Clock>,
        control: Control,
        moving: BTreeSet<Id>,
        doubted: BTreeSet<Id>,
    ) -> Self {
        Self { owner, sessions, timeline, clock, control, moving, doubted }
    }

    /// Closes the sessions of what is no more, tags again what lost its tags, adopts what nobody holds, and finds who is
    /// stranded.
    pub async fn look(&self, fleet: &dyn Fleet) -> Look {
        let unleased = !self.look_after_sessions(fleet).await;
        Look { stranded: self.look_for_tags(fleet).await, unleased }
    }

    /// False: a call failed, and who lost its lease is to be tagged yet.
    async fn look_after_sessions(&self, fleet: &dyn Fleet) -> bool {
        let mut all = true;
        let mut by_group: BTreeMap<Id, Vec<ShadowSession>> = BTreeMap::new();
        for session in self.sessions.sessions().await {
            let here = self.timeline.group(&session.group).is_some_and(|group| group.source == Some(fleet.name()));
            if session.ended.is_none() && session.origin == Origin::Ours && here {
                by_group.entry(session.group.clone()).or_default().push(session);
            }
        }
        for (group, sessions) in by_group {
            let instances: Vec<Id> = sessions.iter().map(|session| session.instance.clone()).collect();
            let Ok(shown) = fleet.outside(&group, &instances).await else {
                all = false;
                continue;
            };
            for outside in shown {
                if outside.state == RunState::Ended {
                    let why = "somebody else ended it";
                    if let Err(error) = self.sessions.close(&outside.instance, why, self.clock.now()).await {
                        tracing::warn!(%error, "the session of an instance that ended is not closed");
                    }
                }
                let session = sessions.iter().find(|session| session.instance == outside.instance);
                let lost = lost_its_lease(&outside, &self.owner)
                    && may_tag(&self.control.standing(&group))
                    && !self.moving.contains(&outside.instance);
                let Some(session) = session.filter(|_| lost) else { continue };
                tracing::warn!(instance = %outside.instance, %group, "a shadow of ours has lost its lease: tagged again");
                let again = call::lease(fleet, &group, &[outside.instance], &self.owner, session.until).await;
                if let Err(error) = again {
                    tracing::warn!(error, "a lease cannot be tagged");
                    all = false;
                }
            }
        }
        all
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

    async fn look_for_tags(&self, fleet: &dyn Fleet) -> Option<Vec<Stranded>> {
        let tagged = match fleet.tagged(UNTIL_TAG).await {
            Ok(tagged) => tagged,
            Err(error) => {
                tracing::warn!(%error, "leases nobody holds cannot be looked for");
                return None;
            }
        };
        let (held, now) = (self.sessions.sessions().await, self.clock.wall_seconds());
        let longest = i64::from(self.sessions.config().await.maximum_seconds);
        let mut stranded = Vec::new();
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
            let last = held.iter().rev().find(|session| session.instance == outside.instance);
            let foreign = last.is_some_and(|session| session.origin == Origin::Foreign);
            let in_doubt = foreign || self.doubted.contains(&outside.instance);
            match classify(&outside, &self.owner, now) {
                Tagged::Nothing => {}
                Tagged::Stranded(found) => stranded.push(found),
                // Tags of a call that was given up, on whoever left then or later: by it, or by hand.
                Tagged::Orphan { group, .. } if in_doubt => {
                    self.say_in_doubt(fleet, &outside.instance, &group).await;
                    stranded.push(Stranded::in_doubt(&outside, &self.owner));
                }
                Tagged::Orphan { group, .. } if self.timeline.source_of(&group) == Some(fleet.name()) => {
                    tracing::warn!(instance = %outside.instance, %group, "a lease nobody holds: adopted");
                    let found = std::slice::from_ref(&outside.instance);
                    self.sessions.mark_ours(found, "found by its tag: its lease was over and nobody held it").await;
                    self.timeline.orphan(&outside.instance, &group, now * 1_000_000);
                }
                // Of another source's group, or nobody knows yet.
                Tagged::Orphan { group, .. }
                    if !self.timeline.is_read() || self.timeline.source_of(&group).is_some() => {}
                Tagged::Orphan { group, until } => {
                    if now >= until.saturating_add(longest) && self.release(fleet, &outside.instance, &group).await {
                        continue;
                    }
                    stranded.push(Stranded {
                        instance: outside.instance,
                        why: format!("its lease is over, and its group {group} is in no source any more"),
                        group: Some(group.to_string()),
                        owner: Some(self.owner.clone()),
                        until: Some(until),
                    });
                }
            }
        }
        Some(stranded)
    }

    /// Writes on it what its session says for a week alone.
    async fn say_in_doubt(&self, fleet: &dyn Fleet, instance: &Id, group: &Id) {
        if !may_tag(&self.control.standing(group)) {
            return;
        }
        let tags = Tags::from([(UNTIL_TAG, Some(IN_DOUBT.to_owned()))]);
        if let Err(error) = fleet.tag(std::slice::from_ref(instance), &tags).await {
            tracing::warn!(%error, %instance, %group, "that nobody knows who detached it cannot be tagged");
        }
    }

    /// Takes the tags off what nobody will ever come back for; false when they could not be.
    async fn release(&self, fleet: &dyn Fleet, instance: &Id, group: &Id) -> bool {
        if let Err(error) = call::untag(fleet, std::slice::from_ref(instance)).await {
            tracing::warn!(%error, %instance, "the lease of a shadow without a group cannot be taken off");
            return false;
        }
        tracing::error!(%instance, %group, "a shadow of a group that is no more is released: it runs on, and costs, unwatched");
        metrics::counter!("foreshadow_shadows_released_total", "group" => group.to_string()).increment(1);
        true
    }
}

/// In `observe`, and while it is paused, not even a tag is changed.
pub(crate) fn may_tag(standing: &Standing) -> bool {
    !standing.paused && standing.mode > Mode::Observe
}

/// It stands outside every group without the tags by which it could be found and ended, and no other installation has
/// taken it over.
pub(crate) fn lost_its_lease(outside: &Outside, owner: &str) -> bool {
    let alone = outside.group.is_none() && outside.state == RunState::Running;
    let ours = outside.tags.get(OWNER_TAG).is_none_or(|found| found == owner);
    alone && ours && ![UNTIL_TAG, GROUP_TAG, OWNER_TAG].iter().all(|tag| outside.tags.contains_key(*tag))
}

/// A lease of ours that ran out on an instance that is in a group: it was never detached, or came back.
fn left_over(outside: &Outside, owner: &str, now: i64) -> bool {
    let until = outside.tags.get(UNTIL_TAG);
    let ended = until.and_then(|until| until.parse::<i64>().ok());
    let over = ended.is_some_and(|until| until.saturating_add(GRACE_SECONDS) < now);
    (over || until.is_some_and(|until| until == IN_DOUBT))
        && outside.group.is_some()
        && outside.tags.get(OWNER_TAG).is_some_and(|found| found == owner)
}

/// What it is, and beyond doubt: whatever is not alone, or not long over, is nothing to look after.
fn classify(outside: &Outside, owner: &str, now: i64) -> Tagged {
    let tag = |name: &str| outside.tags.get(name).map(String::as_str);
    let alone = outside.group.is_none() && outside.state == RunState::Running;
    let Some(until) = tag(UNTIL_TAG).filter(|_| alone) else { return Tagged::Nothing };
    if until == IN_DOUBT && tag(OWNER_TAG) == Some(owner) {
        return Tagged::Stranded(Stranded::in_doubt(outside, owner));
    }
    let until: Option<i64> = until.parse().ok();
    if until.is_some_and(|until| until.saturating_add(GRACE_SECONDS) >= now) {
        return Tagged::Nothing;
    }
    let group = tag(GROUP_TAG).and_then(|name| Id::new("group", name).ok());
    let why = match (tag(OWNER_TAG), until, group) {
        (Some(found), Some(until), Some(group)) if found == owner => return Tagged::Orphan { group, until },
        (Some(found), ..) if found != owner => format!("its lease is over, and it belongs to the installation {found}"),
        (None, ..) => "its lease is over, and its tags do not say whose it is".to_owned(),
        (_, None, _) => format!("its tag {UNTIL_TAG} is no time"),
        _ => format!("its lease is over, and its tag {GROUP_TAG} names no group"),
    };
    Tagged::Stranded(Stranded {
        instance: outside.instance.clone(),
        group: tag(GROUP_TAG).map(str::to_owned),
        owner: tag(OWNER_TAG).map(str::to_owned),
        until,
        why,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use async_trait::async_trait;
    use sqlx::sqlite::SqlitePoolOptions;

    use super::*;
    use crate::clock::SystemClock;
    use crate::fleet::{FleetError, GroupInventory, Inventory};
    use crate::observe::Patience;
    use crate::shadow::ShadowConfig;

    const NOW: i64 = 1_800_000_000;

    fn outside(name: &str, until: &str, owner: &str, group: &str) -> Outside {
        let tags = [(UNTIL_TAG, until), (OWNER_TAG, owner), (GROUP_TAG, group)];
        Outside {
            instance: Id::new("instance", name).expect("an id"),
            state: RunState::Running,
            group: None,
            in_target_group: Some(false),
            protected: false,
            tags: tags.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        }
    }

    #[test]
    fn only_what_is_ours_alone_and_long_over_is_an_orphan_and_what_is_anothers_is_told() {
        let over = (NOW - 901).to_string();
        let one = || outside("i-1", &over, "us", "web");
        let web = Id::new("group", "web").expect("an id");
        assert_eq!(classify(&one(), "us", NOW), Tagged::Orphan { group: web.clone(), until: NOW - 901 });
        let recent = (NOW - 899).to_string();
        let grouped = Outside { group: Some(web), ..one() };
        let ended = Outside { state: RunState::Ended, ..one() };
        let bare = Outside { tags: BTreeMap::new(), ..one() };
        let endless = outside("i-1", "9223372036854775807", "us", "web");
        let foreign_and_recent = outside("i-1", &recent, "them", "web");
        for not in [outside("i-1", &recent, "us", "web"), foreign_and_recent, endless, grouped, ended, bare] {
            assert_eq!(classify(&not, "us", NOW), Tagged::Nothing, "{not:?}");
        }
        let mut homeless = one();
        homeless.tags.remove(GROUP_TAG);
        let mut nobodys = one();
        nobodys.tags.remove(OWNER_TAG);
        for (stranded, part) in [
            (outside("i-1", &over, "them", "web"), "belongs to the installation them"),
            (outside("i-1", "soon", "us", "web"), "is no time"),
            (homeless, "names no group"),
            (nobodys, "do not say whose"),
        ] {
            let found = classify(&stranded, "us", NOW);
            assert!(matches!(&found, Tagged::Stranded(it) if it.why.contains(part)), "{part}: {found:?}");
        }
    }

    #[test]
    fn whoever_stands_alone_without_all_its_tags_has_lost_its_lease() {
        let whole = outside("i-1", "1800000000", "us", "web");
        assert!(!lost_its_lease(&whole, "us"));
        for tag in [UNTIL_TAG, GROUP_TAG, OWNER_TAG] {
            let mut bare = whole.clone();
            bare.tags.remove(tag);
            assert!(lost_its_lease(&bare, "us"), "{tag}");
            assert_eq!(lost_its_lease(&bare, "them"), tag == OWNER_TAG, "{tag}: another has taken it over");
            let back = Outside { group: Id::new("group", "web").ok(), ..bare.clone() };
            assert!(!lost_its_lease(&back, "us"), "it came back");
            assert!(!lost_its_lease(&Outside { state: RunState::Ended, ..bare }, "us"));
        }
    }

    #[test]
    fn the_tags_of_a_lease_that_is_long_over_are_left_over_on_whoever_is_in_a_group() {
        let (over, recent) = ((NOW - 901).to_string(), (NOW - 899).to_string());
        let outside = |until: &str, owner: &str| outside("i-1", until, owner, "web");
        let inside =
            |until: &str, owner: &str| Outside { group: Id::new("group", "web").ok(), ..outside(until, owner) };
        assert!(left_over(&inside(&over, "us"), "us", NOW));
        assert!(!left_over(&inside(&recent, "us"), "us", NOW), "the call may still come");
        assert!(!left_over(&inside(&over, "them"), "us", NOW));
        assert!(!left_over(&outside(&over, "us"), "us", NOW), "it stands outside: an orphan");
        assert!(left_over(&inside(IN_DOUBT, "us"), "us", NOW), "it is back: there is nothing to doubt");
        assert!(!left_over(&inside(IN_DOUBT, "them"), "us", NOW));
    }

    /// A cloud with instances, and what was written on whom.
    #[derive(Debug, Default)]
    struct Cloud {
        shown: Mutex<Vec<Outside>>,
        written: Mutex<Vec<(Id, Tags)>>,
    }

    impl Cloud {
        fn of(shown: Vec<Outside>) -> Self {
            Self { shown: Mutex::new(shown), ..Self::default() }
        }

        /// On whom was written, in order, and the end of the lease that was.
        fn written(&self) -> Vec<(String, Option<String>)> {
            let written = std::mem::take(&mut *self.written.lock().expect("not poisoned"));
            written.into_iter().map(|(instance, tags)| (instance.to_string(), tags[UNTIL_TAG].clone())).collect()
        }
    }

    #[async_trait]
    impl Fleet for Cloud {
        async fn describe(&self) -> Result<Inventory, FleetError> {
            Ok(Inventory::default())
        }

        fn name(&self) -> &'static str {
            "aws"
        }

        async fn outside(&self, _: &Id, instances: &[Id]) -> Result<Vec<Outside>, FleetError> {
            let shown = self.shown.lock().expect("not poisoned");
            Ok(shown.iter().filter(|it| instances.contains(&it.instance)).cloned().collect())
        }

        async fn tagged(&self, tag: &str) -> Result<Vec<Outside>, FleetError> {
            let shown = self.shown.lock().expect("not poisoned");
            Ok(shown.iter().filter(|it| it.tags.contains_key(tag)).cloned().collect())
        }

        async fn tag(&self, instances: &[Id], tags: &Tags) -> Result<(), FleetError> {
            let written = instances.iter().map(|instance| (instance.clone(), tags.clone()));
            self.written.lock().expect("not poisoned").extend(written);
            for shown in self.shown.lock().expect("not poisoned").iter_mut() {
                for (tag, value) in tags.iter().filter(|_| instances.contains(&shown.instance)) {
                    match value {
                        Some(value) => shown.tags.insert((*tag).to_owned(), value.clone()),
                        None => shown.tags.remove(*tag),
                    };
                }
            }
            Ok(())
        }
    }

    /// Sessions, a timeline that has the group `web` with these members, and modes: in `full`, if it is said.
    async fn kept(full: bool) -> (Sessions, Timeline, Control) {
        let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.expect("a database");
        sqlx::migrate!().run(&pool).await.expect("migrated");
        let clock = SystemClock;
        let timeline = Timeline::new(Patience { warm_up: 0, drain: 0, silent: 0 }, 1_000, 1_000);
        let sessions =
            Sessions::open(pool.clone(), timeline.clone(), ShadowConfig::default(), clock.now()).await.expect("opened");
        let control = Control::open(pool, BTreeMap::new(), clock.wall_seconds()).await.expect("opened");
        if full {
            let web = Id::new("group", "web").expect("an id");
            control.set_mode(&web, Mode::Full, clock.wall_seconds(), "us", "a test").await.expect("set");
        }
        (sessions, timeline, control)
    }

    fn shows_web(timeline: &Timeline) {
        let web = (Id::new("group", "web").expect("an id"), GroupInventory::default());
        let groups = BTreeMap::from([web]);
        timeline.take("aws", &Inventory { complete: true, groups, ..Inventory::default() });
        timeline.set_read();
    }

    /// It is seen outside its group `web`, as somebody's detachment shows it.
    async fn leaves(name: &str, sessions: &Sessions, timeline: &Timeline) {
        let (instance, now) = (Id::new("instance", name).expect("an id"), SystemClock.now());
        timeline.orphan(&instance, &Id::new("group", "web").expect("an id"), now.wall * 1_000_000);
        timeline.agent_heard(&instance, true, now.wall * 1_000_000);
        let moves = timeline.moves(now.wall * 1_000_000);
        timeline.apply(&moves);
        sessions.follow(&moves, now).await;
    }

    #[tokio::test]
    async fn sessions_of_ours_end_with_their_machines_and_lost_leases_are_tagged_again() {
        let (sessions, timeline, control) = kept(true).await;
        let clock = Arc::new(SystemClock);
        shows_web(&timeline);
        let ids = ["i-whole", "i-bare", "i-ended", "i-moving"].map(|name| Id::new("instance", name).expect("an id"));
        sessions.mark_ours(&ids, "not needed").await;
        for instance in &ids {
            leaves(instance.as_str(), &sessions, &timeline).await;
        }
        let later = (clock.wall_seconds() + 600).to_string();
        let bare = |name: &str| Outside { tags: BTreeMap::new(), ..outside(name, &later, "us", "web") };
        let cloud = Cloud::of(vec![
            outside("i-whole", &later, "us", "web"),
            bare("i-bare"),
            Outside { state: RunState::Ended, ..bare("i-ended") },
            bare("i-moving"),
        ]);
        let moving = BTreeSet::from([ids[3].clone()]);
        let reaper = Reaper::new("us".to_owned(), sessions.clone(), timeline, clock, control, moving, BTreeSet::new());
        assert_eq!(reaper.look(&cloud).await, Look { stranded: Some(Vec::new()), unleased: false });
        let until = sessions.open_of(&ids[1]).await.expect("open").until.to_string();
        assert_eq!(cloud.written(), [("i-bare".to_owned(), Some(until))], "what is being changed is left alone");
        let mut open = Vec::new();
        for instance in &ids {
            open.extend(sessions.open_of(instance).await.map(|it| it.instance.to_string()));
        }
        assert_eq!(open, ["i-whole", "i-bare", "i-moving"]);
        let ended = sessions.sessions().await.into_iter().find(|it| it.ended.is_some()).expect("one has ended");
        assert!(ended.reason.contains("somebody else ended it"), "{}", ended.reason);
    }

    #[tokio::test]
    async fn whom_perhaps_somebody_else_detached_is_never_adopted_by_tags_of_ours() {
        let (sessions, timeline, control) = kept(true).await;
        let clock = Arc::new(SystemClock);
        shows_web(&timeline);
        let doubted = Id::new("instance", "i-doubted").expect("an id");
        sessions.mark_ours(std::slice::from_ref(&doubted), "not needed").await;
        sessions.doubt(std::slice::from_ref(&doubted), clock.now()).await;
        leaves("i-doubted", &sessions, &timeline).await;
        assert_eq!(sessions.open_of(&doubted).await.map(|it| it.origin), Some(Origin::Foreign));
        let over = (clock.wall_seconds() - 901).to_string();
        let cloud = Cloud::of(vec![outside("i-doubted", &over, "us", "web")]);
        let reaper_that = |sessions: &Sessions, doubts: &[Id]| {
            let (timeline, control, doubted) = (timeline.clone(), control.clone(), doubts.iter().cloned().collect());
            let nobody = BTreeSet::new();
            Reaper::new("us".to_owned(), sessions.clone(), timeline, clock.clone(), control, nobody, doubted)
        };
        let reaper = |sessions: &Sessions| reaper_that(sessions, &[]);
        assert_eq!(
            reaper(&sessions).look(&cloud).await.stranded,
            Some(Vec::new()),
            "its session is open: it is measured"
        );
        sessions.release(&doubted, "its lease is over", clock.now()).await.expect("released");
        let told = reaper(&sessions).look(&cloud).await.stranded.expect("looked");
        assert!(told.len() == 1 && told[0].warning().contains("perhaps taken out by hand"), "{told:?}");
        assert_eq!(cloud.written(), [("i-doubted".to_owned(), Some(IN_DOUBT.to_owned()))]);
        // Its session is forgotten after a week, and what is written on it is not.
        let (forgot, ..) = kept(true).await;
        let told = reaper(&forgot).look(&cloud).await.stranded.expect("looked");
        assert!(told.len() == 1 && told[0].until.is_none(), "{told:?}");
        assert_eq!((cloud.written(), forgot.open_of(&doubted).await), (Vec::new(), None));
        leaves("i-doubted", &forgot, &timeline).await;
        assert_ne!(forgot.open_of(&doubted).await.map(|it| it.origin), Some(Origin::Ours));
        // One that left without a session: its agent was silent, or we did not run.
        let unseen = Cloud::of(vec![outside("i-unseen", &over, "us", "web")]);
        let instance = Id::new("instance", "i-unseen").expect("an id");
        let told = reaper_that(&forgot, std::slice::from_ref(&instance)).look(&unseen).await.stranded.expect("looked");
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(unseen.written(), [("i-unseen".to_owned(), Some(IN_DOUBT.to_owned()))]);
        leaves("i-unseen", &forgot, &timeline).await;
        assert_ne!(forgot.open_of(&instance).await.map(|it| it.origin), Some(Origin::Ours));
    }

    #[tokio::test]
    async fn orphans_of_a_group_that_is_no_more_are_told_and_released_at_last_and_anothers_are_left_alone() {
        let (sessions, timeline, control) = kept(false).await;
        let clock = Arc::new(SystemClock);
        let now = clock.wall_seconds();
        let (over, long_over) = ((now - 3_600).to_string(), (now - 86_401).to_string());
        let cloud = Cloud::of(vec![
            outside("i-here", &over, "us", "web"),
            outside("i-gone", &over, "us", "gone"),
            outside("i-old", &long_over, "us", "gone"),
            outside("i-theirs", &long_over, "them", "web"),
        ]);
        let (nobody, undoubted) = (BTreeSet::new(), BTreeSet::new());
        let reaper =
            Reaper::new("us".to_owned(), sessions.clone(), timeline.clone(), clock, control, nobody, undoubted);
        let names = |look: Look| -> Vec<String> {
            look.stranded.expect("looked").iter().map(|it| it.instance.to_string()).collect()
        };
        assert_eq!(names(reaper.look(&cloud).await), ["i-theirs"], "nobody knows yet which groups there are");
        assert_eq!(cloud.written(), []);

        shows_web(&timeline);
        assert_eq!(names(reaper.look(&cloud).await), ["i-gone", "i-theirs"]);
        assert_eq!(cloud.written(), [("i-old".to_owned(), None)], "released, and theirs is not touched");
        let here = Id::new("instance", "i-here").expect("an id");
        assert_eq!(timeline.member_of(&here).map(|group| group.to_string()).as_deref(), Some("web"), "adopted");
        // Once it is seen outside it is a shadow of ours again, which the plan ends.
        leaves("i-here", &sessions, &timeline).await;
        assert_eq!(sessions.open_of(&here).await.map(|it| it.origin), Some(Origin::Ours));
    }
}
