-- Which stretches of a group's history were imported, and from where: an import that was broken off goes on from here.
CREATE TABLE import (
    group_name TEXT NOT NULL,
    metric TEXT NOT NULL,
    source TEXT NOT NULL,
    from_seconds BIGINT NOT NULL,
    to_seconds BIGINT NOT NULL,
    minutes BIGINT NOT NULL,
    entered_by TEXT NOT NULL,
    entered_at BIGINT NOT NULL,
    PRIMARY KEY (group_name, metric, source, from_seconds)
);
