//! Listening: one port, HTTP/1.1 and HTTP/2, plain on loopback, TLS where a certificate is given, and then HTTP/2 over QUIC
//! beside TCP ([`super::quic`]).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::quic;
use crate::config;
use crate::identity::{Authority, AuthorityError, Presented, fingerprint};

/// Connections at once; beyond it new ones wait in the backlog.
const MOST_CONNECTIONS: usize = 25_000;
/// A client sends its headers, or ends its handshake, within this time.
pub(super) const HEADER_DEADLINE: Duration = Duration::from_secs(10);
const HEADER_BYTES: u32 = 32 * 1_024;
/// Calls at once on one HTTP/2 connection: an agent has one or two, a dashboard a few.
const STREAMS_PER_CONNECTION: u32 = 64;
/// What a peer may send unread: a call's, and all of a connection's. A full batch is 250 kB.
const STREAM_WINDOW: u32 = 128 * 1_024;
pub(super) const CONNECTION_WINDOW: u32 = 512 * 1_024;
/// A dead peer is found out within two of these.
const PING_EVERY: Duration = Duration::from_secs(20);
/// How long open requests may take to end when stopping.
pub(super) const DRAIN: Duration = Duration::from_secs(5);

/// Where to listen and how.
#[derive(Debug, Clone)]
pub struct Listen {
    pub address: SocketAddr,
    /// Certificate chain and key, PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
    pub insecure: bool,
    /// HTTP/2 over QUIC as well, on the UDP port of the same number; only with `tls`.
    pub quic: bool,
    /// Callers are authenticated.
    pub authenticated: bool,
}

/// Why nothing listens.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("listen.address: {0} is not loopback, and no tokens are configured: set identity.tokens")]
    Unauthenticated(SocketAddr),
    #[error(
        "listen.address: {0} is not loopback and there is no certificate: set listen.certificate and listen.key, or \
         listen.insecure = true to let tokens travel in plain text"
    )]
    PlainText(SocketAddr),
    #[error("listen.address: {address} cannot be listened on (--listen ADDRESS:PORT takes another)")]
    Bind { address: SocketAddr, source: std::io::Error },
    #[error(
        "listen.address: something listens on {0} already, perhaps another foreshadow: ss -ltnp 'sport = :{port}' shows \
         what; stop it, or take another port by --listen ADDRESS:PORT", port = .0.port()
    )]
    Taken(SocketAddr),
    #[error("listen.address: UDP port {address} cannot be listened on: free it, or set listen.quic = false")]
    BindUdp { address: SocketAddr, source: std::io::Error },
    #[error("{path}: {problem}")]
    Certificate { path: String, problem: String },
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

impl ServeError {
    /// Starting again would not mend it.
    pub const fn is_configuration(&self) -> bool {
        matches!(self, Self::Unauthenticated(_) | Self::PlainText(_) | Self::Certificate { .. } | Self::Authority(_))
    }

    /// The key of the configuration that is at fault.
    pub fn key(&self, listen: &config::Listen) -> &'static str {
        let is_key = |path: &String| listen.key.as_ref().is_some_and(|key| key.display().to_string() == *path);
        match self {
            Self::Unauthenticated(_)
            | Self::PlainText(_)
            | Self::Taken(_)
            | Self::Bind { .. }
            | Self::BindUdp { .. } => "listen.address",
            Self::Certificate { path, .. } if is_key(path) => "listen.key",
            Self::Certificate { .. } => "listen.certificate",
            Self::Authority(_) => "identity.authority_certificate",
        }
    }
}

/// A port that is bound; nothing is accepted yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    quic: Option<quinn::Endpoint>,
}

impl Listen {
    /// Refuses what must not be listened on, before anything is made.
    pub fn check(&self) -> Result<(), ServeError> {
        if !self.address.ip().is_loopback() {
            if !self.authenticated {
                return Err(ServeError::Unauthenticated(self.address));
            }
            if self.tls.is_none() && !self.insecure {
                return Err(ServeError::PlainText(self.address));
            }
            if self.tls.is_none() {
                tracing::warn!(address = %self.address, "INSECURE: tokens and samples travel in plain text");
            }
        }
        Ok(())
    }

    /// Refuses a certificate or a key that cannot be used.
    pub fn check_files(&self) -> Result<(), ServeError> {
        let files = self.tls.as_ref().map(|(certificate, key)| configuration(certificate, key, None));
        files.transpose().map(drop)
    }

    /// Binds, after everything that could be refused was. Agents' certificates are checked against `authority`.
    pub async fn bind(&self, authority: Option<&Authority>) -> Result<Bound, ServeError> {
        self.check()?;
        let tls = self.tls.as_ref().map(|(certificate, key)| configuration(certificate, key, authority)).transpose()?;
        let bind = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::AddrInUse => ServeError::Taken(self.address),
            _ => ServeError::Bind { address: self.address, source },
        };
        let listener = TcpListener::bind(self.address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let quic = match &tls {
            Some(tls) if self.quic => {
                let bound = quic::bind(address, tls);
                Some(bound.map_err(|source| ServeError::BindUdp { address, source })?)
            }
            _ => None,
        };
        Ok(Bound { listener, address, tls, quic })
    }
}

fn configuration(
    certificate: &Path,
    key: &Path,
    authority: Option<&Authority>,
) -> Result<Arc<ServerConfig>, ServeError> {
    let problem = |path: &Path, problem: String| ServeError::Certificate { path: path.display().to_string(), problem };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| problem(certificate, error.to_string()))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| problem(key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = authority.map(Authority::verifier).transpose()?;
    let mut configuration = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map(|builder| match clients {
            Some(clients) => builder.with_client_cert_verifier(clients),
            None => builder.with_no_client_auth(),
        })
        .and_then(|builder| builder.with_single_cert(chain, private))
        .map_err(|error| problem(certificate, error.to_string()))?;
    // They would be kept for 256 clients: thousands of agents would each be made two that nobody takes back.
    configuration.send_tls13_tickets = 0;
    configuration.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(configuration))
}

impl Bound {
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS` or `https://ADDRESS`.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.address)
    }

    /// Serves until told to stop, then lets open requests end.
    pub async fn serve(self, router: Router, shutdown: CancellationToken) {
        let open = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let graceful = GracefulShutdown::new();
        let Self { listener, tls, quic, .. } = self;
        let over_quic = async {
            if let Some(endpoint) = &quic {
                quic::accept(endpoint, &router, &open, &graceful, &shutdown).await;
            }
        };
        tokio::join!(accept(listener, tls, &router, &open, &graceful, &shutdown), over_quic);
        if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
            tracing::warn!("some requests did not end in time");
        }
        if let Some(endpoint) = quic {
            quic::close(&endpoint).await;
        }
    }
}

/// Accepts over TCP until told to stop.
async fn accept(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    router: &Router,
    open: &Arc<Semaphore>,
    graceful: &GracefulShutdown,
    shutdown: &CancellationToken,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    loop {
        let Ok(permit) = open.clone().acquire_owned().await else { break };
        let stream = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, mostly: wait a moment rather than spin.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (router, acceptor, watcher) = (router.clone(), acceptor.clone(), graceful.watcher());
        tokio::spawn(async move {
            Box::pin(connection(stream, router, acceptor, watcher)).await;
            drop(permit);
        });
    }
}

async fn connection(stream: TcpStream, router: Router, acceptor: Option<TlsAcceptor>, watcher: Watcher) {
    drop(stream.set_nodelay(true));
    match acceptor {
        None => speak(stream, Presented::default(), router, watcher).await,
        Some(acceptor) => {
            let Ok(Ok(stream)) = tokio::time::timeout(HEADER_DEADLINE, acceptor.accept(stream)).await else { return };
            let certificates = stream.get_ref().1.peer_certificates();
            let presented = Presented(certificates.and_then(<[_]>::first).map(|own| fingerprint(own)));
            speak(stream, presented, router, watcher).await;
        }
    }
}

/// HTTP over whatever carries it, until either side ends it.
pub(super) async fn speak<Io>(io: Io, presented: Presented, router: Router, watcher: Watcher)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_DEADLINE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEADER_BYTES)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY);
    // What the connection proved goes with each of its requests.
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(presented);
        router.clone().oneshot(request)
    });
    let connection = builder.serve_connection(TokioIo::new(io), service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended");
    }
}
