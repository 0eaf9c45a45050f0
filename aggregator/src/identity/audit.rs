//! The audit log: who changed what, when and why.

use serde::Serialize;
use sqlx::{Row, SqlitePool};

use super::{Caller, sql};

/// Writes and reads the log. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Audit(SqlitePool);

/// One change.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct AuditEntry {
    pub entry: i64,
    /// µs since the Unix epoch.
    pub at_micros: i64,
    pub caller: String,
    pub role: String,
    pub action: String,
    pub detail: String,
    pub reason: String,
}

impl Audit {
    pub const fn new(pool: SqlitePool) -> Self {
        Self(pool)
    }

    /// Adds an entry; durable on return.
    pub async fn write(
        &self,
        at_micros: i64,
        caller: &Caller,
        action: &str,
        detail: &str,
        reason: &str,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(sql::AUDIT_WRITE)
            .bind(at_micros)
            .bind(&caller.name)
            .bind(caller.role.as_str())
            .bind(action)
            .bind(detail)
            .bind(reason)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// The latest entries, newest first.
    pub async fn latest(&self, limit: u32) -> Result<Vec<AuditEntry>, sqlx::Error> {
        let rows = sqlx::query(sql::AUDIT_READ).bind(i64::from(limit)).fetch_all(&self.0).await?;
        rows.iter()
            .map(|row| {
                Ok(AuditEntry {
                    entry: row.try_get(0)?,
                    at_micros: row.try_get(1)?,
                    caller: row.try_get(2)?,
                    role: row.try_get(3)?,
                    action: row.try_get(4)?,
                    detail: row.try_get(5)?,
                    reason: row.try_get(6)?,
                })
            })
            .collect()
    }
}
