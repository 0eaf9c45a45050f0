//! `fleet`: simulated agents that speak the real protocol, against a running aggregator or one of their own that is measured.
//!
//!     cargo run --release -p foreshadow-tests --bin fleet -- --agents 10000 --interval 1s --for 60s
//!
//! Both programs are needed: `cargo build --release --workspace --bins` first.

mod bare;
mod measured;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Parser;
use foreshadow_agent::identity::Proof;
use foreshadow_agent::stream::Transport;
use foreshadow_tests::fleet::{Fleet, Script, Wire};
use foreshadow_tests::process::{eventually, pause};
use foreshadow_tests::trust;
use rcgen::KeyPair;

/// Simulated agents that speak the real protocol.
#[derive(Debug, Parser)]
#[command(name = "fleet")]
struct Arguments {
    /// A running aggregator; without it one is started, measured beside bare gRPC, and read back
    #[arg(long)]
    aggregator: Option<String>,
    /// PEM file of the authority that signed its certificate, for https
    #[arg(long)]
    ca: Option<PathBuf>,
    /// File with a join token of as many uses, for https
    #[arg(long)]
    join_token_file: Option<PathBuf>,
    /// How many agents
    #[arg(long, visible_alias = "count", default_value_t = 50)]
    agents: usize,
    /// What their ids begin with
    #[arg(long, default_value = "i-fleet")]
    name: String,
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
    /// From one sample to the next: 500ms, 1s, 1m
    #[arg(long, value_parser = duration, default_value = "1s")]
    interval: Duration,
    /// Samples sent together
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// One acknowledgement is for all that was sent within this time; what agents are content with unless told
    #[arg(long, value_parser = duration, default_value = "3s")]
    acknowledged_within: Duration,
    /// tcp, quic or auto; the two latter over https alone
    #[arg(long, default_value = "tcp")]
    transport: Transport,
    /// How long; a running aggregator is kept busy until interrupted without it [default: 60s]
    #[arg(long = "for", value_parser = duration)]
    window: Option<Duration>,
    /// Agents connect evenly spread over this time, and again after up to as long
    #[arg(long, value_parser = duration, default_value = "10s")]
    spread: Duration,
    /// Kill the aggregator at the end, start it again, and see everybody come back
    #[arg(long)]
    restart: bool,
    /// What became of it as one line of JSON, with --aggregator and --for
    #[arg(long)]
    json: bool,
    /// Tell in that line also the bytes this network interface sent meanwhile
    #[arg(long)]
    interface: Option<String>,
    /// Do not measure bare gRPC
    #[arg(long)]
    without_bare: bool,
    /// Be that bare server, for the installation in this directory
    #[arg(long, hide = true, requires = "port")]
    bare: Option<PathBuf>,
    #[arg(long, hide = true)]
    port: Option<u16>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is not like 500ms, 1s or 1m"))?;
    match &text[digits.len()..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        unit => Err(format!("{unit:?} is not ms, s or m")),
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let (Some(directory), Some(port)) = (&arguments.bare, arguments.port) {
        return bare::serve(directory, port).await;
    }
    ensure!(arguments.interval >= Duration::from_millis(10), "--interval: at least 10ms");
    let (cpu, swing, period) = (arguments.cpu, arguments.swing, arguments.period.max(1));
    let script = Script {
        aggregator: arguments.aggregator.clone().unwrap_or_default(),
        instances: (0..arguments.agents).map(|number| format!("{}{number:05}", arguments.name)).collect(),
        group: arguments.group.clone(),
        instance_type: String::new(),
        interval: arguments.interval,
        load: Arc::new(move |_, second| {
            let turn = std::f32::consts::TAU * (second % period) as f32 / period as f32;
            (cpu + swing * turn.sin()).clamp(0.0, 100.0)
        }),
    };
    let wire = Wire {
        ca: arguments.ca.clone(),
        proofs: Arc::default(),
        transport: arguments.transport,
        batch: arguments.batch.max(1),
        acknowledged_within: arguments.acknowledged_within,
        spread: arguments.spread,
        ..Wire::default()
    };
    if arguments.aggregator.is_some() {
        return against(&arguments, script, wire).await;
    }
    let window = arguments.window.unwrap_or(Duration::from_secs(60));
    let bare = !arguments.without_bare && arguments.transport == Transport::Tcp;
    measured::run(measured::Plan { script, wire, window, restart: arguments.restart, bare }).await
}

/// Keeps a running aggregator busy.
async fn against(arguments: &Arguments, script: Script, mut wire: Wire) -> anyhow::Result<()> {
    if let (Some(ca), Some(token)) = (&arguments.ca, &arguments.join_token_file) {
        let token = std::fs::read_to_string(token)?;
        let mut proofs = Vec::new();
        for instance in &script.instances {
            let key = KeyPair::generate()?;
            let held = trust::enrol(&script.aggregator, ca, instance, &key, token.trim()).await?;
            proofs.push(Proof { certificates: held.certificates, key: held.key });
        }
        wire.proofs = proofs.into();
    }
    let fleet = Fleet::start_with(&script, wire)?;
    if let Some(window) = arguments.window {
        // Making certificates and connections is not what is measured.
        eventually("everybody is connected", Duration::from_secs(120), async || {
            Ok((fleet.state(0).0 == script.instances.len()).then_some(()))
        })
        .await?;
        pause(Duration::from_secs(3)).await;
        measured::latency(&fleet);
        let made = || fleet.done().made.load(Ordering::Relaxed);
        let (before, sent_before) = (made(), sent(arguments.interface.as_deref())?);
        pause(window).await;
        let (samples, sent) = (made() - before, sent(arguments.interface.as_deref())? - sent_before);
        fleet.pause();
        // Whoever does not answer within this time has not.
        pause(Duration::from_secs(5)).await;
        let ((connected, waiting), latency) = (fleet.state(0), measured::latency(&fleet));
        if arguments.json {
            let said = serde_json::json!({
                "connected": connected, "waiting": waiting, "samples": samples, "median_ms": latency.median,
                "p99_ms": latency.p99, "most_ms": latency.most, "sent_bytes": sent,
            });
            println!("{said}");
        } else {
            println!(
                "{connected} of {} connected, {samples} samples, {waiting} wait; {latency}",
                script.instances.len()
            );
        }
        return Ok(());
    }
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

/// Bytes that a network interface has sent.
fn sent(interface: Option<&str>) -> anyhow::Result<u64> {
    let Some(interface) = interface else { return Ok(0) };
    let path = format!("/sys/class/net/{interface}/statistics/tx_bytes");
    Ok(std::fs::read_to_string(&path).with_context(|| path.clone())?.trim().parse()?)
}
