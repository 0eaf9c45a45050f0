//! Requests to an InfluxDB of any version: one connection each, bounded in time and length, credentials from files.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;

use crate::config::{InfluxApi, InfluxDb};
use crate::exchange::{Answer, exchange, trust};

/// One request takes this long at most.
pub(super) const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
/// No answer is longer, bytes: a week of rollups of many groups.
const LONGEST: usize = 64 * 1_024 * 1_024;

/// Sends one request; `path` begins with a slash and is below that of the configured URL.
pub(super) async fn ask(
    config: &InfluxDb,
    method: Method,
    path: &str,
    headers: &[(header::HeaderName, &'static str)],
    body: Vec<u8>,
) -> anyhow::Result<Answer> {
    let url: Uri = config.url.parse().with_context(|| format!("store.influxdb.url {:?}", config.url))?;
    let below = url.path().trim_end_matches('/');
    let mut request =
        Request::builder().method(method).uri(format!("{below}{path}")).body(Full::new(Bytes::from(body)))?;
    for (name, value) in headers {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if let Some(text) = authorization(&config.api)? {
        let mut value = HeaderValue::from_str(&text).map_err(|_| anyhow!("the credentials hold what no header may"))?;
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    let tls = || trust(None).map(Arc::new).map_err(|error| format!("{error:#}"));
    match tokio::time::timeout(REQUEST_DEADLINE, exchange(&url, request, tls, LONGEST)).await {
        Ok(answer) => answer.with_context(|| config.url.clone()),
        Err(_) => Err(anyhow!("{} did not answer within {} s", config.url, REQUEST_DEADLINE.as_secs())),
    }
}

/// What a server says of its refusal: JSON with an error or a message, or text.
pub(super) fn said(answer: &Answer) -> String {
    let read: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let told = ["error", "message"].iter().find_map(|key| read.get(key).and_then(serde_json::Value::as_str));
    let text = String::from_utf8_lossy(&answer.body);
    told.unwrap_or(&text).trim().chars().take(300).collect()
}

/// Credentials are read anew for every request, so that they can be renewed.
fn authorization(api: &InfluxApi) -> anyhow::Result<Option<String>> {
    let read = |file: &Path| {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        anyhow::Ok(text.trim().to_owned())
    };
    Ok(match api {
        InfluxApi::V2 { token_file, .. } | InfluxApi::V1 { token_file: Some(token_file), .. } => {
            Some(format!("Token {}", read(token_file)?))
        }
        InfluxApi::V1 { user: Some((user, password_file)), .. } => {
            Some(format!("Basic {}", STANDARD.encode(format!("{user}:{}", read(password_file)?))))
        }
        InfluxApi::V1 { .. } => None,
    })
}
