-- Rollups that another store has not got yet in this shape; a rollup that is written again gets its next turn.
CREATE TABLE forward_minute (
    group_name TEXT NOT NULL,
    metric TEXT NOT NULL,
    start_seconds BIGINT NOT NULL,
    turn BIGINT NOT NULL,
    PRIMARY KEY (group_name, metric, start_seconds)
);
