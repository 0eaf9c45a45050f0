//! Statements of what was told of alarms; each runs on SQLite and PostgreSQL alike.

pub(crate) const ALARM_WRITE: &str = "INSERT INTO alarm (kind, subject, since, over_at, body) VALUES ($1, $2, $3, $4, $5) \
    ON CONFLICT (kind, subject) DO UPDATE SET since = excluded.since, over_at = excluded.over_at, body = excluded.body";
pub(crate) const ALARM_READ: &str = "SELECT since, over_at, body FROM alarm ORDER BY since DESC LIMIT $1";
pub(crate) const ALARM_REMOVE: &str = "DELETE FROM alarm WHERE kind = $1 AND subject = $2";
pub(crate) const ALARM_CLEAR: &str = "DELETE FROM alarm";
pub(crate) const ALARM_CHANGE_WRITE: &str =
    "INSERT INTO alarm_change (place, body) VALUES ($1, $2) ON CONFLICT (place) DO UPDATE SET body = excluded.body";
pub(crate) const ALARM_CHANGE_READ: &str = "SELECT place, body FROM alarm_change ORDER BY place LIMIT $1";
pub(crate) const ALARM_CHANGE_REMOVE: &str = "DELETE FROM alarm_change WHERE place = $1";
pub(crate) const ALARM_CHANGE_CLEAR: &str = "DELETE FROM alarm_change";

pub(crate) const ALL: &[(&str, &str)] = &[
    ("ALARM_WRITE", ALARM_WRITE),
    ("ALARM_READ", ALARM_READ),
    ("ALARM_REMOVE", ALARM_REMOVE),
    ("ALARM_CLEAR", ALARM_CLEAR),
    ("ALARM_CHANGE_WRITE", ALARM_CHANGE_WRITE),
    ("ALARM_CHANGE_READ", ALARM_CHANGE_READ),
    ("ALARM_CHANGE_REMOVE", ALARM_CHANGE_REMOVE),
    ("ALARM_CHANGE_CLEAR", ALARM_CHANGE_CLEAR),
];
