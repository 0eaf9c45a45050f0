//! A server that is asked for a past: over TLS by the host's authorities or one's own, with the credentials of a file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::Full;
use serde_json::Value;

use crate::exchange::{exchange, is_loopback, trust};

/// An answer takes no longer.
const DEADLINE: Duration = Duration::from_secs(120);
/// No answer is longer: four days of minutes are half a megabyte.
const LONGEST: usize = 64 * 1_024 * 1_024;
/// What failed for a passing reason is asked again after these.
const AGAIN: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(9)];

/// Where it is and how to be let in.
#[derive(Debug, Clone, clap::Args)]
pub struct Server {
    /// Where it listens, with the path before its API where it has one
    #[arg(long, value_name = "URL")]
    pub server: Uri,
    /// File with its bearer token
    #[arg(long, value_name = "FILE", conflicts_with = "server_user")]
    server_token_file: Option<PathBuf>,
    /// User it knows
    #[arg(long, value_name = "NAME", requires = "server_password_file")]
    server_user: Option<String>,
    /// File with the user's password
    #[arg(long, value_name = "FILE", requires = "server_user")]
    server_password_file: Option<PathBuf>,
    /// PEM file of the authority that signed its certificate
    #[arg(long, value_name = "FILE")]
    server_ca: Option<PathBuf>,
}

impl Server {
    /// The URL without a closing slash; a password in it would end up in lists of processes and in the audit log.
    pub fn url(&self) -> Result<String> {
        let authority = self.server.authority().map_or("", |authority| authority.as_str());
        if !matches!(self.server.scheme_str(), Some("http" | "https")) || authority.is_empty() {
            bail!("--server {}: must be http://HOST:PORT or https://HOST:PORT", self.server);
        }
        if authority.contains('@') {
            bail!("--server: give user and password by --server-user and --server-password-file, not in the URL");
        }
        Ok(self.server.to_string().trim_end_matches('/').to_owned())
    }

    /// POSTs a form to `path` below the URL, again where it failed for a passing reason. `scheme` is the word before a token.
    pub async fn ask(&self, path: &str, scheme: &str, form: &[(&str, &str)]) -> Result<Value> {
        let url: Uri = format!("{}{path}", self.url()?).parse()?;
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut again = AGAIN.iter();
        loop {
            let why = match self.once(&url, scheme, body.clone()).await? {
                Ok(answer) => return Ok(answer),
                Err(why) => why,
            };
            match again.next() {
                Some(wait) => tokio::time::sleep(*wait).await,
                None => bail!("{why}"),
            }
        }
    }

    /// The inner error is a passing one.
    async fn once(&self, url: &Uri, scheme: &str, body: String) -> Result<Result<Value, String>> {
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        if let Some(authorization) = self.authorization(scheme)? {
            if url.scheme_str() == Some("http") && !is_loopback(url) {
                bail!("{url} is plain text and not this machine: credentials are not sent there; use https");
            }
            request.headers_mut().insert(header::AUTHORIZATION, authorization);
        }
        let tls = || trust(self.server_ca.as_deref()).map(Arc::new).map_err(|error| format!("{error:#}"));
        let answer = match tokio::time::timeout(DEADLINE, exchange(url, request, tls, LONGEST)).await {
            Err(_) => return Ok(Err(format!("{url} did not answer within {} s", DEADLINE.as_secs()))),
            Ok(Err(error)) => return Ok(Err(format!("{url}: {error}"))),
            Ok(Ok(answer)) => answer,
        };
        let read: Option<Value> = serde_json::from_slice(&answer.body).ok();
        if answer.status.is_success() {
            return read.map(Ok).ok_or_else(|| anyhow!("{url}: the answer is not JSON; is this the right URL?"));
        }
        let said = read.as_ref().and_then(|read| read.get("error")).and_then(Value::as_str);
        let text = String::from_utf8_lossy(&answer.body);
        let said: String = said.unwrap_or(&text).trim().chars().take(300).collect();
        let why = format!("{url}: {}: {said}", answer.status);
        match answer.status {
            StatusCode::TOO_MANY_REQUESTS => Ok(Err(why)),
            status if status.is_server_error() => Ok(Err(why)),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                bail!("{why} (--server-token-file, or --server-user with --server-password-file)")
            }
            StatusCode::UNPROCESSABLE_ENTITY => {
                bail!("{why} (a recording rule, or smaller parts by --part-hours, ask less of it)")
            }
            _ => bail!("{why}"),
        }
    }

    fn authorization(&self, scheme: &str) -> Result<Option<HeaderValue>> {
        let read = |file: &PathBuf| {
            let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
            anyhow::Ok(text.trim().to_owned())
        };
        let text = match (&self.server_token_file, &self.server_user, &self.server_password_file) {
            (Some(file), ..) => format!("{scheme} {}", read(file)?),
            (None, Some(user), Some(file)) => format!("Basic {}", STANDARD.encode(format!("{user}:{}", read(file)?))),
            _ => return Ok(None),
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| anyhow!("the token holds what no header may"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        server: Server,
    }

    fn server(arguments: &[&str]) -> Server {
        Line::parse_from([&["x"], arguments].concat()).server
    }

    #[test]
    fn a_url_with_a_password_is_refused() {
        let url = |text: &str| server(&["--server", text]).url().map_err(|error| error.to_string());
        assert_eq!(url("http://127.0.0.1:9090/prometheus/"), Ok("http://127.0.0.1:9090/prometheus".to_owned()));
        let refused = url("http://me:secret@127.0.0.1:9090").expect_err("refused");
        assert!(refused.contains("--server-password-file") && !refused.contains("secret"), "{refused}");
        assert!(url("ftp://127.0.0.1").is_err());
    }

    #[tokio::test]
    async fn credentials_do_not_travel_in_plain_text() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("token");
        std::fs::write(&file, "secret\n").expect("written");
        let file = file.display().to_string();
        let far = server(&["--server", "http://192.0.2.1:9090", "--server-token-file", &file]);
        let error = far.ask("/api/v1/query", "Bearer", &[]).await.expect_err("refused").to_string();
        assert!(error.contains("use https") && !error.contains("secret"), "{error}");
    }
}
