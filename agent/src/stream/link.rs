//! The wire: one bidirectional gRPC stream over HTTP/2, plain on loopback, TLS beyond it.

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

use crate::identity::{Credentials, CredentialsError};

/// Messages that may wait for the wire; what does not fit stays in the spool.
const OUTGOING: usize = 32;
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// A certificate takes milliseconds, and a crowd of agents a little longer.
const ENROL_DEADLINE: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_DEADLINE: Duration = Duration::from_secs(20);

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
}

impl Endpoint {
    /// Connects and opens the stream.
    pub async fn open(&self) -> Result<Open, LinkError> {
        let own = match &self.credentials {
            Some(credentials) => Some(credentials.present(self).await?),
            None => None,
        };
        let presented = own.is_some();
        let mut client = AgentClient::new(self.connect(own).await?);
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
            Ok(answer) => Ok(Open { outgoing, incoming: answer.into_inner() }),
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
        let mut client = EnrolmentClient::new(self.connect(None).await?);
        let mut request = Request::new(request);
        request.set_timeout(ENROL_DEADLINE);
        client.enrol(request).await.map(tonic::Response::into_inner).map_err(LinkError::NotEnrolled)
    }

    async fn connect(&self, own: Option<Identity>) -> Result<Channel, LinkError> {
        let mut endpoint = Channel::builder(self.uri.clone())
            .connect_timeout(CONNECT_DEADLINE)
            .http2_keep_alive_interval(KEEPALIVE_EVERY)
            .keep_alive_timeout(KEEPALIVE_DEADLINE)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        if self.uri.scheme_str() == Some("https") {
            // The operator's own authority alone, or else those the host trusts.
            let tls = match &self.ca {
                Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?)),
                None => ClientTlsConfig::new().with_native_roots(),
            };
            let tls = match own {
                Some(own) => tls.identity(own),
                None => tls,
            };
            endpoint = endpoint.tls_config(tls)?;
        }
        Ok(endpoint.connect().await?)
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, LinkError> {
    std::fs::read(path).map_err(|source| LinkError::File { path: path.display().to_string(), source })
}
