-- Which instance was in which mode since when.
CREATE TABLE placement (
    instance TEXT NOT NULL,
    since_micros BIGINT NOT NULL,
    group_name TEXT NOT NULL,
    mode TEXT NOT NULL,
    claimed BIGINT NOT NULL,
    PRIMARY KEY (instance, since_micros)
);
