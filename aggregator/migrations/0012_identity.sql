-- Tokens that are made and revoked while it runs: those that callers bring, and those that let agents in.
CREATE TABLE token (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    -- Argon2id in the PHC form; the token itself is nowhere.
    hash TEXT NOT NULL,
    created_micros BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    expires_micros BIGINT,
    uses_left BIGINT,
    group_name TEXT,
    revoked_micros BIGINT
);

-- Which key an instance's id belongs to. The first who claimed it with a join token has it.
CREATE TABLE instance_key (
    instance TEXT NOT NULL PRIMARY KEY,
    -- SHA-256 of the public key.
    key_hash BYTEA NOT NULL,
    enrolled_micros BIGINT NOT NULL,
    join_token TEXT NOT NULL,
    revoked_micros BIGINT
);

-- Certificates that are good or were lately; one that is not here lets nobody in, whoever signed it.
CREATE TABLE certificate (
    -- SHA-256 of the certificate.
    fingerprint BYTEA NOT NULL PRIMARY KEY,
    instance TEXT NOT NULL,
    issued_micros BIGINT NOT NULL,
    expires_micros BIGINT NOT NULL
);

-- Each entry's SHA-256 over the one before and itself; absent in entries from before this table had it, which are
-- chained once at the next start.
ALTER TABLE audit ADD COLUMN hash BYTEA;
