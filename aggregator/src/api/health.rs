//! What gRPC's own health protocol says: every service serves from the first request on, and none from the moment it is told to end. That is
//! told to those that watch, and ends their streams.

use foreshadow_proto::externalscaler::external_scaler_server;
use foreshadow_proto::v1::{agent_server, enrolment_server, predict_server};
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server;
use tonic_health::server::HealthReporter;
use tonic_reflection::pb::{v1, v1alpha};

/// Every service that is served, and the server as a whole.
const SERVICES: [&str; 9] = [
    "",
    agent_server::SERVICE_NAME,
    enrolment_server::SERVICE_NAME,
    predict_server::SERVICE_NAME,
    external_scaler_server::SERVICE_NAME,
    super::otlp::SERVICE,
    health_server::SERVICE_NAME,
    v1::server_reflection_server::SERVICE_NAME,
    v1alpha::server_reflection_server::SERVICE_NAME,
];

/// Says it. What is set first are words in memory: done before the first request.
pub(super) async fn report(mut reporter: HealthReporter, shutdown: CancellationToken) {
    for service in SERVICES {
        reporter.set_service_status(service, ServingStatus::Serving).await;
    }
    shutdown.cancelled().await;
    for service in SERVICES {
        reporter.set_service_status(service, ServingStatus::NotServing).await;
        // Whoever watches is told first: the last word is read before the end.
        reporter.clear_service_status(service).await;
    }
}
