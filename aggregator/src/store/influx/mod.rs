//! An InfluxDB that gets every sample as well: version 2 ([`v2`]), or by what 1.x began and 3.x still knows ([`v1`]).
//!
//! The embedded store stays the one that acknowledges. What it made durable is forwarded tick by
//! tick behind a durable cursor; ticks that InfluxDB has not taken are not folded away, so an outage
//! loses nothing within the raw retention. A point written twice overwrites itself.
//!
//! By `v1` rollups go there as well, each after every change of it, and an embedded store that has none reads them back
//! when it opens: a new disk forecasts from the old past.

mod server;
mod v1;
mod v2;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use foreshadow_proto::convert::{Id, StreamId};
use tokio_util::sync::CancellationToken;

use super::tick::{Which, ticks};
use super::{
    Appended, Arrival, Embedded, Field, Minute, Readings, Retraction, SampleStore, StoreError, StoreHealth, StoreId,
    Stored, sql,
};
use crate::config::{InfluxApi, InfluxDb};
use v1::Place;

/// Ticks read at once.
const TICKS_AT_ONCE: i64 = 20;
/// Rollups read at once.
const MINUTES_AT_ONCE: i64 = 5_000;
/// Looked for new ticks this often.
const EVERY: Duration = Duration::from_secs(1);
/// Longest wait after failures.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The start waits no longer for a server that may be down, nor for the past that it has.
const CHECK_DEADLINE: Duration = Duration::from_secs(5);
const READ_BACK_DEADLINE: Duration = Duration::from_secs(120);
const NAME: &str = "influxdb";
const MEASUREMENT: &str = "foreshadow_sample";

/// The embedded store with InfluxDB behind it.
#[derive(Debug)]
pub struct WithInfluxDb {
    embedded: Embedded,
    lag: Arc<AtomicI64>,
    _forwarding: tokio_util::sync::DropGuard,
}

impl WithInfluxDb {
    /// Starts forwarding. What the server says is missing ends the start; a server that does not answer does not.
    /// Credentials are read anew for every request, so that they can be renewed. `now` is seconds since the epoch.
    pub async fn open(embedded: Embedded, config: &InfluxDb, now: i64) -> Result<Self, StoreError> {
        for counter in ["foreshadow_influxdb_failures_total", "foreshadow_influxdb_dropped_total"] {
            metrics::counter!(counter).increment(0);
        }
        let checked = match &config.api {
            InfluxApi::V1 { .. } => tokio::time::timeout(CHECK_DEADLINE, place(config).check()).await,
            InfluxApi::V2 { organisation, bucket, .. } => {
                tokio::time::timeout(CHECK_DEADLINE, v2::check(config, organisation, bucket)).await
            }
        };
        match checked {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(problem))) => return Err(StoreError::Open { path: config.url.clone(), problem }),
            Ok(Err(error)) => {
                tracing::warn!(error = %format!("{error:#}"), "InfluxDB cannot be asked; samples wait here")
            }
            Err(_) => tracing::warn!(url = config.url, "InfluxDB does not answer; samples wait here"),
        }
        let pool = embedded.pool();
        let cursor: Option<i64> = sqlx::query_scalar(sql::FORWARD_READ).bind(NAME).fetch_optional(&pool).await?;
        if let InfluxApi::V1 { .. } = config.api {
            embedded.forward_minutes();
            let minutes: i64 = sqlx::query_scalar(sql::MINUTE_COUNT).fetch_one(&pool).await?;
            if minutes == 0 {
                read_back(&embedded, config, now).await?;
            } else if cursor.is_none() {
                // It gets the past too.
                sqlx::query(sql::FORWARD_MINUTE_ALL).execute(&pool).await?;
            }
        }
        let cursor = cursor.unwrap_or(0);
        embedded.fold_up_to(cursor);
        let lag = Arc::new(AtomicI64::new(0));
        let forwarder = Forwarder { embedded: embedded.clone(), config: config.clone(), cursor, lag: lag.clone() };
        let stop = CancellationToken::new();
        tokio::spawn(forwarder.run(stop.clone()));
        Ok(Self { embedded, lag, _forwarding: stop.drop_guard() })
    }
}

/// Rollups that the server has of an earlier life; without them forecasts begin anew, which is no reason not to start.
async fn read_back(embedded: &Embedded, config: &InfluxDb, now: i64) -> Result<(), StoreError> {
    let from = now.saturating_sub(embedded.minute_retention_seconds());
    match tokio::time::timeout(READ_BACK_DEADLINE, place(config).minutes(from, now + 60)).await {
        Ok(Ok(minutes)) if minutes.is_empty() => {}
        Ok(Ok(minutes)) => {
            tracing::info!(minutes = minutes.len(), url = config.url, "the past was read back");
            embedded.put_read_back(&minutes).await?;
        }
        Ok(Err(error)) => tracing::warn!(error = %format!("{error:#}"), "no past could be read back"),
        Err(_) => tracing::warn!(url = config.url, "no past could be read back in time"),
    }
    Ok(())
}

fn place(config: &InfluxDb) -> Place<'_> {
    match &config.api {
        InfluxApi::V1 { database, retention_policy, .. } => {
            Place { config, database, retention_policy: retention_policy.as_deref() }
        }
        InfluxApi::V2 { bucket, .. } => Place { config, database: bucket, retention_policy: None },
    }
}

/// Names and values of one kind.
type Fields<V> = Vec<(&'static str, V)>;

/// The values of a sample that can be written safely: floats, and whole numbers.
fn fields(stored: &Stored) -> (Fields<f64>, Fields<i64>) {
    let sample = &stored.sample;
    let network = sample.network.as_ref();
    let floats = [
        ("cpu_percent", sample.cpu_percent),
        ("cpu_busiest_percent", sample.cpu_busiest_percent),
        ("cpu_steal_percent", sample.cpu_steal_percent),
        ("in_bytes", network.map(|rates| rates.in_bytes)),
        ("out_bytes", network.map(|rates| rates.out_bytes)),
        ("in_packets", network.map(|rates| rates.in_packets)),
        ("out_packets", network.map(|rates| rates.out_packets)),
        ("errors", network.map(|rates| rates.errors)),
    ];
    let whole = |value: Option<u64>| value.and_then(|value| i64::try_from(value).ok());
    let wholes = [
        ("memory_used_bytes", whole(sample.memory_used_bytes)),
        ("memory_total_bytes", whole(sample.memory_total_bytes)),
        ("covers_millis", Some(i64::from(sample.covers_millis))),
    ];
    let there = |(name, value): (&'static str, Option<f64>)| Some((name, value.filter(|value| value.is_finite())?));
    (
        floats.into_iter().filter_map(there).collect(),
        wholes.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
    )
}

struct Forwarder {
    embedded: Embedded,
    config: InfluxDb,
    cursor: i64,
    lag: Arc<AtomicI64>,
}

impl Forwarder {
    /// Ends with the store it forwards.
    async fn run(mut self, stop: CancellationToken) {
        let mut wait = EVERY;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            match self.forward().await {
                Ok(0) => wait = EVERY,
                Ok(_) => wait = Duration::ZERO,
                Err(error) => {
                    wait = (wait * 2).clamp(EVERY, LONGEST_WAIT);
                    metrics::counter!("foreshadow_influxdb_failures_total").increment(1);
                    let again = wait.as_secs();
                    tracing::warn!(error = %format!("{error:#}"), again_in_seconds = again, "InfluxDB does not take samples");
                }
            }
        }
    }

    /// How much was taken: commits and parts of rollups.
    async fn forward(&mut self) -> anyhow::Result<usize> {
        let pool = self.embedded.pool();
        let mut connection = pool.acquire().await?;
        let ticks = ticks(&mut connection, Which::All, (self.cursor, i64::MAX), TICKS_AT_ONCE).await?;
        drop(connection);
        let mut samples = Vec::new();
        let (mut last, taken) = (self.cursor, ticks.len());
        for tick in ticks {
            last = tick.number;
            match tick.blob.and_then(|blob| blob.unpack()) {
                Ok(of_tick) => samples.extend(of_tick),
                Err(error) => {
                    metrics::counter!("foreshadow_influxdb_dropped_total").increment(1);
                    tracing::error!(%error, "InfluxDB does not get its samples");
                }
            }
        }
        samples.retain(|stored| !self.embedded.retractions().cover_stored(stored));
        let newest: i64 = sqlx::query_scalar(sql::TICK_LAST).fetch_one(&pool).await?;
        let behind = newest - self.cursor.min(newest);
        self.lag.store(behind, Ordering::Relaxed);
        metrics::gauge!("foreshadow_influxdb_lag_ticks").set(f64::from(i32::try_from(behind).unwrap_or(i32::MAX)));
        if !samples.is_empty() {
            match &self.config.api {
                InfluxApi::V1 { .. } => place(&self.config).write_samples(samples.iter()).await?,
                InfluxApi::V2 { organisation, bucket, token_file } => {
                    let token = tokio::fs::read_to_string(token_file).await?;
                    let place = (organisation.as_str(), bucket.as_str(), token.trim());
                    v2::write_samples(&self.config, place, samples.iter()).await?;
                }
            }
        }
        if taken > 0 {
            sqlx::query(sql::FORWARD_WRITE).bind(NAME).bind(last).execute(&pool).await?;
            self.cursor = last;
            self.embedded.fold_up_to(last);
        }
        Ok(taken + self.forward_minutes().await?)
    }

    async fn forward_minutes(&self) -> anyhow::Result<usize> {
        let InfluxApi::V1 { .. } = self.config.api else { return Ok(0) };
        let waiting = self.embedded.waiting_minutes(MINUTES_AT_ONCE).await?;
        if waiting.is_empty() {
            return Ok(0);
        }
        let minutes: Vec<Minute> = waiting.iter().map(|(minute, _)| minute.clone()).collect();
        place(&self.config).write_minutes(&minutes).await?;
        self.embedded.minutes_forwarded(&waiting).await?;
        Ok(1)
    }
}

#[async_trait]
impl SampleStore for WithInfluxDb {
    fn id(&self) -> StoreId {
        self.embedded.id()
    }

    async fn append(&self, arrival: Arrival) -> Result<Appended, StoreError> {
        self.embedded.append(arrival).await
    }

    async fn held(&self, instance: &Id, stream: StreamId) -> Result<Vec<RangeInclusive<u64>>, StoreError> {
        self.embedded.held(instance, stream).await
    }

    async fn samples(&self, instance: &Id, from: i64, to: i64) -> Result<Vec<Stored>, StoreError> {
        self.embedded.samples(instance, from, to).await
    }

    async fn readings(
        &self,
        instances: &[Id],
        fields: &[Field],
        from: i64,
        to: i64,
    ) -> Result<Vec<Readings>, StoreError> {
        self.embedded.readings(instances, fields, from, to).await
    }

    async fn put_minutes(&self, minutes: &[Minute]) -> Result<(), StoreError> {
        self.embedded.put_minutes(minutes).await
    }

    async fn minutes(&self, group: &Id, metric: &str, from: i64, to: i64) -> Result<Vec<Minute>, StoreError> {
        self.embedded.minutes(group, metric, from, to).await
    }

    fn take_damaged_minutes(&self) -> Vec<(Id, i64)> {
        self.embedded.take_damaged_minutes()
    }

    async fn delete_minutes(&self, group: &Id, metric: &str, starts: &[i64]) -> Result<(), StoreError> {
        self.embedded.delete_minutes(group, metric, starts).await
    }

    async fn retract(&self, retraction: &Retraction) -> Result<bool, StoreError> {
        self.embedded.retract(retraction).await
    }

    async fn unmade_retractions(&self) -> Result<Vec<Retraction>, StoreError> {
        self.embedded.unmade_retractions().await
    }

    async fn set_remade(&self, retraction: &Retraction) -> Result<(), StoreError> {
        self.embedded.set_remade(retraction).await
    }

    async fn maintain(&self, now_micros: i64) -> Result<(), StoreError> {
        self.embedded.maintain(now_micros).await
    }

    async fn health(&self) -> StoreHealth {
        StoreHealth { forward_lag_ticks: Some(self.lag.load(Ordering::Relaxed)), ..self.embedded.health().await }
    }

    async fn close(&self) {
        self.embedded.close().await;
    }
}
