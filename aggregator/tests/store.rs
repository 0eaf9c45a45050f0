//! The embedded store against a model: at most once, nothing acknowledged is lost, chunks keep all.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use foreshadow::clock::{Clock, SystemClock};
use foreshadow::store::{Arrival, Embedded, Field, Minute, Options, Retraction, SampleStore, StoreError, check};
use foreshadow_proto::convert::{Id, NetworkRates, Sample, StreamId};

const HOUR: i64 = 3_600_000_000;

fn options(directory: &Path) -> Options {
    let day = Duration::from_secs(86_400);
    Options { directory: directory.to_owned(), raw_retention: 30 * day, minute_retention: 400 * day }
}

async fn open(directory: &Path) -> Embedded {
    open_at(directory, Arc::new(SystemClock)).await
}

async fn open_at(directory: &Path, clock: Arc<dyn Clock>) -> Embedded {
    // The previous store of the same directory lets go of its lock when its writer has ended.
    for _ in 0..200 {
        match Embedded::open(options(directory), clock.clone(), [7; 16]).await {
            Ok(store) => return store,
            Err(StoreError::Open { problem, .. }) if problem.contains("another") => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the lock was never released");
}

/// A clock that stands where it is put, µs since the epoch.
#[derive(Debug, Default)]
struct Standing(AtomicI64);

impl Clock for Standing {
    fn wall_micros(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    fn boot_seconds(&self) -> i64 {
        self.wall_micros() / 1_000_000
    }
}

/// The beginning of a day, µs since the epoch.
const DAY: i64 = 20_000 * 24 * HOUR;
const MINUTE: i64 = 60_000_000;

/// Every chunk of an instance: how many samples, and how long after [`DAY`] the first and the last one were taken, µs.
async fn chunks(store: &Embedded, instance: &str) -> Vec<(i64, i64, i64)> {
    let read = "SELECT samples, first_micros, last_micros FROM chunk WHERE instance = $1 ORDER BY hour, part";
    let chunks: Vec<(i64, i64, i64)> =
        sqlx::query_as(read).bind(instance).fetch_all(&store.pool()).await.expect("chunks");
    chunks.into_iter().map(|(samples, first, last)| (samples, first - DAY, last - DAY)).collect()
}

fn id(name: &str) -> Id {
    Id::new("id", name).expect("an id")
}

fn sample(sequence: u64, wall_micros: i64) -> Sample {
    #[allow(clippy::cast_precision_loss)]
    let cpu = (sequence % 100) as f64;
    Sample {
        sequence,
        wall_micros,
        monotonic_micros: sequence,
        covers_millis: 1_000,
        cpu_percent: Some(cpu),
        cpu_busiest_percent: None,
        cpu_steal_percent: None,
        memory_used_bytes: sequence.is_multiple_of(2).then_some(sequence),
        memory_total_bytes: None,
        network: None,
    }
}

fn arrival(instance: &str, stream: u8, samples: Vec<Sample>) -> Arrival {
    Arrival {
        instance: id(instance),
        stream: StreamId([stream; 16]),
        boot_id: id("boot"),
        samples,
        rejected: Vec::new(),
        dropped_total: 0,
    }
}

#[tokio::test]
async fn repeats_out_of_order_and_reopening_store_each_sample_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let now = SystemClock.wall_micros();
    let mut model = BTreeMap::new();
    for round in 0..5_u64 {
        let store = open(directory.path()).await;
        for step in 0..20_u64 {
            // Overlapping windows, sent backwards every other time.
            let from = 1 + (round * 20 + step) * 3;
            let mut samples: Vec<Sample> = (from..from + 9).map(|n| sample(n, now + n as i64)).collect();
            if step % 2 == 0 {
                samples.reverse();
            }
            model.extend(samples.iter().map(|sample| (sample.sequence, sample.clone())));
            let held = store.append(arrival("i-1", 1, samples)).await.expect("stored").held;
            assert_eq!(held, [1..=from + 8]);
        }
        drop(store);
    }
    let store = open(directory.path()).await;
    let stored = store.samples(&id("i-1"), 0, i64::MAX).await.expect("read");
    let found: Vec<Sample> = stored.into_iter().map(|stored| stored.sample).collect();
    assert_eq!(found, model.into_values().collect::<Vec<_>>());
}

#[tokio::test]
async fn rejected_sequences_are_settled_and_other_streams_are_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).await;
    let mut first = arrival("i-1", 1, vec![sample(1, 1), sample(3, 3)]);
    first.rejected = vec![2];
    assert_eq!(store.append(first).await.expect("stored").held, [1..=3]);
    assert_eq!(store.append(arrival("i-1", 2, vec![sample(2, 2)])).await.expect("stored").held, [2..=2]);
    assert_eq!(store.held(&id("i-1"), StreamId([1; 16])).await.expect("held"), [1..=3]);
    assert_eq!(store.held(&id("i-2"), StreamId([1; 16])).await.expect("held"), []);
    assert_eq!(store.samples(&id("i-1"), 0, 10).await.expect("read").len(), 3);
}

/// Rows of streams are behind the ticks, and what is held is known all the same: after a start, after everything was folded, and
/// for samples that no tick names.
#[tokio::test]
async fn what_is_held_is_known_after_any_start_although_rows_are_written_seldom() {
    let directory = tempfile::tempdir().expect("a directory");
    let now = SystemClock.wall_micros();
    let numbers = |range: std::ops::RangeInclusive<u64>| range.map(|n| sample(n, now + n as i64)).collect::<Vec<_>>();
    let held = async |store: &Embedded| store.held(&id("i-1"), StreamId([1; 16])).await.expect("held");
    let store = open(directory.path()).await;
    store.append(arrival("i-1", 1, numbers(1..=3))).await.expect("stored");
    store.append(arrival("i-1", 1, numbers(4..=6))).await.expect("stored");
    let row = |store: &Embedded| {
        let pool = store.pool();
        async move { sqlx::query_scalar("SELECT held FROM stream").fetch_one(&pool).await.expect("a row") }
    };
    let first: Vec<u8> = row(&store).await;
    // The range, and behind it a checksum.
    assert_eq!(first[..16], [1_u64, 3].map(u64::to_le_bytes).concat(), "the second batch wrote no row");
    drop(store);
    let store = open(directory.path()).await;
    assert_eq!(held(&store).await, [1..=6]);
    let again = store.append(arrival("i-1", 1, numbers(3..=7))).await.expect("stored");
    assert_eq!((again.held, again.fresh.len()), (vec![1..=7], 1));
    // Settled and in no tick: the row says it at once.
    let mut refused = arrival("i-1", 1, Vec::new());
    refused.rejected = vec![8, 9];
    store.append(refused).await.expect("settled");
    drop(store);
    let store = open(directory.path()).await;
    assert_eq!(held(&store).await, [1..=9]);
    // Everything is folded, and the next tick is none that rows seem to cover.
    store.maintain(now + 3 * HOUR).await.expect("folds");
    assert!(check::check(directory.path()).await.expect("reads").is_whole());
    drop(store);
    let store = open(directory.path()).await;
    store.append(arrival("i-1", 1, numbers(10..=12))).await.expect("stored");
    drop(store);
    let store = open(directory.path()).await;
    assert_eq!(held(&store).await, [1..=12]);
    assert_eq!(store.append(arrival("i-1", 1, numbers(10..=12))).await.expect("stored").fresh.len(), 0);
    assert_eq!(store.samples(&id("i-1"), 0, i64::MAX).await.expect("read").len(), 10);
    store.close().await;
    assert!(check::check(directory.path()).await.expect("reads").is_whole());
}

#[tokio::test]
async fn hours_are_folded_and_late_samples_are_read_with_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).await;
    let now = SystemClock.wall_micros();
    for instance in ["i-1", "i-2"] {
        let samples = (1..=300).map(|n| sample(n, now - 3 * HOUR + n as i64 * 30_000_000)).collect();
        store.append(arrival(instance, 1, samples)).await.expect("stored");
    }
    let before = store.samples(&id("i-1"), 0, i64::MAX).await.expect("read");
    store.maintain(now + 2 * HOUR).await.expect("folds");
    assert_eq!(store.samples(&id("i-1"), 0, i64::MAX).await.expect("read"), before);

    let late = vec![sample(900, now - 3 * HOUR + 1)];
    store.append(arrival("i-1", 1, late)).await.expect("stored");
    store.maintain(now + 3 * HOUR).await.expect("folds");
    assert_eq!(store.samples(&id("i-1"), 0, i64::MAX).await.expect("read").len(), 301);
    let part = store.samples(&id("i-1"), now - 3 * HOUR, now - 3 * HOUR + 2).await.expect("read");
    assert_eq!(part.iter().map(|stored| stored.sample.sequence).collect::<Vec<_>>(), [900]);

    store.maintain(now + 40 * 24 * HOUR).await.expect("expires");
    assert_eq!(store.samples(&id("i-1"), 0, i64::MAX).await.expect("read"), []);
}

/// Ten samples a minute, maintained every minute, as in service: nothing of an hour is folded before all of it is.
#[tokio::test]
async fn an_hour_is_folded_once_and_what_comes_late_with_the_next() {
    let directory = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(Standing::default());
    let store = Embedded::open(options(directory.path()), clock.clone(), [7; 16]).await.expect("opens");
    let (mut changes, mut before) = (Vec::new(), Vec::new());
    for minute in 0..=130_i64 {
        clock.0.store(DAY + minute * MINUTE, Ordering::Relaxed);
        let number = |n: i64| u64::try_from(1 + minute * 10 + n).expect("a sequence");
        // Taken in the minute that has just ended; that of 40 arrives in time, that of 50 does not.
        let taken = |n: i64| (number(n), DAY + (minute - 1) * MINUTE + n * 6_000_000);
        let mut samples: Vec<Sample> = (0..10).map(taken).map(|(number, wall)| sample(number, wall)).collect();
        if minute == 69 {
            samples.push(sample(5_000, DAY + 40 * MINUTE));
        }
        if minute == 71 {
            samples.push(sample(5_001, DAY + 50 * MINUTE));
        }
        store.append(arrival("i-1", 1, samples)).await.expect("stored");
        store.maintain(clock.wall_micros()).await.expect("maintained");
        let now = chunks(&store, "i-1").await;
        if now != before {
            changes.push(minute);
            before = now;
        }
    }
    // The minute that ended with the day before, and then hour after hour, each ten minutes after its end.
    assert_eq!(changes, [10, 70, 130]);
    let ended: Vec<i64> = before.iter().map(|(_, _, last)| *last).collect();
    assert!(ended.iter().all(|last| *last < 2 * HOUR + 10 * MINUTE), "{before:?}");
    assert_eq!(store.samples(&id("i-1"), 0, i64::MAX).await.expect("read").len(), 1_312);
    store.close().await;
    assert!(check::check(directory.path()).await.expect("reads").is_whole());
}

#[tokio::test]
async fn hours_with_few_samples_share_a_chunk_of_a_day_at_most_and_full_ones_stay_as_they_are() {
    let directory = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(Standing::default());
    let store = Embedded::open(options(directory.path()), clock.clone(), [7; 16]).await.expect("opens");
    let mut stored = BTreeMap::<&str, Vec<Sample>>::new();
    for hour in 0..26_i64 {
        clock.0.store(DAY + (hour + 1) * HOUR, Ordering::Relaxed);
        for (instance, step) in [("i-1", MINUTE), ("i-2", 1_000_000)] {
            let taken = |n: i64| (u64::try_from(1 + hour * HOUR / step + n).expect("a sequence"), n * step);
            let samples = (0..HOUR / step).map(taken);
            let samples: Vec<Sample> = samples.map(|(n, after)| sample(n, DAY + hour * HOUR + after)).collect();
            store.append(arrival(instance, 1, samples.clone())).await.expect("stored");
            stored.entry(instance).or_default().extend(samples);
        }
        store.maintain(clock.wall_micros() + HOUR).await.expect("folds");
    }
    let few = chunks(&store, "i-1").await;
    assert_eq!(few.iter().map(|chunk| chunk.0).sum::<i64>(), 26 * 60);
    assert!(few.len() <= 4, "{few:?}");
    assert!(few.iter().all(|(_, first, last)| first / (24 * HOUR) == last / (24 * HOUR)), "within a day: {few:?}");
    let full = chunks(&store, "i-2").await;
    assert!(full.len() == 26 && full.iter().all(|chunk| chunk.0 == 3_600), "an hour each: {full:?}");
    for (instance, samples) in stored {
        let found = store.samples(&id(instance), 0, i64::MAX).await.expect("read");
        assert_eq!(found.into_iter().map(|stored| stored.sample).collect::<Vec<_>>(), samples);
    }
    store.close().await;
    assert!(check::check(directory.path()).await.expect("reads").is_whole());
}

#[tokio::test]
async fn minutes_replace_and_gaps_stay_absent() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).await;
    let minute = |start, gross_mean| Minute {
        group: id("web"),
        metric: "cpu".to_owned(),
        start,
        gross_mean,
        gross_maximum: gross_mean + 1.0,
        weight: 3.0,
        serving: 3,
        reporting: 2,
        lower_bound: true,
    };
    store.put_minutes(&[minute(60, 1.0), minute(180, 3.0)]).await.expect("written");
    store.put_minutes(&[minute(60, 2.0)]).await.expect("written");
    assert_eq!(store.minutes(&id("web"), "cpu", 0, 200).await.expect("read"), [minute(60, 2.0), minute(180, 3.0)]);
    assert_eq!(store.minutes(&id("web"), "memory", 0, 200).await.expect("read"), []);
}

#[tokio::test]
async fn two_processes_on_one_directory_refuse() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).await;
    let second = Embedded::open(options(directory.path()), Arc::new(SystemClock), [8; 16]).await;
    assert!(second.expect_err("locked").to_string().contains("another foreshadow process"));
    assert_eq!(store.id().0, [7; 16]);
}

/// A writer that began to read before another one wrote must wait, not fail.
#[tokio::test(flavor = "multi_thread")]
async fn writers_beside_the_samples_do_not_lock_them_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).await;
    let other = {
        let store = store.clone();
        tokio::spawn(async move {
            for start in 0..400 {
                let minute = Minute {
                    group: id("web"),
                    metric: "cpu".to_owned(),
                    start: start * 60,
                    gross_mean: 1.0,
                    gross_maximum: 1.0,
                    weight: 1.0,
                    serving: 1,
                    reporting: 1,
                    lower_bound: false,
                };
                store.put_minutes(&[minute]).await.expect("a minute is written");
            }
        })
    };
    // A new instance each time: its ranges are read before they are written.
    for number in 0..30 {
        let samples = vec![sample(1, 1_800_000_000_000_000)];
        store.append(arrival(&format!("i-{number}"), 1, samples)).await.expect("a sample is written");
    }
    other.await.expect("no panic");
}

/// Whoever forwards ticks remembers a number: a number that was given is never given again, or the
/// new ticks would pass for forwarded.
#[tokio::test]
async fn a_row_that_cannot_be_read_after_a_start_is_the_trouble_of_whom_it_is_of_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let now = SystemClock.wall_micros();
    let store = open(directory.path()).await;
    for instance in ["i-1", "i-2"] {
        store.append(arrival(instance, 1, vec![sample(1, now)])).await.expect("stored");
    }
    // From here on rows say everything, and no tick is asked.
    store.maintain(now).await.expect("maintained");
    sqlx::query("UPDATE stream SET held = x'01' WHERE instance = 'i-2'").execute(&store.pool()).await.expect("damaged");
    drop(store);
    let store = open(directory.path()).await;
    assert_eq!(store.append(arrival("i-1", 1, vec![sample(2, now)])).await.expect("stored").held, [1..=2]);
    let refused = store.held(&id("i-2"), StreamId([1; 16])).await.expect_err("it does not say what is held");
    assert!(refused.to_string().contains("i-2"), "{refused}");
}

/// SQLite ends a transaction by itself when the disk is full.
#[tokio::test]
async fn what_is_acknowledged_after_others_met_a_full_disk_is_on_the_disk() {
    use sqlx::{Connection as _, Executor as _};

    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).await;
    for _ in 0..3 {
        let mut transaction = store.pool().begin().await.expect("begins");
        transaction.execute("PRAGMA max_page_count = 1").await.expect("full from now on");
        let write = sqlx::query("INSERT INTO alarm_change (place, body) VALUES (1, $1)").bind("x".repeat(1 << 20));
        let full = write.execute(&mut *transaction).await.expect_err("it is full");
        assert!(full.to_string().contains("full"), "{full}");
        drop(transaction);
        let mut connection = store.pool().acquire().await.expect("a connection");
        assert!(!connection.is_in_transaction(), "what is written now would be part of one that never ends");
        connection.execute("PRAGMA max_page_count = 1000000").await.expect("room again");
    }
    store.append(arrival("i-1", 1, vec![sample(1, SystemClock.wall_micros())])).await.expect("stored");
    let file = format!("sqlite://{}/foreshadow.db", directory.path().display());
    let mut other = sqlx::SqliteConnection::connect(&file).await.expect("opens");
    let ticks: i64 = sqlx::query_scalar("SELECT count(*) FROM tick").fetch_one(&mut other).await.expect("counts");
    assert_eq!(ticks, 1, "as whoever comes after a crash sees it");
}

#[tokio::test]
async fn tick_numbers_go_on_after_every_tick_was_folded() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).await;
    // What a forwarder leaves behind when all its ticks are in hour chunks.
    let forwarded =
        sqlx::query("INSERT INTO forward (name, tick) VALUES ('influxdb', 146)").execute(&store.pool()).await;
    forwarded.expect("written");
    drop(store);
    let store = open(directory.path()).await;
    store.append(arrival("i-1", 1, vec![sample(1, 1_800_000_000_000_000)])).await.expect("stored");
    let tick: i64 = sqlx::query_scalar("SELECT MAX(tick) FROM tick").fetch_one(&store.pool()).await.expect("a tick");
    assert_eq!(tick, 147);
}

/// A store with both forms of samples in it, closed.
async fn filled(directory: &Path) {
    let store = open(directory).await;
    let now = SystemClock.wall_micros();
    let hour = (now - 3 * HOUR).div_euclid(HOUR) * HOUR;
    for instance in ["i-1", "i-2"] {
        let samples = (1..=100).map(|n| sample(n, hour + n as i64 * 1_000_000)).collect();
        store.append(arrival(instance, 1, samples)).await.expect("stored");
    }
    store.maintain(now + 2 * HOUR).await.expect("folds");
    store.append(arrival("i-1", 1, vec![sample(101, now), sample(102, now + 1)])).await.expect("stored");
    store.append(arrival("i-3", 2, vec![sample(1, now)])).await.expect("stored");
    store.close().await;
}

#[tokio::test]
async fn whatever_is_wrong_with_a_store_is_found() {
    let whole = tempfile::tempdir().expect("a directory");
    filled(whole.path()).await;
    let found = check::check(whole.path()).await.expect("reads");
    assert!(found.is_whole(), "{found:?}");
    assert_eq!((found.samples, found.streams, found.chunks, found.ticks), (203, 3, 2, 2));
    for (change, said) in [
        ("UPDATE tick SET body = substr(body, 1, 40) WHERE tick = 4", "tick 4"),
        ("UPDATE tick SET samples = 7 WHERE tick = 4", "its row says"),
        ("UPDATE chunk SET last_micros = last_micros + 1 WHERE instance = 'i-2'", "chunk i-2"),
        ("UPDATE chunk SET instance = 'i-9' WHERE instance = 'i-2'", "another instance"),
        ("DELETE FROM stream WHERE instance = 'i-2'", "none are held"),
        ("UPDATE stream SET held = substr(held, 1, 7) WHERE instance = 'i-1'", "cannot be read"),
        ("UPDATE stream SET held = x'01000000000000000200000000000000' WHERE instance = 'i-1'", "there and not held"),
        (
            "INSERT INTO tick SELECT tick + 10, written_micros, first_micros, last_micros, samples, body FROM tick",
            "twice",
        ),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::copy(whole.path().join("foreshadow.db"), directory.path().join("foreshadow.db")).expect("copied");
        let url = format!("sqlite:{}", directory.path().join("foreshadow.db").display());
        let pool = sqlx::SqlitePool::connect(&url).await.expect("opens");
        sqlx::query(change).execute(&pool).await.expect("changed");
        pool.close().await;
        let found = check::check(directory.path()).await.expect("reads");
        assert!(found.faults.iter().any(|fault| fault.contains(said)), "{change}: {found:?}");
    }
    // Pages that a disk gave back wrong.
    let directory = tempfile::tempdir().expect("a directory");
    let mut bytes = std::fs::read(whole.path().join("foreshadow.db")).expect("read");
    for page in bytes.chunks_mut(4_096).skip(2).step_by(3) {
        page.iter_mut().for_each(|byte| *byte ^= 0x55);
    }
    std::fs::write(directory.path().join("foreshadow.db"), bytes).expect("written");
    let found = check::check(directory.path()).await.expect("reads");
    assert!(!found.is_whole());
    let nowhere = check::check(&directory.path().join("nowhere")).await.expect_err("nothing to check").to_string();
    assert!(nowhere.contains("no store there"), "{nowhere}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_beside_a_busy_store_is_whole_and_opens_as_the_same_store() {
    let directory = tempfile::tempdir().expect("a directory");
    filled(directory.path()).await;
    let store = open(directory.path()).await;
    let now = SystemClock.wall_micros();
    let busy = {
        let store = store.clone();
        tokio::spawn(async move {
            for number in 0..10_u64 {
                let samples = (1..=200).map(|n| sample(number * 200 + n, now)).collect();
                store.append(arrival("i-busy", 5, samples)).await.expect("stored");
            }
        })
    };
    let copy = tempfile::tempdir().expect("a directory");
    let mut counts = Vec::new();
    for number in 0..3 {
        let to = copy.path().join(format!("{number}.db"));
        let found = check::backup(directory.path(), &to).await.expect("copies");
        assert!(found.is_whole() && found.samples >= 203, "{found:?}");
        counts.push(found.samples);
        let again = check::backup(directory.path(), &to).await.expect_err("refused").to_string();
        assert!(again.contains("overwrites nothing"), "{again}");
    }
    busy.await.expect("no panic");
    assert!(counts.is_sorted(), "{counts:?}");
    std::fs::rename(copy.path().join("0.db"), copy.path().join("foreshadow.db")).expect("moved");
    let restored = open(copy.path()).await;
    assert_eq!(restored.id(), store.id());
    assert_eq!(restored.samples(&id("i-2"), 0, i64::MAX).await.expect("reads").len(), 100);
    assert_eq!(restored.held(&id("i-1"), StreamId([1; 16])).await.expect("reads"), [1..=102]);
}

#[tokio::test]
async fn what_was_retracted_is_in_no_answer_and_does_not_come_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).await;
    let now = SystemClock.wall_micros();
    let begin = now - 3 * HOUR;
    let all = || (1..=300).map(|n| sample(n, begin + n as i64 * 30_000_000)).collect::<Vec<_>>();
    for instance in ["i-1", "i-2"] {
        store.append(arrival(instance, 1, all())).await.expect("stored");
    }
    // The first hour is folded, the rest is in ticks: both hide what is retracted.
    store.maintain(now - 2 * HOUR + 700_000_000).await.expect("folds");
    let retraction = |from: i64, to: i64| Retraction {
        instance: id("i-1"),
        from_micros: begin + from * 30_000_000,
        to_micros: begin + to * 30_000_000,
        at_micros: now,
        reason: "it lied".to_owned(),
    };
    let (first, second) = (retraction(50, 250), retraction(200, 260));
    assert!(store.retract(&first).await.expect("retracts"));
    assert!(!store.retract(&first).await.expect("retracts"), "once");
    assert!(store.retract(&second).await.expect("retracts"), "they may overlap");
    let expected: Vec<u64> = (1..50).chain(260..=300).collect();
    let sequences = async |store: &Embedded, instance: &str| -> Vec<u64> {
        let stored = store.samples(&id(instance), 0, i64::MAX).await.expect("read");
        stored.into_iter().map(|stored| stored.sample.sequence).collect()
    };
    assert_eq!(sequences(&store, "i-1").await, expected);
    assert_eq!(sequences(&store, "i-2").await.len(), 300, "the neighbour is not touched");
    let among = begin + 100 * 30_000_000;

    // Replays, what was still on its way, and another stream: settled, and not there.
    let replay = store.append(arrival("i-1", 1, all())).await.expect("settled");
    assert_eq!((replay.held, replay.fresh.len()), (vec![1..=300], 0));
    let late = vec![sample(301, among), sample(302, now)];
    let late = store.append(arrival("i-1", 1, late)).await.expect("settled");
    assert_eq!((late.held, late.fresh.len()), (vec![1..=302], 1));
    let other = store.append(arrival("i-1", 2, vec![sample(1, among + 1)])).await.expect("settled");
    assert_eq!((other.held, other.fresh.len()), (vec![1..=1], 0));

    // The same after everything is folded, and by another process.
    store.maintain(now + 2 * HOUR).await.expect("folds");
    drop(store);
    let store = open(directory.path()).await;
    let expected: Vec<u64> = expected.into_iter().chain([302]).collect();
    assert_eq!(sequences(&store, "i-1").await, expected);
    let again = store.append(arrival("i-1", 3, vec![sample(9, among + 2)])).await.expect("settled");
    assert_eq!(again.fresh.len(), 0);
    assert!(check::check(directory.path()).await.expect("checked").is_whole());

    // Whoever makes minutes is told until they say it is done.
    assert_eq!(store.unmade_retractions().await.expect("read"), [first.clone(), second.clone()]);
    store.set_remade(&first).await.expect("written");
    assert_eq!(store.unmade_retractions().await.expect("read"), [second]);
    let minute = |start: i64, reporting: u32| Minute {
        group: id("web"),
        metric: "cpu".to_owned(),
        start,
        gross_mean: 1.0,
        gross_maximum: 1.0,
        weight: 1.0,
        serving: 1,
        reporting,
        lower_bound: false,
    };
    store.put_minutes(&[minute(60, 1), minute(120, 0)]).await.expect("written");
    store.delete_minutes(&id("web"), "cpu", &[60, 120]).await.expect("deleted");
    let left = store.minutes(&id("web"), "cpu", 0, 1_000).await.expect("read");
    assert_eq!(left, [minute(120, 0)], "what was imported stays");
}

/// Of chunks and ticks alike, absent where the sample has none, and without what was taken back.
#[tokio::test]
async fn readings_are_those_of_the_samples() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).await;
    // The hours of one day.
    let begin = (SystemClock.wall_micros() / (24 * HOUR) - 1) * 24 * HOUR;
    for hour in 0..3_u64 {
        let minutes = (1..=60).map(|n| (60 * hour + n, begin + (60 * hour + n - 1) as i64 * 60_000_000));
        let mut samples: Vec<Sample> = minutes.map(|(n, wall)| sample(n, wall)).collect();
        for sample in samples.iter_mut().step_by(7) {
            sample.cpu_percent = None;
            sample.network = Some(NetworkRates { in_bytes: 0.3, out_bytes: 1e9, ..NetworkRates::default() });
        }
        store.append(arrival("i-1", 1, samples.clone())).await.expect("stored");
        store.append(arrival("i-2", 2, samples)).await.expect("stored");
        store.maintain(SystemClock.wall_micros() + 2 * HOUR).await.expect("folds");
    }
    assert_eq!(chunks(&store, "i-1").await.len(), 1);
    // One hour as ticks beside the chunks, and some of one instance taken back.
    let newest = (181..=190).map(|n| sample(n, begin + (n - 1) as i64 * 60_000_000)).collect();
    store.append(arrival("i-2", 2, newest)).await.expect("stored");
    let retraction = Retraction {
        instance: id("i-2"),
        from_micros: begin + HOUR,
        to_micros: begin + HOUR + 600_000_000,
        at_micros: begin,
        reason: "a test".to_owned(),
    };
    assert!(store.retract(&retraction).await.expect("retracted"));
    let fields = [Field::CoversMillis, Field::CpuPercent, Field::MemoryUsedBytes, Field::OutBytes];
    let instances = ["i-2", "i-3", "i-1"].map(id);
    for (from, to) in [(begin, begin + 24 * HOUR), (begin + HOUR - 90_000_000, begin + HOUR + 900_000_000)] {
        let found = store.readings(&instances, &fields, from, to).await.expect("reads");
        assert_eq!(found.len(), 3);
        for (instance, readings) in instances.iter().zip(found) {
            let samples = store.samples(instance, from, to).await.expect("reads");
            let walls: Vec<i64> = samples.iter().map(|stored| stored.sample.wall_micros).collect();
            assert_eq!(readings.wall_micros, walls, "{instance}");
            let of = |value: fn(&Sample) -> Option<f64>| samples.iter().map(|it| value(&it.sample)).collect::<Vec<_>>();
            assert_eq!(
                readings.values,
                [
                    of(|it| Some(f64::from(it.covers_millis))),
                    of(|it| it.cpu_percent),
                    of(|it| it.memory_used_bytes.map(|bytes| bytes as f64)),
                    of(|it| it.network.map(|rates| rates.out_bytes)),
                ]
            );
        }
    }
    assert_eq!(store.samples(&id("i-2"), begin, begin + 24 * HOUR).await.expect("reads").len(), 180);
    store.close().await;
    let findings = check::check(directory.path()).await.expect("reads");
    assert!(findings.is_whole(), "{:?}", findings.faults);
}

/// Two bits are flipped in each blob: it is named, by whoever reads it and by the check, and everything else is read as it was.
#[tokio::test]
async fn a_damaged_chunk_is_named_with_instance_and_hour_and_holds_nothing_else_up() {
    let directory = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(Standing(AtomicI64::new(DAY)));
    let store = Embedded::open(options(directory.path()), clock.clone(), [7; 16]).await.expect("opens");
    let numbers = |range: std::ops::Range<u64>| -> Vec<Sample> {
        range.map(|n| sample(n, DAY + n as i64 * 10_000_000)).collect()
    };
    for instance in ["i-1", "i-2"] {
        store.append(arrival(instance, 1, numbers(1..361))).await.expect("stored");
    }
    store.maintain(DAY + 2 * HOUR).await.expect("folds");
    clock.0.store(DAY + 2 * HOUR, Ordering::Relaxed);
    let flip = async |read: &'static str, write: &'static str| {
        let mut body: Vec<u8> = sqlx::query_scalar(read).fetch_one(&store.pool()).await.expect("a body");
        let at = body.len() - 9;
        body[at] ^= 0b11;
        sqlx::query(write).bind(body).execute(&store.pool()).await.expect("damaged");
    };
    let newest = (
        "SELECT body FROM tick ORDER BY tick DESC LIMIT 1",
        "UPDATE tick SET body = $1 WHERE tick = (SELECT MAX(tick) FROM tick)",
    );
    let chunk = "SELECT body FROM chunk WHERE instance = 'i-1'";
    flip(chunk, "UPDATE chunk SET body = $1 WHERE instance = 'i-1'").await;
    let refused = |error: StoreError| error.to_string();
    let named = "chunk i-1 2024-10-04T00:00:00Z part 1: its checksum is another";
    let whole = store.samples(&id("i-1"), 0, i64::MAX).await.expect_err("damaged");
    assert!(refused(whole).contains(named));
    let both = [id("i-1"), id("i-2")];
    let read = store.readings(&both, &[Field::CpuPercent], 0, i64::MAX).await.expect_err("damaged");
    assert!(refused(read).contains(named));
    let found = store.readings(&both[1..], &[Field::CpuPercent], 0, i64::MAX).await.expect("the neighbour is whole");
    assert_eq!(found[0].wall_micros.len(), 360);

    // Commits as well; hours are folded past both, and the chunk that is damaged is not put together with the next.
    store.append(arrival("i-1", 1, numbers(721..731))).await.expect("stored");
    store.append(arrival("i-2", 1, numbers(721..731))).await.expect("stored");
    store.append(arrival("i-2", 1, numbers(731..741))).await.expect("stored");
    flip(newest.0, newest.1).await;
    let tick = store.samples(&id("i-2"), DAY + 2 * HOUR, i64::MAX).await.expect_err("damaged");
    assert!(refused(tick).contains("tick 5: its checksum is another"));
    store.maintain(DAY + 4 * HOUR).await.expect("folds");
    let later = store.samples(&id("i-1"), DAY + 2 * HOUR, i64::MAX).await.expect_err("the commit may be of anybody");
    assert!(refused(later).contains("tick 5"));
    let before = store.samples(&id("i-2"), 0, DAY + 2 * HOUR + 1).await.expect("whole");
    assert_eq!(before.len(), 360);
    let findings = check::check(directory.path()).await.expect("reads");
    assert_eq!(findings.faults_total, 2, "{findings:?}");
    assert!(findings.faults[0].contains(named) && findings.faults[1].contains("tick 5"), "{findings:?}");

    // A start over a commit that says no more what is held: others are served, and what is sent again is stored again.
    store.append(arrival("i-2", 1, numbers(741..751))).await.expect("stored");
    flip(newest.0, newest.1).await;
    store.append(arrival("i-2", 1, numbers(751..752))).await.expect("stored");
    drop(store);
    let store = open_at(directory.path(), clock).await;
    assert_eq!(store.held(&id("i-2"), StreamId([1; 16])).await.expect("known"), [1..=360, 721..=740, 751..=751]);
    let again = store.append(arrival("i-2", 1, numbers(741..752))).await.expect("stored");
    assert_eq!(again.fresh.len(), 10);
    // When its time is over it goes like any other.
    store.maintain(DAY + 40 * 24 * HOUR).await.expect("expires");
    assert!(check::check(directory.path()).await.expect("reads").is_whole());
}

/// Where these bytes are in a file that has them once.
fn only_place(bytes: &[u8], wanted: &[u8]) -> usize {
    let mut places = bytes.windows(wanted.len()).enumerate().filter(|(_, found)| *found == wanted).map(|(at, _)| at);
    let place = places.next().expect("it is there");
    assert_eq!(places.next(), None, "once");
    place
}

/// The same store with such bits flipped, one after the other.
fn with_each_bit(bytes: &[u8], range: std::ops::Range<usize>) -> impl Iterator<Item = (usize, tempfile::TempDir)> + '_ {
    (range.start * 8..range.end * 8).map(|bit| {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("foreshadow.db"), flipped).expect("written");
        (bit, directory)
    })
}

/// Each bit of what says of which types a row's columns are: the row may be lost, and SQLite may refuse it as a whole. Other commits
/// are folded all the same, agents are acknowledged after a start, and the check goes on to the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_the_types_of_a_row_costs_that_commit_alone() {
    let whole = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(Standing(AtomicI64::new(DAY)));
    let store = Embedded::open(options(whole.path()), clock.clone(), [7; 16]).await.expect("opens");
    let ten = |first: u64| (first..first + 10).map(|n| sample(n, DAY + n as i64 * 1_000_000)).collect::<Vec<_>>();
    let written = DAY + 123_456_789;
    for (instance, at) in [("i-1", DAY), ("i-2", written), ("i-3", DAY + 5)] {
        clock.0.store(at, Ordering::Relaxed);
        store.append(arrival(instance, 1, ten(1))).await.expect("stored");
    }
    store.close().await;
    drop(store);
    let bytes = std::fs::read(whole.path().join("foreshadow.db")).expect("read");
    // The second commit's number is one byte, then comes when it was written; the types of six columns are before.
    let number = only_place(&bytes, &[&[2][..], &written.to_be_bytes()].concat());
    let types = number - 7..number;
    assert_eq!(bytes[types.start..types.start + 5], [1, 6, 6, 6, 1], "a byte, three times eight, a byte, and a body");
    let mut lost = 0;
    for (bit, directory) in with_each_bit(&bytes, types) {
        let findings = check::check(directory.path()).await.expect("reads");
        let store = Embedded::open(options(directory.path()), clock.clone(), [7; 16]).await.expect("opens");
        for instance in ["i-1", "i-4"] {
            let stored = store.append(arrival(instance, 1, ten(11))).await;
            assert_eq!(stored.expect("acknowledged").fresh.len(), 10, "bit {bit}");
        }
        store.maintain(DAY + 2 * HOUR).await.unwrap_or_else(|error| panic!("bit {bit}: {error}"));
        for (instance, samples) in [("i-1", 20), ("i-3", 10), ("i-4", 10)] {
            let folded = chunks(&store, instance).await;
            assert_eq!(folded.first().map(|chunk| chunk.0), Some(samples), "bit {bit}: {instance}");
        }
        let folded = chunks(&store, "i-2").await;
        assert!(folded.is_empty() || folded[0].0 == 10, "bit {bit}: all of a commit or nothing");
        if folded.is_empty() {
            lost += 1;
            assert!(!findings.is_whole(), "bit {bit}: the check does not say that a commit is lost");
        }
        store.close().await;
    }
    assert!(lost > 20, "{lost}");
}

fn minutes_of_an_hour() -> Vec<Minute> {
    let minute = |n: i64| Minute {
        group: id("web"),
        metric: "cpu".to_owned(),
        start: DAY / 1_000_000 + 60 * n,
        gross_mean: 12.3 + n as f64,
        gross_maximum: 45.6 + n as f64,
        weight: 2.5,
        serving: 3,
        reporting: 2,
        lower_bound: n % 2 == 1,
    };
    (0..60).map(minute).collect()
}

/// Each bit of one minute's row: it says what it said or is absent, its neighbours are there, and it can be written anew. One that
/// SQLite can neither change nor take away stays absent, and holds nothing else up.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_minute_is_absent_and_named_and_is_written_anew() {
    let whole = tempfile::tempdir().expect("a directory");
    let clock: Arc<dyn Clock> = Arc::new(Standing(AtomicI64::new(DAY)));
    let store = Embedded::open(options(whole.path()), clock.clone(), [7; 16]).await.expect("opens");
    let minutes = minutes_of_an_hour();
    store.put_minutes(&minutes).await.expect("stored");
    store.close().await;
    drop(store);
    let bytes = std::fs::read(whole.path().join("foreshadow.db")).expect("read");
    let damaged = &minutes[30];
    let start = u32::try_from(damaged.start).expect("four bytes").to_be_bytes();
    let content = only_place(&bytes, &[&b"webcpu"[..], &start, &damaged.gross_mean.to_be_bytes()].concat());
    // Eleven bytes say how many types there are and which; then three, three, four, three times eight, one and one.
    let row = content - 11..content + 36;
    assert_eq!(bytes[row.start..row.start + 7], [11, 19, 19, 4, 7, 7, 7]);
    let others: Vec<Minute> = minutes.iter().filter(|minute| minute.start != damaged.start).cloned().collect();
    let (mut absent, mut anew) = (0, 0);
    for (bit, directory) in with_each_bit(&bytes, row) {
        let findings = check::check(directory.path()).await.expect("reads");
        let store = Embedded::open(options(directory.path()), clock.clone(), [7; 16]).await.expect("opens");
        let read = async || store.minutes(&id("web"), "cpu", 0, i64::MAX).await.expect("reads");
        let found = read().await;
        if found != minutes {
            assert_eq!(found, others, "bit {bit}");
            absent += 1;
            assert!(!findings.is_whole(), "bit {bit}: the check does not say that a minute is lost");
            assert_eq!(store.take_damaged_minutes(), [(id("web"), damaged.start)], "bit {bit}");
            read().await;
            assert_eq!(store.take_damaged_minutes(), [], "bit {bit}: told once");
            store.put_minutes(&minutes[29..32]).await.unwrap_or_else(|error| panic!("bit {bit}: {error}"));
            let found = read().await;
            assert!(found == minutes || found == others, "bit {bit}");
            anew += usize::from(found == minutes);
        }
        store.close().await;
    }
    println!("{absent} times absent, {anew} times written anew");
    assert!(absent > 250 && anew * 10 > absent * 8, "{absent} times absent, {anew} times written anew");
}

/// What builds before wrote has no checksum, and is read.
#[tokio::test]
async fn a_minute_of_an_older_build_is_read_without_a_checksum() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).await;
    store.put_minutes(&minutes_of_an_hour()).await.expect("stored");
    sqlx::query("UPDATE minute SET checksum = NULL").execute(&store.pool()).await.expect("as it was");
    assert_eq!(store.minutes(&id("web"), "cpu", 0, i64::MAX).await.expect("reads"), minutes_of_an_hour());
    assert!(check::check(directory.path()).await.expect("reads").is_whole());
}

/// Small numbers by a seed: the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// Bits flip anywhere in the file, `FORESHADOW_FLIPS` times. Whatever is answered afterwards was stored, to the bit and for whom it
/// was stored; where anything is missing, or no answer is given, the check says so.
#[tokio::test(flavor = "multi_thread")]
async fn no_flipped_bit_alters_or_invents_a_sample() {
    let whole = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(Standing(AtomicI64::new(DAY)));
    let store = Embedded::open(options(whole.path()), clock.clone(), [7; 16]).await.expect("opens");
    let mut model = BTreeMap::<(&str, u64), Sample>::new();
    let mut dice = Dice(1);
    let instances = ["i-1", "i-2", "i-3"];
    let (hourly, mut minutes) = (minutes_of_an_hour(), Vec::new());
    for hour in 0..3_u64 {
        clock.0.store(DAY + (hour as i64 + 1) * HOUR, Ordering::Relaxed);
        for (instance, apart) in [("i-1", 1), ("i-2", 1), ("i-3", 60)] {
            let mut samples = Vec::new();
            for n in (0..3_600_u64).step_by(apart) {
                let second = 3_600 * hour + n;
                let mut sample = sample(1 + second, DAY + second as i64 * 1_000_000);
                sample.cpu_percent = (dice.below(20) != 0).then(|| dice.below(400) as f64 / 4.0);
                sample.memory_used_bytes = Some(dice.below(1 << 30) << 3);
                let mut rate = |most| dice.below(most) as f64;
                sample.network = Some(NetworkRates {
                    in_bytes: rate(180_000),
                    out_bytes: rate(360_000),
                    in_packets: rate(600),
                    out_packets: rate(600),
                    errors: 0.0,
                });
                samples.push(sample);
            }
            model.extend(samples.iter().map(|sample| ((instance, sample.sequence), sample.clone())));
            for batch in samples.chunks(600) {
                store.append(arrival(instance, 1, batch.to_vec())).await.expect("stored");
            }
        }
        let minute =
            |n: i64| Minute { start: DAY / 1_000_000 + 3_600 * hour as i64 + 60 * n, ..hourly[n as usize].clone() };
        let rolled: Vec<Minute> = (0..60).map(minute).collect();
        store.put_minutes(&rolled).await.expect("stored");
        minutes.extend(rolled);
        // The last hour stays in commits.
        store.maintain(DAY + (hour.min(1) as i64 + 2) * HOUR).await.expect("folds");
    }
    store.close().await;
    drop(store);
    assert!(check::check(whole.path()).await.expect("reads").is_whole());
    let bytes = std::fs::read(whole.path().join("foreshadow.db")).expect("read");
    let flips = std::env::var("FORESHADOW_FLIPS").map_or(60, |flips| flips.parse().expect("a number"));
    let (mut refused, mut exact, mut named) = (0, 0, 0);
    for seed in 0..flips {
        let mut dice = Dice(seed);
        dice.below(2);
        let mut flipped = bytes.clone();
        for _ in 0..=dice.below(3) {
            let at = dice.below(bytes.len() as u64) as usize;
            flipped[at] ^= 1 << dice.below(8);
        }
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("foreshadow.db"), flipped).expect("written");
        let findings = check::check(directory.path()).await;
        let found_whole = findings.as_ref().is_ok_and(check::Findings::is_whole);
        let Ok(store) = Embedded::open(options(directory.path()), clock.clone(), [7; 16]).await else {
            refused += 1;
            continue;
        };
        let mut all = true;
        for after in [false, true] {
            if after {
                // Folded past what is damaged, which stays refused.
                drop(store.maintain(DAY + 10 * HOUR).await);
            }
            match store.minutes(&id("web"), "cpu", 0, i64::MAX).await {
                Err(_) => all = false,
                Ok(found) => {
                    assert!(found.iter().all(|minute| minutes.contains(minute)), "seed {seed}: a minute was altered");
                    all &= found.len() == minutes.len();
                }
            }
            for instance in instances {
                let stored = model.range((instance, 0)..=(instance, u64::MAX));
                match store.samples(&id(instance), 0, i64::MAX).await {
                    Err(_) => all = false,
                    Ok(samples) => {
                        for stored in &samples {
                            let was = model.get(&(instance, stored.sample.sequence));
                            assert!(was == Some(&stored.sample), "seed {seed}: {stored:?} was {was:?}");
                            assert_eq!((stored.instance.as_str(), stored.stream.0), (instance, [1; 16]), "seed {seed}");
                        }
                        all &= samples.len() == stored.count();
                    }
                }
                match store.held(&id(instance), StreamId([1; 16])).await {
                    Err(_) => all = false,
                    Ok(held) => {
                        let holds = |sequence| held.iter().any(|range| range.contains(&sequence));
                        let beyond = held.iter().any(|range| *range.end() > 3 * 3_600);
                        assert!(!beyond, "seed {seed}: {held:?} of {instance} was never stored");
                        all &= model.keys().all(|(of, sequence)| *of != instance || holds(*sequence));
                    }
                }
            }
        }
        assert!(all || !found_whole, "seed {seed}: something is missing, and the check does not say so");
        if all {
            exact += 1
        } else {
            named += 1
        }
        store.close().await;
    }
    println!("{flips} times: {exact} all there, {named} partly refused and named, {refused} refused as a whole");
    assert!(named * 4 > flips, "most of the file is samples: {named} of {flips}");
}
