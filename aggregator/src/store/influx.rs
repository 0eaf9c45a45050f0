//! An InfluxDB 2 that gets every sample as well.
//!
//! The embedded store stays the one that acknowledges. What it made durable is forwarded tick by
//! tick behind a durable cursor; ticks that InfluxDB has not taken are not folded away, so an outage
//! loses nothing within the raw retention. A point written twice overwrites itself.
//!
//! The client (`influxdb2`) writes newlines in tags, NaN and empty tags as they are. None reaches it:
//! ids have only letters, digits and `._:/@-`, numbers passed the range check; [`point`] checks once
//! more and leaves out what does not fit.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use foreshadow_proto::convert::{Id, StreamId};
use influxdb2::Client;
use influxdb2::models::DataPoint;
use sqlx::Row;
use tokio_util::sync::CancellationToken;

use super::columns::unpack;
use super::{Appended, Arrival, Embedded, Minute, SampleStore, StoreError, StoreHealth, StoreId, Stored, sql};

/// Ticks read at once.
const TICKS_AT_ONCE: i64 = 20;
/// Looked for new ticks this often.
const EVERY: Duration = Duration::from_secs(1);
/// Longest wait after failures.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// One request takes this long at most.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
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
    /// Starts forwarding. The token is read anew for every attempt, so that it can be renewed.
    pub async fn open(embedded: Embedded, config: &crate::config::InfluxDb) -> Result<Self, StoreError> {
        let pool = embedded.pool();
        let cursor = sqlx::query_scalar(sql::FORWARD_READ).bind(NAME).fetch_optional(&pool).await?.unwrap_or(0_i64);
        embedded.fold_up_to(cursor);
        let lag = Arc::new(AtomicI64::new(0));
        let forwarder = Forwarder { embedded: embedded.clone(), config: config.clone(), cursor, lag: lag.clone() };
        let stop = CancellationToken::new();
        tokio::spawn(forwarder.run(stop.clone()));
        Ok(Self { embedded, lag, _forwarding: stop.drop_guard() })
    }
}

struct Forwarder {
    embedded: Embedded,
    config: crate::config::InfluxDb,
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

    async fn forward(&mut self) -> anyhow::Result<usize> {
        let pool = self.embedded.pool();
        let rows = sqlx::query(sql::TICK_AFTER).bind(self.cursor).bind(TICKS_AT_ONCE).fetch_all(&pool).await?;
        let mut points = Vec::new();
        let mut last = self.cursor;
        for row in &rows {
            last = row.try_get(0)?;
            points.extend(unpack(row.try_get::<&[u8], _>(1)?)?.iter().filter_map(point));
        }
        let newest: i64 = sqlx::query_scalar(sql::TICK_LAST).fetch_one(&pool).await?;
        let behind = newest - self.cursor.min(newest);
        self.lag.store(behind, Ordering::Relaxed);
        metrics::gauge!("foreshadow_influxdb_lag_ticks").set(f64::from(i32::try_from(behind).unwrap_or(i32::MAX)));
        if rows.is_empty() {
            return Ok(0);
        }
        if !points.is_empty() {
            let token = tokio::fs::read_to_string(&self.config.token_file).await?;
            let client = Client::new(&self.config.url, &self.config.organisation, token.trim());
            let write = client.write(&self.config.bucket, futures::stream::iter(points));
            tokio::time::timeout(REQUEST_DEADLINE, write).await??;
        }
        sqlx::query(sql::FORWARD_WRITE).bind(NAME).bind(last).execute(&pool).await?;
        self.cursor = last;
        self.embedded.fold_up_to(last);
        Ok(rows.len())
    }
}

/// A sample as a point; `None` when nothing of it can be written safely.
fn point(stored: &Stored) -> Option<DataPoint> {
    let sample = &stored.sample;
    let network = sample.network.as_ref();
    let mut builder = DataPoint::builder(MEASUREMENT)
        .tag("instance", stored.instance.as_str())
        .timestamp(sample.wall_micros.checked_mul(1_000)?);
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
    for (name, value) in floats {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            builder = builder.field(name, value);
        }
    }
    let wholes = [("memory_used_bytes", sample.memory_used_bytes), ("memory_total_bytes", sample.memory_total_bytes)];
    for (name, value) in wholes {
        if let Some(value) = value.and_then(|value| i64::try_from(value).ok()) {
            builder = builder.field(name, value);
        }
    }
    builder.field("covers_millis", i64::from(sample.covers_millis)).build().ok()
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

    async fn instances(&self, from: i64, to: i64) -> Result<Vec<Id>, StoreError> {
        self.embedded.instances(from, to).await
    }

    async fn put_minutes(&self, minutes: &[Minute]) -> Result<(), StoreError> {
        self.embedded.put_minutes(minutes).await
    }

    async fn minutes(&self, group: &Id, metric: &str, from: i64, to: i64) -> Result<Vec<Minute>, StoreError> {
        self.embedded.minutes(group, metric, from, to).await
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
