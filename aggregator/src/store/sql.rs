//! Every statement of the store; each runs on SQLite and PostgreSQL alike.

pub(crate) const STORE_ID: &str = "SELECT id FROM store";
pub(crate) const STORE_CREATE: &str = "INSERT INTO store (id, created_micros) VALUES ($1, $2)";
pub(crate) const STREAM_READ: &str =
    "SELECT held, boot_id, dropped, newest_micros FROM stream WHERE instance = $1 AND stream = $2";
pub(crate) const STREAM_READ_NEWEST: &str = "SELECT held, boot_id, dropped, newest_micros, instance, stream FROM stream \
    ORDER BY newest_micros DESC LIMIT $1";
pub(crate) const STREAM_ROWS_READ: &str = "SELECT up_to FROM stream_rows";
pub(crate) const STREAM_ROWS_WRITE: &str = "UPDATE stream_rows SET up_to = $1";
/// Rows of values stand between the two halves; [`STREAM_WRITE`] has one.
pub(crate) const STREAM_WRITE_INTO: &str =
    "INSERT INTO stream (instance, stream, boot_id, held, dropped, newest_micros) ";
pub(crate) const STREAM_WRITE_OVER: &str = " ON CONFLICT (instance, stream) DO UPDATE SET boot_id = excluded.boot_id, \
    held = excluded.held, dropped = excluded.dropped, newest_micros = excluded.newest_micros";
/// What the two halves make with one row, for whoever prepares every statement.
const STREAM_WRITE: &str = "INSERT INTO stream (instance, stream, boot_id, held, dropped, newest_micros) \
    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (instance, stream) DO UPDATE SET boot_id = excluded.boot_id, \
    held = excluded.held, dropped = excluded.dropped, newest_micros = excluded.newest_micros";
pub(crate) const STREAM_EXPIRE: &str = "DELETE FROM stream WHERE newest_micros < $1";
// A number that was forwarded, or that rows of streams go up to, is never given again, not even when every tick has been folded
// since.
pub(crate) const TICK_LAST: &str = "SELECT COALESCE(MAX(tick), 0) FROM (\
    SELECT MAX(tick) AS tick FROM tick UNION ALL SELECT MAX(tick) FROM forward \
    UNION ALL SELECT MAX(up_to) FROM stream_rows) AS ticks";
pub(crate) const TICK_WRITE: &str = "INSERT INTO tick (tick, written_micros, first_micros, last_micros, samples, body) \
    VALUES ($1, $2, $3, $4, $5, $6)";
pub(crate) const TICK_OVERLAPPING: &str =
    "SELECT tick, body FROM tick WHERE last_micros >= $1 AND first_micros < $2 ORDER BY tick";
// Written before an hour began, or soon after and with something of before it.
pub(crate) const TICK_SETTLED: &str = "SELECT tick, samples, last_micros, body FROM tick \
    WHERE tick > $1 AND tick <= $2 AND (written_micros < $4 OR (first_micros < $4 AND written_micros < $5)) \
    ORDER BY tick LIMIT $3";
pub(crate) const TICK_WITHIN: &str = "SELECT tick, samples, last_micros, body FROM tick \
    WHERE tick > $1 AND tick <= $2 ORDER BY tick LIMIT $3";
// Of the index alone: rows may be damaged.
pub(crate) const TICK_NUMBERS: &str = "SELECT tick FROM tick WHERE tick > $1 AND tick <= $2 ORDER BY tick LIMIT $3";
pub(crate) const TICK_DELETE: &str = "DELETE FROM tick WHERE tick = $1";
pub(crate) const CHUNK_NEXT_PART: &str =
    "SELECT COALESCE(MAX(part), 0) + 1 FROM chunk WHERE instance = $1 AND hour = $2";
pub(crate) const CHUNK_WRITE: &str = "INSERT INTO chunk (instance, hour, part, first_micros, last_micros, samples, body) \
    VALUES ($1, $2, $3, $4, $5, $6, $7)";
pub(crate) const CHUNK_SMALL: &str = "SELECT hour, part, body FROM chunk \
    WHERE instance = $1 AND hour >= $2 AND hour < $3 AND samples <= $4 ORDER BY hour, part";
pub(crate) const CHUNK_DELETE: &str = "DELETE FROM chunk WHERE instance = $1 AND hour = $2 AND part = $3";
pub(crate) const CHUNK_OVERLAPPING: &str = "SELECT hour, part, body FROM chunk WHERE instance = $1 AND last_micros >= $2 \
    AND first_micros < $3 ORDER BY hour, part";
pub(crate) const CHUNK_EXPIRE: &str = "DELETE FROM chunk WHERE last_micros < $1";
pub(crate) const MINUTE_WRITE: &str = "INSERT INTO minute (group_name, metric, start_seconds, gross_mean, gross_maximum, \
    weight, serving, reporting, lower_bound, checksum) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
    ON CONFLICT (group_name, metric, start_seconds) DO UPDATE SET gross_mean = excluded.gross_mean, \
    gross_maximum = excluded.gross_maximum, weight = excluded.weight, serving = excluded.serving, \
    reporting = excluded.reporting, lower_bound = excluded.lower_bound, checksum = excluded.checksum";
pub(crate) const MINUTE_READ: &str = "SELECT start_seconds, gross_mean, gross_maximum, weight, serving, reporting, \
    lower_bound, checksum FROM minute WHERE group_name = $1 AND metric = $2 AND start_seconds >= $3 AND start_seconds < $4 \
    ORDER BY start_seconds";
pub(crate) const MINUTE_SERIES: &str = "SELECT DISTINCT group_name, metric FROM minute ORDER BY group_name, metric";
pub(crate) const MINUTE_EXPIRE: &str = "DELETE FROM minute WHERE start_seconds < $1";
pub(crate) const MINUTE_FORGET: &str =
    "DELETE FROM minute WHERE group_name = $1 AND metric = $2 AND start_seconds = $3";
// What was imported, no agent of ours has reported, and no retraction is about.
pub(crate) const MINUTE_DELETE: &str =
    "DELETE FROM minute WHERE group_name = $1 AND metric = $2 AND start_seconds = $3 AND reporting > 0";
pub(crate) const RETRACTION_READ: &str =
    "SELECT instance, from_micros, to_micros, at_micros, reason FROM retraction ORDER BY at_micros";
pub(crate) const RETRACTION_UNMADE: &str =
    "SELECT instance, from_micros, to_micros, at_micros, reason FROM retraction WHERE remade = 0 ORDER BY at_micros";
pub(crate) const RETRACTION_WRITE: &str = "INSERT INTO retraction (instance, from_micros, to_micros, at_micros, reason, \
    remade) VALUES ($1, $2, $3, $4, $5, 0) ON CONFLICT (instance, from_micros, to_micros) DO NOTHING";
pub(crate) const RETRACTION_REMADE: &str =
    "UPDATE retraction SET remade = 1 WHERE instance = $1 AND from_micros = $2 AND to_micros = $3";
pub(crate) const MINUTE_COUNT: &str = "SELECT COUNT(*) FROM (SELECT start_seconds FROM minute LIMIT 1) AS beginning";
pub(crate) const FORWARD_MINUTE_ALL: &str = "INSERT INTO forward_minute (group_name, metric, start_seconds, turn) \
    SELECT group_name, metric, start_seconds, 1 FROM minute WHERE start_seconds > 0 \
    ON CONFLICT (group_name, metric, start_seconds) DO NOTHING";
pub(crate) const FORWARD_MINUTE_WRITE: &str = "INSERT INTO forward_minute (group_name, metric, start_seconds, turn) \
    VALUES ($1, $2, $3, 1) ON CONFLICT (group_name, metric, start_seconds) DO UPDATE SET turn = forward_minute.turn + 1";
pub(crate) const FORWARD_MINUTE_READ: &str = "SELECT f.group_name, f.metric, f.start_seconds, m.gross_mean, \
    m.gross_maximum, m.weight, m.serving, m.reporting, m.lower_bound, m.checksum, f.turn FROM forward_minute AS f JOIN minute AS m \
    ON m.group_name = f.group_name AND m.metric = f.metric AND m.start_seconds = f.start_seconds \
    ORDER BY f.start_seconds LIMIT $1";
pub(crate) const FORWARD_MINUTE_DELETE: &str = "DELETE FROM forward_minute WHERE group_name = $1 AND metric = $2 \
    AND start_seconds = $3 AND turn = $4";
pub(crate) const FORWARD_MINUTE_EXPIRE: &str = "DELETE FROM forward_minute WHERE start_seconds < $1";
pub(crate) const FORWARD_READ: &str = "SELECT tick FROM forward WHERE name = $1";
pub(crate) const FORWARD_WRITE: &str =
    "INSERT INTO forward (name, tick) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET tick = excluded.tick";
pub(crate) const SPAN: &str = "SELECT MIN(f), MAX(l), COALESCE(SUM(s), 0) FROM (\
    SELECT MIN(first_micros) AS f, MAX(last_micros) AS l, SUM(samples) AS s FROM tick UNION ALL \
    SELECT MIN(first_micros), MAX(last_micros), SUM(samples) FROM chunk) AS spans";

pub(crate) const CHECK_STREAMS: &str = "SELECT instance, stream, held FROM stream";
pub(crate) const CHECK_COUNT: &str = "SELECT (SELECT COUNT(*) FROM chunk) + (SELECT COUNT(*) FROM tick)";
pub(crate) const CHECK_CHUNKS: &str =
    "SELECT instance, hour, part, first_micros, last_micros, samples, body FROM chunk ORDER BY instance, hour, part";
pub(crate) const CHECK_MINUTES: &str = "SELECT group_name, metric, start_seconds, gross_mean, gross_maximum, weight, \
    serving, reporting, lower_bound, checksum FROM minute";
pub(crate) const CHECK_TICKS: &str = "SELECT tick, first_micros, last_micros, samples, body FROM tick ORDER BY tick";

pub(crate) const ALL: &[(&str, &str)] = &[
    ("STORE_ID", STORE_ID),
    ("STORE_CREATE", STORE_CREATE),
    ("STREAM_READ", STREAM_READ),
    ("STREAM_READ_NEWEST", STREAM_READ_NEWEST),
    ("STREAM_WRITE", STREAM_WRITE),
    ("STREAM_EXPIRE", STREAM_EXPIRE),
    ("STREAM_ROWS_READ", STREAM_ROWS_READ),
    ("STREAM_ROWS_WRITE", STREAM_ROWS_WRITE),
    ("TICK_LAST", TICK_LAST),
    ("TICK_WRITE", TICK_WRITE),
    ("TICK_OVERLAPPING", TICK_OVERLAPPING),
    ("TICK_SETTLED", TICK_SETTLED),
    ("TICK_WITHIN", TICK_WITHIN),
    ("TICK_NUMBERS", TICK_NUMBERS),
    ("TICK_DELETE", TICK_DELETE),
    ("CHUNK_NEXT_PART", CHUNK_NEXT_PART),
    ("CHUNK_WRITE", CHUNK_WRITE),
    ("CHUNK_SMALL", CHUNK_SMALL),
    ("CHUNK_DELETE", CHUNK_DELETE),
    ("CHUNK_OVERLAPPING", CHUNK_OVERLAPPING),
    ("CHUNK_EXPIRE", CHUNK_EXPIRE),
    ("MINUTE_WRITE", MINUTE_WRITE),
    ("MINUTE_READ", MINUTE_READ),
    ("MINUTE_SERIES", MINUTE_SERIES),
    ("MINUTE_EXPIRE", MINUTE_EXPIRE),
    ("MINUTE_FORGET", MINUTE_FORGET),
    ("MINUTE_DELETE", MINUTE_DELETE),
    ("RETRACTION_READ", RETRACTION_READ),
    ("RETRACTION_UNMADE", RETRACTION_UNMADE),
    ("RETRACTION_WRITE", RETRACTION_WRITE),
    ("RETRACTION_REMADE", RETRACTION_REMADE),
    ("MINUTE_COUNT", MINUTE_COUNT),
    ("FORWARD_MINUTE_ALL", FORWARD_MINUTE_ALL),
    ("FORWARD_MINUTE_WRITE", FORWARD_MINUTE_WRITE),
    ("FORWARD_MINUTE_READ", FORWARD_MINUTE_READ),
    ("FORWARD_MINUTE_DELETE", FORWARD_MINUTE_DELETE),
    ("FORWARD_MINUTE_EXPIRE", FORWARD_MINUTE_EXPIRE),
    ("FORWARD_READ", FORWARD_READ),
    ("FORWARD_WRITE", FORWARD_WRITE),
    ("SPAN", SPAN),
    ("CHECK_STREAMS", CHECK_STREAMS),
    ("CHECK_COUNT", CHECK_COUNT),
    ("CHECK_CHUNKS", CHECK_CHUNKS),
    ("CHECK_TICKS", CHECK_TICKS),
    ("CHECK_MINUTES", CHECK_MINUTES),
];
