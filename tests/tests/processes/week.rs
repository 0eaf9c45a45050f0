//! The last week lived again in a looser mode, of groups that are driven by a load of their own unit, by that and their processors, and by
//! the past of another: by API and at a terminal alike.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use foreshadow::clock::{Clock as _, SystemClock};
use foreshadow_tests::process::{Aggregator, binary, eventually};
use foreshadow_tests::web;
use serde_json::{Value, json};
use tokio::process::Command;

const HOUR: i64 = 3_600;
const WITHIN: Duration = Duration::from_secs(240);

async fn foreshadow(url: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(binary("foreshadow")?);
    let output = command.args(arguments).args(["--url", url]).kill_on_drop(true).output();
    let output = tokio::time::timeout(WITHIN, output).await??;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{arguments:?}: {said}");
    Ok(String::from_utf8(output.stdout)?)
}

/// A metric by the minute, imported for a group.
async fn import(
    url: &str,
    directory: &Path,
    (group, metric): (&str, &str),
    (from, until): (i64, i64),
    row: impl Fn(i64) -> String,
) -> anyhow::Result<()> {
    let columns = if metric == "cpu" { "timestamp,value,instances" } else { "timestamp,value" };
    let mut text = format!("{columns}\n");
    for at in (from..until).step_by(60) {
        writeln!(text, "{at},{}", row(at))?;
    }
    let file = directory.join(format!("{group}-{metric}.csv"));
    std::fs::write(&file, text)?;
    foreshadow(url, &["import", "csv", &file.display().to_string(), "--group", group, "--metric", metric]).await?;
    Ok(())
}

/// From 0 to 1 and back in a day, with what no model can learn.
fn wave(seconds: i64) -> f64 {
    let turn = seconds as f64 / (24 * HOUR) as f64 * std::f64::consts::TAU;
    (0.5 + 0.5 * turn.cos()) * (0.96 + 0.04 * ((seconds / 60 * 7_919) % 101).abs() as f64 / 101.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_lived_again_by_what_drives_it() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let inventory = directory.path().join("inventory.toml");
    let group = |name: &str| format!("[group.{name}]\nminimum = 1\nmaximum = 40\ninstances = [\"{name}-1\"]\n");
    std::fs::write(&inventory, group("web") + &group("both") + &group("green"))?;
    let config = format!(
        "[inventory]\nfile = {inventory:?}\ninterval_seconds = 5\nwarm_up_seconds = 0\n[metric.requests]\nof = \"group\"\n\
         [group.web.targets]\nrequests = 200\n[group.both.targets]\ncpu = 60\nrequests = 200\n\
         [group.green]\nhistory = [\"web\"]\n[group.green.targets]\nrequests = 200\n"
    );
    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let url = &aggregator.url;
    // From three to sixteen instances carry it, sixteen at its end; of how many did nobody says.
    let until = SystemClock.wall_seconds().div_euclid(HOUR) * HOUR;
    let requests = |at: i64| 600.0 + 2_500.0 * wave(at - until);
    let [days, hours] = [96, 16].map(|hours| (until - hours * HOUR, until));
    import(url, directory.path(), ("web", "requests"), days, |at| requests(at).to_string()).await?;
    // Processors ask for nine all the time, requests for less and then for more.
    import(url, directory.path(), ("both", "requests"), hours, |at| requests(at).to_string()).await?;
    import(url, directory.path(), ("both", "cpu"), hours, |_| "54,10".to_owned()).await?;
    for group in ["web", "both", "green"] {
        eventually("a first plan", WITHIN, async || {
            Ok(web::get_json(&format!("{url}/groups/{group}")).await?["plan"].is_object().then_some(()))
        })
        .await?;
    }
    // The need that a plan has of the load, in columns of five minutes.
    let needed = |week: &Value, need: &dyn Fn(i64) -> u32| {
        let (from, until) = (week["from"].as_i64().unwrap_or(0), week["until"].as_i64().unwrap_or(0));
        let columns = (from..until).step_by(300);
        let most = |start: i64| (start..until.min(start + 300)).step_by(60).map(need).max();
        json!(columns.map(most).collect::<Vec<_>>())
    };
    let by_requests = |at: i64| (requests(at) / 200.0 - 1e-6).ceil() as u32;

    let said = foreshadow(url, &["week", "web", "full"]).await?;
    ensure!(said.contains("lived again in full") && said.contains("driven by: requests "), "{said}");
    ensure!(said.contains("instance-hours          not known") && !said.contains("above 90"), "{said}");
    let week: Value = serde_json::from_str(&foreshadow(url, &["week", "web", "full", "--json"]).await?)?;
    assert_eq!(week, web::get_json(&format!("{url}/groups/web/week?mode=full")).await?, "it is one and the same");
    let minutes = (week["until"].as_i64().unwrap_or(0) - week["from"].as_i64().unwrap_or(0)) / 60;
    ensure!(minutes > 71 * 60, "{week}");
    assert_eq!((&week["driven_by"], &week["was"]), (&json!({"requests": minutes}), &Value::Null), "{week}");
    assert_eq!(week["need"], needed(&week, &by_requests), "{week}");
    ensure!(["launch", "detach"].iter().all(|step| week["steps"][step].as_u64() > Some(0)), "{week}");
    ensure!(week["would"]["above_target"].as_f64() < Some(15.0), "{week}");

    let week: Value = serde_json::from_str(&foreshadow(url, &["week", "both", "full", "--json"]).await?)?;
    assert_eq!(week["need"], needed(&week, &|at| by_requests(at).max(9)), "the larger need of the two: {week}");
    for metric in ["cpu", "requests"] {
        ensure!(week["driven_by"][metric].as_u64() > Some(60), "{metric}: {week}");
    }
    // Of its processors it is known that ten served.
    assert_eq!((&week["served"][0], &week["would"]["above_90"]), (&10.into(), &Value::Null), "{week}");
    ensure!(week["was"]["above_target"].as_f64() > Some(10.0), "ten were too few at the crests: {week}");

    let week: Value = serde_json::from_str(&foreshadow(url, &["week", "green", "scale-out", "--json"]).await?)?;
    assert_eq!(week["need"], needed(&week, &by_requests), "it goes on with another's past: {week}");
    ensure!(aggregator.process.terminate().await?.success());
    Ok(())
}
