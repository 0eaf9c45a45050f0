//! `bench`: what an agent and an aggregator cost, in CPU time, memory and bytes per sample; the agent beside node_exporter and
//! collectd in the same run.
//!
//! cargo build --release --workspace --bins && cargo build --profile agent -p foreshadow-agent && target/release/bench

mod beside;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use foreshadow_tests::fleet::{Fleet, Script};
use foreshadow_tests::machine::{cpu_time, resident_bytes};
use foreshadow_tests::process::{Aggregator, eventually, pause};
use foreshadow_tests::web;

/// CPU time, memory and bytes per sample.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    /// How long each part is measured
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Simulated agents for the aggregator; 0 leaves it out
    #[arg(long, default_value_t = 500)]
    agents: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let window = Duration::from_secs(arguments.seconds);
    beside::measure(window).await?;
    if arguments.agents == 0 {
        return Ok(());
    }
    one_aggregator(window, arguments.agents).await
}

async fn one_aggregator(window: Duration, agents: usize) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let aggregator = Aggregator::start(directory.path(), "").await?;
    let fleet = Fleet::start(&Script {
        aggregator: aggregator.url.clone(),
        instances: (0..agents).map(|number| format!("i-{number:05}")).collect(),
        group: "bench".to_owned(),
        instance_type: String::new(),
        interval: Duration::from_secs(1),
        load: Arc::new(|index, second| 30.0 + ((index as u64 * 13 + second * 7) % 400) as f32 / 10.0),
    })?;
    let process = aggregator.process.id()?;
    let metrics = format!("{}/metrics", aggregator.url);
    let stored = async || {
        let text = web::get(&metrics).await?.body;
        let line =
            text.lines().find_map(|line| line.strip_prefix("foreshadow_samples_stored_total ")).context("metric")?;
        anyhow::Ok(line.trim().parse::<f64>()?)
    };
    eventually("everybody streams", Duration::from_secs(60), async || {
        Ok(fleet.seen().iter().all(|agent| agent.made > 2 && agent.unacknowledged < 5).then_some(()))
    })
    .await?;
    let (before, cpu_before) = (stored().await?, cpu_time(process)?);
    pause(window).await;
    let (after, cpu_after) = (stored().await?, cpu_time(process)?);
    let samples = (after - before).max(1.0);
    let cpu = (cpu_after - cpu_before).as_secs_f64();
    let resident = resident_bytes(process)? as f64 / f64::from(1 << 20);
    let bytes: u64 = std::fs::read_dir(directory.path().join("data"))?
        .filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()))
        .sum();
    println!(
        "aggregator, {agents} agents: {:.0} µs of CPU a sample, {resident:.0} MiB resident, \
         {:.0} bytes a sample on disk before folding",
        cpu * 1e6 / samples,
        bytes as f64 / after.max(1.0)
    );
    aggregator.process.terminate().await.map(drop)
}
