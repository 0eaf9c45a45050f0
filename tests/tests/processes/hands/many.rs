//! Many groups at once: what is asked, what one group that is not there does to the others, and that a throttle is everybody's.

use std::time::Duration;

use anyhow::Context as _;
use foreshadow::fleet::{Budgets, Called, Fleet as _};
use foreshadow_tests::proxy::Fault;

use super::world::{World, fleet_of, id, ids, inner, token};

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_not_there_says_nothing_of_the_others_and_many_are_asked_together() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.cloud.group("g-0", 1).await?;
    for name in ["g-1", "g-2", "g-3", "g-4"] {
        let make = [
            ("Action", "CreateAutoScalingGroup"),
            ("AutoScalingGroupName", name),
            ("LaunchConfigurationName", "test"),
            ("MinSize", "1"),
            ("MaxSize", "9"),
            ("AvailabilityZones.member.1", "us-east-1a"),
        ];
        world.cloud.call("autoscaling", &make).await?;
    }
    let policy = [
        ("Action", "PutScalingPolicy"),
        ("AutoScalingGroupName", "g-3"),
        ("PolicyName", "p"),
        ("PolicyType", "SimpleScaling"),
        ("AdjustmentType", "ChangeInCapacity"),
        ("ScalingAdjustment", "-1"),
    ];
    world.cloud.call("autoscaling", &policy).await?;
    let scheduled = [
        ("Action", "PutScheduledUpdateGroupAction"),
        ("AutoScalingGroupName", "g-2"),
        ("ScheduledActionName", "night"),
        ("DesiredCapacity", "1"),
        ("Recurrence", "0 22 * * *"),
    ];
    world.cloud.call("autoscaling", &scheduled).await?;
    let names = ["g-0", "g-1", "g-2", "g-3", "g-4", "g-misspelt"];
    let fleet = fleet_of(&world.proxy.url, &names, &Budgets::default(), world.clock.clone()).await;
    let whole = fleet.describe().await?;
    assert!(whole.complete, "every page was read: {:?}", whole.problems);
    assert_eq!(whole.missing.iter().map(String::as_str).collect::<Vec<_>>(), ["g-misspelt"]);
    assert!(whole.problems.iter().any(|problem| problem.contains("g-misspelt")), "{:?}", whole.problems);
    let foreign = whole.groups.iter().filter(|(_, group)| group.foreign_scale_in).map(|(name, _)| name.as_str());
    assert_eq!(foreign.collect::<Vec<_>>(), ["g-2", "g-3"]);
    let asked = |action: &str| world.proxy.calls().iter().filter(|call| call.action == action).count();
    let together = ["DescribeAutoScalingGroups", "DescribePolicies", "DescribeScheduledActions"].map(asked);
    assert_eq!(together, [1, 1, 1], "together, not each by itself");

    // Before a change one group is looked at, and nothing else is asked.
    let before = world.proxy.calls().len();
    let one = fleet.describe_some(&[id("g-3")]).await?;
    assert_eq!(one.groups.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["g-3"]);
    assert!(one.complete && one.groups.values().all(|group| group.foreign_scale_in));
    let calls = world.proxy.calls()[before..].to_vec();
    let of_others =
        calls.iter().filter(|call| call.fields.values().any(|value| value.starts_with("g-") && value != "g-3"));
    assert_eq!((calls.len(), of_others.count()), (4, 0), "{calls:?}");

    // A page that failed makes nothing complete.
    let down = || Fault::Error { status: 500, code: "InternalFailure" };
    world.proxy.next("DescribeAutoScalingGroups", [down(), down(), down()]);
    assert!(fleet.describe().await.is_err());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttle_of_one_service_is_waited_for_by_all_that_ask_there() -> anyhow::Result<()> {
    let world = World::new().await?;
    let members = world.cloud.template_group("web", 2, &["us-east-1a"]).await?;
    let budgets = Budgets::default();
    let fleet = fleet_of(&world.proxy.url, &["web"], &budgets, world.clock.clone()).await;
    let other = fleet_of(&world.proxy.url, &["web"], &budgets, world.clock.clone()).await;
    let one = ids(&members[..1]);
    fleet.outside(&id("web"), &one).await?;
    // Four of EC2 in a row: whoever sends next has to wait for a while.
    world.proxy.next("DescribeInstances", [Fault::LIMIT, Fault::LIMIT, Fault::LIMIT]);
    for _ in 0..3 {
        assert!(fleet.outside(&id("web"), &one).await.is_err());
    }
    let begun = tokio::time::Instant::now();
    let action = foreshadow::fleet::Action::Detach { instances: ids(&members[1..]) };
    let called = other.call(&id("web"), &action, &token("web", 0)).await;
    assert!(matches!(called, Called::Done { .. }), "{called:?}");
    // The third wait is 1 to 2 s.
    assert!(begun.elapsed() >= Duration::from_millis(900), "it went at once: {:?}", begun.elapsed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_ask_in_one_region_spend_one_budget_whatever_service_they_ask() -> anyhow::Result<()> {
    let world = World::new().await?;
    let members = world.cloud.template_group("web", 2, &["us-east-1a"]).await?;
    // Ten at once, and two a second.
    let budgets = Budgets::new(2);
    let begun = tokio::time::Instant::now();
    let outside = fleet_of(&world.proxy.url, &["web"], &budgets, world.clock.clone()).await;
    let inside = fleet_of(&world.proxy.url, &["web"], &budgets, world.clock.clone()).await;
    let (one, mut of_one, mut of_other) = (ids(&members[..1]), 0, 0);
    let sent = || world.proxy.calls().len();
    while sent() < 20 {
        let before = sent();
        outside.outside(&id("web"), &one).await?;
        of_one += sent() - before;
        inside.describe_some(&[id("web")]).await?;
        of_other = sent() - of_one;
    }
    let (calls, elapsed) = (world.proxy.calls(), begun.elapsed());
    println!("{of_one} and {of_other} calls in {elapsed:?}");
    let asked = |action: &str| calls.iter().any(|call| call.action == action);
    assert!(asked("DescribeInstances") && asked("DescribeAutoScalingGroups"), "of EC2 and of Auto Scaling");
    // What is asked beyond the ten comes back at two a second. Half as fast would take twice as long, and two budgets not half of it.
    let least = Duration::from_millis(500) * (u32::try_from(calls.len())? - 10);
    assert!(of_one.max(of_other) < 10 + (calls.len() - 10) / 2, "{of_one} and {of_other}");
    assert!(elapsed >= least && elapsed < 2 * least, "{elapsed:?}, {least:?} are needed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn how_long_its_load_balancer_drains_is_read_and_kept() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.cloud.template_group("web", 1, &["us-east-1a"]).await?;
    let drains = async || -> anyhow::Result<Option<u32>> {
        let found = world.fleet.describe_some(&[id("web")]).await?;
        Ok(found.groups.get(&id("web")).context("the group")?.deregistration_seconds)
    };
    assert_eq!(drains().await?, None, "without a load balancer nobody says");
    let vpc = inner(&world.cloud.call("ec2", &[("Action", "DescribeVpcs")]).await?, "vpcId").context("a VPC")?;
    for (name, delay) in [("t-1", "45"), ("t-2", "120")] {
        let make =
            [("Action", "CreateTargetGroup"), ("Name", name), ("Protocol", "HTTP"), ("Port", "80"), ("VpcId", &vpc)];
        let made = world.cloud.call("elasticloadbalancing", &make).await?;
        let arn = inner(&made, "TargetGroupArn").context("a target group")?;
        let set = [
            ("Action", "ModifyTargetGroupAttributes"),
            ("TargetGroupArn", arn.as_str()),
            ("Attributes.member.1.Key", "deregistration_delay.timeout_seconds"),
            ("Attributes.member.1.Value", delay),
        ];
        world.cloud.call("elasticloadbalancing", &set).await?;
        let attach = [
            ("Action", "AttachLoadBalancerTargetGroups"),
            ("AutoScalingGroupName", "web"),
            ("TargetGroupARNs.member.1", arn.as_str()),
        ];
        world.cloud.call("autoscaling", &attach).await?;
    }
    assert_eq!(drains().await?, Some(120), "the longest counts");
    let asked = || world.proxy.calls().iter().filter(|call| call.action == "DescribeTargetGroupAttributes").count();
    assert_eq!((drains().await?, asked()), (Some(120), 2), "it is kept");
    world.clock.skip(601);
    world.proxy.next("DescribeTargetGroupAttributes", [Fault::Error { status: 403, code: "AccessDenied" }]);
    assert_eq!(drains().await?, None, "half of it is not known: the configuration's own holds");
    Ok(())
}
