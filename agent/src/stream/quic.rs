//! HTTP/2 over one bidirectional QUIC stream: all above it is as over TCP, identity included. A connection is known by its
//! id and not by addresses, so it outlives a change of either; a lost packet is sent again after one round trip and a bit
//! and not after a fifth of a second.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, IdleTimeout, RecvStream, SendStream, TransportConfig, VarInt};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::Join;
use tonic::transport::Channel;

use crate::identity::Proof;

/// What both sides call HTTP/2 inside one QUIC stream (ALPN). Not `h3`, which is another protocol.
pub const PROTOCOL: &[u8] = b"foreshadow-h2";
/// A connection whose other side is not heard for so long is over; HTTP/2 finds out sooner.
const IDLE: Duration = Duration::from_secs(60);
/// What the aggregator may send unread.
const WINDOW: u32 = 512 * 1_024;

/// Why there is no connection over QUIC.
#[derive(Debug, thiserror::Error)]
pub enum QuicError {
    #[error("{host} cannot be resolved")]
    Resolve { host: String, source: io::Error },
    #[error("{0} has no address")]
    NoAddress(String),
    #[error("no UDP socket")]
    Socket(#[source] io::Error),
    #[error("TLS: {0}")]
    Tls(String),
    #[error("no connection to {address} over UDP")]
    Connect { address: SocketAddr, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("no answer over UDP")]
    Silent,
    #[error("no HTTP/2 over QUIC")]
    Http(#[source] Box<tonic::transport::Error>),
}

/// HTTP/2's bytes, both ways.
type Tunnel = Join<RecvStream, SendStream>;

/// Connects over QUIC to the aggregator of `uri`, which must show a certificate of `ca` (PEM; without it of those the host
/// trusts), and shows `own`. `http` says how HTTP/2 is spoken.
///
/// # Errors
/// When nobody answers over UDP, or TLS ends it.
pub async fn connect(
    http: tonic::transport::Endpoint,
    uri: &Uri,
    ca: Option<&[u8]>,
    own: Option<&Proof>,
) -> Result<Channel, QuicError> {
    let tunnel = dial(uri, configuration(ca, own)?).await?;
    // One connection: whoever needs another dials again, and is told why there is none.
    let tunnel = Arc::new(Mutex::new(Some(tunnel)));
    let connector = tower::service_fn(move |_: Uri| {
        let tunnel = tunnel.lock().unwrap_or_else(PoisonError::into_inner).take();
        std::future::ready(tunnel.map(TokioIo::new).ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)))
    });
    http.connect_with_connector(connector).await.map_err(|source| QuicError::Http(Box::new(source)))
}

async fn dial(uri: &Uri, configuration: ClientConfig) -> Result<Tunnel, QuicError> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let resolve = |source| QuicError::Resolve { host: host.to_owned(), source };
    let addresses = tokio::net::lookup_host((host, uri.port_u16().unwrap_or(443))).await.map_err(resolve)?;
    let mut failed = QuicError::NoAddress(host.to_owned());
    for address in addresses {
        match dial_address(address, host, configuration.clone()).await {
            Ok(tunnel) => return Ok(tunnel),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

async fn dial_address(address: SocketAddr, host: &str, configuration: ClientConfig) -> Result<Tunnel, QuicError> {
    // Bound to no address of ours: the host's may change under it.
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| QuicError::Connect { address, source };
    // The endpoint lives on in its connection.
    let endpoint = quinn::Endpoint::client(any).map_err(QuicError::Socket)?;
    let connecting = endpoint.connect_with(configuration, address, host).map_err(|error| failed(error.into()))?;
    let connection = connecting.await.map_err(|error| failed(error.into()))?;
    let (send, receive) = connection.open_bi().await.map_err(|error| failed(error.into()))?;
    Ok(tokio::io::join(receive, send))
}

/// What a client of QUIC is configured with: TLS 1.3, one stream, no more unread than a window.
///
/// # Errors
/// [`QuicError::Tls`] where a certificate or key cannot be read.
pub fn configuration(ca: Option<&[u8]>, own: Option<&Proof>) -> Result<ClientConfig, QuicError> {
    let problem = |error: &dyn std::fmt::Display| QuicError::Tls(error.to_string());
    let mut roots = RootCertStore::empty();
    match ca {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| problem(&error))?;
                roots.add(certificate).map_err(|error| problem(&error))?;
            }
        }
        // As over TCP: what of the host's store cannot be read is left out.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| problem(&error))?
        .with_root_certificates(roots);
    let mut tls = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let chain = CertificateDer::pem_slice_iter(own.certificates.as_bytes()).collect::<Result<_, _>>();
            let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).map_err(|error| problem(&error))?;
            let chain = chain.map_err(|error| problem(&error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| problem(&error))?
        }
    };
    tls.alpn_protocols = vec![PROTOCOL.to_vec()];
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(WINDOW.into());
    let mut configuration =
        ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).map_err(|error| problem(&error))?));
    configuration.transport_config(Arc::new(transport));
    Ok(configuration)
}
