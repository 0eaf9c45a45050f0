-- What one that serves used on average, by stretches of five minutes: a restart forgets no hang.
CREATE TABLE pulse (
    group_name TEXT NOT NULL,
    since BIGINT NOT NULL,
    cpu DOUBLE PRECISION NOT NULL,
    packets DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (group_name, since)
);
CREATE INDEX pulse_since ON pulse (since);
