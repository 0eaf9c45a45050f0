//! `fleet`: a group of simulated agents against a running aggregator.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use foreshadow_tests::fleet::{Fleet, Script};

/// Simulated agents that speak the real protocol.
#[derive(Debug, Parser)]
#[command(name = "fleet")]
struct Arguments {
    /// Where the aggregator listens
    #[arg(long, default_value = "http://127.0.0.1:7070")]
    aggregator: String,
    /// How many agents
    #[arg(long, default_value_t = 50)]
    count: usize,
    /// Group they claim
    #[arg(long, default_value = "fleet")]
    group: String,
    /// Mean CPU percent
    #[arg(long, default_value_t = 40.0)]
    cpu: f32,
    /// Percent it swings up and down
    #[arg(long, default_value_t = 20.0)]
    swing: f32,
    /// Seconds of one swing
    #[arg(long, default_value_t = 600)]
    period: u64,
    #[arg(long, default_value_t = 1_000)]
    interval_millis: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let (cpu, swing, period) = (arguments.cpu, arguments.swing, arguments.period.max(1));
    let script = Script {
        aggregator: arguments.aggregator.clone(),
        instances: (0..arguments.count).map(|number| format!("i-fleet{number:05}")).collect(),
        group: arguments.group,
        instance_type: String::new(),
        interval: Duration::from_millis(arguments.interval_millis.max(10)),
        load: Arc::new(move |_, second| {
            let turn = std::f32::consts::TAU * (second % period) as f32 / period as f32;
            (cpu + swing * turn.sin()).clamp(0.0, 100.0)
        }),
    };
    let fleet = Fleet::start(&script)?;
    let mut every = tokio::time::interval(Duration::from_secs(5));
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            _ = every.tick() => {
                let seen = fleet.seen();
                let connected = seen.iter().filter(|agent| agent.connections > 0).count();
                let made: u64 = seen.iter().map(|agent| agent.made).sum();
                let waiting: usize = seen.iter().map(|agent| agent.unacknowledged).sum();
                println!("{connected} of {} connected, {made} samples, {waiting} unacknowledged", seen.len());
            }
        }
    }
}
