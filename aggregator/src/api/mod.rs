//! REST and gRPC on one port. [`routes`] is the one table of who may call what; [`rest`] and
//! [`predict`] answer, [`overview`] and [`behind`] are what the web page ([`assets`]) stands on, [`steer`] is how operators tell it what to do; [`server`] listens.

mod ask;
mod assets;
mod behind;
mod curves;
mod events;
mod health;
mod history;
mod identity;
mod influx;
mod keda;
mod openapi;
mod otlp;
mod overview;
mod packed;
mod predict;
mod problem;
mod push;
mod quic;
mod remote;
mod rest;
mod retract;
pub mod routes;
mod server;
mod steer;
mod streams;
mod watch;
mod week;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::middleware;
use axum::routing::{delete, get, post};
use foreshadow_proto::externalscaler::external_scaler_server::ExternalScalerServer;
use foreshadow_proto::v1::agent_server::AgentServer;
use foreshadow_proto::v1::enrolment_server::EnrolmentServer;
use foreshadow_proto::v1::predict_server::PredictServer;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

use crate::act;
use crate::clock::Clock;
use crate::events::EventLog;
use crate::identity::{Audit, Callers, EnrolService};
use crate::import::ImportLog;
use crate::ingest::AgentService;
use crate::ingest::keep::{Keeper, Senders};
use crate::live::Live;
use crate::observe::{Hint, Timeline};
use crate::readings::Readings;
use crate::reload::Refused;
use crate::rounds::{Board, ForecastHours, PlanLog, Revised};
use crate::shadow::Sessions;
use crate::store::SampleStore;

pub use server::{Bound, Listen, ServeError};
pub use week::Weeks;

/// Largest message of an agent: a full batch of the longest samples is 253 kB.
const AGENT_BYTES: usize = 256 * 1_024;
/// Largest question.
const MESSAGE_BYTES: usize = 64 * 1_024;
/// Largest request of an agent that has proven nothing yet.
const ENROL_BYTES: usize = 16 * 1_024;

/// Everything the routes need. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ApiState {
    pub callers: Arc<Callers>,
    pub enrol: EnrolService,
    pub audit: Audit,
    pub store: Arc<dyn SampleStore>,
    pub timeline: Timeline,
    pub hint: Hint,
    pub sessions: Sessions,
    pub act: act::Handle,
    pub board: Board,
    pub plans: PlanLog,
    pub forecast_hours: ForecastHours,
    pub events: EventLog,
    pub imports: ImportLog,
    pub readings: Readings,
    pub senders: Senders,
    pub revised: Revised,
    pub weeks: Weeks,
    pub live: Live,
    pub ingest: AgentService,
    pub clock: Arc<dyn Clock>,
    pub metrics: PrometheusHandle,
    /// Set once everything runs; cleared when stopping.
    pub running: Arc<AtomicBool>,
    /// What a reload did not take.
    pub refused: Refused,
    pub shutdown: CancellationToken,
}

impl ApiState {
    /// Keeps what others measure.
    pub fn keeper(&self) -> Keeper {
        let (ingest, readings) = (self.ingest.clone(), self.readings.clone());
        Keeper { ingest, readings, timeline: self.timeline.clone(), clock: self.clock.clone() }
    }
}

/// All routes, with access checked in front of each.
pub fn router(state: ApiState) -> Router {
    let (reporter, health) = tonic_health::server::health_reporter();
    tokio::spawn(health::report(reporter, state.shutdown.clone()));
    let agent = AgentServer::new(state.ingest.clone()).max_decoding_message_size(AGENT_BYTES);
    let predict = PredictServer::new(predict::PredictService::new(state.board.clone(), state.shutdown.clone()))
        .max_decoding_message_size(MESSAGE_BYTES);
    let enrol = EnrolmentServer::new(state.enrol.clone()).max_decoding_message_size(ENROL_BYTES);
    let mut grpc = tonic::service::Routes::builder();
    let scaler =
        ExternalScalerServer::new(keda::ScalerService::new(state.clone())).max_decoding_message_size(MESSAGE_BYTES);
    grpc.add_service(health).add_service(agent).add_service(enrol).add_service(predict).add_service(scaler);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(foreshadow_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(foreshadow_proto::EXTERNAL_SCALER_DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    if let Ok(v1) = reflection().build_v1() {
        grpc.add_service(v1);
    }
    if let Ok(v1alpha) = reflection().build_v1alpha() {
        grpc.add_service(v1alpha);
    }
    Router::new()
        .route("/", get(assets::page))
        .route("/web/{asset}", get(assets::asset))
        .route("/whoami", get(overview::whoami))
        .route("/overview", get(overview::overview))
        .route("/changes", get(overview::changes))
        .route("/healthz", get(rest::healthz))
        .route("/readyz", get(rest::readyz))
        .route("/metrics", get(rest::metrics))
        .route("/openapi.json", get(openapi::document))
        .route("/groups", get(rest::groups))
        .route("/groups/{group}", get(rest::group))
        .route("/groups/{group}/minutes", get(rest::minutes))
        .route("/groups/{group}/course", get(behind::course))
        .route("/groups/{group}/models", get(behind::models))
        .route("/groups/{group}/week", get(week::week))
        .route("/instances", get(behind::instances))
        .route("/instances/{instance}/retract", post(retract::retract))
        .route("/plans", get(rest::plans))
        .route("/plans/{generation}", get(rest::plan))
        .route("/decisions", get(rest::decisions))
        .route("/decisions/{generation}", get(rest::decision))
        .route("/predict/capacity", get(rest::predict_capacity))
        .route("/events", get(events::events).post(events::enter))
        .route("/calendar", post(events::calendar))
        .route("/events/{id}", get(events::event).delete(events::delete))
        .route("/shadow/config", get(rest::shadow_config).put(rest::put_shadow_config))
        .route("/shadow/metrics", get(watch::shadow_metrics).post(push::push_metrics))
        .route("/shadow/detached", post(rest::detached))
        .route("/shadow/sessions", get(rest::shadow_sessions))
        .route("/audit", get(rest::audit))
        .route("/authority", get(identity::authority))
        .route("/certificates", get(identity::certificates))
        .route("/certificates/{instance}/revoke", post(identity::revoke_certificates))
        .route("/certificates/{instance}/release", post(identity::release_certificates))
        .route("/tokens", get(identity::tokens).post(identity::create_token))
        .route("/tokens/join", post(identity::create_join_token))
        .route("/tokens/{token}", delete(identity::revoke_token))
        .route("/groups/{group}/mode", post(steer::mode))
        .route("/groups/{group}/pause", post(steer::pause))
        .route("/groups/{group}/resume", post(steer::resume))
        .route("/groups/{group}/below-last-week", post(steer::below_last_week))
        .route("/groups/{group}/owner", post(steer::owner))
        .route("/limits", get(steer::limits).post(steer::accept_all_limits))
        .route("/groups/{group}/limits", post(steer::accept_limits))
        .route("/pause", post(steer::pause_all))
        .route("/resume", post(steer::resume_all))
        .route("/intents", get(steer::intents))
        .route("/shadow/stranded", get(steer::stranded))
        .route("/shadow/stranded/{instance}/take", post(steer::take_stranded))
        .route("/shadow/sessions/{instance}/adopt", post(steer::adopt))
        .route("/shadow/sessions/{instance}/extend", post(steer::extend))
        .route("/shadow/sessions/{instance}/release", post(steer::release))
        .route("/api/v1/write", post(remote::write))
        .route("/v1/metrics", post(otlp::by_http))
        .route("/write", post(influx::write_v1))
        .route("/api/v2/write", post(influx::write_v2))
        .route("/ping", get(influx::ping))
        .route(otlp::METHOD, post(otlp::by_grpc))
        .route("/groups/{group}/history", get(history::imported).post(history::import).delete(history::remove))
        .with_state(state.clone())
        .merge(grpc.routes().into_axum_router())
        .layer(middleware::from_fn_with_state(state, routes::check))
}
