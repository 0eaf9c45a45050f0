//! What Prometheus sees: metrics by its conventions, and alerts that fire when they should and only then.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use foreshadow_tests::process::{Aggregator, agent, eventually};
use foreshadow_tests::web;
use tokio::process::Command;

use super::history::steady;

fn rules() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus")
}

/// Runs promtool, which tests/run installs; its complaints are the error.
async fn promtool(arguments: &[&str], input: Option<PathBuf>) -> anyhow::Result<()> {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(rules());
    if let Some(input) = input {
        command.stdin(std::fs::File::open(input)?);
    }
    let said = command.output().await.context("promtool (Debian package prometheus)")?;
    let text = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    anyhow::ensure!(said.status.success(), "promtool {arguments:?}: {text}");
    Ok(())
}

#[tokio::test]
async fn alerts_fire_when_they_should_and_only_then() -> anyhow::Result<()> {
    promtool(&["check", "rules", "foreshadow-rules.yml"], None).await?;
    promtool(&["test", "rules", "foreshadow-rules.test.yml"], None).await
}

#[tokio::test]
async fn the_metrics_keep_to_the_conventions_and_the_alerts_ask_for_metrics_that_exist() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    // The first run makes the database, the second finds a past in it.
    let first = Aggregator::start(directory.path(), "").await?;
    anyhow::ensure!(first.process.terminate().await?.success());
    steady(directory.path(), "web", 90.0, 3).await?;
    let aggregator = Aggregator::start(directory.path(), "").await?;
    let agent = agent(directory.path(), &aggregator.url, "i-1", &["--group", "web"])?;
    let url = format!("{}/metrics", aggregator.url);
    // Once present demand is measured and a forecast is there, all of a group is told.
    let told = ["group_planned_timestamp_seconds", "demand_points", "forecast_trust", "forecast_demand_points"];
    let text = eventually("a plan with a forecast", Duration::from_secs(150), async || {
        let text = web::get(&url).await?.body;
        Ok(told.iter().all(|name| text.contains(&format!("\nforeshadow_{name}{{"))).then_some(text))
    })
    .await?;
    let ahead: Vec<&str> = text.lines().filter(|line| line.starts_with("foreshadow_forecast_demand_points{")).collect();
    for label in ["level=\"0.5\"", "level=\"0.9\"", "horizon=", "metric=\"cpu\"", "group=\"web\""] {
        anyhow::ensure!(ahead.iter().any(|line| line.contains(label)), "{label}: {ahead:?}");
    }
    let file = directory.path().join("metrics");
    std::fs::write(&file, &text)?;
    promtool(&["check", "metrics"], Some(file)).await?;
    // What an alert asks for under a wrong name never fires. Metrics appear with their first value: the source of all
    // names is where they are described.
    let described = include_str!("../../../aggregator/src/telemetry.rs");
    let rules = std::fs::read_to_string(rules().join("foreshadow-rules.yml"))?;
    for name in
        rules.split(|c: char| !c.is_ascii_lowercase() && c != '_').filter(|word| word.starts_with("foreshadow_"))
    {
        assert!(described.contains(&format!("\"{name}\"")), "an alert asks for {name}, which is no metric");
    }
    assert!(agent.terminate().await?.success());
    assert!(aggregator.process.terminate().await?.success());
    Ok(())
}
