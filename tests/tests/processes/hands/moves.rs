//! Instances leave, come back and end, by id and in batches.

use anyhow::Context as _;
use foreshadow::fleet::{Action, Called, Fleet as _, Found, Reach};
use foreshadow_tests::proxy::Fault;

use super::world::{World, actions, done, id, ids, none, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn instances_leave_and_come_back_in_batches_of_twenty_and_end_by_id() -> anyhow::Result<()> {
    let world = World::new().await?;
    let members = world.cloud.template_group("web", 30, &["us-east-1a"]).await?;
    world.proxy.take_changes();
    assert_eq!(world.fleet.reach(), Reach::Loopback);
    let out = &members[..25];
    let instances = ids(out);

    let detach = Action::Detach { instances: instances.clone() };
    assert_eq!(world.call("web", &detach, 0).await, done(out));
    let sent = world.proxy.take_changes();
    assert_eq!(actions(&sent), ["DetachInstances", "DetachInstances"]);
    let batches: Vec<Vec<&str>> = sent.iter().map(|call| call.list("InstanceIds.member")).collect();
    assert_eq!((batches[0].len(), batches[1].len()), (20, 5));
    assert_eq!(batches.concat(), out);
    assert!(sent.iter().all(|call| call.field("ShouldDecrementDesiredCapacity") == "true"));
    assert_eq!(world.cloud.members("web").await?, members[25..]);
    assert_eq!(world.outcome("web", &detach, 0).await?, Found::Done { instances: instances.clone() });

    let attach = Action::Attach { instances: instances.clone() };
    assert_eq!(world.call("web", &attach, 1).await, done(out));
    let sent = world.proxy.take_changes();
    assert_eq!(actions(&sent), ["AttachInstances", "AttachInstances"]);
    assert_eq!(sent.iter().flat_map(|call| call.list("InstanceIds.member")).collect::<Vec<_>>(), out);
    assert_eq!(world.cloud.members("web").await?.len(), 30);
    assert_eq!(world.outcome("web", &attach, 1).await?, Found::Done { instances: instances.clone() });

    // Who is in a group is not terminated, and nobody else with it.
    let terminate = Action::Terminate { instances: ids(&out[..2]) };
    let refused = world.call("web", &terminate, 2).await;
    assert!(refusal(&refused).contains("is in the group web"), "{refused:?}");
    assert_eq!(world.call("web", &Action::Detach { instances: ids(&out[..1]) }, 3).await, done(&out[..1]));
    world.proxy.take_changes();
    assert!(refusal(&world.call("web", &terminate, 2).await).contains(out[1].as_str()));
    assert!(world.proxy.take_changes().is_empty());
    let terminate = Action::Terminate { instances: ids(&out[..1]) };
    assert_eq!(world.call("web", &terminate, 4).await, done(&out[..1]));
    let sent = world.proxy.take_changes();
    assert_eq!((actions(&sent), sent[0].list("InstanceId")), (vec!["TerminateInstances"], vec![out[0].as_str()]));
    assert_eq!(world.outcome("web", &terminate, 4).await?, Found::Done { instances: ids(&out[..1]) });

    // An empty list means nothing, and a group that is not ours is left alone.
    for empty in [
        Action::Detach { instances: Vec::new() },
        Action::Attach { instances: Vec::new() },
        Action::Terminate { instances: Vec::new() },
        Action::launch(0, 0),
    ] {
        assert_eq!(world.call("web", &empty, 5).await, none());
    }
    assert!(refusal(&world.call("other", &detach, 6).await).contains("not in inventory.aws.groups"));
    assert!(world.proxy.take_changes().is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn standby_goes_in_batches_and_nobody_ends_in_it() -> anyhow::Result<()> {
    let world = World::new().await?;
    let members = world.cloud.template_group("web", 25, &["us-east-1a"]).await?;
    world.proxy.take_changes();
    let out = &members[..22];
    let instances = ids(out);
    let enter = Action::EnterStandby { instances: instances.clone() };
    assert_eq!(world.call("web", &enter, 0).await, done(out));
    let sent = world.proxy.take_changes();
    assert_eq!(actions(&sent), ["EnterStandby", "EnterStandby"]);
    assert!(sent.iter().all(|call| call.field("ShouldDecrementDesiredCapacity") == "true"));
    assert_eq!((sent[0].list("InstanceIds.member").len(), sent[1].list("InstanceIds.member").len()), (20, 2));
    assert_eq!(world.outcome("web", &enter, 0).await?, Found::Done { instances: instances.clone() });
    assert_eq!(world.cloud.members("web").await?.len(), 25, "they are in their group");

    // In it nobody is terminated, nor detached as if it served; it leaves with the desired capacity as it is.
    let one = ids(&out[..1]);
    let terminate = Action::Terminate { instances: one.clone() };
    assert!(refusal(&world.call("web", &terminate, 1).await).contains("is in the group web"));
    let detach = Action::Detach { instances: one.clone() };
    assert!(refusal(&world.call("web", &detach, 2).await).contains("Standby, not InService"));
    let serving = Action::Leave { instances: ids(&members[24..]) };
    assert!(refusal(&world.call("web", &serving, 3).await).contains("not in standby"));
    assert!(world.proxy.take_changes().is_empty());
    let leave = Action::Leave { instances: one.clone() };
    assert_eq!(world.call("web", &leave, 4).await, done(&out[..1]));
    let sent = world.proxy.take_changes();
    assert_eq!((actions(&sent), sent[0].field("ShouldDecrementDesiredCapacity")), (vec!["DetachInstances"], "false"));
    assert_eq!(world.outcome("web", &leave, 4).await?, Found::Done { instances: one.clone() });
    assert_eq!(world.call("web", &terminate, 5).await, done(&out[..1]));

    let back = Action::ExitStandby { instances: instances[1..].to_vec() };
    assert_eq!(world.call("web", &back, 6).await, done(&out[1..]));
    assert_eq!(world.outcome("web", &back, 6).await?, Found::Done { instances: instances[1..].to_vec() });
    assert!(refusal(&world.call("web", &back, 7).await).contains("InService, not in standby"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_start_the_provider_off_or_cannot_come_back_is_refused_beforehand() -> anyhow::Result<()> {
    let world = World::new().await?;
    let members = world.cloud.template_group("web", 4, &["us-east-1a"]).await?;
    let change = async |fields: &[(&str, &str)]| world.cloud.call("autoscaling", fields).await;
    let one = ids(&members[..1]);
    assert_eq!(world.call("web", &Action::Detach { instances: one.clone() }, 0).await, done(&members[..1]));
    // The group moves to another zone: what was detached from the old one does not come back.
    change(&[
        ("Action", "UpdateAutoScalingGroup"),
        ("AutoScalingGroupName", "web"),
        ("AvailabilityZones.member.1", "us-east-1b"),
        ("AvailabilityZones.member.2", "us-east-1c"),
    ])
    .await?;
    world.proxy.take_changes();
    let attach = Action::Attach { instances: one.clone() };
    let refused = world.call("web", &attach, 1).await;
    assert!(refusal(&refused).contains("us-east-1a, which the group does not have"), "{refused:?}");
    change(&[
        ("Action", "UpdateAutoScalingGroup"),
        ("AutoScalingGroupName", "web"),
        ("AvailabilityZones.member.1", "us-east-1a"),
    ])
    .await?;
    let gone = "<DescribeImagesResponse><requestId>x</requestId><imagesSet/></DescribeImagesResponse>".to_owned();
    world.proxy.next("DescribeImages", [Fault::Answer { status: 200, body: gone }]);
    let refused = world.call("web", &attach, 2).await;
    assert!(refusal(&refused).contains("the image ami-12c6146b is gone"), "{refused:?}");
    world.proxy.next("DescribeInstances", [Fault::LIMIT]);
    assert_eq!(world.call("web", &attach, 3).await, Called::Throttled, "what cannot be looked at is not done");
    let busy = Fault::Error { status: 400, code: "ScalingActivityInProgress" };
    world.proxy.next("AttachInstances", [busy]);
    assert_eq!(world.call("web", &attach, 4).await, Called::Throttled);
    assert!(world.proxy.take_changes().iter().all(|call| call.action == "AttachInstances"));
    assert_eq!(world.call("web", &attach, 5).await, done(&members[..1]));
    Ok(())
}

/// Three in each of two zones: two of one zone at once would have the provider launch there and end somebody in the other.
#[tokio::test(flavor = "multi_thread")]
async fn who_would_leave_zones_that_the_provider_evens_out_is_refused_beforehand() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.cloud.template_group("web", 3, &["us-east-1a"]).await?;
    // The local AWS launches all in one zone: three in each, one zone after the other.
    for zones in [&["us-east-1b"][..], &["us-east-1a", "us-east-1b"]] {
        let names: Vec<String> = (1..=zones.len()).map(|index| format!("AvailabilityZones.member.{index}")).collect();
        let mut fields =
            vec![("Action", "UpdateAutoScalingGroup"), ("AutoScalingGroupName", "web"), ("DesiredCapacity", "6")];
        fields.extend(names.iter().map(String::as_str).zip(zones.iter().copied()));
        world.cloud.call("autoscaling", &fields).await?;
    }
    world.proxy.take_changes();
    let web = async || Ok::<_, anyhow::Error>(world.fleet.describe().await?.groups.remove(&id("web")));
    let found = web().await?.context("the group")?;
    assert!(found.evens_zones);
    let of = |zone: &str| -> Vec<String> {
        let there = found.members.iter().filter(|member| member.zone == Some(id(zone)));
        there.map(|member| member.instance.to_string()).collect()
    };
    let (a, b) = (of("us-east-1a"), of("us-east-1b"));
    assert_eq!((a.len(), b.len()), (3, 3));
    for action in [Action::Detach { instances: ids(&a[..2]) }, Action::EnterStandby { instances: ids(&a[..2]) }] {
        let refused = world.call("web", &action, 0).await;
        let why = refusal(&refused);
        assert!(why.contains("AZRebalance") && why.contains("nothing was changed"), "{action:?}: {refused:?}");
    }
    assert!(world.proxy.take_changes().is_empty(), "nothing is sent");
    // One of each leaves them even, and a difference of one the provider leaves alone.
    let both = [a[0].clone(), b[0].clone()];
    assert_eq!(world.call("web", &Action::Detach { instances: ids(&both) }, 1).await, done(&both));
    assert_eq!(world.call("web", &Action::EnterStandby { instances: ids(&a[1..2]) }, 2).await, done(&a[1..2]));
    assert_eq!(actions(&world.proxy.take_changes()), ["DetachInstances", "EnterStandby"]);
    let last = Action::Detach { instances: ids(&a[2..]) };
    let refused = world.call("web", &last, 3).await;
    assert!(refusal(&refused).contains("AZRebalance"), "who stands by does not count: {refused:?}");
    assert!(world.proxy.take_changes().is_empty());
    // Where it is suspended the provider ends nobody for that.
    let suspend =
        [("Action", "SuspendProcesses"), ("AutoScalingGroupName", "web"), ("ScalingProcesses.member.1", "AZRebalance")];
    world.cloud.call("autoscaling", &suspend).await?;
    assert!(!web().await?.context("the group")?.evens_zones);
    assert_eq!(world.call("web", &last, 4).await, done(&a[2..]));
    assert_eq!(actions(&world.proxy.take_changes()), ["DetachInstances"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_local_aws_would_let_pass_is_refused_before_it_is_sent() -> anyhow::Result<()> {
    let world = World::new().await?;
    let members = world.cloud.template_group("web", 3, &["us-east-1a"]).await?;
    let change = async |fields: &[(&str, &str)]| world.cloud.call("autoscaling", fields).await;
    let detach = |names: &[String]| Action::Detach { instances: ids(names) };

    let stranger = vec!["i-0123456789abcdef0".to_owned()];
    assert!(refusal(&world.call("web", &detach(&stranger), 0).await).contains("not in the group"));
    assert!(refusal(&world.call("old", &detach(&stranger), 0).await).contains("no Auto Scaling group is called old"));
    let below = world.call("web", &detach(&members), 1).await;
    assert!(refusal(&below).contains("below its MinSize 1"), "{below:?}");
    let inside = world.call("web", &Action::Attach { instances: ids(&members[..1]) }, 2).await;
    assert!(refusal(&inside).contains("in the group already"), "{inside:?}");
    change(&[
        ("Action", "EnterStandby"),
        ("AutoScalingGroupName", "web"),
        ("InstanceIds.member.1", &members[0]),
        ("ShouldDecrementDesiredCapacity", "true"),
    ])
    .await?;
    let standby = world.call("web", &detach(&members[..1]), 3).await;
    assert!(refusal(&standby).contains("Standby, not InService"), "{standby:?}");
    assert!(world.proxy.changes().is_empty(), "{:?}", world.proxy.changes());

    assert_eq!(world.call("web", &detach(&members[1..2]), 4).await, done(&members[1..2]));
    change(&[("Action", "UpdateAutoScalingGroup"), ("AutoScalingGroupName", "web"), ("MaxSize", "1")]).await?;
    world.proxy.take_changes();
    let above = world.call("web", &Action::Attach { instances: ids(&members[1..2]) }, 5).await;
    assert!(refusal(&above).contains("MaxSize 1"), "{above:?}");
    let above = world.call("web", &Action::launch(1, 2), 6).await;
    assert!(refusal(&above).contains("raise MaxSize"), "{above:?}");
    let sent = world.proxy.take_changes();
    assert_eq!(actions(&sent), ["LaunchInstances"], "the call this cloud does not have, and nothing else");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_counts_in_units_is_observed_and_never_changed() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.cloud.template_group("plain", 1, &["us-east-1a"]).await?;
    for (name, weight) in [("old", "1"), ("web", "2")] {
        let group = [
            ("Action", "CreateAutoScalingGroup"),
            ("AutoScalingGroupName", name),
            ("MixedInstancesPolicy.LaunchTemplate.LaunchTemplateSpecification.LaunchTemplateName", "plain"),
            ("MixedInstancesPolicy.LaunchTemplate.Overrides.member.1.InstanceType", "m5.large"),
            ("MixedInstancesPolicy.LaunchTemplate.Overrides.member.1.WeightedCapacity", weight),
            ("MinSize", "1"),
            ("MaxSize", "20"),
            ("DesiredCapacity", "4"),
            ("AvailabilityZones.member.1", "us-east-1a"),
        ];
        world.cloud.call("autoscaling", &group).await?;
    }
    let inventory = world.fleet.describe().await?;
    let told: Vec<_> = inventory.problems.iter().filter(|problem| problem.contains("WeightedCapacity")).collect();
    assert!(told.len() == 1 && told[0].starts_with("web counts in units"), "{:?}", inventory.problems);
    let members = world.cloud.members("web").await?;
    assert_eq!(inventory.groups[&id("web")].lacking(), 0, "units are no instances that are on their way");
    world.proxy.take_changes();
    for action in [
        Action::launch(1, 5),
        Action::Detach { instances: ids(&members[..1]) },
        Action::EnterStandby { instances: ids(&members[..1]) },
        Action::Floor { from: 1, to: 2 },
    ] {
        let refused = world.call("web", &action, 0).await;
        assert!(refusal(&refused).contains("counts in units (WeightedCapacity)"), "{action:?}: {refused:?}");
    }
    assert!(world.proxy.take_changes().is_empty());
    let ones = world.cloud.members("old").await?;
    assert_eq!(world.call("old", &Action::Detach { instances: ids(&ones[..1]) }, 1).await, done(&ones[..1]));
    Ok(())
}
