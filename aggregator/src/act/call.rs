//! The one place that changes anything: an intent that was checked is carried out, its tags first.
//!
//! Whoever was outside keeps the tags of its group and owner until it is known to be inside: by them alone may it be tagged,
//! attached or ended at all (`deploy/aws/act-policy.json`).

use std::collections::{BTreeMap, BTreeSet};

use foreshadow_proto::convert::Id;

use super::journal::{Intent, SHOWN_AFTER};
use crate::fleet::{
    Action, CLAIMED_TAG, Called, Fleet, FleetError, GROUP_TAG, GroupInventory, OWNER_TAG, Outside, Reach, RunState,
    Tags, UNTIL_TAG,
};

/// What the cloud says right before a call.
#[derive(Debug, Clone)]
pub struct Fresh {
    pub taken: i64,
    pub complete: bool,
    pub group: GroupInventory,
    /// Of the instances that the intent names and that stand outside the group.
    pub outside: Vec<Outside>,
}

/// A claim is acted on after this time, seconds. A tag cannot be set only where there is none, so two installations may both
/// claim a group that shows no owner: the second one as long after the first as a description may lag ([`SHOWN_AFTER`]) and its two calls
/// may take (twenty seconds each), and the first sees that a lag later still.
const CLAIM_SETTLES: i64 = 2 * SHOWN_AFTER + 40;

/// Describes afresh what an intent concerns. A group that nobody owns is claimed by its tag, and nothing is done to it until every
/// other claim would show: of those who claimed it in the same moment the last one's tag stands, and each of them reads it.
pub async fn describe(fleet: &dyn Fleet, intent: &Intent, owner: &str) -> Result<Fresh, String> {
    let fresh = look(fleet, intent).await?;
    match &fresh.group.owner {
        Some(other) if other != owner => {
            Err(format!("the group belongs to the installation {other}; taking over is an explicit call"))
        }
        Some(_) => match fresh.group.claimed {
            Some(at) if (fresh.taken - at).abs() < CLAIM_SETTLES && fleet.reach() == Reach::Cloud => Err(format!(
                "the group was claimed at {at}: it is acted on {CLAIM_SETTLES} s later, when every other claim would show"
            )),
            _ => Ok(fresh),
        },
        None => {
            tag_claimed(fleet, &intent.group, owner, fresh.taken).await?;
            Err("the group was nobody's and is claimed now: a later plan acts".to_owned())
        }
    }
}

/// Claims a group if it is nobody's, so that its first plan need not wait for that.
pub async fn claim(fleet: &dyn Fleet, group: &Id, owner: &str) -> Result<(), String> {
    let inventory = fleet.describe_some(std::slice::from_ref(group)).await.map_err(|error| error.to_string())?;
    match inventory.groups.get(group) {
        Some(found) if found.owner.is_none() => {
            tag_claimed(fleet, group, owner, inventory.taken_micros / 1_000_000).await
        }
        _ => Ok(()),
    }
}

async fn tag_claimed(fleet: &dyn Fleet, group: &Id, owner: &str, at: i64) -> Result<(), String> {
    let tags = Tags::from([(OWNER_TAG, Some(owner.to_owned())), (CLAIMED_TAG, Some(at.to_string()))]);
    fleet.tag_group(group, &tags).await.map_err(|error| format!("the group cannot be claimed: {error}"))
}

/// The tags of a group that somebody takes over from another installation, by an explicit call: it is acted on at once.
pub fn taken_over(owner: &str) -> Tags {
    Tags::from([(OWNER_TAG, Some(owner.to_owned())), (CLAIMED_TAG, Some("0".to_owned()))])
}

async fn look(fleet: &dyn Fleet, intent: &Intent) -> Result<Fresh, String> {
    // This group alone: with hundreds of them a plan would be too old before all were described.
    let asked = fleet.describe_some(std::slice::from_ref(&intent.group)).await;
    let mut inventory = asked.map_err(|error| error.to_string())?;
    let group = inventory.groups.remove(&intent.group);
    let group = group.ok_or_else(|| format!("{} does not show the group", fleet.name()))?;
    let inside: BTreeSet<&Id> = group.members.iter().map(|member| &member.instance).collect();
    let named = intent.action.instances().iter().filter(|instance| !inside.contains(instance));
    let named: Vec<Id> = named.cloned().collect();
    let outside = match named.as_slice() {
        [] => Vec::new(),
        named => fleet.outside(&intent.group, named).await.map_err(|error| error.to_string())?,
    };
    Ok(Fresh { taken: inventory.taken_micros / 1_000_000, complete: inventory.complete, group, outside })
}

/// Carries an intent out. `until` is when the lease of what is detached ends, seconds since the epoch; `still` is asked at
/// the last moment, when the tags are set, and may say why not after all.
pub async fn carry_out(
    fleet: &dyn Fleet,
    intent: &Intent,
    owner: &str,
    until: i64,
    still: impl Future<Output = Result<(), String>>,
) -> Called {
    let prepared = match &intent.action {
        Action::Launch { .. } | Action::Leave { .. } | Action::Terminate { .. } | Action::Floor { .. } => Ok(()),
        Action::Attach { instances } | Action::ExitStandby { instances } => {
            unlease(fleet, &intent.group, instances).await
        }
        Action::Detach { instances } | Action::EnterStandby { instances } => {
            lease(fleet, &intent.group, instances, owner, until)
                .await
                .map_err(|why| format!("nothing was detached: its lease cannot be tagged: {why}"))
        }
    };
    let prepared = match prepared {
        Ok(()) => still.await,
        refused => refused,
    };
    match prepared {
        Err(why) => Called::Withheld { why },
        Ok(()) => fleet.call(&intent.group, &intent.action, &intent.token).await,
    }
}

/// Says on each instance until when and for whom it stands in shadow, before it leaves its group: from
/// then on even a journal that was put back loses no machine.
pub async fn lease(fleet: &dyn Fleet, group: &Id, instances: &[Id], owner: &str, until: i64) -> Result<(), String> {
    let tags = Tags::from([
        (UNTIL_TAG, Some(until.to_string())),
        (GROUP_TAG, Some(group.to_string())),
        (OWNER_TAG, Some(owner.to_owned())),
    ]);
    fleet.tag(instances, &tags).await.map_err(|error| error.to_string())
}

/// Takes the lease off and reads that it is off, so that no reaper ends what is about to serve.
async fn unlease(fleet: &dyn Fleet, group: &Id, instances: &[Id]) -> Result<(), String> {
    let over = Tags::from([(UNTIL_TAG, None)]);
    let removed = fleet.tag(instances, &over).await;
    removed.map_err(|error| format!("nothing was attached: its lease cannot be removed: {error}"))?;
    let shown = fleet.outside(group, instances).await.map_err(|error| error.to_string())?;
    let shown: BTreeMap<&Id, &Outside> = shown.iter().map(|outside| (&outside.instance, outside)).collect();
    for instance in instances {
        match shown.get(instance) {
            Some(outside) if outside.tags.contains_key(UNTIL_TAG) => {
                return Err(format!("nothing was attached: {instance} still carries its lease"));
            }
            Some(outside) if outside.state == RunState::Running => {}
            _ => return Err(format!("nothing was attached: {instance} does not run")),
        }
    }
    Ok(())
}

/// Takes the lease off what is no shadow of ours any more, and not that of another installation: who lost the group, or never had
/// it, may name whom the other holds.
pub async fn untag_ours(fleet: &dyn Fleet, group: &Id, instances: &[Id], owner: &str) -> Result<(), FleetError> {
    let ours = |it: &Outside| {
        let tagged = [UNTIL_TAG, GROUP_TAG, OWNER_TAG].iter().any(|tag| it.tags.contains_key(*tag));
        tagged && it.tags.get(OWNER_TAG).is_none_or(|found| found == owner)
    };
    let shown = fleet.outside(group, instances).await?;
    let ours: Vec<Id> = shown.into_iter().filter(ours).map(|it| it.instance).collect();
    if ours.is_empty() { Ok(()) } else { untag(fleet, &ours).await }
}

/// Takes the tags of a lease off.
pub async fn untag(fleet: &dyn Fleet, instances: &[Id]) -> Result<(), FleetError> {
    fleet.tag(instances, &Tags::from([(UNTIL_TAG, None), (GROUP_TAG, None), (OWNER_TAG, None)])).await
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicI64, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::fleet::{Inventory, Token};
    use crate::store::StoreId;

    /// A cloud of hundreds of groups, of which each can be asked for.
    #[derive(Debug)]
    struct Many;

    #[async_trait]
    impl Fleet for Many {
        async fn describe(&self) -> Result<Inventory, FleetError> {
            Err(FleetError::Unreachable { source_name: "many", problem: "all of them take minutes".to_owned() })
        }

        async fn describe_some(&self, groups: &[Id]) -> Result<Inventory, FleetError> {
            let of =
                |group: &Id| (group.clone(), GroupInventory { owner: Some("us".to_owned()), ..Default::default() });
            Ok(Inventory { complete: true, groups: groups.iter().map(of).collect(), ..Inventory::default() })
        }

        async fn call(&self, _: &Id, _: &Action, _: &Token) -> Called {
            Called::Done { instances: Vec::new() }
        }

        fn name(&self) -> &'static str {
            "many"
        }
    }

    fn launch() -> Intent {
        let group = Id::new("group", "web").expect("an id");
        Intent {
            token: Token::new(StoreId([1; 16]), &group, 1, 0),
            group,
            generation: 1,
            step: 0,
            epoch: 1,
            action: Action::launch(1, 2),
            written_at: 0,
            valid_until: 60,
        }
    }

    #[tokio::test]
    async fn before_a_change_its_group_alone_is_described() {
        assert!(describe(&Many, &launch(), "us").await.expect("described").complete);
    }

    /// Instances with their tags, and whose were taken off.
    #[derive(Debug)]
    struct Tagged(Vec<Outside>, Mutex<Vec<Id>>);

    #[async_trait]
    impl Fleet for Tagged {
        async fn describe(&self) -> Result<Inventory, FleetError> {
            Ok(Inventory::default())
        }

        async fn outside(&self, _: &Id, instances: &[Id]) -> Result<Vec<Outside>, FleetError> {
            Ok(self.0.iter().filter(|it| instances.contains(&it.instance)).cloned().collect())
        }

        async fn tag(&self, instances: &[Id], tags: &Tags) -> Result<(), FleetError> {
            assert!(tags.values().all(Option::is_none), "{tags:?}");
            self.1.lock().expect("a lock").extend(instances.iter().cloned());
            Ok(())
        }

        fn name(&self) -> &'static str {
            "tagged"
        }
    }

    #[tokio::test]
    async fn the_lease_of_another_installation_is_not_taken_off() {
        let id = |name: &str| Id::new("instance", name).expect("an id");
        let tagged = |name: &str, tags: &[(&str, &str)]| Outside {
            instance: id(name),
            state: RunState::Running,
            group: None,
            in_target_group: None,
            protected: false,
            tags: tags.iter().map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned())).collect(),
        };
        let cloud = Tagged(
            vec![
                tagged("i-ours", &[(UNTIL_TAG, "9"), (GROUP_TAG, "web"), (OWNER_TAG, "us")]),
                tagged("i-half", &[(UNTIL_TAG, "9")]),
                tagged("i-theirs", &[(UNTIL_TAG, "9"), (GROUP_TAG, "web"), (OWNER_TAG, "them")]),
                tagged("i-bare", &[("Name", "web")]),
            ],
            Mutex::default(),
        );
        let named = ["i-ours", "i-half", "i-theirs", "i-bare"].map(id);
        untag_ours(&cloud, &launch().group, &named, "us").await.expect("untagged");
        assert_eq!(*cloud.1.lock().expect("a lock"), [id("i-ours"), id("i-half")]);
    }

    /// A group whose tags are what was said of it last.
    #[derive(Debug)]
    struct Claimed {
        tags: Mutex<(Option<String>, Option<i64>)>,
        now: AtomicI64,
        reach: Reach,
    }

    #[async_trait]
    impl Fleet for Claimed {
        async fn describe(&self) -> Result<Inventory, FleetError> {
            let (owner, claimed) = self.tags.lock().expect("a lock").clone();
            let web = GroupInventory { owner, claimed, ..GroupInventory::default() };
            let groups = BTreeMap::from([(launch().group, web)]);
            let taken_micros = self.now.load(Ordering::Relaxed) * 1_000_000;
            Ok(Inventory { complete: true, taken_micros, groups, ..Inventory::default() })
        }

        async fn tag_group(&self, _: &Id, tags: &Tags) -> Result<(), FleetError> {
            let at = tags[CLAIMED_TAG].as_ref().map(|at| at.parse().expect("a time"));
            *self.tags.lock().expect("a lock") = (tags[OWNER_TAG].clone(), at);
            Ok(())
        }

        fn reach(&self) -> Reach {
            self.reach
        }

        fn name(&self) -> &'static str {
            "claimed"
        }
    }

    #[tokio::test]
    async fn a_group_of_nobodys_is_claimed_first_and_acted_on_when_every_other_claim_would_show() {
        let cloud = Claimed { tags: Mutex::default(), now: AtomicI64::new(10_000), reach: Reach::Cloud };
        let asks = async |owner: &str, now: i64| {
            cloud.now.store(now, Ordering::Relaxed);
            describe(&cloud, &launch(), owner).await.map(|_| ())
        };
        let why = asks("us", 10_000).await.expect_err("claimed, and no more");
        assert!(why.contains("claimed now"), "{why}");
        claim(&cloud, &launch().group, "late").await.expect("asked");
        assert!(asks("us", 10_001).await.expect_err("too early").contains("claimed at 10000"), "it is somebody's");
        // Another read "nobody" in the same moment; its tag came last.
        cloud
            .tag_group(
                &launch().group,
                &Tags::from([(OWNER_TAG, Some("them".to_owned())), (CLAIMED_TAG, Some("10001".to_owned()))]),
            )
            .await
            .expect("tagged");
        assert!(asks("us", 10_200).await.expect_err("theirs").contains("belongs to the installation them"));
        assert!(asks("them", 10_160).await.expect_err("too early").contains("claimed at 10001"));
        assert_eq!(asks("them", 10_161).await, Ok(()));
        assert!(asks("them", 9_900).await.is_err(), "its clock was set back");
        cloud.tag_group(&launch().group, &taken_over("us")).await.expect("tagged");
        assert_eq!(asks("us", 10_162).await, Ok(()), "an explicit call");
        // On this very machine nothing lags.
        let near = Claimed { tags: Mutex::default(), now: AtomicI64::new(10_000), reach: Reach::Loopback };
        claim(&near, &launch().group, "us").await.expect("claimed");
        assert!(describe(&near, &launch(), "us").await.is_ok());
    }

    #[tokio::test]
    async fn what_is_forbidden_at_the_last_moment_is_never_asked_for() {
        let carried = carry_out(&Many, &launch(), "us", 60, async { Err("paused meanwhile".to_owned()) }).await;
        assert_eq!(carried, Called::Withheld { why: "paused meanwhile".to_owned() });
        let carried = carry_out(&Many, &launch(), "us", 60, async { Ok(()) }).await;
        assert_eq!(carried, Called::Done { instances: Vec::new() });
    }
}
