//! The wire: one bidirectional gRPC stream over HTTP/2, plain on loopback, TLS beyond it.

use std::path::PathBuf;
use std::time::Duration;

use foreshadow_proto::v1;
use foreshadow_proto::v1::agent_client::AgentClient;
use http::Uri;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig};
use tonic::{Request, Status, Streaming};

/// Messages that may wait for the wire; what does not fit stays in the spool.
const OUTGOING: usize = 32;
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
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
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|source| LinkError::File { path: path.display().to_string(), source })
        };
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
            endpoint = endpoint.tls_config(tls)?;
        }
        let mut client = AgentClient::new(endpoint.connect().await?);
        let (outgoing, messages) = mpsc::channel(OUTGOING);
        let mut request = Request::new(ReceiverStream::new(messages));
        if let Some(path) = &self.token_file {
            let token = String::from_utf8(read(path)?).map_err(|_| LinkError::Token)?;
            let mut value: MetadataValue<_> =
                format!("Bearer {}", token.trim()).parse().map_err(|_| LinkError::Token)?;
            value.set_sensitive(true);
            request.metadata_mut().insert("authorization", value);
        }
        let incoming = client.stream(request).await?.into_inner();
        Ok(Open { outgoing, incoming })
    }
}
