//! The audit log: who changed what, when and why. Entries are chained: each has the SHA-256 of the one before and
//! itself, so that one that was altered, taken out or put in shows. That the last ones were cut off shows by an
//! anchor: entry and hash are in the process's log as well, where they may be kept out of reach.

use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection, SqlitePool};
use tokio::sync::Mutex;

use super::{Caller, hex, sql};
use crate::revision::Revision;

/// What the first entry is chained to.
const BEGINNING: [u8; 32] = [0; 32];

/// Writes and reads the log. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Audit {
    pool: SqlitePool,
    /// One entry after the other.
    turn: Arc<Mutex<()>>,
    revision: Revision,
}

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
    /// SHA-256 over the entry before and this one, hexadecimal.
    pub hash: Option<String>,
}

impl AuditEntry {
    fn read(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            entry: row.try_get(0)?,
            at_micros: row.try_get(1)?,
            caller: row.try_get(2)?,
            role: row.try_get(3)?,
            action: row.try_get(4)?,
            detail: row.try_get(5)?,
            reason: row.try_get(6)?,
            hash: row.try_get::<Option<Vec<u8>>, _>(7)?.map(|hash| hex(&hash)),
        })
    }

    fn chained(&self, previous: &[u8]) -> [u8; 32] {
        let fields = (self.entry, self.at_micros, &self.caller, &self.role, &self.action, &self.detail, &self.reason);
        // A JSON array: no two entries are written alike.
        let text = serde_json::to_vec(&fields).unwrap_or_default();
        Sha256::new().chain_update(previous).chain_update(text).finalize().into()
    }
}

impl Audit {
    /// Opens the log; entries from before there was a chain are chained once.
    pub async fn open(pool: SqlitePool) -> Result<Self, sqlx::Error> {
        let chained: i64 = sqlx::query_scalar(sql::AUDIT_CHAINED).fetch_one(&pool).await?;
        if chained == 0 {
            let mut transaction = pool.begin().await?;
            let (mut previous, mut last) = (BEGINNING, 0);
            loop {
                let rows = sqlx::query(sql::AUDIT_WALK).bind(last).fetch_all(&mut *transaction).await?;
                for row in &rows {
                    let entry = AuditEntry::read(row)?;
                    (previous, last) = (entry.chained(&previous), entry.entry);
                    let chain = sqlx::query(sql::AUDIT_CHAIN).bind(previous.to_vec()).bind(last);
                    chain.execute(&mut *transaction).await?;
                }
                if rows.is_empty() {
                    break;
                }
            }
            transaction.commit().await?;
        }
        Ok(Self { pool, turn: Arc::default(), revision: Revision::default() })
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
        let _turn = self.turn.lock().await;
        let mut transaction = self.pool.begin().await?;
        let last = sqlx::query(sql::AUDIT_LAST).fetch_optional(&mut *transaction).await?;
        let (last, previous) = match last {
            None => (0, BEGINNING.to_vec()),
            // An entry without a hash was put in by somebody else: what follows it does not hide that.
            Some(row) => (row.try_get(0)?, row.try_get::<Option<Vec<u8>>, _>(1)?.unwrap_or_default()),
        };
        let entry = AuditEntry {
            entry: last + 1,
            at_micros,
            caller: caller.name.clone(),
            role: caller.role.as_str().to_owned(),
            action: action.to_owned(),
            detail: detail.to_owned(),
            reason: reason.to_owned(),
            hash: None,
        };
        let hash = entry.chained(&previous);
        sqlx::query(sql::AUDIT_WRITE)
            .bind(entry.entry)
            .bind(entry.at_micros)
            .bind(&entry.caller)
            .bind(&entry.role)
            .bind(&entry.action)
            .bind(&entry.detail)
            .bind(&entry.reason)
            .bind(hash.to_vec())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        self.revision.changed();
        tracing::info!(entry = entry.entry, hash = hex(&hash), by = entry.caller, action, "audit");
        Ok(())
    }

    /// Entries since the start.
    pub fn revision(&self) -> u64 {
        self.revision.now()
    }

    /// The latest entries, newest first.
    pub async fn latest(&self, limit: u32) -> Result<Vec<AuditEntry>, sqlx::Error> {
        let rows = sqlx::query(sql::AUDIT_READ).bind(i64::from(limit)).fetch_all(&self.pool).await?;
        rows.iter().map(AuditEntry::read).collect()
    }
}

/// An entry and its hash, noted somewhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    pub entry: i64,
    pub hash: String,
}

impl FromStr for Anchor {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?}: an anchor is ENTRY:HASH, as the log says them");
        let (entry, hash) = text.split_once(':').ok_or_else(wrong)?;
        let entry = entry.parse().map_err(|_| wrong())?;
        let hex = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        if hex { Ok(Self { entry, hash: hash.to_ascii_lowercase() }) } else { Err(wrong()) }
    }
}

/// What a walk along the chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verified {
    /// Whole: the last entry and its hash.
    Whole(Anchor),
    Broken(String),
}

/// Walks the whole chain.
pub async fn verify(connection: &mut SqliteConnection, anchors: &[Anchor]) -> Result<Verified, sqlx::Error> {
    let (mut previous, mut last) = (BEGINNING, 0);
    let mut missing: Vec<&Anchor> = anchors.iter().collect();
    loop {
        let rows = sqlx::query(sql::AUDIT_WALK).bind(last).fetch_all(&mut *connection).await?;
        for row in &rows {
            let entry = AuditEntry::read(row)?;
            if entry.entry != last + 1 {
                return Ok(Verified::Broken(format!("entry {} is missing", last + 1)));
            }
            last = entry.entry;
            previous = entry.chained(&previous);
            let hash = hex(&previous);
            if entry.hash.as_ref() != Some(&hash) {
                return Ok(Verified::Broken(format!("entry {last} was altered, or put in, or the one before it was")));
            }
            if missing.iter().any(|anchor| anchor.entry == last && anchor.hash != hash) {
                return Ok(Verified::Broken(format!(
                    "entry {last} is not the one that was noted: the log was rewritten"
                )));
            }
            missing.retain(|anchor| anchor.entry != last);
        }
        if rows.is_empty() {
            break;
        }
    }
    Ok(match missing.first() {
        Some(anchor) => Verified::Broken(format!("entry {} was noted and is gone: the log was cut off", anchor.entry)),
        None => Verified::Whole(Anchor { entry: last, hash: hex(&previous) }),
    })
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

    use super::*;
    use crate::identity::Role;

    async fn database() -> SqlitePool {
        let memory = SqliteConnectOptions::new().in_memory(true);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(memory).await.expect("a database");
        sqlx::migrate!().run(&pool).await.expect("migrated");
        pool
    }

    async fn written(entries: u32) -> SqlitePool {
        let pool = database().await;
        let audit = Audit::open(pool.clone()).await.expect("opens");
        for entry in 0..entries {
            let caller = Caller::named("ops", Role::Admin);
            audit.write(i64::from(entry), &caller, "set_mode", "web full", "ready").await.expect("written");
        }
        pool
    }

    async fn checked(pool: &SqlitePool, anchors: &[Anchor]) -> Verified {
        verify(&mut pool.acquire().await.expect("a connection"), anchors).await.expect("reads")
    }

    async fn head(pool: &SqlitePool) -> Anchor {
        match checked(pool, &[]).await {
            Verified::Whole(anchor) => anchor,
            Verified::Broken(why) => panic!("{why}"),
        }
    }

    #[tokio::test]
    async fn whatever_is_done_to_the_log_shows() {
        let pool = written(5).await;
        let anchor = head(&pool).await;
        assert_eq!(anchor.entry, 5);
        assert_eq!(checked(&pool, std::slice::from_ref(&anchor)).await, Verified::Whole(anchor.clone()));
        let tampered = [
            "UPDATE audit SET reason = 'because' WHERE entry = 3",
            "UPDATE audit SET caller = 'other' WHERE entry = 5",
            "UPDATE audit SET at_micros = 7 WHERE entry = 1",
            "UPDATE audit SET hash = NULL WHERE entry = 2",
            "UPDATE audit SET hash = x'00' WHERE entry = 4",
            "DELETE FROM audit WHERE entry = 1",
            "DELETE FROM audit WHERE entry = 3",
            "INSERT INTO audit (entry, at_micros, caller, role, action, detail, reason) VALUES (6, 1, 'a', 'b', 'c', 'd', 'e')",
        ];
        for change in tampered {
            let mut connection = pool.acquire().await.expect("a connection");
            let connection: &mut SqliteConnection = &mut connection;
            sqlx::query("SAVEPOINT before").execute(&mut *connection).await.expect("saved");
            sqlx::query(change).execute(&mut *connection).await.expect("changed");
            let broken = verify(connection, &[]).await.expect("reads");
            assert!(matches!(broken, Verified::Broken(_)), "{change}: {broken:?}");
            sqlx::query("ROLLBACK TO before").execute(&mut *connection).await.expect("undone");
            sqlx::query("RELEASE before").execute(&mut *connection).await.expect("undone");
        }
        // Cut off at the end: only who noted something knows.
        sqlx::query("DELETE FROM audit WHERE entry > 3").execute(&pool).await.expect("changed");
        assert_eq!(head(&pool).await.entry, 3);
        let cut = checked(&pool, std::slice::from_ref(&anchor)).await;
        assert!(matches!(&cut, Verified::Broken(why) if why.contains("cut off")), "{cut:?}");
        // And written on, as if nothing had been.
        let audit = Audit::open(pool.clone()).await.expect("opens");
        for _ in 0..2 {
            audit.write(9, &Caller::named("ops", Role::Admin), "x", "y", "z").await.expect("written");
        }
        let rewritten = checked(&pool, &[anchor]).await;
        assert!(matches!(&rewritten, Verified::Broken(why) if why.contains("rewritten")), "{rewritten:?}");
    }

    #[tokio::test]
    async fn a_log_from_before_the_chain_is_chained_once() {
        let pool = written(3).await;
        sqlx::query("UPDATE audit SET hash = NULL").execute(&pool).await.expect("changed");
        drop(Audit::open(pool.clone()).await.expect("opens"));
        assert_eq!(head(&pool).await.entry, 3);
        sqlx::query("UPDATE audit SET hash = NULL WHERE entry = 2").execute(&pool).await.expect("changed");
        drop(Audit::open(pool.clone()).await.expect("opens"));
        assert!(matches!(checked(&pool, &[]).await, Verified::Broken(_)), "not a second time");
    }

    #[test]
    fn an_anchor_reads_as_it_was_said() {
        let hash = "ab".repeat(32);
        assert_eq!(format!("7:{hash}").parse(), Ok(Anchor { entry: 7, hash }));
        for wrong in ["", "7", "7:", "x:00", "7:zz"] {
            assert!(wrong.parse::<Anchor>().is_err(), "{wrong}");
        }
    }
}
