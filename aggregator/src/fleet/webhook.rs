//! A fleet behind the user's own server: one POST an operation, signed. `docs/fleets.md` describes
//! question, answer and signature.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{Request, Uri, header};
use http_body_util::Full;
use rustls::ClientConfig;
use sha2::Sha256;

use super::remote::{Carried, Carrier, Remote, shown};
use super::wire::Question;
use super::{Fleet, Reach};
use crate::clock::Clock;
use crate::exchange::{exchange, is_loopback, trust};

/// No answer is longer.
const LONGEST: usize = 16 * 1_024 * 1_024;
pub(crate) const TIMESTAMP: &str = "Foreshadow-Timestamp";
pub(crate) const SIGNATURE: &str = "Foreshadow-Signature";

/// Asks a server.
#[derive(Debug)]
struct Server {
    url: Uri,
    secret_file: PathBuf,
    within: Duration,
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
    clock: Arc<dyn Clock>,
}

/// A source that asks a server. It reaches a test when the server is on this machine.
pub fn source(
    url: Uri,
    secret_file: PathBuf,
    groups: Vec<String>,
    within: Duration,
    clock: Arc<dyn Clock>,
) -> Arc<dyn Fleet> {
    let reach = if is_loopback(&url) { Reach::Loopback } else { Reach::Cloud };
    let carrier = Server { url, secret_file, within, tls: OnceLock::new(), clock: clock.clone() };
    Arc::new(Remote { carrier, name: "webhook", groups, reach, clock })
}

impl Server {
    async fn signed(&self, question: Question) -> Result<Request<Full<Bytes>>, String> {
        let name = self.secret_file.display();
        // Read anew every time: it can be exchanged while we run.
        let secret = tokio::fs::read(&self.secret_file).await.map_err(|error| format!("{name}: {error}"))?;
        let secret = secret.trim_ascii();
        if secret.is_empty() {
            return Err(format!("{name} is empty: nobody could tell our questions from others'"));
        }
        let timestamp = self.clock.wall_seconds().to_string();
        let path = self.url.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .header(SIGNATURE, signature(secret, &timestamp, &question.body)?)
            .header(TIMESTAMP, timestamp);
        if let Some(token) = &question.token {
            request = request.header("Idempotency-Key", token.as_str());
        }
        request.body(Full::new(Bytes::from(question.body))).map_err(|error| error.to_string())
    }
}

/// `v1=` and the HMAC-SHA256 of timestamp, a dot and the body, in hexadecimal.
pub(crate) fn signature(secret: &[u8], timestamp: &str, body: &[u8]) -> Result<String, String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|error| error.to_string())?;
    for part in [timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    let code = mac.finalize().into_bytes();
    Ok(format!("v1={}", code.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
}

#[async_trait]
impl Carrier for Server {
    async fn carry(&self, question: Question) -> Carried {
        let request = match self.signed(question).await {
            Ok(request) => request,
            Err(problem) => return Carried::Refused(problem),
        };
        let tls = || self.tls.get_or_init(|| trust(None).map(Arc::new).map_err(|error| format!("{error:#}"))).clone();
        let exchanged = tokio::time::timeout(self.within, exchange(&self.url, request, tls, LONGEST)).await;
        let answer = match exchanged {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Carried::Unknown(format!("{}: {error}", self.url)),
            Err(_) => {
                return Carried::Unknown(format!("{} did not answer within {} s", self.url, self.within.as_secs()));
            }
        };
        let words = || format!("{} answered {}: {}", self.url, answer.status.as_u16(), shown(&answer.body));
        match answer.status.as_u16() {
            200..=299 => Carried::Answer(answer.body.to_vec()),
            429 | 503 => Carried::Throttled,
            400..=499 => Carried::Refused(words()),
            _ => Carried::Unknown(words()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test case 2 of RFC 4231, and one of ours by openssl.
    #[test]
    fn the_signature_is_hmac_sha256() {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"Jefe").expect("a key");
        mac.update(b"what do ya want for nothing?");
        let rfc: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(rfc, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        // printf '1800000000.{"a":1}' | openssl dgst -sha256 -hmac secret
        let ours = signature(b"secret", "1800000000", b"{\"a\":1}").expect("signed");
        assert_eq!(ours, "v1=440dfbb83aabca24d9e5027629cfd81cb45254690f8d410bb28f1cc17c990dbc");
    }
}
