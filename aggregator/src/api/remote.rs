//! `POST /api/v1/write`: Prometheus sends what it scrapes. 204 when it is durable, 400 for what never will be, 503 for what is to
//! be sent again.

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use prost::Message as _;

use super::ApiState;
use super::ask::Asked;
use super::problem::Problem;
use crate::identity::Caller;
use crate::ingest::keep::Way;
use crate::ingest::remote::WriteRequest;

/// Most of a request, packed and unpacked: Prometheus sends 2 000 samples at once, about 100 kB.
const PACKED_BYTES: usize = 8 * 1_024 * 1_024;
const UNPACKED_BYTES: usize = 32 * 1_024 * 1_024;

/// What Prometheus scrapes, by its remote write protocol 1.0.
#[utoipa::path(post, path = "/api/v1/write",
    request_body(content = Vec<u8>, description = "prometheus.WriteRequest, snappy", content_type = "application/x-protobuf"),
    responses((status = 204, description = "durable"), (status = 400, description = "never will be: not to be sent again", body = Problem),
        (status = 404, description = "no [remote_write] is configured", body = Problem),
        (status = 415, description = "another version of the protocol", body = Problem),
        (status = 503, description = "to be sent again", body = Problem)))]
pub async fn write(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    asked: Asked,
    body: Body,
) -> Result<Response, Problem> {
    asked.only(&[])?;
    let Some(tracks) = state.senders.remote_write.clone() else {
        let detail = "remote write is not configured: add [remote_write] with exporter = \"node\"";
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    };
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if text(header::CONTENT_TYPE).contains("io.prometheus.write.v2") {
        let detail = "remote write 2.0 is not spoken here: protobuf_message = \"prometheus.WriteRequest\"";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let body = axum::body::to_bytes(body, PACKED_BYTES).await;
    let body = body.map_err(|error| Problem::bad(format!("the body (at most {PACKED_BYTES} bytes): {error}")))?;
    let request = unpacked(&body)?;
    state
        .keeper()
        .take(caller, Way { tracks, counted: "foreshadow_remote_write_values_total" }, move |tracks, now| {
            tracks.take(&request.timeseries, now)
        })
        .await
        .map_err(|error| Problem::unavailable(&error))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn unpacked(body: &Bytes) -> Result<WriteRequest, Problem> {
    let long =
        snap::raw::decompress_len(body).map_err(|error| Problem::bad(format!("the body is not snappy: {error}")))?;
    if long > UNPACKED_BYTES {
        return Err(Problem::bad(format!("the body is {long} bytes unpacked; {UNPACKED_BYTES} at most")));
    }
    let unpacked = snap::raw::Decoder::new().decompress_vec(body);
    let unpacked = unpacked.map_err(|error| Problem::bad(format!("the body is not snappy: {error}")))?;
    WriteRequest::decode(unpacked.as_slice())
        .map_err(|error| Problem::bad(format!("the body is no prometheus.WriteRequest: {error}")))
}
