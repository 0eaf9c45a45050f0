//! `GET /shadow/metrics`: samples as they become durable (server-sent events), or those of the past
//! (NDJSON). An event and a line are the same object.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use foreshadow_proto::convert::{Id, NetworkRates};
use futures::StreamExt as _;
use serde::Serialize;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use super::ApiState;
use super::ask::{Asked, wrong};
use super::problem::Problem;
use crate::observe::{InstanceMode, Timeline};
use crate::store::Stored;

/// A comment keeps proxies from closing a quiet stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// History given at once, seconds.
const LONGEST_HISTORY: i64 = 48 * 3_600;

/// A sample as people and programs see it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ShownSample {
    #[schema(value_type = String)]
    instance: Id,
    #[schema(value_type = Option<String>)]
    group: Option<Id>,
    /// The instance's mode at the sample's own time.
    mode: Option<InstanceMode>,
    /// Stream id, hexadecimal.
    stream: String,
    sequence: u64,
    /// RFC 3339 with microseconds, the end of the interval.
    at: String,
    covers_millis: u32,
    cpu_percent: Option<f64>,
    cpu_busiest_percent: Option<f64>,
    cpu_steal_percent: Option<f64>,
    memory_used_bytes: Option<u64>,
    memory_total_bytes: Option<u64>,
    #[schema(value_type = Value)]
    network: Option<NetworkRates>,
}

impl ShownSample {
    fn new(stored: &Stored, timeline: &Timeline) -> Self {
        let sample = &stored.sample;
        let placement = timeline.placement_at(&stored.instance, sample.wall_micros);
        Self {
            instance: stored.instance.clone(),
            mode: placement.as_ref().map(|placed| placed.mode),
            group: placement.map(|placed| placed.group),
            stream: stored.stream.to_string(),
            sequence: sample.sequence,
            at: jiff::Timestamp::from_microsecond(sample.wall_micros).map(|at| at.to_string()).unwrap_or_default(),
            covers_millis: sample.covers_millis,
            cpu_percent: sample.cpu_percent,
            cpu_busiest_percent: sample.cpu_busiest_percent,
            cpu_steal_percent: sample.cpu_steal_percent,
            memory_used_bytes: sample.memory_used_bytes,
            memory_total_bytes: sample.memory_total_bytes,
            network: sample.network,
        }
    }
}

/// Live samples by server-sent events; with `from`, an instance's past as NDJSON.
#[utoipa::path(get, path = "/shadow/metrics", params(
    ("group" = Option<String>, Query), ("instance" = Option<String>, Query),
    ("from" = Option<String>, Query, description = "makes it history: RFC 3339, seconds since 1970 or like -10m"),
    ("to" = Option<String>, Query, description = "end of the history; now unless told"),
    ("format" = Option<String>, Query, description = "sse or ndjson; by `from` unless told")),
    responses((status = 200, description = "a stream of samples",
        content((ShownSample = "text/event-stream"), (ShownSample = "application/x-ndjson"))), (status = 400, description = "a parameter or a field is wrong", body = Problem)))]
pub async fn shadow_metrics(State(state): State<ApiState>, asked: Asked) -> Result<Response, Problem> {
    let asked = asked.only(&["group", "instance", "from", "to", "format"])?;
    let (group, instance) = (asked.id("group")?, asked.id("instance")?);
    let now = state.clock.wall_seconds();
    let from = asked.time("from", now)?;
    let to = asked.time("to", now)?;
    match (asked.text("format"), from) {
        (Some("sse") | None, None) => Ok(live(state, group, instance)),
        (Some("ndjson") | None, Some(from)) => {
            let instance = instance.ok_or_else(|| wrong("instance", "history is asked for one instance"))?;
            let to = to.unwrap_or(now + 1);
            if from >= to || to - from > LONGEST_HISTORY {
                return Err(wrong("from", "must be before `to`, by 48 hours at most"));
            }
            history(&state, &instance, from, to).await
        }
        (Some("ndjson"), None) => Err(wrong("from", "is missing: NDJSON is the past")),
        (Some("sse"), Some(_)) => Err(wrong("from", "events are live; leave it out or take format=ndjson")),
        (Some(_), _) => Err(wrong("format", "must be sse or ndjson")),
    }
}

async fn history(state: &ApiState, instance: &Id, from: i64, to: i64) -> Result<Response, Problem> {
    let found = state.store.samples(instance, from * 1_000_000, to * 1_000_000).await;
    let found = found.map_err(|error| Problem::unavailable(&error))?;
    let timeline = state.timeline.clone();
    let lines = found.into_iter().map(move |stored| {
        let mut line = serde_json::to_vec(&ShownSample::new(&stored, &timeline)).unwrap_or_default();
        line.push(b'\n');
        Ok::<_, Infallible>(line)
    });
    let body = Body::from_stream(futures::stream::iter(lines));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

fn live(state: ApiState, group: Option<Id>, instance: Option<Id>) -> Response {
    let timeline = state.timeline.clone();
    let events = BroadcastStream::new(state.live.follow()).flat_map(move |arrived| {
        let events: Vec<Result<Event, Infallible>> = match arrived {
            Ok(arrived) => {
                let wanted = instance.as_ref().is_none_or(|instance| *instance == arrived.instance);
                let samples = arrived.samples.iter().filter(|_| wanted);
                let shown = samples.map(|stored| ShownSample::new(stored, &timeline));
                let ours = shown.filter(|shown| group.is_none() || shown.group == group);
                ours.map(|shown| Ok(Event::default().event("sample").json_data(shown).unwrap_or_default())).collect()
            }
            Err(BroadcastStreamRecvError::Lagged(missed)) => {
                vec![Ok(Event::default().event("missed").data(format!("{{\"batches\":{missed}}}")))]
            }
        };
        futures::stream::iter(events)
    });
    let until = state.shutdown;
    let events = events.take_until(async move { until.cancelled().await });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}
