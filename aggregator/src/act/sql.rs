//! Statements of what may be done; each runs on SQLite and PostgreSQL alike.

pub(crate) const CONTROL_READ: &str = "SELECT group_name, mode, paused, changed_at, changed_by, reason FROM control";
pub(crate) const CONTROL_WRITE: &str = "INSERT INTO control (group_name, mode, paused, changed_at, changed_by, reason) \
    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (group_name) DO UPDATE SET mode = excluded.mode, \
    paused = excluded.paused, changed_at = excluded.changed_at, changed_by = excluded.changed_by, \
    reason = excluded.reason";

pub(crate) const ALL: &[(&str, &str)] = &[("CONTROL_READ", CONTROL_READ), ("CONTROL_WRITE", CONTROL_WRITE)];
