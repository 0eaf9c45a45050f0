//! Statements of identity and of the audit log; each runs on SQLite and PostgreSQL alike.

pub(crate) const AUDIT_LAST: &str = "SELECT entry, hash FROM audit ORDER BY entry DESC LIMIT 1";
pub(crate) const AUDIT_WRITE: &str = "INSERT INTO audit (entry, at_micros, caller, role, action, detail, reason, hash) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
pub(crate) const AUDIT_READ: &str =
    "SELECT entry, at_micros, caller, role, action, detail, reason, hash FROM audit ORDER BY entry DESC LIMIT $1";
pub(crate) const AUDIT_WALK: &str = "SELECT entry, at_micros, caller, role, action, detail, reason, hash FROM audit \
    WHERE entry > $1 ORDER BY entry LIMIT 1000";
pub(crate) const AUDIT_CHAINED: &str = "SELECT COUNT(*) FROM audit WHERE hash IS NOT NULL";
pub(crate) const AUDIT_CHAIN: &str = "UPDATE audit SET hash = $1 WHERE entry = $2";

pub(crate) const TOKEN_WRITE: &str = "INSERT INTO token (id, kind, name, role, hash, created_micros, created_by, \
    expires_micros, uses_left, group_name) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
pub(crate) const TOKEN_READ: &str = "SELECT id, kind, name, role, hash, created_micros, created_by, expires_micros, \
    uses_left, group_name, revoked_micros FROM token ORDER BY created_micros, id";
pub(crate) const TOKEN_REVOKE: &str = "UPDATE token SET revoked_micros = $1 WHERE id = $2 AND revoked_micros IS NULL";
pub(crate) const TOKEN_USE: &str = "UPDATE token SET uses_left = uses_left - 1 WHERE id = $1 AND uses_left > 0 \
    AND revoked_micros IS NULL AND (expires_micros IS NULL OR expires_micros > $2)";
pub(crate) const TOKEN_EXPIRE: &str =
    "DELETE FROM token WHERE revoked_micros < $1 OR (expires_micros IS NOT NULL AND expires_micros < $1)";

pub(crate) const KEY_READ: &str = "SELECT instance, key_hash, enrolled_micros, join_token, revoked_micros \
    FROM instance_key ORDER BY instance";
pub(crate) const KEY_WRITE: &str = "INSERT INTO instance_key (instance, key_hash, enrolled_micros, join_token) \
    VALUES ($1, $2, $3, $4)";
pub(crate) const KEY_REVOKE: &str = "UPDATE instance_key SET revoked_micros = $1 WHERE instance = $2";
pub(crate) const KEY_DELETE: &str = "DELETE FROM instance_key WHERE instance = $1";
pub(crate) const CERTIFICATE_READ: &str =
    "SELECT fingerprint, instance, issued_micros, expires_micros FROM certificate ORDER BY issued_micros";
pub(crate) const CERTIFICATE_WRITE: &str =
    "INSERT INTO certificate (fingerprint, instance, issued_micros, expires_micros) VALUES ($1, $2, $3, $4)";
pub(crate) const CERTIFICATE_DELETE: &str = "DELETE FROM certificate WHERE instance = $1";
pub(crate) const CERTIFICATE_EXPIRE: &str = "DELETE FROM certificate WHERE expires_micros < $1";

pub(crate) const ALL: &[(&str, &str)] = &[
    ("AUDIT_LAST", AUDIT_LAST),
    ("AUDIT_WRITE", AUDIT_WRITE),
    ("AUDIT_READ", AUDIT_READ),
    ("AUDIT_WALK", AUDIT_WALK),
    ("AUDIT_CHAINED", AUDIT_CHAINED),
    ("AUDIT_CHAIN", AUDIT_CHAIN),
    ("TOKEN_WRITE", TOKEN_WRITE),
    ("TOKEN_READ", TOKEN_READ),
    ("TOKEN_REVOKE", TOKEN_REVOKE),
    ("TOKEN_USE", TOKEN_USE),
    ("TOKEN_EXPIRE", TOKEN_EXPIRE),
    ("KEY_READ", KEY_READ),
    ("KEY_WRITE", KEY_WRITE),
    ("KEY_REVOKE", KEY_REVOKE),
    ("KEY_DELETE", KEY_DELETE),
    ("CERTIFICATE_READ", CERTIFICATE_READ),
    ("CERTIFICATE_WRITE", CERTIFICATE_WRITE),
    ("CERTIFICATE_DELETE", CERTIFICATE_DELETE),
    ("CERTIFICATE_EXPIRE", CERTIFICATE_EXPIRE),
];
