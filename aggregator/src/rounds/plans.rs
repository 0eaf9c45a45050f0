//! The plan log: every plan that differs from the one before, so that "why" has an answer later.

use foreshadow_proto::convert::Id;
use planner::plan::Plan;
use serde_json::Value;
use sqlx::{Row, SqlitePool};

use super::sql;

/// Plans are kept this long, seconds.
const KEPT_SECONDS: i64 = 30 * 86_400;

/// Reads and writes plans. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PlanLog(SqlitePool);

impl PlanLog {
    pub const fn new(pool: SqlitePool) -> Self {
        Self(pool)
    }

    /// The latest generation of a group; 0 before the first.
    pub async fn generation(&self, group: &Id) -> Result<u64, sqlx::Error> {
        let last: i64 = sqlx::query_scalar(sql::PLAN_LAST).bind(group.as_str()).fetch_one(&self.0).await?;
        Ok(u64::try_from(last).unwrap_or_default())
    }

    pub(super) async fn write(&self, group: &Id, plan: &Plan, shown: &Value) -> Result<(), sqlx::Error> {
        sqlx::query(sql::PLAN_WRITE)
            .bind(group.as_str())
            .bind(i64::try_from(plan.generation).unwrap_or(i64::MAX))
            .bind(plan.made_at)
            .bind(shown.to_string())
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// The latest plans of a group that were made at or before `at`, newest first.
    pub async fn plans(&self, group: &Id, limit: u32, at: i64) -> Result<Vec<Value>, sqlx::Error> {
        let query = sqlx::query(sql::PLAN_READ).bind(group.as_str()).bind(i64::from(limit)).bind(at);
        let mut plans = Vec::new();
        for row in query.fetch_all(&self.0).await? {
            let body: String = row.try_get(0)?;
            plans.extend(serde_json::from_str::<Value>(&body).ok());
        }
        Ok(plans)
    }

    /// One plan of a group, or the first and last generation that are kept.
    pub async fn plan(&self, group: &Id, generation: u64) -> Result<Result<Value, (i64, i64)>, sqlx::Error> {
        let number = i64::try_from(generation).unwrap_or(i64::MAX);
        let query = sqlx::query_scalar::<_, String>(sql::PLAN_ONE).bind(group.as_str()).bind(number);
        if let Some(plan) = query.fetch_optional(&self.0).await?.and_then(|body| serde_json::from_str(&body).ok()) {
            return Ok(Ok(plan));
        }
        let row = sqlx::query(sql::PLAN_SPAN).bind(group.as_str()).fetch_one(&self.0).await?;
        Ok(Err((row.try_get(0)?, row.try_get(1)?)))
    }

    pub(super) async fn expire(&self, now: i64) -> Result<(), sqlx::Error> {
        sqlx::query(sql::PLAN_EXPIRE).bind(now - KEPT_SECONDS).execute(&self.0).await?;
        Ok(())
    }
}
