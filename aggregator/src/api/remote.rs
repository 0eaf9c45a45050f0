//! `POST /api/v1/write`: Prometheus sends what it scrapes. 204 when it is durable, 400 for what never will be, 503 for what is to
//! be sent again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use foreshadow_proto::convert::Id;
use prost::Message as _;

use super::ApiState;
use super::ask::Asked;
use super::problem::Problem;
use crate::identity::{Caller, Role};
use crate::ingest::remote::{Remote, Taken, WriteRequest};
use crate::readings::{Reading, Subject};
use crate::store::Arrival;

/// Most of a request, packed and unpacked: Prometheus sends 2 000 samples at once, about 100 kB.
const PACKED_BYTES: usize = 8 * 1_024 * 1_024;
const UNPACKED_BYTES: usize = 32 * 1_024 * 1_024;

/// What is known of those that write; absent without `[remote_write]`.
pub type Writers = Option<Arc<Mutex<Remote>>>;

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
    let Some(writers) = state.writers.clone() else {
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
    let now = state.clock.wall_micros();
    let taken = {
        let mut remote = writers.lock().unwrap_or_else(PoisonError::into_inner);
        remote.forget(now / 1_000);
        remote.take(&request, now)
    };
    // Carried to its end also when the sender does not wait for it: it would send again what is known already.
    let done = tokio::spawn(async move { keep(&state, &caller, &writers, taken).await });
    done.await.map_err(|error| Problem::unavailable(&error))??;
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

/// Stores the samples, or forgets that they came.
async fn keep(state: &ApiState, caller: &Caller, writers: &Arc<Mutex<Remote>>, taken: Taken) -> Result<(), Problem> {
    let proven = !caller.open && (caller.instance.is_some() || caller.role >= Role::Operator);
    let count = |outcome: &'static str, values: u64| {
        metrics::counter!("foreshadow_remote_write_values_total", "outcome" => outcome).increment(values);
    };
    let (mut arrivals, mut stored, mut foreign) = (BTreeMap::new(), 0, 0);
    for pushed in &taken.samples {
        if state.ingest.may_push(&pushed.instance, caller).is_err() {
            foreign += 1;
            continue;
        }
        stored += 1;
        let key = (pushed.instance.clone(), pushed.stream);
        let arrival = arrivals.entry(key).or_insert_with(|| Arrival {
            instance: pushed.instance.clone(),
            stream: pushed.stream,
            boot_id: pushed.instance.clone(),
            samples: Vec::new(),
            rejected: Vec::new(),
            dropped_total: 0,
        });
        arrival.samples.push(pushed.sample.clone());
    }
    let told = tell(state, caller, &taken);
    let undo = |error: &dyn std::error::Error| {
        writers.lock().unwrap_or_else(PoisonError::into_inner).undo(&taken);
        Problem::unavailable(error)
    };
    state.readings.write(&told.readings).await.map_err(|error| undo(&error))?;
    stored += told.readings.len() as u64;
    for ((instance, _), arrival) in arrivals {
        let now = state.clock.wall_micros();
        if let Some(group) = taken.claims.get(&instance) {
            state.timeline.claims(&instance, group, now);
        }
        state.timeline.pushed(&instance, now);
        state.timeline.agent_proven(&instance, proven, now);
        state.ingest.store(arrival).await.map_err(|error| undo(&error))?;
    }
    count("stored", stored);
    count("not_theirs", foreign + told.foreign);
    count("rejected", told.rejected);
    count("unnamed", told.unnamed);
    for (why, values) in &taken.left {
        count(why.word(), *values);
    }
    Ok(())
}

/// What can be kept of the values of declared metrics, and how many cannot, by why.
#[derive(Default)]
struct Telling {
    readings: Vec<Reading>,
    foreign: u64,
    rejected: u64,
    unnamed: u64,
}

fn tell(state: &ApiState, caller: &Caller, taken: &Taken) -> Telling {
    let mut telling = Telling::default();
    let now = state.clock.wall_micros();
    for told in &taken.told {
        let Ok(reading) = state.readings.check(told, now) else {
            telling.rejected += 1;
            continue;
        };
        if state.ingest.may_tell(&reading.subject, caller).is_err() {
            telling.foreign += 1;
            continue;
        }
        let known = match &reading.subject {
            Subject::Group(group) => state.timeline.knows(group),
            Subject::Instance(instance) => {
                claim(state, caller, taken, instance, now);
                state.timeline.placement(instance).is_some() || taken.claims.contains_key(instance)
            }
        };
        if known { telling.readings.push(reading) } else { telling.unnamed += 1 }
    }
    telling
}

/// An instance that no source has is in the group that the label names, and is there as long as it is told of. Of one that a
/// source has, a declared metric proves nothing.
fn claim(state: &ApiState, caller: &Caller, taken: &Taken, instance: &Id, now: i64) {
    let Some(group) = taken.claims.get(instance) else { return };
    let placed = state.timeline.placement(instance).map(|placed| placed.group);
    if placed.is_none_or(|group| state.timeline.source_of(&group).is_none()) {
        state.timeline.claims(instance, group, now);
        state.timeline.pushed(instance, now);
        state.timeline.agent_proven(instance, !caller.open, now);
    }
}
