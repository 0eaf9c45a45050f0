//! The book on disk: durable, so that a restart forgets no lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use foreshadow_proto::convert::Id;
use sqlx::{Row, SqlitePool};
use tokio::sync::RwLock;

use super::book::{Book, Changed, SHOWN_SECONDS, SessionError};
use super::{ConfigProblem, Origin, Seen, ShadowConfig, ShadowSession, sql};
use crate::clock::Now;
use crate::observe::{Move, Timeline};

#[derive(Debug, thiserror::Error)]
pub enum ShadowError {
    /// Every field that is wrong.
    #[error("the shadow configuration has {} problem(s)", .0.len())]
    Invalid(Vec<ConfigProblem>),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("what is stored cannot be read: {0}")]
    Corrupt(String),
}

/// The sessions and their configuration. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sessions {
    pool: SqlitePool,
    timeline: Timeline,
    book: Arc<RwLock<Book>>,
    /// `PUT /shadow/config` was called: what the file says does not count any more.
    put: Arc<AtomicBool>,
}

impl Sessions {
    /// Reads what is stored; `first` is the configuration until one was set.
    pub async fn open(
        pool: SqlitePool,
        timeline: Timeline,
        first: ShadowConfig,
        now: Now,
    ) -> Result<Self, ShadowError> {
        let corrupt = |error: String| ShadowError::Corrupt(error);
        let stored = sqlx::query(sql::CONFIG_READ).fetch_optional(&pool).await?;
        let put = Arc::new(AtomicBool::new(stored.is_some()));
        let config = match stored {
            None => first,
            Some(row) => serde_json::from_str(row.try_get(0)?).map_err(|error| corrupt(error.to_string()))?,
        };
        let mut sessions = Vec::new();
        for row in sqlx::query(sql::SESSION_READ).bind(now.wall - SHOWN_SECONDS).fetch_all(&pool).await? {
            let id = |index: usize| -> Result<Id, ShadowError> {
                row.try_get::<String, _>(index)?.parse::<Id>().map_err(|error| corrupt(error.to_string()))
            };
            let (started, until): (i64, i64) = (row.try_get(5)?, row.try_get(6)?);
            let mut session = ShadowSession {
                session: row.try_get(0)?,
                instance: id(1)?,
                group: id(2)?,
                instance_type: row.try_get(3)?,
                origin: if row.try_get::<&str, _>(4)? == "ours" { Origin::Ours } else { Origin::Foreign },
                started,
                until,
                ended: row.try_get(7)?,
                seen: row.try_get::<Option<&str>, _>(13)?.and_then(seen),
                reason: row.try_get(8)?,
                price_per_hour: row.try_get(9)?,
                version: row.try_get(10)?,
                // Sessions of before there were limits and a second clock.
                hard_limit: row.try_get::<Option<i64>, _>(11)?.unwrap_or(started + i64::from(config.maximum_seconds)),
                boot_until: row.try_get::<Option<i64>, _>(12)?.unwrap_or(i64::MAX),
            };
            session.resume(now);
            sessions.push(session);
        }
        Ok(Self { pool, timeline, book: Arc::new(RwLock::new(Book::new(config, sessions))), put })
    }

    /// The file's configuration changed; it holds unless one was put.
    pub async fn follow_file(&self, config: ShadowConfig) {
        let mut book = self.book.write().await;
        if !self.put.load(Ordering::Relaxed) {
            book.config = config;
        }
    }

    pub async fn config(&self) -> ShadowConfig {
        self.book.read().await.config.clone()
    }

    /// Sets the configuration for sessions that open from now on; durable before it holds.
    pub async fn put_config(&self, config: ShadowConfig) -> Result<(), ShadowError> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(ShadowError::Invalid(problems));
        }
        let body = serde_json::to_string(&config).map_err(|error| ShadowError::Corrupt(error.to_string()))?;
        let mut book = self.book.write().await;
        sqlx::query(sql::CONFIG_WRITE).bind(body).execute(&self.pool).await?;
        self.put.store(true, Ordering::Relaxed);
        book.config = config;
        Ok(())
    }

    /// Open sessions and those that ended in the last seven days, oldest first.
    pub async fn sessions(&self) -> Vec<ShadowSession> {
        self.book.read().await.sessions().to_vec()
    }

    /// The open session of an instance.
    pub async fn open_of(&self, instance: &Id) -> Option<ShadowSession> {
        self.book.read().await.open(instance).cloned()
    }

    /// The open sessions of a group.
    pub async fn open_in(&self, group: &Id) -> Vec<ShadowSession> {
        let book = self.book.read().await;
        let open = book.sessions().iter().filter(|session| session.ended.is_none() && session.group == *group);
        open.cloned().collect()
    }

    /// A Detach of ours names these instances: when they leave, the session is ours.
    pub async fn mark_ours(&self, instances: &[Id], reason: &str) {
        self.book.write().await.mark_ours(instances, reason);
    }

    /// After a start, as it was before: see [`Book::mark_again`].
    pub async fn mark_again(&self, instance: Id, reason: String, back: Option<i64>) {
        self.book.write().await.mark_again(instance, reason, back);
    }

    /// A Detach of ours was given up, and may have been done to these after all, or may yet be: whoever leaves is foreign.
    pub async fn doubt(&self, instances: &[Id], now: Now) {
        self.book.write().await.doubt(instances, now);
    }

    /// They were not detached after all.
    pub async fn unmark(&self, instances: &[Id]) {
        self.book.write().await.unmark(instances);
    }

    /// Follows the timeline: opens, closes and ends leases.
    /// Gives back the foreign sessions that opened.
    pub async fn follow(&self, moves: &[Move], now: Now) -> Vec<ShadowSession> {
        let mut book = self.book.write().await;
        let changed = book.follow(moves, now);
        if let Err(error) = self.write(&changed).await {
            tracing::error!(%error, "a shadow session cannot be written");
        }
        self.tell(&book, &changed);
        let opened = |session: &ShadowSession| session.ended.is_none() && session.origin == Origin::Foreign;
        changed.sessions.into_iter().filter(opened).collect()
    }

    /// Extends a lease of ours by its own length.
    pub async fn extend(&self, instance: &Id, why: &str, now: Now) -> Result<ShadowSession, ShadowError> {
        self.change(instance, |book| book.extend(instance, why, now)).await
    }

    /// Extends every lease over a jump of the clock, seconds.
    pub async fn extend_all(&self, by: i64, now: Now) -> Result<(), ShadowError> {
        let mut book = self.book.write().await;
        let changed = book.extend_all(by, now);
        self.write(&changed).await?;
        self.tell(&book, &changed);
        Ok(())
    }

    /// Stops measuring an instance and leaves it running.
    pub async fn release(&self, instance: &Id, why: &str, now: Now) -> Result<ShadowSession, ShadowError> {
        self.change(instance, |book| book.release(instance, why, now)).await
    }

    /// Ends the session of an instance that is no more.
    pub async fn close(&self, instance: &Id, why: &str, now: Now) -> Result<ShadowSession, ShadowError> {
        self.change(instance, |book| book.close(instance, why, now)).await
    }

    /// Says why an instance left its group, where nobody said so yet.
    pub async fn explain(&self, instance: &Id, why: &str) -> Result<(), ShadowError> {
        let mut book = self.book.write().await;
        let mut next = book.clone();
        let changed = next.explain(instance, why)?;
        self.write(&changed).await?;
        *book = next;
        Ok(())
    }

    /// Makes a foreign shadow ours.
    pub async fn adopt(&self, instance: &Id, why: &str) -> Result<ShadowSession, ShadowError> {
        self.change(instance, |book| book.adopt(instance, why)).await
    }

    /// Durable before it holds.
    async fn change(
        &self,
        instance: &Id,
        by: impl FnOnce(&mut Book) -> Result<Changed, SessionError>,
    ) -> Result<ShadowSession, ShadowError> {
        let mut book = self.book.write().await;
        let mut next = book.clone();
        let changed = by(&mut next)?;
        self.write(&changed).await?;
        *book = next;
        self.tell(&book, &changed);
        let session = changed.sessions.into_iter().next();
        session.ok_or_else(|| SessionError::NotOpen(instance.to_string()).into())
    }

    /// The timeline, and through it the agents, learn of leases.
    fn tell(&self, book: &Book, changed: &Changed) {
        for session in &changed.sessions {
            match session.ended {
                None => tracing::info!(
                    instance = %session.instance, group = %session.group, until = session.until, reason = session.reason,
                    "shadow session"
                ),
                Some(_) => {
                    tracing::info!(instance = %session.instance, reason = session.reason, "shadow session ends");
                }
            }
            if session.ended.is_none() && session.until - session.started > 0 {
                metrics::counter!("foreshadow_shadow_sessions_changed_total").increment(1);
            }
        }
        for instance in &changed.released {
            self.timeline.release(instance);
        }
        for session in book.sessions() {
            let until = if session.ended.is_some() { 0 } else { session.until * 1_000_000 };
            let newest = book.sessions().iter().rev().find(|other| other.instance == session.instance);
            if newest.is_some_and(|newest| newest.session == session.session) {
                self.timeline.lease(&session.instance, until, session.origin == Origin::Ours);
            }
        }
    }

    async fn write(&self, changed: &Changed) -> Result<(), sqlx::Error> {
        for session in &changed.sessions {
            sqlx::query(sql::SESSION_WRITE)
                .bind(session.session)
                .bind(session.instance.as_str())
                .bind(session.group.as_str())
                .bind(&session.instance_type)
                .bind(if session.origin == Origin::Ours { "ours" } else { "foreign" })
                .bind(session.started)
                .bind(session.until)
                .bind(session.ended)
                .bind(&session.reason)
                .bind(session.price_per_hour)
                .bind(&session.version)
                .bind(session.hard_limit)
                .bind(session.boot_until)
                .bind(session.seen.map(word))
                .execute(&self.pool)
                .await?;
        }
        Ok(())
    }
}

/// How it is stored.
const fn word(seen: Seen) -> &'static str {
    match seen {
        Seen::Back => "back",
        Seen::Gone => "gone",
    }
}

fn seen(word: &str) -> Option<Seen> {
    [Seen::Back, Seen::Gone].into_iter().find(|it| self::word(*it) == word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::service::tests::kept_in;
    use crate::clock::{Clock, SystemClock};
    use crate::observe::{InstanceMode, Patience, Placement};

    #[tokio::test]
    async fn what_was_seen_to_end_a_session_is_known_after_a_restart_as_what_a_word_ended() {
        let directory = tempfile::tempdir().expect("a directory");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (store, now) = (kept_in(directory.path(), clock.clone()).await, clock.now());
        let opened = async || {
            let timeline = Timeline::new(Patience { warm_up: 0, drain: 0, silent: 0 }, 1_000, 1_000);
            Sessions::open(store.pool(), timeline, ShadowConfig::default(), now).await.expect("sessions")
        };
        let id = |name: &str| Id::new("id", name).expect("an id");
        let moved = |name: &str, mode| Move {
            instance: id(name),
            from: None,
            to: Placement { group: id("web"), mode, since_micros: 0 },
            claimed: false,
            instance_type: None,
            version: None,
            word: Some("detached"),
            why: None,
        };
        let sessions = opened().await;
        let names = ["i-back", "i-gone", "i-released", "i-open"];
        sessions.follow(&names.map(|name| moved(name, InstanceMode::Shadow)), now).await;
        sessions.follow(&[moved("i-back", InstanceMode::Serving), moved("i-gone", InstanceMode::Gone)], now).await;
        sessions.release(&id("i-released"), "ana: keep it", now).await.expect("released");
        let seen: Vec<_> =
            opened().await.sessions().await.into_iter().map(|it| (it.instance.to_string(), it.seen)).collect();
        let expected = [Some(Seen::Back), Some(Seen::Gone), None, None];
        assert_eq!(seen, names.map(str::to_owned).into_iter().zip(expected).collect::<Vec<_>>());
    }
}
