//! The agent beside node_exporter and collectd of Debian, all at once on one host, each looking once a second at the same three
//! things: CPU, memory and network. What receives from them is not counted.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use foreshadow_agent::clock::random;
use foreshadow_agent::spool::{Limits, Spool};
use foreshadow_proto::v1;
use foreshadow_tests::installation::Installation;
use foreshadow_tests::machine::{cpu_time, resident_bytes};
use foreshadow_tests::process::{Process, binary, eventually, free_port, pause};
use foreshadow_tests::web;
use tokio::process::Command;
use tokio::time::MissedTickBehavior;

const COLLECTD: &str = "/usr/sbin/collectd";
const EXPORTER: &str = "/usr/bin/prometheus-node-exporter";
/// What the spool takes at most unless told otherwise, and what a new segment needs of it.
const FULL: u64 = (16 << 20) - (512 << 10);

/// One of those that look, and what it has used when the window begins.
struct Looking {
    name: &'static str,
    process: Process,
    before: Duration,
}

/// What one used in the window.
struct Used {
    name: &'static str,
    milliseconds: f64,
    mebibytes: f64,
}

impl Looking {
    fn begin(name: &'static str, process: Process) -> anyhow::Result<Self> {
        let before = cpu_time(process.id()?)?;
        Ok(Self { name, process, before })
    }

    fn used(&self, cycles: f64) -> anyhow::Result<Used> {
        let id = self.process.id()?;
        let milliseconds = (cpu_time(id)? - self.before).as_secs_f64() * 1e3 / cycles;
        Ok(Used { name: self.name, milliseconds, mebibytes: mebibytes(resident_bytes(id)?) })
    }
}

#[allow(clippy::cast_precision_loss, reason = "some megabytes")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Prints what each used a cycle, and how the agent's stands to the others'.
pub async fn measure(window: Duration) -> anyhow::Result<()> {
    let there = Installation::start("").await?;
    let path = there.path();
    let streams = streaming(&there, "i-bench", &path.join("spool")).await?;
    let waits = full(path, free_port()?).await?;
    let exporter = exporter(path).await?;
    let collectd = collectd(path)?;
    // Each has its files open and its first readings behind it.
    pause(Duration::from_secs(10)).await;
    let samples = async || anyhow::Ok(there.sequences("i-bench").await?.len());
    let made_before = samples().await?;
    let mut all = vec![
        Looking::begin("foreshadow-agent, mutual TLS", streams)?,
        Looking::begin("foreshadow-agent, spool full, nobody there", waits)?,
    ];
    all.extend(exporter.map(|process| Looking::begin("node_exporter, 3 collectors, scraped", process)).transpose()?);
    all.extend(collectd.map(|process| Looking::begin("collectd, 3 plugins, sent by UDP", process)).transpose()?);
    pause(window).await;
    let used = all.iter().map(|one| one.used(window.as_secs_f64())).collect::<anyhow::Result<Vec<Used>>>()?;
    let made = samples().await? - made_before;
    let wanted = window.as_secs();
    ensure!(made as u64 + 2 >= wanted, "{made} samples in {wanted} s: this is no measurement");
    let agent = used.first().context("the agent")?.milliseconds;
    println!("| looks once a second | CPU a cycle, ms | resident, MiB | the agent takes of that |");
    println!("|---|---|---|---|");
    for Used { name, milliseconds, mebibytes } in &used {
        println!("| {name} | {milliseconds:.3} | {mebibytes:.1} | {:.2} |", agent / milliseconds);
    }
    println!("\n{made} samples in {wanted} s");
    for looking in all {
        looking.process.terminate().await?;
    }
    Ok(())
}

/// The agent as it is shipped, built by its own profile; where that is not built, the one beside this program, which is said.
fn agent(path: &Path, url: &str, instance: &str, flags: &[&str]) -> anyhow::Result<Process> {
    let beside = binary("foreshadow-agent")?;
    let shipped = beside.parent().and_then(Path::parent).map(|target| target.join("agent/foreshadow-agent"));
    let shipped = shipped.filter(|path| path.exists());
    if shipped.is_none() {
        println!("this agent is not built as it is shipped: cargo build --profile agent -p foreshadow-agent");
    }
    let mut command = Command::new(shipped.unwrap_or(beside));
    command.args(["--aggregator", url, "--instance-id", instance]).args(flags);
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    Process::start(&format!("agent-{instance}"), command, path)
}

/// The agent as its package runs it: its own certificate, a spool on the disk.
async fn streaming(there: &Installation, instance: &str, spool: &Path) -> anyhow::Result<Process> {
    let path = there.path();
    let token = path.join("join.token");
    std::fs::write(&token, there.join_token(1).await?)?;
    let flags = format!(
        "--group bench --spool {} --ca {} --identity {} --join-token-file {}",
        spool.display(),
        there.shown.ca.display(),
        path.join("own").display(),
        token.display()
    );
    let flags: Vec<&str> = flags.split(' ').collect();
    let process = agent(path, there.url(), instance, &flags)?;
    eventually("the agent streams", Duration::from_secs(30), async || {
        Ok((there.sequences(instance).await?.len() > 2).then_some(()))
    })
    .await?;
    Ok(process)
}

/// An agent that finds its spool full and nobody to send it to: each sample it makes goes to the disk in the place of an older one.
async fn full(path: &Path, nobody: u16) -> anyhow::Result<Process> {
    let spool = path.join("full");
    fill(&spool)?;
    let process =
        agent(path, &format!("http://127.0.0.1:{nobody}"), "i-full", &["--spool", &spool.display().to_string()])?;
    eventually("the spool is found", Duration::from_secs(30), async || {
        Ok(process.output().contains("found in the spool").then_some(()))
    })
    .await?;
    Ok(process)
}

/// Fills a spool to its bound with what a busy host's samples take.
fn fill(directory: &Path) -> anyhow::Result<()> {
    let mut spool = Spool::open(random(), "boot".to_owned(), directory, Limits { reserve: 0, ..Limits::default() });
    let sample = v1::Sample {
        wall_micros: 1_800_000_000_000_000,
        monotonic_micros: 90_000_000_000,
        covers_millis: 1_000,
        cpu_percent: Some(37.5),
        cpu_busiest_percent: Some(52.25),
        cpu_steal_percent: Some(0.5),
        memory_used_bytes: Some(3 << 30),
        memory_total_bytes: Some(8 << 30),
        network: Some(v1::Network {
            in_bytes: 10_000.1,
            out_bytes: 9_000.2,
            in_packets: 100.3,
            out_packets: 90.4,
            errors: 0.0,
        }),
        ..v1::Sample::default()
    };
    while bytes(directory)? < FULL {
        for _ in 0..2_000 {
            spool.push(sample);
        }
        spool.close();
        ensure!(spool.dropped() == 0, "more than the spool holds");
    }
    Ok(())
}

fn bytes(directory: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

fn there(program: &str) -> bool {
    let found = Path::new(program).exists();
    if !found {
        println!("{program} is not installed and left out");
    }
    found
}

/// With the three collectors that see what the agent sees, asked once a second.
async fn exporter(path: &Path) -> anyhow::Result<Option<Process>> {
    if !there(EXPORTER) {
        return Ok(None);
    }
    let port = free_port()?;
    let mut command = Command::new(EXPORTER);
    command.args(["--collector.disable-defaults", "--collector.cpu", "--collector.meminfo", "--collector.netdev"]);
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let process = Process::start("node_exporter", command, path)?;
    let url = format!("http://127.0.0.1:{port}/metrics");
    eventually("node_exporter answers", Duration::from_secs(20), async || {
        Ok(web::get(&url).await?.body.contains("node_network_receive_bytes_total").then_some(()))
    })
    .await?;
    tokio::spawn(async move {
        let mut every = tokio::time::interval(Duration::from_secs(1));
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            if let Err(error) = web::get(&url).await {
                println!("node_exporter is not scraped: {error:#}");
                return;
            }
        }
    });
    Ok(Some(process))
}

/// With its plugins for the same, sent on as it does by itself: packed, in plain text, over UDP.
fn collectd(path: &Path) -> anyhow::Result<Option<Process>> {
    if !there(COLLECTD) {
        return Ok(None);
    }
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = socket.local_addr()?.port();
    std::thread::spawn(move || {
        let mut buffer = [0; 65_535];
        while socket.recv(&mut buffer).is_ok() {}
    });
    let file = path.join("collectd.conf");
    let base = path.display();
    std::fs::write(
        &file,
        format!(
            "Hostname \"i-1\"\nInterval 1\nBaseDir \"{base}\"\nPIDFile \"{base}/collectd.pid\"\nLoadPlugin cpu\nLoadPlugin memory\n\
             LoadPlugin interface\nLoadPlugin network\n<Plugin network>\n  Server \"127.0.0.1\" \"{port}\"\n</Plugin>\n"
        ),
    )?;
    let mut command = Command::new(COLLECTD);
    command.args(["-f", "-C"]).arg(&file);
    Process::start("collectd", command, path).map(Some)
}
