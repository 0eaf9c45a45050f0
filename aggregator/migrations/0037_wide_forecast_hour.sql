-- The same of the wider interval: null where an older version wrote the hour, or where it is not forecast.
ALTER TABLE forecast_hour ADD COLUMN wide_promised DOUBLE PRECISION;
ALTER TABLE forecast_hour ADD COLUMN wide_inside BIGINT;
ALTER TABLE forecast_hour ADD COLUMN wide_outcomes BIGINT;
