-- Samples, what of each stream is held, and minute rollups. Runs on SQLite and PostgreSQL alike.
CREATE TABLE store (
    id BYTEA NOT NULL PRIMARY KEY,
    created_micros BIGINT NOT NULL
);

-- Which sequence numbers of a stream are settled: pairs of little-endian u64, first and last.
CREATE TABLE stream (
    instance TEXT NOT NULL,
    stream BYTEA NOT NULL,
    boot_id TEXT NOT NULL,
    held BYTEA NOT NULL,
    dropped BIGINT NOT NULL,
    newest_micros BIGINT NOT NULL,
    PRIMARY KEY (instance, stream)
);

-- The write-ahead form: everything of one commit, all series together.
CREATE TABLE tick (
    tick BIGINT NOT NULL PRIMARY KEY,
    written_micros BIGINT NOT NULL,
    first_micros BIGINT NOT NULL,
    last_micros BIGINT NOT NULL,
    samples BIGINT NOT NULL,
    body BYTEA NOT NULL
);

-- One instance, one hour; late samples make further parts.
CREATE TABLE chunk (
    instance TEXT NOT NULL,
    hour BIGINT NOT NULL,
    part BIGINT NOT NULL,
    first_micros BIGINT NOT NULL,
    last_micros BIGINT NOT NULL,
    samples BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (instance, hour, part)
);
CREATE INDEX chunk_by_time ON chunk (last_micros);

CREATE TABLE minute (
    group_name TEXT NOT NULL,
    metric TEXT NOT NULL,
    start_seconds BIGINT NOT NULL,
    gross_mean DOUBLE PRECISION NOT NULL,
    gross_maximum DOUBLE PRECISION NOT NULL,
    weight DOUBLE PRECISION NOT NULL,
    serving BIGINT NOT NULL,
    reporting BIGINT NOT NULL,
    lower_bound BIGINT NOT NULL,
    PRIMARY KEY (group_name, metric, start_seconds)
);

-- How far the ticks were forwarded to another store.
CREATE TABLE forward (
    name TEXT NOT NULL PRIMARY KEY,
    tick BIGINT NOT NULL
);
