//! Capacity is added with a token or by MinSize, and taken back no lower than the user wants.

use std::sync::Arc;

use async_trait::async_trait;
use foreshadow::fleet::{Action, Budgets, Called, Fleet as _, Found, InMemory, MINIMUM_TAG, Token, Turns};
use foreshadow_proto::convert::Id;
use foreshadow_tests::proxy::{Call, Fault};

use super::world::{World, actions, done, fleet_after, id, ids, none, refusal, token};

fn launched(instances: &[&str]) -> Fault {
    let members: String = instances.iter().map(|id| format!("<member>{id}</member>")).collect();
    let body = format!(
        "<LaunchInstancesResponse><LaunchInstancesResult><Instances><member><InstanceIds>{members}</InstanceIds>\
         </member></Instances></LaunchInstancesResult></LaunchInstancesResponse>"
    );
    Fault::Answer { status: 200, body }
}

#[tokio::test(flavor = "multi_thread")]
async fn minsize_rises_with_the_users_value_in_a_tag_and_falls_no_lower_than_it() -> anyhow::Result<()> {
    let world = World::new().await?;
    let members = world.cloud.group("old", 3).await?;
    let raise = Action::launch(3, 6);
    assert_eq!(world.outcome("old", &raise, 0).await?, Found::NotDone);
    assert_eq!(world.call("old", &raise, 0).await, none());
    let sent = world.proxy.take_changes();
    // A launch configuration: LaunchInstances is not even tried. The tag first.
    assert_eq!(actions(&sent), ["CreateOrUpdateTags", "UpdateAutoScalingGroup"]);
    assert_eq!(
        (sent[0].field("Tags.member.1.Key"), sent[0].field("Tags.member.1.Value")),
        (MINIMUM_TAG, "1 raised to 6")
    );
    assert_eq!(sent[0].field("Tags.member.1.PropagateAtLaunch"), "false");
    assert_eq!((sent[1].field("MinSize"), sent[1].field("DesiredCapacity")), ("6", ""));
    assert_eq!(world.cloud.members("old").await?.len(), 6);
    assert_eq!(world.minimum("old").await?, ("6".to_owned(), Some("1 raised to 6".to_owned())));
    assert_eq!(world.outcome("old", &raise, 0).await?, Found::Done { instances: Vec::new() });

    // Repeated it changes nothing, a smaller one lowers nothing, a larger one keeps the user's value.
    assert_eq!(world.call("old", &raise, 0).await, none());
    assert_eq!(world.call("old", &Action::launch(1, 4), 1).await, none());
    assert!(world.proxy.take_changes().is_empty());
    assert_eq!(world.call("old", &Action::launch(2, 8), 2).await, none());
    assert_eq!(actions(&world.proxy.take_changes()), ["CreateOrUpdateTags", "UpdateAutoScalingGroup"]);
    assert_eq!(world.minimum("old").await?, ("8".to_owned(), Some("1 raised to 6 8".to_owned())));
    let above = world.call("old", &Action::launch(200, 201), 3).await;
    assert!(refusal(&above).contains("MaxSize 200"), "{above:?}");
    assert!(world.proxy.take_changes().is_empty());

    // The inventory shows the user's own minimum.
    let inventory = world.fleet.describe().await?;
    let old = &inventory.groups[&id("old")];
    assert_eq!((old.minimum, old.desired, old.maximum), (1, 8, 200));

    // Detaching lowers it as far as it must, and takes the tag away at the user's value.
    let members = [members, world.cloud.members("old").await?[3..].to_vec()].concat();
    let detach = |names: &[String]| Action::Detach { instances: ids(names) };
    assert_eq!(world.call("old", &detach(&members[..2]), 4).await, done(&members[..2]));
    let sent = world.proxy.take_changes();
    assert_eq!(actions(&sent), ["UpdateAutoScalingGroup", "DetachInstances"]);
    assert_eq!(sent[0].field("MinSize"), "6");
    assert_eq!(world.minimum("old").await?, ("6".to_owned(), Some("1 raised to 6 8".to_owned())));
    let below = world.call("old", &detach(&members[2..8]), 5).await;
    assert!(refusal(&below).contains("MinSize 1"), "{below:?}");
    assert!(world.proxy.take_changes().is_empty());
    assert_eq!(world.call("old", &detach(&members[2..7]), 6).await, done(&members[2..7]));
    assert_eq!(actions(&world.proxy.take_changes()), ["UpdateAutoScalingGroup", "DeleteTags", "DetachInstances"]);
    assert_eq!(world.minimum("old").await?, ("1".to_owned(), None));
    assert_eq!(world.cloud.members("old").await?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_floor_keeps_who_is_there_and_gives_the_users_minimum_back() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.cloud.group("old", 6).await?;
    let floor = |from, to| Action::Floor { from, to };
    assert_eq!(world.outcome("old", &floor(1, 5), 0).await?, Found::NotDone);
    assert_eq!(world.call("old", &floor(1, 5), 0).await, none());
    // The user's own value is safe first; nobody is launched.
    let sent = world.proxy.take_changes();
    assert_eq!(actions(&sent), ["CreateOrUpdateTags", "UpdateAutoScalingGroup"]);
    assert_eq!((sent[1].field("MinSize"), sent[1].field("DesiredCapacity")), ("5", ""));
    assert_eq!(world.minimum("old").await?, ("5".to_owned(), Some("1 raised to 5".to_owned())));
    let old = world.fleet.describe().await?.groups.remove(&id("old"));
    let old = old.ok_or_else(|| anyhow::anyhow!("no group"))?;
    assert_eq!((old.minimum, old.floor, old.desired), (1, Some(5), 6));
    assert_eq!(world.outcome("old", &floor(1, 5), 0).await?, Found::Done { instances: Vec::new() });
    // Repeated it changes nothing; above what is desired it would launch; below the user's own it would take theirs.
    assert_eq!(world.call("old", &floor(1, 5), 0).await, none());
    assert!(world.proxy.take_changes().is_empty());
    for (from, to, why) in [(5, 7, "would launch"), (5, 0, "below the MinSize 1"), (3, 4, "by now, not 3")] {
        let called = world.call("old", &floor(from, to), 1).await;
        assert!(refusal(&called).contains(why), "{called:?}");
    }
    assert!(world.proxy.take_changes().is_empty());
    assert_eq!(world.call("old", &floor(5, 3), 2).await, none());
    assert_eq!(actions(&world.proxy.take_changes()), ["CreateOrUpdateTags", "UpdateAutoScalingGroup"]);
    assert_eq!(world.minimum("old").await?, ("3".to_owned(), Some("1 raised to 5 3".to_owned())));
    assert_eq!(world.call("old", &floor(3, 1), 3).await, none());
    assert_eq!(actions(&world.proxy.take_changes()), ["UpdateAutoScalingGroup", "DeleteTags"]);
    assert_eq!(world.minimum("old").await?, ("1".to_owned(), None));
    assert_eq!(world.cloud.members("old").await?.len(), 6);
    // A MinSize that a person gave is not ours to lower.
    let theirs = world.call("old", &floor(1, 0), 4).await;
    assert!(refusal(&theirs).contains("below the MinSize 1"), "{theirs:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_value_that_cannot_be_kept_is_never_overwritten() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.cloud.group("old", 2).await?;
    let raise = Action::launch(2, 4);
    for fault in [Fault::THROTTLE, Fault::Error { status: 403, code: "AccessDenied" }, Fault::FAIL_AFTER] {
        let throttled = fault == Fault::THROTTLE;
        world.proxy.next("CreateOrUpdateTags", [fault]);
        let called = world.call("old", &raise, 0).await;
        assert!(called == Called::Throttled || !throttled && !refusal(&called).is_empty(), "{called:?}");
    }
    // The tag is written, and reads back as nothing.
    let empty = "<DescribeAutoScalingGroupsResponse><DescribeAutoScalingGroupsResult><AutoScalingGroups><member>\
                 <AutoScalingGroupName>old</AutoScalingGroupName><MinSize>1</MinSize><MaxSize>200</MaxSize>\
                 <DesiredCapacity>2</DesiredCapacity><LaunchConfigurationName>test</LaunchConfigurationName>\
                 <CreatedTime>2026-01-01T00:00:00Z</CreatedTime></member></AutoScalingGroups>\
                 </DescribeAutoScalingGroupsResult></DescribeAutoScalingGroupsResponse>";
    let answer = || Fault::Answer { status: 200, body: empty.to_owned() };
    world.proxy.next("DescribeAutoScalingGroups", [answer(), answer()]);
    let called = world.call("old", &raise, 0).await;
    assert!(refusal(&called).contains("nothing was changed"), "{called:?}");
    assert!(world.proxy.changes().iter().all(|call| call.action == "CreateOrUpdateTags"));
    assert_eq!(world.minimum("old").await?.0, "1");
    Ok(())
}

/// A tag that was left over, and a MinSize that somebody sets while ours stands: neither is what we raised, so it is the user's own.
#[tokio::test(flavor = "multi_thread")]
async fn a_minsize_that_we_never_raised_to_is_the_users_whatever_the_tag_says() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.cloud.group("old", 6).await?;
    let set = async |minimum: &str| {
        let fields = [("Action", "UpdateAutoScalingGroup"), ("AutoScalingGroupName", "old"), ("MinSize", minimum)];
        world.cloud.call("autoscaling", &fields).await.map(drop)
    };
    let own = async || -> anyhow::Result<Option<u32>> {
        Ok(world.fleet.describe().await?.groups.get(&id("old")).map(|old| old.minimum))
    };
    let floor = |from, to| Action::Floor { from, to };
    assert_eq!(world.call("old", &floor(1, 5), 0).await, none());
    assert_eq!(own().await?, Some(1));
    // Whoever gave it back died before the tag was taken off.
    world.proxy.next("DeleteTags", [Fault::Error { status: 500, code: "InternalFailure" }]);
    assert_eq!(world.call("old", &floor(5, 1), 1).await, none());
    assert_eq!(world.minimum("old").await?, ("1".to_owned(), Some("1 raised to 5".to_owned())));
    for (minimum, theirs) in [("3", 3), ("4", 4)] {
        set(minimum).await?;
        assert_eq!(own().await?, Some(theirs));
        let lowered = world.call("old", &floor(theirs, 1), 2).await;
        assert!(refusal(&lowered).contains(&format!("below the MinSize {minimum}")), "{lowered:?}");
    }
    // Raised above it once more it comes back to what the user set last.
    assert_eq!(world.call("old", &floor(4, 6), 3).await, none());
    assert_eq!((own().await?, world.minimum("old").await?.1.as_deref()), (Some(4), Some("4 raised to 6")));
    assert_eq!(world.call("old", &floor(6, 4), 4).await, none());
    assert_eq!(world.minimum("old").await?, ("4".to_owned(), None));
    Ok(())
}

/// A store that keeps nothing.
#[derive(Debug)]
struct Full;

#[async_trait]
impl Turns for Full {
    async fn turn(&self, _: &Token, _: usize) -> Result<usize, String> {
        Ok(0)
    }

    async fn keep(&self, _: &Token, _: usize, _: usize) -> Result<(), String> {
        Err("the disk is full".to_owned())
    }
}

fn one_share() -> Vec<(Id, u32)> {
    vec![(id("us-east-1a"), 2), (id("us-east-1b"), 0)]
}

/// A launch over zones is a call for each, under a token of its own that is the same when all of it is repeated; what one zone
/// does not have another is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_launch_over_zones_asks_each_for_its_share_and_the_others_where_there_is_nothing() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.cloud.template_group("web", 3, &["us-east-1a", "us-east-1b"]).await?;
    let inventory = world.fleet.describe().await?;
    assert_eq!(inventory.groups[&id("web")].zones, ids(&["us-east-1a", "us-east-1b"].map(str::to_owned)));
    let zones = vec![(id("us-east-1a"), 2), (id("us-east-1b"), 1)];
    let launch = Action::Launch { count: 3, size: 6, zones };
    let first = token("web", 0);
    let asked = |calls: &[Call]| -> Vec<(String, String, String)> {
        let of = |call: &Call, name: &str| call.field(name).to_owned();
        let names = |call: &Call| {
            (of(call, "AvailabilityZones.member.1"), of(call, "RequestedCapacity"), of(call, "ClientToken"))
        };
        calls.iter().map(names).collect()
    };
    let expected =
        |zone: &str, count: &str, which: &str| (zone.to_owned(), count.to_owned(), format!("{first}-{which}"));
    let all = || ["i-1", "i-2", "i-3"].map(str::to_owned);
    let (a, b) = (launched(&["i-1", "i-2"]), launched(&["i-3"]));
    world.proxy.next("LaunchInstances", [a.clone(), b.clone()]);
    assert_eq!(world.call("web", &launch, 0).await, done(&all()));
    let even = [expected("us-east-1a", "2", "0-0"), expected("us-east-1b", "1", "1-0")];
    assert_eq!(asked(&world.proxy.take_changes()), even);
    // The answer for the second is lost: all of it is repeated, with the same tokens.
    world.proxy.next("LaunchInstances", [a.clone(), Fault::Error { status: 500, code: "InternalFailure" }]);
    assert_eq!(world.call("web", &launch, 0).await, Called::Unknown);
    assert_eq!(asked(&world.proxy.take_changes()), even);
    // Throttled half way: what was launched is done, the next plan asks for the rest.
    world.proxy.next("LaunchInstances", [a.clone(), Fault::THROTTLE]);
    assert_eq!(world.call("web", &launch, 0).await, done(&all()[..2]));
    world.proxy.take_changes();
    world.proxy.next("LaunchInstances", [launched(&[]), a, b]);
    assert_eq!(world.call("web", &launch, 0).await, done(&all()));
    let around =
        [expected("us-east-1a", "2", "0-0"), expected("us-east-1b", "2", "0-1"), expected("us-east-1b", "1", "1-0")];
    assert_eq!(asked(&world.proxy.take_changes()), around);
    // The answer of another zone's turn is lost, with the process or without: whoever repeats it asks for that one first, whatever
    // the first zone has by now. What cannot be written down is not asked for.
    let lost = || Fault::Error { status: 500, code: "InternalFailure" };
    let turns: Arc<dyn Turns> = Arc::new(InMemory::default());
    let budgets = Budgets::default();
    let process = || fleet_after(&world.proxy.url, &["web"], &budgets, turns.clone(), world.clock.clone());
    for (step, dies) in [(1, false), (2, true)] {
        let token = token("web", step);
        let expected = around
            .iter()
            .map(|(zone, count, which)| (zone.clone(), count.clone(), which.replace(first.as_str(), token.as_str())));
        let expected: Vec<_> = expected.collect();
        let fleet = process().await;
        world.proxy.next("LaunchInstances", [launched(&[]), lost()]);
        assert_eq!(fleet.call(&id("web"), &launch, &token).await, Called::Unknown);
        assert_eq!(asked(&world.proxy.take_changes()), expected[..2]);
        let fleet = if dies { process().await } else { fleet };
        world.proxy.next("LaunchInstances", [launched(&["i-1", "i-2"]), launched(&["i-3"])]);
        assert_eq!(fleet.call(&id("web"), &launch, &token).await, done(&all()));
        assert_eq!(asked(&world.proxy.take_changes()), expected[1..]);
    }
    let full: Arc<dyn Turns> = Arc::new(Full);
    let fleet = fleet_after(&world.proxy.url, &["web"], &Budgets::default(), full, world.clock.clone()).await;
    world.proxy.next("LaunchInstances", [launched(&[]), launched(&["i-3"])]);
    assert_eq!(fleet.call(&id("web"), &launch, &token("web", 3)).await, done(&all()[2..]));
    assert_eq!(world.proxy.take_changes().len(), 2, "no other zone is asked for what the first does not have");
    world.proxy.next("LaunchInstances", [launched(&[])]);
    let called =
        fleet.call(&id("web"), &Action::Launch { count: 2, size: 5, zones: one_share() }, &token("web", 4)).await;
    assert!(refusal(&called).contains("cannot be written down: the disk is full"), "{called:?}");
    world.proxy.take_changes();
    world.proxy.next("LaunchInstances", [launched(&[]), launched(&[]), launched(&[]), launched(&[])]);
    let called = world.call("web", &launch, 5).await;
    assert!(refusal(&called).contains("us-east-1a: no instance was launched"), "{called:?}");
    Ok(())
}

/// The emptiest zone is the one that has nothing to give: it would be asked for ever, and nobody would come.
#[tokio::test(flavor = "multi_thread")]
async fn a_zone_without_capacity_stops_no_launch_that_was_meant_for_it_alone() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.cloud.template_group("web", 3, &["us-east-1a", "us-east-1b", "us-east-1c"]).await?;
    let zones = |shares: [u32; 3]| ["us-east-1a", "us-east-1b", "us-east-1c"].map(id).into_iter().zip(shares).collect();
    let launch = |shares: [u32; 3]| Action::Launch { count: 2, size: 5, zones: zones(shares) };
    let asked = || -> Vec<(String, String, String)> {
        let of = |call: &Call, name: &str| call.field(name).to_owned();
        let names = |call: &Call| {
            (of(call, "AvailabilityZones.member.1"), of(call, "RequestedCapacity"), of(call, "ClientToken"))
        };
        world.proxy.take_changes().iter().map(names).collect()
    };
    let turn = |step: u32, zone: &str, count: &str, which: &str| {
        (format!("us-east-1{zone}"), count.to_owned(), format!("{}-{which}", token("web", step)))
    };
    let both = ["i-1", "i-2"].map(str::to_owned);
    let lost = Fault::Error { status: 500, code: "InternalFailure" };
    let one_zone = |step| [turn(step, "a", "2", "0-0"), turn(step, "b", "2", "0-1")];
    world.proxy.next("LaunchInstances", [launched(&[]), launched(&["i-1", "i-2"])]);
    assert_eq!(world.call("web", &launch([2, 0, 0]), 0).await, done(&both));
    assert_eq!(asked(), one_zone(0));
    world.proxy.next("LaunchInstances", [launched(&[]), lost]);
    assert_eq!(world.call("web", &launch([2, 0, 0]), 1).await, Called::Unknown);
    assert_eq!(asked(), one_zone(1));
    world.proxy.next("LaunchInstances", [launched(&["i-1", "i-2"])]);
    assert_eq!(world.call("web", &launch([2, 0, 0]), 1).await, done(&both));
    assert_eq!(asked(), one_zone(1)[1..], "what may have been done is asked for first");
    // Zones with a share come before the one that has enough, which is asked for no share of its own.
    world.proxy.next("LaunchInstances", [launched(&[]), launched(&[]), launched(&["i-1"]), launched(&["i-2"])]);
    assert_eq!(world.call("web", &launch([1, 0, 1]), 2).await, done(&both));
    let all = [("a", "0-0"), ("c", "0-1"), ("b", "0-2"), ("c", "1-0")].map(|(zone, which)| turn(2, zone, "1", which));
    assert_eq!(asked(), all);
    world.proxy.next("LaunchInstances", [launched(&[]), launched(&[]), launched(&[])]);
    let called = world.call("web", &launch([2, 0, 0]), 3).await;
    assert!(refusal(&called).contains("us-east-1c: no instance was launched"), "all were asked: {called:?}");
    assert_eq!(asked().len(), 3);
    // An intent of before names the one zone alone: it is repeated as it was.
    let old = Action::Launch { count: 2, size: 5, zones: vec![(id("us-east-1a"), 2)] };
    world.proxy.next("LaunchInstances", [launched(&["i-1", "i-2"])]);
    assert_eq!(world.call("web", &old, 0).await, done(&both));
    assert_eq!(asked().first().map(|(_, _, token)| token.clone()), Some(token("web", 0).to_string()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn launches_carry_their_token_and_one_zone_and_fall_back_where_the_call_is_not_known() -> anyhow::Result<()> {
    let world = World::new().await?;
    // The local AWS puts all of them into one zone, as it likes.
    world.cloud.template_group("web", 3, &["us-east-1a", "us-east-1b"]).await?;
    let inventory = world.fleet.describe().await?;
    let members = &inventory.groups[&id("web")].members;
    let in_a = members.iter().filter(|member| member.zone == Some(id("us-east-1a"))).count();
    let (fewest, most) = if in_a < 2 { ("us-east-1a", "us-east-1b") } else { ("us-east-1b", "us-east-1a") };
    let launch = Action::launch(2, 5);
    let mismatch = || Fault::Error { status: 400, code: "IdempotentParameterMismatch" };

    world.proxy.next("LaunchInstances", [launched(&["i-1", "i-2"])]);
    assert_eq!(world.call("web", &launch, 0).await, done(&["i-1".to_owned(), "i-2".to_owned()]));
    let sent = world.proxy.take_changes();
    assert_eq!(actions(&sent), ["LaunchInstances"]);
    let first = token("web", 0);
    for (field, value) in [
        ("ClientToken", first.as_str()),
        ("RequestedCapacity", "2"),
        ("AvailabilityZones.member.1", fewest),
        ("AvailabilityZones.member.2", ""),
        ("RetryStrategy", "none"),
    ] {
        assert_eq!(sent[0].field(field), value, "{field}");
    }
    // The token was used when another zone had the fewest.
    world.proxy.next("LaunchInstances", [mismatch(), launched(&["i-1", "i-2"])]);
    assert_eq!(world.call("web", &launch, 0).await, done(&["i-1".to_owned(), "i-2".to_owned()]));
    let zones = |calls: &[Call]| -> Vec<String> {
        calls.iter().map(|call| call.field("AvailabilityZones.member.1").to_owned()).collect()
    };
    assert_eq!(zones(&world.proxy.take_changes()), [fewest, most]);
    world.proxy.next("LaunchInstances", [mismatch(), mismatch()]);
    assert_eq!(world.call("web", &launch, 0).await, Called::Unknown);

    // A cloud that fails is not a cloud without the call.
    world.proxy.take_changes();
    let in_progress = Fault::Error { status: 400, code: "IdempotentCallInProgress" };
    let failed = Fault::Error { status: 500, code: "InternalFailure" };
    let contention = Fault::Error { status: 500, code: "ResourceContention" };
    world.proxy.next("LaunchInstances", [failed, contention, in_progress, Fault::THROTTLE]);
    for called in [Called::Unknown, Called::Unknown, Called::Unknown, Called::Throttled] {
        assert_eq!(world.call("web", &launch, 1).await, called);
    }
    let denied = Fault::Error { status: 403, code: "AccessDenied" };
    let short = "<LaunchInstancesResponse><LaunchInstancesResult><Errors><member><ErrorCode>\
                 InsufficientInstanceCapacity</ErrorCode><ErrorMessage>no m5.large</ErrorMessage></member></Errors>\
                 </LaunchInstancesResult></LaunchInstancesResponse>";
    let empty = Fault::Answer { status: 200, body: short.to_owned() };
    world.proxy.next("LaunchInstances", [denied, empty]);
    let called = world.call("web", &launch, 1).await;
    assert!(refusal(&called).contains("grant autoscaling:LaunchInstances"), "{called:?}");
    let called = world.call("web", &launch, 1).await;
    assert!(refusal(&called).contains("InsufficientInstanceCapacity: no m5.large"), "{called:?}");
    // One call each: nothing was tried again behind our back, and MinSize is as it was.
    assert_eq!(actions(&world.proxy.take_changes()), ["LaunchInstances"; 6]);

    // This cloud does not know the call: by MinSize, and not asked again.
    assert_eq!(world.call("web", &launch, 2).await, none());
    let sent = world.proxy.take_changes();
    assert_eq!(actions(&sent), ["LaunchInstances", "CreateOrUpdateTags", "UpdateAutoScalingGroup"]);
    assert_eq!(world.cloud.members("web").await?.len(), 5);
    assert_eq!(world.call("web", &Action::launch(1, 6), 3).await, none());
    assert_eq!(actions(&world.proxy.take_changes()), ["CreateOrUpdateTags", "UpdateAutoScalingGroup"]);
    Ok(())
}
