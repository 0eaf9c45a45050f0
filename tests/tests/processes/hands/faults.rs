//! What each fault comes to, and what describing makes of a lost answer.

use std::time::Duration;

use anyhow::Context as _;
use foreshadow::fleet::{Action, Called, Fleet as _, Found, UNTIL_TAG};
use foreshadow_proto::convert::Id;
use foreshadow_tests::process::eventually;
use foreshadow_tests::proxy::Fault;

use super::world::{World, actions, done, id, ids, refusal, token};

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_comes_to_what_is_known_of_it_and_nothing_is_sent_twice() -> anyhow::Result<()> {
    let world = World::new().await?;
    let members = world.cloud.template_group("web", 40, &["us-east-1a"]).await?;
    let out = ids(&members[..5]);
    assert_eq!(world.call("web", &Action::Detach { instances: out.clone() }, 0).await, done(&members[..5]));
    let one = |action: &str, name: &Id| {
        let instances = vec![name.clone()];
        match action {
            "DetachInstances" => Action::Detach { instances },
            "AttachInstances" => Action::Attach { instances },
            _ => Action::Terminate { instances },
        }
    };
    let member = id(&members[30]);
    let cases = [("DetachInstances", &member), ("AttachInstances", &out[0]), ("TerminateInstances", &out[1])];
    for (step, (name, instance)) in cases.into_iter().enumerate() {
        let step = u32::try_from(step)?;
        let action = one(name, instance);
        for (fault, expected) in [
            (Fault::THROTTLE, Called::Throttled),
            (Fault::LIMIT, Called::Throttled),
            (Fault::Error { status: 500, code: "InternalFailure" }, Called::Unknown),
            (Fault::Error { status: 503, code: "ServiceUnavailable" }, Called::Unknown),
            (Fault::Answer { status: 502, body: "<html>".to_owned() }, Called::Unknown),
            (Fault::Error { status: 500, code: "ResourceContention" }, Called::Unknown),
        ] {
            world.proxy.take_changes();
            world.proxy.next(name, [fault.clone()]);
            assert_eq!(world.call("web", &action, step).await, expected, "{name} {fault:?}");
            assert_eq!(actions(&world.proxy.take_changes()), [name], "once: {fault:?}");
        }
        // None of these was forwarded.
        assert_eq!(world.outcome("web", &action, step).await?, Found::NotDone, "{name}");
        for (status, code, part) in [
            (400, "ValidationError", "ValidationError: by the fault proxy"),
            (403, "AccessDenied", "access denied: grant "),
            (403, "ExpiredToken", "the credentials are not valid"),
        ] {
            world.proxy.next(name, [Fault::Error { status, code }]);
            let called = world.call("web", &action, step).await;
            let permission = format!(":{name}");
            assert!(refusal(&called).contains(part), "{called:?}");
            assert!(code == "ExpiredToken" || refusal(&called).contains(&permission), "{called:?}");
        }
        // Done, and the answer says it was not.
        world.proxy.take_changes();
        world.proxy.next(name, [Fault::FAIL_AFTER]);
        assert_eq!(world.call("web", &action, step).await, Called::Unknown, "{name}");
        assert_eq!(actions(&world.proxy.take_changes()), [name]);
        let found = world.outcome("web", &action, step).await?;
        assert_eq!(found, Found::Done { instances: vec![instance.clone()] }, "{name}");
    }

    // The description before the change fails: nothing was begun.
    world.proxy.next("DescribeAutoScalingGroups", [Fault::Error { status: 403, code: "AccessDenied" }]);
    let called = world.call("web", &one("DetachInstances", &id(&members[31])), 9).await;
    assert!(refusal(&called).starts_with("nothing was changed: access denied"), "{called:?}");

    // One batch went through, the next was throttled: nobody knows but the description.
    let detach = Action::Detach { instances: ids(&members[5..30]) };
    world.proxy.take_changes();
    world.proxy.next("DetachInstances", [Fault::None, Fault::THROTTLE]);
    assert_eq!(world.call("web", &detach, 10).await, Called::Unknown);
    let found = world.outcome("web", &detach, 10).await?;
    let Found::Done { instances } = found else { panic!("{found:?}") };
    let mut first = ids(&members[5..25]);
    first.sort();
    assert_eq!(instances, first, "those of the first batch, once that picture has stood for a while");

    // A protected one in another zone does not save the rest: what EC2 did is not known.
    let two = Action::Terminate { instances: out[2..4].to_vec() };
    world.proxy.next("TerminateInstances", [Fault::Error { status: 400, code: "OperationNotPermitted" }]);
    assert_eq!(world.call("web", &two, 11).await, Called::Unknown);
    assert_eq!(world.outcome("web", &two, 11).await?, Found::NotDone);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_unknown_and_describing_tells() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    let members = world.cloud.template_group("web", 12, &["us-east-1a"]).await?;
    world.cloud.group("old", 2).await?;
    let out = ids(&members[..4]);
    assert_eq!(world.call("web", &Action::Detach { instances: out.clone() }, 0).await, done(&members[..4]));

    // All of them hang at once, each until its deadline.
    let arrives = [
        ("web", Action::Detach { instances: ids(&members[5..6]) }, "DetachInstances"),
        ("web", Action::Attach { instances: out[..1].to_vec() }, "AttachInstances"),
        ("web", Action::Terminate { instances: out[1..2].to_vec() }, "TerminateInstances"),
        ("old", Action::launch(2, 4), "UpdateAutoScalingGroup"),
    ];
    for (_, _, name) in &arrives {
        world.proxy.next(name, [Fault::HangAfter]);
    }
    let calls = arrives.iter().zip(20..).map(|((group, action, _), step)| world.call(group, action, step));
    assert_eq!(futures::future::join_all(calls).await, vec![Called::Unknown; 4]);
    for ((group, action, name), step) in arrives.iter().zip(20..) {
        let expected = Found::Done { instances: action.instances().to_vec() };
        assert_eq!(world.outcome(group, action, step).await?, expected, "{name}");
    }
    world.proxy.release();

    // These hang on their way: not done, until they arrive after all.
    let late = [
        ("web", Action::Detach { instances: ids(&members[6..7]) }, "DetachInstances"),
        ("web", Action::Attach { instances: out[2..3].to_vec() }, "AttachInstances"),
        ("web", Action::Terminate { instances: out[3..4].to_vec() }, "TerminateInstances"),
        ("old", Action::launch(2, 6), "UpdateAutoScalingGroup"),
    ];
    for (_, _, name) in &late {
        world.proxy.next(name, [Fault::HangBefore]);
    }
    let calls = late.iter().zip(30..).map(|((group, action, _), step)| world.call(group, action, step));
    assert_eq!(futures::future::join_all(calls).await, vec![Called::Unknown; 4]);
    for ((group, action, name), step) in late.iter().zip(30..) {
        assert_eq!(world.outcome(group, action, step).await?, Found::NotDone, "{name}");
    }
    world.proxy.release();
    for ((group, action, name), step) in late.iter().zip(30..) {
        eventually("it arrives", Duration::from_secs(60), async || {
            let found = world.outcome(group, action, step).await?;
            Ok((found == Found::Done { instances: action.instances().to_vec() }).then_some(()))
        })
        .await
        .context(*name)?;
    }

    // A connection that breaks after the call, and one that cannot be made.
    let detach = Action::Detach { instances: ids(&members[8..9]) };
    world.proxy.next("DetachInstances", [Fault::BreakAfter]);
    assert_eq!(world.call("web", &detach, 40).await, Called::Unknown);
    assert_eq!(world.outcome("web", &detach, 40).await?, Found::Done { instances: ids(&members[8..9]) });
    let end = Action::Terminate { instances: out[2..3].to_vec() };
    world.proxy.refuse().await;
    let refused = world.call("web", &end, 41).await;
    assert!(refusal(&refused).starts_with("nothing was changed"), "it could not be looked at first: {refused:?}");
    for (group, action, name) in &arrives {
        let found = world.fleet.outcome(&id(group), action, &token(group, 50)).await;
        assert_eq!(found, Found::NotYet, "nobody can be asked: {name}");
    }
    assert!(world.fleet.outside(&id("web"), &out).await.is_err());
    assert!(world.fleet.tagged(UNTIL_TAG).await.is_err());
    assert!(world.fleet.describe().await.is_err());
    world.proxy.listen().await?;
    assert!(world.fleet.describe().await?.complete);
    Ok(())
}
