//! VictoriaMetrics and InfluxDB 1.x of Debian, as processes of their own: what sending costs us is not counted.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use foreshadow_tests::influx::Influx;
use foreshadow_tests::machine::cpu_time;
use foreshadow_tests::process::{Process, eventually, free_port, pause};
use foreshadow_tests::web;
use http::Method;
use tokio::process::Command;

use super::corpus::{Corpus, START, Week, instance, line};
use super::embedded::bytes;
use super::{Kept, Mean};

/// Lines in one request.
const LINES: usize = 5_000;
/// A server that used less of a processor than this within a second has settled.
const IDLE: Duration = Duration::from_millis(60);

fn there(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join(program).is_file()));
    if !found {
        println!("| {program} is not installed | | | |");
    }
    found
}

async fn victoria(directory: &Path) -> anyhow::Result<(Process, String)> {
    let port = free_port()?;
    let mut command = Command::new("victoria-metrics");
    command.arg(format!("-storageDataPath={}", directory.join("victoria").display()));
    command.arg(format!("-httpListenAddr=127.0.0.1:{port}"));
    command.args(["-retentionPeriod=100y", "-search.latencyOffset=0s", "-search.disableCache"]);
    let server = Process::start("victoria-metrics", command, directory)?;
    let url = format!("http://127.0.0.1:{port}");
    eventually("VictoriaMetrics answers", Duration::from_secs(60), async || {
        Ok((web::get(&format!("{url}/health")).await?.status == 200).then_some(()))
    })
    .await?;
    Ok((server, url))
}

/// Sends every line, a round of all instances after the other.
async fn send(url: &str, rounds: impl Iterator<Item = Vec<String>>) -> anyhow::Result<()> {
    let (mut body, mut lines) = (String::new(), 0);
    for round in rounds {
        for text in round {
            body.push_str(&text);
            lines += 1;
            if lines == LINES {
                post(url, std::mem::take(&mut body)).await?;
                lines = 0;
            }
        }
    }
    post(url, body).await
}

async fn post(url: &str, body: String) -> anyhow::Result<()> {
    let answer = web::request(Method::POST, url, &[], body).await?;
    ensure!(answer.status.is_success(), "{url}: {} {}", answer.status, answer.body);
    Ok(())
}

/// CPU time of a process once it does nothing any more.
async fn idle(process: u32) -> anyhow::Result<f64> {
    let mut before = cpu_time(process)?;
    for _ in 0..60 {
        pause(Duration::from_secs(1)).await;
        let now = cpu_time(process)?;
        if now - before < IDLE {
            break;
        }
        before = now;
    }
    Ok(cpu_time(process)?.as_secs_f64())
}

fn rounds(corpus: &Corpus) -> impl Iterator<Item = Vec<String>> {
    let mut hosts = corpus.hosts();
    (0..corpus.samples).map(move |_| texts(&mut hosts, 1))
}

fn texts(hosts: &mut [super::corpus::Host], seconds: u64) -> Vec<String> {
    let texts = hosts.iter_mut().enumerate().filter_map(|(index, host)| {
        let mut text = String::new();
        line(&mut text, &instance(index).ok()?, &host.next(seconds)).ok()?;
        Some(text)
    });
    texts.collect()
}

pub async fn keep(corpus: &Corpus) -> anyhow::Result<Vec<Kept>> {
    let mut all = Vec::new();
    if there("victoria-metrics") {
        let directory = tempfile::tempdir()?;
        let (server, url) = victoria(directory.path()).await?;
        let process = server.id()?;
        let before = cpu_time(process)?.as_secs_f64();
        send(&format!("{url}/write?precision=ms"), rounds(corpus)).await?;
        let written = cpu_time(process)?.as_secs_f64() - before;
        web::get(&format!("{url}/internal/force_flush")).await?;
        web::get(&format!("{url}/internal/force_merge")).await?;
        let settled = idle(process).await? - before - written;
        ensure!(server.terminate().await?.success(), "VictoriaMetrics does not end well");
        let bytes = bytes(&directory.path().join("victoria"))?;
        all.push(Kept { name: "VictoriaMetrics", written, settled, bytes });
    }
    if there("influxd") {
        let directory = tempfile::tempdir()?;
        let mut server = Influx::start(directory.path()).await?;
        server.query("", "CREATE DATABASE load").await?;
        let process = server.id()?;
        let before = cpu_time(process)?.as_secs_f64();
        send(&format!("{}/write?db=load&precision=ms", server.url), rounds(corpus)).await?;
        let written = cpu_time(process)?.as_secs_f64() - before;
        let settled = idle(process).await? - before - written;
        server.kill().await?;
        let bytes = bytes(&directory.path().join("influx"))?;
        all.push(Kept { name: "InfluxDB 1.x, its log included", written, settled, bytes });
    }
    Ok(all)
}

pub async fn mean(week: &Week) -> anyhow::Result<Vec<Mean>> {
    if !there("victoria-metrics") {
        return Ok(Vec::new());
    }
    let directory = tempfile::tempdir()?;
    let (server, url) = victoria(directory.path()).await?;
    let process = server.id()?;
    let mut hosts = week.hosts();
    send(&format!("{url}/write?precision=ms"), (0..week.minutes).map(|_| texts(&mut hosts, 60))).await?;
    web::get(&format!("{url}/internal/force_flush")).await?;
    web::get(&format!("{url}/internal/force_merge")).await?;
    let mut before = idle(process).await?;
    let end = START + 60 * i64::try_from(week.minutes)?;
    let ask = async |query: &str| {
        let pairs =
            [("query", query), ("start", &(START + 60).to_string()), ("end", &end.to_string()), ("step", "60s")];
        let asked = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let answer = web::get(&format!("{url}/api/v1/query_range?{asked}")).await?;
        ensure!(answer.status.is_success(), "{query}: {}", answer.body);
        let said = answer.json()?;
        let values = said["data"]["result"][0]["values"].as_array().cloned().context("an answer")?;
        let numbers = values.iter().filter_map(|pair| pair[1].as_str()?.parse::<f64>().ok());
        let sum: f64 = numbers.clone().sum();
        anyhow::Ok((values.len(), sum / numbers.count().max(1) as f64))
    };
    let (points, mean) = ask("avg(sample_cpu)").await?;
    let now = cpu_time(process)?.as_secs_f64();
    let raw = Mean { name: "VictoriaMetrics, sample by sample", cpu: now - before, points, mean };
    // The same rollup.
    let mut hosts = week.hosts();
    let rolled = (0..week.minutes).map(|minute| {
        let cpu: f64 = hosts.iter_mut().filter_map(|host| host.next(60).cpu_percent).sum();
        let at = (START + 60 * minute as i64) * 1_000;
        vec![format!("rolled,group=web cpu={} {at}\n", cpu / week.instances as f64)]
    });
    send(&format!("{url}/write?precision=ms"), rolled).await?;
    web::get(&format!("{url}/internal/force_flush")).await?;
    before = idle(process).await?;
    let (points, mean) = ask("rolled_cpu").await?;
    let by_rollup = Mean {
        name: "VictoriaMetrics, given the same rollup",
        cpu: cpu_time(process)?.as_secs_f64() - before,
        points,
        mean,
    };
    server.terminate().await?;
    Ok(vec![raw, by_rollup])
}
