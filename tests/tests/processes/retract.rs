//! Samples of an agent that lied are taken back: they are in no answer, minutes are made anew without them, and nothing
//! brings them back.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use foreshadow::clock::{Clock as _, SystemClock};
use foreshadow::store::{Arrival, Embedded, Minute, Options, SampleStore as _};
use foreshadow_proto::convert::{Id, Sample, StreamId};
use foreshadow_tests::process::{Aggregator, binary, eventually, free_port};
use foreshadow_tests::web;
use http::Method;
use serde_json::Value;
use tokio::process::Command;

/// Minutes of the past that there are.
const MINUTES: i64 = 12;

fn id(name: &str) -> Id {
    Id::new("id", name).expect("an id")
}

fn sample(sequence: u64, second: i64, cpu: f64) -> Sample {
    Sample {
        sequence,
        wall_micros: second * 1_000_000,
        monotonic_micros: sequence,
        covers_millis: 1_000,
        cpu_percent: Some(cpu),
        cpu_busiest_percent: None,
        cpu_steal_percent: None,
        memory_used_bytes: None,
        memory_total_bytes: None,
        network: None,
    }
}

/// An honest one at 20 % and a liar at 95 %, both serving for an hour, as a restart finds them.
async fn past(directory: &std::path::Path, first: i64) -> anyhow::Result<()> {
    let hour = Duration::from_secs(3_600);
    let options =
        Options { directory: directory.join("data"), raw_retention: 48 * hour, minute_retention: 2_400 * hour };
    let store = Embedded::open(options, Arc::new(SystemClock), [1; 16]).await?;
    let placement =
        foreshadow::sql::statements().find(|(name, _)| *name == "PLACEMENT_WRITE").context("a statement")?.1;
    for (instance, cpu) in [("i-1", 20.0), ("i-2", 95.0)] {
        let seconds = (1_u64..).zip(first..first + MINUTES * 60);
        let samples = seconds.map(|(sequence, second)| sample(sequence, second + 1, cpu)).collect();
        let (instance, stream, boot_id) = (id(instance), StreamId([7; 16]), id("boot"));
        sqlx::query(placement)
            .bind(instance.as_str())
            .bind((first - 3_600) * 1_000_000)
            .bind("web")
            .bind("serving")
            .bind(0_i64)
            .execute(&store.pool())
            .await?;
        store.append(Arrival { instance, stream, boot_id, samples, rejected: Vec::new(), dropped_total: 0 }).await?;
    }
    let minutes: Vec<Minute> = (0..MINUTES)
        .map(|minute| Minute {
            group: id("web"),
            metric: "cpu".to_owned(),
            start: first + minute * 60,
            gross_mean: 115.0,
            gross_maximum: 115.0,
            weight: 2.0,
            serving: 2,
            reporting: 2,
            lower_bound: false,
        })
        .collect();
    store.put_minutes(&minutes).await?;
    store.close().await;
    Ok(())
}

#[tokio::test]
async fn what_a_liar_said_is_taken_back_and_stays_away() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let groups = directory.path().join("groups.toml");
    std::fs::write(&groups, "[group.web]\ninstances = [\"i-1\", \"i-2\"]\n")?;
    let config = format!("[inventory]\nfile = \"{}\"\ninterval_seconds = 5\nwarm_up_seconds = 0\n", groups.display());
    let first = SystemClock.wall_seconds().div_euclid(60) * 60 - (MINUTES + 3) * 60;
    let port = free_port()?;
    past(directory.path(), first).await?;
    let aggregator = Aggregator::start_on(directory.path(), &config, port, &[]).await?;
    let url = aggregator.url.clone();
    let minutes = async || {
        let to = first + MINUTES * 60;
        let answer = web::get_json(&format!("{url}/groups/web/minutes?metric=cpu&from={first}&to={to}")).await?;
        anyhow::Ok(answer.as_array().or_else(|| answer["minutes"].as_array()).cloned().unwrap_or_default())
    };
    let mean = |minute: &Value| minute["gross_mean"].as_f64().unwrap_or_default();
    let before = eventually("the group is there", Duration::from_secs(30), async || {
        Ok(Some(minutes().await?).filter(|found| !found.is_empty()))
    })
    .await?;
    ensure!(before.len() == MINUTES as usize && before.iter().all(|minute| mean(minute) > 100.0), "{before:?}");

    // What cannot be meant is named.
    let ask = async |instance: &str, from: String, to: String| {
        let body = serde_json::json!({ "from": from, "to": to, "reason": "it lies" }).to_string();
        let path = format!("{url}/instances/{instance}/retract");
        web::request(Method::POST, &path, &[("content-type", "application/json")], body).await
    };
    for (instance, from, to, word) in [
        ("i-2", "-1h", "+1h", "ahead of now"),
        ("i-2", "-1h", "-2h", "before to"),
        ("i-2", "soon", "-2h", "from"),
        ("i-9", "-1h", "-1s", "i-9"),
    ] {
        let refused = ask(instance, from.to_owned(), to.to_owned()).await?;
        assert!((400..500).contains(&refused.status.as_u16()) && refused.body.contains(word), "{}", refused.body);
    }

    let retract = async || {
        let mut command = Command::new(binary("foreshadow")?);
        let time = |second: i64| jiff::Timestamp::from_second(second).map(|at| at.to_string());
        let (from, to) = (time(first)?, time(first + MINUTES * 60 + 1)?);
        command.args(["store", "retract", "--instance", "i-2", "--from", &from, "--to", &to]);
        command.args(["--reason", "it lies", "--url", &url]);
        let output = command.output().await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        anyhow::Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let said = retract().await?;
    assert!(said.starts_with("i-2: 720 samples retracted; minutes"), "{said}");
    let said = retract().await?;
    assert!(said.starts_with("i-2: 0 samples retracted (it was told before)"), "{said}");
    // And three minutes of the honest one, in which nothing is known then.
    let (from, to) = (first + 240, first + 421);
    let both = ask("i-1", from.to_string(), to.to_string()).await?;
    assert_eq!(both.status, 200, "{}", both.body);
    let honest = |found: &[Value]| {
        found.len() == MINUTES as usize - 3
            && found.iter().all(|minute| (mean(minute) - 20.0).abs() < 1e-6 && minute["lower_bound"] == true)
    };
    eventually("minutes are made anew", Duration::from_secs(60), async || Ok(honest(&minutes().await?).then_some(())))
        .await?;

    // The same samples again, pushed by whoever may: they stay away, and after a restart as well.
    let samples = async |instance: &str| {
        let answer = web::get(&format!("{url}/shadow/metrics?instance={instance}&from=-1h")).await?;
        anyhow::Ok(answer.lines()?.len())
    };
    let at = jiff::Timestamp::from_second(first + 90)?;
    let line = format!("{{\"instance\": \"i-2\", \"at\": \"{at}\", \"cpu_percent\": 99}}\n");
    let (path, json) = (format!("{url}/shadow/metrics"), [("content-type", "application/x-ndjson")]);
    let pushed = web::request(Method::POST, &path, &json, line).await?;
    assert_eq!(pushed.status, 200, "{}", pushed.body);
    assert_eq!((samples("i-1").await?, samples("i-2").await?), (720 - 181, 0));
    let audit = web::get(&format!("{url}/audit")).await?.body;
    assert!(audit.contains("retract_samples") && audit.contains("it lies"), "{audit}");
    eventually("it is done with", Duration::from_secs(60), async || {
        let log = aggregator.process.output();
        Ok((log.matches("without its retracted samples").count() == 2).then_some(()))
    })
    .await?;
    assert!(aggregator.process.terminate().await?.success());
    let again = Aggregator::start_on(directory.path(), &config, port, &[]).await?;
    assert_eq!((samples("i-1").await?, samples("i-2").await?), (720 - 181, 0));
    ensure!(honest(&minutes().await?), "{:?}", minutes().await?);
    assert!(again.process.terminate().await?.success());
    Ok(())
}
