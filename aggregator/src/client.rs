//! Asking a running aggregator, for the commands that do.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use serde_json::Value;

use crate::exchange::{ExchangeError, exchange, trust};

/// An answer takes no longer.
const DEADLINE: Duration = Duration::from_secs(20);
/// No answer is longer.
const LONGEST: usize = 64 * 1_024 * 1_024;

/// Where the aggregator is and how to be let in.
#[derive(Debug, clap::Args)]
pub struct Client {
    /// Where the aggregator listens
    #[arg(long, env = "FORESHADOW_URL", value_name = "URL", default_value = "http://127.0.0.1:7070")]
    url: Uri,
    /// File with the bearer token
    #[arg(long, env = "FORESHADOW_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM file of the authority that signed the aggregator's certificate
    #[arg(long, env = "FORESHADOW_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Client {
    /// The JSON of a GET; what the aggregator refuses comes back in its own words.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.request(Method::GET, path, None).await
    }

    /// Any request, with a JSON body where there is one. It is sent once: nothing is entered twice.
    pub async fn request(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        match tokio::time::timeout(DEADLINE, self.ask(method, path, body)).await {
            Ok(answer) => answer,
            Err(_) => bail!("{} did not answer within {} s", self.url, DEADLINE.as_secs()),
        }
    }

    /// A GET whose answer is no JSON.
    pub async fn text(&self, path: &str) -> anyhow::Result<String> {
        match tokio::time::timeout(DEADLINE, self.answered(Method::GET, path, None)).await {
            Ok(body) => Ok(String::from_utf8(body?.to_vec())?),
            Err(_) => bail!("{} did not answer within {} s", self.url, DEADLINE.as_secs()),
        }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&self.answered(method, path, body).await?).unwrap_or_default())
    }

    async fn answered(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Bytes> {
        let mut request = Request::builder().method(method).uri(path);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let mut request = request.body(Full::from(body.map(Value::to_string).unwrap_or_default()))?;
        if let Some(file) = &self.token_file {
            let token = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
                .map_err(|_| anyhow!("{}: holds characters that no token has", file.display()))?;
            value.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let tls = || trust(self.ca.as_deref()).map(Arc::new).map_err(|error| format!("{error:#}"));
        let answer = exchange(&self.url, request, tls, LONGEST).await.map_err(|error| match error {
            ExchangeError::Url => anyhow!("--url {}: {error}", self.url),
            ExchangeError::Connect(error) => {
                anyhow!("{} cannot be reached: does the aggregator run? ({error})", self.url)
            }
            ExchangeError::Tls(problem) => anyhow!("{}: no TLS (is --ca right?): {problem}", self.url),
            ExchangeError::Broken(_) => anyhow!("{}: {error}", self.url),
        })?;
        let (status, body) = (answer.status, answer.body);
        if status.is_success() {
            return Ok(body);
        }
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        let detail = answer.get("detail").and_then(Value::as_str).unwrap_or("no reason given");
        match status {
            StatusCode::UNAUTHORIZED => bail!("not let in: {detail} (--token-file)"),
            StatusCode::FORBIDDEN => bail!("not allowed: {detail}"),
            _ => bail!("{detail}"),
        }
    }
}

/// A text as one segment of a path or one value of a query: a group's name may hold `:` and `/`.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_for_a_path() {
        assert_eq!(escaped("web-1"), "web-1");
        assert_eq!(escaped("team/web:1"), "team%2Fweb%3A1");
        assert_eq!(escaped("+2h & more"), "%2B2h%20%26%20more");
    }
}
