//! Statements of the events; each runs on SQLite and PostgreSQL alike.

// No number is given twice, for no row is ever dropped.
pub(crate) const EVENT_WRITE: &str = "INSERT INTO event (event, every_group, group_name, name, starts, ends, \
    ramp_seconds, intensity, repeat_rule, repeat_every, time_zone, until, entered_by, entered_at, reason) \
    SELECT COALESCE(MAX(event), 0) + 1, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14 FROM event \
    RETURNING event";
pub(crate) const EVENT_READ: &str = "SELECT event, group_name, name, starts, ends, ramp_seconds, intensity, \
    repeat_rule, repeat_every, time_zone, until, entered_by, entered_at, reason, deleted_by, deleted_at, delete_reason \
    FROM event WHERE event = $1";
// Those that still mattered at a time.
pub(crate) const EVENTS_READ: &str = "SELECT event, group_name, name, starts, ends, ramp_seconds, intensity, \
    repeat_rule, repeat_every, time_zone, until, entered_by, entered_at, reason, deleted_by, deleted_at, delete_reason \
    FROM event WHERE (repeat_rule <> 'none' OR ends > $1) AND (deleted_at IS NULL OR deleted_at > $1) ORDER BY event";
pub(crate) const EVENT_COUNT: &str =
    "SELECT COUNT(*) FROM event WHERE deleted_at IS NULL AND (repeat_rule <> 'none' OR ends > $1)";
pub(crate) const EVENT_DELETE: &str = "UPDATE event SET deleted_by = $2, deleted_at = $3, delete_reason = $4 \
    WHERE event = $1 AND deleted_at IS NULL";

pub(crate) const ALL: &[(&str, &str)] = &[
    ("EVENT_WRITE", EVENT_WRITE),
    ("EVENT_READ", EVENT_READ),
    ("EVENTS_READ", EVENTS_READ),
    ("EVENT_COUNT", EVENT_COUNT),
    ("EVENT_DELETE", EVENT_DELETE),
];
