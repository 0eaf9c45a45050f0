//! History from the embedded store: the minutes of a group, read beside a running aggregator and never written.

use std::path::Path;

use anyhow::{Context, Result, bail};
use foreshadow_proto::convert::Id;
use planner::policy::Metric;
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use crate::store::sql;

/// Demand by minute, points net of an idle use of `idle` (a share) per instance; and how many minutes were lower bounds.
///
/// # Errors
/// When the directory has no store, or the store has no minutes of the group: then it names those it has.
pub async fn read_store(directory: &Path, group: &str, idle: f64) -> Result<(Vec<(i64, f64)>, usize)> {
    let id = Id::new("group", group).map_err(|error| anyhow::anyhow!("--group {group:?}: {error}"))?;
    let file = directory.join("foreshadow.db");
    if !file.is_file() {
        bail!(
            "{} is not there: give the store's directory with --directory, or the configuration with --config",
            file.display()
        );
    }
    let connect = SqliteConnectOptions::new().filename(&file).read_only(true);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(connect).await;
    let pool = pool.with_context(|| format!("{}", file.display()))?;
    let query = sqlx::query(sql::MINUTE_READ).bind(id.as_str()).bind(Metric::Cpu.as_str()).bind(0_i64).bind(i64::MAX);
    let (mut rows, mut bounds) = (Vec::new(), 0);
    for row in query.fetch_all(&pool).await? {
        let (start, gross, weight): (i64, f64, f64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(3)?);
        bounds += usize::from(row.try_get::<i64, _>(6)? != 0);
        rows.push((start, (gross - 100.0 * idle * weight).max(0.0)));
    }
    if rows.is_empty() {
        let known: Vec<String> = sqlx::query_scalar(sql::MINUTE_GROUPS).fetch_all(&pool).await?;
        bail!("the store at {} has no CPU minutes of {group:?}; it has: {}", directory.display(), known.join(", "));
    }
    pool.close().await;
    Ok((rows, bounds))
}
