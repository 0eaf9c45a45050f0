//! What is durable: samples, their acknowledgement ranges and the minute rollups.
//!
//! `append` returns after the samples are fsynced, together with the interval set that makes a
//! repeated sample a no-op. Nothing is acknowledged before it returns, nothing after it failed.

mod beside;
mod blob;
pub mod check;
mod checksum;
mod columns;
pub mod command;
mod embedded;
mod fold;
mod influx;
mod minute;
mod readings;
mod retraction;
pub(crate) mod sql;
mod tick;
mod writer;

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use foreshadow_proto::convert::{Id, Sample, StreamId};
use serde::{Deserialize, Serialize};

pub use beside::Beside;
pub use embedded::{Embedded, Options};
pub use foreshadow_proto::columns::Field;
pub use influx::WithInfluxDb;
pub use readings::Readings;
pub use retraction::Retraction;

/// The result code of SQLite for a damaged file, and which bits of an extended code say that.
const SQLITE_CORRUPT: i32 = 11;
const PRIMARY_CODE: i32 = 0xff;

/// Identifies one store for its whole life: 16 random bytes, made when it is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreId(pub [u8; 16]);

impl std::fmt::Display for StoreId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Samples of one stream, as they came in after the range check.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub instance: Id,
    pub stream: StreamId,
    pub boot_id: Id,
    pub samples: Vec<Sample>,
    /// Samples that passed no range check: counted as handled, so that they are never asked for.
    pub rejected: Vec<u64>,
    /// What the agent says it had to drop in this stream.
    pub dropped_total: u64,
}

/// A stored sample with its key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    pub instance: Id,
    #[serde(serialize_with = "stream_as_hex", deserialize_with = "stream_from_hex")]
    pub stream: StreamId,
    pub sample: Sample,
}

/// Demand of one group and metric in one minute, before the idle baseline is taken off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Minute {
    pub group: Id,
    /// `cpu`, `network_in`, …: the planner's metric names.
    pub metric: String,
    /// Start of the minute, seconds since the Unix epoch.
    pub start: i64,
    /// Σ wᵢuᵢ over serving instances, mean of the minute, utilisation-points.
    pub gross_mean: f64,
    /// The same, highest ten seconds of the minute.
    pub gross_maximum: f64,
    /// Σ wᵢ over serving instances: gross − baseline × weight is demand.
    pub weight: f64,
    pub serving: u32,
    /// Zero for a minute that was imported.
    pub reporting: u32,
    /// Fewer than 90 % reported or a reading was saturated: demand was at least this.
    pub lower_bound: bool,
}

impl Minute {
    /// Measured elsewhere and imported: no agent of ours reported.
    pub const fn is_imported(&self) -> bool {
        self.reporting == 0
    }

    /// What its row has beside what it says: a CRC-32 of it.
    pub(crate) fn checksum(&self) -> i64 {
        minute::sum(self)
    }
}

/// What `readyz` and the metrics say of the store.
#[derive(Debug, Clone, Default, Serialize)]
pub struct StoreHealth {
    /// Why nothing can be acknowledged now; `None` while all is well.
    pub refusing: Option<String>,
    pub samples: u64,
    pub bytes: u64,
    pub oldest_micros: Option<i64>,
    pub newest_micros: Option<i64>,
    /// Commits that InfluxDB has not taken yet; absent without InfluxDB.
    pub forward_lag_ticks: Option<i64>,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing was stored and nothing may be acknowledged; the sender keeps its samples.
    #[error("store refuses writes: {reason}")]
    Refused { reason: String, retry_after: Duration },
    #[error("store at {path}: {problem}")]
    Open { path: String, problem: String },
    #[error("stored data cannot be read: {0}")]
    Corrupt(String),
    #[error(transparent)]
    Database(sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    /// What SQLite or its client cannot make out of a row is damage of that row: others can be read, and whoever goes around
    /// damage goes around this.
    fn from(error: sqlx::Error) -> Self {
        let damage = match &error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => true,
            sqlx::Error::Database(said) => {
                let code = said.code().and_then(|code| code.parse::<i32>().ok());
                code.is_some_and(|code| code & PRIMARY_CODE == SQLITE_CORRUPT)
            }
            _ => false,
        };
        if damage { Self::Corrupt(error.to_string()) } else { Self::Database(error) }
    }
}

/// What became of an arrival.
#[derive(Debug, Clone, PartialEq)]
pub struct Appended {
    /// Ranges of the stream that are held now (rejected sequences included: they are settled too).
    pub held: Vec<RangeInclusive<u64>>,
    /// The samples that were not there before.
    pub fresh: Arc<[Stored]>,
}

/// Where samples are kept. Implementations: the embedded store, and InfluxDB behind it.
#[async_trait]
pub trait SampleStore: fmt::Debug + Send + Sync + 'static {
    fn id(&self) -> StoreId;

    /// Stores what is not stored yet; on return it is durable.
    async fn append(&self, arrival: Arrival) -> Result<Appended, StoreError>;

    /// Ranges of a stream the store holds.
    async fn held(&self, instance: &Id, stream: StreamId) -> Result<Vec<RangeInclusive<u64>>, StoreError>;

    /// Samples of one instance with `from <= wall < to` (µs since the epoch), by time.
    async fn samples(&self, instance: &Id, from: i64, to: i64) -> Result<Vec<Stored>, StoreError>;

    /// These fields of the samples of each of these instances with `from <= wall < to` (µs), by time, in the order of
    /// `instances`: a tenth of what whole samples cost.
    async fn readings(
        &self,
        instances: &[Id],
        fields: &[Field],
        from: i64,
        to: i64,
    ) -> Result<Vec<Readings>, StoreError>;

    /// Writes rollups; a minute written again replaces the former one.
    async fn put_minutes(&self, minutes: &[Minute]) -> Result<(), StoreError>;

    /// Rollups of a group and metric with `from <= start < to` (s), by time; gaps are absent, and what was damaged is one.
    async fn minutes(&self, group: &Id, metric: &str, from: i64, to: i64) -> Result<Vec<Minute>, StoreError>;

    /// Rollups that were met and found damaged since this was asked last, each once: group, and start in s since the epoch.
    fn take_damaged_minutes(&self) -> Vec<(Id, i64)>;

    /// Takes rollups away again (starts in s) whose samples count no more; those that were imported stay.
    async fn delete_minutes(&self, group: &Id, metric: &str, starts: &[i64]) -> Result<(), StoreError>;

    /// From the return on the samples it covers are in no answer, whether they are stored or come later. False when it
    /// was told before. Minutes are the business of who made them.
    async fn retract(&self, retraction: &Retraction) -> Result<bool, StoreError>;

    /// Retractions whose minutes were not made anew yet, oldest first.
    async fn unmade_retractions(&self) -> Result<Vec<Retraction>, StoreError>;

    /// The minutes of a retraction were made anew.
    async fn set_remade(&self, retraction: &Retraction) -> Result<(), StoreError>;

    /// Forms chunks and drops what is past its retention; called every minute.
    async fn maintain(&self, now_micros: i64) -> Result<(), StoreError>;

    async fn health(&self) -> StoreHealth;

    /// Lets go of the files, the last thing before the end.
    async fn close(&self);
}

fn stream_as_hex<S: serde::Serializer>(stream: &StreamId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(stream)
}

fn stream_from_hex<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<StreamId, D::Error> {
    let text = String::deserialize(deserializer)?;
    let mut bytes = [0; 16];
    if text.len() != 32 {
        return Err(serde::de::Error::custom("stream: 32 hexadecimal digits"));
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = text
            .get(at * 2..at * 2 + 2)
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            .ok_or_else(|| serde::de::Error::custom("stream: 32 hexadecimal digits"))?;
    }
    Ok(StreamId(bytes))
}
