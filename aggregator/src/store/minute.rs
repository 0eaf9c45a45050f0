//! Rollups in the database, each with a checksum: one that was damaged is absent and named, and no number that nobody measured is
//! believed.
//!
//! SQLite ends the statement that meets a row it cannot make out; then the times before and after that row are asked for apart.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use foreshadow_proto::convert::Id;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection, SqlitePool};

use super::{Minute, StoreError, checksum, sql};

/// Statements that one reading may fail with: of a database that is damaged everywhere nothing is read.
const MOST_HALVINGS: usize = 2_000;

/// Rollups of a group and metric, and what of them cannot be believed.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) minutes: Vec<Minute>,
    /// Start in seconds since the epoch, and what is wrong.
    pub(super) damaged: Vec<(i64, String)>,
}

/// Of what a rollup says and whose it is.
pub(super) fn sum(minute: &Minute) -> i64 {
    let Minute { group, metric, start, gross_mean, gross_maximum, weight, serving, reporting, lower_bound } = minute;
    // A database keeps no sign of zero.
    let number = |value: &f64| (value + 0.0).to_le_bytes();
    let sum = checksum::of(&[
        group.as_str().as_bytes(),
        &[0],
        metric.as_bytes(),
        &[0],
        &start.to_le_bytes(),
        &number(gross_mean),
        &number(gross_maximum),
        &number(weight),
        &serving.to_le_bytes(),
        &reporting.to_le_bytes(),
        &[u8::from(*lower_bound)],
    ]);
    u32::from_le_bytes(sum).into()
}

/// Of a row with the columns of a rollup except whose it is and when.
pub(super) fn of_row(group: &Id, metric: &str, start: i64, row: &SqliteRow) -> Result<Minute, StoreError> {
    let whole = |name: &str| -> Result<u32, StoreError> {
        let read: i64 = row.try_get(name)?;
        u32::try_from(read).map_err(|_| StoreError::Corrupt(format!("{name} is {read}")))
    };
    let minute = Minute {
        group: group.clone(),
        metric: metric.to_owned(),
        start,
        gross_mean: row.try_get("gross_mean")?,
        gross_maximum: row.try_get("gross_maximum")?,
        weight: row.try_get("weight")?,
        serving: whole("serving")?,
        reporting: whole("reporting")?,
        lower_bound: row.try_get::<i64, _>("lower_bound")? != 0,
    };
    match row.try_get::<Option<i64>, _>("checksum")? {
        Some(written) if written != sum(&minute) => Err(StoreError::Corrupt("its checksum is another".to_owned())),
        // Builds before wrote none.
        _ => Ok(minute),
    }
}

/// Those with `from <= start < to` (s), by time.
pub(super) async fn read(pool: &SqlitePool, group: &Id, metric: &str, from: i64, to: i64) -> Result<Read, StoreError> {
    let mut read = Read::default();
    let mut halvings = 0;
    // The earliest is last.
    let mut parts = vec![(from, to)];
    while let Some((from, to)) = parts.pop() {
        let query = sqlx::query(sql::MINUTE_READ).bind(group.as_str()).bind(metric).bind(from).bind(to);
        let rows = match query.fetch_all(pool).await.map_err(StoreError::from) {
            Ok(rows) => rows,
            Err(StoreError::Corrupt(problem)) if to.saturating_sub(from) <= 1 => {
                read.damaged.push((from, problem));
                continue;
            }
            Err(StoreError::Corrupt(_)) if halvings < MOST_HALVINGS => {
                halvings += 1;
                let middle = from.midpoint(to);
                parts.extend([(middle, to), (from, middle)]);
                continue;
            }
            Err(error) => return Err(error),
        };
        for row in &rows {
            let start: i64 = row.try_get("start_seconds")?;
            match of_row(group, metric, start, row) {
                Ok(minute) => read.minutes.push(minute),
                Err(error) => read.damaged.push((start, error.to_string())),
            }
        }
    }
    Ok(read)
}

/// Writes one over what is there, or in the place of what is too damaged to be changed.
pub(super) async fn write(connection: &mut SqliteConnection, minute: &Minute) -> Result<(), StoreError> {
    match write_over(connection, minute).await {
        Err(StoreError::Corrupt(_)) => {}
        answer => return answer,
    }
    let forget = sqlx::query(sql::MINUTE_FORGET).bind(minute.group.as_str()).bind(&minute.metric);
    forget.bind(minute.start).execute(&mut *connection).await?;
    write_over(connection, minute).await
}

async fn write_over(connection: &mut SqliteConnection, minute: &Minute) -> Result<(), StoreError> {
    sqlx::query(sql::MINUTE_WRITE)
        .bind(minute.group.as_str())
        .bind(&minute.metric)
        .bind(minute.start)
        .bind(minute.gross_mean)
        .bind(minute.gross_maximum)
        .bind(minute.weight)
        .bind(i64::from(minute.serving))
        .bind(i64::from(minute.reporting))
        .bind(i64::from(minute.lower_bound))
        .bind(sum(minute))
        .execute(connection)
        .await?;
    Ok(())
}

/// In words, for a log: whose rollup, and of when (s since the epoch).
pub(super) fn named(group: &Id, metric: &str, start: i64) -> String {
    match jiff::Timestamp::from_second(start) {
        Ok(at) => format!("minute {group} {metric} {at}"),
        Err(_) => format!("minute {group} {metric} {start}"),
    }
}

/// Rollups that were met and cannot be believed, each told once.
#[derive(Debug, Default)]
pub(super) struct Damaged(Mutex<Found>);

#[derive(Debug, Default)]
struct Found {
    told: BTreeSet<(Id, String, i64)>,
    /// Of which group, and when (s), are those that nobody was told to make anew.
    due: BTreeSet<(Id, i64)>,
}

impl Damaged {
    pub(super) fn tell(&self, group: &Id, metric: &str, damaged: &[(i64, String)]) {
        if damaged.is_empty() {
            return;
        }
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (start, problem) in damaged {
            if found.told.insert((group.clone(), metric.to_owned(), *start)) {
                found.due.insert((group.clone(), *start));
                metrics::counter!("foreshadow_rollups_damaged_total").increment(1);
                let minute = named(group, metric, *start);
                tracing::error!(minute, problem, "it is absent, unless its samples are there: then it is made anew");
            }
        }
    }

    pub(super) fn take_due(&self) -> Vec<(Id, i64)> {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut found.due).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_changes_in_a_rollup_changes_its_checksum_and_the_sign_of_zero_does_not() {
        let minute = Minute {
            group: Id::new("group", "web").expect("an id"),
            metric: "cpu".to_owned(),
            start: 1_800_000_000,
            gross_mean: 12.5,
            gross_maximum: 0.0,
            weight: 2.0,
            serving: 2,
            reporting: 1,
            lower_bound: true,
        };
        let changed = |change: fn(&mut Minute)| {
            let mut other = minute.clone();
            change(&mut other);
            sum(&other) != sum(&minute)
        };
        assert!(changed(|it| it.group = Id::new("group", "we").expect("an id")));
        assert!(changed(|it| it.metric = "cp".to_owned()));
        assert!(changed(|it| (it.group, it.metric) = (Id::new("group", "webc").expect("an id"), "pu".to_owned())));
        assert!(changed(|it| it.start += 60));
        assert!(changed(|it| it.gross_mean += 1e-12));
        assert!(changed(|it| it.gross_maximum += 1.0));
        assert!(changed(|it| it.weight += 1.0));
        assert!(changed(|it| it.serving += 1));
        assert!(changed(|it| it.reporting += 1));
        assert!(changed(|it| it.lower_bound = false));
        assert!(!changed(|it| it.gross_maximum = -0.0));
    }
}
