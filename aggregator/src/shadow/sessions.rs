//! Opens and closes sessions as the timeline moves; durable, so that a restart forgets no lease.

use std::sync::Arc;

use foreshadow_proto::convert::Id;
use sqlx::{Row, SqlitePool};
use tokio::sync::RwLock;

use super::{ConfigProblem, Origin, ShadowConfig, ShadowSession, sql};
use crate::observe::{InstanceMode, Move, Timeline};

/// Ended sessions are shown for this long, seconds.
const SHOWN_SECONDS: i64 = 7 * 86_400;

#[derive(Debug, thiserror::Error)]
pub enum ShadowError {
    /// Every field that is wrong.
    #[error("the shadow configuration has {} problem(s)", .0.len())]
    Invalid(Vec<ConfigProblem>),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("what is stored cannot be read: {0}")]
    Corrupt(String),
}

/// The sessions and their configuration. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sessions {
    pool: SqlitePool,
    state: Arc<RwLock<State>>,
}

#[derive(Debug)]
struct State {
    config: ShadowConfig,
    sessions: Vec<ShadowSession>,
    last: i64,
}

impl Sessions {
    /// Reads what is stored; `first` is the configuration until one was set.
    pub async fn open(pool: SqlitePool, first: ShadowConfig, now: i64) -> Result<Self, ShadowError> {
        let corrupt = |error: String| ShadowError::Corrupt(error);
        let config = match sqlx::query(sql::CONFIG_READ).fetch_optional(&pool).await? {
            None => first,
            Some(row) => serde_json::from_str(row.try_get(0)?).map_err(|error| corrupt(error.to_string()))?,
        };
        let mut sessions = Vec::new();
        for row in sqlx::query(sql::SESSION_READ).bind(now - SHOWN_SECONDS).fetch_all(&pool).await? {
            let id = |index: usize| -> Result<Id, ShadowError> {
                row.try_get::<String, _>(index)?.parse::<Id>().map_err(|error| corrupt(error.to_string()))
            };
            sessions.push(ShadowSession {
                session: row.try_get(0)?,
                instance: id(1)?,
                group: id(2)?,
                instance_type: row.try_get(3)?,
                origin: if row.try_get::<&str, _>(4)? == "ours" { Origin::Ours } else { Origin::Foreign },
                started: row.try_get(5)?,
                until: row.try_get(6)?,
                ended: row.try_get(7)?,
                reason: row.try_get(8)?,
                price_per_hour: row.try_get(9)?,
            });
        }
        let last = sessions.iter().map(|session| session.session).max().unwrap_or(0);
        Ok(Self { pool, state: Arc::new(RwLock::new(State { config, sessions, last })) })
    }

    pub async fn config(&self) -> ShadowConfig {
        self.state.read().await.config.clone()
    }

    /// Sets the configuration for sessions that open from now on; durable before it holds.
    pub async fn put_config(&self, config: ShadowConfig) -> Result<(), ShadowError> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(ShadowError::Invalid(problems));
        }
        let body = serde_json::to_string(&config).map_err(|error| ShadowError::Corrupt(error.to_string()))?;
        let mut state = self.state.write().await;
        sqlx::query(sql::CONFIG_WRITE).bind(body).execute(&self.pool).await?;
        state.config = config;
        Ok(())
    }

    /// Open sessions and those that ended in the last seven days, oldest first.
    pub async fn sessions(&self) -> Vec<ShadowSession> {
        self.state.read().await.sessions.clone()
    }

    /// Follows the timeline: opens, closes and ends leases at `now` (seconds since the epoch).
    pub async fn follow(&self, timeline: &Timeline, moves: &[Move], now: i64) {
        let mut state = self.state.write().await;
        let mut changed = Vec::new();
        for change in moves {
            let open = state.sessions.iter().position(|s| s.ended.is_none() && s.instance == change.instance);
            match (change.to.mode, open) {
                (InstanceMode::Draining | InstanceMode::Shadow, None) if !change.claimed => {
                    let instance_type = change.instance_type.clone();
                    let seconds = state.config.seconds(&change.to.group, instance_type.as_deref());
                    let price = instance_type.as_deref().and_then(|name| state.config.prices_per_hour.get(name));
                    let session = ShadowSession {
                        session: state.last + 1,
                        instance: change.instance.clone(),
                        group: change.to.group.clone(),
                        price_per_hour: price.copied(),
                        instance_type,
                        origin: Origin::Foreign,
                        started: now,
                        until: now + i64::from(seconds),
                        ended: None,
                        reason: change.word.to_owned(),
                    };
                    tracing::info!(instance = %session.instance, group = %session.group, seconds, "shadow session opens");
                    metrics::counter!("foreshadow_shadow_sessions_opened_total").increment(1);
                    state.last += 1;
                    changed.push(state.sessions.len());
                    state.sessions.push(session);
                }
                (InstanceMode::Serving | InstanceMode::Warming, Some(index)) => {
                    end(&mut state.sessions, index, now, "back in its group", &mut changed);
                }
                (InstanceMode::Gone, Some(index)) => {
                    end(&mut state.sessions, index, now, "silent or terminated", &mut changed);
                }
                _ => {}
            }
        }
        for index in 0..state.sessions.len() {
            let due = state.sessions.get(index).filter(|session| session.ended.is_none() && now >= session.until);
            if let Some(instance) = due.map(|session| session.instance.clone()) {
                end(&mut state.sessions, index, now, "the lease ended: released, left running", &mut changed);
                timeline.release(&instance);
            }
        }
        for session in &state.sessions {
            let until = if session.ended.is_some() { 0 } else { session.until * 1_000_000 };
            let newest = state.sessions.iter().rev().find(|other| other.instance == session.instance);
            if newest.is_some_and(|newest| newest.session == session.session) {
                timeline.lease(&session.instance, until);
            }
        }
        for index in changed {
            let Some(session) = state.sessions.get(index) else { continue };
            if let Err(error) = self.write(session).await {
                tracing::error!(%error, session = session.session, "a shadow session cannot be written");
            }
        }
        state.sessions.retain(|session| session.ended.is_none_or(|ended| ended >= now - SHOWN_SECONDS));
    }

    async fn write(&self, session: &ShadowSession) -> Result<(), sqlx::Error> {
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
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

fn end(sessions: &mut [ShadowSession], index: usize, now: i64, why: &str, changed: &mut Vec<usize>) {
    if let Some(session) = sessions.get_mut(index) {
        session.ended = Some(now);
        session.reason = format!("{}; {why}", session.reason);
        tracing::info!(instance = %session.instance, why, "shadow session ends");
        changed.push(index);
    }
}
