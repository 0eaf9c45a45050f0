//! The events as they are kept: durable, and never dropped, since they explain the history.

use foreshadow_proto::convert::Id;
use jiff::tz::TimeZone;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};

use super::{Announcement, Deletion, Event, Repeat, Rule, Scope, sql};
use crate::revision::Revision;

/// Events that are neither deleted nor over: a script that runs wild must not stop the rounds.
pub const MOST_EVENTS: i64 = 10_000;

#[derive(Debug, thiserror::Error)]
pub enum EventError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("there are {MOST_EVENTS} events already that are not over: delete some first")]
    TooMany,
}

/// Reads and writes events. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EventLog {
    pool: SqlitePool,
    revision: Revision,
}

impl EventLog {
    pub fn new(pool: SqlitePool) -> Self {
        Self { pool, revision: Revision::default() }
    }

    /// How often one was entered or taken back since the start.
    pub fn revision(&self) -> u64 {
        self.revision.now()
    }

    /// Keeps an announcement; durable on return.
    ///
    /// # Errors
    /// [`EventError::TooMany`] beyond [`MOST_EVENTS`].
    pub async fn enter(&self, announced: Announcement, by: &str, now: i64) -> Result<Event, EventError> {
        let live: i64 = sqlx::query_scalar(sql::EVENT_COUNT).bind(now).fetch_one(&self.pool).await?;
        if live >= MOST_EVENTS {
            return Err(EventError::TooMany);
        }
        let (every_group, group) = match &announced.scope {
            Scope::Group(group) => (0_i64, Some(group.as_str())),
            Scope::EveryGroup => (1, None),
        };
        let repeat = announced.repeat.as_ref();
        let id = sqlx::query_scalar(sql::EVENT_WRITE)
            .bind(every_group)
            .bind(group)
            .bind(&announced.name)
            .bind(announced.starts)
            .bind(announced.ends)
            .bind(i64::from(announced.ramp_seconds))
            .bind(announced.intensity)
            .bind(repeat.map_or("none", |repeat| repeat.rule.as_str()))
            .bind(repeat.map_or(0, |repeat| i64::from(repeat.every)))
            .bind(repeat.and_then(|repeat| repeat.zone.iana_name()))
            .bind(repeat.and_then(|repeat| repeat.until))
            .bind(by)
            .bind(now)
            .bind(&announced.reason)
            .fetch_one(&self.pool)
            .await?;
        self.revision.changed();
        Ok(Event { id, announced, entered_by: by.to_owned(), entered_at: now, deleted: None })
    }

    /// Takes an event back at `now`; false when it is not there or was taken back before.
    pub async fn delete(&self, id: i64, by: &str, now: i64, reason: &str) -> Result<bool, EventError> {
        let done = sqlx::query(sql::EVENT_DELETE).bind(id).bind(by).bind(now).bind(reason).execute(&self.pool).await?;
        self.revision.changed();
        Ok(done.rows_affected() == 1)
    }

    /// One event, deleted or not.
    pub async fn event(&self, id: i64) -> Result<Option<Event>, EventError> {
        let row = sqlx::query(sql::EVENT_READ).bind(id).fetch_optional(&self.pool).await?;
        Ok(row.map(|row| read(&row)).transpose()?.flatten())
    }

    /// All that had not ended at `since`, deleted ones included; of those that repeat, all.
    pub async fn events(&self, since: i64) -> Result<Vec<Event>, EventError> {
        let mut events = Vec::new();
        for row in sqlx::query(sql::EVENTS_READ).bind(since).fetch_all(&self.pool).await? {
            events.extend(read(&row)?);
        }
        Ok(events)
    }
}

/// `None` for a row that this version cannot make sense of: one such must not hide the others.
fn read(row: &SqliteRow) -> Result<Option<Event>, sqlx::Error> {
    let id: i64 = row.try_get(0)?;
    let unreadable = |field: &str| {
        tracing::error!(event = id, field, "a stored event cannot be read; it raises nothing");
        None
    };
    let scope = match row.try_get::<Option<String>, _>(1)? {
        None => Scope::EveryGroup,
        Some(group) => match Id::new("group", &group) {
            Ok(group) => Scope::Group(group),
            Err(_) => return Ok(unreadable("group_name")),
        },
    };
    let rule = match row.try_get::<&str, _>(7)? {
        "none" => None,
        "daily" => Some(Rule::Daily),
        "weekly" => Some(Rule::Weekly),
        _ => return Ok(unreadable("repeat_rule")),
    };
    let repeat = match rule {
        None => None,
        Some(rule) => {
            let every = u32::try_from(row.try_get::<i64, _>(8)?).ok().filter(|every| *every > 0);
            let name: Option<String> = row.try_get(9)?;
            let Some(zone) = name.and_then(|name| TimeZone::get(&name).ok()) else {
                return Ok(unreadable("time_zone"));
            };
            let Some(every) = every else { return Ok(unreadable("repeat_every")) };
            Some(Repeat { rule, every, zone, until: row.try_get(10)? })
        }
    };
    let deleted = match row.try_get::<Option<i64>, _>(15)? {
        None => None,
        Some(at) => Some(Deletion {
            by: row.try_get::<Option<String>, _>(14)?.unwrap_or_default(),
            at,
            reason: row.try_get::<Option<String>, _>(16)?.unwrap_or_default(),
        }),
    };
    let announced = Announcement {
        scope,
        name: row.try_get(2)?,
        starts: row.try_get(3)?,
        ends: row.try_get(4)?,
        ramp_seconds: u32::try_from(row.try_get::<i64, _>(5)?).unwrap_or_default(),
        intensity: row.try_get(6)?,
        repeat,
        reason: row.try_get(13)?,
    };
    Ok(Some(Event { id, announced, entered_by: row.try_get(11)?, entered_at: row.try_get(12)?, deleted }))
}
