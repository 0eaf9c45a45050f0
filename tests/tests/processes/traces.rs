//! Decisions as an OpenTelemetry collector gets them: decoded by the official package, from the samples to the call, through a
//! restart; and a collector that is not there slows nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use foreshadow_tests::cloud::Cloud;
use foreshadow_tests::fleet::{Fleet, Script};
use foreshadow_tests::process::{Aggregator, Process, binary, eventually, free_port, tool};
use foreshadow_tests::web;
use http::Method;
use serde_json::Value;
use tokio::process::Command;

use super::machines::{SIZE, Setup, World};

const WITHIN: Duration = Duration::from_secs(120);

/// A receiver that decodes with the official Python package.
struct Collector {
    _process: Process,
    told: PathBuf,
}

impl Collector {
    async fn start(directory: &Path, port: u16) -> anyhow::Result<Self> {
        let told = directory.join("told");
        let mut command = Command::new(tool("python")?);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/oracles/otlp_collector.py"));
        command.arg(port.to_string()).arg(&told);
        let process = Process::start("collector", command, directory)?;
        eventually("the collector answers", WITHIN, async || {
            Ok(web::get(&format!("http://127.0.0.1:{port}/")).await?.status.is_success().then_some(()))
        })
        .await?;
        Ok(Self { _process: process, told })
    }

    fn spans(&self) -> anyhow::Result<Vec<Value>> {
        let text = match std::fs::read_to_string(&self.told) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// Waits for a span of this name, and gives all of its trace.
    async fn trace_with(&self, name: &str) -> anyhow::Result<Vec<Value>> {
        eventually(&format!("a span {name}"), WITHIN, async || {
            let spans = self.spans()?;
            let Some(found) = spans.iter().rfind(|span| span["name"] == name) else { return Ok(None) };
            Ok(Some(spans.iter().filter(|span| span["trace"] == found["trace"]).cloned().collect()))
        })
        .await
    }
}

fn named<'a>(trace: &'a [Value], name: &str) -> anyhow::Result<&'a Value> {
    let mut found = trace.iter().filter(|span| span["name"] == name);
    let one = found.next().with_context(|| format!("a span {name} in {trace:#?}"))?;
    ensure!(found.next().is_none(), "one span {name} in {trace:#?}");
    Ok(one)
}

/// From when to when, ns.
fn over(span: &Value) -> (u64, u64) {
    (span["start"].as_u64().unwrap_or_default(), span["end"].as_u64().unwrap_or_default())
}

fn config(port: u16, more: &str) -> String {
    format!("[traces]\nendpoint = \"http://127.0.0.1:{port}/v1/traces\"\n{more}")
}

/// Every child lies within a span that is there, and begins no sooner; each id is there once.
fn is_whole(trace: &[Value]) -> anyhow::Result<()> {
    let mut seen = std::collections::BTreeSet::new();
    for span in trace {
        ensure!(seen.insert(span["span"].as_str()), "twice: {span:#}");
        let (start, end) = over(span);
        ensure!(0 < start && start <= end, "{span:#}");
        let parent = trace.iter().find(|it| it["span"] == span["parent"]);
        match parent {
            None => ensure!(span["name"] == "decision" && span["parent"] == "", "an orphan: {span:#}"),
            Some(parent) => ensure!(over(parent).0 <= start, "{span:#} in {parent:#}"),
        }
        // An intent begins when the decision is handed over.
        if span["name"] != "intent"
            && let Some(parent) = parent
        {
            ensure!(end <= over(parent).1, "{span:#} in {parent:#}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_is_one_trace_from_its_samples_to_its_call() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let cloud = Cloud::start(directory.path()).await?;
    let instances = cloud.template_group("web", 1, &["us-east-1a"]).await?;
    let (port, collecting) = (free_port()?, free_port()?);
    let collector = Collector::start(directory.path(), collecting).await?;
    let token = directory.path().join("token");
    std::fs::write(&token, "of-the-collector\n")?;
    let config = format!(
        "[inventory]\ninterval_seconds = 5\nwarm_up_seconds = 0\n[inventory.aws]\ngroups = [\"web\"]\n\
         [safety]\nwarm_up_seconds = 0\n[group.web]\nminimum = 2\nmaximum = 5\n{}",
        config(collecting, &format!("token_file = \"{}\"\nsampled = 0.0\n", token.display()))
    );
    let aggregator = Aggregator::start_on(directory.path(), &config, port, &cloud.environment()).await?;
    let _fleet = Fleet::start(&Script {
        aggregator: aggregator.url.clone(),
        instances,
        group: String::new(),
        instance_type: "m5.large".to_owned(),
        interval: Duration::from_secs(1),
        load: Arc::new(|_, _| 30.0),
    })?;
    let plan = async || Ok::<_, anyhow::Error>(web::get_json(&aggregator.url_of("/groups/web")).await?["plan"].clone());
    eventually("present demand", WITHIN, async || Ok(plan().await?["need_now"].is_number().then_some(()))).await?;
    assert_eq!(collector.spans()?, Vec::<Value>::new(), "it changes nothing, and none of those is told");
    let mode = r#"{"mode": "scale-out", "reason": "the test"}"#;
    let answer = web::request(Method::POST, &aggregator.url_of("/groups/web/mode"), &[], mode).await?;
    ensure!(answer.status.is_success(), "{}", answer.body);
    let trace = collector.trace_with("intent").await.with_context(|| aggregator.process.output())?;
    is_whole(&trace)?;
    assert!(trace.len() >= 10, "{trace:#?}");

    let decision = named(&trace, "decision")?;
    let said = &decision["attributes"];
    assert_eq!((&said["foreshadow.group"], &said["foreshadow.mode"]), (&"web".into(), &"scale-out".into()), "{said}");
    assert_eq!(said["foreshadow.need_now"], 1, "{said}");
    assert!(said["foreshadow.trust"].is_number() && said["foreshadow.holds"].is_array(), "{said}");
    let resource = &decision["resource"];
    assert_eq!((&resource["service.name"], &decision["scope"]), (&"foreshadow".into(), &"foreshadow".into()));
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(resource["service.instance.id"].as_str().map(str::len), Some(32), "{resource}");
    assert_eq!(decision["token"], "Bearer of-the-collector");

    let samples = named(&trace, "samples")?;
    let (from, to) = over(samples);
    assert!([20, 60].contains(&((to - from) / 1_000_000_000)), "{samples:#}");
    assert_eq!(samples["attributes"]["foreshadow.reporting"], 1, "{samples:#}");
    for name in ["forecast", "plan", "check"] {
        let part = named(&trace, name);
        // The intent has a check as well.
        let part = if name == "check" {
            trace.iter().find(|it| it["name"] == name && it["parent"] == decision["span"]).context("a check")?
        } else {
            part?
        };
        assert!(to <= over(part).0 && part["parent"] == decision["span"], "{part:#}");
    }

    let intent = named(&trace, "intent")?;
    assert_eq!((&intent["status"], &intent["parent"]), (&"STATUS_CODE_OK".into(), &decision["span"]), "{intent:#}");
    assert_eq!(intent["attributes"]["foreshadow.count"], 1);
    let mut before = 0;
    for name in ["write", "describe", "check", "call", "settle"] {
        let stage = trace.iter().find(|it| it["name"] == name && it["parent"] == intent["span"]);
        let stage = stage.with_context(|| format!("a stage {name} in {trace:#?}"))?;
        assert!(before <= over(stage).0, "{name} in its order: {trace:#?}");
        before = over(stage).1;
    }
    assert_eq!(named(&trace, "call")?["kind"], "SPAN_KIND_CLIENT");

    // The record and the program know the trace by the same id, and the journal the intent by the same token.
    let generation = said["foreshadow.generation"].to_string();
    let kept = web::get_json(&aggregator.url_of(&format!("/plans/{generation}?group=web"))).await?;
    assert_eq!(kept["trace_id"], decision["trace"], "{kept:#}");
    let mut command = Command::new(binary("foreshadow")?);
    command.args(["explain", "web", "--generation", &generation, "--url", &aggregator.url]);
    let explained = String::from_utf8(command.output().await?.stdout)?;
    let line = format!("trace {}", decision["trace"].as_str().unwrap_or_default());
    assert!(explained.lines().any(|said| said == line), "{line} in\n{explained}");
    let intents = web::get_json(&aggregator.url_of("/intents?group=web")).await?;
    assert_eq!(intents[0]["token"], intent["attributes"]["foreshadow.token"], "{intents:#}");
    let metrics = web::get(&aggregator.url_of("/metrics")).await?.body;
    assert!(metrics.contains("foreshadow_trace_spans_total{outcome=\"dropped\"} 0"), "{metrics}");
    assert!(aggregator.process.terminate().await?.success());
    Ok(())
}

/// A collector that takes connections and never answers: it launches all the same, at once, rounds go on, and what is dropped is
/// counted. Then a real one, and a kill in the middle of a launch: what was begun before is told after, in the same trace.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_slows_nothing_and_a_restart_goes_on_with_the_trace() -> anyhow::Result<()> {
    let port = free_port()?;
    let hanging = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let mut world = World::start_with(Setup { more: &config(port, "sampled = 1.0\n"), ..Setup::default() }).await?;
    let count = async |name: &str| {
        let metrics = web::get(&world.url("/metrics")).await?.body;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok::<u64, anyhow::Error>(line.map_or(Ok(0), str::parse)?)
    };
    world.carry(SIZE + 1)?;
    world.settled_at("web", SIZE + 1).await?;
    let rounds = count("foreshadow_rounds_total").await?;
    let begun = tokio::time::Instant::now();
    let dropped = "foreshadow_trace_spans_total{outcome=\"dropped\"}";
    eventually("what is dropped is counted", WITHIN, async || Ok((count(dropped).await? > 0).then_some(()))).await?;
    eventually("a round", Duration::from_secs(30), async || {
        Ok((count("foreshadow_rounds_total").await? > rounds).then_some(()))
    })
    .await?;
    let made = count("foreshadow_rounds_total").await? - rounds;
    assert!(made + 2 >= begun.elapsed().as_secs() / 10, "{made} rounds in {:?}", begun.elapsed());
    assert_eq!(count("foreshadow_trace_spans_total{outcome=\"sent\"}").await?, 0);
    let first = world.intents("web").await?.first().cloned().context("an intent")?;
    let took = first["settled_at"].as_i64().zip(first["written_at"].as_i64()).map(|(end, begin)| end - begin);
    assert!(took.is_some_and(|seconds| seconds <= 10), "{first:#}");

    world.kill().await?;
    drop(hanging);
    let collector = Collector::start(world.directory.path(), port).await?;
    world.hold("web", "launch after")?;
    world.serve().await?;
    world.carry(SIZE + 2)?;
    world.held("web").await?;
    let open = world.intents("web").await?.into_iter().find(|it| it["settled"].is_null()).context("an open intent")?;
    let of_it = |span: &&Value| span["attributes"]["foreshadow.generation"] == open["generation"];
    eventually("its decision is told before it is settled", WITHIN, async || {
        Ok(collector.spans()?.iter().filter(of_it).any(|span| span["name"] == "decision").then_some(()))
    })
    .await?;
    world.kill().await?;
    world.release("web")?;
    world.serve().await?;
    world.settled_at("web", SIZE + 2).await?;
    let trace = collector.trace_with("intent").await?;
    is_whole(&trace)?;
    let (decision, intent) = (named(&trace, "decision")?, named(&trace, "intent")?);
    assert_eq!(decision["attributes"]["foreshadow.generation"], open["generation"]);
    assert_eq!(intent["attributes"]["foreshadow.token"], open["token"]);
    assert_eq!(intent["attributes"]["foreshadow.reopened"], true, "{intent:#}");
    assert_eq!((&intent["status"], &intent["events"][0]["name"]), (&"STATUS_CODE_OK".into(), &"sent".into()));
    // Whether it was done is asked again while the sources are not read yet.
    assert!(trace.iter().any(|span| span["name"] == "resolve"), "{trace:#?}");
    assert_eq!(named(&trace, "settle")?["parent"], intent["span"]);
    Ok(())
}
