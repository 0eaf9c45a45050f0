-- What the forecasts of each hour came to, by how far ahead they were made: coverage and loss over time, also over a restart.
CREATE TABLE forecast_hour (
    group_name TEXT NOT NULL,
    metric TEXT NOT NULL,
    band TEXT NOT NULL,
    hour BIGINT NOT NULL,
    promised DOUBLE PRECISION NOT NULL,
    inside BIGINT NOT NULL,
    outcomes BIGINT NOT NULL,
    loss DOUBLE PRECISION NOT NULL,
    day_before DOUBLE PRECISION NOT NULL,
    compared BIGINT NOT NULL,
    PRIMARY KEY (group_name, metric, band, hour)
);
CREATE INDEX forecast_hour_hour ON forecast_hour (hour);
