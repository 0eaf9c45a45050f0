-- What was announced, one row an event. A row is never dropped: it explains the history beside it.
CREATE TABLE event (
    event BIGINT NOT NULL PRIMARY KEY,
    every_group BIGINT NOT NULL,
    group_name TEXT,
    name TEXT NOT NULL,
    starts BIGINT NOT NULL,
    ends BIGINT NOT NULL,
    ramp_seconds BIGINT NOT NULL,
    intensity DOUBLE PRECISION NOT NULL,
    repeat_rule TEXT NOT NULL,
    repeat_every BIGINT NOT NULL,
    time_zone TEXT,
    until BIGINT,
    entered_by TEXT NOT NULL,
    entered_at BIGINT NOT NULL,
    reason TEXT NOT NULL,
    deleted_by TEXT,
    deleted_at BIGINT,
    delete_reason TEXT,
    CHECK ((every_group = 0 AND group_name IS NOT NULL) OR (every_group = 1 AND group_name IS NULL))
);
