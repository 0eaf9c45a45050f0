//! Statements of the inventory timeline; each runs on SQLite and PostgreSQL alike.

pub(crate) const PLACEMENT_WRITE: &str = "INSERT INTO placement (instance, since_micros, group_name, mode, claimed) \
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (instance, since_micros) DO UPDATE SET \
    group_name = excluded.group_name, mode = excluded.mode, claimed = excluded.claimed";
pub(crate) const PLACEMENT_READ: &str =
    "SELECT instance, since_micros, group_name, mode, claimed FROM placement ORDER BY instance, since_micros";
// The newest placement of an instance is kept however old it is, unless the instance is gone.
pub(crate) const PLACEMENT_EXPIRE: &str = "DELETE FROM placement WHERE since_micros < $1 AND (mode = 'gone' OR EXISTS (\
    SELECT 1 FROM placement AS newer WHERE newer.instance = placement.instance \
    AND newer.since_micros > placement.since_micros AND newer.since_micros < $1))";

pub(crate) const ALL: &[(&str, &str)] =
    &[("PLACEMENT_WRITE", PLACEMENT_WRITE), ("PLACEMENT_READ", PLACEMENT_READ), ("PLACEMENT_EXPIRE", PLACEMENT_EXPIRE)];
