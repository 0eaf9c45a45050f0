//! A service whose instances move from one group to another keeps its past: the new group of a blue/green pair is planned from the weeks of
//! the old one from its first plan on.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use foreshadow_tests::process::{Aggregator, agent, eventually, free_port};
use foreshadow_tests::web;
use serde_json::Value;

use super::super::history::three_days;

const WITHIN: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn a_new_group_of_a_service_is_planned_from_the_old_ones_past_at_once() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let config = "[inventory]\nwarm_up_seconds = 0\n[group.green]\nhistory = [\"blue\"]\nmaximum = 40\n\
                  [group.alone]\nmaximum = 40\n";
    let port = free_port()?;
    // The first run makes the database; agents measured ten serving instances of `blue` for three days.
    ensure!(Aggregator::start_on(directory.path(), config, port, &[]).await?.process.terminate().await?.success());
    three_days(directory.path(), "blue", 10, |minute| 400.0 + (minute % 7) as f64).await?;
    let aggregator = Aggregator::start_on(directory.path(), config, port, &[]).await?;
    let url = &aggregator.url;
    // `green` comes up with one instance that does next to nothing, and so does a group of no such past.
    let agents = [
        agent(directory.path(), url, "i-green", &["--group", "green"])?,
        agent(directory.path(), url, "i-alone", &["--group", "alone"])?,
    ];
    let group = async |name: &str| web::get_json(&format!("{url}/groups/{name}")).await;
    let need = |of: &Value| of["plan"]["needs"][0].clone();
    // The first plan that knows of it at all.
    let planned = async |name: &str| {
        eventually(&format!("a plan of {name}"), WITHIN, async || {
            let found = group(name).await?;
            Ok((found["plan"]["serving"] == 1 && need(&found)["demand"].is_number()).then_some(found))
        })
        .await
    };
    let green = planned("green").await?;
    let ahead = need(&green)["ahead"].as_u64().with_context(|| format!("no forecast: {}", green["plan"]))?;
    // 400 points, of which one carries 60.
    ensure!((7..=9).contains(&ahead), "{}", green["plan"]);
    ensure!(
        need(&green)["reactive"].as_u64() < Some(7),
        "what it carries itself says nothing of it: {}",
        green["plan"]
    );
    assert_eq!(green["summary"]["need_ahead"], ahead, "{}", green["summary"]);
    let alone = planned("alone").await?;
    assert_eq!((&need(&alone)["ahead"], &alone["forecasts"]), (&Value::Null, &Value::Array(Vec::new())), "{alone}");

    // And so say the forecast itself, the course that the page draws, the models behind it, and a question of what is needed then.
    ensure!(green["forecasts"][0]["paths"].as_array().is_some_and(|paths| !paths.is_empty()), "{green}");
    let course = web::get_json(&format!("{url}/groups/green/course")).await?;
    let drawn = course["ahead"]["need"].as_array().with_context(|| course.to_string())?;
    ensure!(drawn.len() > 100 && drawn.iter().all(|need| need.as_u64() >= Some(7)), "{course}");
    let models = web::get_json(&format!("{url}/groups/green/models")).await?;
    let learned = models["cpu"]["standing"]["history_seconds"].as_i64();
    ensure!(learned > Some(2 * 86_400), "{models}");
    let then = web::get_json(&format!("{url}/predict/capacity?group=green&at=+1h")).await?;
    ensure!((7..=9).contains(&then["need"].as_u64().unwrap_or(0)), "{then}");
    for agent in agents {
        ensure!(agent.terminate().await?.success());
    }
    ensure!(aggregator.process.terminate().await?.success());
    Ok(())
}
