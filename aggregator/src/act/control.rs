//! How far Foreshadow may go in each group, and whether it is paused: durable, and changed by an
//! explicit call with a reason alone. A file or an upgrade never loosens anything here.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use foreshadow_proto::convert::Id;
use planner::policy::Mode;
use serde::Serialize;
use sqlx::{Row, SqlitePool};

use super::sql;

/// What pauses everything; no group can have this name.
const EVERYWHERE: &str = "*";

/// What was last said of a group, or of all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Said {
    #[schema(value_type = String)]
    pub mode: Mode,
    pub paused: bool,
    /// Seconds since the Unix epoch.
    pub at: i64,
    pub by: String,
    pub reason: String,
}

/// Leave to go below what was needed in the same hour a week ago.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Leave {
    /// Until when, seconds since the Unix epoch; one that is over is shown still.
    pub until: i64,
    pub at: i64,
    pub by: String,
    pub reason: String,
}

/// What holds for a group now. The default is that nothing is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Standing {
    #[schema(value_type = String)]
    pub mode: Mode,
    /// What the configuration file allows at most.
    #[schema(value_type = String)]
    pub at_most: Mode,
    /// Paused by itself or with everything else.
    pub paused: bool,
    /// What was last said of the group; absent when nothing ever was.
    pub group: Option<Said>,
    /// What was last said of everything.
    pub everywhere: Option<Said>,
    /// The last leave to go below last week's need.
    pub leave: Option<Leave>,
}

/// Reads and changes what may be done. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Control {
    pool: SqlitePool,
    /// By group: the highest mode that the configuration file allows.
    ceilings: Arc<RwLock<BTreeMap<Id, Mode>>>,
    said: Arc<RwLock<BTreeMap<String, Said>>>,
    leaves: Arc<RwLock<BTreeMap<Id, Leave>>>,
}

impl Control {
    /// Reads what was said before. A file's ceilings can only tighten it, and do so for good: a ceiling that is taken away
    /// again gives no mode back. `now` in seconds since the Unix epoch.
    pub async fn open(pool: SqlitePool, ceilings: BTreeMap<Id, Mode>, now: i64) -> Result<Self, sqlx::Error> {
        let mut said = BTreeMap::new();
        for row in sqlx::query(sql::CONTROL_READ).fetch_all(&pool).await? {
            let mode: String = row.try_get(1)?;
            // A word of a later version is taken for the weakest: doubt never acts.
            let mode = [Mode::Observe, Mode::ScaleOut, Mode::Full].into_iter().find(|known| known.to_string() == mode);
            let entry = Said {
                mode: mode.unwrap_or_default(),
                paused: row.try_get::<i64, _>(2)? != 0,
                at: row.try_get(3)?,
                by: row.try_get(4)?,
                reason: row.try_get(5)?,
            };
            said.insert(row.try_get(0)?, entry);
        }
        let mut leaves = BTreeMap::new();
        for row in sqlx::query(sql::LEAVE_READ).fetch_all(&pool).await? {
            let Ok(group) = Id::new("group", &row.try_get::<String, _>(0)?) else { continue };
            let (until, at) = (row.try_get(1)?, row.try_get(2)?);
            leaves.insert(group, Leave { until, at, by: row.try_get(3)?, reason: row.try_get(4)? });
        }
        let (said, leaves) = (Arc::new(RwLock::new(said)), Arc::new(RwLock::new(leaves)));
        let control = Self { pool, ceilings: Arc::default(), said, leaves };
        control.follow(ceilings, now).await?;
        Ok(control)
    }

    /// What the file allows at most changed: lower ones lower modes for good, higher ones give none back.
    pub async fn follow(&self, ceilings: BTreeMap<Id, Mode>, now: i64) -> Result<(), sqlx::Error> {
        for (group, at_most) in &ceilings {
            let above = self.last(group.as_str()).filter(|said| said.mode > *at_most);
            if let Some(said) = above {
                let reason = format!("mode = \"{at_most}\" is written there; before: {}: {}", said.by, said.reason);
                tracing::warn!(%group, from = %said.mode, to = %at_most, "the configuration file lowers the mode");
                self.set_mode(group, *at_most, now, "the configuration file", &reason).await?;
            }
        }
        *self.ceilings.write().unwrap_or_else(PoisonError::into_inner) = ceilings;
        Ok(())
    }

    /// The groups in which something may be done.
    pub fn beyond_observe(&self) -> Vec<Id> {
        let said = self.said.read().unwrap_or_else(PoisonError::into_inner);
        let beyond = said.iter().filter(|(name, said)| *name != EVERYWHERE && said.mode > Mode::Observe);
        beyond.filter_map(|(name, _)| Id::new("group", name).ok()).collect()
    }

    /// The groups that are paused by themselves: they stay so when everything is resumed.
    pub fn paused_groups(&self) -> Vec<String> {
        let said = self.said.read().unwrap_or_else(PoisonError::into_inner);
        said.iter().filter(|(name, said)| *name != EVERYWHERE && said.paused).map(|(name, _)| name.clone()).collect()
    }

    /// What holds for a group.
    pub fn standing(&self, group: &Id) -> Standing {
        let said = self.said.read().unwrap_or_else(PoisonError::into_inner);
        let (own, all) = (said.get(group.as_str()).cloned(), said.get(EVERYWHERE).cloned());
        let ceilings = self.ceilings.read().unwrap_or_else(PoisonError::into_inner);
        let at_most = ceilings.get(group).copied().unwrap_or(Mode::Full);
        Standing {
            mode: own.as_ref().map_or(Mode::Observe, |own| own.mode).min(at_most),
            at_most,
            paused: own.iter().chain(&all).any(|said| said.paused),
            group: own,
            everywhere: all,
            leave: self.leaves.read().unwrap_or_else(PoisonError::into_inner).get(group).cloned(),
        }
    }

    /// By group: until when it may go below last week's need, seconds since the Unix epoch.
    pub fn leaves(&self) -> BTreeMap<Id, i64> {
        let leaves = self.leaves.read().unwrap_or_else(PoisonError::into_inner);
        leaves.iter().map(|(group, leave)| (group.clone(), leave.until)).collect()
    }

    /// Gives a group leave to go below last week's need, or with a time that is over takes it back; durable on return.
    pub async fn give_leave(&self, group: &Id, leave: Leave) -> Result<(), sqlx::Error> {
        sqlx::query(sql::LEAVE_WRITE)
            .bind(group.as_str())
            .bind(leave.until)
            .bind(leave.at)
            .bind(&leave.by)
            .bind(&leave.reason)
            .execute(&self.pool)
            .await?;
        self.leaves.write().unwrap_or_else(PoisonError::into_inner).insert(group.clone(), leave);
        Ok(())
    }

    /// What was last said of everything.
    pub fn everywhere(&self) -> Option<Said> {
        self.last(EVERYWHERE)
    }

    /// Pauses or resumes a group, or everything (`None`); durable on return.
    pub async fn pause(
        &self,
        group: Option<&Id>,
        paused: bool,
        at: i64,
        by: &str,
        reason: &str,
    ) -> Result<(), sqlx::Error> {
        let name = group.map_or(EVERYWHERE, Id::as_str);
        let mode = self.last(name).map_or(Mode::Observe, |said| said.mode);
        self.say(name, Said { mode, paused, at, by: by.to_owned(), reason: reason.to_owned() }).await
    }

    /// Sets a group's mode; durable on return.
    pub async fn set_mode(&self, group: &Id, mode: Mode, at: i64, by: &str, reason: &str) -> Result<(), sqlx::Error> {
        let paused = self.last(group.as_str()).is_some_and(|said| said.paused);
        self.say(group.as_str(), Said { mode, paused, at, by: by.to_owned(), reason: reason.to_owned() }).await
    }

    fn last(&self, name: &str) -> Option<Said> {
        self.said.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    async fn say(&self, name: &str, said: Said) -> Result<(), sqlx::Error> {
        sqlx::query(sql::CONTROL_WRITE)
            .bind(name)
            .bind(said.mode.to_string())
            .bind(i64::from(said.paused))
            .bind(said.at)
            .bind(&said.by)
            .bind(&said.reason)
            .execute(&self.pool)
            .await?;
        self.said.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), said);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqlitePoolOptions;

    use super::*;

    #[tokio::test]
    async fn a_ceiling_lowers_a_mode_for_good() {
        let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.expect("a database");
        sqlx::migrate!().run(&pool).await.expect("migrated");
        let web = Id::new("group", "web").expect("an id");
        let start = async |ceiling: Option<Mode>| {
            let ceilings = ceiling.map(|mode| (web.clone(), mode)).into_iter().collect();
            Control::open(pool.clone(), ceilings, 7).await.expect("opened")
        };
        start(None).await.set_mode(&web, Mode::Full, 1, "ana", "ready").await.expect("set");
        assert_eq!(start(Some(Mode::Full)).await.standing(&web).mode, Mode::Full);
        assert_eq!(start(Some(Mode::ScaleOut)).await.standing(&web).mode, Mode::ScaleOut);
        let after = start(None).await.standing(&web);
        assert_eq!((after.mode, after.at_most), (Mode::ScaleOut, Mode::Full), "it does not come back by itself");
        let said = after.group.expect("said");
        assert_eq!((said.by.as_str(), said.at), ("the configuration file", 7));
        assert!(said.reason.contains("ana: ready"), "{}", said.reason);
        assert_eq!(start(Some(Mode::Observe)).await.beyond_observe(), []);
        let control = start(None).await;
        for group in [None, Some(&web)] {
            control.pause(group, true, 8, "ana", "a look").await.expect("paused");
        }
        control.pause(None, false, 9, "ana", "seen").await.expect("resumed");
        assert_eq!(control.paused_groups(), ["web"], "a group's own pause is not ended with that of everything");
    }
}
