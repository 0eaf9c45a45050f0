//! A detachment is noticed: by an event through the queue that the template makes, by the agent's own
//! metadata service, and by describing alone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use foreshadow_tests::cloud::Cloud;
use foreshadow_tests::fleet::{Fleet, Script};
use foreshadow_tests::metadata::Metadata;
use foreshadow_tests::process::{Aggregator, Process, binary, eventually, free_port, tool};
use foreshadow_tests::proxy::{Fault, Proxy};
use foreshadow_tests::web;
use http::Method;
use serde_json::{Value, json};
use tokio::process::Command;

/// From an event in the queue to an open session.
const NOTICED_WITHIN: Duration = Duration::from_secs(5);
/// An hour: whatever is noticed meanwhile was not found by the periodic description.
const HARDLY_EVER: &str = "[inventory]\ninterval_seconds = 3600\nwarm_up_seconds = 0\n";

/// So often where describing is all there is: longer than any machine takes to show a session that was opened.
const POLLED_EVERY: Duration = Duration::from_secs(10);

const DETACHED: &str = "EC2 Instance Detach Successful";

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/aws").join(file)
}

/// Every text between two tags, in order.
fn between<'t>(text: &'t str, tag: &str) -> Vec<&'t str> {
    let open = format!("<{tag}>");
    text.split(&open).skip(1).filter_map(|rest| rest.split("</").next()).collect()
}

async fn ran(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().await?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    Ok(said)
}

/// Makes a stack for `web` in one of the template's modes and gives its outputs by name; in `full` its agents have a token, in
/// `observe` the document that AWS signs.
async fn stack(cloud: &Cloud, mode: &str) -> anyhow::Result<impl Fn(&str) -> anyhow::Result<String>> {
    let name = format!("foreshadow-{mode}");
    let token = if mode == "full" { Some(("TokenParameter", "/foreshadow/agents")) } else { None };
    let template = std::fs::read_to_string(deploy("foreshadow.yaml"))?;
    let sum = "0".repeat(64);
    let authority = "QUJD".repeat(30);
    let parameters = [
        ("GroupName", "web"),
        ("Mode", mode),
        ("ImageId", "ami-12c6146b"),
        ("InstanceProfile", "agents"),
        ("Aggregator", "https://foreshadow.example:7070"),
        ("Authority", &authority),
        ("ReleaseUrl", "https://releases.example/foreshadow"),
        ("AgentSha256", &sum),
        ("UnitSha256", &sum),
        ("ScriptSha256", &sum),
    ];
    let mut fields = vec![
        ("Action".to_owned(), "CreateStack".to_owned()),
        ("StackName".to_owned(), name.clone()),
        ("TemplateBody".to_owned(), template),
    ];
    for (index, (key, value)) in (1..).zip(parameters.into_iter().chain(token)) {
        fields.push((format!("Parameters.member.{index}.ParameterKey"), key.to_owned()));
        fields.push((format!("Parameters.member.{index}.ParameterValue"), value.to_owned()));
    }
    let fields: Vec<(&str, &str)> = fields.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    cloud.call("cloudformation", &fields).await?;
    let described = cloud.call("cloudformation", &[("Action", "DescribeStacks"), ("StackName", &name)]).await?;
    ensure!(described.contains("CREATE_COMPLETE"), "{described}");
    let (keys, values) = (between(&described, "OutputKey"), between(&described, "OutputValue"));
    let outputs: Vec<(String, String)> =
        keys.into_iter().zip(values).map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    Ok(move |key: &str| {
        let found = outputs.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
        found.with_context(|| format!("no output {key}"))
    })
}

/// The actions that a policy grants, in whichever of the two forms.
fn granted(policy: &Value) -> BTreeSet<String> {
    let statements = policy["Statement"].as_array().into_iter().flatten();
    let actions = statements.flat_map(|statement| match &statement["Action"] {
        Value::Array(actions) => actions.clone(),
        one => vec![one.clone()],
    });
    actions.filter_map(|action| action.as_str().map(str::to_owned)).collect()
}

/// Permitted on everything, with the reason why nothing narrower can be said, and the one condition that they then carry.
const UNBOUNDED: [(&str, &str, &str); 1] =
    // A launch's instances do not exist yet and carry no tag; Auto Scaling calls it on behalf of who calls LaunchInstances.
    [("ec2:CreateFleet", "aws:ViaAWSService", "true")];

/// What a policy lets change without saying whose it must be: neither by the resource's name nor by a tag that carries the
/// group's. Whatever is not plainly read counts as change.
fn unbounded(policy: &Value, group: &str) -> BTreeSet<String> {
    let reads = |action: &String| {
        let name = action.rsplit(':').next().unwrap_or_default();
        ["Describe", "Get", "List"].iter().any(|word| name.starts_with(word))
    };
    let bounded = |statement: &Value, action: &String| {
        let resources = match &statement["Resource"] {
            Value::Array(resources) => resources.clone(),
            one => vec![one.clone()],
        };
        let named = |resource: &str| {
            let (service, last) = (resource.split(':').nth(2), resource.rsplit(':').next().unwrap_or_default());
            match service {
                Some("autoscaling") => last == format!("autoScalingGroupName/{group}"),
                Some("sqs") => !last.is_empty() && !last.contains('*'),
                _ => false,
            }
        };
        let by_name = resources.iter().all(|resource| resource.as_str().is_some_and(named));
        let tags = ["aws:ResourceTag/foreshadow:group", "aws:ResourceTag/aws:autoscaling:groupName"];
        let by_tag = tags.iter().any(|tag| statement["Condition"]["StringEquals"][*tag] == group);
        let excepted =
            UNBOUNDED.iter().any(|(it, key, value)| it == action && statement["Condition"]["Bool"][*key] == *value);
        by_name || by_tag || excepted
    };
    let statements = policy["Statement"].as_array().into_iter().flatten();
    statements
        .flat_map(|statement| {
            let actions = granted(&json!({"Statement": [statement]}));
            actions.into_iter().filter(|action| !reads(action) && !bounded(statement, action)).collect::<Vec<_>>()
        })
        .collect()
}

/// The managed policies that the role in an instance profile carries.
async fn carried(cloud: &Cloud, profile: &str) -> anyhow::Result<BTreeSet<String>> {
    let asked = [("Action", "GetInstanceProfile"), ("InstanceProfileName", profile)];
    let answer = cloud.call("iam", &asked).await?;
    let role = *between(&answer, "RoleName").first().context("a role")?;
    let answer = cloud.call("iam", &[("Action", "ListAttachedRolePolicies"), ("RoleName", role)]).await?;
    Ok(between(&answer, "PolicyArn").into_iter().map(str::to_owned).collect())
}

async fn policy(cloud: &Cloud, arn: &str) -> anyhow::Result<Value> {
    let asked = [("Action", "GetPolicyVersion"), ("PolicyArn", arn), ("VersionId", "v1")];
    let answer = cloud.call("iam", &asked).await?;
    let document = *between(&answer, "Document").first().context("a document")?;
    let decoded: String =
        form_urlencoded::parse(format!("d={document}").as_bytes()).map(|(_, text)| text.into_owned()).collect();
    serde_json::from_str(&decoded).with_context(|| decoded.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_template_is_clean_least_and_its_user_data_valid() -> anyhow::Result<()> {
    let lint = Command::new(tool("cfn-lint")?).arg(deploy("foreshadow.yaml")).output().await?;
    assert!(lint.status.success() && lint.stdout.is_empty(), "{}", String::from_utf8_lossy(&lint.stdout));

    let directory = tempfile::tempdir()?;
    let cloud = Cloud::start(directory.path()).await?;
    let output = stack(&cloud, "full").await?;
    let nothing = BTreeSet::new();
    for (key, file) in [("ObservePolicy", "observe-policy.json"), ("ActPolicy", "act-policy.json")] {
        let made = policy(&cloud, &output(key)?).await?;
        let written: Value = serde_json::from_str(&std::fs::read_to_string(deploy(file))?)?;
        assert_eq!(granted(&made), granted(&written), "{file} and the template");
        for (policy, group) in [(&made, "web"), (&written, "GROUP")] {
            assert_eq!(unbounded(policy, group), nothing, "{policy:#}");
        }
        // The check is one: of what says nothing of whose it is, every change is found.
        let mut wide = made.clone();
        for statement in wide["Statement"].as_array_mut().context("statements")? {
            statement["Resource"] = "*".into();
            statement["Condition"] = Value::Null;
        }
        let changes = granted(&made).into_iter().filter(|action| !action.contains(":Describe"));
        let changes: BTreeSet<String> = changes.filter(|action| !action.contains(":Get")).collect();
        assert_eq!(unbounded(&wide, "web"), changes);
        assert_eq!(unbounded(&made, "api").is_empty(), key == "ObservePolicy", "another group's");
    }
    assert_eq!(
        carried(&cloud, &output("InstanceProfile")?).await?,
        BTreeSet::from([output("ObservePolicy")?, output("ActPolicy")?])
    );
    let looks = stack(&cloud, "observe").await?;
    assert_eq!(carried(&cloud, &looks("InstanceProfile")?).await?, BTreeSet::from([looks("ObservePolicy")?]));
    assert!(looks("ActPolicy").is_err(), "it is not even made");

    for (template, token, document) in
        [(output("LaunchTemplate")?, "/foreshadow/agents", ""), (looks("LaunchTemplate")?, "", "yes")]
    {
        let asked = [("Action", "DescribeLaunchTemplateVersions"), ("LaunchTemplateId", template.as_str())];
        let answer = cloud.call("ec2", &asked).await?;
        assert!(answer.contains("<httpTokens>required</httpTokens>"), "{answer}");
        let data = *between(&answer, "userData").first().context("user data")?;
        let (encoded, file) = (directory.path().join("encoded"), directory.path().join("user-data"));
        std::fs::write(&encoded, data)?;
        let decoded = Command::new("base64").arg("--decode").arg(&encoded).output().await?.stdout;
        let text = String::from_utf8(decoded)?;
        assert!(text.contains("AGGREGATOR='https://foreshadow.example:7070'") && !text.contains("${"), "{text}");
        for said in [format!("TOKEN_PARAMETER='{token}'\n"), format!("INSTANCE_DOCUMENT='{document}'\n")] {
            assert!(text.contains(&said), "{said}: {text}");
        }
        std::fs::write(&file, &text)?;
        let said = ran(Command::new(tool("cloud-init")?).args(["schema", "--config-file"]).arg(&file)).await?;
        assert!(said.contains("Valid cloud-config"), "{said}");
        // The check is one: what is wrong is found.
        std::fs::write(&file, text.replace("permissions: \"0644\"", "permissions: 5"))?;
        assert!(ran(Command::new(tool("cloud-init")?).args(["schema", "--config-file"]).arg(&file)).await.is_err());
    }
    Ok(())
}

/// Three agents that say little; the load does not matter here.
fn agents(url: &str, instances: &[String]) -> anyhow::Result<Fleet> {
    Fleet::start(&Script {
        aggregator: url.to_owned(),
        instances: instances.to_vec(),
        group: String::new(),
        instance_type: "m5.large".to_owned(),
        interval: Duration::from_secs(1),
        load: Arc::new(|_, _| 20.0),
    })
}

async fn sessions(url: &str) -> anyhow::Result<Vec<Value>> {
    let all = web::get_json(&format!("{url}/shadow/sessions?group=web")).await?;
    all.as_array().cloned().context("sessions")
}

async fn members(url: &str) -> anyhow::Result<Vec<Value>> {
    let detail = web::get_json(&format!("{url}/groups/web")).await?;
    detail["members"].as_array().cloned().context("members")
}

async fn all_serve(url: &str, count: usize) -> anyhow::Result<()> {
    eventually("all serve and are heard", Duration::from_secs(60), async || {
        let serving =
            members(url).await?.iter().filter(|it| it["mode"] == "serving" && it["connected"] == true).count();
        Ok((serving == count).then_some(()))
    })
    .await
}

/// Letters about moves that were received so far, one that came twice twice.
async fn letters(url: &str) -> anyhow::Result<u64> {
    let metrics = web::get(&format!("{url}/metrics")).await?.body;
    let line = metrics.lines().find_map(|line| line.strip_prefix("foreshadow_letters_total{was=\"moves\"} "));
    Ok(line.map_or(Ok(0), str::parse)?)
}

/// The queue holds nothing any more, neither to be read nor being read.
async fn emptied(cloud: &Cloud, queue: &str) -> anyhow::Result<()> {
    let names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
    let asked = json!({"QueueUrl": queue, "AttributeNames": names});
    eventually("every message was taken and deleted", Duration::from_secs(60), async || {
        let answer = cloud.json("sqs", "GetQueueAttributes", &asked).await?;
        Ok(names.iter().all(|name| answer["Attributes"][name] == "0").then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_opens_a_session_and_one_that_is_lost_doubled_or_late_changes_nothing() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let cloud = Cloud::start(directory.path()).await?;
    let instances = cloud.group("web", 5).await?;
    let queue = stack(&cloud, "full").await?("QueueUrl")?;
    let proxy = Proxy::start(&cloud.url).await?;
    let mut environment = cloud.environment();
    environment[0].1 = &proxy.url;
    let port = free_port()?;
    let config = format!("{HARDLY_EVER}[inventory.aws]\ngroups = [\"web\"]\nqueue = \"{queue}\"\n");
    // The first readings fail: it goes on describing, says so, and reads again.
    proxy.next("ReceiveMessage", [Fault::THROTTLE, Fault::Error { status: 403, code: "AccessDenied" }]);
    let aggregator = Aggregator::start_on(directory.path(), &config, port, &environment).await?;
    let url = aggregator.url.clone();
    // The fifth is silent: once its group does not have it, it is gone.
    let fleet = agents(&url, &instances[..4])?;
    all_serve(&url, 4).await?;
    let detail = |instance: &str, activity: &str| {
        json!({
            "AutoScalingGroupName": "web", "EC2InstanceId": instance, "ActivityId": activity, "StatusCode": "InProgress",
            "Cause": format!("At 2026-01-01T00:00:00Z instance {instance} was detached in response to a user request.")
        })
    };
    // Before anything happened, of somebody unknown, of another group, and nonsense: nothing.
    cloud.event(DETACHED, &detail(&instances[3], "a-0")).await?;
    cloud.event(DETACHED, &detail("i-0123456789abcdef0", "a-9")).await?;
    let nonsense = json!({"QueueUrl": queue, "MessageBody": "nonsense"});
    cloud.json("sqs", "SendMessage", &nonsense).await?;
    emptied(&cloud, &queue).await?;
    assert_eq!(sessions(&url).await?, Vec::<Value>::new());
    assert!(aggregator.process.output().contains("the event queue cannot be read"), "it was said");
    eventually("and it is over", Duration::from_secs(60), async || {
        Ok(web::get(&format!("{url}/metrics")).await?.body.contains("foreshadow_queue_read 1").then_some(()))
    })
    .await?;

    let deletions = || {
        let calls = proxy.calls().into_iter();
        calls.filter(|call| call.action == "DeleteMessageBatch").collect::<Vec<_>>()
    };
    let (deleted, received) = (deletions().len(), letters(&url).await?);
    proxy.next("DeleteMessageBatch", [Fault::Error { status: 500, code: "InternalError" }]);
    cloud.detach("web", &instances[0]).await?;
    cloud.event(DETACHED, &detail(&instances[0], "a-1")).await?;
    let opened = eventually("a session opens", NOTICED_WITHIN, async || Ok(sessions(&url).await?.pop())).await?;
    assert_eq!((&opened["instance"], &opened["origin"]), (&json!(instances[0]), &json!("foreign")));
    let reason = opened["reason"].as_str().context("a reason")?;
    assert!(reason.starts_with("detached: At 2026") && reason.contains("user request"), "{reason}");

    let described =
        |calls: &Proxy| calls.calls().iter().filter(|call| call.action == "DescribeAutoScalingGroups").count();
    let before = described(&proxy);
    // It could not be deleted: the queue itself delivers it again when it is hidden no more, here after a second.
    let failed =
        eventually("a deletion that fails", Duration::from_secs(60), async || Ok(deletions().into_iter().nth(deleted)))
            .await?;
    let entries: Value = serde_json::from_str(failed.field("Entries"))?;
    let receipt = entries[0]["ReceiptHandle"].as_str().context("a receipt")?;
    let hidden = json!({"QueueUrl": queue, "ReceiptHandle": receipt, "VisibilityTimeout": 1});
    cloud.json("sqs", "ChangeMessageVisibility", &hidden).await?;
    eventually("it is delivered and deleted again", Duration::from_secs(60), async || {
        Ok((deletions().len() == deleted + 2).then_some(()))
    })
    .await?;
    emptied(&cloud, &queue).await?;
    assert_eq!(letters(&url).await?, received + 2, "one letter, received twice");
    assert_eq!((sessions(&url).await?.len(), described(&proxy)), (1, before));

    // Doubled, by both ways, and late: one session, and no further description.
    for _ in 0..3 {
        cloud.event(DETACHED, &detail(&instances[0], "a-1")).await?;
    }
    let trail = json!({"eventSource": "autoscaling.amazonaws.com", "eventName": "DetachInstances",
        "userIdentity": {"arn": "arn:aws:iam::1:user/ana"},
        "requestParameters": {"autoScalingGroupName": "web", "instanceIds": [instances[0]]}});
    cloud.event("AWS API Call via CloudTrail", &trail).await?;
    emptied(&cloud, &queue).await?;
    assert_eq!((sessions(&url).await?.len(), described(&proxy)), (1, before));

    // One that ends, by the event of its termination hook.
    let has_fifth =
        async || Ok::<_, anyhow::Error>(members(&url).await?.iter().any(|it| it["instance"] == instances[4]));
    assert!(has_fifth().await?);
    let end = [
        ("Action", "TerminateInstanceInAutoScalingGroup"),
        ("InstanceId", instances[4].as_str()),
        ("ShouldDecrementDesiredCapacity", "true"),
    ];
    cloud.call("autoscaling", &end).await?;
    let held = json!({"AutoScalingGroupName": "web", "EC2InstanceId": instances[4], "LifecycleActionToken": "t",
        "LifecycleHookName": "wait", "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING"});
    cloud.event("EC2 Instance-terminate Lifecycle Action", &held).await?;
    eventually("it is gone", Duration::from_secs(60), async || Ok((!has_fifth().await?).then_some(()))).await?;
    assert_eq!((sessions(&url).await?.len(), described(&proxy)), (1, before + 1));
    // What is said of the dead makes nobody ask that heard of it, or ask once more, and changes nothing.
    for (activity, asked) in [("a-5", 1), ("a-5", 1), ("a-6", 2), ("a-6", 2)] {
        cloud.event("EC2 Instance Terminate Successful", &detail(&instances[4], activity)).await?;
        emptied(&cloud, &queue).await?;
        eventually("it is asked as often as that", Duration::from_secs(60), async || {
            Ok((described(&proxy) == before + asked).then_some(()))
        })
        .await?;
        assert_eq!((sessions(&url).await?.len(), has_fifth().await?), (1, false), "{activity}");
    }
    assert_eq!(described(&proxy), before + 2);

    // Standby by the trail alone: who, and how.
    let standby = [
        ("Action", "EnterStandby"),
        ("AutoScalingGroupName", "web"),
        ("InstanceIds.member.1", instances[1].as_str()),
        ("ShouldDecrementDesiredCapacity", "true"),
    ];
    cloud.call("autoscaling", &standby).await?;
    let mut who = trail.clone();
    who["eventName"] = "EnterStandby".into();
    who["requestParameters"]["instanceIds"] = json!([instances[1]]);
    // The description that it asks for fails once: nobody is absent for it, and it is asked again.
    proxy.next("DescribeAutoScalingGroups", [Fault::Error { status: 403, code: "AccessDenied" }]);
    cloud.event("AWS API Call via CloudTrail", &who).await?;
    let second = eventually("the second session opens", Duration::from_secs(60), async || {
        Ok(sessions(&url).await?.into_iter().nth(1))
    })
    .await?;
    assert_eq!(second["reason"], "standby: arn:aws:iam::1:user/ana called EnterStandby");

    // A lost event: the next periodic description finds it. Why is in the cloud's own records.
    assert!(aggregator.process.terminate().await?.success());
    let often = HARDLY_EVER.replace("3600", &POLLED_EVERY.as_secs().to_string());
    let config = format!("{often}[inventory.aws]\ngroups = [\"web\"]\n");
    let aggregator = Aggregator::start_on(directory.path(), &config, port, &environment).await?;
    all_serve(&url, 2).await?;
    let activity = format!(
        "<DescribeScalingActivitiesResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\"><DescribeScalingActivitiesResult>\
         <Activities><member><ActivityId>a-2</ActivityId><AutoScalingGroupName>web</AutoScalingGroupName>\
         <Description>Detaching EC2 instance: {}</Description><Cause>At noon ben detached it.</Cause>\
         <StartTime>2026-01-01T00:00:00Z</StartTime><StatusCode>Successful</StatusCode></member></Activities>\
         </DescribeScalingActivitiesResult></DescribeScalingActivitiesResponse>",
        instances[2]
    );
    proxy.next("DescribeScalingActivities", [Fault::Answer { status: 200, body: activity }]);
    cloud.detach("web", &instances[2]).await?;
    let before = described(&proxy);
    let within = POLLED_EVERY + NOTICED_WITHIN;
    let third = async || Ok(sessions(&url).await?.into_iter().find(|it| it["instance"] == instances[2].as_str()));
    eventually("describing alone opens a session", within, third).await?;
    // By the calls and not by the clock, which a busy machine stretches: the first that began after it found it.
    assert!(described(&proxy) <= before + 1, "{before} descriptions, and {} when it was found", described(&proxy));
    eventually("its reason is found", Duration::from_secs(60), async || {
        Ok(third().await?.filter(|it| it["reason"] == "detached: At noon ben detached it."))
    })
    .await?;
    assert_eq!(
        proxy.take_changes().iter().filter(|call| call.action != "DeleteMessageBatch").count(),
        0,
        "it only looks"
    );
    assert!(aggregator.process.terminate().await?.success());
    drop(fleet);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_tells_where_its_cloud_wants_it_and_only_the_inventory_is_believed() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let cloud = Cloud::start(directory.path()).await?;
    let instances = cloud.group("web", 2).await?;
    let config = format!("{HARDLY_EVER}[inventory.aws]\ngroups = [\"web\"]\n");
    let aggregator = Aggregator::start_on(directory.path(), &config, free_port()?, &cloud.environment()).await?;
    let url = aggregator.url.clone();
    let metadata = Metadata::start(&instances[0]).await?;
    metadata.set("autoscaling/target-lifecycle-state", "InService");
    let mut command = Command::new(binary("foreshadow-agent")?);
    command.args(["--aggregator", &url]).env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata.url);
    let agent = Process::start("agent", command, directory.path())?;
    let member = async || {
        Ok::<_, anyhow::Error>(members(&url).await?.into_iter().find(|it| it["instance"] == instances[0].as_str()))
    };
    let claims = async |state: &str, disagrees: bool| {
        eventually(&format!("the agent claims {state}"), Duration::from_secs(60), async || {
            Ok(member().await?.filter(|it| it["claimed_state"] == state && it["claim_disagrees"] == disagrees))
        })
        .await
    };
    claims("InService", false).await?;

    // A claim that the inventory does not bear out is shown, and moves nobody.
    metadata.set("autoscaling/target-lifecycle-state", "Detached");
    let lying = claims("Detached", true).await?;
    assert_eq!(lying["mode"], "serving");
    assert_eq!(sessions(&url).await?, Vec::<Value>::new());
    metadata.set("autoscaling/target-lifecycle-state", "InService");
    claims("InService", false).await?;

    // A true one makes the group be described at once.
    cloud.detach("web", &instances[0]).await?;
    metadata.set("autoscaling/target-lifecycle-state", "Standby");
    let session =
        eventually("a session opens", Duration::from_secs(60), async || Ok(sessions(&url).await?.pop())).await?;
    assert_eq!((&session["instance"], &session["origin"]), (&json!(instances[0]), &json!("foreign")));
    assert!(agent.terminate().await?.success());
    assert!(aggregator.process.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_says_that_one_was_detached_is_heard_at_once_and_once() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let cloud = Cloud::start(directory.path()).await?;
    let instances = cloud.group("web", 2).await?;
    let proxy = Proxy::start(&cloud.url).await?;
    let mut environment = cloud.environment();
    environment[0].1 = &proxy.url;
    let config = format!("{HARDLY_EVER}[inventory.aws]\ngroups = [\"web\"]\n");
    let aggregator = Aggregator::start_on(directory.path(), &config, free_port()?, &environment).await?;
    let url = aggregator.url.clone();
    let fleet = agents(&url, &instances)?;
    all_serve(&url, 2).await?;
    let says = async || {
        let body = json!({"group": "web", "instance": instances[0]}).to_string();
        let answer = web::request(Method::POST, &format!("{url}/shadow/detached"), &[], body).await?;
        ensure!(answer.status == 202, "{} {}", answer.status, answer.body);
        Ok(())
    };
    cloud.detach("web", &instances[0]).await?;
    says().await?;
    let opened = async || Ok(sessions(&url).await?.into_iter().find(|it| it["instance"] == instances[0].as_str()));
    let session = eventually("a session opens", NOTICED_WITHIN, opened).await?;
    assert_eq!(session["origin"], "foreign");
    let described = || proxy.calls().iter().filter(|call| call.action == "DescribeAutoScalingGroups").count();
    let before = described();
    for _ in 0..3 {
        says().await?;
    }
    // The group itself may be named alone, and that is another question.
    let answer = web::request(Method::POST, &format!("{url}/shadow/detached"), &[], r#"{"group": "web"}"#).await?;
    ensure!(answer.status == 202, "{}", answer.body);
    eventually("the group is described for that", NOTICED_WITHIN, async || Ok((described() > before).then_some(())))
        .await?;
    assert_eq!((described(), sessions(&url).await?.len()), (before + 1, 1), "who was heard of asks for nothing more");
    let metrics = web::get(&format!("{url}/metrics")).await?.body;
    let notices = |outcome: &str| format!("foreshadow_notices_total{{by=\"caller\",outcome=\"{outcome}\"}}");
    for (outcome, times) in [("new", 1), ("known", 3)] {
        ensure!(metrics.contains(&format!("{} {times}", notices(outcome))), "{outcome}: {metrics}");
    }
    assert!(aggregator.process.terminate().await?.success());
    drop(fleet);
    Ok(())
}
