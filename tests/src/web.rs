//! Asking the API as curl would.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyDataStream, BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::trust::Held;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: http::HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("not JSON: {} {}", self.status, self.body))
    }

    /// One JSON value a line.
    pub fn lines(&self) -> anyhow::Result<Vec<Value>> {
        self.body.lines().map(|line| serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))).collect()
    }
}

/// One request with headers and a body.
pub async fn request(
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> anyhow::Result<Answer> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = client.request(request.body(Full::new(body.into()))?).await.with_context(|| url.to_owned())?;
    answer(response).await.with_context(|| url.to_owned())
}

async fn answer(response: Response<Incoming>) -> anyhow::Result<Answer> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Answer { status: parts.status, headers: parts.headers, body: String::from_utf8_lossy(&body).into_owned() })
}

pub async fn get(url: &str) -> anyhow::Result<Answer> {
    request(Method::GET, url, &[], Bytes::new()).await
}

/// A GET over TLS that trusts the authority in `ca` alone.
pub async fn get_tls(url: &str, ca: &Path, headers: &[(&str, &str)]) -> anyhow::Result<Answer> {
    request_tls(Method::GET, url, ca, None, headers, "").await
}

/// Any request over TLS, with a certificate of one's own where there is one.
pub async fn request_tls(
    method: Method,
    url: &str,
    ca: &Path,
    own: Option<&Held>,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> anyhow::Result<Answer> {
    let uri: Uri = url.parse()?;
    let authority = uri.authority().context("a host")?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(roots);
    let config = match own {
        None => config.with_no_client_auth(),
        Some(own) => {
            let chain = CertificateDer::pem_slice_iter(own.certificates.as_bytes()).collect::<Result<Vec<_>, _>>()?;
            config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(own.key.as_bytes())?)?
        }
    };
    let stream = TcpStream::connect(authority.as_str()).await?;
    let name = ServerName::try_from(authority.host().to_owned())?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder().method(method).uri(path).header("host", authority.as_str());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(sender.send_request(request.body(Full::new(body.into()))?).await?).await
}

/// The JSON of a GET that must succeed.
pub async fn get_json(url: &str) -> anyhow::Result<Value> {
    let answer = get(url).await?;
    ensure!(answer.status.is_success(), "{url}: {} {}", answer.status, answer.body);
    answer.json()
}

/// Server-sent events as they come: name and data.
pub type Events = Pin<Box<dyn Stream<Item = (String, Value)> + Send>>;

/// Server-sent events, asked for by nobody.
pub async fn events(url: &str) -> anyhow::Result<Events> {
    events_by(url, &[]).await
}

/// Server-sent events, asked for with headers.
pub async fn events_by(url: &str, headers: &[(&str, &str)]) -> anyhow::Result<Events> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let mut request = Request::builder().uri(url).header("accept", "text/event-stream");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = client.request(request.body(Full::new(Bytes::new()))?).await?;
    ensure!(response.status().is_success(), "{url}: {}", response.status());
    let chunks = BodyDataStream::new(response.into_body());
    let events = chunks
        .scan(String::new(), |rest, chunk| {
            rest.push_str(&String::from_utf8_lossy(&chunk.unwrap_or_default()));
            let mut events = Vec::new();
            while let Some(end) = rest.find("\n\n") {
                let event: String = rest.drain(..end + 2).collect();
                events.extend(read_event(&event));
            }
            futures::future::ready(Some(futures::stream::iter(events)))
        })
        .flatten();
    Ok(Box::pin(events))
}

fn read_event(text: &str) -> Option<(String, Value)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    Some((field("event:").unwrap_or("message").to_owned(), serde_json::from_str(field("data:")?).ok()?))
}
