//! Statements of the import; each runs on SQLite and PostgreSQL alike.

// What agents measured stays: a measured minute has somebody who reported, an imported one has nobody.
pub(crate) const MINUTE_IMPORT: &str = "INSERT INTO minute (group_name, metric, start_seconds, gross_mean, \
    gross_maximum, weight, serving, reporting, lower_bound, checksum) VALUES ($1, $2, $3, $4, $4, $5, $6, 0, 0, $7) \
    ON CONFLICT (group_name, metric, start_seconds) DO UPDATE SET gross_mean = excluded.gross_mean, \
    gross_maximum = excluded.gross_maximum, weight = excluded.weight, serving = excluded.serving, \
    lower_bound = excluded.lower_bound, checksum = excluded.checksum WHERE minute.reporting = 0";
pub(crate) const IMPORT_WRITE: &str = "INSERT INTO import (group_name, metric, source, from_seconds, to_seconds, \
    minutes, entered_by, entered_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
    ON CONFLICT (group_name, metric, source, from_seconds) DO UPDATE SET to_seconds = excluded.to_seconds, \
    minutes = excluded.minutes, entered_by = excluded.entered_by, entered_at = excluded.entered_at";
pub(crate) const IMPORT_READ: &str = "SELECT source, from_seconds, to_seconds, minutes, entered_by, entered_at \
    FROM import WHERE group_name = $1 AND metric = $2 ORDER BY source, from_seconds";
pub(crate) const IMPORT_COUNT: &str =
    "SELECT COUNT(*) FROM minute WHERE group_name = $1 AND metric = $2 AND reporting = 0";
pub(crate) const MINUTE_REMOVE: &str = "DELETE FROM minute WHERE group_name = $1 AND metric = $2 AND reporting = 0";
pub(crate) const IMPORT_REMOVE: &str = "DELETE FROM import WHERE group_name = $1 AND metric = $2";

pub(crate) const ALL: &[(&str, &str)] = &[
    ("MINUTE_IMPORT", MINUTE_IMPORT),
    ("IMPORT_WRITE", IMPORT_WRITE),
    ("IMPORT_READ", IMPORT_READ),
    ("IMPORT_COUNT", IMPORT_COUNT),
    ("MINUTE_REMOVE", MINUTE_REMOVE),
    ("IMPORT_REMOVE", IMPORT_REMOVE),
];
