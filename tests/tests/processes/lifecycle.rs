//! Starting and stopping as systemd does it: told when ready, drained on SIGTERM, exit 0.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use foreshadow_tests::process::{Aggregator, Process, agent, binary, eventually, free_port};
use foreshadow_tests::web;
use tokio::net::UnixDatagram;
use tokio::process::Command;
use tokio::time::{Instant, timeout};

/// SIGHUP.
fn hang_up(process: &Process) -> anyhow::Result<()> {
    let id = rustix::process::Pid::from_raw(i32::try_from(process.id()?)?).context("the process id")?;
    Ok(rustix::process::kill_process(id, rustix::process::Signal::HUP)?)
}

/// An agent with nothing but a file, which stands below no flag.
fn agent_of(directory: &Path) -> anyhow::Result<Process> {
    let mut command = Command::new(binary("foreshadow-agent")?);
    command.arg("--config").arg(directory.join("agent.toml")).env("AWS_EC2_METADATA_DISABLED", "true");
    Process::start("agent", command, directory)
}

#[tokio::test]
async fn the_agent_drains_on_sigterm() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let aggregator = Aggregator::start(directory.path(), "").await?;
    let agent = agent(directory.path(), &aggregator.url, "i-1", &["--group", "web"])?;
    let url = format!("{}/shadow/metrics?instance=i-1&from=-5m", aggregator.url);
    eventually("some samples", Duration::from_secs(20), async || {
        Ok((web::get(&url).await?.lines()?.len() > 3).then_some(()))
    })
    .await?;
    let log = directory.path().join("agent-i-1.log");
    assert!(agent.terminate().await?.success());
    let said = std::fs::read_to_string(log)?;
    assert!(said.contains("agent ends") && said.contains("unacknowledged=0"), "{said}");
    eventually("the group is gone with its last member, not after a silence", Duration::from_secs(20), async || {
        let groups = web::get_json(&format!("{}/groups", aggregator.url)).await?;
        Ok(groups["groups"].as_array().is_some_and(Vec::is_empty).then_some(()))
    })
    .await?;
    assert!(aggregator.process.terminate().await?.success());
    Ok(())
}

#[tokio::test]
async fn how_long_an_agent_took_to_its_first_acknowledged_sample_is_shown() -> anyhow::Result<()> {
    /// Seconds, on a machine that is busy; usually two.
    const BOUND: f64 = 20.0;
    let directory = tempfile::tempdir()?;
    let port = free_port()?;
    let aggregator = Aggregator::start_on(directory.path(), "", port, &[]).await?;
    let begun = Instant::now();
    let agent = agent(directory.path(), &aggregator.url, "i-1", &["--group", "web"])?;
    let shown = async |url: String| {
        eventually("the instance with its first sample", Duration::from_secs(60), async || {
            let all = web::get_json(&format!("{url}/instances?group=web")).await?;
            Ok(all[0]["spool"]["first_acknowledged_millis"].as_u64())
        })
        .await
    };
    let millis = shown(aggregator.url.clone()).await?;
    let most = begun.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
    // One interval has to pass before there is a sample at all.
    ensure!((1_000..=most).contains(&millis) && (millis as f64) < BOUND * 1e3, "{millis} ms of {most}");
    let log = std::fs::read_to_string(directory.path().join("agent-i-1.log"))?;
    ensure!(log.contains(&format!("after_ms={millis}")), "what the agent says is what arrives: {millis} in {log}");

    // In the command and in what Prometheus reads, once.
    let mut command = Command::new(binary("foreshadow")?);
    let told = command.args(["instances", "web", "--url", &aggregator.url]).output().await?;
    let told = String::from_utf8(told.stdout)?;
    let cell = format!("{}.{} s", millis / 1_000, millis % 1_000 / 100);
    ensure!(told.contains("first sample") && told.contains(&cell), "{cell} in {told}");
    let read = async |url: String| anyhow::Ok(web::get(&format!("{url}/metrics")).await?.body);
    let name = "foreshadow_agent_first_acknowledged_seconds";
    let metrics = read(aggregator.url.clone()).await?;
    let value = |metrics: &str, series: &str| {
        metrics.lines().find_map(|line| line.strip_prefix(series)?.trim().parse::<f64>().ok())
    };
    ensure!(metrics.contains(&format!("# TYPE {name} histogram")), "{metrics}");
    ensure!(value(&metrics, &format!("{name}_count")) == Some(1.0), "{metrics}");
    ensure!(value(&metrics, &format!("{name}_bucket{{le=\"30\"}}")) == Some(1.0), "{metrics}");
    let sum = value(&metrics, &format!("{name}_sum")).context("the sum")?;
    ensure!((sum * 1e3 - millis as f64).abs() < 1.0, "seconds: {sum} of {millis} ms");

    // Told again to an aggregator that began anew, and counted no second time: nothing started.
    ensure!(aggregator.process.terminate().await?.success());
    let aggregator = Aggregator::start_on(directory.path(), "", port, &[]).await?;
    ensure!(shown(aggregator.url.clone()).await? == millis, "as before");
    let metrics = read(aggregator.url.clone()).await?;
    ensure!(value(&metrics, &format!("{name}_count")).unwrap_or_default() == 0.0, "{metrics}");
    assert!(agent.terminate().await?.success());
    Ok(())
}

#[tokio::test]
async fn an_agent_without_an_aggregator_waits_and_ends_cleanly() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let port = free_port()?;
    let agent = agent(directory.path(), &format!("http://127.0.0.1:{port}"), "i-1", &[])?;
    let log = directory.path().join("agent-i-1.log");
    eventually("it says why", Duration::from_secs(20), async || {
        let said = std::fs::read_to_string(&log)?;
        Ok((said.matches("cannot be reached").count() >= 2).then_some(()))
    })
    .await?;
    // What it measured meanwhile is not lost.
    let aggregator = Aggregator::start_on(directory.path(), "", port, &[]).await?;
    let url = format!("{}/shadow/metrics?instance=i-1&from=-5m", aggregator.url);
    let samples = eventually("the backlog", Duration::from_secs(40), async || {
        let samples = web::get(&url).await?.lines()?;
        Ok((samples.len() > 2).then_some(samples))
    })
    .await?;
    assert_eq!(samples[0]["sequence"], 1, "from the first sample on");
    assert!(agent.terminate().await?.success());
    Ok(())
}

#[tokio::test]
async fn systemd_is_told() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("notify");
    let notified = UnixDatagram::bind(&socket)?;
    let heard = async || {
        let mut bytes = [0; 256];
        let length = timeout(Duration::from_secs(20), notified.recv(&mut bytes)).await??;
        anyhow::Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
    };
    let port = free_port()?;
    let path = socket.display().to_string();
    let aggregator = Aggregator::start_on(directory.path(), "", port, &[("NOTIFY_SOCKET", &path)]).await?;
    assert_eq!(heard().await?.trim(), "READY=1");
    assert!(aggregator.process.terminate().await?.success());
    assert_eq!(heard().await?.trim(), "STOPPING=1");

    let mut command = Command::new(binary("foreshadow-agent")?);
    command.args(["--aggregator", &format!("http://127.0.0.1:{port}"), "--instance-id", "i-1"]);
    command.env("NOTIFY_SOCKET", &path).env("AWS_EC2_METADATA_DISABLED", "true");
    let agent = Process::start("agent", command, directory.path())?;
    assert_eq!(heard().await?.trim(), "READY=1");
    assert_eq!(heard().await?.trim(), "WATCHDOG=1");
    // A reload begins, ends with what came of it, and the process with neither: there is no file here.
    hang_up(&agent)?;
    let other_than_the_watchdog = async || loop {
        let said = heard().await?;
        if said.trim() != "WATCHDOG=1" {
            break anyhow::Ok(said);
        }
    };
    let begun = other_than_the_watchdog().await?;
    let at = begun.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")?.parse::<u64>().ok());
    assert!(begun.lines().any(|line| line == "RELOADING=1") && at.is_some_and(|at| at > 0), "{begun}");
    let ended = other_than_the_watchdog().await?;
    assert!(ended.lines().any(|line| line == "READY=1"), "{ended}");
    assert!(ended.contains("STATUS=the configuration was not taken") && ended.contains("--config"), "{ended}");
    assert_eq!(heard().await?.trim(), "WATCHDOG=1");
    assert!(agent.terminate().await?.success());
    Ok(())
}

/// Only what the rounds themselves say reaches the watchdog: `watchdog::tests`, `incidents::judoscale_…`.
#[tokio::test]
async fn the_watchdog_hears_of_rounds_that_end() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("notify");
    let notified = UnixDatagram::bind(&socket)?;
    let heard = async || {
        let mut bytes = [0; 256];
        let length = timeout(Duration::from_secs(20), notified.recv(&mut bytes)).await??;
        anyhow::Ok(String::from_utf8_lossy(&bytes[..length]).trim().to_owned())
    };
    let path = socket.display().to_string();
    let set = [("NOTIFY_SOCKET", path.as_str()), ("WATCHDOG_USEC", "1500000")];
    let aggregator = Aggregator::start_on(directory.path(), "", free_port()?, &set).await?;
    let mut said = Vec::new();
    while said.len() < 4 {
        said.push(heard().await?);
    }
    assert!(said.iter().any(|word| word == "READY=1"), "{said:?}");
    assert_eq!(said.iter().filter(|word| *word == "WATCHDOG=1").count(), 3, "{said:?}");
    assert!(aggregator.process.terminate().await?.success());
    Ok(())
}

#[tokio::test]
async fn the_configuration_is_read_again_and_one_with_a_fault_changes_nothing() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let config =
        |minimum: &str| format!("[inventory]\nwarm_up_seconds = 0\n[group.web]\nminimum = {minimum}\nmaximum = 9\n");
    let aggregator = Aggregator::start(directory.path(), &config("1")).await?;
    let file = directory.path().join("foreshadow.toml");
    let agent = agent(directory.path(), &aggregator.url, "i-1", &["--group", "web"])?;
    let metrics = async || anyhow::Ok(web::get(&format!("{}/metrics", aggregator.url)).await?.body);
    let shows = async |line: &str| {
        eventually(line, Duration::from_secs(60), async || {
            Ok(metrics().await?.lines().any(|shown| shown == line).then_some(()))
        })
        .await
    };
    let launches = async || {
        let group = web::get_json(&format!("{}/groups/web", aggregator.url)).await?;
        let steps = group["plan"]["steps"].as_array().cloned().unwrap_or_default();
        anyhow::Ok(steps.iter().find(|step| step["step"] == "launch").and_then(|step| step["count"].as_u64()))
    };
    let hangup = || hang_up(&aggregator.process);
    shows("foreshadow_config_reload_successful 1").await?;
    shows("foreshadow_group_minimum{group=\"web\"} 1").await?;
    shows("foreshadow_group_serving{group=\"web\"} 1").await?;
    assert_eq!(launches().await?, None);

    std::fs::write(&file, config("3") + "[listen]\naddress = \"127.0.0.1:1\"\n[store]\nraw_retention_hours = 24\n")?;
    hangup()?;
    shows("foreshadow_group_minimum{group=\"web\"} 3").await?;
    eventually("a plan for the new minimum", Duration::from_secs(60), async || {
        Ok((launches().await? == Some(2)).then_some(()))
    })
    .await?;
    let said = aggregator.process.output();
    assert!(said.contains("fields=\"group.web.minimum\"") || said.contains("fields=group.web.minimum"), "{said}");
    assert!(said.contains("store.raw_retention_hours") && said.contains("needs a restart"), "{said}");
    assert!(!said.contains("listen.address"), "the flag stands above the file: {said}");

    // Broken: named with file, line and field, counted, and the former one holds.
    std::fs::write(&file, config("\"many\""))?;
    hangup()?;
    shows("foreshadow_config_reload_successful 0").await?;
    let said = aggregator.process.output();
    assert!(said.contains("foreshadow.toml:4: group.web.minimum: must be a whole number"), "{said}");
    shows("foreshadow_group_minimum{group=\"web\"} 3").await?;
    let warned = async || {
        let ready = web::get_json(&format!("{}/readyz", aggregator.url)).await?["warnings"].to_string();
        anyhow::Ok(ready.contains("the configuration file was not taken") && ready.contains("foreshadow.toml:4"))
    };
    assert!(warned().await?, "/readyz says it");
    // Mended, it holds again, also with other metrics than the group began with.
    std::fs::write(&file, config("2") + "targets = { cpu = 50, memory = 80 }\n")?;
    hangup()?;
    shows("foreshadow_config_reload_successful 1").await?;
    shows("foreshadow_group_minimum{group=\"web\"} 2").await?;
    assert!(!warned().await?, "and no longer");
    eventually("a plan by both metrics", Duration::from_secs(60), async || {
        let group = web::get_json(&format!("{}/groups/web", aggregator.url)).await?;
        let needs = group["plan"]["needs"].as_array().cloned().unwrap_or_default();
        let has = |metric: &str| needs.iter().any(|need| need["metric"] == metric);
        Ok((has("cpu") && has("memory")).then_some(()))
    })
    .await?;
    assert!(agent.terminate().await?.success());
    assert!(aggregator.process.terminate().await?.success());
    Ok(())
}

#[tokio::test]
async fn the_agents_configuration_is_read_again_its_stream_goes_on_and_one_with_a_fault_changes_nothing()
-> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (one, other) = (directory.path().join("one"), directory.path().join("other"));
    std::fs::create_dir(&one)?;
    std::fs::create_dir(&other)?;
    let first = Aggregator::start(&one, "").await?;
    let write = |aggregator: &str, more: &str| {
        let text = format!("aggregator = \"{aggregator}\"\ninstance_id = \"i-1\"\n{more}");
        std::fs::write(directory.path().join("agent.toml"), text)
    };
    let said = |agent: &Process, words: &[&str]| words.iter().all(|word| agent.output().contains(word));
    let says = async |agent: &Process, words: &[&str]| {
        let what = words.join(", ");
        let told = eventually(&what, Duration::from_secs(30), async || Ok(said(agent, words).then_some(())));
        told.await.with_context(|| agent.output())
    };
    let sequences = async |aggregator: &Aggregator| {
        let past = web::get(&aggregator.url_of("/shadow/metrics?instance=i-1&from=-10m")).await?.lines()?;
        anyhow::Ok(past.iter().filter_map(|sample| sample["sequence"].as_u64()).collect::<Vec<_>>())
    };
    let more = async |aggregator: &Aggregator, what: &str| {
        let before = sequences(aggregator).await?.len();
        eventually(what, Duration::from_secs(40), async || {
            Ok((sequences(aggregator).await?.len() > before + 2).then_some(()))
        })
        .await
    };
    let member = async |aggregator: &Aggregator, group: &str| {
        let group = web::get_json(&aggregator.url_of(&format!("/groups/{group}"))).await?;
        anyhow::Ok(group["members"][0].clone())
    };

    let green = directory.path().join("green");
    let probe = format!("probe = \"file:{}\"\nprobe_grace_seconds = 0\n", green.display());
    write(&first.url, &format!("group = \"web\"\n{probe}"))?;
    let mut agent = agent_of(directory.path())?;
    eventually("it warms up: its probe fails", Duration::from_secs(45), async || {
        Ok((member(&first, "web").await?["ready"] == false).then_some(()))
    })
    .await?;

    // What can change does: the group by a new stream, the probe, and not the interval, which the aggregator says.
    write(&first.url, "group = \"shop\"\nprobe = \"none\"\ninterval_seconds = 5\nspool_mib = 3\n")?;
    hang_up(&agent)?;
    says(&agent, &["group, interval_seconds, probe, probe_grace_seconds", "it holds from now on"]).await?;
    says(&agent, &["spool_mib", "needs a restart", "the aggregator says how often"]).await?;
    eventually("it is ready, in its other group", Duration::from_secs(45), async || {
        let member = member(&first, "shop").await?;
        Ok((member["ready"] == true && member["connected"] == true).then_some(()))
    })
    .await?;

    // Faults: of the file by line and field, and of what a connection would not find.
    write(&first.url, "group = \"web\"\ninterval_seconds = 0\nprobe = \"ping\"\nprob = 1\n")?;
    hang_up(&agent)?;
    says(&agent, &["agent.toml:4: interval_seconds: 0 is not in 1 to 60", "agent.toml:5: probe: \"ping\" is none of"])
        .await?;
    says(&agent, &["agent.toml:6: prob: unknown key", "the configuration was not taken: what held before still does"])
        .await?;
    write(&first.url, "group = \"web\"\nca = \"/no/such.pem\"\n")?;
    hang_up(&agent)?;
    says(&agent, &["foreshadow-agent: --ca: /no/such.pem cannot be read"]).await?;
    more(&first, "samples go on after both").await?;
    assert_eq!(member(&first, "shop").await?["connected"], true, "in the group of before");

    // An aggregator that is not there: what is connected goes on.
    write(&format!("http://127.0.0.1:{}", free_port()?), "group = \"shop\"\n")?;
    hang_up(&agent)?;
    says(&agent, &["the aggregator cannot be reached"]).await?;
    more(&first, "samples to who is there").await?;
    assert_eq!(agent.output().matches("connected transport").count(), 2, "{}", agent.output());

    // One that is: every sample is at one of them, at each once, by the sequence that goes on.
    let second = Aggregator::start(&other, "").await?;
    write(&second.url, "group = \"shop\"\n")?;
    hang_up(&agent)?;
    more(&second, "samples at the other").await?;
    eventually("the first is left", Duration::from_secs(20), async || {
        Ok((member(&first, "shop").await?["connected"] == false).then_some(()))
    })
    .await?;
    agent.must_run()?;
    assert_eq!(agent.output().matches("agent starts").count(), 1);
    let log = directory.path().join("agent.log");
    assert!(agent.terminate().await?.success());
    assert!(std::fs::read_to_string(log)?.contains("unacknowledged=0"));
    let (mut before, after) = (sequences(&first).await?, sequences(&second).await?);
    for (who, sequences) in [("the first", &before), ("the other", &after)] {
        assert!(sequences.windows(2).all(|pair| pair[0] < pair[1]), "{who} has each once: {sequences:?}");
    }
    assert!(after[0] > 6, "the sequence goes on, and what the first acknowledged does not go again: {after:?}");
    before.extend(after);
    before.sort_unstable();
    before.dedup();
    let made: Vec<u64> = (1..=before.len() as u64).collect();
    assert_eq!(before, made, "none is missing");
    Ok(())
}

#[tokio::test]
async fn until_an_aggregator_says_how_often_the_agents_file_does_and_may_change() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let port = free_port()?;
    let write = |seconds: u32| {
        let text =
            format!("aggregator = \"http://127.0.0.1:{port}\"\ninstance_id = \"i-1\"\ninterval_seconds = {seconds}\n");
        std::fs::write(directory.path().join("agent.toml"), text)
    };
    write(1)?;
    let agent = agent_of(directory.path())?;
    eventually("it measures", Duration::from_secs(20), async || {
        Ok(agent.output().contains("cannot be reached").then_some(()))
    })
    .await?;
    foreshadow_tests::process::pause(Duration::from_secs(3)).await;
    write(3)?;
    hang_up(&agent)?;
    foreshadow_tests::process::pause(Duration::from_secs(8)).await;
    let aggregator = Aggregator::start_on(directory.path(), "", port, &[]).await?;
    let url = aggregator.url_of("/shadow/metrics?instance=i-1&from=-5m");
    eventually("samples of one second, then of three", Duration::from_secs(60), async || {
        let covers: Vec<u64> =
            web::get(&url).await?.lines()?.iter().filter_map(|sample| sample["covers_millis"].as_u64()).collect();
        let slow = covers.iter().position(|millis| (2_900..=3_400).contains(millis));
        Ok(slow.filter(|slow| covers[..*slow].iter().any(|millis| (900..=1_200).contains(millis))).map(drop))
    })
    .await?;
    assert!(agent.terminate().await?.success());
    Ok(())
}

#[tokio::test]
async fn an_interval_is_changed_by_directive_without_a_restart() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let aggregator = Aggregator::start(directory.path(), "[agents]\ninterval_seconds = 2\n").await?;
    let agent = agent(directory.path(), &aggregator.url, "i-1", &["--group", "web", "--interval-seconds", "1"])?;
    let url = format!("{}/shadow/metrics?instance=i-1&from=-5m", aggregator.url);
    eventually("samples that cover two seconds", Duration::from_secs(30), async || {
        let samples = web::get(&url).await?.lines()?;
        let covers = |sample: &serde_json::Value| sample["covers_millis"].as_u64().unwrap_or_default();
        let slow = samples.iter().rev().take(3).filter(|sample| (1_900..=2_200).contains(&covers(sample))).count();
        Ok((slow == 3).then_some(()))
    })
    .await?;
    assert!(agent.terminate().await?.success());
    Ok(())
}

#[tokio::test]
async fn an_instance_serves_when_its_probe_is_green_and_a_short_failure_is_forgiven() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let aggregator = Aggregator::start(directory.path(), "").await?;
    let green = directory.path().join("green");
    let probe = format!("file:{}", green.display());
    let flags = ["--group", "web", "--probe", &probe, "--probe-grace-seconds", "12"];
    let agent = agent(directory.path(), &aggregator.url, "i-1", &flags)?;
    let member = async || {
        let group = web::get_json(&format!("{}/groups/web", aggregator.url)).await?;
        let member = &group["members"][0];
        anyhow::Ok((member["mode"].as_str().unwrap_or_default().to_owned(), member["ready"].as_bool()))
    };
    let becomes = async |what: &str, mode: &str, ready: bool| {
        eventually(what, Duration::from_secs(45), async || {
            Ok((member().await? == (mode.to_owned(), Some(ready))).then_some(()))
        })
        .await
    };
    becomes("it warms up while the probe fails", "warming", false).await?;
    std::fs::write(&green, "")?;
    becomes("it serves when the probe is green", "serving", true).await?;
    std::fs::remove_file(&green)?;
    foreshadow_tests::process::pause(Duration::from_secs(7)).await;
    assert_eq!(member().await?, ("serving".to_owned(), Some(true)), "forgiven within the grace");
    eventually("past the grace it is not ready", Duration::from_secs(45), async || {
        Ok((member().await?.1 == Some(false)).then_some(()))
    })
    .await?;
    assert!(agent.terminate().await?.success());
    Ok(())
}
