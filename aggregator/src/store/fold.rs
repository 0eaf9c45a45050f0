//! Ticks into chunks: from what was written together to what is read together.
//!
//! An hour is folded once it is over and late samples had their time, all of it at one time: turn by turn, as memory allows, each
//! instance's samples into chunks, and at the end small chunks of an instance into one. A chunk costs the same whether it has
//! sixty samples or thousands, when it is written and each time it is read, so hours with few samples share one. How many
//! hours one may take is bounded, since it goes as a whole at the end of its retention. What cannot be read stays as it is, so that it
//! is found, until its retention ends, and holds nothing else up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use foreshadow_proto::convert::Id;

use super::blob::{Blob, Place};
use super::columns::pack_hour;
use super::embedded::{HOUR_MICROS, aside, span};
use super::tick::{Tick, Which, ticks};
use super::{Embedded, StoreError, Stored, sql};

/// An hour is folded this long after its end, µs. What comes later is folded with the next hour.
const SETTLE_MICROS: i64 = 600_000_000;
/// Most samples that hours share a chunk with: an hour at a sample a second, and what comes late to it. An hour that has more is one
/// chunk all the same.
const TOGETHER: usize = 4_096;
/// A chunk of at most so many samples is packed anew with others: each of its samples a few times in all.
const SMALL: usize = TOGETHER / 4;
/// A chunk takes at most this part of what is kept, so that its oldest sample is not kept much longer than that.
const PART_OF_RETENTION: i64 = 8;
/// And no more hours than this.
const MOST_HOURS: i64 = 24;
/// Samples that are folded in one turn: a bound on memory.
const AT_ONCE: i64 = 2_000_000;
/// Ticks that are read at once.
const TICKS_AT_ONCE: i64 = 2_000;
/// Instances whose small chunks are put together in one transaction: samples that arrive meanwhile wait for it.
const JOINED_AT_ONCE: usize = 500;

/// Hours of an instance that may share a chunk: the instance, and how many such windows the first of them is after 1970.
type Window = (Id, i64);

/// A chunk as it will be written.
struct Chunk {
    instance: Id,
    hour: i64,
    span: (i64, i64),
    samples: usize,
    body: Vec<u8>,
}

/// Hours that a chunk may take.
fn hours_together(retention_micros: i64) -> i64 {
    (retention_micros / HOUR_MICROS / PART_OF_RETENTION).clamp(1, MOST_HOURS)
}

fn hour_of(stored: &Stored) -> i64 {
    stored.sample.wall_micros.div_euclid(HOUR_MICROS)
}

/// Cuts one instance's samples, which are sorted by time, between hours: each part as long as [`TOGETHER`] allows.
fn cut(samples: &[Stored]) -> Vec<&[Stored]> {
    let mut parts = Vec::new();
    let (mut from, mut to) = (0, 0);
    for hour in samples.chunk_by(|a, b| hour_of(a) == hour_of(b)) {
        if to > from && to - from + hour.len() > TOGETHER {
            parts.extend(samples.get(from..to));
            from = to;
        }
        to += hour.len();
    }
    parts.extend(samples.get(from..to).filter(|part| !part.is_empty()));
    parts
}

fn pack_all(instance: &Id, mut samples: Vec<Stored>) -> Result<Vec<Chunk>, StoreError> {
    samples.sort_by_key(|stored| (stored.sample.wall_micros, stored.stream, stored.sample.sequence));
    let chunk = |part: &[Stored]| {
        Ok(Chunk {
            instance: instance.clone(),
            hour: part.first().map_or(0, hour_of),
            span: span(part),
            samples: part.len(),
            body: pack_hour(part)?,
        })
    };
    cut(&samples).into_iter().map(chunk).collect()
}

impl Embedded {
    /// Folds what has settled by `now`, µs since the epoch.
    pub(super) async fn fold(&self, now: i64) -> Result<(), StoreError> {
        let _only = self.shared.folding.lock().await;
        let (mut folded_up_to, mut windows) = (i64::MIN, BTreeSet::new());
        while let Some(last) = self.fold_turn(now, folded_up_to, &mut windows).await? {
            folded_up_to = last;
        }
        let windows: Vec<Window> = windows.into_iter().collect();
        for some in windows.chunks(JOINED_AT_ONCE) {
            self.join(some).await?;
        }
        Ok(())
    }

    fn hours_together(&self) -> i64 {
        hours_together(self.retained())
    }

    fn retained(&self) -> i64 {
        i64::try_from(self.shared.options.raw_retention.as_micros()).unwrap_or(i64::MAX)
    }

    /// Ticks that were written before `hour`, and those until `late` that have something of before it.
    async fn settled(&self, hour: i64, late: i64, within: (i64, i64)) -> Result<Vec<Tick>, StoreError> {
        let mut connection = self.reads.acquire().await?;
        ticks(&mut connection, Which::Settled { hour, late }, within, TICKS_AT_ONCE).await
    }

    /// Folds some of the ticks after `after` and says which was the last.
    async fn fold_turn(&self, now: i64, after: i64, windows: &mut BTreeSet<Window>) -> Result<Option<i64>, StoreError> {
        let settled = now - SETTLE_MICROS;
        let hour = settled - settled.rem_euclid(HOUR_MICROS);
        let known = self.shared.rows_up_to.load(Ordering::Relaxed);
        let up_to = self.shared.fold_up_to.load(Ordering::Relaxed).min(known);
        let settled = self.settled(hour, hour + SETTLE_MICROS, (after, up_to)).await?;
        let expired = now.saturating_sub(self.retained());
        // What another store did not take within the retention waits no longer.
        let mut ticks =
            if settled.is_empty() { self.settled(expired, expired, (after, known)).await? } else { settled };
        let mut samples = 0_i64;
        let turn = ticks.iter().position(|tick| {
            samples = samples.saturating_add(tick.samples);
            samples > AT_ONCE
        });
        // What is left comes with the next turn.
        ticks.truncate(turn.map_or(ticks.len(), |last| last + 1));
        let Some(last) = ticks.last().map(|tick| tick.number) else { return Ok(None) };
        let (together, shared) = (self.hours_together(), self.shared.clone());
        // Before the transaction, so that samples do not wait for it.
        let (chunks, done) = aside(move || {
            let (mut of_windows, mut done) = (BTreeMap::<Window, Vec<Stored>>::new(), Vec::new());
            for tick in ticks {
                let samples = match tick.blob.and_then(|blob| blob.unpack()) {
                    Ok(samples) => samples,
                    Err(error) if tick.last_micros.is_some_and(|last| last < expired) => {
                        tracing::error!(%error, "it has expired unread");
                        Vec::new()
                    }
                    Err(error) => {
                        tracing::error!(%error, "its samples are lost; `foreshadow store check` says what else is");
                        continue;
                    }
                };
                done.push(tick.number);
                for stored in samples {
                    if !shared.retractions.cover_stored(&stored) {
                        let window = (stored.instance.clone(), hour_of(&stored).div_euclid(together));
                        of_windows.entry(window).or_default().push(stored);
                    }
                }
            }
            let packed = of_windows.into_iter().map(|(window, samples)| Ok((pack_all(&window.0, samples)?, window)));
            Ok((packed.collect::<Result<Vec<_>, StoreError>>()?, done))
        })
        .await?;
        let mut transaction = self.writes.begin().await?;
        for (chunks, window) in chunks {
            for chunk in chunks {
                chunk.write(&mut transaction).await?;
            }
            windows.insert(window);
        }
        for tick in done {
            sqlx::query(sql::TICK_DELETE).bind(tick).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(Some(last))
    }

    /// Puts small chunks of each of these windows together.
    async fn join(&self, windows: &[Window]) -> Result<(), StoreError> {
        let together = self.hours_together();
        let (mut joined, mut replaced) = (Vec::new(), Vec::new());
        for (instance, window) in windows {
            let (from, to) = (window * together, (window + 1) * together);
            let small = sqlx::query(sql::CHUNK_SMALL).bind(instance.as_str()).bind(from).bind(to).bind(count(SMALL));
            let small = match small.fetch_all(&self.reads).await.map_err(StoreError::from) {
                Ok(small) => small,
                // They stay apart: whoever reads them is told.
                Err(StoreError::Corrupt(_)) => continue,
                Err(error) => return Err(error),
            };
            let blobs: Vec<Blob> = small.iter().filter_map(|row| Blob::of_chunk(instance.as_str(), row).ok()).collect();
            if blobs.len() < 2 {
                continue;
            }
            let (shared, of) = (self.shared.clone(), instance.clone());
            let read = aside(move || {
                let (mut samples, mut places) = (Vec::new(), Vec::new());
                for blob in blobs {
                    // It is told to whoever reads it.
                    let Ok(of_blob) = blob.unpack() else { continue };
                    samples.extend(of_blob);
                    places.push(blob.place);
                }
                samples.retain(|stored| !shared.retractions.cover_stored(stored));
                Ok((pack_all(&of, samples)?, places))
            });
            let (chunks, places) = read.await?;
            // As many as before: nothing is won.
            if chunks.len() < places.len() {
                joined.extend(chunks);
                replaced.extend(places);
            }
        }
        if replaced.is_empty() {
            return Ok(());
        }
        let mut transaction = self.writes.begin().await?;
        for place in replaced {
            let Place::Chunk { instance, hour, part } = place else { continue };
            let delete = sqlx::query(sql::CHUNK_DELETE).bind(instance).bind(hour).bind(part);
            delete.execute(&mut *transaction).await?;
        }
        for chunk in joined {
            chunk.write(&mut transaction).await?;
        }
        Ok(transaction.commit().await?)
    }
}

impl Chunk {
    async fn write(self, connection: &mut sqlx::SqliteConnection) -> Result<(), StoreError> {
        let Self { instance, hour, span: (first, last), samples, body } = self;
        let part: i64 = sqlx::query_scalar(sql::CHUNK_NEXT_PART)
            .bind(instance.as_str())
            .bind(hour)
            .fetch_one(&mut *connection)
            .await?;
        let write = sqlx::query(sql::CHUNK_WRITE).bind(instance.as_str()).bind(hour).bind(part);
        write.bind(first).bind(last).bind(count(samples)).bind(body).execute(connection).await?;
        Ok(())
    }
}

fn count(samples: usize) -> i64 {
    i64::try_from(samples).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use foreshadow_proto::convert::{Sample, StreamId};

    use super::*;

    fn hours(samples: &[(i64, usize)]) -> Vec<Stored> {
        let hour = |(hour, samples): &(i64, usize)| {
            let wall = hour * HOUR_MICROS;
            (0..*samples).map(move |n| (n as u64, wall + n as i64)).collect::<Vec<_>>()
        };
        let stored = |(sequence, wall_micros)| Stored {
            instance: Id::new("instance", "i-1").expect("an id"),
            stream: StreamId([1; 16]),
            sample: Sample {
                sequence,
                wall_micros,
                monotonic_micros: 0,
                covers_millis: 1_000,
                cpu_percent: None,
                cpu_busiest_percent: None,
                cpu_steal_percent: None,
                memory_used_bytes: None,
                memory_total_bytes: None,
                network: None,
            },
        };
        samples.iter().flat_map(hour).map(stored).collect()
    }

    #[test]
    fn parts_end_with_an_hour_and_have_no_more_samples_than_may_share_one() {
        let lengths = |samples: &[(i64, usize)]| cut(&hours(samples)).iter().map(|part| part.len()).collect::<Vec<_>>();
        assert_eq!(lengths(&[]), [0; 0]);
        assert_eq!(lengths(&[(1, 60), (2, 60), (5, 60)]), [180]);
        assert_eq!(lengths(&[(1, 3_600), (2, 3_600), (3, 496)]), [3_600, 4_096]);
        assert_eq!(lengths(&[(1, 60), (2, 9_000), (3, 60)]), [60, 9_000, 60]);
    }

    #[test]
    fn a_chunk_takes_a_day_or_an_eighth_of_what_is_kept() {
        assert_eq!(
            [0, 1, 8, 15, 16, 80, 720].map(|hours| hours_together(hours * HOUR_MICROS)),
            [1, 1, 1, 1, 2, 10, 24]
        );
    }
}
