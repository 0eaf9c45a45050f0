//! Metrics of the user's own, pushed from outside: they drive capacity while the CPU is low, are durable when they are told to be,
//! and where they are absent nobody is taken for idle.

use std::path::Path;
use std::time::Duration;

use foreshadow_tests::process::{Aggregator, eventually, free_port, tool};
use foreshadow_tests::tokens::Tokens;
use foreshadow_tests::web;
use http::Method;
use serde_json::{Value, json};
use tokio::process::Command;

const SERVING: [&str; 4] = ["i-1", "i-2", "i-3", "i-4"];
const WITHIN: Duration = Duration::from_secs(60);

fn now() -> i64 {
    use foreshadow_agent::clock::{Clock as _, HostClock};
    HostClock.wall_micros() / 1_000_000
}

/// Four serve in `web`, two in `jobs`.
fn config(directory: &Path) -> anyhow::Result<String> {
    let file = directory.join("inventory.toml");
    std::fs::write(
        &file,
        "[group.web]\nminimum = 1\nmaximum = 40\ninstances = [\"i-1\", \"i-2\", \"i-3\", \"i-4\"]\n\
         [group.jobs]\nminimum = 1\nmaximum = 40\ninstances = [\"j-1\", \"j-2\"]\n",
    )?;
    Ok(format!(
        "[inventory]\ninterval_seconds = 5\nwarm_up_seconds = 0\nfile = \"{}\"\n\
         [metric.requests]\nof = \"instance\"\nunit = \"1/s\"\ntitle = \"Requests per second\"\n\
         [metric.queue]\nof = \"group\"\n[metric.errors]\nof = \"instance\"\n\
         [group.web]\ntargets = {{ cpu = 60, requests = 200 }}\nveto_above = {{ errors = 5 }}\n[group.jobs]\ntargets = {{ cpu = 60, queue = 100 }}\n",
        file.display()
    ))
}

async fn push(url: &str, headers: &[(&str, &str)], lines: &[Value]) -> anyhow::Result<Value> {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let kind = ("content-type", "application/x-ndjson");
    let headers: Vec<_> = headers.iter().copied().chain([kind]).collect();
    web::request(Method::POST, &format!("{url}/shadow/metrics"), &headers, body).await?.json()
}

/// A quiet processor on each, and so many requests per second, of which one in fifty fails, at every second of `seconds`.
fn load(requests: f64, seconds: impl Iterator<Item = i64>) -> Vec<Value> {
    let each = |at: i64| {
        SERVING.map(|it| json!({"instance": it, "at": at, "cpu_percent": 10.0, "metrics": {"requests": requests, "errors": requests / 50.0}}))
    };
    seconds.flat_map(each).collect()
}

async fn plan_of(url: &str, group: &str) -> anyhow::Result<Value> {
    Ok(web::get_json(&format!("{url}/groups/{group}")).await?["plan"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_rise_drive_capacity_while_the_processors_are_idle() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (config, port) = (config(directory.path())?, free_port()?);
    let aggregator = Aggregator::start_on(directory.path(), &config, port, &[]).await?;
    let url = aggregator.url.clone();
    // Nothing was ever told: it holds, by its name, and asks for nobody.
    let plan = eventually("a hold that names the metric", WITHIN, async || {
        let plan = plan_of(&url, "web").await?;
        Ok(plan["holds_in_words"].to_string().contains("no fresh value of requests was sent").then_some(plan))
    })
    .await?;
    assert_eq!((&plan["need_now"], &plan["steps"]), (&Value::Null, &json!([])), "{plan}");
    let vetoes = |plan: &Value| {
        let holds = plan["holds"].as_array().into_iter().flatten();
        holds
            .filter(|hold| hold["hold"].as_str().is_some_and(|hold| hold.starts_with("Veto")))
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(vetoes(&plan), [json!({"hold": "VetoUntold", "metric": "errors"})], "{plan}");
    let begun = now() - 130;
    let told = push(&url, &[], &load(100.0, (begun..begun + 60).step_by(10))).await?;
    assert_eq!((&told["accepted"], &told["rejected_total"]), (&24.into(), &0.into()), "{told}");
    let needs = async |needed: u64, more: f64| {
        eventually("the need of the requests", WITHIN, async || {
            push(&url, &[], &load(more, now() - 58..now())).await?;
            let plan = plan_of(&url, "web").await?;
            Ok((plan["need_now"] == needed).then_some(plan))
        })
        .await
    };
    // 4 × 100 / 200, and 4 × 10 % of 60 % is one.
    let calm = needs(2, 100.0).await?;
    assert!(vetoes(&calm).is_empty(), "two errors a second are few: {calm}");
    assert_eq!((calm["binding"].as_str(), calm["serving"].as_u64()), (Some("requests"), Some(4)), "{calm}");
    foreshadow_tests::process::pause(Duration::from_secs(61)).await;
    // 4 × 610 / 200
    let risen = needs(13, 610.0).await?;
    assert_eq!(risen["binding"], "requests", "{risen}");
    let [veto] = &vetoes(&risen)[..] else { anyhow::bail!("no veto: {risen}") };
    assert_eq!((&veto["hold"], &veto["value"], &veto["limit"]), (&"Vetoed".into(), &12.2.into(), &5.0.into()));
    let cpu = risen["needs"].as_array().and_then(|needs| needs.iter().find(|need| need["metric"] == "cpu").cloned());
    assert_eq!(cpu.expect("cpu")["reactive"], 1, "its processors are idle");
    assert_eq!(risen["steps"][0]["step"], "launch", "{risen}");
    let capacity = web::get_json(&format!("{url}/predict/capacity?group=web")).await?;
    assert_eq!((&capacity["need_now"], &capacity["binding_metric"]), (&13.into(), &"requests".into()), "{capacity}");
    let object = json!({"scaledObjectRef": {"name": "web", "namespace": "shop", "scalerMetadata":
        {"scalerAddress": "x:1", "group": "web", "metric": "requests"}}, "metricName": "s0-instances"});
    let mut command = Command::new(tool("grpcurl")?);
    command.args(["-plaintext", "-d", &object.to_string(), &format!("127.0.0.1:{port}")]);
    let answer = command.arg("externalscaler.ExternalScaler/GetMetrics").output().await?;
    let answer: Value = serde_json::from_slice(&answer.stdout)?;
    assert_eq!(answer["metricValues"][0]["metricValue"], "13", "{answer}");
    let models = web::get_json(&format!("{url}/groups/web/models")).await?;
    assert_eq!(models["requests"]["declared"]["unit"], "1/s", "{models}");
    let minutes = eventually("its minutes", WITHIN, async || {
        let minutes = web::get_json(&format!("{url}/groups/web/minutes?metric=requests")).await?;
        Ok(minutes.as_array().filter(|minutes| !minutes.is_empty()).cloned())
    })
    .await?;
    assert!(minutes.iter().all(|minute| (399.9..=2_440.1).contains(&minute["gross_mean"].as_f64().unwrap_or(0.0))));

    // What was told to be durable is there after a kill, without anybody who tells it again.
    aggregator.process.kill().await?;
    let aggregator = Aggregator::start_on(directory.path(), &config, port, &[]).await?;
    let after = eventually("the need after a kill", WITHIN, async || {
        let plan = plan_of(&url, "web").await?;
        Ok(plan["need_now"].as_u64().filter(|need| *need >= 12))
    })
    .await?;
    assert!(after <= 13);
    drop(aggregator);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_of_its_group_and_what_cannot_be_told_is_named() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let tokens = Tokens::make(directory.path()).await?;
    let config = format!("[identity]\ntokens = \"{}\"\n{}", tokens.file.display(), config(directory.path())?);
    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let url = &aggregator.url;
    let [viewer, operator, agent] = ["viewer", "operator", "agent"].map(|role| format!("Bearer {}", tokens.of(role)));
    let get = async |path: &str| {
        web::request(Method::GET, &format!("{url}{path}"), &[("authorization", &viewer)], "").await?.json()
    };
    eventually("the inventory", WITHIN, async || {
        Ok((get("/groups/jobs").await?["summary"]["serving"] == 2).then_some(()))
    })
    .await?;
    let lines = [
        json!({"group": "jobs", "at": now(), "metrics": {"queue": 512}}),
        json!({"group": "jobs", "at": now(), "metrics": {"depth": 512}}),
        json!({"group": "jobs", "at": now(), "metrics": {"queue": -1}}),
        json!({"group": "nobody", "at": now(), "metrics": {"queue": 1}}),
        json!({"instance": "j-1", "at": now(), "metrics": {"queue": 1}}),
        json!({"group": "jobs", "at": now() - 8 * 3_600, "metrics": {"queue": 1}}),
        json!({"instance": "j-9", "at": now(), "metrics": {"requests": 1}}),
    ];
    let told = push(url, &[("authorization", &operator)], &lines).await?;
    assert_eq!(told["accepted"], 1, "{told:#}");
    let said: Vec<_> =
        told["rejected"].as_array().expect("rejected").iter().map(|line| line["reason"].as_str()).collect();
    for (said, wanted) in said.iter().zip([
        "depth is no field of a sample, and no metric that is declared (errors, queue, requests)",
        "queue -1: a load is a number from 0 to 1e12",
        "queue: group nobody is not known here",
        "queue is told of group (metric.queue.of), and the line names an instance alone",
        "queue: older than 6 hours; foreshadow import takes a past",
        "requests: instance j-9 is not known here",
    ]) {
        assert!(said.is_some_and(|said| said.contains(wanted)), "{wanted}: {said:?}");
    }
    // A token that all agents share proves nobody, and drives nothing.
    let line = json!({"group": "jobs", "at": now(), "metrics": {"queue": 9e9}});
    let forged = push(url, &[("authorization", &agent)], &[line]).await?;
    assert_eq!(forged["accepted"], 0, "{forged}");
    assert!(
        forged["rejected"][0]["reason"].as_str().is_some_and(|why| why.contains("an operator's token")),
        "{forged}"
    );
    // No agent reports a processor: the queue speaks, and the silence of the other metric takes nobody away.
    let plan = eventually("the need of the queue", WITHIN, async || {
        let plan = get("/groups/jobs").await?["plan"].clone();
        Ok((plan["need_now"] == 6).then_some(plan))
    })
    .await?;
    assert_eq!(plan["binding"], "queue", "{plan}");
    assert!(plan["holds_in_words"].to_string().contains("no serving instance reports cpu"), "{plan}");
    Ok(())
}
