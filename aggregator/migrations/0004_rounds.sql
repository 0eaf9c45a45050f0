-- Plans, one row a generation.
CREATE TABLE plan (
    group_name TEXT NOT NULL,
    generation BIGINT NOT NULL,
    made_at BIGINT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (group_name, generation)
);
