-- Until when a group may go below what it needed in the same hour a week ago; an explicit call gives that leave.
CREATE TABLE last_week_leave (
    group_name TEXT NOT NULL PRIMARY KEY,
    until_seconds BIGINT NOT NULL,
    at_seconds BIGINT NOT NULL,
    said_by TEXT NOT NULL,
    reason TEXT NOT NULL
);
