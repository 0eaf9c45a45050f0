//! Statements of the journal, the modes and the leases; each runs on SQLite and PostgreSQL alike.

pub(crate) const CONTROL_WRITE: &str = "INSERT INTO control (group_name, mode, paused, at_seconds, said_by, reason) \
    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (group_name) DO UPDATE SET mode = excluded.mode, \
    paused = excluded.paused, at_seconds = excluded.at_seconds, said_by = excluded.said_by, reason = excluded.reason";
pub(crate) const CONTROL_READ: &str = "SELECT group_name, mode, paused, at_seconds, said_by, reason FROM control";
pub(crate) const LEAVE_WRITE: &str = "INSERT INTO last_week_leave (group_name, until_seconds, at_seconds, said_by, reason) \
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (group_name) DO UPDATE SET until_seconds = excluded.until_seconds, \
    at_seconds = excluded.at_seconds, said_by = excluded.said_by, reason = excluded.reason";
pub(crate) const LEAVE_READ: &str =
    "SELECT group_name, until_seconds, at_seconds, said_by, reason FROM last_week_leave";
pub(crate) const INTENT_WRITE: &str = "INSERT INTO intent (token, group_name, generation, step, epoch, body, reason, \
    written_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
pub(crate) const INTENT_SENT: &str = "UPDATE intent SET sent_at = $2 WHERE token = $1 AND sent_at IS NULL";
pub(crate) const INTENT_SETTLE: &str = "UPDATE intent SET settled_at = $2, settled = $3 WHERE token = $1";
pub(crate) const INTENT_READ: &str = "SELECT body, reason, settled_at, settled, sent_at FROM intent \
    WHERE settled_at IS NULL OR written_at >= $1 ORDER BY written_at, step";
pub(crate) const INTENT_LATEST: &str = "SELECT body, reason, settled_at, settled, sent_at FROM intent \
    WHERE ($1 = '' OR group_name = $1) AND written_at >= $2 AND written_at <= $3 ORDER BY written_at DESC, step DESC LIMIT $4";
pub(crate) const INTENT_COUNT: &str =
    "SELECT COUNT(*) FROM intent WHERE ($1 = '' OR group_name = $1) AND written_at >= $2 AND written_at <= $3";
pub(crate) const INTENT_OF_PLAN: &str = "SELECT body, reason, settled_at, settled, sent_at FROM intent \
    WHERE group_name = $1 AND generation = $2 ORDER BY step";
pub(crate) const INTENT_EXPIRE: &str = "DELETE FROM intent WHERE settled_at < $1";
pub(crate) const TURN_WRITE: &str = "INSERT INTO launch_turn (token, share, turn) VALUES ($1, $2, $3) \
    ON CONFLICT (token, share) DO UPDATE SET turn = excluded.turn";
pub(crate) const TURN_READ: &str = "SELECT turn FROM launch_turn WHERE token = $1 AND share = $2";
pub(crate) const TURN_EXPIRE: &str = "DELETE FROM launch_turn WHERE token NOT IN (SELECT token FROM intent)";
pub(crate) const LEASE_TAKE: &str = "INSERT INTO lease (shard, epoch, taken_at) VALUES ($1, 1, $2) \
    ON CONFLICT (shard) DO UPDATE SET epoch = lease.epoch + 1, taken_at = excluded.taken_at";
pub(crate) const LEASE_READ: &str = "SELECT epoch FROM lease WHERE shard = $1";
pub(crate) const LEAD_WRITE: &str = "INSERT INTO lead_time (instance, served_at, group_name, kind, seconds) \
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (instance, served_at) DO NOTHING";
pub(crate) const LEAD_READ: &str =
    "SELECT group_name, kind, seconds FROM lead_time WHERE served_at >= $1 ORDER BY served_at";

pub(crate) const ALL: &[(&str, &str)] = &[
    ("CONTROL_WRITE", CONTROL_WRITE),
    ("CONTROL_READ", CONTROL_READ),
    ("LEAVE_WRITE", LEAVE_WRITE),
    ("LEAVE_READ", LEAVE_READ),
    ("INTENT_WRITE", INTENT_WRITE),
    ("INTENT_SENT", INTENT_SENT),
    ("INTENT_SETTLE", INTENT_SETTLE),
    ("INTENT_READ", INTENT_READ),
    ("INTENT_LATEST", INTENT_LATEST),
    ("INTENT_COUNT", INTENT_COUNT),
    ("INTENT_OF_PLAN", INTENT_OF_PLAN),
    ("INTENT_EXPIRE", INTENT_EXPIRE),
    ("TURN_WRITE", TURN_WRITE),
    ("TURN_READ", TURN_READ),
    ("TURN_EXPIRE", TURN_EXPIRE),
    ("LEASE_TAKE", LEASE_TAKE),
    ("LEASE_READ", LEASE_READ),
    ("LEAD_WRITE", LEAD_WRITE),
    ("LEAD_READ", LEAD_READ),
];
