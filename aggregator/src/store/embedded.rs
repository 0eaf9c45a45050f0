//! The embedded store: SQLite through sqlx, series as compressed blobs.
//!
//! Ticks, one a commit ([`super::writer`]), are folded into chunks once their hour has settled. A chunk is one instance's: an hour, or
//! more hours while they have few samples ([`super::fold`]).

use std::fs::{self, File, TryLockError};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use foreshadow_proto::convert::{Id, StreamId};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, Row, SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use super::blob::Blob;
use super::minute;
use super::readings::Asked as AskedReadings;
use super::retraction::{self, Retraction, Retractions};
use super::writer::{Asked, RETRY_AFTER, Writer};
use super::{Appended, Arrival, Field, Minute, Readings, SampleStore, StoreError, StoreHealth, StoreId, Stored, sql};
use crate::clock::Clock;

/// Arrivals that may wait for a commit. Agents hold what is not acknowledged, so a short queue
/// loses nothing and keeps memory flat.
const QUEUE: usize = 4_096;
const CLOSING: &str = "the store is closing";
/// The database within the directory.
pub(super) const FILE: &str = "foreshadow.db";
pub(super) const HOUR_MICROS: i64 = 3_600_000_000;
/// Instances whose chunks are in memory at once while some fields of them are read.
const INSTANCES_AT_ONCE: usize = 32;
/// Connections for reading.
const READERS: u32 = 4;
/// Interval sets are kept this long after a stream's last sample: longer than any agent's spool.
pub(super) const STREAM_KEPT_MICROS: i64 = 14 * 24 * HOUR_MICROS;

/// Where and how long.
#[derive(Debug, Clone)]
pub struct Options {
    pub directory: PathBuf,
    pub raw_retention: Duration,
    pub minute_retention: Duration,
}

/// A handle on the store. Cheap to clone; the store closes when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Embedded {
    id: StoreId,
    /// Readers see the last commit and never wait for a writer.
    pub(super) reads: SqlitePool,
    /// One connection: writers queue here in turn instead of waiting for the file's lock by chance.
    pub(super) writes: SqlitePool,
    queue: mpsc::Sender<Asked>,
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: Options,
    file: PathBuf,
    pub(super) refusing: Mutex<Option<String>>,
    pub(super) duplicates: AtomicU64,
    pub(super) retractions: Retractions,
    damaged: minute::Damaged,
    /// Rollups are noted for another store, in the transaction that writes them.
    forwards_minutes: AtomicBool,
    /// Ticks beyond this wait for another store and are not folded; all may be where there is none.
    pub(super) fold_up_to: AtomicI64,
    /// Held while ticks are folded: what one turn reads of chunks is not to be written by another.
    pub(super) folding: tokio::sync::Mutex<()>,
    /// Rows of streams are complete up to this tick: a later one is needed to know what is held.
    pub(super) rows_up_to: AtomicI64,
    /// Held as long as the store is open: two processes on one directory would both acknowledge.
    _lock: File,
}

/// SQLite ends a transaction by itself when the disk is full. The ROLLBACK that follows is an error then, and sqlx counts the transaction
/// on: later ones would be parts of it, each without an error and none ever on the disk. A connection like that is closed.
async fn is_done(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // It waits behind the ROLLBACK of a transaction that was dropped.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

impl Embedded {
    /// Opens or creates the store and starts its writer. `random` makes the id of a new store.
    pub async fn open(options: Options, clock: Arc<dyn Clock>, random: [u8; 16]) -> Result<Self, StoreError> {
        let problem = |path: &Path, problem: String| StoreError::Open { path: path.display().to_string(), problem };
        let directory = options.directory.clone();
        fs::create_dir_all(&directory).map_err(|error| problem(&directory, error.to_string()))?;
        let lock_path = directory.join("lock");
        let lock = File::create(&lock_path).map_err(|error| problem(&lock_path, error.to_string()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(problem(&directory, "another foreshadow process uses this directory".to_owned()));
            }
            Err(TryLockError::Error(error)) => return Err(problem(&lock_path, error.to_string())),
        }
        let file = directory.join(FILE);
        let connect = SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let pool = async |connections| {
            let pool = SqlitePoolOptions::new().max_connections(connections);
            let pool = pool.after_release(|connection, _| Box::pin(is_done(connection))).connect_with(connect.clone());
            pool.await.map_err(|error| problem(&file, error.to_string()))
        };
        let (writes, reads) = (pool(1).await?, pool(READERS).await?);
        sqlx::migrate!().run(&writes).await.map_err(|error| problem(&file, error.to_string()))?;
        let id = match sqlx::query(sql::STORE_ID).fetch_optional(&writes).await? {
            Some(row) => {
                let bytes: Vec<u8> = row.try_get(0)?;
                let bytes = bytes.try_into().map_err(|_| StoreError::Corrupt("the store's id".to_owned()))?;
                StoreId(bytes)
            }
            None => {
                let create = sqlx::query(sql::STORE_CREATE).bind(random.to_vec()).bind(clock.wall_micros());
                create.execute(&writes).await?;
                StoreId(random)
            }
        };
        let rows_up_to: i64 = sqlx::query_scalar(sql::STREAM_ROWS_READ).fetch_one(&writes).await?;
        let (queue, arrivals) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            options,
            file,
            refusing: Mutex::new(None),
            duplicates: AtomicU64::new(0),
            retractions: Retractions::read(&writes).await?,
            damaged: minute::Damaged::default(),
            forwards_minutes: AtomicBool::new(false),
            fold_up_to: AtomicI64::new(i64::MAX),
            folding: tokio::sync::Mutex::new(()),
            rows_up_to: AtomicI64::new(rows_up_to),
            _lock: lock,
        });
        tokio::spawn(Writer::new(writes.clone(), clock, shared.clone()).run(arrivals));
        Ok(Self { id, reads, writes, queue, shared })
    }

    /// The database, for those who keep state in it: their writes take turns with the samples.
    pub fn pool(&self) -> SqlitePool {
        self.writes.clone()
    }

    /// Samples that came a second time and were dropped, since the start.
    pub fn duplicates(&self) -> u64 {
        self.shared.duplicates.load(Ordering::Relaxed)
    }

    /// From now on every rollup that is written waits for another store.
    pub(super) fn forward_minutes(&self) {
        self.shared.forwards_minutes.store(true, Ordering::Relaxed);
    }

    pub(super) fn minute_retention_seconds(&self) -> i64 {
        i64::try_from(self.shared.options.minute_retention.as_secs()).unwrap_or(i64::MAX)
    }

    /// Writes rollups that another store has already.
    pub(super) async fn put_read_back(&self, minutes: &[Minute]) -> Result<(), StoreError> {
        self.write_minutes(minutes, false).await
    }

    /// Rollups that wait for another store, oldest first, each with its turn.
    pub(super) async fn waiting_minutes(&self, most: i64) -> Result<Vec<(Minute, i64)>, StoreError> {
        let rows = sqlx::query(sql::FORWARD_MINUTE_READ).bind(most).fetch_all(&self.reads).await?;
        let mut waiting = Vec::new();
        for row in &rows {
            let group = Id::new("group", row.try_get::<&str, _>("group_name")?);
            let group = group.map_err(|error| StoreError::Corrupt(error.to_string()))?;
            let (metric, start): (&str, i64) = (row.try_get("metric")?, row.try_get("start_seconds")?);
            match minute::of_row(&group, metric, start, row) {
                Ok(minute) => waiting.push((minute, row.try_get("turn")?)),
                // It waits until it is made anew.
                Err(error) => self.shared.damaged.tell(&group, metric, &[(start, error.to_string())]),
            }
        }
        Ok(waiting)
    }

    /// The other store has them; one that was written again meanwhile waits on.
    pub(super) async fn minutes_forwarded(&self, forwarded: &[(Minute, i64)]) -> Result<(), StoreError> {
        let mut transaction = self.writes.begin().await?;
        for (minute, turn) in forwarded {
            let delete = sqlx::query(sql::FORWARD_MINUTE_DELETE).bind(minute.group.as_str()).bind(&minute.metric);
            delete.bind(minute.start).bind(turn).execute(&mut *transaction).await?;
        }
        Ok(transaction.commit().await?)
    }

    async fn write_minutes(&self, minutes: &[Minute], forward: bool) -> Result<(), StoreError> {
        match self.write_minutes_at_once(minutes, forward).await {
            Err(StoreError::Corrupt(_)) => {}
            answer => return answer,
        }
        // What is damaged where one of them belongs is not to cost the others, nor the round that made them.
        for minute in minutes {
            match self.write_minutes_at_once(std::slice::from_ref(minute), forward).await {
                Err(StoreError::Corrupt(problem)) => {
                    let minute = minute::named(&minute.group, &minute.metric, minute.start);
                    tracing::error!(minute, problem, "it cannot be written over what is damaged there");
                }
                answer => answer?,
            }
        }
        Ok(())
    }

    async fn write_minutes_at_once(&self, minutes: &[Minute], forward: bool) -> Result<(), StoreError> {
        let mut transaction = self.writes.begin().await?;
        for minute in minutes {
            minute::write(&mut transaction, minute).await?;
            if forward {
                let note = sqlx::query(sql::FORWARD_MINUTE_WRITE).bind(minute.group.as_str()).bind(&minute.metric);
                note.bind(minute.start).execute(&mut *transaction).await?;
            }
        }
        Ok(transaction.commit().await?)
    }

    pub(super) fn retractions(&self) -> &Retractions {
        &self.shared.retractions
    }

    /// Ticks after this one are kept unfolded.
    pub(super) fn fold_up_to(&self, tick: i64) {
        self.shared.fold_up_to.store(tick, Ordering::Relaxed);
    }
}

fn refused(reason: &str) -> StoreError {
    StoreError::Refused { reason: reason.to_owned(), retry_after: RETRY_AFTER }
}

/// What went wrong while chunks of an instance were read: damage there is of nobody else.
fn of_instance(instance: &Id, error: sqlx::Error) -> StoreError {
    match error.into() {
        StoreError::Corrupt(problem) => StoreError::Corrupt(format!("a chunk of {instance}: {problem}")),
        error => error,
    }
}

/// Unpacks on a thread that may be busy: other tasks go on meanwhile.
pub(super) async fn aside<T: Send + 'static>(
    unpack: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(unpack).await {
        Ok(unpacked) => unpacked,
        Err(error) => Err(StoreError::Corrupt(error.to_string())),
    }
}

/// When the first and the last of these were taken, µs since the epoch.
pub(super) fn span(samples: &[Stored]) -> (i64, i64) {
    let walls = || samples.iter().map(|stored| stored.sample.wall_micros);
    (walls().min().unwrap_or_default(), walls().max().unwrap_or_default())
}

#[async_trait]
impl SampleStore for Embedded {
    fn id(&self) -> StoreId {
        self.id
    }

    async fn append(&self, arrival: Arrival) -> Result<Appended, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(Asked::Append(arrival, answer)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => refused("too many batches wait for the disk"),
            mpsc::error::TrySendError::Closed(_) => refused(CLOSING),
        })?;
        answered.await.map_err(|_| refused(CLOSING))?
    }

    async fn held(&self, instance: &Id, stream: StreamId) -> Result<Vec<RangeInclusive<u64>>, StoreError> {
        let (answer, answered) = oneshot::channel();
        let asked = Asked::Held(instance.clone(), stream, answer);
        self.queue.send(asked).await.map_err(|_| refused(CLOSING))?;
        answered.await.map_err(|_| refused(CLOSING))?
    }

    async fn samples(&self, instance: &Id, from: i64, to: i64) -> Result<Vec<Stored>, StoreError> {
        // One snapshot: a tick that is folded meanwhile is seen once, as tick or as chunk.
        let mut snapshot = self.reads.begin().await?;
        let chunks = sqlx::query(sql::CHUNK_OVERLAPPING).bind(instance.as_str()).bind(from).bind(to);
        let mut blobs = Vec::new();
        for row in chunks.fetch_all(&mut *snapshot).await.map_err(|error| of_instance(instance, error))? {
            blobs.push(Blob::of_chunk(instance.as_str(), &row)?);
        }
        for row in sqlx::query(sql::TICK_OVERLAPPING).bind(from).bind(to).fetch_all(&mut *snapshot).await? {
            blobs.push(Blob::of_tick(&row)?);
        }
        drop(snapshot);
        let (shared, instance) = (self.shared.clone(), instance.clone());
        aside(move || {
            let mut samples = Vec::new();
            for blob in blobs {
                let wanted =
                    |stored: &Stored| stored.instance == instance && (from..to).contains(&stored.sample.wall_micros);
                let wanted = |stored: &Stored| wanted(stored) && !shared.retractions.cover_stored(stored);
                samples.extend(blob.unpack()?.into_iter().filter(wanted));
            }
            samples.sort_by_key(|stored| (stored.sample.wall_micros, stored.stream, stored.sample.sequence));
            Ok(samples)
        })
        .await
    }

    async fn readings(
        &self,
        instances: &[Id],
        fields: &[Field],
        from: i64,
        to: i64,
    ) -> Result<Vec<Readings>, StoreError> {
        let retracted = self.shared.retractions.of(instances);
        let asked = Arc::new(AskedReadings { fields: fields.to_vec(), from, to, retracted });
        let mut found = asked.places(instances);
        let into = async |blobs: Vec<Blob>, mut found| {
            let asked = asked.clone();
            aside(move || {
                blobs.iter().try_for_each(|blob| blob.readings(&asked, &mut found))?;
                Ok(found)
            })
            .await
        };
        // One snapshot, and ticks, which have all instances in them, once for all.
        let mut snapshot = self.reads.begin().await?;
        for some in instances.chunks(INSTANCES_AT_ONCE) {
            let mut blobs = Vec::new();
            for instance in some {
                let chunks = sqlx::query(sql::CHUNK_OVERLAPPING).bind(instance.as_str()).bind(from).bind(to);
                for row in chunks.fetch_all(&mut *snapshot).await.map_err(|error| of_instance(instance, error))? {
                    blobs.push(Blob::of_chunk(instance.as_str(), &row)?);
                }
            }
            found = into(blobs, found).await?;
        }
        let ticks = sqlx::query(sql::TICK_OVERLAPPING).bind(from).bind(to).fetch_all(&mut *snapshot).await?;
        drop(snapshot);
        let ticks = ticks.iter().map(Blob::of_tick).collect::<Result<_, _>>()?;
        found = into(ticks, found).await?;
        Ok(asked.found(instances, found))
    }

    async fn put_minutes(&self, minutes: &[Minute]) -> Result<(), StoreError> {
        self.write_minutes(minutes, self.shared.forwards_minutes.load(Ordering::Relaxed)).await
    }

    async fn minutes(&self, group: &Id, metric: &str, from: i64, to: i64) -> Result<Vec<Minute>, StoreError> {
        let read = minute::read(&self.reads, group, metric, from, to).await?;
        self.shared.damaged.tell(group, metric, &read.damaged);
        Ok(read.minutes)
    }

    fn take_damaged_minutes(&self) -> Vec<(Id, i64)> {
        self.shared.damaged.take_due()
    }

    async fn delete_minutes(&self, group: &Id, metric: &str, starts: &[i64]) -> Result<(), StoreError> {
        let mut transaction = self.writes.begin().await?;
        for start in starts {
            let delete = sqlx::query(sql::MINUTE_DELETE).bind(group.as_str()).bind(metric).bind(start);
            delete.execute(&mut *transaction).await?;
        }
        Ok(transaction.commit().await?)
    }

    async fn retract(&self, retraction: &Retraction) -> Result<bool, StoreError> {
        self.shared.retractions.write(&self.writes, retraction).await
    }

    async fn unmade_retractions(&self) -> Result<Vec<Retraction>, StoreError> {
        retraction::unmade(&self.reads).await
    }

    async fn set_remade(&self, retraction: &Retraction) -> Result<(), StoreError> {
        retraction::set_remade(&self.writes, retraction).await
    }

    async fn maintain(&self, now: i64) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        self.queue.send(Asked::Rows(answer)).await.map_err(|_| refused(CLOSING))?;
        answered.await.map_err(|_| refused(CLOSING))??;
        self.fold(now).await?;
        let micros = |kept: Duration| i64::try_from(kept.as_micros()).unwrap_or(i64::MAX);
        let before = now.saturating_sub(micros(self.shared.options.raw_retention));
        sqlx::query(sql::CHUNK_EXPIRE).bind(before).execute(&self.writes).await?;
        let before = now.saturating_sub(micros(self.shared.options.minute_retention)) / 1_000_000;
        sqlx::query(sql::MINUTE_EXPIRE).bind(before).execute(&self.writes).await?;
        sqlx::query(sql::FORWARD_MINUTE_EXPIRE).bind(before).execute(&self.writes).await?;
        let before = now.saturating_sub(STREAM_KEPT_MICROS);
        sqlx::query(sql::STREAM_EXPIRE).bind(before).execute(&self.writes).await?;
        Ok(())
    }

    async fn close(&self) {
        self.reads.close().await;
        // The last connection to close brings the write-ahead log into the database.
        self.writes.close().await;
    }

    async fn health(&self) -> StoreHealth {
        let refusing = self.shared.refusing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let bytes = [self.shared.file.clone(), self.shared.file.with_extension("db-wal")]
            .iter()
            .filter_map(|path| fs::metadata(path).ok())
            .map(|metadata| metadata.len())
            .sum();
        let mut health = StoreHealth { refusing, bytes, ..StoreHealth::default() };
        match sqlx::query(sql::SPAN).fetch_one(&self.reads).await {
            Ok(row) => {
                health.oldest_micros = row.try_get(0).unwrap_or_default();
                health.newest_micros = row.try_get(1).unwrap_or_default();
                health.samples = row.try_get::<i64, _>(2).ok().and_then(|n| u64::try_from(n).ok()).unwrap_or_default();
            }
            Err(error) if health.refusing.is_none() => health.refusing = Some(format!("cannot be read: {error}")),
            Err(_) => {}
        }
        health
    }
}
