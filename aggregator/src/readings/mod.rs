//! Values of declared metrics: checked, made durable, and read as what a group or an instance carried over a time.
//!
//! A value stands until the next one of the same subject, for two minutes at most. After that nothing is known: absent is not
//! zero.

pub(crate) mod sql;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use foreshadow_proto::convert::{EARLIEST_WALL_MICROS, Id, MAX_AHEAD_MICROS};
use planner::demand::is_load;
use planner::policy::Metric;
use sqlx::{Row, SqlitePool};

use crate::config::{Declared, Of};

/// A value stands for so long at most, seconds: as long as any evidence is fresh ([`planner::policy::Policy::new`]).
pub const STANDS_SECONDS: i64 = 120;
/// Older values are refused: minutes are made anew from them for so long.
pub const TAKEN_SECONDS: i64 = 6 * 3_600;
/// They are kept for so long.
const KEPT_SECONDS: i64 = TAKEN_SECONDS + 3_600;
/// Present demand is the mean of so many seconds, as it is of what agents measure.
const PRESENT_SECONDS: i64 = 60;
/// Values in one transaction: samples take their turn between two.
const AT_ONCE: usize = 500;

/// One value as it was sent, before anybody looked at it.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub instance: Option<String>,
    pub group: Option<String>,
    pub metric: String,
    /// µs since the Unix epoch.
    pub at_micros: i64,
    pub value: f64,
}

/// Whose value it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Group(Id),
    Instance(Id),
}

/// One value that can be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    pub subject: Subject,
    pub metric: Metric,
    /// Seconds since the Unix epoch.
    pub at: i64,
    pub value: f64,
}

/// Values of one metric by group or instance, each by time.
pub type Series = HashMap<Id, Vec<(i64, f64)>>;

/// Keeps what is told. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Readings {
    pool: SqlitePool,
    declared: Arc<BTreeMap<Metric, Declared>>,
    /// Minutes (start, s) that got values since somebody asked.
    touched: Arc<Mutex<BTreeSet<i64>>>,
}

impl Readings {
    pub fn new(pool: SqlitePool, declared: BTreeMap<Metric, Declared>) -> Self {
        Self { pool, declared: Arc::new(declared), touched: Arc::default() }
    }

    /// Every declared metric.
    pub fn declared(&self) -> &BTreeMap<Metric, Declared> {
        &self.declared
    }

    /// Of what a metric is told; `None` for one that is not declared.
    pub fn of(&self, metric: Metric) -> Option<Of> {
        self.declared.get(&metric).map(|declared| declared.of)
    }

    /// What can be kept of a value. `now` in µs since the epoch.
    ///
    /// # Errors
    /// What is wrong with it, by its name, and what to do.
    pub fn check(&self, told: &Told, now: i64) -> Result<Reading, String> {
        let name = &told.metric;
        let (metric, declared) = self.declared.iter().find(|(metric, _)| metric.as_str() == name).ok_or_else(|| {
            let known: Vec<&str> = self.declared.keys().map(|metric| metric.as_str()).collect();
            let known = if known.is_empty() { "none is".to_owned() } else { known.join(", ") };
            let name: String = name.chars().take(64).collect();
            format!(
                "{name} is no field of a sample, and no metric that is declared ({known}): [metric.NAME] declares one"
            )
        })?;
        let named = |what: &'static str, name: Option<&String>, other: &str| {
            let name = name.ok_or_else(|| {
                format!("{metric} is told of {what} (metric.{metric}.of), and the line names {other}")
            })?;
            Id::new(what, name).map_err(|error| error.to_string())
        };
        let subject = match declared.of {
            Of::Group => Subject::Group(named("group", told.group.as_ref(), "an instance alone")?),
            Of::Instance => Subject::Instance(named("instance", told.instance.as_ref(), "a group alone")?),
        };
        if !is_load(told.value) {
            return Err(format!("{metric} {}: a load is a number from 0 to 1e12", told.value));
        }
        if told.at_micros > now.saturating_add(MAX_AHEAD_MICROS) {
            return Err(format!("{metric}: future: more than a minute ahead of this clock"));
        }
        if told.at_micros < EARLIEST_WALL_MICROS {
            return Err(format!("{metric}: clock_never_set: from before 2020"));
        }
        if told.at_micros < now - TAKEN_SECONDS * 1_000_000 {
            let hours = TAKEN_SECONDS / 3_600;
            return Err(format!("{metric}: older than {hours} hours; foreshadow import takes a past"));
        }
        Ok(Reading { subject, metric: *metric, at: told.at_micros.div_euclid(1_000_000), value: told.value })
    }

    /// Keeps values; durable on return. What is there already stays.
    pub async fn write(&self, readings: &[Reading]) -> Result<(), sqlx::Error> {
        for some in readings.chunks(AT_ONCE) {
            let mut transaction = self.pool.begin().await?;
            for Reading { subject, metric, at, value } in some {
                let (of_group, subject) = match subject {
                    Subject::Group(group) => (1_i64, group),
                    Subject::Instance(instance) => (0, instance),
                };
                let write = sqlx::query(sql::READING_WRITE).bind(metric.as_str()).bind(of_group).bind(at);
                write.bind(subject.as_str()).bind(value).execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
            let stands = some.iter().flat_map(|it| minutes_of(it.at));
            self.touched.lock().unwrap_or_else(PoisonError::into_inner).extend(stands);
        }
        Ok(())
    }

    /// Minutes (start, s) that got values since this was asked last.
    pub fn touched(&self) -> BTreeSet<i64> {
        std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Everything that stands in `[from, to)`, seconds since the epoch.
    pub async fn standing(&self, metric: Metric, from: i64, to: i64) -> Result<Series, sqlx::Error> {
        let of_group = i64::from(self.of(metric) == Some(Of::Group));
        let read = sqlx::query(sql::READING_READ).bind(metric.as_str()).bind(of_group);
        let rows = read.bind(from - STANDS_SECONDS).bind(to).fetch_all(&self.pool).await?;
        let mut series = Series::new();
        for row in rows {
            let subject: String = row.try_get(0)?;
            let Ok(subject) = subject.parse::<Id>() else { continue };
            series.entry(subject).or_default().push((row.try_get(1)?, row.try_get(2)?));
        }
        Ok(series)
    }

    /// Drops what nobody asks for any more.
    pub async fn expire(&self, now: i64) -> Result<(), sqlx::Error> {
        sqlx::query(sql::READING_EXPIRE).bind(now - KEPT_SECONDS).execute(&self.pool).await.map(drop)
    }
}

/// The minutes that a value may stand in.
fn minutes_of(at: i64) -> impl Iterator<Item = i64> {
    let minute = |at: i64| at.div_euclid(60) * 60;
    (minute(at)..=minute(at + STANDS_SECONDS - 1)).step_by(60)
}

/// Mean of what stood over `[from, to)`; `None` where it is known of less than half of it.
#[allow(clippy::cast_precision_loss, reason = "seconds within a few minutes")]
pub fn mean(values: &[(i64, f64)], from: i64, to: i64) -> Option<f64> {
    let (mut sum, mut seconds) = (0.0, 0);
    for (index, (at, value)) in values.iter().enumerate() {
        let next = values.get(index + 1).map_or(i64::MAX, |(next, _)| *next);
        let stands = (to.min(next).min(at + STANDS_SECONDS) - from.max(*at)).max(0);
        sum += value * stands as f64;
        seconds += stands;
    }
    (seconds > 0 && 2 * seconds >= to - from).then(|| sum / seconds as f64)
}

/// What is carried now, and the age of the newest value, seconds: the mean of the last minute, or the newest value where it
/// has not been told for so long yet. `None` where the newest is too old.
pub fn present(values: &[(i64, f64)], now: i64) -> Option<(f64, i64)> {
    let (at, newest) = values.iter().rev().find(|(at, _)| *at <= now)?;
    let age = now - at;
    (age <= STANDS_SECONDS).then(|| (mean(values, now - PRESENT_SECONDS, now).unwrap_or(*newest), age))
}

/// The highest that stood in `[from, now]`; `None` where the newest stands no more.
pub fn highest(values: &[(i64, f64)], from: i64, now: i64) -> Option<f64> {
    present(values, now)?;
    let stood = values.iter().enumerate().filter(|(index, (at, _))| {
        let next = values.get(index + 1).map_or(i64::MAX, |(next, _)| *next);
        *at <= now && next.min(at + STANDS_SECONDS) > from
    });
    stood.map(|(_, (_, value))| *value).reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::SystemClock;
    use crate::store::{Embedded, Options, Retraction, SampleStore as _};

    const NOW: i64 = 1_800_000_000;

    fn declared() -> BTreeMap<Metric, Declared> {
        let of = |of| Declared { of, unit: None, title: None };
        let name = |text: &str| Metric::declare(text).expect("a name");
        BTreeMap::from([(name("queue"), of(Of::Group)), (name("requests"), of(Of::Instance))])
    }

    async fn store(directory: &std::path::Path) -> Embedded {
        let options = Options {
            directory: directory.to_owned(),
            raw_retention: Duration::from_secs(3_600),
            minute_retention: Duration::from_secs(86_400),
        };
        Embedded::open(options, Arc::new(SystemClock), [7; 16]).await.expect("a store")
    }

    fn told(metric: &str, value: f64) -> Told {
        let (instance, group) = (Some("i-1".to_owned()), Some("web".to_owned()));
        Told { instance, group, metric: metric.to_owned(), at_micros: NOW * 1_000_000, value }
    }

    #[tokio::test]
    async fn what_cannot_be_is_named_and_never_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let readings = Readings::new(store(directory.path()).await.pool(), declared());
        let now = NOW * 1_000_000;
        let kept = readings.check(&told("queue", 512.0), now).expect("right");
        assert_eq!(kept.subject, Subject::Group(Id::new("group", "web").expect("an id")));
        let kept = readings.check(&told("requests", 0.0), now).expect("zero is a value");
        assert_eq!(kept.subject, Subject::Instance(Id::new("instance", "i-1").expect("an id")));
        for (wrong, said) in [
            (told("disk", 1.0), "disk is no field of a sample, and no metric that is declared (queue, requests)"),
            (told("queue", f64::NAN), "queue NaN: a load is a number"),
            (told("queue", -1.0), "queue -1: a load"),
            (told("queue", f64::INFINITY), "queue inf: a load"),
            (told("queue", 1e13), "a load is a number from 0 to 1e12"),
            (
                Told { group: None, ..told("queue", 1.0) },
                "queue is told of group (metric.queue.of), and the line names",
            ),
            (Told { instance: None, ..told("requests", 1.0) }, "requests is told of instance"),
            (Told { group: Some("a b".to_owned()), ..told("queue", 1.0) }, "group"),
            (Told { at_micros: now + 61_000_000, ..told("queue", 1.0) }, "future"),
            (Told { at_micros: 1, ..told("queue", 1.0) }, "clock_never_set"),
            (Told { at_micros: now - 6 * 3_600_000_000 - 1, ..told("queue", 1.0) }, "foreshadow import"),
        ] {
            let fault = readings.check(&wrong, now).expect_err(said);
            assert!(fault.contains(said), "{fault}");
        }
    }

    #[tokio::test]
    async fn what_is_kept_is_there_once_and_until_it_is_retracted() {
        let directory = tempfile::tempdir().expect("a directory");
        let embedded = store(directory.path()).await;
        let readings = Readings::new(embedded.pool(), declared());
        let (queue, requests) =
            (Metric::declare("queue").expect("a name"), Metric::declare("requests").expect("a name"));
        let at = |at: i64, metric: &str, value: f64| {
            readings.check(&Told { at_micros: at * 1_000_000, ..told(metric, value) }, NOW * 1_000_000).expect("right")
        };
        let all = [at(NOW - 30, "queue", 5.0), at(NOW - 10, "queue", 7.0), at(NOW - 20, "requests", 90.0)];
        readings.write(&all).await.expect("written");
        assert_eq!(readings.touched(), minutes_of(NOW - 30).chain(minutes_of(NOW - 10)).collect());
        // The same again, and another value of the same second.
        readings.write(&[at(NOW - 10, "queue", 7.0), at(NOW - 10, "queue", 999.0)]).await.expect("written");
        // Another connection sees what is committed and nothing else, as a start after a kill would.
        let url = format!("sqlite:{}", directory.path().join("foreshadow.db").display());
        let again = Readings::new(SqlitePool::connect(&url).await.expect("opens"), declared());
        let web = Id::new("group", "web").expect("an id");
        let stands = again.standing(queue, NOW - 60, NOW).await.expect("read");
        assert_eq!(stands[&web], [(NOW - 30, 5.0), (NOW - 10, 7.0)]);
        assert_eq!(stands.len(), 1, "what is told of an instance is none of it");
        let instance = Id::new("instance", "i-1").expect("an id");
        assert_eq!(again.standing(requests, NOW - 60, NOW).await.expect("read")[&instance], [(NOW - 20, 90.0)]);
        let retraction = Retraction {
            instance,
            from_micros: (NOW - 30) * 1_000_000,
            to_micros: NOW * 1_000_000,
            at_micros: NOW * 1_000_000,
            reason: "it lied".to_owned(),
        };
        embedded.retract(&retraction).await.expect("retracted");
        assert!(again.standing(requests, NOW - 60, NOW).await.expect("read").is_empty());
        assert!(!again.standing(queue, NOW - 60, NOW).await.expect("read").is_empty(), "a group's is nobody's lie");
        again.expire(NOW + 7 * 3_600 - 10).await.expect("expired");
        let left = again.standing(queue, NOW - 60, NOW).await.expect("read");
        assert_eq!(left[&web], [(NOW - 10, 7.0)]);
    }

    #[test]
    fn a_value_stands_until_the_next_and_two_minutes_at_most() {
        let values = [(0, 10.0), (30, 40.0)];
        assert_eq!(mean(&values, 0, 60), Some(25.0));
        assert_eq!(mean(&values, 60, 120), Some(40.0));
        assert_eq!(mean(&values, 90, 150), Some(40.0));
        assert_eq!(mean(&values, 121, 181), None, "known of less than half of it");
        assert_eq!(mean(&values, -60, 0), None);
        assert_eq!(mean(&[], 0, 60), None);
        assert_eq!(present(&values, 30), Some((10.0, 0)), "the minute before it");
        assert_eq!(present(&values, 10), Some((10.0, 10)), "told for ten seconds only");
        assert_eq!(present(&values, 150), Some((40.0, 120)));
        assert_eq!(present(&values, 151), None, "too old: absent, not zero");
        assert_eq!(present(&values, -1), None, "its time has not come");
        let values = [(0, 9.0), (30, 40.0), (60, 5.0), (200, 7.0)];
        assert_eq!(highest(&values, 0, 200), Some(40.0));
        assert_eq!(highest(&values, 59, 200), Some(40.0), "it stood for a second of it");
        assert_eq!(highest(&values, 60, 200), Some(7.0));
        assert_eq!(highest(&values, 60, 199), None, "5 stood until 180: not known now");
        assert_eq!(highest(&values, 0, 29), Some(9.0), "what is to come does not count");
        assert_eq!(highest(&[], 0, 29), None);
    }
}
