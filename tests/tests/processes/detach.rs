//! A group of fifty at a local AWS; one is detached, and everybody who should know does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use foreshadow_proto::v1;
use foreshadow_tests::cloud::Cloud;
use foreshadow_tests::fleet::{Fleet, Script};
use foreshadow_tests::process::{Aggregator, eventually, free_port, pause, tool};
use foreshadow_tests::web;
use http::Method;
use serde_json::Value;
use tokio::process::Command;

use super::history::{now, three_days};

const SIZE: usize = 50;
/// Load of the whole group, points: it spreads over whoever serves.
const LOAD: f64 = 1_500.0;
/// Points a detached instance still uses.
const IDLE: f32 = 2.0;
const CONFIG: &str = "\
[inventory]\ninterval_seconds = 5\nwarm_up_seconds = 0\ndrain_seconds = 5\n\
[inventory.aws]\ngroups = [\"web\"]\n\
[shadow]\ndefault_seconds = 600\n[shadow.prices_per_hour]\n\"m5.large\" = 0.096\n";

/// A daily shape, with a little that no day repeats.
fn daily(minute: i64) -> f64 {
    let turn = std::f64::consts::TAU * (minute.rem_euclid(1_440) as f64) / 1_440.0;
    LOAD * (1.0 + 0.3 * turn.sin()) + 10.0 * ((minute * 7_919).rem_euclid(13) as f64 - 6.0)
}

/// `web` as `GET /groups` has it.
async fn group(url: &str) -> anyhow::Result<Value> {
    let groups = web::get_json(&format!("{url}/groups")).await?;
    let found = groups["groups"].as_array().and_then(|all| all.iter().find(|group| group["name"] == "web").cloned());
    found.context("no group web yet")
}

async fn demand(url: &str) -> anyhow::Result<f64> {
    let detail = web::get_json(&format!("{url}/groups/web")).await?;
    detail["plan"]["needs"][0]["demand"].as_f64().context("no demand yet")
}

async fn grpcurl(port: u16, arguments: &[&str], method: &str) -> anyhow::Result<Value> {
    let mut command = Command::new(tool("grpcurl")?);
    command.arg("-plaintext").args(arguments).arg(format!("127.0.0.1:{port}")).arg(method);
    let output = command.output().await?;
    ensure!(output.status.success(), "grpcurl: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_instance_opens_a_session_and_leaves_demand_alone() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let cloud = Cloud::start(directory.path()).await?;
    let instances = cloud.group("web", SIZE as u32).await?;
    ensure!(instances.len() == SIZE, "{instances:?}");

    // The first run makes the database, the second finds a history in it.
    let port = free_port()?;
    let start = async || Aggregator::start_on(directory.path(), CONFIG, port, &cloud.environment()).await;
    assert!(start().await?.process.terminate().await?.success());
    three_days(directory.path(), "web", SIZE, daily).await?;
    let aggregator = start().await?;
    let url = &aggregator.url;

    let (serving, detached) = (Arc::new(AtomicUsize::new(SIZE)), Arc::new(AtomicUsize::new(usize::MAX)));
    let (many, out) = (serving.clone(), detached.clone());
    let fleet = Fleet::start(&Script {
        aggregator: url.clone(),
        instances: instances.clone(),
        group: String::new(),
        instance_type: "m5.large".to_owned(),
        interval: Duration::from_secs(1),
        load: Arc::new(move |index, _| {
            if index == out.load(Ordering::Relaxed) {
                return IDLE;
            }
            (LOAD / many.load(Ordering::Relaxed) as f64) as f32
        }),
    })?;
    eventually("all fifty serve, report, and are forecast", Duration::from_secs(150), async || {
        let group = group(url).await?;
        let whole = group["serving"] == SIZE && group["reporting"] == SIZE && group["need_ahead"].is_u64();
        let steady = (demand(url).await? - LOAD).abs() < 1.0;
        Ok((whole && steady).then_some(()))
    })
    .await?;

    let victim = 17;
    cloud.detach("web", &instances[victim]).await?;
    detached.store(victim, Ordering::Relaxed);
    serving.store(SIZE - 1, Ordering::Relaxed);
    let hint = format!("{url}/shadow/detached");
    let hinted = web::request(Method::POST, &hint, &[], format!("{{\"instance\": \"{}\"}}", instances[victim])).await?;
    assert_eq!(hinted.status, 202, "{}", hinted.body);

    let session = eventually("a shadow session opens", Duration::from_secs(30), async || {
        Ok(web::get_json(&format!("{url}/shadow/sessions?group=web")).await?.get(0).cloned())
    })
    .await?;
    assert_eq!(session["instance"], instances[victim].as_str());
    assert_eq!((&session["origin"], &session["price_per_hour"]), (&"foreign".into(), &0.096.into()));
    let until = session["until"].as_i64().context("until")?;
    assert_eq!(until - session["started"].as_i64().context("started")?, 600);

    let told = eventually("its agent is told", Duration::from_secs(30), async || {
        let directive = fleet.of(&instances[victim]).and_then(|seen| seen.directive);
        Ok(directive.filter(|directive| directive.mode() == v1::Mode::Shadow))
    })
    .await?;
    assert_eq!(told.shadow_until_micros, until * 1_000_000);
    let other = fleet.of(&instances[0]).and_then(|seen| seen.directive).context("a directive")?;
    assert_eq!((other.mode(), other.shadow_until_micros), (v1::Mode::Serving, 0));

    // Demand is what it was while the change passes through, and after it has passed.
    for _ in 0..9 {
        let demand = demand(url).await?;
        assert!((demand - LOAD).abs() < 0.04 * LOAD, "demand moved to {demand}");
        pause(Duration::from_secs(10)).await;
    }
    let settled = demand(url).await?;
    assert!((settled - LOAD).abs() < 1.0, "demand settled at {settled}");
    let after = group(url).await?;
    assert_eq!((&after["serving"], &after["shadow"], &after["need_now"]), (&49.into(), &1.into(), &25.into()));
    let shadow = format!("{url}/shadow/metrics?instance={}&from=-10s", instances[victim]);
    let line = web::get(&shadow).await?.lines()?.pop().context("the shadow is still measured")?;
    assert_eq!((&line["mode"], &line["cpu_percent"]), (&"shadow".into(), &2.0.into()));

    same_answer_by_grpc_and_rest(url, aggregator.port).await?;
    for agent in fleet.seen() {
        assert_eq!((agent.connections, agent.dropped), (1, 0), "{agent:?}");
    }
    assert!(aggregator.process.terminate().await?.success());
    Ok(())
}

/// `/predict/capacity` and `Predict/PredictCapacity` say the same, with quantiles and evidence.
async fn same_answer_by_grpc_and_rest(url: &str, port: u16) -> anyhow::Result<()> {
    let at = now() + 3_600;
    let asked = format!("{{\"group\": \"web\", \"atSeconds\": \"{at}\", \"confidence\": 0.95}}");
    let grpc = async || grpcurl(port, &["-d", &asked], "foreshadow.v1.Predict/PredictCapacity").await;
    let rest = format!("{url}/predict/capacity?group=web&at={at}&confidence=0.95");
    let (rest, grpc) = eventually("both answers are of one round", Duration::from_secs(20), async || {
        let (before, grpc, after) = (web::get_json(&rest).await?, grpc().await?, web::get_json(&rest).await?);
        Ok((before == after).then_some((before, grpc)))
    })
    .await?;
    for (rest_name, grpc_name) in [
        ("need", "need"),
        ("serving", "serving"),
        ("need_now", "needNow"),
        ("trust", "trust"),
        ("step_seconds", "stepSeconds"),
    ] {
        assert_eq!(rest[rest_name], grpc[grpc_name], "{rest_name}\n{rest:#}\n{grpc:#}");
    }
    let (by_rest, by_grpc) = (&rest["metrics"][0], &grpc["metrics"][0]);
    assert_eq!((&by_rest["need"], &by_rest["model"]), (&by_grpc["need"], &by_grpc["model"]));
    assert_eq!(by_rest["quantiles"].as_array().map(Vec::len), Some(6));
    assert_eq!(by_grpc["quantiles"].as_array().map(Vec::len), Some(6));
    assert_eq!((&rest["binding_metric"], &grpc["bindingMetric"]), (&"cpu".into(), &"cpu".into()));
    assert!(rest["holds"].as_array().is_some_and(|holds| !holds.is_empty()), "{rest:#}");
    assert!(rest["trust"].as_f64() > Some(0.0), "{rest:#}");
    let need = rest["need"].as_u64().context("need")?;
    assert!((15..=45).contains(&need), "{need}");
    // What REST refuses, gRPC refuses.
    let wrong =
        grpcurl(port, &["-d", "{\"group\": \"web\", \"confidence\": 1.5}"], "foreshadow.v1.Predict/PredictCapacity");
    let refused = format!("{:#}", wrong.await.expect_err("refused"));
    assert!(refused.contains("InvalidArgument") && refused.contains("confidence"), "{refused}");
    let refused = web::get(&format!("{url}/predict/capacity?group=web&confidence=1.5")).await?;
    assert_eq!(refused.status, 400);
    Ok(())
}
