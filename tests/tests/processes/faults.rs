//! The oracle under what disks, networks and clocks do. What is acknowledged is there, once and unaltered; after healing
//! everything flows again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use foreshadow_tests::fleet::{Fleet, Script};
use foreshadow_tests::oracle::Oracle;
use foreshadow_tests::process::{Aggregator, Process, agent_under, eventually, faketime, free_port, pause};
use foreshadow_tests::web;
use tokio::process::Command;

fn fleet(url: &str, agents: usize) -> anyhow::Result<Fleet> {
    Fleet::start(&Script {
        aggregator: url.to_owned(),
        instances: (0..agents).map(|number| format!("i-{number:02}")).collect(),
        group: "web".to_owned(),
        instance_type: "m5.large".to_owned(),
        interval: Duration::from_millis(50),
        load: Arc::new(|index, second| ((index as u64 * 7 + second) % 100) as f32),
    })
}

/// Runs a program that needs rights; false where they are lacking, which is said aloud. Under `tests/run` as root, which
/// installs it, that is an error.
pub(super) async fn privileged(program: &str, arguments: &[&str]) -> anyhow::Result<bool> {
    let output = Command::new(program).args(arguments).output().await;
    let why = match output {
        Ok(output) if output.status.success() => return Ok(true),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    ensure!(std::env::var_os("FORESHADOW_INJECTORS").is_none(), "{program} {arguments:?}: {why}");
    eprintln!("NOT RUN: {program} {arguments:?}: {}", why.trim());
    Ok(false)
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_come_twice_and_old_ones_again_are_stored_once() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let aggregator = Aggregator::start(directory.path(), "").await?;
    let oracle = Oracle::start_replaying(&aggregator.url).await?;
    let fleet = fleet(&oracle.url, 10)?;
    eventually("acknowledgements flow", Duration::from_secs(30), async || {
        Ok((oracle.acknowledged() > 300).then_some(()))
    })
    .await?;
    drop(fleet);
    let count = oracle.judge(&aggregator.url).await?;
    let metrics = web::get(&format!("{}/metrics", aggregator.url)).await?.body;
    let doubled = metrics.lines().find_map(|line| line.strip_prefix("foreshadow_samples_duplicate_total "));
    let doubled: f64 = doubled.context("the metric")?.parse()?;
    println!("{count:?}, {doubled} doubled");
    assert!(count.acknowledged > 300 && doubled >= count.acknowledged as f64 / 2.0, "{count:?}, {doubled}");
    assert!(aggregator.process.terminate().await?.success());
    Ok(())
}

/// Where strace writes every fsync, in the aggregator's directory.
const FSYNCS: &str = "fsyncs";

/// An aggregator of whose fsyncs something becomes, in the words of strace; its database was made while the disk was well.
async fn on_a_disk_with(directory: &Path, port: u16, fault: &str) -> anyhow::Result<Aggregator> {
    ensure!(Aggregator::start_on(directory, "", port, &[]).await?.process.terminate().await?.success());
    let calls = directory.join(FSYNCS).display().to_string();
    let inject = format!("inject=fsync,fdatasync:{fault}");
    let strace =
        ["strace", "-f", "-D", "-qq", "--seccomp-bpf", "-o", &calls, "-e", "trace=fsync,fdatasync", "-e", &inject];
    Aggregator::start_under(directory, "", port, &strace).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_between_failing_fsyncs_is_there_and_a_torn_log_harms_nothing() -> anyhow::Result<()> {
    if !privileged("strace", &["-qq", "-o", "/dev/null", "true"]).await? {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let port = free_port()?;
    // Counted by thread: from its tenth on no fsync of a connection succeeds, until it is given up for another.
    let aggregator = on_a_disk_with(directory.path(), port, "error=EIO:when=10+").await?;
    let oracle = Oracle::start(&aggregator.url).await?;
    let agents = fleet(&oracle.url, 10)?;
    let refusals = || aggregator.process.output().matches("nothing is acknowledged").count();
    eventually("the disk fails again and again, and samples flow between", Duration::from_secs(60), async || {
        Ok((refusals() >= 4 && oracle.acknowledged() > 300).then_some(()))
    })
    .await?;
    let (failed, between) = (refusals(), oracle.acknowledged());
    aggregator.process.kill().await?;
    // What a power cut leaves behind the last frame.
    let log = directory.path().join("data/foreshadow.db-wal");
    let mut bytes = std::fs::read(&log)?;
    ensure!(!bytes.is_empty(), "the log is where acknowledged samples are");
    let torn: Vec<u8> = bytes.iter().rev().take(3_000).copied().collect();
    bytes.extend(torn);
    std::fs::write(&log, bytes)?;
    let aggregator = Aggregator::start_on(directory.path(), "", port, &[]).await?;
    eventually("the backlog is acknowledged", Duration::from_secs(60), async || {
        Ok(agents.seen().iter().all(|agent| agent.unacknowledged < 40).then_some(()))
    })
    .await?;
    let dropped: u64 = agents.seen().iter().map(|agent| agent.dropped).sum();
    drop(agents);
    let count = oracle.judge(&aggregator.url).await?;
    println!("{failed} commits failed, {between} acknowledged between: {count:?}");
    assert!(dropped == 0 && count.stored >= count.acknowledged, "{count:?}");
    assert!(aggregator.process.terminate().await?.success());
    Ok(())
}

/// How long each fsync takes on the slow disk.
const SLOW: Duration = Duration::from_millis(250);

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_its_time_delays_acknowledgements_and_loses_nothing() -> anyhow::Result<()> {
    if !privileged("strace", &["-qq", "-o", "/dev/null", "true"]).await? {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let port = free_port()?;
    let aggregator = on_a_disk_with(directory.path(), port, &format!("delay_exit={}", SLOW.as_micros())).await?;
    let oracle = Oracle::start(&aggregator.url).await?;
    let agents = fleet(&oracle.url, 10)?;
    eventually("acknowledgements flow", Duration::from_secs(60), async || {
        Ok((oracle.acknowledged() > 300).then_some(()))
    })
    .await?;
    // Killed while some wait for the disk: none of those was acknowledged.
    let fsyncs = std::fs::read_to_string(directory.path().join(FSYNCS))?.matches("(DELAYED)").count();
    let slow = oracle.fastest().is_some_and(|fastest| fastest >= SLOW);
    aggregator.process.kill().await?;
    let aggregator = Aggregator::start_on(directory.path(), "", port, &[]).await?;
    eventually("the backlog is acknowledged", Duration::from_secs(60), async || {
        Ok(agents.seen().iter().all(|agent| agent.unacknowledged < 40).then_some(()))
    })
    .await?;
    let dropped: u64 = agents.seen().iter().map(|agent| agent.dropped).sum();
    drop(agents);
    let count = oracle.judge(&aggregator.url).await?;
    println!("{fsyncs} slow fsyncs: {count:?}");
    assert!(slow, "a sample was acknowledged before an fsync could have ended: {:?}", oracle.fastest());
    assert!(fsyncs > 1 && dropped == 0 && count.stored >= count.acknowledged, "{fsyncs}, {count:?}");
    assert!(aggregator.process.terminate().await?.success());
    Ok(())
}

/// Stands in for a world of its own: a network namespace with a loopback and nothing else.
struct Namespace(String);

impl Namespace {
    async fn make(name: &str) -> anyhow::Result<Option<Self>> {
        let name = format!("{name}-{}", std::process::id());
        if !privileged("ip", &["netns", "add", &name]).await? {
            return Ok(None);
        }
        let made = Self(name);
        if !privileged("nft", &["--version"]).await? {
            return Ok(None);
        }
        // Packets as a network would carry them.
        made.run(&["ip", "link", "set", "lo", "mtu", "1500", "up"]).await?;
        Ok(Some(made))
    }

    fn under(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.0]
    }

    async fn run(&self, command: &[&str]) -> anyhow::Result<()> {
        let [ip, first @ ..] = self.under();
        let output = Command::new(ip).args(first).args(command).output().await?;
        ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// What arrives meets this rule; none where it is empty.
    async fn rule(&self, rule: &str) -> anyhow::Result<()> {
        self.run(&["nft", "flush ruleset"]).await?;
        if !rule.is_empty() {
            let hook = "type filter hook input priority 0;";
            self.run(&["nft", &format!("table inet faults {{\n chain arriving {{\n {hook}\n {rule}\n }}\n}}")]).await?;
        }
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let gone = std::process::Command::new("ip").args(["netns", "delete", &self.0]).status();
        if !gone.is_ok_and(|status| status.success()) {
            eprintln!("the namespace {} could not be deleted", self.0);
        }
    }
}

/// Sequence numbers by instance and stream, as the store has them; an error where one is there twice.
async fn stored(url: &str, instances: &[String]) -> anyhow::Result<BTreeMap<(String, String), BTreeSet<u64>>> {
    let mut all = BTreeMap::<_, BTreeSet<u64>>::new();
    for instance in instances {
        let answer = web::get(&format!("{url}/shadow/metrics?instance={instance}&from=-1h")).await?;
        for line in answer.lines()? {
            let stream = line["stream"].as_str().context("stream")?.to_owned();
            let sequence = line["sequence"].as_u64().context("sequence")?;
            ensure!(all.entry((instance.clone(), stream)).or_default().insert(sequence), "twice: {line}");
        }
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn loss_a_narrow_line_and_a_one_way_partition_lose_and_double_nothing() -> anyhow::Result<()> {
    let Some(apart) = Namespace::make("foreshadow-faults").await? else { return Ok(()) };
    let directory = tempfile::tempdir()?;
    let port = free_port()?;
    let aggregator = Aggregator::spawn_under(directory.path(), "", port, &apart.under())?;
    let instances: Vec<String> = (0..3).map(|number| format!("i-{number}")).collect();
    let mut agents = Vec::new();
    for instance in &instances {
        agents.push(agent_under(directory.path(), &aggregator.url, instance, &["--group", "web"], &apart.under())?);
    }
    let said = |agent: &Process, word: &str| agent.output().lines().filter(|line| line.contains(word)).count();
    eventually("all are connected", Duration::from_secs(40), async || {
        Ok(agents.iter().all(|agent| said(agent, " connected transport=") > 0).then_some(()))
    })
    .await?;
    // One in ten packets is lost, both ways; then 64 kbit/s; then what the aggregator says arrives nowhere.
    apart.rule("numgen random mod 100 < 10 drop").await?;
    pause(Duration::from_secs(4)).await;
    apart.rule("").await?;
    apart
        .run(&["tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "64kbit", "burst", "5kb", "latency", "400ms"])
        .await?;
    pause(Duration::from_secs(4)).await;
    apart.run(&["tc", "qdisc", "delete", "dev", "lo", "root"]).await?;
    apart.rule(&format!("tcp sport {port} drop")).await?;
    pause(Duration::from_secs(5)).await;
    apart.rule("").await?;
    // Longer than the doubled wait of what was sent last.
    pause(Duration::from_secs(6)).await;
    for agent in agents {
        assert!(agent.terminate().await?.success());
    }
    assert!(aggregator.process.terminate().await?.success());
    let aggregator = Aggregator::start_on(directory.path(), "", port, &[]).await?;
    let found = stored(&aggregator.url, &instances).await?;
    for ((instance, stream), sequences) in &found {
        let last = sequences.last().copied().unwrap_or_default();
        let missing: Vec<u64> = (1..=last).filter(|sequence| !sequences.contains(sequence)).collect();
        assert!(missing.is_empty() && last >= 15, "{instance} {stream}: {missing:?} of {last}");
    }
    assert_eq!(found.len(), instances.len(), "one stream each");
    println!("{} samples", found.values().map(BTreeSet::len).sum::<usize>());
    assert!(aggregator.process.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_an_hour_ahead_and_an_hour_behind_loses_nothing_and_heals() -> anyhow::Result<()> {
    let preload = faketime()?;
    let directory = tempfile::tempdir()?;
    let (clock, new) = (directory.path().join("clock"), directory.path().join("clock.new"));
    let jump = |offset: &str| -> anyhow::Result<()> {
        std::fs::write(&new, offset)?;
        Ok(std::fs::rename(&new, &clock)?)
    };
    jump("+0")?;
    let aggregator = Aggregator::start(directory.path(), "").await?;
    let oracle = Oracle::start(&aggregator.url).await?;
    let (preload, file) = (format!("LD_PRELOAD={preload}"), format!("FAKETIME_TIMESTAMP_FILE={}", clock.display()));
    let under = ["env", &preload, &file, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"];
    let agent = agent_under(directory.path(), &oracle.url, "i-real", &["--group", "web"], &under)?;
    let settled = async |more: usize, what: &str| {
        let before = oracle.acknowledged_of("i-real");
        eventually(what, Duration::from_secs(30), async || {
            Ok((oracle.acknowledged_of("i-real") >= before + more).then_some(()))
        })
        .await
    };
    settled(3, "the clock is right").await?;
    jump("+3600")?;
    eventually("what comes from the future is refused by name", Duration::from_secs(30), async || {
        Ok((oracle.rejected() >= 3).then_some(()))
    })
    .await?;
    jump("-3600")?;
    settled(4, "an hour behind").await?;
    jump("+0")?;
    let refused = oracle.rejected();
    settled(4, "right again").await?;
    assert!(agent.terminate().await?.success());
    let count = oracle.judge(&aggregator.url).await?;
    println!("{count:?}, {refused} refused");
    assert!(oracle.rejected() <= refused + 2, "nothing is refused once the clock is right");
    assert!(count.stored >= 8, "{count:?}");
    assert!(aggregator.process.terminate().await?.success());
    Ok(())
}
