//! Who is calling: by the certificate of the connection, or by a bearer token.

use super::{Access, Caller, Enrolments, Managed, Role};

/// What a connection presented: the SHA-256 of the client certificate that TLS found good, if there was one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Presented(pub Option<[u8; 32]>);

/// Knows callers.
#[derive(Debug)]
pub struct Callers {
    fixed: Access,
    managed: Managed,
    enrolments: Enrolments,
}

impl Callers {
    pub const fn new(fixed: Access, managed: Managed, enrolments: Enrolments) -> Self {
        Self { fixed, managed, enrolments }
    }

    pub const fn managed(&self) -> &Managed {
        &self.managed
    }

    pub const fn enrolments(&self) -> &Enrolments {
        &self.enrolments
    }

    /// The caller, or in words why there is none. A bearer token is asked first: who sends one says who they are.
    /// A certificate that is revoked or not on record lets nobody in, also where no tokens are configured.
    pub async fn caller(
        &self,
        presented: Presented,
        authorization: Option<&str>,
        now_micros: i64,
    ) -> Result<Caller, String> {
        let unknown = || "a bearer token is needed, and a valid one".to_owned();
        if let (Some(fingerprint), None) = (presented.0, authorization) {
            let peer = self.enrolments.peer(&fingerprint).map_err(|error| error.to_string())?;
            return Ok(Caller {
                instance: Some(peer.instance.clone()),
                ..Caller::named(peer.instance.as_str(), Role::Agent)
            });
        }
        if let Some(caller) = self.fixed.caller(authorization) {
            return Ok(caller);
        }
        let (scheme, token) = authorization.and_then(|value| value.split_once(' ')).ok_or_else(unknown)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(unknown());
        }
        self.managed.caller(token.trim(), now_micros).await.ok_or_else(unknown)
    }
}
