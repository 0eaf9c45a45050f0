//! Two real binaries on this host: the load that is put on it is the load that is seen.

use std::time::Duration;

use foreshadow_tests::machine::{Recorder, burn};
use foreshadow_tests::process::{Aggregator, agent, eventually, pause};
use foreshadow_tests::web;
use futures::StreamExt as _;
use tokio::time::timeout;

/// Percentage points between the agent and `/proc/stat` over the same window.
const WITHIN_POINTS: f64 = 2.0;

/// Waits for the next whole minute and gives it, seconds since the epoch.
async fn next_minute() -> i64 {
    use foreshadow_agent::clock::{Clock as _, HostClock};
    let now = HostClock.wall_micros();
    let minute = (now / 60_000_000 + 1) * 60_000_000;
    pause(Duration::from_micros((minute - now).unsigned_abs())).await;
    minute / 1_000_000
}

#[tokio::test]
async fn the_load_of_this_host_is_seen_live_and_in_the_rollup() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let aggregator = Aggregator::start(directory.path(), "").await?;
    let agent = agent(directory.path(), &aggregator.url, "i-host", &["--group", "host"])?;
    let groups = format!("{}/groups", aggregator.url);
    eventually("the group is known and reports", Duration::from_secs(90), async || {
        let found = web::get_json(&groups).await?;
        Ok((found["groups"][0]["reporting"] == 1).then_some(()))
    })
    .await?;

    let recorder = Recorder::start();
    let start = next_minute().await;
    pause(Duration::from_secs(15)).await;
    let load = burn()?;
    // Live, while it burns: samples that lie wholly within the load.
    let mut events = web::events(&format!("{}/shadow/metrics?group=host", aggregator.url)).await?;
    let (mut weighted, mut covered, mut from, mut to) = (0.0, 0.0, None, 0);
    while covered < 12_000.0 {
        let (name, sample) = timeout(Duration::from_secs(10), events.next()).await?.expect("a live stream");
        assert_eq!(name, "sample");
        assert_eq!((&sample["instance"], &sample["mode"]), (&"i-host".into(), &"serving".into()));
        assert!(sample["memory_used_bytes"].as_u64() > Some(0) && !sample["network"].is_null(), "{sample}");
        let covers = sample["covers_millis"].as_f64().expect("covers");
        to = at_micros(&sample)?;
        from.get_or_insert(to - (1e3 * covers) as i64);
        weighted += covers * sample["cpu_percent"].as_f64().expect("cpu");
        covered += covers;
    }
    let live = weighted / covered;
    let truth = recorder.busy_percent(from.unwrap_or(to), to)?;
    drop(load);
    let processors = std::thread::available_parallelism()?.get() as f64;
    assert!(truth > 0.7 * 100.0 / processors, "the load was put on: {truth}");
    assert!((live - truth).abs() <= WITHIN_POINTS, "live {live:.2}, /proc/stat {truth:.2}");

    let ended = next_minute().await;
    assert_eq!(ended, start + 60, "the live part took too long");
    pause(Duration::from_millis(100)).await;
    let truth = recorder.busy_percent(start * 1_000_000, ended * 1_000_000)?;
    let url = format!("{}/groups/host/minutes?from={start}&to={ended}", aggregator.url);
    let minute = eventually("the minute is rolled up", Duration::from_secs(60), async || {
        Ok(web::get_json(&url).await?.get(0).cloned())
    })
    .await?;
    let mean = minute["gross_mean"].as_f64().expect("mean");
    assert!((mean - truth).abs() <= WITHIN_POINTS, "rollup {mean:.2}, /proc/stat {truth:.2}");
    assert!(minute["gross_maximum"].as_f64() >= Some(mean), "{minute}");
    println!("live {live:.2} %, rollup {mean:.2} %, /proc/stat over the minute {truth:.2} %");
    assert!(agent.terminate().await?.success());
    Ok(())
}

/// The end of a sample's interval, µs since the epoch.
fn at_micros(sample: &serde_json::Value) -> anyhow::Result<i64> {
    let at: jiff::Timestamp = sample["at"].as_str().unwrap_or_default().parse()?;
    Ok(at.as_microsecond())
}
