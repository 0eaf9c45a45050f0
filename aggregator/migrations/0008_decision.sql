-- What was decided, from what: one row a round that changed something, and samples of the others. Rows are only ever added,
-- and dropped when they are old. Runs on SQLite and PostgreSQL alike.
CREATE TABLE decision (
    group_name TEXT NOT NULL,
    generation BIGINT NOT NULL,
    made_at BIGINT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (group_name, generation)
);
CREATE INDEX decision_by_time ON decision (made_at);
