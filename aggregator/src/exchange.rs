//! One HTTP request on a connection of its own: TLS by the host's authorities or one's own, a
//! bounded answer. Callers set the deadline: dropping the future drops the connection.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    #[error("must be http://HOST:PORT or https://HOST:PORT")]
    Url,
    #[error("cannot be reached: {0}")]
    Connect(std::io::Error),
    #[error("no TLS: {0}")]
    Tls(String),
    /// The connection broke, or what came is not HTTP, or too long.
    #[error("{0}")]
    Broken(String),
}

/// Sends `request` to the host of `url`; its own URI is the path. `tls` is asked for `https` alone.
pub async fn exchange(
    url: &Uri,
    mut request: Request<Full<Bytes>>,
    tls: impl FnOnce() -> Result<Arc<ClientConfig>, String>,
    longest: usize,
) -> Result<Answer, ExchangeError> {
    let authority = url.authority().ok_or(ExchangeError::Url)?;
    let secure = match url.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(ExchangeError::Url),
    };
    let host = authority.host().trim_matches(['[', ']']);
    let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let named = HeaderValue::from_str(authority.as_str()).map_err(|_| ExchangeError::Url)?;
    request.headers_mut().insert(header::HOST, named);
    let connect = || async { TcpStream::connect((host, port)).await.map_err(ExchangeError::Connect) };
    if !secure {
        return send(connect().await?, request, longest).await;
    }
    let broken = |error: &dyn std::fmt::Display| ExchangeError::Tls(error.to_string());
    let name = ServerName::try_from(host.to_owned()).map_err(|error| broken(&error))?;
    // Before it connects: a host has hundreds of authorities, reading them on a busy one takes seconds, and a server waits ten for a hello.
    let connector = tokio_rustls::TlsConnector::from(tls().map_err(ExchangeError::Tls)?);
    let stream = connector.connect(name, connect().await?).await.map_err(|error| broken(&error))?;
    send(stream, request, longest).await
}

async fn send<S>(stream: S, request: Request<Full<Bytes>>, longest: usize) -> Result<Answer, ExchangeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| ExchangeError::Broken(error.to_string());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let driver = tokio::spawn(connection);
    // Ends the connection with this future, also when its caller stops waiting.
    let _ends = Ends(driver.abort_handle());
    let (parts, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
    let body = Limited::new(body, longest).collect().await;
    let body = body.map_err(|error| ExchangeError::Broken(error.to_string()))?.to_bytes();
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}

struct Ends(tokio::task::AbortHandle);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The operator's own authority alone, or else those this host trusts.
pub fn trust(ca: Option<&Path>) -> anyhow::Result<ClientConfig> {
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

/// The value of a header that stands in a file, behind `scheme`; read anew each time, since it may be renewed.
///
/// # Errors
/// The file, and what is wrong with it; never what it holds.
pub async fn secret(file: &Path, scheme: &str) -> Result<HeaderValue, String> {
    let text = tokio::fs::read_to_string(file).await.map_err(|error| format!("{}: {error}", file.display()))?;
    let value = HeaderValue::from_str(&format!("{scheme}{}", text.trim()));
    let mut value = value.map_err(|_| format!("{}: holds what no header may", file.display()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether a URL's host is this very machine: `localhost` or an address of the loopback network.
pub fn is_loopback(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn authorities_are_read_before_a_server_waits_for_a_hello() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        server.set_nonblocking(true).expect("a listener");
        let url: Uri = format!("https://{}", server.local_addr().expect("bound")).parse().expect("a URL");
        let accepted = || server.accept().map(drop).map_err(|error| error.kind());
        let mut meanwhile = None;
        let tls = || {
            meanwhile = Some(accepted());
            trust(None).map(Arc::new).map_err(|error| format!("{error:#}"))
        };
        let asking = exchange(&url, Request::default(), tls, 1);
        // Nobody answers.
        drop(tokio::time::timeout(std::time::Duration::from_secs(2), asking).await);
        assert_eq!(meanwhile, Some(Err(std::io::ErrorKind::WouldBlock)), "connected before it was ready to speak");
        assert_eq!(accepted(), Ok(()), "and then it connects");
    }

    #[test]
    fn loopback_is_this_machine_and_nothing_that_looks_like_it() {
        for (url, loopback) in [
            ("http://127.0.0.1:5000", true),
            ("http://127.8.8.8", true),
            ("https://localhost:1/x", true),
            ("http://[::1]:80", true),
            ("http://localhost.example.org", false),
            ("http://127.0.0.1.example.org", false),
            ("http://10.0.0.1", false),
            ("http://[::ffff:10.0.0.1]", false),
            ("https://ec2.us-east-1.amazonaws.com", false),
            ("/relative", false),
        ] {
            assert_eq!(is_loopback(&url.parse().expect("a URL")), loopback, "{url}");
        }
    }
}
