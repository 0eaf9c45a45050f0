//! What was imported, beside the minutes themselves: durable, and noted after they are, so that what is noted is there.

use foreshadow_proto::convert::Id;
use planner::policy::Metric;
use serde::Serialize;
use sqlx::{Row, SqlitePool};

use super::sql;
use crate::store::Minute;

/// Minutes in one transaction: samples of agents take their turn between two.
const AT_ONCE: usize = 500;

/// One minute that somebody else measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Imported {
    /// Start of the minute, seconds since the Unix epoch.
    pub start: i64,
    /// Σ wᵢuᵢ over serving instances, utilisation-points.
    pub gross: f64,
    /// Σ wᵢ over serving instances; zero for load that has no idle part.
    pub weight: f64,
}

/// A stretch of a source that was read whole: minutes that are not in it are gaps there.
#[derive(Debug, Clone)]
pub struct Part {
    pub group: Id,
    pub metric: Metric,
    pub source: String,
    /// Seconds since the Unix epoch.
    pub from: i64,
    pub to: i64,
    pub minutes: Vec<Imported>,
}

/// A stretch that is there.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[schema(as = ImportedStretch)]
pub struct Stretch {
    pub source: String,
    /// Seconds since the Unix epoch.
    pub from: i64,
    pub to: i64,
    /// Minutes it had; fewer than its length where the source has gaps.
    pub minutes: i64,
    pub entered_by: String,
    /// Seconds since the Unix epoch.
    pub entered_at: i64,
}

/// Writes imported minutes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ImportLog(SqlitePool);

impl ImportLog {
    pub const fn new(pool: SqlitePool) -> Self {
        Self(pool)
    }

    /// Keeps a part; durable on return. A minute that agents measured stays as it is, one that was imported before is
    /// replaced. Gives how many minutes were written.
    pub async fn write(&self, part: &Part, by: &str, now: i64) -> Result<u64, sqlx::Error> {
        let mut written = 0;
        for some in part.minutes.chunks(AT_ONCE) {
            written += self.write_some(part, some).await?;
        }
        let record = sqlx::query(sql::IMPORT_WRITE)
            .bind(part.group.as_str())
            .bind(part.metric.as_str())
            .bind(&part.source)
            .bind(part.from)
            .bind(part.to)
            .bind(i64::try_from(part.minutes.len()).unwrap_or(i64::MAX))
            .bind(by)
            .bind(now);
        record.execute(&self.0).await?;
        Ok(written)
    }

    async fn write_some(&self, part: &Part, minutes: &[Imported]) -> Result<u64, sqlx::Error> {
        let mut transaction = self.0.begin().await?;
        let mut written = 0;
        for minute in minutes {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a number of instances, checked before"
            )]
            let serving = minute.weight.ceil() as u32;
            let stored = Minute {
                group: part.group.clone(),
                metric: part.metric.as_str().to_owned(),
                start: minute.start,
                gross_mean: minute.gross,
                gross_maximum: minute.gross,
                weight: minute.weight,
                serving,
                reporting: 0,
                lower_bound: false,
            };
            let done = sqlx::query(sql::MINUTE_IMPORT)
                .bind(part.group.as_str())
                .bind(part.metric.as_str())
                .bind(minute.start)
                .bind(minute.gross)
                .bind(minute.weight)
                .bind(i64::from(serving))
                .bind(stored.checksum())
                .execute(&mut *transaction)
                .await?;
            written += done.rows_affected();
        }
        transaction.commit().await?;
        Ok(written)
    }

    /// What was imported for a group and metric, and how many imported minutes there are now.
    pub async fn stretches(&self, group: &Id, metric: Metric) -> Result<(Vec<Stretch>, i64), sqlx::Error> {
        let rows = sqlx::query(sql::IMPORT_READ).bind(group.as_str()).bind(metric.as_str()).fetch_all(&self.0).await?;
        let count = sqlx::query_scalar(sql::IMPORT_COUNT).bind(group.as_str()).bind(metric.as_str());
        let count: i64 = count.fetch_one(&self.0).await?;
        let stretch = |row: &sqlx::sqlite::SqliteRow| -> Result<Stretch, sqlx::Error> {
            Ok(Stretch {
                source: row.try_get(0)?,
                from: row.try_get(1)?,
                to: row.try_get(2)?,
                minutes: row.try_get(3)?,
                entered_by: row.try_get(4)?,
                entered_at: row.try_get(5)?,
            })
        };
        Ok((rows.iter().map(stretch).collect::<Result<_, _>>()?, count))
    }

    /// Takes out every imported minute of a group and metric; what was measured stays. Gives how many there were.
    pub async fn remove(&self, group: &Id, metric: Metric) -> Result<u64, sqlx::Error> {
        let mut transaction = self.0.begin().await?;
        let done = sqlx::query(sql::MINUTE_REMOVE).bind(group.as_str()).bind(metric.as_str());
        let removed = done.execute(&mut *transaction).await?.rows_affected();
        let parts = sqlx::query(sql::IMPORT_REMOVE).bind(group.as_str()).bind(metric.as_str());
        parts.execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::clock::SystemClock;
    use crate::store::{Embedded, Minute, Options, SampleStore as _};

    #[tokio::test]
    async fn what_was_measured_stays_and_what_was_imported_is_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let options = Options {
            directory: directory.path().to_owned(),
            raw_retention: Duration::from_secs(3_600),
            minute_retention: Duration::from_secs(86_400),
        };
        let store = Embedded::open(options, Arc::new(SystemClock), [7; 16]).await.expect("a store");
        let (log, group) = (ImportLog::new(store.pool()), Id::new("group", "web").expect("an id"));
        let measured = |start: i64, gross: f64| Minute {
            group: group.clone(),
            metric: "cpu".to_owned(),
            start,
            gross_mean: gross,
            gross_maximum: gross,
            weight: 2.0,
            serving: 2,
            reporting: 2,
            lower_bound: false,
        };
        store.put_minutes(&[measured(600, 11.0)]).await.expect("measured");
        let part = |gross: f64| Part {
            group: group.clone(),
            metric: Metric::Cpu,
            source: "csv".to_owned(),
            from: 600,
            to: 780,
            minutes: [600, 660, 720].map(|start| Imported { start, gross, weight: 3.0 }).to_vec(),
        };
        let stored = async || {
            let minutes = store.minutes(&group, "cpu", 0, 10_000).await.expect("minutes");
            minutes.iter().map(|minute| (minute.gross_mean, minute.is_imported())).collect::<Vec<_>>()
        };
        assert_eq!(log.write(&part(50.0), "me", 1).await.expect("written"), 2);
        assert_eq!(stored().await, [(11.0, false), (50.0, true), (50.0, true)]);
        assert_eq!(log.write(&part(60.0), "me", 2).await.expect("written"), 2);
        assert_eq!(stored().await, [(11.0, false), (60.0, true), (60.0, true)]);
        // What is measured later replaces what was imported.
        store.put_minutes(&[measured(660, 12.0)]).await.expect("measured");
        assert_eq!(log.write(&part(70.0), "me", 3).await.expect("written"), 1);
        assert_eq!(stored().await, [(11.0, false), (12.0, false), (70.0, true)]);
        let (stretches, there) = log.stretches(&group, Metric::Cpu).await.expect("stretches");
        assert_eq!((stretches.len(), stretches[0].entered_at, there), (1, 3, 1));
        assert_eq!(log.remove(&group, Metric::Cpu).await.expect("removed"), 1);
        assert_eq!(stored().await, [(11.0, false), (12.0, false)]);
        assert!(log.stretches(&group, Metric::Cpu).await.expect("stretches").0.is_empty());
    }
}
