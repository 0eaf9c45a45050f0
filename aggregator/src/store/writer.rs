//! The embedded store's one writer of samples.
//!
//! It takes everything that came in since its last commit, drops what is held already, writes one tick of what is new, and answers
//! when SQLite says that it is on the disk (WAL, `synchronous = FULL`). A commit that fails acknowledges nothing and
//! forgets what was known; the next one reads it anew.
//!
//! What is held of a stream is its row and every tick after [`Shared::rows_up_to`]: a tick names the sequences in it. Rows are written
//! for many ticks at once, since a row a message would cost more than everything else together, and at once where no tick would
//! say it: of a stream that is new, and of samples that are settled and not stored. All in the transaction of the samples.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use foreshadow_proto::convert::{Id, StreamId};
use foreshadow_proto::sequences::Sequences;
use sqlx::{Connection as _, Row as _, SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use super::checksum;
use super::columns::pack;
use super::embedded::{Shared, span};
use super::tick::{Which, ticks};
use super::{Appended, Arrival, StoreError, Stored, sql};
use crate::clock::Clock;

/// Most samples in one tick: bounds the time and memory of one commit.
const TICK_SAMPLES: usize = 50_000;
/// Commits start at least this far apart, so that many agents share one fsync.
const COMMIT_SPACING: Duration = Duration::from_millis(100);
/// What a refused sender waits before it tries again.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Ticks that are read at most to know what is held, after a start: two minutes of them. Maintenance asks for rows every minute.
const TICKS_WITHOUT_ROWS: i64 = 1_200;
/// Ticks in memory at once while they are read.
const TICKS_AT_ONCE: i64 = 50;
/// Streams whose ranges are known without asking the database.
const STREAMS_KNOWN: usize = 100_000;
/// Streams that are read together at the start: those that come back first. One by one they cost the better part of a reconnect.
const STREAMS_READ: i64 = 25_000;
/// Streams in one statement: SQLite takes 32 766 values, PostgreSQL 65 535; this is six a row.
const STREAMS_AT_ONCE: usize = 500;

/// What the writer is asked for, in turn.
#[derive(Debug)]
pub(super) enum Asked {
    Append(Arrival, oneshot::Sender<Result<Appended, StoreError>>),
    /// Ranges of a stream.
    Held(Id, StreamId, oneshot::Sender<Result<Vec<RangeInclusive<u64>>, StoreError>>),
    /// That rows say everything.
    Rows(oneshot::Sender<Result<(), StoreError>>),
}

type Key = (Id, StreamId);

/// One stream: what its row says, or will say.
#[derive(Debug, Default)]
struct Stream {
    held: Sequences,
    boot_id: String,
    dropped: u64,
    newest_micros: i64,
    row: Row,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Row {
    /// Says all of it.
    #[default]
    Written,
    /// Ticks say what is new.
    Behind,
    /// Must be written with this commit.
    Due,
}

pub(super) struct Writer {
    pool: SqlitePool,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    /// Those of which anything is behind, and others that were asked for. `None` until read, and after a failure: the
    /// database is the truth.
    streams: Option<HashMap<Key, Stream>>,
    last_tick: i64,
}

impl Writer {
    pub(super) const fn new(pool: SqlitePool, clock: Arc<dyn Clock>, shared: Arc<Shared>) -> Self {
        Self { pool, clock, shared, streams: None, last_tick: 0 }
    }

    pub(super) async fn run(mut self, mut asked: mpsc::Receiver<Asked>) {
        let mut next = tokio::time::Instant::now();
        while let Some(first) = asked.recv().await {
            let Some(first) = self.at_once(first).await else { continue };
            tokio::time::sleep_until(next).await;
            next = tokio::time::Instant::now() + COMMIT_SPACING;
            let mut samples = first.0.samples.len();
            let mut waiting = vec![first];
            while samples < TICK_SAMPLES {
                let Ok(more) = asked.try_recv() else { break };
                let Some(more) = self.at_once(more).await else { continue };
                samples += more.0.samples.len();
                waiting.push(more);
            }
            self.commit(waiting).await;
        }
    }

    /// Answers what needs no commit of samples; gives an arrival back.
    async fn at_once(&mut self, asked: Asked) -> Option<(Arrival, oneshot::Sender<Result<Appended, StoreError>>)> {
        // Whoever asked may have gone.
        match asked {
            Asked::Append(arrival, answer) => return Some((arrival, answer)),
            Asked::Held(instance, stream, answer) => drop(answer.send(self.held(instance, stream).await)),
            Asked::Rows(answer) => drop(answer.send(self.write(&[], true).await.map(drop))),
        }
        None
    }

    async fn held(&mut self, instance: Id, stream: StreamId) -> Result<Vec<RangeInclusive<u64>>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let streams = known(&mut self.streams, &mut self.last_tick, &mut connection).await?;
        Ok(stream_of(streams, &(instance, stream), &mut connection).await?.held.ranges().to_vec())
    }

    async fn commit(&mut self, waiting: Vec<(Arrival, oneshot::Sender<Result<Appended, StoreError>>)>) {
        let (arrivals, answers): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        match self.write(&arrivals, false).await {
            Ok(appended) => {
                *self.shared.refusing.lock().unwrap_or_else(PoisonError::into_inner) = None;
                for (answer, appended) in answers.into_iter().zip(appended) {
                    // A sender that went away has its samples stored all the same.
                    drop(answer.send(Ok(appended)));
                }
            }
            Err(error) => {
                let reason = error.to_string();
                tracing::error!(%reason, "nothing is acknowledged: the store cannot write");
                *self.shared.refusing.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.clone());
                for answer in answers {
                    let refused = StoreError::Refused { reason: reason.clone(), retry_after: RETRY_AFTER };
                    drop(answer.send(Err(refused)));
                }
            }
        }
    }

    /// One transaction; with `rows` it brings every row up to its tick.
    async fn write(&mut self, arrivals: &[Arrival], rows: bool) -> Result<Vec<Appended>, StoreError> {
        let now = self.clock.wall_micros();
        let mut connection = self.pool.acquire().await?;
        let written = self.write_in(&mut connection, arrivals, rows, now).await;
        if written.is_err() {
            // After a failed fsync a connection's cache is not to be trusted: the next one is new.
            connection.close_on_drop();
            // What was learned in the failed transaction is not on the disk.
            self.streams = None;
        }
        written
    }

    async fn write_in(
        &mut self,
        connection: &mut SqliteConnection,
        arrivals: &[Arrival],
        rows: bool,
        now: i64,
    ) -> Result<Vec<Appended>, StoreError> {
        let streams = known(&mut self.streams, &mut self.last_tick, connection).await?;
        if arrivals.is_empty() && self.last_tick == self.shared.rows_up_to.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        let mut transaction = connection.begin().await?;
        // Everything new of this commit, arrival after arrival, where each one's part ends, and what is held then.
        let (mut fresh, mut ends) = (Vec::new(), Vec::new());
        let (mut duplicates, mut retracted) = (0, 0);
        for arrival in arrivals {
            let key = (arrival.instance.clone(), arrival.stream);
            let stream = stream_of(streams, &key, &mut transaction).await?;
            let mut settled = false;
            for sample in &arrival.samples {
                if self.shared.retractions.cover(&key.0, sample.wall_micros) {
                    // Settled, so that it is not sent for ever, and not stored.
                    settled = true;
                    retracted += u64::from(stream.held.insert(sample.sequence));
                } else if stream.held.insert(sample.sequence) {
                    fresh.push(Stored { instance: key.0.clone(), stream: key.1, sample: sample.clone() });
                } else {
                    duplicates += 1;
                }
            }
            ends.push(fresh.len());
            for sequence in &arrival.rejected {
                settled = true;
                stream.held.insert(*sequence);
            }
            stream.newest_micros = arrival.samples.iter().map(|sample| sample.wall_micros).max().unwrap_or(now);
            stream.dropped = arrival.dropped_total;
            let new = stream.boot_id != arrival.boot_id.as_str();
            if new {
                arrival.boot_id.as_str().clone_into(&mut stream.boot_id);
            }
            stream.row = if new || settled || stream.row == Row::Due { Row::Due } else { Row::Behind };
        }
        let tick = self.last_tick + i64::from(!fresh.is_empty());
        let behind = tick - self.shared.rows_up_to.load(Ordering::Relaxed);
        let rows = rows || behind >= TICKS_WITHOUT_ROWS || streams.len() > STREAMS_KNOWN;
        let due: Vec<&Key> = streams
            .iter()
            .filter(|(_, stream)| stream.row == Row::Due || (rows && stream.row == Row::Behind))
            .map(|(key, _)| key)
            .collect();
        for some in due.chunks(STREAMS_AT_ONCE) {
            let mut write = sqlx::QueryBuilder::<sqlx::Sqlite>::new(sql::STREAM_WRITE_INTO);
            write.push_values(
                some.iter().filter_map(|key| Some((key, streams.get(*key)?))),
                |mut row, (key, stream)| {
                    row.push_bind(key.0.as_str())
                        .push_bind(key.1.0.to_vec())
                        .push_bind(stream.boot_id.as_str())
                        .push_bind(checksum::held_to_row(&key.0, key.1, &stream.held))
                        .push_bind(i64::try_from(stream.dropped).unwrap_or(i64::MAX))
                        .push_bind(stream.newest_micros);
                },
            );
            write.push(sql::STREAM_WRITE_OVER);
            // As many texts as there are numbers of rows: not worth a place among the prepared.
            write.build().persistent(false).execute(&mut *transaction).await?;
        }
        if !fresh.is_empty() {
            let (first, last) = span(&fresh);
            sqlx::query(sql::TICK_WRITE)
                .bind(tick)
                .bind(now)
                .bind(first)
                .bind(last)
                .bind(i64::try_from(fresh.len()).unwrap_or(i64::MAX))
                .bind(pack(&fresh)?)
                .execute(&mut *transaction)
                .await?;
        }
        if rows {
            sqlx::query(sql::STREAM_ROWS_WRITE).bind(tick).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        self.last_tick = tick;
        if rows {
            self.shared.rows_up_to.store(tick, Ordering::Relaxed);
        }
        for stream in streams.values_mut().filter(|stream| rows || stream.row == Row::Due) {
            stream.row = Row::Written;
        }
        self.shared.duplicates.fetch_add(duplicates, Ordering::Relaxed);
        metrics::counter!("foreshadow_samples_stored_total").increment(fresh.len() as u64);
        metrics::counter!("foreshadow_samples_duplicate_total").increment(duplicates);
        metrics::counter!("foreshadow_samples_retracted_total").increment(retracted);
        let (mut fresh, mut start) = (fresh.into_iter(), 0);
        let appended = arrivals.iter().zip(ends).map(|(arrival, end)| {
            let key = (arrival.instance.clone(), arrival.stream);
            let held = streams.get(&key).map(|stream| stream.held.ranges().to_vec()).unwrap_or_default();
            // Moved and not copied: of every sample there is one in memory.
            let own: Vec<Stored> = fresh.by_ref().take(end - start).collect();
            start = end;
            Appended { held, fresh: own.into() }
        });
        let appended = appended.collect();
        if streams.len() > STREAMS_KNOWN {
            streams.clear();
        }
        Ok(appended)
    }
}

/// What is known of streams; read from the database where nothing is: what the ticks without rows say.
async fn known<'a>(
    streams: &'a mut Option<HashMap<Key, Stream>>,
    last_tick: &mut i64,
    connection: &mut SqliteConnection,
) -> Result<&'a mut HashMap<Key, Stream>, StoreError> {
    if streams.is_none() {
        let mut read = HashMap::new();
        let rows = sqlx::query(sql::STREAM_READ_NEWEST).bind(STREAMS_READ).fetch_all(&mut *connection).await;
        let rows = match rows.map_err(StoreError::from) {
            // One by one, as they come.
            Err(StoreError::Corrupt(_)) => Vec::new(),
            rows => rows?,
        };
        for row in &rows {
            // A row that cannot be read is the trouble of whom it is of, when they come.
            let (Ok(instance), Ok(stream)) = (row.try_get::<&str, _>(4), row.try_get::<&[u8], _>(5)) else { continue };
            let key = Id::new("instance", instance).ok().zip(StreamId::from_wire(stream).ok());
            read.extend(key.and_then(|key| stream_in(row, &key).ok().map(|stream| (key, stream))));
        }
        *last_tick = sqlx::query_scalar(sql::TICK_LAST).fetch_one(&mut *connection).await?;
        let mut up_to: i64 = sqlx::query_scalar(sql::STREAM_ROWS_READ).fetch_one(&mut *connection).await?;
        loop {
            let ticks = ticks(connection, Which::All, (up_to, i64::MAX), TICKS_AT_ONCE).await?;
            let Some(last) = ticks.last() else { break };
            up_to = last.number;
            for tick in ticks {
                let samples = match tick.blob.and_then(|blob| blob.unpack()) {
                    Ok(samples) => samples,
                    Err(error) => {
                        // Nobody can have them any more: what is sent again is stored again, and whoever else comes is served.
                        tracing::error!(%error, "its samples are lost, unless they are sent again");
                        continue;
                    }
                };
                for stored in samples {
                    let key = (stored.instance, stored.stream);
                    let stream = stream_of(&mut read, &key, connection).await?;
                    stream.held.insert(stored.sample.sequence);
                    stream.newest_micros = stream.newest_micros.max(stored.sample.wall_micros);
                    stream.row = Row::Behind;
                }
            }
        }
        *streams = Some(read);
    }
    Ok(streams.get_or_insert_with(HashMap::new))
}

/// Of a row that begins with `held, boot_id, dropped, newest_micros`.
fn stream_in(row: &sqlx::sqlite::SqliteRow, key: &Key) -> Result<Stream, StoreError> {
    Ok(Stream {
        held: checksum::held_from_row(&key.0, key.1, row.try_get(0)?)
            .ok_or_else(|| StoreError::Corrupt(format!("the ranges of {} {}", key.0, key.1)))?,
        boot_id: row.try_get(1)?,
        dropped: u64::try_from(row.try_get::<i64, _>(2)?).unwrap_or_default(),
        newest_micros: row.try_get(3)?,
        row: Row::Written,
    })
}

async fn stream_of<'a>(
    streams: &'a mut HashMap<Key, Stream>,
    key: &Key,
    connection: &mut SqliteConnection,
) -> Result<&'a mut Stream, StoreError> {
    if !streams.contains_key(key) {
        let query = sqlx::query(sql::STREAM_READ).bind(key.0.as_str()).bind(key.1.0.to_vec());
        let stream = match query.fetch_optional(connection).await? {
            None => Stream::default(),
            Some(row) => stream_in(&row, key)?,
        };
        streams.insert(key.clone(), stream);
    }
    Ok(streams.entry(key.clone()).or_default())
}
