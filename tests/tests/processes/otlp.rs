//! Real OpenTelemetry exporters, by gRPC and by HTTP: what they send becomes samples of instances, durable, through a kill -9.

use std::time::Duration;

use anyhow::ensure;
use foreshadow::clock::{Clock as _, SystemClock};
use foreshadow_tests::process::{Aggregator, Process, eventually, free_port, tool};
use foreshadow_tests::tokens::Tokens;
use foreshadow_tests::web;
use http::Method;
use serde_json::{Value, json};
use tokio::process::Command;

const SECTION: &str = "[otlp]\nexporter = \"hostmetrics\"\ngroup_label = \"service.name\"\n";
const DECLARED: &str = "[otlp.metric.\"app.jobs\"]\ngives = \"queue\"\n[metric.queue]\nof = \"group\"\n\
    [group.web.targets]\ncpu = 90\nqueue = 100\n";

/// Headers and a body, and the status and words they are answered with.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a [u8], u16, &'a str);

#[tokio::test(flavor = "multi_thread")]
async fn what_real_exporters_send_is_durable() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let tokens = Tokens::make(directory.path()).await?;
    let config = format!("[identity]\ntokens = \"{}\"\n{SECTION}{DECLARED}", tokens.file.display());
    let port = free_port()?;
    let aggregator = Aggregator::start_on(directory.path(), &config, port, &[]).await?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/oracles/otlp_export.py");
    let mut exporters = Vec::new();
    let ways = [
        ("grpc", "cumulative", "i-1"),
        ("http", "delta", "i-2"),
        ("http", "cumulative", "i-3"),
        ("grpc", "delta", "i-4"),
    ];
    for (way, temporality, instance) in ways {
        let mut command = Command::new(tool("python")?);
        command.args([script, way, &aggregator.url, tokens.of("operator"), instance, temporality]);
        exporters.push(Process::start(&format!("exporter-{instance}"), command, directory.path())?);
    }
    let bearer = format!("Bearer {}", tokens.of("viewer"));
    let get = async |path: String| {
        web::request(Method::GET, &format!("{}{path}", aggregator.url), &[("authorization", &bearer)], "").await
    };
    let complete = async |instance: &str, from: i64| {
        eventually(&format!("samples of all three kinds of {instance}"), Duration::from_secs(60), async || {
            let samples = get(format!("/shadow/metrics?instance={instance}&from=-10m")).await?.lines()?;
            let late = |sample: &&Value| sample["sequence"].as_i64().is_some_and(|at| at > from);
            let samples: Vec<Value> = samples.iter().filter(late).cloned().collect();
            let of = |field: &str| samples.iter().filter(|sample| !sample[field].is_null()).count();
            Ok((of("cpu_percent").min(of("memory_used_bytes")).min(of("network")) >= 2).then_some(samples))
        })
        .await
    };
    for (way, temporality, instance) in ways {
        for sample in complete(instance, 0).await? {
            let near =
                |field: &Value, wanted: f64| field.as_f64().is_none_or(|found| (found / wanted - 1.0).abs() < 0.1);
            ensure!(near(&sample["cpu_percent"], 70.0), "{way} {temporality}: {sample}");
            ensure!(near(&sample["memory_used_bytes"], 2e9) && near(&sample["memory_total_bytes"], 8e9), "{sample}");
            let network = &sample["network"];
            ensure!(
                near(&network["in_bytes"], 1_000.0) && near(&network["out_bytes"], 500.0),
                "{way} {temporality}: {sample}"
            );
            ensure!(
                near(&network["in_packets"], 10.0) && near(&network["out_packets"], 5.0),
                "{way} {temporality}: {sample}"
            );
        }
    }
    for exporter in &exporters {
        assert_eq!(exporter.output(), "", "an exporter was told that something is wrong");
    }
    // The group is what the service says, and its instances serve.
    eventually("the group of the service", Duration::from_secs(60), async || {
        let answer = get("/groups/web".to_owned()).await?;
        Ok((answer.status == 200).then(|| answer.json()).transpose()?.filter(|group| group["summary"]["serving"] == 4))
    })
    .await?;

    // A metric of the user's own comes the same way, and asks for more than the processors do.
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/oracles/otlp_level.py");
    for (way, jobs, need) in [("grpc", "600", 6), ("http", "800", 8)] {
        let mut command = Command::new(tool("python")?);
        command.args([script, way, &aggregator.url, tokens.of("operator"), "app.jobs", jobs]);
        let exporter = Process::start(&format!("level-{way}"), command, directory.path())?;
        let plan = eventually(&format!("the need of the queue by {way}"), Duration::from_secs(60), async || {
            let plan = get("/groups/web".to_owned()).await?.json()?["plan"].clone();
            Ok((plan["need_now"] == need).then_some(plan))
        })
        .await?;
        assert_eq!(plan["binding"], "queue", "{plan}");
        assert_eq!(exporter.output(), "", "the exporter was told that something is wrong");
        exporter.kill().await?;
    }

    // Killed, it has what it had said it has, and the exporters go on.
    let before = get("/shadow/metrics?instance=i-1&from=-10m".to_owned()).await?.lines()?;
    aggregator.process.kill().await?;
    let aggregator = Aggregator::start_on(directory.path(), &config, port, &[]).await?;
    let again = SystemClock.wall_micros();
    let url = format!("{}/shadow/metrics?instance=i-1&from=-10m", aggregator.url);
    let after = web::request(Method::GET, &url, &[("authorization", &bearer)], "").await?.lines()?;
    for sample in &before {
        ensure!(
            after.iter().any(|it| it["sequence"] == sample["sequence"] && it["stream"] == sample["stream"]),
            "{sample} is lost"
        );
    }
    for (_, _, instance) in ways {
        complete(instance, again).await?;
    }
    let metrics = get("/metrics".to_owned()).await?.body;
    assert!(metrics.contains("foreshadow_otlp_points_total{outcome=\"stored\"}"), "{metrics}");
    assert!(metrics.contains("foreshadow_otlp_points_total{outcome=\"unmapped\"}"), "{metrics}");
    Ok(())
}

/// A host that idles half of the time, as JSON.
fn scrape(instance: &str, at_micros: i64, idle: f64) -> String {
    let point = json!({"timeUnixNano": (at_micros * 1_000).to_string(), "startTimeUnixNano": "1", "asDouble": idle,
        "attributes": [{"key": "cpu", "value": {"stringValue": "cpu0"}}, {"key": "state", "value": {"stringValue": "idle"}}]});
    let resource = json!({"attributes": [{"key": "host.id", "value": {"stringValue": instance}},
        {"key": "service.name", "value": {"stringValue": "web"}}]});
    json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [
        {"name": "system.cpu.time", "sum": {"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [point]}},
        {"name": "system.cpu.time", "histogram": {"aggregationTemporality": 2, "dataPoints": [{"count": "1"}]}}]}]}]})
    .to_string()
}

/// How many jobs wait for a service, as JSON.
pub fn waiting(service: &str, at_micros: i64, jobs: u32) -> String {
    let point = json!({"timeUnixNano": (at_micros * 1_000).to_string(), "asInt": jobs.to_string()});
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": service}}]});
    json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [
        {"name": "app.jobs", "gauge": {"dataPoints": [point]}}]}]}]})
    .to_string()
}

#[tokio::test]
async fn what_cannot_be_taken_is_told_so_that_nobody_sends_it_again() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let aggregator = Aggregator::start(directory.path(), &format!("{SECTION}{DECLARED}")).await?;
    let url = format!("{}/v1/metrics", aggregator.url);
    let json_kind = [("content-type", "application/json")];
    let now = SystemClock.wall_micros();
    let first = web::request(Method::POST, &url, &json_kind, scrape("i-1", now - 20_000_000, 0.0)).await?;
    assert_eq!((first.status.as_u16(), &first.headers["content-type"]), (200, &"application/json".parse()?));
    let partial = &first.json()?["partialSuccess"];
    assert_eq!(partial["rejectedDataPoints"], "1", "{partial}");
    assert!(partial["errorMessage"].as_str().is_some_and(|said| said.contains("histogram")), "{partial}");
    web::request(Method::POST, &url, &json_kind, scrape("i-1", now - 10_000_000, 5.0)).await?;
    let samples = web::get(&format!("{}/shadow/metrics?instance=i-1&from=-5m", aggregator.url)).await?.lines()?;
    assert_eq!(samples.iter().map(|sample| sample["cpu_percent"].as_f64()).collect::<Vec<_>>(), [Some(50.0)]);
    // One reading of a level says nothing, and the next is of a group that nobody has.
    web::request(Method::POST, &url, &json_kind, waiting("nobody", now - 10_000_000, 7)).await?;
    let partial = web::request(Method::POST, &url, &json_kind, waiting("nobody", now, 7)).await?.json()?;
    assert_eq!(partial["partialSuccess"]["rejectedDataPoints"], "1", "{partial}");
    assert!(partial.to_string().contains("not known here"), "{partial}");

    let protobuf = ("content-type", "application/x-protobuf");
    let zipped = ("content-encoding", "gzip");
    let cases: [Case<'_>; 7] = [
        (&json_kind, b"{\"resourceMetrics\": 3}", 400, "in JSON"),
        (&json_kind, b"", 400, "in JSON"),
        (&[protobuf], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f], 400, "is no ExportMetricsServiceRequest"),
        (&[protobuf, zipped], b"not gzip", 400, "is not gzip"),
        (&[protobuf, ("content-encoding", "zstd")], b"", 415, "gzip, or none"),
        (&[("content-type", "text/plain")], b"", 415, "application/x-protobuf"),
        (&[protobuf], b"", 200, ""),
    ];
    for (headers, body, status, said) in cases {
        let answer = web::request(Method::POST, &url, headers, body.to_vec()).await?;
        assert!(
            answer.status.as_u16() == status && answer.body.contains(said),
            "{said}: {} {:?}",
            answer.status,
            answer.body
        );
    }
    // By gRPC: a message that is shorter than it says, packing that is not spoken, nothing at all, and an empty request.
    let grpc = format!("{}/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", aggregator.url);
    for (body, packing, status) in [
        (&[0, 0, 0, 0, 9, 1][..], "", "3"),
        (&[1, 0, 0, 0, 0], "zstd", "12"),
        (&[], "", "3"),
        (&[0, 0, 0, 0, 1, 0xff], "", "3"),
    ] {
        let headers = [("content-type", "application/grpc"), ("grpc-encoding", packing)];
        let answer = web::request(Method::POST, &grpc, &headers, body.to_vec()).await?;
        assert_eq!(answer.headers["grpc-status"], status, "{body:?}: {:?}", answer.headers);
    }
    // Nobody asked for it: there is no [otlp].
    let other = tempfile::tempdir()?;
    let aggregator = Aggregator::start(other.path(), "").await?;
    let answer = web::request(Method::POST, &format!("{}/v1/metrics", aggregator.url), &json_kind, "{}").await?;
    assert!(answer.status == 404 && answer.body.contains("add [otlp]"), "{} {}", answer.status, answer.body);
    Ok(())
}
