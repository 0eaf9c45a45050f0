-- Alarms that were told, and stand or were over a moment ago: after a restart they are not told anew, and their end is told.
CREATE TABLE alarm (
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    since BIGINT NOT NULL,
    over_at BIGINT,
    body TEXT NOT NULL,
    PRIMARY KEY (kind, subject)
);

-- Changes that a server of one's own has not taken yet, in their order.
CREATE TABLE alarm_change (
    place BIGINT NOT NULL PRIMARY KEY,
    body TEXT NOT NULL
);
