//! The InfluxDB writer against a server of our own that reads line protocol by itself: every point
//! is well formed, none is missing, and an outage only delays.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use foreshadow_tests::fleet::{Fleet, Script};
use foreshadow_tests::process::{Aggregator, eventually};
use foreshadow_tests::web;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

#[derive(Debug, Default)]
struct Received {
    /// Line → how often it came.
    lines: BTreeMap<String, usize>,
    requests: Vec<(String, String)>,
}

#[derive(Debug, Clone, Default)]
struct Server {
    received: Arc<Mutex<Received>>,
    down: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
}

impl Server {
    async fn start(&self) -> anyhow::Result<String> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let server = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| server.clone().answer(request));
                    drop(
                        hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
        Ok(url)
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        if self.down.load(Ordering::Relaxed) {
            // One way of refusing after another.
            let ways = [
                http::StatusCode::SERVICE_UNAVAILABLE,
                http::StatusCode::UNAUTHORIZED,
                http::StatusCode::TOO_MANY_REQUESTS,
            ];
            let mut response = Response::new(Full::new(Bytes::from_static(b"{\"message\": \"down\"}")));
            *response.status_mut() = ways[self.refused.fetch_add(1, Ordering::Relaxed) % ways.len()];
            return Ok(response);
        }
        let token = request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let head = (request.uri().to_string(), token.to_owned());
        let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.requests.push(head);
        for line in String::from_utf8_lossy(&body).lines() {
            *received.lines.entry(line.to_owned()).or_default() += 1;
        }
        let mut response = Response::new(Full::default());
        *response.status_mut() = http::StatusCode::NO_CONTENT;
        Ok(response)
    }

    fn lines(&self) -> Vec<String> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).lines.keys().cloned().collect()
    }
}

/// `measurement,tag=value field=number[i],… nanoseconds` (InfluxData, "Line protocol", v2).
fn read(line: &str) -> anyhow::Result<(String, i64, BTreeMap<String, f64>)> {
    let mut parts = line.split(' ');
    let (head, fields, time) = (parts.next(), parts.next(), parts.next());
    ensure!(parts.next().is_none(), "more than three parts: {line}");
    let (measurement, tags) = head.and_then(|head| head.split_once(',')).with_context(|| format!("no tag: {line}"))?;
    ensure!(!measurement.is_empty(), "no measurement: {line}");
    let instance = tags.strip_prefix("instance=").with_context(|| format!("no instance: {line}"))?;
    ensure!(!instance.is_empty() && !instance.contains(['\\', ',', '=']), "unescaped: {line}");
    let mut values = BTreeMap::new();
    for field in fields.with_context(|| format!("no fields: {line}"))?.split(',') {
        let (name, value) = field.split_once('=').with_context(|| format!("no value: {line}"))?;
        let number: f64 = value.strip_suffix('i').unwrap_or(value).parse().with_context(|| line.to_owned())?;
        ensure!(number.is_finite() && !value.contains(['n', 'N']), "not a number: {line}");
        ensure!(values.insert(name.to_owned(), number).is_none(), "twice: {line}");
    }
    let time: i64 = time.with_context(|| format!("no time: {line}"))?.parse()?;
    ensure!(time > 1_600_000_000_000_000_000, "not nanoseconds: {line}");
    Ok((instance.to_owned(), time, values))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_reaches_influxdb_through_an_outage() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let server = Server::default();
    let url = server.start().await?;
    let token = directory.path().join("influx.token");
    std::fs::write(&token, "the-influx-token\n")?;
    let config = format!(
        "[store.influxdb]\nurl = \"{url}\"\norganisation = \"ops\"\nbucket = \"fore shadow\"\ntoken_file = \"{}\"\n",
        token.display()
    );
    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let instances: Vec<String> = (0..5).map(|number| format!("i-{number}")).collect();
    let fleet = Fleet::start(&Script {
        aggregator: aggregator.url.clone(),
        instances: instances.clone(),
        group: "web".to_owned(),
        instance_type: String::new(),
        interval: Duration::from_millis(100),
        load: Arc::new(|index, second| if second % 5 == 0 { f32::NAN } else { 10.0 * index as f32 }),
    })?;
    eventually("points arrive", Duration::from_secs(30), async || Ok((server.lines().len() > 50).then_some(())))
        .await?;
    server.down.store(true, Ordering::Relaxed);
    let before = server.lines().len();
    eventually("it is refused in every way", Duration::from_secs(30), async || {
        Ok((server.refused.load(Ordering::Relaxed) >= 3).then_some(()))
    })
    .await?;
    assert_eq!(server.lines().len(), before, "down is down");
    let ready = web::get(&format!("{}/readyz", aggregator.url)).await?;
    assert_eq!(ready.status, 200, "samples are durable here all the same: {}", ready.body);
    let behind = ready.json()?["store"]["forward_lag_ticks"].as_i64().context("the lag is shown")?;
    assert!(behind > 0, "{}", ready.body);
    server.down.store(false, Ordering::Relaxed);
    drop(fleet);

    let stored = async || {
        let mut stored = 0;
        for instance in &instances {
            let url = format!("{}/shadow/metrics?instance={instance}&from=-5m", aggregator.url);
            stored += web::get(&url).await?.lines()?.len();
        }
        anyhow::Ok(stored)
    };
    let lines = eventually("all that is stored is there, each once", Duration::from_secs(60), async || {
        let (before, lines, after) = (stored().await?, server.lines(), stored().await?);
        Ok((before == after && lines.len() == before && before > 100).then_some(lines))
    })
    .await?;
    for line in &lines {
        let (instance, _, values) = read(line)?;
        let expected = 10.0 * instance.trim_start_matches("i-").parse::<f64>()?;
        let cpu = values.get("cpu_percent").copied().context("cpu")?;
        assert!((cpu - expected).abs() < 1e-3, "{line}");
        assert_eq!(values.get("covers_millis"), Some(&100.0), "{line}");
    }
    let requests = server.received.lock().unwrap_or_else(PoisonError::into_inner).requests.clone();
    for (path, token) in requests {
        if path.starts_with("/api/v2/buckets?") {
            continue;
        }
        assert!(path.starts_with("/api/v2/write?") && path.contains("org=ops"), "{path}");
        assert!(path.contains("bucket=fore+shadow") || path.contains("bucket=fore%20shadow"), "{path}");
        assert_eq!(token, "Token the-influx-token");
    }
    assert!(!aggregator.process.output().contains("the-influx-token"), "a secret is in the log");
    println!("{} points, each once", lines.len());
    Ok(())
}
