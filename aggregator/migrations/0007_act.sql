-- How far Foreshadow may go, by an explicit call with a reason. One row a group; '*' is everything.
CREATE TABLE control (
    group_name TEXT NOT NULL PRIMARY KEY,
    mode TEXT NOT NULL,
    paused BIGINT NOT NULL,
    at_seconds BIGINT NOT NULL,
    said_by TEXT NOT NULL,
    reason TEXT NOT NULL
);

-- The journal: what is to be done, written before it is done, and what became of it.
CREATE TABLE intent (
    token TEXT NOT NULL PRIMARY KEY,
    group_name TEXT NOT NULL,
    generation BIGINT NOT NULL,
    step BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    body TEXT NOT NULL,
    reason TEXT NOT NULL,
    written_at BIGINT NOT NULL,
    settled_at BIGINT,
    settled TEXT
);
CREATE INDEX intent_by_time ON intent (written_at);

-- Who owns a shard of the groups. The epoch grows with every owner.
CREATE TABLE lease (
    shard BIGINT NOT NULL PRIMARY KEY,
    epoch BIGINT NOT NULL,
    taken_at BIGINT NOT NULL
);

-- How long instances took from the call until they served.
CREATE TABLE lead_time (
    instance TEXT NOT NULL,
    served_at BIGINT NOT NULL,
    group_name TEXT NOT NULL,
    kind TEXT NOT NULL,
    seconds BIGINT NOT NULL,
    PRIMARY KEY (instance, served_at)
);

-- What an instance was launched from, and how far its lease may be extended.
ALTER TABLE shadow_session ADD COLUMN version TEXT;
ALTER TABLE shadow_session ADD COLUMN hard_limit BIGINT;
ALTER TABLE shadow_session ADD COLUMN boot_until BIGINT;
