-- Values of declared metrics, as they were told: of a group as a whole or of one instance. One a second counts; what is told
-- again changes nothing.
CREATE TABLE reading (
    metric TEXT NOT NULL,
    of_group BIGINT NOT NULL,
    at_seconds BIGINT NOT NULL,
    subject TEXT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (metric, of_group, at_seconds, subject)
);
CREATE INDEX reading_by_age ON reading (at_seconds);
