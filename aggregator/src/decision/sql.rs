//! Statements of the decision record; each runs on SQLite and PostgreSQL alike.

pub(crate) const DECISION_WRITE: &str = "INSERT INTO decision (group_name, generation, made_at, body) \
    VALUES ($1, $2, $3, $4) ON CONFLICT (group_name, generation) DO NOTHING";
pub(crate) const DECISION_ONE: &str = "SELECT body FROM decision WHERE group_name = $1 AND generation = $2";
pub(crate) const DECISION_LIST: &str = "SELECT generation, made_at FROM decision \
    WHERE group_name = $1 AND made_at <= $2 ORDER BY generation DESC LIMIT $3";
pub(crate) const DECISION_GROUPS: &str = "SELECT group_name FROM decision GROUP BY group_name HAVING COUNT(*) > $1";
pub(crate) const DECISION_BOUND: &str = "DELETE FROM decision WHERE group_name = $1 AND generation <= (SELECT \
    generation FROM decision WHERE group_name = $1 ORDER BY generation DESC LIMIT 1 OFFSET $2)";
pub(crate) const DECISION_EXPIRE: &str = "DELETE FROM decision WHERE made_at < $1";

pub(crate) const ALL: &[(&str, &str)] = &[
    ("DECISION_WRITE", DECISION_WRITE),
    ("DECISION_ONE", DECISION_ONE),
    ("DECISION_LIST", DECISION_LIST),
    ("DECISION_GROUPS", DECISION_GROUPS),
    ("DECISION_BOUND", DECISION_BOUND),
    ("DECISION_EXPIRE", DECISION_EXPIRE),
];
