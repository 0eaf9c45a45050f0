//! Statements of the shadow sessions; each runs on SQLite and PostgreSQL alike.

pub(crate) const SESSION_WRITE: &str = "INSERT INTO shadow_session (session, instance, group_name, instance_type, \
    origin, started, until, ended, reason, price_per_hour, version, hard_limit, boot_until, seen) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
    ON CONFLICT (session) DO UPDATE SET until = excluded.until, ended = excluded.ended, reason = excluded.reason, \
    origin = excluded.origin, hard_limit = excluded.hard_limit, boot_until = excluded.boot_until, seen = excluded.seen";
pub(crate) const SESSION_READ: &str = "SELECT session, instance, group_name, instance_type, origin, started, until, \
    ended, reason, price_per_hour, version, hard_limit, boot_until, seen FROM shadow_session WHERE ended IS NULL OR ended >= $1 ORDER BY session";
pub(crate) const CONFIG_READ: &str = "SELECT body FROM shadow_config WHERE row_number = 1";
pub(crate) const CONFIG_WRITE: &str = "INSERT INTO shadow_config (row_number, body) VALUES (1, $1) \
    ON CONFLICT (row_number) DO UPDATE SET body = excluded.body";

pub(crate) const ALL: &[(&str, &str)] = &[
    ("SESSION_WRITE", SESSION_WRITE),
    ("SESSION_READ", SESSION_READ),
    ("CONFIG_READ", CONFIG_READ),
    ("CONFIG_WRITE", CONFIG_WRITE),
];
