//! Statements of what is told of declared metrics; each runs on SQLite and PostgreSQL alike.

pub(crate) const READING_WRITE: &str = "INSERT INTO reading (metric, of_group, at_seconds, subject, value) \
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (metric, of_group, at_seconds, subject) DO NOTHING";
// What was retracted of an instance is in no answer, whether it is stored already or comes later.
pub(crate) const READING_READ: &str = "SELECT subject, at_seconds, value FROM reading WHERE metric = $1 AND of_group = $2 \
    AND at_seconds >= $3 AND at_seconds < $4 AND NOT EXISTS (SELECT 1 FROM retraction WHERE reading.of_group = 0 \
    AND retraction.instance = reading.subject AND retraction.from_micros <= reading.at_seconds * 1000000 \
    AND retraction.to_micros > reading.at_seconds * 1000000) ORDER BY at_seconds";
pub(crate) const READING_EXPIRE: &str = "DELETE FROM reading WHERE at_seconds < $1";

pub(crate) const ALL: &[(&str, &str)] =
    &[("READING_WRITE", READING_WRITE), ("READING_READ", READING_READ), ("READING_EXPIRE", READING_EXPIRE)];
