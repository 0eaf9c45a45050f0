//! From every source an import may be killed at any moment, and what it is sent to as well: the same command goes on, and the store holds
//! what it would hold of an import that nobody killed.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use foreshadow_tests::cloud::Cloud;
use foreshadow_tests::influx::Influx;
use foreshadow_tests::process::{Aggregator, Process, binary, eventually, free_port};
use foreshadow_tests::proxy::{Fault, Proxy};
use serde_json::Value;
use sqlx::{Row as _, SqlitePool};
use tokio::process::Command;

use super::{imported, into_cloudwatch, into_influx, now, prometheus, series, utilisation};

/// An hour each.
const PARTS: i64 = 6;

/// Where a past comes from: what names it on the command line, and what it needs in its environment.
struct Source {
    name: &'static str,
    arguments: Vec<String>,
    set: Vec<(String, String)>,
    /// How far its values are from the wave, in points of all four.
    off: f64,
}

impl Source {
    fn new(name: &'static str, arguments: &[&str]) -> Self {
        let arguments = [&[name], arguments].concat().into_iter().map(str::to_owned).collect();
        Self { name, arguments, set: Vec::new(), off: 0.0 }
    }

    /// The command that imports it for a group.
    fn into(&self, group: &str, url: &str) -> Vec<String> {
        let target = ["--group", group, "--part-hours", "1", "--url", url].map(str::to_owned);
        [&self.arguments[..], &target].concat()
    }

    async fn imported(&self, group: &str, url: &str) -> anyhow::Result<Value> {
        let arguments = self.into(group, url);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let set: Vec<(&str, &str)> = self.set.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        imported(&arguments, &set).await
    }

    /// A process that imports it, to be killed.
    fn start(&self, group: &str, url: &str, directory: &Path) -> anyhow::Result<Process> {
        let mut command = Command::new(binary("foreshadow")?);
        command.arg("import").args(self.into(group, url)).envs(self.set.iter().cloned());
        Process::start(&format!("import-{}", self.name), command, directory)
    }
}

/// Every minute of a group that is in the store, with all that is said of it but its group, and the stretches that are noted as read.
async fn held(
    store: &SqlitePool,
    group: &str,
) -> anyhow::Result<(Vec<(i64, f64, f64, f64, i64, i64)>, Vec<(i64, i64, i64)>)> {
    let minutes = sqlx::query(
        "SELECT start_seconds, gross_mean, gross_maximum, weight, serving, reporting FROM minute \
         WHERE group_name = $1 AND metric = 'cpu' ORDER BY start_seconds",
    );
    let minutes = minutes.bind(group).fetch_all(store).await?;
    let minute = |row: &sqlx::sqlite::SqliteRow| {
        Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?, row.try_get(5)?))
    };
    let minutes = minutes.iter().map(minute).collect::<Result<_, sqlx::Error>>()?;
    let noted = sqlx::query(
        "SELECT from_seconds, to_seconds, minutes FROM import WHERE group_name = $1 AND metric = 'cpu' ORDER BY from_seconds",
    );
    let noted = noted.bind(group).fetch_all(store).await?;
    let stretch = |row: &sqlx::sqlite::SqliteRow| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
    Ok((minutes, noted.iter().map(stretch).collect::<Result<_, sqlx::Error>>()?))
}

#[tokio::test]
async fn killed_in_the_middle_every_source_goes_on_and_leaves_what_an_import_leaves_that_nobody_killed()
-> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let until = now().div_euclid(3_600) * 3_600 - 3_600;
    let from = until - PARTS * 3_600;
    let (cloud, influx) = tokio::try_join!(Cloud::start(directory.path()), Influx::start(directory.path()))?;
    into_cloudwatch(&cloud, (from..until).step_by(60)).await?;
    into_influx(&influx, from, until).await?;
    let (_prometheus, prometheus) = prometheus(directory.path(), &series(4, from, until)?).await?;
    let mut text = "timestamp,utilisation,instances\n".to_owned();
    for at in (from..until).step_by(60) {
        writeln!(text, "{at},{},4", utilisation(at))?;
    }
    let file = directory.path().join("load.csv");
    std::fs::write(&file, text)?;
    let (file, since, end) = (file.display().to_string(), from.to_string(), until.to_string());
    let span = ["--since", since.as_str(), "--until", end.as_str()];
    let of_four = ["--instances", "4"];
    let query = "SELECT mean(usage) FROM cpu WHERE {time} GROUP BY time(1m)";
    let asked = ["--server", prometheus.as_str(), "--query", "avg(web_cpu)", "--instances-query", "count(web_cpu)"];
    let measured = ["--server", influx.url.as_str(), "--database", "load", "--query", query];
    let mut sources = [
        Source::new("csv", &[&file]),
        Source::new("prometheus", &[&asked[..], &span].concat()),
        Source::new("influxdb", &[&measured[..], &span, &of_four].concat()),
        Source::new("cloudwatch", &[&["--asg", "web-asg"][..], &span].concat()),
    ];
    // The series of the four lie 0 to 3 points above the wave.
    sources[1].off = 6.0;
    sources[3].set = cloud.environment().map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();

    let port = free_port()?;
    let mut aggregator = Aggregator::start_on(directory.path(), "", port, &[]).await?;
    for source in &sources {
        source.imported(&format!("{}-whole", source.name), &aggregator.url).await?;
    }
    // Between the two stands what holds a call, so that the moment of a kill is known.
    let between = Proxy::start(&aggregator.url).await?;
    let calls = async |count: usize| {
        eventually(&format!("call {count}"), Duration::from_secs(60), async || {
            Ok((between.calls().len() >= count).then_some(()))
        })
        .await
    };
    let store = format!("sqlite://{}", directory.path().join("data/foreshadow.db").display());
    let noted = async |group: &str| {
        let store = SqlitePool::connect(&store).await?;
        let noted = held(&store, group).await?.1.len();
        store.close().await;
        anyhow::Ok(noted)
    };
    for source in &sources {
        let (name, group) = (source.name, format!("{}-killed", source.name));
        let before = between.calls().len();
        // Each run asks once what is there. Killed when its third part is durable and it was not told so ...
        between.next("", [Fault::None, Fault::None, Fault::None, Fault::HangAfter]);
        let first = source.start(&group, &between.url, directory.path())?;
        calls(before + 4).await?;
        eventually(&format!("{name}: three parts"), Duration::from_secs(60), async || {
            Ok((noted(&group).await? == 3).then_some(()))
        })
        .await?;
        first.kill().await?;
        // ... and when its fifth has left it and not arrived, and whom it is sent to dies as well.
        between.next("", [Fault::None, Fault::None, Fault::HangBefore]);
        let second = source.start(&group, &between.url, directory.path())?;
        calls(before + 7).await?;
        second.kill().await?;
        aggregator.process.kill().await?;
        aggregator = Aggregator::start_on(directory.path(), "", port, &[]).await?;
        let rest = source.imported(&group, &between.url).await?;
        let (there, minutes) = (rest["parts_there_before"].as_i64(), rest["minutes"].as_i64());
        ensure!((there, minutes) == (Some(4), Some(120)), "{name}: it went on from elsewhere: {rest}");
        // What was sent before the kill arrives last of all.
        between.release();
        let again = source.imported(&group, &between.url).await?;
        ensure!(
            (again["written"].as_i64(), again["parts_there_before"].as_i64()) == (Some(0), Some(PARTS)),
            "{name}: {again}"
        );
    }
    ensure!(aggregator.process.terminate().await?.success(), "it ends");

    let store = SqlitePool::connect(&store).await?;
    for source in &sources {
        let whole = held(&store, &format!("{}-whole", source.name)).await?;
        let killed = held(&store, &format!("{}-killed", source.name)).await?;
        ensure!(whole == killed, "{}: {whole:?} and of the killed {killed:?}", source.name);
        let starts: Vec<i64> = whole.0.iter().map(|minute| minute.0).collect();
        ensure!(
            starts == (from..until).step_by(60).collect::<Vec<_>>(),
            "{}: each minute once: {starts:?}",
            source.name
        );
        for (start, gross, _, weight, ..) in whole.0 {
            let meant = 4.0 * utilisation(start) + source.off;
            ensure!((gross - meant).abs() < 1e-3 && weight == 4.0, "{} {start}: {gross} for {meant}", source.name);
        }
    }
    Ok(())
}
