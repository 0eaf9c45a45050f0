//! What gRPC costs by itself: an aggregator that decodes what it is sent and does nothing with it.

use std::net::SocketAddr;
use std::path::Path;

use foreshadow_proto::v1::agent_server::{Agent, AgentServer};
use foreshadow_proto::v1::{self, agent_message, aggregator_message};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

struct Bare;

#[tonic::async_trait]
impl Agent for Bare {
    type StreamStream = ReceiverStream<Result<v1::AggregatorMessage, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let mut messages = request.into_inner();
        let (answers, stream) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Ok(Some(message)) = messages.message().await {
                // Agents send nothing before they are welcomed.
                if let Some(agent_message::Kind::Hello(hello)) = message.kind {
                    let welcome = v1::Welcome {
                        store_id: vec![0; 16],
                        credit: u32::MAX,
                        protocol: hello.newest_protocol,
                        ..v1::Welcome::default()
                    };
                    let kind = Some(aggregator_message::Kind::Welcome(welcome));
                    drop(answers.send(Ok(v1::AggregatorMessage { kind })).await);
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Serves with the certificate in `directory` those whom the aggregator of it has certified.
pub async fn serve(directory: &Path, port: u16) -> anyhow::Result<()> {
    let read = |name: &str| std::fs::read(directory.join(name));
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(read("server.pem")?, read("server.key")?))
        .client_ca_root(Certificate::from_pem(read("data/identity/authority.pem")?));
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    Server::builder().tcp_nodelay(true).tls_config(tls)?.add_service(AgentServer::new(Bare)).serve(address).await?;
    Ok(())
}
