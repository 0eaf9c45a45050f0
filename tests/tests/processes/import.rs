//! A past from elsewhere: a file, a real Prometheus, a local CloudWatch, a real InfluxDB. What is imported is there to the
//! value, twice is as once, what was broken off goes on, and the product forecasts from it within moments.

mod killed;
mod pair;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use foreshadow::clock::{Clock as _, SystemClock};
use foreshadow_tests::cloud::Cloud;
use foreshadow_tests::influx::Influx;
use foreshadow_tests::process::{Aggregator, Process, agent, binary, eventually, free_port};
use foreshadow_tests::tokens::Tokens;
use foreshadow_tests::web;
use http::Method;
use serde_json::Value;
use tokio::process::Command;

const DAY: i64 = 86_400;

fn now() -> i64 {
    SystemClock.wall_seconds()
}

/// Mean utilisation of the four serving instances at a minute, %: a day's wave and an hour's.
fn utilisation(at: i64) -> f64 {
    let turn = |period: i64| (at.rem_euclid(period) as f64 / period as f64 * std::f64::consts::TAU).sin();
    40.0 + 25.0 * turn(DAY) + 5.0 * turn(3_600)
}

/// `foreshadow import …`, with more in its environment.
async fn import(arguments: &[&str], set: &[(&str, &str)]) -> anyhow::Result<std::process::Output> {
    let mut command = Command::new(binary("foreshadow")?);
    command.arg("import").args(arguments).envs(set.iter().copied()).kill_on_drop(true);
    Ok(tokio::time::timeout(Duration::from_secs(120), command.output()).await??)
}

/// The same, which must succeed; its JSON.
async fn imported(arguments: &[&str], set: &[(&str, &str)]) -> anyhow::Result<Value> {
    let output = import(&[arguments, &["--json"]].concat(), set).await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).with_context(|| said.into_owned())
}

async fn known(url: &str) -> anyhow::Result<()> {
    eventually("the group is known", Duration::from_secs(30), async || {
        Ok((web::get(&format!("{url}/groups/web")).await?.status == 200).then_some(()))
    })
    .await
}

/// Minutes that are stored for the group.
async fn stored(url: &str, from: i64, to: i64) -> anyhow::Result<Vec<(i64, f64, f64)>> {
    let answer = web::get(&format!("{url}/groups/web/minutes?from={from}&to={to}")).await?.json()?;
    let minutes = answer.as_array().with_context(|| answer.to_string())?;
    let number = |minute: &Value, field: &str| minute[field].as_f64().unwrap_or(f64::NAN);
    let read = |minute: &Value| {
        (minute["start"].as_i64().unwrap_or(0), number(minute, "gross_mean"), number(minute, "weight"))
    };
    Ok(minutes.iter().map(read).collect())
}

#[tokio::test]
async fn a_file_gives_a_first_forecast_within_moments() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    // A pair: green goes on with what web knows.
    let aggregator = Aggregator::start(directory.path(), "[group.green]\nhistory = [\"web\"]\n").await?;
    let blue = agent(directory.path(), &aggregator.url, "i-1", &["--group", "web"])?;
    let green = agent(directory.path(), &aggregator.url, "i-2", &["--group", "green"])?;
    known(&aggregator.url).await?;
    let until = now().div_euclid(300) * 300;
    let from = until - 8 * DAY;
    let mut text = "timestamp,utilisation,instances\n".to_owned();
    for at in (from..until).step_by(60) {
        // An hour that nobody measured.
        if !(from + DAY..from + DAY + 3_600).contains(&at) {
            writeln!(text, "{},{},4", jiff::Timestamp::from_second(at)?, utilisation(at))?;
        }
    }
    let file = directory.path().join("load.csv");
    std::fs::write(&file, &text)?;
    let file = file.display().to_string();
    let arguments = ["csv", file.as_str(), "--group", "web", "--url", &aggregator.url];
    let dry = imported(&[&arguments[..], &["--dry-run"]].concat(), &[]).await?;
    assert_eq!((dry["minutes"].as_i64(), dry["written"].as_i64()), (Some(8 * 1_440 - 60), Some(0)));
    assert!(stored(&aggregator.url, from, from + DAY).await?.is_empty(), "a dry run sends nothing");

    let first = imported(&arguments, &[]).await?;
    assert_eq!(first["written"].as_i64().zip(first["measured"].as_i64()).map(|(a, b)| a + b), Some(8 * 1_440 - 60));
    let there = stored(&aggregator.url, from, from + 2 * DAY).await?;
    assert_eq!(there.len(), 2 * 1_440 - 60, "what nobody measured is absent");
    for (start, gross, weight) in &there {
        assert!((gross - 4.0 * utilisation(*start)).abs() < 1e-4 && *weight == 4.0, "{start}: {gross} of {weight}");
    }
    let second = imported(&arguments, &[]).await?;
    assert_eq!(second["written"], 0, "{second}");
    assert!(second["parts_there_before"].as_i64() >= Some(2), "{second}");
    let again = imported(&[&arguments[..], &["--again"]].concat(), &[]).await?;
    assert_eq!(again["minutes"], first["minutes"]);
    assert_eq!(stored(&aggregator.url, from, from + 2 * DAY).await?, there, "twice is as once");

    // At the coming crest demand is what the wave says, and not what this idle machine says.
    let expected_at = |at: i64| (0..5).map(|minute| 4.0 * utilisation(at + 60 * minute)).fold(0.0, f64::max);
    let ahead = (until + 3_600..until + 23 * 3_600).step_by(300);
    let at = ahead.max_by(|one, other| expected_at(*one).total_cmp(&expected_at(*other))).context("a step")?;
    let expected = expected_at(at);
    for group in ["web", "green"] {
        let url = format!("{}/predict/capacity?group={group}&at={at}&confidence=0.5", aggregator.url);
        let (demand, answer) = eventually("a forecast from what was imported", Duration::from_secs(200), async || {
            let answer = web::get(&url).await?.json()?;
            let demand = answer["metrics"][0]["demand"].as_f64();
            Ok(demand.filter(|demand| *demand > 50.0).map(|demand| (demand, answer)))
        })
        .await?;
        ensure!((demand / expected - 1.0).abs() < 0.2, "{group}: {demand} for {expected}: {answer}");
        assert!(answer["need"].as_i64() > Some(1), "{answer}");
    }

    // And it can be taken out again, with a reason.
    let remove = ["remove", "--group", "web", "--reason", "wrong file", "--url", &aggregator.url];
    let output = import(&remove, &[]).await?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(stored(&aggregator.url, from, from + 2 * DAY).await?.is_empty());
    let audit = web::get(&format!("{}/audit", aggregator.url)).await?.json()?;
    assert_eq!((&audit[0]["action"], &audit[0]["reason"]), (&"remove_history".into(), &"wrong file".into()));
    for agent in [blue, green] {
        assert!(agent.terminate().await?.success());
    }
    Ok(())
}

/// What a scrape at the end of each minute would have found: the wave, and each instance a point above the one before it.
fn series(instances: u32, from: i64, until: i64) -> anyhow::Result<String> {
    let mut series = "# TYPE web_cpu gauge\n".to_owned();
    for instance in 0..instances {
        for at in (from + 60..=until).step_by(60) {
            let value = utilisation(at - 60) + f64::from(instance);
            writeln!(series, "web_cpu{{instance=\"i-{instance}\"}} {value} {at}")?;
        }
    }
    series.push_str("# EOF\n");
    Ok(series)
}

/// A real Prometheus with a past that `promtool` made from `series`.
async fn prometheus(directory: &Path, series: &str) -> anyhow::Result<(Process, String)> {
    let (metrics, data) = (directory.join("past.om"), directory.join("tsdb"));
    std::fs::write(&metrics, series)?;
    let mut seed = Command::new("promtool");
    seed.args(["tsdb", "create-blocks-from", "openmetrics"]).arg(&metrics).arg(&data);
    let seeded = seed.output().await.context("promtool (Debian package prometheus)")?;
    ensure!(seeded.status.success(), "{}", String::from_utf8_lossy(&seeded.stderr));
    let config = directory.join("prometheus.yml");
    std::fs::write(&config, "global:\n  scrape_interval: 1m\n")?;
    let port = free_port()?;
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", data.display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--storage.tsdb.retention.time=90d");
    let process = Process::start("prometheus", command, directory)?;
    let url = format!("http://127.0.0.1:{port}");
    let ready = format!("{url}/-/ready");
    eventually("Prometheus is ready", Duration::from_secs(60), async || {
        Ok((web::get(&ready).await?.status == 200).then_some(()))
    })
    .await?;
    Ok((process, url))
}

#[tokio::test]
async fn a_real_prometheus_is_read_in_parts_and_a_killed_import_goes_on() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let until = now().div_euclid(3_600) * 3_600 - 3_600;
    let from = until - 2 * DAY;
    let series = series(3, from, until)?;
    let (_server, prometheus) = prometheus(directory.path(), &series).await?;
    let tokens = Tokens::make(directory.path()).await?;
    let config = format!("[identity]\ntokens = \"{}\"\n", tokens.file.display());
    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let admin = tokens.write("admin")?.display().to_string();
    let (since, end) = (from.to_string(), until.to_string());
    let arguments = [
        "prometheus",
        "--server",
        &prometheus,
        "--query",
        "avg(web_cpu)",
        "--instances-query",
        "count(web_cpu)",
        "--group",
        "web",
        "--since",
        &since,
        "--until",
        &end,
        "--part-hours",
        "1",
        "--url",
        &aggregator.url,
        "--token-file",
        &admin,
    ];
    let bearer = format!("Bearer {}", tokens.of("viewer"));
    let history = format!("{}/groups/web/history", aggregator.url);
    let there = async || web::request(Method::GET, &history, &[("authorization", &bearer)], "").await?.json();

    let mut command = Command::new(binary("foreshadow")?);
    command.arg("import").args(arguments);
    let killed = Process::start("import", command, directory.path())?;
    eventually("some parts are there", Duration::from_secs(60), async || {
        Ok((there().await?["stretches"].as_array().map_or(0, Vec::len) > 3).then_some(()))
    })
    .await?;
    killed.kill().await?;
    let before = there().await?["stretches"].as_array().map_or(0, Vec::len);
    ensure!((4..48).contains(&before), "{before} parts were there when it was killed");
    let rest = imported(&arguments, &[]).await?;
    assert!(rest["parts_there_before"].as_i64() >= Some(4), "{rest}");
    assert_eq!(there().await?["minutes"], 2 * 1_440, "{rest}");
    // The group comes later than its past.
    assert_eq!(rest["group_known"], false);
    let whole = imported(&[&arguments[..], &["--again", "--part-hours", "96", "--dry-run"]].concat(), &[]).await;
    assert!(whole.is_err(), "an option is given once");
    let first = there().await?["stretches"][0].clone();
    assert!(first["source"].as_str().is_some_and(|source| source.contains("avg(web_cpu)")), "{first}");

    // What cannot be used is said with what to do about it.
    for (change, said) in [
        (("avg(web_cpu)", "web_cpu"), "gives 3 series"),
        (("avg(web_cpu)", "avg(web_cpu"), "parse error"),
        (("avg(web_cpu)", "sum(web_cpu) * 10"), "--sum"),
        (("avg(web_cpu)", "avg(no_such_metric)"), "nothing was found"),
    ] {
        let changed = arguments.map(|argument| if argument == change.0 { change.1 } else { argument });
        let output = import(&changed, &[]).await?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && text.contains(said), "{}: {text}", change.1);
    }
    let viewer = tokens.write("viewer")?.display().to_string();
    let refused = import(&arguments.map(|argument| if argument == admin { &viewer } else { argument }), &[]).await?;
    assert!(refused.status.success(), "nothing is left to send");
    let forced =
        [&arguments.map(|argument| if argument == admin { &viewer } else { argument })[..], &["--again"]].concat();
    let refused = import(&forced, &[]).await?;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not allowed"), "a past is an admin's");
    Ok(())
}

/// The wave of the four instances of `web-asg` at these times, in a local CloudWatch.
async fn into_cloudwatch(cloud: &Cloud, times: impl Iterator<Item = i64> + Clone) -> anyhow::Result<()> {
    for (namespace, name) in [("AWS/EC2", "CPUUtilization"), ("AWS/AutoScaling", "GroupInServiceInstances")] {
        let times: Vec<i64> = times.clone().collect();
        for some in times.chunks(50) {
            let mut fields =
                vec![("Action".to_owned(), "PutMetricData".to_owned()), ("Namespace".to_owned(), namespace.to_owned())];
            for (index, at) in (1..).zip(some) {
                let field = |name: &str| format!("MetricData.member.{index}.{name}");
                let value = if namespace == "AWS/EC2" { utilisation(*at) } else { 4.0 };
                fields.push((field("MetricName"), name.to_owned()));
                fields.push((field("Timestamp"), jiff::Timestamp::from_second(*at)?.to_string()));
                fields.push((field("Value"), value.to_string()));
                fields.push((field("Dimensions.member.1.Name"), "AutoScalingGroupName".to_owned()));
                fields.push((field("Dimensions.member.1.Value"), "web-asg".to_owned()));
            }
            let fields: Vec<(&str, &str)> =
                fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            cloud.call("monitoring", &fields).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn cloudwatch_is_asked_by_age_and_joined_with_who_was_in_service() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let cloud = Cloud::start(directory.path()).await?;
    let until = now().div_euclid(3_600) * 3_600 - 3_600;
    // Two hours by the minute, and two hours of three weeks ago by five minutes.
    let (young, old) = (until - 7_200, (until - 21 * DAY).div_euclid(3_600) * 3_600);
    let minutes = (young..until).step_by(60).chain((old..old + 7_200).step_by(300));
    into_cloudwatch(&cloud, minutes).await?;
    let aggregator = Aggregator::start(directory.path(), "").await?;
    let agent = agent(directory.path(), &aggregator.url, "i-1", &["--group", "web"])?;
    known(&aggregator.url).await?;
    let (since, end) = (old.to_string(), until.to_string());
    let arguments = [
        "cloudwatch",
        "--asg",
        "web-asg",
        "--group",
        "web",
        "--since",
        &since,
        "--until",
        &end,
        "--part-hours",
        "96",
        "--url",
        &aggregator.url,
    ];
    let done = imported(&arguments, &cloud.environment()).await?;
    assert_eq!(done["minutes"], 240, "{done}");
    for (start, gross, weight) in stored(&aggregator.url, young, until).await? {
        assert!((gross - 4.0 * utilisation(start)).abs() < 1e-3 && weight == 4.0, "{start}: {gross} of {weight}");
    }
    let long = stored(&aggregator.url, old, old + 7_200).await?;
    assert_eq!(long.len(), 120);
    for (start, gross, _) in long {
        let begun = start.div_euclid(300) * 300;
        assert!((gross - 4.0 * utilisation(begun)).abs() < 1e-3, "{start}: {gross}");
    }
    let unknown = arguments.map(|argument| if argument == "web-asg" { "no-such-asg" } else { argument });
    let output = import(&unknown, &cloud.environment()).await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("nothing was found"), "{said}");
    assert!(agent.terminate().await?.success());
    Ok(())
}

/// The wave of four instances, twice a minute, in a database of its own.
async fn into_influx(server: &Influx, from: i64, until: i64) -> anyhow::Result<()> {
    server.query("load", "CREATE DATABASE load").await?;
    let mut lines = String::new();
    for at in (from..until).step_by(30) {
        for instance in 0..4 {
            writeln!(lines, "cpu,host=i-{instance} usage={} {at}", utilisation(at.div_euclid(60) * 60))?;
        }
    }
    let url = format!("{}/write?db=load&precision=s", server.url);
    let written = web::request(Method::POST, &url, &[], lines).await?;
    ensure!(written.status == 204, "{}", written.body);
    Ok(())
}

#[tokio::test]
async fn a_real_influxdb_is_read_by_influxql() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let server = Influx::start(directory.path()).await?;
    let influx = server.url.clone();
    let until = now().div_euclid(60) * 60 - 600;
    let from = until - 4 * 3_600;
    into_influx(&server, from, until).await?;
    let aggregator = Aggregator::start(directory.path(), "").await?;
    let agent = agent(directory.path(), &aggregator.url, "i-1", &["--group", "web"])?;
    known(&aggregator.url).await?;
    let (since, end) = (from.to_string(), until.to_string());
    let query = "SELECT mean(usage) FROM cpu WHERE {time} GROUP BY time(1m)";
    let arguments = [
        "influxdb",
        "--server",
        &influx,
        "--database",
        "load",
        "--query",
        query,
        "--instances",
        "4",
        "--group",
        "web",
        "--since",
        &since,
        "--until",
        &end,
        "--url",
        &aggregator.url,
    ];
    let done = imported(&arguments, &[]).await?;
    assert_eq!(done["minutes"], 240, "{done}");
    for (start, gross, weight) in stored(&aggregator.url, from, until).await? {
        assert!((gross - 4.0 * utilisation(start)).abs() < 1e-3 && weight == 4.0, "{start}: {gross} of {weight}");
    }
    for (wrong, said) in [
        ("SELECT mean(usage) FROM cpu GROUP BY time(1m)", "needs {time}"),
        ("SELECT mean(usage) FROM cpu WHERE {time} GROUP BY time(1m), host", "gives 4 series"),
        ("SELECT FROM cpu WHERE {time}", "error"),
    ] {
        let output = import(&arguments.map(|argument| if argument == query { wrong } else { argument }), &[]).await?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && text.contains(said), "{wrong}: {text}");
    }
    assert!(agent.terminate().await?.success());
    Ok(())
}
