//! Where decisions are kept, for a bounded time and number.

use foreshadow_proto::convert::Id;
use serde::Serialize;
use serde_json::Value;
use sqlx::{Row, SqlitePool};

use super::{Decision, sql};

/// Decisions are kept this long, seconds.
const KEPT_SECONDS: i64 = 30 * 86_400;
/// No group keeps more than its latest so many: about 10 kB each, more with hundreds of instances.
const KEPT_EACH: i64 = 2_000;

/// A decision that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Kept {
    pub generation: u64,
    /// Seconds since the Unix epoch.
    pub made_at: i64,
}

/// Reads and adds decisions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DecisionLog(SqlitePool);

impl DecisionLog {
    pub const fn new(pool: SqlitePool) -> Self {
        Self(pool)
    }

    /// Adds a decision; durable on return. One that is there already stays as it is.
    pub async fn write(&self, decision: &Decision) -> Result<(), sqlx::Error> {
        let body = serde_json::to_string(decision).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
        sqlx::query(sql::DECISION_WRITE)
            .bind(&decision.plan.group)
            .bind(i64::try_from(decision.plan.generation).unwrap_or(i64::MAX))
            .bind(decision.plan.made_at)
            .bind(body)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// One decision as it was written.
    pub async fn decision(&self, group: &Id, generation: u64) -> Result<Option<Value>, sqlx::Error> {
        let number = i64::try_from(generation).unwrap_or(i64::MAX);
        let query = sqlx::query_scalar::<_, String>(sql::DECISION_ONE).bind(group.as_str()).bind(number);
        let body = query.fetch_optional(&self.0).await?;
        body.map(|body| serde_json::from_str(&body)).transpose().map_err(|error| sqlx::Error::Decode(Box::new(error)))
    }

    /// The latest that were made at or before `at`, newest first.
    pub async fn latest(&self, group: &Id, at: i64, limit: u32) -> Result<Vec<Kept>, sqlx::Error> {
        let query = sqlx::query(sql::DECISION_LIST).bind(group.as_str()).bind(at).bind(i64::from(limit));
        let kept = query.fetch_all(&self.0).await?.into_iter().map(|row| {
            let generation: i64 = row.try_get(0)?;
            Ok(Kept { generation: u64::try_from(generation).unwrap_or_default(), made_at: row.try_get(1)? })
        });
        kept.collect()
    }

    /// Drops what is too old or too much.
    pub async fn expire(&self, now: i64) -> Result<(), sqlx::Error> {
        sqlx::query(sql::DECISION_EXPIRE).bind(now - KEPT_SECONDS).execute(&self.0).await?;
        let groups = sqlx::query_scalar::<_, String>(sql::DECISION_GROUPS).bind(KEPT_EACH);
        for group in groups.fetch_all(&self.0).await? {
            sqlx::query(sql::DECISION_BOUND).bind(group).bind(KEPT_EACH).execute(&self.0).await?;
        }
        Ok(())
    }
}
