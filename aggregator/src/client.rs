//! Asking a running aggregator, for the commands that do.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

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

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let authority = self.url.authority().ok_or_else(|| anyhow!("--url {}: must name a host", self.url))?;
        let tls = match self.url.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => bail!("--url {}: must be http://HOST:PORT or https://HOST:PORT", self.url),
        };
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let host = authority.host().trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, port)).await;
        let stream = stream.with_context(|| format!("{} cannot be reached: does the aggregator run?", self.url))?;
        let (status, body) = if tls {
            let name = ServerName::try_from(host.to_owned()).with_context(|| format!("--url {}", self.url))?;
            let connector = tokio_rustls::TlsConnector::from(Arc::new(trust(self.ca.as_deref())?));
            let stream = connector.connect(name, stream).await;
            let stream = stream.with_context(|| format!("{}: no TLS (is --ca right?)", self.url))?;
            self.send(stream, self.build(method, path, body)?).await?
        } else {
            self.send(stream, self.build(method, path, body)?).await?
        };
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

    fn build(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Request<Full<Bytes>>> {
        let host = self.url.authority().map_or("", http::uri::Authority::as_str);
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, host);
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
        Ok(request)
    }

    async fn send<S>(&self, stream: S, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, LONGEST).collect().await.map_err(|error| anyhow!("{error}"))?;
        Ok((parts.status, body.to_bytes()))
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

/// The operator's own authority alone, or else those this host trusts.
fn trust(ca: Option<&Path>) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(file) => {
            let certificate = CertificateDer::from_pem_file(file).with_context(|| file.display().to_string())?;
            roots.add(certificate).with_context(|| file.display().to_string())?;
        }
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
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
