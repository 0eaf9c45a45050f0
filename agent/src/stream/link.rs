//! The wire: one bidirectional gRPC stream over HTTP/2, plain on loopback, TLS beyond it; over TCP, or [`quic`].

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use foreshadow_proto::v1;
use foreshadow_proto::v1::agent_client::AgentClient;
use foreshadow_proto::v1::enrolment_client::EnrolmentClient;
use http::Uri;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};
use tonic::{Request, Status, Streaming};

use super::quic::{self, QuicError};
use crate::identity::{Credentials, CredentialsError, Proof};

/// Messages that may wait for the wire; what does not fit stays in the spool.
const OUTGOING: usize = 32;
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// A certificate takes milliseconds, and a crowd of agents a little longer.
const ENROL_DEADLINE: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_DEADLINE: Duration = Duration::from_secs(20);
/// What QUIC is ahead of TCP where both are tried: with the handshake after it, an agent whose UDP is blocked speaks within
/// 300 ms on a network that takes less than 50 ms there and back.
const HEAD_START: Duration = Duration::from_millis(200);

/// What HTTP/2 is carried by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    #[default]
    Tcp,
    Quic,
    /// QUIC, or TCP where it is not answered.
    Auto,
}

impl Transport {
    /// Its name in options and in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Quic => "quic",
            Self::Auto => "auto",
        }
    }
}

impl std::str::FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Tcp, Self::Quic, Self::Auto];
        all.into_iter().find(|it| it.as_str() == text).ok_or_else(|| format!("{text:?} is not tcp, quic or auto"))
    }
}

/// Where the aggregator is and how to prove who we are.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub uri: Uri,
    /// PEM file of the authority that signed the aggregator's certificate.
    pub ca: Option<PathBuf>,
    /// File with the bearer token; read at every connection, so that it can be renewed.
    pub token_file: Option<PathBuf>,
    /// The instance's own certificate and key; without them the token has to do.
    pub credentials: Option<Arc<Credentials>>,
    pub transport: Transport,
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("{path}: {source}")]
    File { path: String, source: std::io::Error },
    #[error("the token file holds characters that cannot be sent")]
    Token,
    #[error("no connection")]
    Connect(#[from] tonic::transport::Error),
    #[error("no connection")]
    Quic(#[from] QuicError),
    #[error("refused: {0}")]
    Refused(#[from] Status),
    #[error("no certificate: {0}")]
    NotEnrolled(Status),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

/// What a server tells a client to wait before it tries again, ms (gRFC A6).
const PUSHBACK: &str = "grpc-retry-pushback-ms";
/// No server keeps an agent away for longer.
const LONGEST_PUSHBACK: Duration = Duration::from_secs(300);

/// How long the aggregator wants to be left alone, as it says with a refusal.
pub fn pushback(status: &Status) -> Duration {
    let told = status.metadata().get(PUSHBACK).and_then(|value| value.to_str().ok()?.parse().ok());
    told.map_or(Duration::ZERO, Duration::from_millis).min(LONGEST_PUSHBACK)
}

impl LinkError {
    /// How long the aggregator wants to be left alone.
    pub fn pushback(&self) -> Duration {
        match self {
            Self::Refused(status) | Self::NotEnrolled(status) => pushback(status),
            _ => Duration::ZERO,
        }
    }
}

/// An open stream.
#[derive(Debug)]
pub struct Open {
    pub outgoing: mpsc::Sender<v1::AgentMessage>,
    pub incoming: Streaming<v1::AggregatorMessage>,
    /// What it goes over: TCP or QUIC.
    pub transport: Transport,
}

impl Endpoint {
    /// Connects and opens the stream.
    pub async fn open(&self) -> Result<Open, LinkError> {
        let own = match &self.credentials {
            Some(credentials) => Some(credentials.present(self).await?),
            None => None,
        };
        self.open_as(own.as_ref()).await
    }

    /// The same with what is shown given.
    pub async fn open_as(&self, own: Option<&Proof>) -> Result<Open, LinkError> {
        let presented = own.is_some();
        let (channel, transport) = self.connect(own).await?;
        let mut client = AgentClient::new(channel);
        let (outgoing, messages) = mpsc::channel(OUTGOING);
        let mut request = Request::new(ReceiverStream::new(messages));
        if let Some(path) = self.token_file.as_ref().filter(|_| !presented) {
            let token = String::from_utf8(read(path)?).map_err(|_| LinkError::Token)?;
            let mut value: MetadataValue<_> =
                format!("Bearer {}", token.trim()).parse().map_err(|_| LinkError::Token)?;
            value.set_sensitive(true);
            request.metadata_mut().insert("authorization", value);
        }
        match client.stream(request).await {
            Ok(answer) => Ok(Open { outgoing, incoming: answer.into_inner(), transport }),
            Err(refused) => {
                // A certificate that was found bad shows in the first answer: perhaps there is a better one.
                if let Some(credentials) = &self.credentials {
                    credentials.doubt();
                }
                Err(refused.into())
            }
        }
    }

    /// Asks for a certificate, over a connection of its own that proves the aggregator alone.
    pub async fn enrol(&self, request: v1::EnrolRequest) -> Result<v1::EnrolResponse, LinkError> {
        let mut client = EnrolmentClient::new(self.connect(None).await?.0);
        let mut request = Request::new(request);
        request.set_timeout(ENROL_DEADLINE);
        client.enrol(request).await.map(tonic::Response::into_inner).map_err(LinkError::NotEnrolled)
    }

    /// A channel, and what it goes over.
    async fn connect(&self, own: Option<&Proof>) -> Result<(Channel, Transport), LinkError> {
        match self.transport {
            Transport::Tcp => self.over_tcp(own).await,
            Transport::Quic => self.over_quic(own).await,
            Transport::Auto => {
                let mut quic = Box::pin(self.over_quic(own));
                let early = tokio::time::timeout(HEAD_START, &mut quic).await;
                if let Ok(Ok(connected)) = early {
                    return Ok(connected);
                }
                // Blocked, or far away: whichever is there first.
                let mut tcp = Box::pin(self.over_tcp(own));
                if let Ok(Err(error)) = early {
                    tracing::debug!(%error, "no QUIC: over TCP then");
                    return tcp.await;
                }
                tokio::select! {
                    found = &mut quic => if found.is_ok() { found } else { tcp.await },
                    found = &mut tcp => if found.is_ok() { found } else { quic.await },
                }
            }
        }
    }

    async fn over_quic(&self, own: Option<&Proof>) -> Result<(Channel, Transport), LinkError> {
        let ca = self.ca.as_ref().map(read).transpose()?;
        // QUIC has done the TLS: for tonic there is none, and only the request's address says https.
        let plain = Uri::from_static("http://quic.invalid");
        let http = http2(Channel::builder(plain).origin(self.uri.clone()));
        let connecting = quic::connect(http, &self.uri, ca.as_deref(), own);
        let connected = tokio::time::timeout(CONNECT_DEADLINE, connecting).await.map_err(|_| QuicError::Silent)?;
        Ok((connected?, Transport::Quic))
    }

    async fn over_tcp(&self, own: Option<&Proof>) -> Result<(Channel, Transport), LinkError> {
        let mut endpoint =
            http2(Channel::builder(self.uri.clone())).connect_timeout(CONNECT_DEADLINE).tcp_nodelay(true);
        if self.uri.scheme_str() == Some("https") {
            // The operator's own authority alone, or else those the host trusts.
            let tls = match &self.ca {
                Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?)),
                None => ClientTlsConfig::new().with_native_roots(),
            };
            let tls = match own {
                Some(own) => tls.identity(Identity::from_pem(&own.certificates, &own.key)),
                None => tls,
            };
            endpoint = endpoint.tls_config(tls)?;
        }
        Ok((endpoint.connect().await?, Transport::Tcp))
    }
}

/// How HTTP/2 is spoken, whatever carries it.
fn http2(endpoint: tonic::transport::Endpoint) -> tonic::transport::Endpoint {
    endpoint
        .http2_keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_DEADLINE)
        .keep_alive_while_idle(true)
}

fn read(path: &PathBuf) -> Result<Vec<u8>, LinkError> {
    std::fs::read(path).map_err(|source| LinkError::File { path: path.display().to_string(), source })
}
