//! The journal on disk: intents, what became of them, the lease under which they were written, and
//! the lead times they led to.

use std::ops::RangeInclusive;

use async_trait::async_trait;
use foreshadow_proto::convert::Id;
use serde::Serialize;
use sqlx::{Row, SqlitePool};

use super::journal::{Intent, Settled};
use super::leads::{Kind, Leads};
use super::sql;
use crate::fleet::{Token, Turns};

/// Settled intents are kept this long, seconds.
const KEPT: i64 = 90 * 86_400;
/// Lead times older than this say nothing of today, seconds.
const LEADS_KEPT: i64 = 30 * 86_400;
/// The shard of all groups while one aggregator holds them.
const SHARD: i64 = 0;

/// One line of the journal, as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    #[serde(flatten)]
    pub intent: Intent,
    /// Why the plan wanted it.
    pub reason: String,
    /// When its call may first have gone out, seconds since the epoch; absent while it has not.
    pub sent_at: Option<i64>,
    /// Seconds since the epoch; absent while it is open.
    pub settled_at: Option<i64>,
    pub settled: Option<Settled>,
}

/// Reads and writes the journal. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Intents(SqlitePool);

impl Intents {
    pub const fn new(pool: SqlitePool) -> Self {
        Self(pool)
    }

    /// Durable on return.
    pub async fn write(&self, intent: &Intent, reason: &str) -> Result<(), sqlx::Error> {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        sqlx::query(sql::INTENT_WRITE)
            .bind(intent.token.as_str())
            .bind(intent.group.as_str())
            .bind(number(intent.generation))
            .bind(i64::from(intent.step))
            .bind(number(intent.epoch))
            .bind(serde_json::to_string(intent).unwrap_or_default())
            .bind(reason)
            .bind(intent.written_at)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// From now on its call may have gone out; durable on return. The first time counts.
    pub async fn sent(&self, token: &Token, at: i64) -> Result<(), sqlx::Error> {
        sqlx::query(sql::INTENT_SENT).bind(token.as_str()).bind(at).execute(&self.0).await?;
        Ok(())
    }

    /// Closes an intent; durable on return.
    pub async fn settle(&self, token: &Token, settled: &Settled, at: i64) -> Result<(), sqlx::Error> {
        sqlx::query(sql::INTENT_SETTLE)
            .bind(token.as_str())
            .bind(at)
            .bind(serde_json::to_string(settled).unwrap_or_default())
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// Every open intent and those written since, oldest first.
    pub async fn since(&self, since: i64) -> Result<Vec<Line>, sqlx::Error> {
        lines(sqlx::query(sql::INTENT_READ).bind(since).fetch_all(&self.0).await?)
    }

    /// The latest, newest first.
    pub async fn latest(&self, group: Option<&Id>, limit: u32) -> Result<Vec<Line>, sqlx::Error> {
        self.between(group, i64::MIN..=i64::MAX, limit).await
    }

    /// The latest of those written between two times, newest first.
    pub async fn between(
        &self,
        group: Option<&Id>,
        written: RangeInclusive<i64>,
        limit: u32,
    ) -> Result<Vec<Line>, sqlx::Error> {
        let query = sqlx::query(sql::INTENT_LATEST).bind(group.map_or("", Id::as_str));
        let query = query.bind(*written.start()).bind(*written.end()).bind(i64::from(limit));
        lines(query.fetch_all(&self.0).await?)
    }

    /// How many were written between two times.
    pub async fn count(&self, group: Option<&Id>, written: RangeInclusive<i64>) -> Result<u64, sqlx::Error> {
        let query = sqlx::query_scalar(sql::INTENT_COUNT).bind(group.map_or("", Id::as_str));
        let count: i64 = query.bind(*written.start()).bind(*written.end()).fetch_one(&self.0).await?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// What was done for one plan, in the order of its steps.
    pub async fn of_plan(&self, group: &Id, generation: u64) -> Result<Vec<Line>, sqlx::Error> {
        let number = i64::try_from(generation).unwrap_or(i64::MAX);
        let query = sqlx::query(sql::INTENT_OF_PLAN).bind(group.as_str()).bind(number);
        lines(query.fetch_all(&self.0).await?)
    }

    /// Takes the lease of all groups: the epoch that nobody had before.
    pub async fn take_lease(&self, now: i64) -> Result<u64, sqlx::Error> {
        sqlx::query(sql::LEASE_TAKE).bind(SHARD).bind(now).execute(&self.0).await?;
        self.lease().await
    }

    /// The epoch of whoever took the lease last.
    pub async fn lease(&self) -> Result<u64, sqlx::Error> {
        let epoch: i64 = sqlx::query_scalar(sql::LEASE_READ).bind(SHARD).fetch_one(&self.0).await?;
        Ok(u64::try_from(epoch).unwrap_or_default())
    }

    pub async fn write_lead(
        &self,
        group: &Id,
        instance: &Id,
        kind: Kind,
        seconds: u32,
        served_at: i64,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(sql::LEAD_WRITE)
            .bind(instance.as_str())
            .bind(served_at)
            .bind(group.as_str())
            .bind(kind.word())
            .bind(i64::from(seconds))
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// The lead times of the last thirty days.
    pub async fn leads(&self, now: i64) -> Result<Leads, sqlx::Error> {
        let mut leads = Leads::default();
        for row in sqlx::query(sql::LEAD_READ).bind(now - LEADS_KEPT).fetch_all(&self.0).await? {
            let group = row.try_get::<String, _>(0)?.parse::<Id>();
            let kind = Kind::from_word(row.try_get(1)?);
            if let (Ok(group), Some(kind)) = (group, kind) {
                leads.measured(&group, kind, u32::try_from(row.try_get::<i64, _>(2)?).unwrap_or(u32::MAX));
            }
        }
        Ok(leads)
    }

    pub async fn expire(&self, now: i64) -> Result<(), sqlx::Error> {
        sqlx::query(sql::INTENT_EXPIRE).bind(now - KEPT).execute(&self.0).await?;
        sqlx::query(sql::TURN_EXPIRE).execute(&self.0).await?;
        Ok(())
    }
}

#[async_trait]
impl Turns for Intents {
    async fn turn(&self, token: &Token, share: usize) -> Result<usize, String> {
        let asked = sqlx::query_scalar(sql::TURN_READ).bind(token.as_str()).bind(number(share));
        let found: Option<i64> = asked.fetch_optional(&self.0).await.map_err(|error| error.to_string())?;
        Ok(found.and_then(|turn| usize::try_from(turn).ok()).unwrap_or_default())
    }

    async fn keep(&self, token: &Token, share: usize, turn: usize) -> Result<(), String> {
        let asked = sqlx::query(sql::TURN_WRITE).bind(token.as_str()).bind(number(share)).bind(number(turn));
        asked.execute(&self.0).await.map(drop).map_err(|error| error.to_string())
    }
}

fn number(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn lines(rows: Vec<sqlx::sqlite::SqliteRow>) -> Result<Vec<Line>, sqlx::Error> {
    let decode = |error: serde_json::Error| sqlx::Error::Decode(Box::new(error));
    let mut lines = Vec::new();
    for row in rows {
        let settled: Option<String> = row.try_get(3)?;
        lines.push(Line {
            intent: serde_json::from_str(row.try_get(0)?).map_err(decode)?,
            reason: row.try_get(1)?,
            sent_at: row.try_get(4)?,
            settled_at: row.try_get(2)?,
            settled: settled.map(|text| serde_json::from_str(&text)).transpose().map_err(decode)?,
        });
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::service::tests::kept_in;
    use crate::clock::SystemClock;
    use crate::fleet::Action;
    use crate::store::StoreId;

    #[tokio::test]
    async fn a_range_is_read_newest_first_and_counted_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = kept_in(directory.path(), std::sync::Arc::new(SystemClock)).await;
        let intents = Intents::new(store.pool());
        let groups = ["web", "api"].map(|name| Id::new("group", name).expect("an id"));
        for (number, group) in (0..10).flat_map(|number| groups.iter().map(move |group| (number, group))) {
            let token = Token::new(StoreId([1; 16]), group, number, 0);
            let (action, written_at) = (Action::launch(2, 4), 100 * i64::try_from(number).expect("small"));
            let intent = Intent {
                token,
                group: group.clone(),
                generation: number,
                step: 0,
                epoch: 1,
                action,
                written_at,
                valid_until: written_at + 60,
            };
            intents.write(&intent, "a test").await.expect("written");
        }
        let web = Some(&groups[0]);
        let times = |lines: Vec<Line>| lines.iter().map(|line| line.intent.written_at).collect::<Vec<_>>();
        assert_eq!(times(intents.between(web, 200..=500, 3).await.expect("read")), [500, 400, 300]);
        assert_eq!(intents.count(web, 200..=500).await.expect("counted"), 4);
        assert_eq!(intents.count(None, 200..=500).await.expect("counted"), 8, "of both groups");
        assert_eq!(times(intents.between(web, 901..=i64::MAX, 3).await.expect("read")), [0_i64; 0]);
        assert_eq!(times(intents.latest(web, 2).await.expect("read")), [900, 800]);
        assert_eq!(intents.count(web, i64::MIN..=i64::MAX).await.expect("counted"), 10);
    }

    #[tokio::test]
    async fn turns_outlive_the_process_and_go_with_their_intent() {
        let directory = tempfile::tempdir().expect("a directory");
        let group = Id::new("group", "web").expect("an id");
        let (store, now) = (kept_in(directory.path(), std::sync::Arc::new(SystemClock)).await, KEPT + 1_000);
        let intents = Intents::new(store.pool());
        let [old, open] = [0, 1].map(|step| Token::new(StoreId([1; 16]), &group, 1, step));
        for (step, token) in [(0, &old), (1, &open)] {
            let (token, action) = (token.clone(), Action::launch(2, 4));
            let (written_at, valid_until) = (0, 60);
            let intent =
                Intent { token, group: group.clone(), generation: 1, step, epoch: 1, action, written_at, valid_until };
            intents.write(&intent, "a test").await.expect("written");
        }
        assert_eq!(intents.turn(&open, 0).await, Ok(0), "none was kept");
        for (token, share, turn) in [(&old, 0, 1), (&open, 0, 1), (&open, 1, 3), (&open, 0, 2)] {
            intents.keep(token, share, turn).await.expect("kept");
        }
        // Whoever comes after reads them: the latest of each share.
        let next = Intents::new(store.pool());
        assert_eq!((next.turn(&open, 0).await, next.turn(&open, 1).await), (Ok(2), Ok(3)));
        next.settle(&old, &Settled::Done { instances: Vec::new() }, 500).await.expect("settled");
        next.expire(now).await.expect("expired");
        assert_eq!((next.turn(&old, 0).await, next.turn(&open, 0).await), (Ok(0), Ok(2)));
        store.pool().close().await;
        assert!(next.turn(&open, 0).await.is_err(), "not known is not none");
    }
}
