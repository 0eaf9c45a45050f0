//! An agent's disk: what waits for the aggregator outlives the agent, and harms nobody.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use foreshadow_tests::process::{Aggregator, agent, eventually, free_port};
use foreshadow_tests::web;

/// Bytes of waiting samples.
fn spooled(directory: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

#[tokio::test]
async fn what_waits_outlives_a_killed_agent_and_is_sent_under_its_own_stream() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let spool = directory.path().join("spool");
    let port = free_port()?;
    let aggregator = format!("http://127.0.0.1:{port}");
    let flags = ["--group", "web", "--spool", &spool.display().to_string()];
    let mut grown = 0;
    // Nobody listens: two agents in turn are killed with samples on their disk, the third is told to stop.
    for round in 0..3 {
        let running = agent(directory.path(), &aggregator, "i-1", &flags)?;
        let before = grown;
        grown = eventually("samples on the disk", Duration::from_secs(60), async || {
            let bytes = spooled(&spool)?;
            Ok((bytes > before + 250).then_some(bytes))
        })
        .await?;
        if round < 2 {
            running.kill().await?;
        } else {
            assert!(running.terminate().await?.success());
            grown = spooled(&spool)?;
        }
    }
    let served = Aggregator::start_on(directory.path(), "", port, &[]).await?;
    let last = agent(directory.path(), &aggregator, "i-1", &flags)?;
    eventually("the disk is empty again", Duration::from_secs(60), async || Ok((spooled(&spool)? == 0).then_some(())))
        .await?;
    let url = format!("{}/shadow/metrics?instance=i-1&from=-15m", served.url);
    let lines = web::get(&url).await?.lines()?;
    let of = |line: &serde_json::Value| Some((line["stream"].as_str()?.to_owned(), line["sequence"].as_u64()?));
    let stored: Vec<(String, u64)> = lines.iter().filter_map(of).collect();
    let unique: BTreeSet<&(String, u64)> = stored.iter().collect();
    assert_eq!(unique.len(), stored.len(), "once each");
    let streams: BTreeSet<&String> = stored.iter().map(|(stream, _)| stream).collect();
    assert!(streams.len() >= 3, "each agent's samples under its own stream: {streams:?} of {grown} bytes");
    for stream in streams {
        let own: Vec<u64> = stored.iter().filter(|(of, _)| of == stream).map(|(_, sequence)| *sequence).collect();
        assert!((1..=own.len() as u64).all(|sequence| own.contains(&sequence)), "{stream} has holes: {own:?}");
    }
    assert!(last.terminate().await?.success());
    assert!(served.process.terminate().await?.success());
    Ok(())
}

#[tokio::test]
async fn a_second_agent_on_the_same_disk_does_without_it() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let spool = directory.path().join("spool").display().to_string();
    let aggregator = Aggregator::start(directory.path(), "").await?;
    let first = agent(directory.path(), &aggregator.url, "i-1", &["--spool", &spool])?;
    eventually("the first has the directory", Duration::from_secs(20), async || {
        Ok(Path::new(&spool).join("lock").exists().then_some(()))
    })
    .await?;
    let second = agent(directory.path(), &aggregator.url, "i-2", &["--spool", &spool])?;
    let url = format!("{}/shadow/metrics?instance=i-2&from=-5m", aggregator.url);
    eventually("the second one's samples", Duration::from_secs(30), async || {
        Ok((!web::get(&url).await?.lines()?.is_empty()).then_some(()))
    })
    .await?;
    let said = std::fs::read_to_string(directory.path().join("agent-i-2.log"))?;
    assert!(said.contains("no spool on disk") && said.contains("another agent"), "{said}");
    assert!(first.terminate().await?.success() && second.terminate().await?.success());
    Ok(())
}
