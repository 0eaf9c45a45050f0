//! Asking a running aggregator, for the commands that do.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
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
    #[arg(long, env = "FORESHADOW_URL", value_name = "URL", default_value = "http://127.0.0.1:7070", value_parser = server)]
    url: Uri,
    /// File with the bearer token
    #[arg(long, env = "FORESHADOW_TOKEN_FILE", value_name = "FILE", value_parser = bearer)]
    token_file: Option<HeaderValue>,
    /// PEM file of the authority that signed the aggregator's certificate
    #[arg(long, env = "FORESHADOW_CA", value_name = "FILE", value_parser = readable)]
    ca: Option<PathBuf>,
}

// A call whose answer a person reads, or a program. No comment for readers of help: each command has its own.
#[derive(Debug, clap::Args)]
pub struct Ask {
    /// The answer itself, as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub client: Client,
}

impl Ask {
    /// Prints an answer as it is where that is asked for, or what it says to a person.
    pub fn tell(&self, answer: &Value, words: impl FnOnce(&Value) -> String) {
        if self.json {
            println!("{answer:#}");
        } else {
            println!("{}", words(answer));
        }
    }
}

/// Why something is done, for the audit log: what the aggregator would refuse is found out before anything is asked.
///
/// # Errors
/// What is wrong with it, in words.
pub fn reason_argument(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("must say why: whoever is woken tonight reads it".to_owned()),
        reason if reason.len() > 500 => Err("has 500 characters at most".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

fn server(text: &str) -> Result<Uri, String> {
    let url = text.parse::<Uri>().map_err(|error| error.to_string());
    let right = url.ok().filter(|url| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some());
    right.ok_or_else(|| ExchangeError::Url.to_string())
}

/// What a token file gives a request: read once, before anything is asked.
fn bearer(file: &str) -> Result<HeaderValue, String> {
    let token = std::fs::read_to_string(file).map_err(|error| format!("cannot be read: {error}"))?;
    if token.trim().is_empty() {
        return Err("holds no token".to_owned());
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
        .map_err(|_| "holds characters that no token has".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn readable(file: &str) -> Result<PathBuf, String> {
    std::fs::File::open(file).map_err(|error| format!("cannot be read: {error}")).map(|_| PathBuf::from(file))
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
        if let Some(token) = &self.token_file {
            request.headers_mut().insert(header::AUTHORIZATION, token.clone());
        }
        let tls = || trust(self.ca.as_deref()).map(Arc::new).map_err(|error| format!("{error:#}"));
        let answer = exchange(&self.url, request, tls, LONGEST).await.map_err(|error| match error {
            ExchangeError::Url => anyhow!("--url {}: {error}", self.url),
            ExchangeError::Connect(error) => {
                anyhow!(
                    "{} cannot be reached: does the aggregator run? --url or FORESHADOW_URL says where ({error})",
                    self.url
                )
            }
            // What rustls says of bytes that are no TLS at all.
            ExchangeError::Tls(problem) if problem.contains("corrupt message") => {
                anyhow!("{}: what listens there does not speak TLS: is it http://? ({problem})", self.url)
            }
            ExchangeError::Tls(problem) => anyhow!("{}: no TLS (is --ca right?): {problem}", self.url),
            // An alert of TLS, or an end without a word.
            ExchangeError::Broken(_) if self.url.scheme_str() == Some("http") => {
                anyhow!("{}: what listens there does not speak HTTP: is it https://? ({error})", self.url)
            }
            ExchangeError::Broken(_) => anyhow!("{}: {error}", self.url),
        })?;
        let (status, body) = (answer.status, answer.body);
        if status.is_success() {
            return Ok(body);
        }
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        let Some(detail) = answer.get("detail").and_then(Value::as_str) else {
            // Ours gives a reason with every refusal.
            bail!(
                "{} answers {status} and is no aggregator, or not alone: --url or FORESHADOW_URL says where it is",
                self.url
            );
        };
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
    fn a_server_is_named_with_its_scheme() {
        assert!(server("http://127.0.0.1:7070").is_ok() && server("https://foreshadow.example").is_ok());
        for wrong in ["127.0.0.1:7070", "foreshadow.example", "ftp://x", "http://", "/relative", ""] {
            assert_eq!(server(wrong), Err("must be http://HOST:PORT or https://HOST:PORT".to_owned()), "{wrong}");
        }
    }

    #[test]
    fn a_reason_says_something() {
        assert_eq!(reason_argument("a look"), Ok("a look".to_owned()));
        assert!(reason_argument(" ").unwrap_err().contains("must say why"));
        assert!(reason_argument(&"x".repeat(501)).unwrap_err().contains("500"));
    }

    #[test]
    fn names_are_escaped_for_a_path() {
        assert_eq!(escaped("web-1"), "web-1");
        assert_eq!(escaped("team/web:1"), "team%2Fweb%3A1");
        assert_eq!(escaped("+2h & more"), "%2B2h%20%26%20more");
    }
}
