-- Rows of streams say what is held up to this tick; what came later says it itself.
CREATE TABLE stream_rows (
    up_to BIGINT NOT NULL
);
INSERT INTO stream_rows (up_to) SELECT COALESCE(MAX(tick), 0) FROM tick;
