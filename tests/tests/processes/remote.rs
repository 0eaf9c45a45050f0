//! A real Prometheus that scrapes, and writes or is asked: what it has becomes samples of instances, durable, once, through an outage.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use foreshadow::clock::{Clock as _, SystemClock};
use foreshadow_tests::process::{Aggregator, Process, eventually, free_port};
use foreshadow_tests::tokens::Tokens;
use foreshadow_tests::web;
use http::{Method, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::process::Command;

/// A host with two processors, one idle for 40 % of the time, the other for 20 %, as node_exporter would show it, and what serves
/// 33 requests a second on it.
fn exposed() -> String {
    let now = SystemClock.wall_micros() as f64 / 1e6 - 1_700_000_000.0;
    format!(
        "node_cpu_seconds_total{{cpu=\"0\",mode=\"idle\"}} {}\nnode_cpu_seconds_total{{cpu=\"0\",mode=\"user\"}} {}\n\
         node_cpu_seconds_total{{cpu=\"1\",mode=\"idle\"}} {}\nnode_memory_MemTotal_bytes 8e9\n\
         node_memory_MemAvailable_bytes 6e9\nnode_network_receive_bytes_total{{device=\"eth0\"}} {}\n\
         node_network_receive_bytes_total{{device=\"lo\"}} {}\nnode_network_transmit_bytes_total{{device=\"eth0\"}} {}\n\
         node_network_receive_packets_total{{device=\"eth0\"}} {}\nnode_network_transmit_packets_total{{device=\"eth0\"}} {}\n\
         http_requests_total{{code=\"200\"}} {}\nhttp_requests_total{{code=\"500\"}} {}\n",
        now * 0.4,
        now * 0.6,
        now * 0.2,
        now * 1_000.0,
        now * 77_777.0,
        now * 500.0,
        now * 10.0,
        now * 5.0,
        now * 30.0,
        now * 3.0,
    )
}

async fn exporter() -> anyhow::Result<u16> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(async |_| {
                let mut response = Response::new(Full::new(Bytes::from(exposed())));
                let kind = http::HeaderValue::from_static("text/plain; version=0.0.4");
                response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
                Ok::<_, Infallible>(response)
            });
            tokio::spawn(async move {
                drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    Ok(port)
}

/// How what it scrapes comes to us.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Written,
    Asked,
}

/// A Prometheus that scrapes `target` every second; `more` is what else its configuration has.
fn prometheus(directory: &Path, own: u16, target: u16, more: &str) -> anyhow::Result<Process> {
    let file = directory.join("prometheus.yml");
    let scraped = format!(
        "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: web\n    static_configs:\n      \
         - targets: ['127.0.0.1:{target}']\n  - job_name: other\n    static_configs:\n      - targets: ['localhost:{target}']\n"
    );
    std::fs::write(&file, scraped + more)?;
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", directory.join("tsdb").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{own}"));
    Process::start("prometheus", command, directory)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_real_prometheus_writes_is_durable_and_there_once() -> anyhow::Result<()> {
    durable_and_there_once(Way::Written).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_real_prometheus_is_asked_for_is_durable_and_there_once() -> anyhow::Result<()> {
    durable_and_there_once(Way::Asked).await
}

async fn durable_and_there_once(way: Way) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let tokens = Tokens::make(directory.path()).await?;
    let (target, own, port) = (exporter().await?, free_port()?, free_port()?);
    let (section, asked) = match way {
        Way::Written => ("remote_write", String::new()),
        Way::Asked => {
            let url = format!("http://127.0.0.1:{own}");
            ("prometheus", format!("url = \"{url}\"\ninterval_seconds = 1\nlabels = {{ job = \"web\" }}\n"))
        }
    };
    let config = format!(
        "[identity]\ntokens = \"{}\"\n[{section}]\n{asked}exporter = \"node\"\ngroup_label = \"job\"\n\
         [{section}.metric.http_requests_total]\ngives = \"requests\"\ncounter = true\n\
         [metric.requests]\nof = \"instance\"\n[group.web.targets]\ncpu = 90\nrequests = 10\n",
        tokens.file.display()
    );
    let aggregator = Aggregator::start_on(directory.path(), &config, port, &[]).await?;
    let more = match way {
        Way::Written => format!(
            "remote_write:\n  - url: {}/api/v1/write\n    authorization:\n      credentials_file: {}\n    queue_config:\n      \
             batch_send_deadline: 1s\n      max_backoff: 1s\n      max_samples_per_send: 3\n    write_relabel_configs:\n      \
             - source_labels: [job]\n        regex: web\n        action: keep\n",
            aggregator.url,
            tokens.write("operator")?.display()
        ),
        Way::Asked => String::new(),
    };
    let scraping = prometheus(directory.path(), own, target, &more)?;
    let bearer = format!("Bearer {}", tokens.of("viewer"));
    let get = async |path: &str| {
        web::request(Method::GET, &format!("{}{path}", aggregator.url), &[("authorization", &bearer)], "").await
    };
    let samples = async || get("/shadow/metrics?instance=127.0.0.1&from=-10m").await?.lines();
    let of = |samples: &[Value], field: &str| samples.iter().filter(|sample| sample[field].is_number()).count();
    let enough = async |more: usize| {
        eventually("samples of all three kinds", Duration::from_secs(60), async || {
            let samples = samples().await?;
            let network = samples.iter().filter(|sample| sample["network"].is_object()).count();
            let least = of(&samples, "cpu_percent").min(of(&samples, "memory_used_bytes")).min(network);
            Ok((least >= more).then_some(samples))
        })
        .await
    };
    let first = enough(3).await?;
    for sample in &first {
        let near = |field: &Value, wanted: f64| field.as_f64().is_none_or(|found| (found / wanted - 1.0).abs() < 0.1);
        ensure!(near(&sample["cpu_percent"], 70.0), "{sample}");
        ensure!(near(&sample["memory_used_bytes"], 2e9), "{sample}");
        let network = &sample["network"];
        ensure!(near(&network["in_packets"], 10.0) && near(&network["out_packets"], 5.0), "{sample}");
        ensure!(
            near(&sample["network"]["in_bytes"], 1_000.0) && near(&sample["network"]["out_bytes"], 500.0),
            "{sample}"
        );
    }
    // The group is what the job says, and its instance serves.
    let group = eventually("the group of the job", Duration::from_secs(60), async || {
        let answer = get("/groups/web").await?;
        Ok((answer.status == 200).then(|| answer.json()).transpose()?.filter(|group| group["summary"]["serving"] == 1))
    })
    .await?;
    assert_eq!(group["members"][0]["instance"], "127.0.0.1", "{group}");

    // 33 requests a second, of which one instance carries 10, ask for four; its processors for one.
    let plan = eventually("the need of the requests", Duration::from_secs(60), async || {
        let plan = get("/groups/web").await?.json()?["plan"].clone();
        Ok((plan["need_now"] == 4).then_some(plan))
    })
    .await?;
    assert_eq!(plan["binding"], "requests", "{plan}");

    // An outage: Prometheus keeps what it scraped, and sends it when we are back.
    let down = SystemClock.wall_micros();
    assert!(aggregator.process.terminate().await?.success());
    foreshadow_tests::process::pause(Duration::from_secs(4)).await;
    let up = SystemClock.wall_micros();
    let aggregator = Aggregator::start_on(directory.path(), &config, port, &[]).await?;
    let late = eventually("what was scraped meanwhile", Duration::from_secs(60), async || {
        let url = format!("{}/shadow/metrics?instance=127.0.0.1&from=-10m", aggregator.url);
        let samples = web::request(Method::GET, &url, &[("authorization", &bearer)], "").await?.lines()?;
        // The sequence of what is written is its time in µs.
        let at = |sample: &Value| sample["sequence"].as_i64().unwrap_or(0);
        let within = samples.iter().filter(|sample| sample["cpu_percent"].is_number());
        let within = within.filter(|sample| (down + 1_000_000..up).contains(&at(sample))).count();
        Ok((within >= 2).then_some(samples))
    })
    .await?;
    let mut keys: Vec<String> =
        late.iter().map(|sample| format!("{} {}", sample["stream"], sample["sequence"])).collect();
    let all = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), all, "none is there twice");
    let get = async |path: &str| {
        web::request(Method::GET, &format!("{}{path}", aggregator.url), &[("authorization", &bearer)], "").await
    };
    assert_eq!(get("/instances").await?.body.matches("localhost").count(), 0, "nobody asked for the other job");
    if way == Way::Asked {
        // Who does not answer is named, until they do.
        let named = async |wanted: bool| {
            eventually(&format!("a warning of Prometheus: {wanted}"), Duration::from_secs(60), async || {
                Ok((get("/readyz").await?.body.contains("prometheus: ") == wanted).then_some(()))
            })
            .await
        };
        named(false).await?;
        scraping.kill().await?;
        named(true).await?;
        let _scraping = prometheus(directory.path(), own, target, &more)?;
        named(false).await?;
        let metrics = get("/metrics").await?.body;
        assert!(metrics.contains("foreshadow_prometheus_values_total{outcome=\"stored\"}"), "{metrics}");
        assert!(metrics.contains("foreshadow_prometheus_asked_total{outcome=\"failed\"}"), "{metrics}");
        return Ok(());
    }

    // What never will be right is refused for good, and nobody writes without a token.
    let url = format!("{}/api/v1/write", aggregator.url);
    let operator = format!("Bearer {}", tokens.of("operator"));
    for (headers, status) in [
        (vec![("authorization", operator.as_str())], 400),
        (vec![("authorization", bearer.as_str())], 403),
        (vec![], 401),
        (
            vec![
                ("authorization", operator.as_str()),
                ("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
            ],
            415,
        ),
    ] {
        let answer = web::request(Method::POST, &url, &headers, "not snappy").await?;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
    }
    let metrics =
        web::request(Method::GET, &format!("{}/metrics", aggregator.url), &[("authorization", &bearer)], "").await?;
    assert!(metrics.body.contains("foreshadow_remote_write_values_total{outcome=\"stored\"}"), "{}", metrics.body);
    drop(scraping);
    Ok(())
}

/// A real collectd measures this host, a real Prometheus scrapes it and is asked: what we say is what the kernel says.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_real_collectd_measures_is_known() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (target, own, path) = (free_port()?, free_port()?, directory.path().display());
    let file = directory.path().join("collectd.conf");
    let plugins = "LoadPlugin cpu\nLoadPlugin memory\nLoadPlugin interface\nLoadPlugin write_prometheus\n\
        <Plugin cpu>\n  ReportByCpu false\n  ValuesPercentage true\n</Plugin>\n";
    let listens = format!("<Plugin write_prometheus>\n  Host \"127.0.0.1\"\n  Port \"{target}\"\n</Plugin>\n");
    let named = format!("Hostname \"i-1\"\nInterval 1\nBaseDir \"{path}\"\nPIDFile \"{path}/collectd.pid\"\n");
    std::fs::write(&file, format!("{named}{plugins}{listens}"))?;
    let mut command = Command::new("/usr/sbin/collectd");
    command.args(["-f", "-C"]).arg(&file);
    let _collectd = Process::start("collectd", command, directory.path())?;
    let _prometheus = prometheus(directory.path(), own, target, "    honor_labels: true\n")?;
    let config = format!(
        "[prometheus]\nurl = \"http://127.0.0.1:{own}\"\nexporter = \"collectd\"\ninterval_seconds = 1\n\
         labels = {{ job = \"other\" }}\ngroup_label = \"job\"\n"
    );
    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let samples = eventually("samples of all three kinds", Duration::from_secs(60), async || {
        let samples = web::get(&format!("{}/shadow/metrics?instance=i-1&from=-10m", aggregator.url)).await?.lines()?;
        let of = |field: &str| samples.iter().filter(|sample| !sample[field].is_null()).count();
        let least = of("cpu_percent").min(of("memory_used_bytes")).min(of("network"));
        Ok((least >= 3).then_some(samples))
    })
    .await?;
    let meminfo = std::fs::read_to_string("/proc/meminfo")?;
    let kilobytes = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    let total: f64 = kilobytes.context("MemTotal")?.parse::<f64>()? * 1_024.0;
    for sample in samples.iter().filter(|sample| sample["memory_total_bytes"].is_number()) {
        let (used, found) = (sample["memory_used_bytes"].as_f64(), sample["memory_total_bytes"].as_f64());
        let (used, found) = (used.context("used")?, found.context("total")?);
        ensure!((found / total - 1.0).abs() < 0.01 && used > 0.0 && used < total, "{total}: {sample}");
    }
    Ok(())
}
