//! Reads the embedded store beside the aggregator that owns it: rollups only, and nothing is ever written.

use std::path::Path;

use foreshadow_proto::convert::Id;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{Row as _, SqlitePool};

use super::embedded::FILE;
use super::{Minute, StoreError, minute, sql};

/// A reader that needs no lock, so that training goes on while the aggregator serves.
#[derive(Debug)]
pub struct Beside {
    pool: SqlitePool,
}

/// SQLite says of a file that is not there that it is unable to open it.
pub(super) fn there(file: &Path) -> Result<(), StoreError> {
    if file.exists() {
        return Ok(());
    }
    let problem = "no store there: --directory says where the aggregator keeps its data (store.directory)".to_owned();
    Err(StoreError::Open { path: file.display().to_string(), problem })
}

impl Beside {
    /// Opens what is there.
    pub async fn open(directory: &Path) -> Result<Self, StoreError> {
        let file = directory.join(FILE);
        there(&file)?;
        let options = SqliteConnectOptions::new().filename(&file).read_only(true);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await;
        let pool =
            pool.map_err(|error| StoreError::Open { path: file.display().to_string(), problem: error.to_string() })?;
        Ok(Self { pool })
    }

    /// The database, for those who keep other state in it.
    pub fn pool(&self) -> SqlitePool {
        self.pool.clone()
    }

    /// Groups and metrics that have rollups.
    pub async fn series(&self) -> Result<Vec<(Id, String)>, StoreError> {
        let rows = sqlx::query(sql::MINUTE_SERIES).fetch_all(&self.pool).await?;
        let read = rows.iter().map(|row| {
            let group = Id::new("group", row.try_get::<&str, _>(0)?);
            Ok((group.map_err(|error| StoreError::Corrupt(error.to_string()))?, row.try_get(1)?))
        });
        read.collect()
    }

    /// All rollups of a group and metric since a time (seconds since the epoch).
    pub async fn minutes(&self, group: &Id, metric: &str, since: i64) -> Result<Vec<Minute>, StoreError> {
        let read = minute::read(&self.pool, group, metric, since, i64::MAX).await?;
        for (start, problem) in read.damaged {
            tracing::error!(minute = minute::named(group, metric, start), problem, "it is absent");
        }
        Ok(read.minutes)
    }
}
