-- Which zone a share of a launch was asked for last: after a crash it is asked for there first.
CREATE TABLE launch_turn (
    token TEXT NOT NULL,
    share BIGINT NOT NULL,
    turn BIGINT NOT NULL,
    PRIMARY KEY (token, share)
);
