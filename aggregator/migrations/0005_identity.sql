-- Every change: when, who, what and why. Rows are only ever added.
CREATE TABLE audit (
    entry BIGINT NOT NULL PRIMARY KEY,
    at_micros BIGINT NOT NULL,
    caller TEXT NOT NULL,
    role TEXT NOT NULL,
    action TEXT NOT NULL,
    detail TEXT NOT NULL,
    reason TEXT NOT NULL
);
