//! The policies in `deploy/aws` against what is really sent.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;
use foreshadow::fleet::{Action, Called, Fleet as _, OWNER_TAG, Tags, UNTIL_TAG};
use foreshadow_tests::proxy::{Call, Fault};
use serde_json::Value;

use super::world::{World, id, ids, inner};

/// The actions that a policy in `deploy/aws` grants.
fn granted(file: &str) -> anyhow::Result<BTreeSet<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/aws").join(file);
    let policy: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let statements = policy["Statement"].as_array().context("statements")?;
    let actions = statements.iter().flat_map(|statement| match &statement["Action"] {
        Value::Array(actions) => actions.clone(),
        one => vec![one.clone()],
    });
    Ok(actions.filter_map(|action| action.as_str().map(str::to_owned)).collect())
}

/// An answer that the local AWS does not have.
fn answer(action: &str, inner: &str) -> Fault {
    let body = format!(
        "<{action}Response xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\"><{action}Result>{inner}</{action}Result>\
         <ResponseMetadata><RequestId>x</RequestId></ResponseMetadata></{action}Response>"
    );
    Fault::Answer { status: 200, body }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policies_grant_what_is_sent_and_nothing_else() -> anyhow::Result<()> {
    let world = World::new().await?;
    // Burstable, so that its credits are asked for.
    let members = world.cloud.template_group_of("web", "t3.medium", 3, &["us-east-1a"]).await?;
    world.cloud.group("old", 1).await?;
    let vpc = inner(&world.cloud.call("ec2", &[("Action", "DescribeVpcs")]).await?, "vpcId").context("a VPC")?;
    let make = [("Action", "CreateTargetGroup"), ("Name", "t"), ("Protocol", "HTTP"), ("Port", "80"), ("VpcId", &vpc)];
    let made = world.cloud.call("elasticloadbalancing", &make).await?;
    let attach = [
        ("Action", "AttachLoadBalancerTargetGroups"),
        ("AutoScalingGroupName", "web"),
        ("TargetGroupARNs.member.1", &inner(&made, "TargetGroupArn").context("a target group")?),
    ];
    world.cloud.call("autoscaling", &attach).await?;
    world.fleet.describe().await?;
    world.fleet.describe_some(&[id("web")]).await?;
    world.fleet.activities(&id("web"), &ids(&members[..1]), 0).await?;
    let sent = |calls: Vec<Call>| -> BTreeSet<String> {
        let service = |call: &Call| match call.field("Version") {
            "2016-11-15" => "ec2",
            "2015-12-01" => "elasticloadbalancing",
            "2010-08-01" => "cloudwatch",
            _ => "autoscaling",
        };
        calls.iter().map(|call| format!("{}:{}", service(call), call.action)).collect()
    };
    // Those of the queue: tests/notice.rs.
    let queue = BTreeSet::from(["sqs:DeleteMessage".to_owned(), "sqs:ReceiveMessage".to_owned()]);
    let observing: BTreeSet<String> = granted("observe-policy.json")?.difference(&queue).cloned().collect();
    assert_eq!(sent(world.proxy.calls()), observing, "observing");

    let one = ids(&members[..1]);
    let lease = |value: Option<&str>| Tags::from([(UNTIL_TAG, value.map(str::to_owned))]);
    for (step, action) in (0..).zip([
        Action::launch(1, 4),
        Action::Detach { instances: one.clone() },
        Action::Attach { instances: one.clone() },
        Action::EnterStandby { instances: one.clone() },
        Action::ExitStandby { instances: one.clone() },
        Action::EnterStandby { instances: one.clone() },
        Action::Leave { instances: one.clone() },
        Action::Terminate { instances: one.clone() },
    ]) {
        let called = world.call("web", &action, step).await;
        assert!(matches!(called, Called::Done { .. }), "{action:?}: {called:?}");
        world.outcome("web", &action, step).await?;
        world.fleet.outside(&id("web"), &one).await?;
    }
    let hook = "<LifecycleHookName>wait</LifecycleHookName>\
                <LifecycleTransition>autoscaling:EC2_INSTANCE_TERMINATING</LifecycleTransition>";
    world.proxy.next(
        "DescribeLifecycleHooks",
        [answer("DescribeLifecycleHooks", &format!("<LifecycleHooks><member>{hook}</member></LifecycleHooks>"))],
    );
    world.proxy.next("RecordLifecycleActionHeartbeat", [answer("RecordLifecycleActionHeartbeat", "")]);
    world.fleet.hold(&id("web"), &ids(&members[1..2])).await?;
    world.fleet.tag(&one, &lease(Some("1"))).await?;
    world.fleet.tagged(UNTIL_TAG).await?;
    world.fleet.tag(&one, &lease(None)).await?;
    world.fleet.tag_group(&id("web"), &Tags::from([(OWNER_TAG, None)])).await?;

    let mut all = observing;
    all.extend(granted("act-policy.json")?);
    // LaunchInstances asks these of its caller.
    for behind in ["ec2:CreateFleet", "ec2:DescribeLaunchTemplateVersions"] {
        assert!(all.remove(behind), "{behind}");
    }
    assert_eq!(sent(world.proxy.calls()), all);
    Ok(())
}
