//! What forecasts came to, by the hour, on disk: coverage and loss over time are shown, and trusted, over a restart.

use std::collections::BTreeMap;

use forecast::{Band, Hour, WideHour};
use foreshadow_proto::convert::Id;
use planner::policy::Metric;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqlitePool};

use super::sql;

/// As long as plans are.
const KEPT_SECONDS: i64 = 30 * 86_400;

/// Reads and writes them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ForecastHours(SqlitePool);

impl ForecastHours {
    pub const fn new(pool: SqlitePool) -> Self {
        Self(pool)
    }

    /// An hour as it is by now; one that was written before is replaced.
    pub(super) async fn write(&self, group: &Id, metric: Metric, hour: &Hour) -> Result<(), sqlx::Error> {
        let query = sqlx::query(sql::FORECAST_HOUR_WRITE)
            .bind(group.as_str())
            .bind(metric.as_str())
            .bind(hour.band.as_str())
            .bind(hour.hour)
            .bind(hour.promised)
            .bind(i64::from(hour.inside))
            .bind(i64::from(hour.outcomes))
            .bind(hour.loss)
            .bind(hour.day_before)
            .bind(i64::from(hour.compared))
            .bind(hour.wide.map(|wide| wide.promised))
            .bind(hour.wide.map(|wide| i64::from(wide.inside)))
            .bind(hour.wide.map(|wide| i64::from(wide.outcomes)));
        query.execute(&self.0).await.map(drop)
    }

    /// By metric, oldest hour first. Rows of a band that this version does not know are left out.
    pub async fn of(&self, group: &Id) -> Result<BTreeMap<String, Vec<Hour>>, sqlx::Error> {
        let rows = sqlx::query(sql::FORECAST_HOUR_READ).bind(group.as_str()).fetch_all(&self.0).await?;
        let mut by_metric: BTreeMap<String, Vec<Hour>> = BTreeMap::new();
        for row in &rows {
            if let Some(hour) = hour_of(row)? {
                by_metric.entry(row.try_get(0)?).or_default().push(hour);
            }
        }
        Ok(by_metric)
    }

    pub(super) async fn expire(&self, now: i64) -> Result<(), sqlx::Error> {
        sqlx::query(sql::FORECAST_HOUR_EXPIRE).bind(now - KEPT_SECONDS).execute(&self.0).await.map(drop)
    }
}

fn hour_of(row: &SqliteRow) -> Result<Option<Hour>, sqlx::Error> {
    let band: String = row.try_get(1)?;
    let Some(band) = Band::ALL.into_iter().find(|known| known.as_str() == band) else { return Ok(None) };
    let small = |count: i64| u32::try_from(count).unwrap_or(u32::MAX);
    let count = |column: usize| row.try_get::<i64, _>(column).map(small);
    let maybe = |column: usize| row.try_get::<Option<i64>, _>(column).map(|count| count.map(small));
    let wide = row.try_get::<Option<f64>, _>(9)?.zip(maybe(10)?).zip(maybe(11)?);
    Ok(Some(Hour {
        band,
        hour: row.try_get(2)?,
        promised: row.try_get(3)?,
        inside: count(4)?,
        outcomes: count(5)?,
        wide: wide.map(|((promised, inside), outcomes)| WideHour { promised, inside, outcomes }),
        loss: row.try_get(6)?,
        day_before: row.try_get(7)?,
        compared: count(8)?,
    }))
}
