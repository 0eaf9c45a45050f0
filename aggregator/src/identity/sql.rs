//! Statements of the audit log; each runs on SQLite and PostgreSQL alike.

pub(crate) const AUDIT_WRITE: &str = "INSERT INTO audit (entry, at_micros, caller, role, action, detail, reason) \
    SELECT COALESCE(MAX(entry), 0) + 1, $1, $2, $3, $4, $5, $6 FROM audit";
pub(crate) const AUDIT_READ: &str =
    "SELECT entry, at_micros, caller, role, action, detail, reason FROM audit ORDER BY entry DESC LIMIT $1";

pub(crate) const ALL: &[(&str, &str)] = &[("AUDIT_WRITE", AUDIT_WRITE), ("AUDIT_READ", AUDIT_READ)];
