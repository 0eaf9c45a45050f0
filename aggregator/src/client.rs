//! Asking a running aggregator, for the commands that do.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
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
        match tokio::time::timeout(DEADLINE, self.ask(path)).await {
            Ok(answer) => answer,
            Err(_) => bail!("{} did not answer within {} s", self.url, DEADLINE.as_secs()),
        }
    }

    async fn ask(&self, path: &str) -> anyhow::Result<Value> {
        let mut request = Request::builder().uri(path).body(Full::new(Bytes::new()))?;
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
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            return Ok(answer);
        }
        let detail = answer.get("detail").and_then(Value::as_str).unwrap_or("no reason given");
        match status {
            StatusCode::UNAUTHORIZED => bail!("not let in: {detail} (--token-file)"),
            StatusCode::FORBIDDEN => bail!("not allowed: {detail}"),
            _ => bail!("{detail}"),
        }
    }
}
