//! Who may do what. Callers bring a bearer token, from a file or managed ([`Managed`]); agents a certificate
//! that [`Authority`] signed and [`Enrolments`] has on record. [`Callers`] knows who calls. Every change is in the
//! chained log of [`Audit`]; [`command`] is all of this for a person at a terminal.
//!
//! The file keeps hashes only. Tokens are 32 random bytes, so a plain SHA-256 of one tells nothing
//! and cannot be guessed; a slow password hash would only slow every request.

mod audit;
mod authority;
mod callers;
pub mod command;
mod enrol;
mod enrolments;
mod instance_document;
mod managed;
mod request;
mod signed_data;
pub(crate) mod sql;
mod validity;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use foreshadow_agent::reader::{Fault, Reader, Section, want};
use foreshadow_proto::convert::Id;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

pub use audit::{Anchor, Audit, AuditEntry, Verified, verify};
pub use authority::{Authority, AuthorityError, fingerprint};
pub use callers::{Callers, Presented};
pub use enrol::EnrolService;
pub use enrolments::{Enrolled, Enrolments, Peer};
pub use instance_document::InstanceDocuments;
pub use managed::{Kind, Managed, TokenEntry, TokenFault, Wanted};
pub use validity::ends_of_file;

/// What a caller may do. `viewer` < `operator` < `admin`; an `agent` writes its own samples and
/// nothing else, and nobody else speaks as an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Agent,
    Viewer,
    Operator,
    Admin,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Agent, Self::Viewer, Self::Operator, Self::Admin];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let role = Self::ALL.into_iter().find(|role| role.as_str() == text);
        role.ok_or_else(|| "roles are agent, viewer, operator and admin".to_owned())
    }
}

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub name: String,
    pub role: Role,
    /// No tokens are configured: everybody on this host may do everything.
    pub open: bool,
    /// The instance that the caller's certificate names. It may speak of this one alone.
    pub instance: Option<Id>,
}

impl Caller {
    pub fn named(name: &str, role: Role) -> Self {
        Self { name: name.to_owned(), role, open: false, instance: None }
    }

    /// Everybody, where no tokens are configured.
    fn anybody() -> Self {
        Self { open: true, ..Self::named("local", Role::Admin) }
    }
}

/// How callers are known.
#[derive(Debug, Clone)]
pub enum Access {
    /// No tokens: every role is granted, and the server listens on loopback only.
    Open,
    Tokens(Vec<Token>),
}

/// A token's hash and what it allows.
#[derive(Clone)]
pub struct Token {
    name: String,
    role: Role,
    hash: [u8; 32],
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

impl Access {
    /// Reads the token file; every fault is in the error.
    pub fn load(path: &Path) -> Result<Self, Vec<Fault>> {
        let name = path.display().to_string();
        let whole = |problem: String| vec![Fault { file: name.clone(), line: 0, key: String::new(), problem }];
        let text = std::fs::read_to_string(path).map_err(|error| whole(format!("cannot be read: {error}")))?;
        if let Some(problem) = readable_by_others(path) {
            return Err(whole(problem));
        }
        Self::parse(&name, &text)
    }

    fn parse(name: &str, text: &str) -> Result<Self, Vec<Fault>> {
        let mut reader = Reader::new(name, text);
        let mut tokens = Vec::new();
        if let Some(document) = reader.document() {
            let mut root = Section::root(&document);
            for (name, mut section) in root.sections(&mut reader, "token") {
                let role = section.get(&mut reader, "role", want::parsed::<Role>);
                let hash = section.get(&mut reader, "sha256", |value| want::text(value).and_then(|text| digest(&text)));
                for (key, there) in [("role", role.is_some()), ("sha256", hash.is_some())] {
                    if !there && !section.has(key) {
                        section.fault(&mut reader, key, "is missing");
                    }
                }
                section.finish(&mut reader);
                if let (Some(role), Some(hash)) = (role, hash) {
                    tokens.push(Token { name, role, hash });
                }
            }
            root.finish(&mut reader);
            if tokens.is_empty() && reader.faults.is_empty() {
                reader.fault(0, "token", "names no token: nobody could do anything");
            }
        }
        if reader.faults.is_empty() { Ok(Self::Tokens(tokens)) } else { Err(reader.faults) }
    }

    /// The caller behind an `Authorization` header; `None` when nobody is known by it.
    pub fn caller(&self, authorization: Option<&str>) -> Option<Caller> {
        match self {
            Self::Open => Some(Caller::anybody()),
            Self::Tokens(tokens) => {
                let (scheme, token) = authorization?.split_once(' ')?;
                if !scheme.eq_ignore_ascii_case("bearer") {
                    return None;
                }
                let hash: [u8; 32] = Sha256::digest(token.trim()).into();
                // Every token is compared, so that time tells nothing of which one it was.
                let mut found = None;
                for known in tokens {
                    if bool::from(known.hash.ct_eq(&hash)) {
                        found = Some(known);
                    }
                }
                found.map(|token| Caller::named(&token.name, token.role))
            }
        }
    }

    /// Tokens are configured: callers and agents are authenticated.
    pub const fn is_authenticated(&self) -> bool {
        matches!(self, Self::Tokens(_))
    }
}

#[cfg(unix)]
fn readable_by_others(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o007 != 0)
        .then(|| format!("everybody may read it (mode {:o}): chmod 640 {}", mode & 0o777, path.display()))
}

#[cfg(not(unix))]
const fn readable_by_others(_path: &Path) -> Option<String> {
    None
}

/// 32 bytes as hexadecimal digits.
pub(crate) fn digest(text: &str) -> Result<[u8; 32], String> {
    let wrong = || "must be 64 hexadecimal digits, as `foreshadow token` or `sha256sum` print them".to_owned();
    let mut hash = [0; 32];
    if text.len() != 64 {
        return Err(wrong());
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        let pair = text.get(at * 2..at * 2 + 2).ok_or_else(wrong)?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
    }
    Ok(hash)
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A new token and the entry for the token file, from 32 random bytes.
pub fn new_token(name: &str, role: Role, random: [u8; 32]) -> (String, String) {
    let token = format!("fs_{}", hex(&random));
    let hash = hex(&Sha256::digest(&token));
    (token, format!("[token.{name}]\nrole = \"{role}\"\nsha256 = \"{hash}\"\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_its_role_and_nothing_else_does() {
        let (token, entry) = new_token("grafana", Role::Viewer, [7; 32]);
        let access = Access::parse("t.toml", &entry).expect("reads");
        let caller = access.caller(Some(&format!("Bearer {token}"))).expect("known");
        assert_eq!(caller, Caller::named("grafana", Role::Viewer));
        for wrong in [None, Some("Bearer"), Some("Bearer x"), Some("Basic x"), Some(token.as_str())] {
            assert_eq!(access.caller(wrong), None);
        }
        assert!(!format!("{access:?}").contains(&token[3..10]));
    }

    #[test]
    fn every_fault_of_the_file_is_named() {
        let text = "[token.a]\nrole = \"root\"\nsha256 = \"12\"\n[token.b]\nrole = \"viewer\"\n";
        let faults: Vec<String> =
            Access::parse("t.toml", text).expect_err("faults").iter().map(ToString::to_string).collect();
        assert!(faults[0].starts_with("t.toml:2: token.a.role") && faults[0].contains("roles are"), "{faults:?}");
        assert!(faults[1].starts_with("t.toml:3: token.a.sha256: must be 64"), "{faults:?}");
        assert!(faults[2].contains("token.b.sha256: is missing"), "{faults:?}");
        assert!(Access::parse("t.toml", "").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_everybody_reads_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("tokens.toml");
        std::fs::write(&path, new_token("a", Role::Admin, [1; 32]).1).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("set");
        assert!(Access::load(&path).expect_err("refused")[0].problem.contains("chmod 640"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("set");
        assert!(Access::load(&path).is_ok());
    }
}
