//! The embedded store, in this process: what making the samples costs is not counted.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use foreshadow::clock::{Clock as _, SystemClock};
use foreshadow::store::{Arrival, Embedded, Field, Minute, Options, SampleStore as _};
use foreshadow_proto::convert::{Id, Sample};
use foreshadow_tests::machine::cpu_time;
use futures::future::try_join_all;

use super::corpus::{Corpus, START, Week, instance, stream};
use super::{Kept, Mean};

/// Instances whose readings are in memory at once.
const INSTANCES_AT_ONCE: usize = 50;
/// Long enough for nothing to expire.
const KEPT: Duration = Duration::from_secs(10 * 365 * 86_400);

async fn open(directory: &Path) -> anyhow::Result<Embedded> {
    let options = Options { directory: directory.to_owned(), raw_retention: KEPT, minute_retention: KEPT };
    Ok(Embedded::open(options, Arc::new(SystemClock), [7; 16]).await?)
}

/// When every hour has settled, µs since the epoch.
fn settled_at() -> i64 {
    SystemClock.wall_micros() + 2 * 3_600_000_000
}

fn used() -> anyhow::Result<f64> {
    Ok(cpu_time(std::process::id())?.as_secs_f64())
}

fn arrival(index: usize, samples: Vec<Sample>) -> anyhow::Result<Arrival> {
    Ok(Arrival {
        instance: instance(index)?,
        stream: stream(index),
        boot_id: Id::new("boot_id", "0f0e0d0c-1b2a-4938-8706-a50403020100")?,
        samples,
        rejected: Vec::new(),
        dropped_total: 0,
    })
}

pub async fn keep(corpus: &Corpus, batch: usize) -> anyhow::Result<Kept> {
    let directory = tempfile::tempdir()?;
    let store = open(directory.path()).await?;
    let mut hosts = corpus.hosts();
    let mut written = 0.0;
    let mut left = corpus.samples;
    while left > 0 {
        let now = batch.clamp(1, left);
        left -= now;
        let arrivals = hosts.iter_mut().enumerate();
        let arrivals = arrivals.map(|(index, host)| arrival(index, (0..now).map(|_| host.next(1)).collect()));
        let arrivals = arrivals.collect::<anyhow::Result<Vec<_>>>()?;
        let before = used()?;
        // As many as one tick takes: more would be turned away.
        let mut arrivals = arrivals.into_iter();
        while arrivals.len() > 0 {
            try_join_all(arrivals.by_ref().take(4_000).map(|arrival| store.append(arrival))).await?;
        }
        written += used()? - before;
    }
    let before = used()?;
    store.maintain(settled_at()).await?;
    let settled = used()? - before;
    store.close().await;
    drop(store);
    compact(directory.path()).await?;
    Ok(Kept { name: "the embedded store, durable", written, settled, bytes: bytes(directory.path())? })
}

/// Ticks that were folded leave pages that later ticks take; what stays is counted without them.
async fn compact(directory: &Path) -> anyhow::Result<()> {
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}/foreshadow.db", directory.display())).await?;
    sqlx::query("VACUUM").execute(&pool).await?;
    pool.close().await;
    Ok(())
}

/// Bytes of the files below a directory.
pub fn bytes(directory: &Path) -> anyhow::Result<u64> {
    let mut all = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        all += if entry.file_type()?.is_dir() { bytes(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(all)
}

pub async fn mean(week: &Week) -> anyhow::Result<Vec<Mean>> {
    let directory = tempfile::tempdir()?;
    let store = open(directory.path()).await?;
    let group = Id::new("group", "web")?;
    let mut hosts = week.hosts();
    let mut minutes = Vec::with_capacity(week.minutes);
    for minute in 0..week.minutes {
        let samples: Vec<Sample> = hosts.iter_mut().map(|host| host.next(60)).collect();
        let sum: f64 = samples.iter().filter_map(|sample| sample.cpu_percent).sum();
        minutes.push(Minute {
            group: group.clone(),
            metric: "cpu".to_owned(),
            start: START + 60 * i64::try_from(minute)?,
            gross_mean: sum,
            gross_maximum: sum,
            weight: week.instances as f64,
            serving: u32::try_from(week.instances)?,
            reporting: u32::try_from(week.instances)?,
            lower_bound: false,
        });
        let arrivals = samples.into_iter().enumerate().map(|(index, sample)| arrival(index, vec![sample]));
        let arrivals = arrivals.collect::<anyhow::Result<Vec<_>>>()?;
        try_join_all(arrivals.into_iter().map(|arrival| store.append(arrival))).await?;
    }
    store.put_minutes(&minutes).await?;
    let end = START + 60 * i64::try_from(week.minutes)?;
    store.maintain(settled_at()).await?;

    let before = used()?;
    let rolled = store.minutes(&group, "cpu", START, end).await?;
    let means: Vec<f64> = rolled.iter().map(|minute| minute.gross_mean / minute.weight).collect();
    let by_rollup = Mean {
        name: "the embedded store, by the rollup that every group has",
        cpu: used()? - before,
        points: means.len(),
        mean: means.iter().sum::<f64>() / means.len().max(1) as f64,
    };

    let before = used()?;
    let mut sums = vec![(0.0, 0_u32); week.minutes + 1];
    let instances = (0..week.instances).map(instance).collect::<anyhow::Result<Vec<_>>>()?;
    for some in instances.chunks(INSTANCES_AT_ONCE) {
        for readings in store.readings(some, &[Field::CpuPercent], START * 1_000_000, (end + 60) * 1_000_000).await? {
            for (wall, cpu) in readings.wall_micros.iter().zip(readings.values.iter().flatten()) {
                let Some(cpu) = cpu else { continue };
                let minute = usize::try_from((wall / 1_000_000 - START) / 60)?;
                let sum = sums.get_mut(minute).context("beyond the week")?;
                *sum = (sum.0 + cpu, sum.1 + 1);
            }
        }
    }
    let means: Vec<f64> = sums.iter().filter(|sum| sum.1 > 0).map(|sum| sum.0 / f64::from(sum.1)).collect();
    let by_samples = Mean {
        name: "the embedded store, sample by sample",
        cpu: used()? - before,
        points: means.len(),
        mean: means.iter().sum::<f64>() / means.len().max(1) as f64,
    };
    store.close().await;
    Ok(vec![by_rollup, by_samples])
}
