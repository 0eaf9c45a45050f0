//! What those that serve used, on disk: after a restart a hang is seen at once, not when the hours before are known anew.

use foreshadow_proto::convert::Id;
use sqlx::{Row as _, SqlitePool};

use super::pulse::{Pulse, REMEMBERED, Use};
use super::sql;

/// Reads and writes it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PulseLog(SqlitePool);

impl PulseLog {
    pub const fn new(pool: SqlitePool) -> Self {
        Self(pool)
    }

    /// One stretch that is over: its start, seconds since the Unix epoch.
    pub(super) async fn write(&self, group: &Id, (since, used): (i64, Use)) -> Result<(), sqlx::Error> {
        let query = sqlx::query(sql::PULSE_WRITE).bind(group.as_str()).bind(since).bind(used.cpu).bind(used.packets);
        query.execute(&self.0).await.map(drop)
    }

    /// The hours before `now`, as far as they are known.
    pub(super) async fn read(&self, group: &Id, now: i64) -> Result<Pulse, sqlx::Error> {
        let query = sqlx::query(sql::PULSE_READ).bind(group.as_str()).bind(now - REMEMBERED);
        let rows = query.fetch_all(&self.0).await?;
        let stretch = |row: &sqlx::sqlite::SqliteRow| {
            Ok((row.try_get(0)?, Use { cpu: row.try_get(1)?, packets: row.try_get(2)? }))
        };
        rows.iter().map(stretch).collect::<Result<Vec<_>, sqlx::Error>>().map(Pulse::of)
    }

    pub(super) async fn expire(&self, now: i64) -> Result<(), sqlx::Error> {
        sqlx::query(sql::PULSE_EXPIRE).bind(now - REMEMBERED).execute(&self.0).await.map(drop)
    }
}
