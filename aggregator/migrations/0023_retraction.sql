-- Samples of an instance that count no more, whether they are stored already or come later. The samples go when they
-- would have been folded or expire; until then nobody reads them.
CREATE TABLE retraction (
    instance TEXT NOT NULL,
    from_micros BIGINT NOT NULL,
    to_micros BIGINT NOT NULL,
    at_micros BIGINT NOT NULL,
    reason TEXT NOT NULL,
    -- 1 when the minutes that they had a part in were made anew.
    remade BIGINT NOT NULL,
    PRIMARY KEY (instance, from_micros, to_micros)
);
