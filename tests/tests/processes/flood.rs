//! What wants to fill the aggregator's memory does not: its size stays under the ceiling that is stated here, and others
//! are served meanwhile.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use foreshadow_proto::v1::agent_client::AgentClient;
use foreshadow_proto::v1::{self, agent_message};
use foreshadow_tests::fleet::{Fleet, Script};
use foreshadow_tests::process::{Aggregator, eventually};
use foreshadow_tests::web;
use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_stream::wrappers::ReceiverStream;

/// What all of it together may add to the aggregator's memory, bytes, beside its streams.
const CEILING: u64 = 96 << 20;
/// What one idle stream may take, bytes.
const STREAM_BYTES: u64 = 64 << 10;
/// Idle streams unless `FORESHADOW_STREAMS` says otherwise; 10 000 takes a minute more.
const STREAMS: usize = 1_000;
const SLOW: usize = 200;

fn resident(aggregator: &Aggregator) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", aggregator.process.id()?))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1_024)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_sent_fills_the_memory() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let aggregator = Aggregator::start(
        directory.path(),
        "[remote_write]\nexporter = \"node\"\n[otlp]\nexporter = \"hostmetrics\"\n[line_protocol]\nexporter = \"telegraf\"\n",
    )
    .await?;
    let url = aggregator.url.clone();
    let begun = resident(&aggregator)?;
    let authority = url.trim_start_matches("http://").to_owned();

    // Headers that come a byte at a time, and never to their end.
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let mut stream = TcpStream::connect(&authority).await?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nx-slow: ").await?;
        slow.push(stream);
    }
    // Snappy that says it becomes 4 GiB, one that is longer than it may be, and protobuf that says it has 4 GiB.
    let snappy = [("content-type", "application/x-protobuf"), ("content-encoding", "snappy")];
    let long = vec![0_u8; 9 << 20];
    for body in [vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0x00], long, vec![0x06, 0x14, 0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]] {
        let bomb = web::request(Method::POST, &format!("{url}/api/v1/write"), &snappy, body).await;
        // It may hang up in the middle of what is too long.
        ensure!(bomb.as_ref().is_ok_and(|answer| answer.status.is_client_error()) || bomb.is_err(), "{bomb:?}");
    }
    // Metrics of OpenTelemetry, and lines, that unpack to 256 MiB, and two million resources of two bytes each.
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..256 {
        bomb.write_all(&[0; 1 << 20])?;
    }
    let (bomb, many) = (bomb.finish()?, [0x0a, 0x00].repeat(2 << 20));
    let otlp = [("content-type", "application/x-protobuf"), ("content-encoding", "gzip")];
    for (path, status) in [("/v1/metrics", 400), ("/write", 413)] {
        let bomb = web::request(Method::POST, &format!("{url}{path}"), &otlp, bomb.clone()).await?;
        ensure!(bomb.status == status, "{bomb:?}");
    }
    // Lines by the million that are nothing, that nobody mapped, and that have more tags than anybody reads.
    let tags = format!("mem{} total=1", ",a=b".repeat(1 << 20));
    for line in ["x\n".repeat(4 << 20), "a b=1\n".repeat(1 << 20), "mem total=1\n".repeat(600_000), tags] {
        let many = web::request(Method::POST, &format!("{url}/write"), &[], line).await?;
        ensure!(many.body.len() < 4_096 && many.status.as_u16() < 500, "{many:?}");
    }
    let many = web::request(Method::POST, &format!("{url}/v1/metrics"), &otlp[..1], many).await?;
    ensure!(many.status == 200, "{many:?}");
    // A gzip that nobody asked for, and a line without an end.
    let gzip = [("content-type", "application/x-ndjson"), ("content-encoding", "gzip")];
    let zipped = web::request(Method::POST, &format!("{url}/shadow/metrics"), &gzip, vec![0x1f_u8; 1 << 20]).await;
    ensure!(zipped.as_ref().is_ok_and(|answer| answer.status.is_client_error()) || zipped.is_err(), "{zipped:?}");
    let line = vec![b'x'; 16 << 20];
    let json = [("content-type", "application/x-ndjson")];
    let endless = web::request(Method::POST, &format!("{url}/shadow/metrics"), &json, line).await;
    ensure!(endless.as_ref().is_ok_and(|answer| answer.status.is_client_error()) || endless.is_err(), "{endless:?}");
    // A message larger than any message.
    let mut client = AgentClient::connect(url.clone()).await?;
    let (outgoing, messages) = tokio::sync::mpsc::channel(4);
    let hello = v1::Hello { instance_id: "x".repeat(32 << 20), ..v1::Hello::default() };
    outgoing.send(v1::AgentMessage { kind: Some(agent_message::Kind::Hello(hello)) }).await?;
    // Refused by name, or the stream ends without a welcome.
    if let Ok(answer) = client.stream(ReceiverStream::new(messages)).await {
        let welcome = answer.into_inner().message().await;
        ensure!(!matches!(welcome, Ok(Some(_))), "a frame of 32 MiB is taken");
    }
    let after = resident(&aggregator)?;
    println!("{} MiB, then {} MiB", begun >> 20, after >> 20);
    assert!(after < begun + CEILING, "{} MiB after {} MiB", after >> 20, begun >> 20);

    // Streams that say nothing.
    let streams = std::env::var("FORESHADOW_STREAMS").ok().and_then(|told| told.parse().ok()).unwrap_or(STREAMS);
    let idle = Fleet::start(&Script {
        aggregator: url.clone(),
        instances: (0..streams).map(|number| format!("i-{number:05}")).collect(),
        group: "web".to_owned(),
        instance_type: String::new(),
        interval: Duration::from_secs(3_600),
        load: Arc::new(|_, _| 1.0),
    })?;
    eventually("all are welcome", Duration::from_secs(120), async || {
        Ok(idle.seen().iter().all(|agent| agent.directive.is_some()).then_some(()))
    })
    .await?;
    let each = resident(&aggregator)?.saturating_sub(after) / streams as u64;
    println!("{streams} idle streams take {each} bytes each");
    assert!(each < STREAM_BYTES, "{each} bytes a stream");
    assert_eq!(web::get(&format!("{url}/healthz")).await?.status, 200, "others are served");

    // Whoever was slow has been let go of by now, or is soon.
    for mut stream in slow {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
        ensure!(ended.is_ok(), "a header that never ends is waited for");
    }
    assert!(aggregator.process.terminate().await?.success());
    Ok(())
}
