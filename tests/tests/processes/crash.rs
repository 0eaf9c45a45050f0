//! Kill -9 in the middle of streaming: what was acknowledged is there, once.

use std::sync::Arc;
use std::time::Duration;

use foreshadow_tests::fleet::{Fleet, Script};
use foreshadow_tests::oracle::Oracle;
use foreshadow_tests::process::{Aggregator, agent, eventually, free_port};

/// Unless told otherwise.
const KILLS: usize = 20;

/// `FORESHADOW_KILLS=100` for a hundred on each side.
fn kills() -> usize {
    std::env::var("FORESHADOW_KILLS").ok().and_then(|told| told.parse().ok()).unwrap_or(KILLS)
}

fn fleet(url: &str) -> anyhow::Result<Fleet> {
    Fleet::start(&Script {
        aggregator: url.to_owned(),
        instances: (0..20).map(|number| format!("i-{number:02}")).collect(),
        group: "web".to_owned(),
        instance_type: "m5.large".to_owned(),
        interval: Duration::from_millis(50),
        load: Arc::new(|index, second| ((index as u64 * 7 + second) % 100) as f32),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_aggregator_loses_and_doubles_nothing() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let port = free_port()?;
    let oracle = Oracle::start(&format!("http://127.0.0.1:{port}")).await?;
    let fleet = fleet(&oracle.url)?;
    let real = agent(directory.path(), &oracle.url, "i-real", &["--group", "web"])?;
    for kill in 0..kills() {
        let aggregator = Aggregator::start_on(directory.path(), "", port, &[]).await?;
        let before = oracle.acknowledged();
        // Some die at once, some in the thick of a backlog, some in a steady stream.
        let wanted = before + 1 + 150 * (kill as u64 % 7);
        eventually("acknowledgements flow", Duration::from_secs(60), async || {
            Ok((oracle.acknowledged() >= wanted).then_some(()))
        })
        .await?;
        aggregator.process.kill().await?;
    }
    let aggregator = Aggregator::start_on(directory.path(), "", port, &[]).await?;
    eventually("the backlog is acknowledged", Duration::from_secs(90), async || {
        Ok((fleet.seen().iter().all(|agent| agent.unacknowledged < 40)).then_some(()))
    })
    .await?;
    eventually("the real agent is back", Duration::from_secs(90), async || {
        Ok((oracle.acknowledged_of("i-real") > 20).then_some(()))
    })
    .await?;
    assert!(real.terminate().await?.success());
    drop(fleet);
    let count = oracle.judge(&aggregator.url).await?;
    println!("{} kills: {count:?}", kills());
    assert!(count.acknowledged > 2_000 && count.stored >= count.acknowledged, "{count:?}");
    assert!(aggregator.process.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_loses_nothing_that_was_acknowledged() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let aggregator = Aggregator::start(directory.path(), "").await?;
    let oracle = Oracle::start(&aggregator.url).await?;
    for kill in 0..kills() {
        let before = oracle.acknowledged_of("i-real");
        let agent = agent(directory.path(), &oracle.url, "i-real", &["--group", "web"])?;
        eventually("its samples are acknowledged", Duration::from_secs(30), async || {
            Ok((oracle.acknowledged_of("i-real") > before + kill % 4).then_some(()))
        })
        .await?;
        agent.kill().await?;
    }
    let count = oracle.judge(&aggregator.url).await?;
    println!("{} kills: {count:?}", kills());
    assert!(count.acknowledged >= kills() && count.stored >= count.acknowledged, "{count:?}");
    Ok(())
}
