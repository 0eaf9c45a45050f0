-- Leases under which detached instances report.
CREATE TABLE shadow_session (
    session BIGINT NOT NULL PRIMARY KEY,
    instance TEXT NOT NULL,
    group_name TEXT NOT NULL,
    instance_type TEXT,
    origin TEXT NOT NULL,
    started BIGINT NOT NULL,
    until BIGINT NOT NULL,
    ended BIGINT,
    reason TEXT NOT NULL,
    price_per_hour DOUBLE PRECISION
);

-- One row: what PUT /shadow/config last set, as JSON.
CREATE TABLE shadow_config (
    row_number BIGINT NOT NULL PRIMARY KEY,
    body TEXT NOT NULL
);
