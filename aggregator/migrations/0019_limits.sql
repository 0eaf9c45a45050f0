-- The limits that were accepted, one row a group; '*' is what concerns every group. The configuration file tightens them, an
-- explicit call loosens them.
CREATE TABLE accepted_limits (
    group_name TEXT NOT NULL PRIMARY KEY,
    body TEXT NOT NULL,
    at_seconds BIGINT NOT NULL,
    accepted_by TEXT NOT NULL,
    reason TEXT NOT NULL
);
