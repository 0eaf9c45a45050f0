//! Statements of the accepted limits; each runs on SQLite and PostgreSQL alike.

pub(crate) const LIMITS_READ: &str = "SELECT group_name, body, at_seconds, accepted_by, reason FROM accepted_limits";
pub(crate) const LIMITS_WRITE: &str = "INSERT INTO accepted_limits (group_name, body, at_seconds, accepted_by, reason) \
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (group_name) DO UPDATE SET body = excluded.body, \
    at_seconds = excluded.at_seconds, accepted_by = excluded.accepted_by, reason = excluded.reason";

pub(crate) const ALL: &[(&str, &str)] = &[("LIMITS_READ", LIMITS_READ), ("LIMITS_WRITE", LIMITS_WRITE)];
