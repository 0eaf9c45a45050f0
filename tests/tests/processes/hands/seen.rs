//! What describing tells of groups, and of instances outside them.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use aws_config::Region;
use foreshadow::clock::{Clock as _, SystemClock};
use foreshadow::fleet::{
    Action, AwsFleet, Budgets, CpuCredits, Fleet as _, GROUP_TAG, InMemory, OWNER_TAG, Outside, Reach, RunState, Tags,
    UNTIL_TAG,
};
use foreshadow_proto::convert::Id;
use foreshadow_tests::proxy::Fault;

use super::world::{World, done, fleet, id, ids, inner, refusal};

/// An answer that the local AWS does not have, as the documentation has it.
fn answer(action: &str, inner: &str) -> Fault {
    let body = format!(
        "<{action}Response xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\"><{action}Result>{inner}</{action}Result>\
         </{action}Response>"
    );
    Fault::Answer { status: 200, body }
}

fn refresh(status: &str) -> Fault {
    let refresh = format!(
        "<member><InstanceRefreshId>r-1</InstanceRefreshId><AutoScalingGroupName>web</AutoScalingGroupName>\
         <Status>{status}</Status></member>"
    );
    answer("DescribeInstanceRefreshes", &format!("<InstanceRefreshes>{refresh}</InstanceRefreshes>"))
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_owner_tags_and_what_stands_outside_are_seen() -> anyhow::Result<()> {
    let world = World::new().await?;
    let members = world.cloud.template_group("web", 3, &["us-east-1a"]).await?;
    world.cloud.group("old", 1).await?;
    let owner = Tags::from([(OWNER_TAG, Some("installation-1".to_owned()))]);
    world.fleet.tag_group(&id("web"), &owner).await?;
    let inventory = world.fleet.describe().await?;
    // The one call that the local AWS does not have.
    let known = |problem: &String| problem.contains("DescribeInstanceRefreshes");
    assert!(inventory.complete && inventory.problems.iter().all(known), "{:?}", inventory.problems);
    let web = &inventory.groups[&id("web")];
    assert_eq!(web.owner.as_deref(), Some("installation-1"));
    let version = web.version.clone().context("a version")?;
    assert!(version.starts_with("lt-") && version.ends_with(":1"), "{version}");
    assert!(web.members.iter().all(|member| member.version.as_ref() == Some(&version)));
    assert_eq!(inventory.groups[&id("old")].version.as_deref(), Some("test"));
    // A newer template: the group would launch another version than its members have.
    let newer = [
        ("Action", "CreateLaunchTemplateVersion"),
        ("LaunchTemplateName", "web"),
        ("LaunchTemplateData.ImageId", "ami-12c6146b"),
    ];
    world.cloud.call("ec2", &newer).await?;
    let inventory = world.fleet.describe().await?;
    let web = &inventory.groups[&id("web")];
    assert!(web.version.as_ref().is_some_and(|version| version.ends_with(":2")), "{:?}", web.version);
    assert!(web.members.iter().all(|member| member.version.as_ref() == Some(&version)));
    // What cannot be resolved is not known, and said.
    world.proxy.next("DescribeLaunchTemplates", [Fault::Error { status: 403, code: "UnauthorizedOperation" }]);
    let inventory = world.fleet.describe().await?;
    assert!(inventory.complete && inventory.groups[&id("web")].version.is_none());
    assert!(inventory.problems.iter().any(|problem| problem.contains("grant ec2:DescribeLaunchTemplates")));
    let none = Tags::from([(OWNER_TAG, None)]);
    world.fleet.tag_group(&id("web"), &none).await?;
    assert_eq!(world.fleet.describe().await?.groups[&id("web")].owner, None);

    let all = ids(&members);
    let detached = Action::Detach { instances: vec![all[0].clone()] };
    assert_eq!(world.call("web", &detached, 0).await, done(&members[..1]));
    let lease = Tags::from([(UNTIL_TAG, Some("1800000000".to_owned())), (GROUP_TAG, Some("web".to_owned()))]);
    world.fleet.tag(&all[..1], &lease).await?;
    let stranger = id("i-0123456789abcdef0");
    let outside = world.fleet.outside(&id("web"), &[all[0].clone(), all[1].clone(), stranger.clone()]).await?;
    let by_id: BTreeMap<&Id, &Outside> = outside.iter().map(|found| (&found.instance, found)).collect();
    assert_eq!((outside.len(), by_id.len()), (3, 3));
    let shadow = by_id[&all[0]];
    assert_eq!((shadow.state, &shadow.group, shadow.in_target_group), (RunState::Running, &None, Some(false)));
    assert!(!shadow.protected);
    assert_eq!(shadow.tags.get(UNTIL_TAG).map(String::as_str), Some("1800000000"));
    assert_eq!(by_id[&all[1]].group, Some(id("web")));
    // One unknown id does not hide the others, and is unknown, not gone.
    assert_eq!((by_id[&stranger].state, by_id[&stranger].protected), (RunState::Unknown, true));
    assert!(world.fleet.outside(&id("web"), &[]).await?.is_empty());

    let tagged = world.fleet.tagged(UNTIL_TAG).await?;
    assert_eq!(tagged.iter().map(|found| &found.instance).collect::<Vec<_>>(), [&all[0]]);
    world.fleet.tag(&all[..1], &Tags::from([(UNTIL_TAG, None)])).await?;
    assert!(world.fleet.tagged(UNTIL_TAG).await?.is_empty());
    let outside = world.fleet.outside(&id("web"), &all[..1]).await?;
    assert_eq!((outside[0].tags.get(UNTIL_TAG), outside[0].tags.contains_key(GROUP_TAG)), (None, true));

    // Protected, and not knowing counts as protected.
    world.proxy.next("DescribeInstanceAttribute", [Fault::Error { status: 403, code: "UnauthorizedOperation" }]);
    assert!(world.fleet.outside(&id("web"), &all[..1]).await?[0].protected);
    let protect = |value| {
        [
            ("Action", "ModifyInstanceAttribute"),
            ("InstanceId", members[0].as_str()),
            ("DisableApiTermination.Value", value),
        ]
    };
    world.cloud.call("ec2", &protect("true")).await?;
    assert!(world.fleet.outside(&id("web"), &all[..1]).await?[0].protected);
    let refused = world.call("web", &Action::Terminate { instances: vec![all[0].clone()] }, 1).await;
    assert!(refusal(&refused).contains("OperationNotPermitted"), "{refused:?}");
    world.cloud.call("ec2", &protect("false")).await?;
    let end = Action::Terminate { instances: vec![all[0].clone()] };
    assert_eq!(world.call("web", &end, 2).await, done(&members[..1]));
    assert_eq!(world.fleet.outside(&id("web"), &all[..1]).await?[0].state, RunState::Ended);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn credits_of_burstable_instances_are_asked_for_every_five_minutes_and_of_nobody_else() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.cloud.group("old", 1).await?;
    let asked = || world.proxy.calls().iter().filter(|call| call.action == "GetMetricData").count();
    world.fleet.describe().await?;
    assert_eq!(asked(), 0, "nobody is burstable");
    let members = world.cloud.template_group_of("web", "t3.medium", 3, &["us-east-1a"]).await?;
    let credits = async |instance: &str, name: &str, value: f64| {
        let at = jiff::Timestamp::from_second(SystemClock.wall_seconds() - 400)?.to_string();
        let value = value.to_string();
        let fields = [
            ("Action", "PutMetricData"),
            ("Namespace", "AWS/EC2"),
            ("MetricData.member.1.MetricName", name),
            ("MetricData.member.1.Timestamp", at.as_str()),
            ("MetricData.member.1.Value", value.as_str()),
            ("MetricData.member.1.Dimensions.member.1.Name", "InstanceId"),
            ("MetricData.member.1.Dimensions.member.1.Value", instance),
        ];
        world.cloud.call("monitoring", &fields).await.map(drop)
    };
    // One that runs out, one that spends surplus credits and is not slowed down, and one of which nothing is told.
    for (index, surplus) in [(0, 0.0), (1, 7.0)] {
        credits(&members[index], "CPUCreditBalance", 30.0).await?;
        credits(&members[index], "CPUCreditUsage", 5.0).await?;
        credits(&members[index], "CPUSurplusCreditBalance", surplus).await?;
    }
    let told = async || {
        let inventory = world.fleet.describe().await?;
        let web = inventory.groups[&id("web")].members.iter();
        let told: BTreeMap<String, _> = web.filter_map(|it| Some((it.instance.to_string(), it.cpu_credits?))).collect();
        anyhow::Ok((told, inventory.problems.iter().any(|problem| problem.contains("CPU credits are not known"))))
    };
    let runs_out = CpuCredits { balance: 30.0, spent_per_hour: 60.0 };
    assert_eq!(told().await?, (BTreeMap::from([(members[0].clone(), runs_out)]), false));
    assert!(runs_out.end_within(1.0) && !runs_out.end_within(0.5));
    assert_eq!(told().await?.0.len(), 1);
    assert_eq!(asked(), 1, "what was heard will do for five minutes");
    // Where nobody answers nothing is known, and that is said as long as it is so.
    world.clock.skip(301);
    world.proxy.next("GetMetricData", [Fault::Error { status: 403, code: "AccessDenied" }]);
    assert_eq!(told().await?, (BTreeMap::new(), true));
    assert_eq!((told().await?, asked()), ((BTreeMap::new(), true), 2));
    // Nobody is taken from beside who may be slowed down already; where nobody is burstable all is known.
    let untold = async || {
        world.proxy.next("DescribeInstanceRefreshes", [refresh("Successful"), refresh("Successful")]);
        let inventory = world.fleet.describe().await?;
        let of = |name: &str| inventory.groups[&id(name)].untold;
        anyhow::Ok((inventory.complete, of("web"), of("old"), inventory.problems.join("; ")))
    };
    let (complete, web, old, problems) = untold().await?;
    assert_eq!((complete, web, old), (true, true, false), "{problems}");
    let denied = "web: CPU credits are not known: access denied: grant cloudwatch:GetMetricData";
    assert!(problems.contains(denied) && !problems.contains("old: "), "{problems}");
    world.clock.skip(301);
    assert_eq!((untold().await?, asked()), ((true, false, false, String::new()), 3), "it answers again");
    // Between two looks at everything that are far apart what was heard grows too old to be used.
    world.fleet.describe_some(&[id("web")]).await?;
    assert_eq!(asked(), 3, "right before a change what was heard will do");
    world.clock.skip(1_201);
    world.fleet.describe_some(&[id("web")]).await?;
    assert_eq!(asked(), 4, "unless nothing was heard");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_burstable_instances_one_call_that_fails_is_enough() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.cloud.group("old", 1).await?;
    // More than one call asks for.
    world.cloud.template_group_of("web", "t3.medium", 170, &["us-east-1a"]).await?;
    let asked = || world.proxy.calls().iter().filter(|call| call.action == "GetMetricData").count();
    world.proxy.next("GetMetricData", [Fault::Error { status: 403, code: "AccessDenied" }]);
    let inventory = world.fleet.describe().await?;
    assert!(inventory.complete && inventory.problems.iter().any(|it| it.contains("CPU credits are not known")));
    assert_eq!(asked(), 1);
    world.clock.skip(301);
    world.fleet.describe().await?;
    assert_eq!(asked(), 3, "both are asked for again");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_group_that_still_sends_is_seen_and_one_that_cannot_be_asked_is_not_known() -> anyhow::Result<()> {
    let world = World::new().await?;
    let members = world.cloud.template_group("web", 2, &["us-east-1a"]).await?;
    let vpcs = world.cloud.call("ec2", &[("Action", "DescribeVpcs")]).await?;
    let vpc = inner(&vpcs, "vpcId").context("a VPC")?;
    let made = world
        .cloud
        .call(
            "elasticloadbalancing",
            &[("Action", "CreateTargetGroup"), ("Name", "tg"), ("Protocol", "HTTP"), ("Port", "80"), ("VpcId", &vpc)],
        )
        .await?;
    let target_group = inner(&made, "TargetGroupArn").context("a target group")?;
    let attach = [
        ("Action", "AttachLoadBalancerTargetGroups"),
        ("AutoScalingGroupName", "web"),
        ("TargetGroupARNs.member.1", target_group.as_str()),
    ];
    world.cloud.call("autoscaling", &attach).await?;
    let shadow = [id(&members[0])];
    let detach = Action::Detach { instances: shadow.to_vec() };
    assert_eq!(world.call("web", &detach, 0).await, done(&members[..1]));
    let in_target_group = async || anyhow::Ok(world.fleet.outside(&id("web"), &shadow).await?[0].in_target_group);
    assert_eq!(in_target_group().await?, Some(true));
    world.proxy.next("DescribeTargetHealth", [Fault::Error { status: 403, code: "AccessDenied" }]);
    assert_eq!(in_target_group().await?, None);
    for (state, expected) in [("draining", true), ("unhealthy", true), ("something-new", true), ("unused", false)] {
        let body = format!(
            "<DescribeTargetHealthResponse><DescribeTargetHealthResult><TargetHealthDescriptions><member><Target><Id>{}\
             </Id></Target><TargetHealth><State>{state}</State></TargetHealth></member></TargetHealthDescriptions>\
             </DescribeTargetHealthResult></DescribeTargetHealthResponse>",
            members[0]
        );
        world.proxy.next("DescribeTargetHealth", [Fault::Answer { status: 200, body }]);
        assert_eq!(in_target_group().await?, Some(expected), "{state}");
    }
    let leave = [
        ("Action", "DeregisterTargets"),
        ("TargetGroupArn", target_group.as_str()),
        ("Targets.member.1.Id", members[0].as_str()),
    ];
    world.cloud.call("elasticloadbalancing", &leave).await?;
    assert_eq!(in_target_group().await?, Some(false));
    Ok(())
}

#[tokio::test]
async fn only_endpoints_on_this_machine_are_loopback() -> anyhow::Result<()> {
    for (url, reach) in [
        ("http://127.0.0.1:1", Reach::Loopback),
        ("http://localhost:1", Reach::Loopback),
        ("http://[::1]:1", Reach::Loopback),
        ("http://10.1.2.3:1", Reach::Cloud),
        ("https://localhost.example.org", Reach::Cloud),
    ] {
        assert_eq!(fleet(url, Arc::default()).await.reach(), reach, "{url}");
    }
    let config = AwsFleet::loader().region(Region::from_static("us-east-1")).load().await;
    assert_eq!(
        AwsFleet::with(&config, Vec::new(), &Budgets::default(), Arc::new(InMemory::default()), Arc::new(SystemClock))
            .await
            .reach(),
        Reach::Cloud
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_refresh_that_runs_is_a_deploy_and_one_that_is_over_none() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.cloud.template_group("web", 1, &["us-east-1a"]).await?;
    for (status, deploying) in [
        ("Pending", true),
        ("InProgress", true),
        ("Cancelling", true),
        ("RollbackInProgress", true),
        ("Baking", true),
        ("Successful", false),
        ("Failed", false),
        ("Cancelled", false),
    ] {
        world.proxy.next("DescribeInstanceRefreshes", [refresh(status)]);
        let inventory = world.fleet.describe_some(&[id("web")]).await?;
        let web = &inventory.groups[&id("web")];
        assert_eq!((web.deploying, web.untold), (deploying, false), "{status}: {:?}", inventory.problems);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_action_that_may_lower_its_group_soon_is_the_providers_own_scale_in() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.cloud.template_group("web", 3, &["us-east-1a"]).await?;
    world.cloud.group("old", 1).await?;
    let put = async |group: &str, name: &str, fields: &[(&str, &str)]| {
        let named = [
            ("Action", "PutScheduledUpdateGroupAction"),
            ("AutoScalingGroupName", group),
            ("ScheduledActionName", name),
        ];
        world.cloud.call("autoscaling", &[&named[..], fields].concat()).await.map(drop)
    };
    let seen = async || {
        let inventory = world.fleet.describe().await?;
        let of = |name: &str| {
            let group = &inventory.groups[&id(name)];
            (group.foreign_scale_in, group.floor)
        };
        let told = inventory.problems.iter().filter(|problem| problem.contains("scheduled action")).cloned();
        anyhow::Ok((of("web"), of("old"), told.collect::<Vec<_>>()))
    };
    let calm = (false, Some(1));
    // More at the least ends nobody, and what is in two hours says nothing of this one.
    put("web", "morning", &[("MinSize", "2"), ("Recurrence", "0 7 * * *")]).await?;
    let in_two_hours = jiff::Timestamp::from_second(SystemClock.wall_seconds() + 7_200)?.to_string();
    put("web", "night", &[("DesiredCapacity", "1"), ("StartTime", &in_two_hours)]).await?;
    assert_eq!(seen().await?, (calm, calm, Vec::new()));
    world.clock.skip(3_700);
    let told = |group: &str, action: &str| format!("{group}: the scheduled action {action:?} may scale it in as well");
    let no_floor = (true, None);
    assert_eq!(seen().await?, (no_floor, calm, vec![told("web", "night")]), "no floor is put in a schedule's way");
    // Again and again, beside a policy: it has a floor.
    put("old", "weekly", &[("MaxSize", "5"), ("Recurrence", "0 22 * * 5")]).await?;
    let policy = [
        ("Action", "PutScalingPolicy"),
        ("AutoScalingGroupName", "old"),
        ("PolicyName", "p"),
        ("PolicyType", "SimpleScaling"),
        ("AdjustmentType", "ChangeInCapacity"),
        ("ScalingAdjustment", "-1"),
    ];
    world.cloud.call("autoscaling", &policy).await?;
    let both = vec![told("web", "night"), told("old", "weekly")];
    let (web, old, mut problems) = seen().await?;
    problems.sort_by_key(|problem| both.iter().position(|it| it == problem));
    assert_eq!((web, old, problems), (no_floor, (true, Some(1)), both));

    // It may be on a later page, and who is not told it takes nobody away.
    let page = |name: &str, sets: &str, token: &str| {
        let action = format!(
            "<member><AutoScalingGroupName>web</AutoScalingGroupName><ScheduledActionName>{name}</ScheduledActionName>\
             <Recurrence>0 22 * * *</Recurrence>{sets}</member>"
        );
        let actions = format!("<ScheduledUpdateGroupActions>{action}</ScheduledUpdateGroupActions>{token}");
        answer("DescribeScheduledActions", &actions)
    };
    let first = page("a", "<MinSize>1</MinSize>", "<NextToken>next</NextToken>");
    let denied = Fault::Error { status: 403, code: "AccessDenied" };
    let pages = [
        (vec![first.clone(), page("b", "<MaxSize>2</MaxSize>", "")], (true, false)),
        (vec![first.clone(), page("b", "<MinSize>2</MinSize>", "")], (false, false)),
        (vec![first, denied.clone()], (false, true)),
        (vec![denied], (false, true)),
    ];
    for (pages, expected) in pages {
        world.proxy.next("DescribeScheduledActions", pages);
        world.proxy.next("DescribeInstanceRefreshes", [refresh("Successful")]);
        let inventory = world.fleet.describe_some(&[id("web")]).await?;
        let web = &inventory.groups[&id("web")];
        assert_eq!((web.foreign_scale_in, web.untold), expected, "{:?}", inventory.problems);
        let refused = inventory.problems.iter().any(|it| it == "web: DescribeScheduledActions: AccessDenied");
        assert!(inventory.complete && refused == expected.1, "{:?}", inventory.problems);
    }
    Ok(())
}
