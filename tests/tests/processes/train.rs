//! `foreshadow train` on the store of an aggregator that serves: progress, a kill, going on, and the network among the models of its groups.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use foreshadow::clock::{Clock as _, SystemClock};
use foreshadow_tests::process::{Aggregator, Process, agent, binary, eventually};
use foreshadow_tests::web;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::Instant;

const WITHIN: Duration = Duration::from_secs(180);
/// An answer of an aggregator whose store is read and whose processors are busy, by other tests as well.
const PROMPT: Duration = Duration::from_secs(5);

/// Nine days of a group by the minute, up to now.
fn past(directory: &Path) -> anyhow::Result<String> {
    let until = SystemClock.wall_seconds().div_euclid(300) * 300;
    let mut text = "timestamp,utilisation,instances\n".to_owned();
    for at in (until - 9 * 86_400..until).step_by(60) {
        let turn = at as f64 / 86_400.0 * std::f64::consts::TAU;
        writeln!(text, "{at},{:.2},8", 45.0 + 20.0 * turn.sin() + (at / 60 * 7_919 % 13) as f64 / 4.0)?;
    }
    let file = directory.join("past.csv");
    std::fs::write(&file, text)?;
    Ok(file.display().to_string())
}

async fn foreshadow(arguments: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new(binary("foreshadow")?);
    command.args(arguments).kill_on_drop(true);
    let output = tokio::time::timeout(WITHIN, command.output()).await.context(arguments.join(" "))??;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output)
}

/// The epochs that were told, with what was said of them.
fn epochs(said: &str) -> Vec<(usize, &str)> {
    let told =
        said.lines().filter_map(|line| Some((line.strip_prefix("epoch ")?.split_once('/')?.0.parse().ok()?, line)));
    told.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_on_the_store_of_a_running_aggregator_is_killed_goes_on_and_its_network_competes()
-> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let aggregator = Aggregator::start(directory.path(), "").await?;
    let agent = agent(directory.path(), &aggregator.url, "i-1", &["--group", "web"])?;
    let group = format!("{}/groups/web", aggregator.url);
    eventually("the group is known", WITHIN, async || Ok((web::get(&group).await?.status == 200).then_some(())))
        .await?;
    let past = past(directory.path())?;
    foreshadow(&["import", "csv", &past, "--group", "web", "--url", &aggregator.url, "--json"]).await?;

    let network = directory.path().join("network.onnx");
    let manifest = directory.path().join("network.json");
    let checkpoint = directory.path().join("network.onnx.training");
    let (file, store) = (network.display().to_string(), directory.path().join("data").display().to_string());
    let training = [
        "train",
        "--directory",
        &store,
        "--out",
        &file,
        "--hidden",
        "8",
        "--epochs",
        "300",
        "--windows",
        "128",
        "--json",
    ];
    let mut command = Command::new(binary("foreshadow")?);
    command.args(training);
    let first = Process::start("train", command, directory.path())?;
    let said = eventually("two epochs are kept", WITHIN, async || {
        let asked = Instant::now();
        web::get(&group).await?;
        ensure!(asked.elapsed() < PROMPT, "the aggregator took {:?}", asked.elapsed());
        Ok(Some(first.output()).filter(|said| epochs(said).len() >= 2 && checkpoint.exists()))
    })
    .await?;
    ensure!(said.contains("series (store): ") && said.contains(" left at most"), "{said}");
    first.kill().await?;
    ensure!(!network.exists() && !manifest.exists(), "half a training is no network");

    // The same again, as far as a few seconds get it.
    let resumed = foreshadow(&[&training[..], &["--resume", "--seconds", "5"]].concat()).await?;
    let told = String::from_utf8_lossy(&resumed.stderr).into_owned();
    let went_on = epochs(&told);
    ensure!(went_on.first().is_some_and(|(epoch, _)| *epoch >= 3), "it began anew: {told}");
    let made: Value = serde_json::from_slice(&resumed.stdout)?;
    ensure!(made["trained"]["on"] == "store" && made["trained"]["series"].as_u64() >= Some(1), "{made}");
    ensure!(network.exists() && manifest.exists() && !checkpoint.exists(), "{told}");
    foreshadow(&["models", "check", &file]).await?;

    // At its next start the aggregator lets it compete.
    let port = aggregator.port;
    aggregator.process.terminate().await?;
    let config = format!("[forecast]\nnetwork = {file:?}\n");
    let aggregator = Aggregator::start_on(directory.path(), &config, port, &[]).await?;
    let shown = eventually("the network is among the models", WITHIN, async || {
        let listed = foreshadow(&["models", "web", "--json", "--url", &aggregator.url]).await?;
        let listed: Value = serde_json::from_slice(&listed.stdout)?;
        let members = listed["web"]["cpu"]["standing"]["members"].as_array().cloned().unwrap_or_default();
        Ok(members.into_iter().find(|member| member["model"] == "network"))
    })
    .await?;
    ensure!(shown["losses"].as_array().is_some_and(|losses| losses.iter().any(Value::is_number)), "{shown}");
    let table = foreshadow(&["models", "web", "--url", &aggregator.url]).await?;
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    ensure!(table.lines().any(|line| line.trim_start().starts_with("network ")), "{table}");
    agent.kill().await
}
