//! An aggregator of its own with as many agents as wanted, measured beside bare gRPC.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use foreshadow::store::check::check;
use foreshadow_agent::identity::Proof;
use foreshadow_tests::fleet::{Fleet, Script, Wire};
use foreshadow_tests::installation::Installation;
use foreshadow_tests::machine::{cpu_time, resident_bytes};
use foreshadow_tests::process::{Aggregator, Process, eventually, free_port, pause};
use rcgen::KeyPair;
use tokio::process::Command;
use tokio::task::JoinSet;

/// Certificates asked for at once; the aggregator takes 32.
const ENROLLING: usize = 24;
/// Connecting and settling may take this long, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(600);
/// What of a sample counts as a value: issue and peers count eight a row; it has ten.
const VALUES: f64 = 8.0;

/// What is measured.
#[derive(Debug)]
pub struct Plan {
    pub script: Script,
    pub wire: Wire,
    pub window: Duration,
    pub restart: bool,
    pub bare: bool,
}

/// One server under one fleet.
#[derive(Debug)]
struct Measured {
    messages: f64,
    samples: f64,
    cpu: Duration,
    resident: u64,
    /// Until everybody was connected, what was sent meanwhile included.
    connecting: Duration,
}

impl Measured {
    fn row(&self, name: &str, agents: usize) {
        let cpu = self.cpu.as_secs_f64();
        println!(
            "| {name} | {:.0} | {:.1} | {:.2} | {:.1} | {:.0} |",
            self.messages,
            cpu * 1e6 / self.messages.max(1.0),
            self.samples * VALUES / cpu / 1e6,
            self.resident as f64 / 1e3 / agents as f64,
            self.connecting.as_secs_f64() * 1e6 / agents as f64
        );
    }
}

/// Runs the plan and prints a table.
pub async fn run(mut plan: Plan) -> anyhow::Result<()> {
    let agents = plan.script.instances.len();
    let mut there = Installation::start("").await?;
    eprintln!("{agents} agents ask for their certificates …");
    plan.wire.ca = Some(there.shown.ca.clone());
    plan.wire.proofs = enrol(&there, &plan.script.instances).await?;

    let bare = if plan.bare { Some(beside(&plan, &there).await?) } else { None };

    plan.script.aggregator.clone_from(&there.aggregator.url);
    let process = there.aggregator.process.id()?;
    let before = resident_bytes(process)?;
    let cpu_before = cpu_time(process)?;
    let fleet = Fleet::start_with(&plan.script, plan.wire.clone())?;
    connected(&fleet, agents, 0).await?;
    let connecting = cpu_time(process)? - cpu_before;
    let ours = Measured { connecting, ..window(&fleet, process, before, plan.window).await? };
    println!("\n{agents} agents, batches of {}, {} s, mutual TLS:\n", plan.wire.batch, plan.window.as_secs());
    println!(
        "| | messages | CPU a message, µs | values a CPU-second, millions | memory an agent, kB | CPU to connect an agent, µs |"
    );
    println!("|---|---|---|---|---|---|");
    if let Some(bare) = bare {
        bare.row("bare gRPC, nothing done", agents);
    }
    ours.row("the aggregator, durable and with everything", agents);
    println!("\n{}", latency(&fleet));

    if plan.restart {
        let port = there.aggregator.port;
        let (directory, config, ca) = (there.directory.path().to_owned(), there.config.clone(), there.shown.ca.clone());
        there.aggregator.process.kill().await?;
        pause(Duration::from_secs(2)).await;
        let sent = fleet.done().batches.load(Ordering::Relaxed);
        let began = tokio::time::Instant::now();
        there.aggregator = Aggregator::start_tls(&directory, &config, port, &ca).await?;
        let process = there.aggregator.process.id()?;
        connected(&fleet, agents, 1).await?;
        let (took, cpu) = (began.elapsed(), cpu_time(process)?);
        let messages = (fleet.done().batches.load(Ordering::Relaxed) - sent) as f64;
        let steady = ours.cpu.as_secs_f64() / ours.messages.max(1.0) * messages;
        println!(
            "\nKilled and started again: all back after {:.1} s, {:.0} µs of CPU an agent, {:.0} of them for its {:.1} messages",
            took.as_secs_f64(),
            cpu.as_secs_f64() * 1e6 / agents as f64,
            steady * 1e6 / agents as f64,
            messages / agents as f64
        );
    }
    settle(fleet, there).await
}

/// Everything that was made is there once.
async fn settle(fleet: Fleet, there: Installation) -> anyhow::Result<()> {
    fleet.pause();
    eventually("everything is acknowledged", PATIENCE, async || Ok((fleet.state(0).1 == 0).then_some(()))).await?;
    let made = fleet.done().made.load(Ordering::Relaxed);
    let dropped: u64 = fleet.seen().iter().map(|agent| agent.dropped).sum();
    drop(fleet);
    let Installation { directory, aggregator, .. } = there;
    let duplicates = aggregator.process.output().matches("duplicate").count();
    ensure!(aggregator.process.terminate().await?.success(), "the aggregator does not end well");
    let data = directory.path().join("data");
    let found = check(&data).await?;
    let bytes: u64 = std::fs::read_dir(&data)?.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).sum();
    println!(
        "\nRead back: {made} made, {} there, {dropped} dropped by agents, {} faults of the store, {:.1} bytes a sample on disk",
        found.samples,
        found.faults_total,
        bytes as f64 / found.samples.max(1) as f64
    );
    ensure!(found.is_whole() && duplicates == 0, "{:?}", found.faults);
    ensure!(found.samples == made, "{} of {made} samples are there", found.samples);
    Ok(())
}

async fn enrol(there: &Installation, instances: &[String]) -> anyhow::Result<Arc<[Proof]>> {
    let token = there.join_token(u32::try_from(instances.len())?).await?;
    let mut proofs: Vec<Option<Proof>> = vec![None; instances.len()];
    let mut asking = JoinSet::new();
    let mut waiting = instances.iter().enumerate();
    loop {
        while asking.len() < ENROLLING
            && let Some((index, instance)) = waiting.next()
        {
            let (url, ca) = (there.url().to_owned(), there.shown.ca.clone());
            let (instance, token) = (instance.clone(), token.clone());
            asking.spawn(async move {
                let key = KeyPair::generate()?;
                let held = foreshadow_tests::trust::enrol(&url, &ca, &instance, &key, &token).await;
                anyhow::Ok((index, held.with_context(|| instance.clone())?))
            });
        }
        let Some(enrolled) = asking.join_next().await else { break };
        let (index, held) = enrolled??;
        proofs[index] = Some(Proof { certificates: held.certificates, key: held.key });
    }
    proofs.into_iter().map(|proof| proof.context("a certificate")).collect()
}

/// The same fleet under bare gRPC.
async fn beside(plan: &Plan, there: &Installation) -> anyhow::Result<Measured> {
    let port = free_port()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--bare").arg(there.path()).args(["--port", &port.to_string()]);
    let server = Process::start("bare", command, there.path())?;
    let process = server.id()?;
    eventually("bare gRPC listens", Duration::from_secs(30), async || {
        Ok(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok())
    })
    .await?;
    let script = Script { aggregator: format!("https://127.0.0.1:{port}"), ..plan.script.clone() };
    let (before, cpu_before) = (resident_bytes(process)?, cpu_time(process)?);
    let fleet = Fleet::start_with(&script, plan.wire.clone())?;
    connected(&fleet, script.instances.len(), 0).await?;
    let connecting = cpu_time(process)? - cpu_before;
    let measured = Measured { connecting, ..window(&fleet, process, before, plan.window).await? };
    drop(fleet);
    server.kill().await?;
    Ok(measured)
}

async fn connected(fleet: &Fleet, agents: usize, times: u32) -> anyhow::Result<()> {
    eventually("everybody is connected", PATIENCE, async || {
        let (connected, waiting) = fleet.state(times);
        eprint!("\r{connected} of {agents} connected, {waiting} samples wait   ");
        Ok((connected == agents).then_some(()))
    })
    .await?;
    eprintln!();
    Ok(())
}

async fn window(fleet: &Fleet, process: u32, before: u64, window: Duration) -> anyhow::Result<Measured> {
    // What gathered while the others connected is sent first.
    pause(Duration::from_secs(5)).await;
    let done = fleet.done();
    let counted = || (done.batches.load(Ordering::Relaxed), done.made.load(Ordering::Relaxed));
    let ((batches, made), cpu) = (counted(), cpu_time(process)?);
    pause(window).await;
    let ((batches_then, made_then), cpu_then) = (counted(), cpu_time(process)?);
    Ok(Measured {
        messages: (batches_then - batches) as f64,
        samples: (made_then - made) as f64,
        cpu: cpu_then - cpu,
        resident: resident_bytes(process)?.saturating_sub(before),
        connecting: Duration::ZERO,
    })
}

/// Times from a sample to its acknowledgement, ms.
#[derive(Debug)]
pub struct Latency {
    pub median: f64,
    pub p99: f64,
    pub most: f64,
}

impl std::fmt::Display for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { median, p99, most } = self;
        write!(f, "acknowledged after {median:.0} ms in the middle, {p99:.0} of 99 %, {most:.0} at most")
    }
}

/// How long acknowledgements took until now.
pub fn latency(fleet: &Fleet) -> Latency {
    let mut times =
        std::mem::take(&mut *fleet.done().acknowledged_after.lock().unwrap_or_else(PoisonError::into_inner));
    times.sort_unstable();
    let at = |share: f64| {
        let index = (share * times.len() as f64) as usize;
        times.get(index.min(times.len().saturating_sub(1))).map_or(0.0, |micros| f64::from(*micros) / 1e3)
    };
    Latency { median: at(0.5), p99: at(0.99), most: at(1.0) }
}
