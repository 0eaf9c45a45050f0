//! The way of 1.x against real servers: Debian's InfluxDB gets every sample and gives the past back, and VictoriaMetrics
//! has the same values, read back by its own export.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use foreshadow::clock::{Clock as _, SystemClock};
use foreshadow::store::{Embedded, Minute, Options, SampleStore as _};
use foreshadow_proto::convert::Id;
use foreshadow_tests::fleet::{Fleet, Script};
use foreshadow_tests::influx::Influx;
use foreshadow_tests::process::{Aggregator, Process, binary, eventually, free_port, pause};
use foreshadow_tests::web;
use http::Method;
use serde_json::Value;
use tokio::process::Command;

const INSTANCES: [&str; 3] = ["i-0", "i-1", "i-2"];

/// Instance, time (µs), field → value.
type Values = BTreeMap<(String, i64, String), f64>;

fn script(url: &str) -> Script {
    Script {
        aggregator: url.to_owned(),
        instances: INSTANCES.map(str::to_owned).to_vec(),
        group: "web".to_owned(),
        instance_type: String::new(),
        interval: Duration::from_millis(100),
        load: Arc::new(|index, second| (10.0 * index as f32) + (second % 7) as f32 / 3.0),
    }
}

/// What the embedded store has.
async fn stored(url: &str) -> anyhow::Result<Values> {
    let mut values = Values::new();
    for instance in INSTANCES {
        let answer = web::get(&format!("{url}/shadow/metrics?instance={instance}&from=-10m")).await?;
        for line in answer.lines()? {
            let at: jiff::Timestamp = line["at"].as_str().context("a time")?.parse()?;
            for field in ["cpu_percent", "covers_millis", "memory_used_bytes"] {
                if let Some(value) = line[field].as_f64() {
                    values.insert((instance.to_owned(), at.as_microsecond(), field.to_owned()), value);
                }
            }
        }
    }
    Ok(values)
}

/// What InfluxDB has of the same.
async fn there(influx: &Influx) -> anyhow::Result<Values> {
    let query = "SELECT cpu_percent, covers_millis, memory_used_bytes FROM kept.foreshadow_sample GROUP BY instance";
    let result = influx.query("load", query).await?;
    let mut values = Values::new();
    for series in result["series"].as_array().into_iter().flatten() {
        let instance = series["tags"]["instance"].as_str().context("a tag")?.to_owned();
        for row in series["values"].as_array().into_iter().flatten() {
            let at = row[0].as_i64().context("a time")?;
            for (index, field) in [(1, "cpu_percent"), (2, "covers_millis"), (3, "memory_used_bytes")] {
                if let Some(value) = row[index].as_f64() {
                    values.insert((instance.clone(), at, field.to_owned()), value);
                }
            }
        }
    }
    Ok(values)
}

fn minute(start: i64, gross: f64) -> Minute {
    Minute {
        group: Id::new("group", "web").expect("an id"),
        metric: "cpu".to_owned(),
        start,
        gross_mean: gross,
        gross_maximum: gross * 1.25,
        weight: 3.0,
        serving: 3,
        reporting: 2,
        lower_bound: start % 120 == 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_influxdb_gets_every_sample_through_an_outage_and_gives_the_past_back() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut influx = Influx::start(directory.path()).await?;
    let config = format!(
        "[store.influxdb]\nurl = \"{}\"\napi = \"v1\"\ndatabase = \"load\"\nretention_policy = \"kept\"\n",
        influx.url
    );
    // What is missing there ends the start, and is named.
    let refused = async |word: &str| {
        let file = directory.path().join("refused.toml");
        std::fs::write(&file, &config)?;
        let mut command = Command::new(binary("foreshadow")?);
        command.arg("serve").arg("--config").arg(&file).args(["--listen", "127.0.0.1:0", "--directory"]);
        let output = command.arg(directory.path().join("refused")).output().await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success() && said.contains(word), "{said}");
        anyhow::Ok(())
    };
    refused("there is no database \"load\": CREATE DATABASE").await?;
    influx.query("load", "CREATE DATABASE load").await?;
    refused("retention_policy: \"load\" has no policy \"kept\"").await?;
    influx.query("load", "CREATE RETENTION POLICY kept ON load DURATION 52w REPLICATION 1").await?;

    // Three days of rollups that were there before InfluxDB was.
    let last = SystemClock.wall_seconds().div_euclid(60) * 60 - 600;
    let past: Vec<Minute> = (0..4_320).map(|n| minute(last - 60 * n, 100.0 + (n % 1_440) as f64 / 7.0)).collect();
    let day = Duration::from_secs(86_400);
    let options =
        Options { directory: directory.path().join("data"), raw_retention: 2 * day, minute_retention: 400 * day };
    let store = Embedded::open(options, Arc::new(SystemClock), [1; 16]).await?;
    store.put_minutes(&past).await?;
    store.close().await;
    drop(store);

    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let url = aggregator.url.clone();
    let fleet = Fleet::start(&script(&url))?;
    eventually("samples arrive", Duration::from_secs(30), async || {
        Ok((there(&influx).await?.len() > 100).then_some(()))
    })
    .await?;
    influx.kill().await?;
    pause(Duration::from_secs(3)).await;
    let ready = web::get(&format!("{url}/readyz")).await?;
    assert_eq!(ready.status, 200, "samples are durable here all the same: {}", ready.body);
    influx.restart().await?;
    pause(Duration::from_secs(1)).await;
    drop(fleet);
    let values = eventually("all that is stored is there, value by value", Duration::from_secs(90), async || {
        let (here, there) = (stored(&url).await?, there(&influx).await?);
        Ok((here.len() > 300 && here == there).then_some(here.len()))
    })
    .await?;
    let rollups = async || {
        let counted = influx.query("load", "SELECT count(gross_mean) FROM kept.foreshadow_minute").await?;
        anyhow::Ok(counted["series"][0]["values"][0][1].as_u64().unwrap_or_default())
    };
    eventually("the past is there", Duration::from_secs(60), async || {
        Ok((rollups().await? >= past.len() as u64).then_some(()))
    })
    .await?;
    println!("{values} values, {} rollups", rollups().await?);
    assert!(aggregator.process.terminate().await?.success());

    // A new disk: the past comes back, to the bit.
    let other = tempfile::tempdir()?;
    std::fs::write(other.path().join("groups.toml"), "[group.web]\ninstances = [\"i-0\"]\n")?;
    let config = format!("{config}[inventory]\nfile = \"{}\"\n", other.path().join("groups.toml").display());
    let again = Aggregator::start(other.path(), &config).await?;
    let (from, to) = (past.last().context("a past")?.start, last + 1);
    let path = format!("{}/groups/web/minutes?metric=cpu&from={from}&to={to}", again.url);
    let found: Value = eventually("the group is there", Duration::from_secs(30), async || {
        Ok(Some(web::get_json(&path).await?).filter(Value::is_array))
    })
    .await?;
    let found: Vec<Minute> = serde_json::from_value(found)?;
    let expected: Vec<Minute> = past.into_iter().rev().collect();
    ensure!(found == expected, "{} of {} rollups came back the same", found.len(), expected.len());
    assert!(again.process.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_victoriametrics_has_the_same_values() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let port = free_port()?;
    let mut command = Command::new("victoria-metrics");
    command.arg(format!("-storageDataPath={}", directory.path().join("victoria").display()));
    command.arg(format!("-httpListenAddr=127.0.0.1:{port}"));
    command.args(["-retentionPeriod=1", "-influx.databaseNames=load", "-search.latencyOffset=0s"]);
    let victoria =
        Process::start("victoria-metrics", command, directory.path()).context("Debian package victoria-metrics")?;
    let server = format!("http://127.0.0.1:{port}");
    eventually("VictoriaMetrics answers", Duration::from_secs(60), async || {
        Ok((web::get(&format!("{server}/health")).await?.status == 200).then_some(()))
    })
    .await?;
    let config = format!("[store.influxdb]\nurl = \"{server}\"\napi = \"v1\"\ndatabase = \"load\"\n");
    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let fleet = Fleet::start(&script(&aggregator.url))?;
    eventually("samples are stored", Duration::from_secs(30), async || {
        Ok((stored(&aggregator.url).await?.len() > 200).then_some(()))
    })
    .await?;
    drop(fleet);
    // It keeps milliseconds.
    let rounded = |values: Values| -> Values {
        values
            .into_iter()
            .map(|((instance, at, field), value)| ((instance, at.div_euclid(1_000), field), value))
            .collect()
    };
    let exported = async || {
        let answer = web::request(
            Method::POST,
            &format!("{server}/api/v1/export"),
            &[("content-type", "application/x-www-form-urlencoded")],
            "match[]=%7B__name__%3D~%22foreshadow_sample_(cpu_percent%7Ccovers_millis%7Cmemory_used_bytes)%22%7D",
        )
        .await?;
        let mut values = Values::new();
        for series in answer.lines()? {
            let label =
                |name: &str| series["metric"][name].as_str().map(str::to_owned).with_context(|| name.to_owned());
            let field = label("__name__")?.trim_start_matches("foreshadow_sample_").to_owned();
            let (times, numbers) = (series["timestamps"].as_array(), series["values"].as_array());
            for (at, value) in times.into_iter().flatten().zip(numbers.into_iter().flatten()) {
                let at = at.as_i64().context("a time")?;
                values.insert((label("instance")?, at, field.clone()), value.as_f64().context("a value")?);
            }
        }
        anyhow::Ok(values)
    };
    let values = eventually("the same is there, value by value", Duration::from_secs(60), async || {
        let (here, there) = (rounded(stored(&aggregator.url).await?), exported().await?);
        ensure!(here.len() > 200 && here.len() == there.len(), "{} of {} values", there.len(), here.len());
        for (key, value) in &here {
            // It keeps fifteen digits.
            let found = there.get(key).with_context(|| format!("{key:?} is not there"))?;
            ensure!((found - value).abs() <= 1e-12 * value.abs(), "{key:?}: {found} for {value}");
        }
        Ok(Some(here.len()))
    })
    .await?;
    println!("{values} values");
    assert!(aggregator.process.terminate().await?.success());
    victoria.kill().await
}
