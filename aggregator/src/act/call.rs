//! The one place that changes anything: an intent that was checked is carried out, its tags first.
//!
//! Whoever was outside keeps the tags of its group and owner until it is known to be inside: by them alone may it be tagged,
//! attached or ended at all (`deploy/aws/act-policy.json`).

use std::collections::{BTreeMap, BTreeSet};

use foreshadow_proto::convert::Id;

use super::journal::Intent;
use crate::fleet::{
    Action, Called, Fleet, FleetError, GROUP_TAG, GroupInventory, OWNER_TAG, Outside, RunState, Tags, UNTIL_TAG,
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

/// Describes afresh what an intent concerns. Claims the group when nobody owns it: the tag is set and
/// read back, so that of two installations one wins.
pub async fn describe(fleet: &dyn Fleet, intent: &Intent, owner: &str) -> Result<Fresh, String> {
    let mut fresh = look(fleet, intent).await?;
    if fresh.group.owner.is_none() {
        let tags = Tags::from([(OWNER_TAG, Some(owner.to_owned()))]);
        fleet.tag_group(&intent.group, &tags).await.map_err(|error| format!("the group cannot be claimed: {error}"))?;
        fresh = look(fleet, intent).await?;
    }
    match &fresh.group.owner {
        Some(found) if found == owner => Ok(fresh),
        Some(other) => Err(format!("the group belongs to the installation {other}; taking over is an explicit call")),
        None => Err("the group was claimed and does not show it yet".to_owned()),
    }
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

/// Takes the lease off what is no shadow of ours any more.
pub async fn untag(fleet: &dyn Fleet, instances: &[Id]) -> Result<(), FleetError> {
    fleet.tag(instances, &Tags::from([(UNTIL_TAG, None), (GROUP_TAG, None), (OWNER_TAG, None)])).await
}

#[cfg(test)]
mod tests {
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

    #[tokio::test]
    async fn what_is_forbidden_at_the_last_moment_is_never_asked_for() {
        let carried = carry_out(&Many, &launch(), "us", 60, async { Err("paused meanwhile".to_owned()) }).await;
        assert_eq!(carried, Called::Withheld { why: "paused meanwhile".to_owned() });
        let carried = carry_out(&Many, &launch(), "us", 60, async { Ok(()) }).await;
        assert_eq!(carried, Called::Done { instances: Vec::new() });
    }
}
