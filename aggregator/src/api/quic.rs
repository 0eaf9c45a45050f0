//! HTTP/2 over one bidirectional QUIC stream of each connection, beside TCP: what is served and who is believed is the same.
//!
//! A connection takes a place among those of TCP, opens one stream within the deadline for headers, and has the windows of
//! TCP's. Who asks while many handshakes are open proves its address first, so that nobody fills memory under false names.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use foreshadow_agent::stream::quic::PROTOCOL;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{IdleTimeout, Incoming, TransportConfig, VarInt};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::server::{CONNECTION_WINDOW, DRAIN, HEADER_DEADLINE, speak};
use crate::identity::{Presented, fingerprint};

/// A connection whose other side is not heard for so long is over; HTTP/2's pings find out sooner.
const IDLE: Duration = Duration::from_secs(60);
/// Handshakes at once above which an address is proven first.
const TRUSTING: usize = 256;
/// Packets of handshakes that wait to be accepted; those beyond are refused.
const WAITING: usize = 4_096;
const NO_ERROR: VarInt = VarInt::from_u32(0);

/// Binds the UDP port.
pub(super) fn bind(address: SocketAddr, tls: &Arc<ServerConfig>) -> io::Result<quinn::Endpoint> {
    let mut tls = ServerConfig::clone(tls);
    tls.alpn_protocols = vec![PROTOCOL.to_vec()];
    let tls = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(CONNECTION_WINDOW.into());
    let mut configuration = quinn::ServerConfig::with_crypto(Arc::new(tls));
    configuration.transport_config(Arc::new(transport)).max_incoming(WAITING);
    quinn::Endpoint::server(configuration, address)
}

/// Accepts until told to stop.
pub(super) async fn accept(
    endpoint: &quinn::Endpoint,
    router: &Router,
    open: &Arc<Semaphore>,
    graceful: &GracefulShutdown,
    shutdown: &CancellationToken,
) {
    let handshakes = Arc::new(Semaphore::new(TRUSTING));
    loop {
        let incoming = tokio::select! {
            () = shutdown.cancelled() => return,
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => incoming,
                None => return,
            },
        };
        let Ok(permit) = open.clone().try_acquire_owned() else {
            // Its agent waits longer each time; a queue of strangers would only take memory.
            incoming.refuse();
            continue;
        };
        let handshake = handshakes.clone().try_acquire_owned().ok();
        if handshake.is_none() && incoming.may_retry() && !incoming.remote_address_validated() {
            drop(incoming.retry());
            continue;
        }
        let (router, watcher) = (router.clone(), graceful.watcher());
        tokio::spawn(async move {
            Box::pin(connection(incoming, handshake, router, watcher)).await;
            drop(permit);
        });
    }
}

async fn connection<Handshake>(incoming: Incoming, handshake: Handshake, router: Router, watcher: Watcher) {
    let opened = tokio::time::timeout(HEADER_DEADLINE, async {
        let connection = incoming.await?;
        let (send, receive) = connection.accept_bi().await?;
        Ok::<_, quinn::ConnectionError>((connection, tokio::io::join(receive, send)))
    });
    let (connection, tunnel) = match opened.await {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a connection over QUIC was not made");
            return;
        }
        // What was dropped closes by itself.
        Err(_) => return,
    };
    drop(handshake);
    let certificates =
        connection.peer_identity().and_then(|shown| shown.downcast::<Vec<CertificateDer<'static>>>().ok());
    let presented = Presented(certificates.as_deref().and_then(|chain| chain.first()).map(|own| fingerprint(own)));
    speak(tunnel, presented, router, watcher).await;
    // The last words are on their way: closing now would take them back.
    drop(tokio::time::timeout(DRAIN, connection.closed()).await);
    connection.close(NO_ERROR, b"");
}

/// Says goodbye to those who are left.
pub(super) async fn close(endpoint: &quinn::Endpoint) {
    endpoint.close(NO_ERROR, b"the aggregator is stopping");
    drop(tokio::time::timeout(Duration::from_secs(1), endpoint.wait_idle()).await);
}
