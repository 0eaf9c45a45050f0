//! What was told, on disk: a restart tells nothing twice, and what it owes. Only what changed is written.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;
use sqlx::{Row as _, SqlitePool};

use super::alarm::{Alarm, Kind};
use super::send::MOST_WAITING;
use super::sql;
use super::told::Standing;

/// Alarms that are kept: all of some thousand groups. What is beyond is told anew after a restart.
const MOST_ALARMS: usize = 10_000;

/// A change that was not taken yet; the place gives the order.
pub type Waiting = VecDeque<(i64, Value)>;

/// What of an alarm is worth a write: its words change every minute.
type Times = (i64, Option<i64>);

/// Reads and writes it.
#[derive(Debug)]
pub struct Kept {
    pool: SqlitePool,
    /// What is on the disk; `None` where that is not known: all is written anew then.
    alarms: Option<BTreeMap<(Kind, String), Times>>,
    changes: BTreeSet<i64>,
}

impl Kept {
    pub const fn new(pool: SqlitePool) -> Self {
        Self { pool, alarms: None, changes: BTreeSet::new() }
    }

    /// What was told before, and what was not taken. A row of a later version is left out, and overwritten.
    pub async fn read(&mut self) -> Result<(Vec<Standing>, Waiting), sqlx::Error> {
        let most = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let rows = sqlx::query(sql::ALARM_READ).bind(most(MOST_ALARMS)).fetch_all(&self.pool).await?;
        let mut told = Vec::new();
        let mut whole = true;
        for row in &rows {
            let body: String = row.try_get(2)?;
            match serde_json::from_str::<Alarm>(&body) {
                Ok(alarm) => told.push(Standing::again(alarm, row.try_get(0)?, row.try_get(1)?)),
                Err(_) => whole = false,
            }
        }
        let rows = sqlx::query(sql::ALARM_CHANGE_READ).bind(most(MOST_WAITING)).fetch_all(&self.pool).await?;
        let mut waiting = Waiting::new();
        for row in &rows {
            let body: String = row.try_get(1)?;
            match serde_json::from_str(&body) {
                Ok(change) => waiting.push_back((row.try_get(0)?, change)),
                Err(_) => whole = false,
            }
        }
        self.alarms = whole.then(|| told.iter().map(|it| (key(it), (it.since, it.over))).collect());
        self.changes = waiting.iter().map(|(place, _)| *place).collect();
        Ok((told, waiting))
    }

    /// Makes the disk say what was told and what waits; all or nothing of it.
    pub async fn write<'a>(
        &mut self,
        told: impl Iterator<Item = &'a Standing>,
        waiting: &Waiting,
    ) -> Result<(), sqlx::Error> {
        let told: BTreeMap<(Kind, String), &Standing> = told.take(MOST_ALARMS).map(|it| (key(it), it)).collect();
        let there = self.alarms.clone().unwrap_or_default();
        let times = |standing: &Standing| (standing.since, standing.over);
        let written: Vec<_> = told.iter().filter(|(key, it)| there.get(*key) != Some(&times(it))).collect();
        let gone: Vec<_> = there.keys().filter(|key| !told.contains_key(*key)).collect();
        let places: BTreeSet<i64> = waiting.iter().map(|(place, _)| *place).collect();
        let taken: Vec<i64> = self.changes.difference(&places).copied().collect();
        let new: Vec<_> = waiting.iter().filter(|(place, _)| !self.changes.contains(place)).collect();
        if self.alarms.is_some() && written.is_empty() && gone.is_empty() && taken.is_empty() && new.is_empty() {
            return Ok(());
        }
        let mut transaction = self.pool.begin().await?;
        if self.alarms.is_none() {
            sqlx::query(sql::ALARM_CLEAR).execute(&mut *transaction).await?;
            sqlx::query(sql::ALARM_CHANGE_CLEAR).execute(&mut *transaction).await?;
        }
        for ((kind, subject), standing) in written {
            let body = serde_json::to_string(&standing.alarm).unwrap_or_default();
            let row = sqlx::query(sql::ALARM_WRITE).bind(kind.name()).bind(subject).bind(standing.since);
            row.bind(standing.over).bind(body).execute(&mut *transaction).await?;
        }
        for (kind, subject) in gone {
            sqlx::query(sql::ALARM_REMOVE).bind(kind.name()).bind(subject).execute(&mut *transaction).await?;
        }
        for place in taken {
            sqlx::query(sql::ALARM_CHANGE_REMOVE).bind(place).execute(&mut *transaction).await?;
        }
        let new = if self.alarms.is_none() { waiting.iter().collect() } else { new };
        for (place, change) in new {
            let row = sqlx::query(sql::ALARM_CHANGE_WRITE).bind(place).bind(change.to_string());
            row.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        self.alarms = Some(told.iter().map(|(key, it)| (key.clone(), times(it))).collect());
        self.changes = places;
        Ok(())
    }
}

fn key(standing: &Standing) -> (Kind, String) {
    (standing.alarm.kind, standing.alarm.subject.clone())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::json;

    use super::super::alarm::Severity;
    use super::*;
    use crate::clock::SystemClock;
    use crate::store::{Embedded, Options};

    fn standing(subject: &str, since: i64, over: Option<i64>) -> Standing {
        let alarm = Alarm {
            kind: Kind::StaleData,
            subject: subject.to_owned(),
            group: Some(subject.to_owned()),
            severity: Severity::Ticket,
            summary: format!("{subject} is silent"),
            remedy: "look".to_owned(),
        };
        Standing::again(alarm, since, over)
    }

    #[tokio::test]
    async fn what_was_told_and_what_waits_is_read_again_as_it_was_left() {
        let directory = tempfile::tempdir().expect("a directory");
        let options = Options {
            directory: directory.path().to_owned(),
            raw_retention: Duration::from_secs(3_600),
            minute_retention: Duration::from_secs(86_400),
        };
        let store = Embedded::open(options, Arc::new(SystemClock), [7; 16]).await.expect("a store");
        let read = async || Kept::new(store.pool()).read().await.expect("read");
        assert_eq!(read().await, (Vec::new(), Waiting::new()));

        let mut kept = Kept::new(store.pool());
        let change = |place: i64| (place, json!({ "id": place }));
        let (web, shop) = (standing("web", 5, None), standing("shop", 4, None));
        let waiting = Waiting::from([change(3), change(4)]);
        kept.write([&web, &shop].into_iter(), &waiting).await.expect("written");
        assert_eq!(read().await, (vec![web, shop.clone()], waiting));
        // One is over, the other was so long ago that nobody is told any more; one change was taken, one came.
        let (over, waiting) = (standing("web", 5, Some(9)), Waiting::from([change(4), change(5)]));
        kept.write([&over].into_iter(), &waiting).await.expect("written");
        assert_eq!(read().await, (vec![over.clone()], waiting.clone()));

        // What a later version wrote is left out, and is gone with the next that is told.
        sqlx::query("UPDATE alarm SET kind = 'Later', body = '{\"kind\": \"later\"}'")
            .execute(&store.pool())
            .await
            .expect("changed");
        let mut kept = Kept::new(store.pool());
        assert_eq!(kept.read().await.expect("read"), (Vec::new(), waiting.clone()));
        kept.write([&shop].into_iter(), &waiting).await.expect("written");
        assert_eq!(read().await, (vec![shop], waiting));
    }
}
