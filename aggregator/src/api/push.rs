//! `POST /shadow/metrics`: samples pushed line by line, stored as they come in.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use foreshadow_proto::convert::Id;
use futures::StreamExt as _;
use serde::Serialize;

use super::ApiState;
use super::ask::{Asked, wrong};
use super::problem::Problem;
use crate::identity::{Caller, Role};
use crate::ingest::lines::{self, Format, Line, Pushed};
use crate::readings::{Reading, Subject, Told};
use crate::store::Arrival;

/// No line is longer.
const LINE_BYTES: usize = 64 * 1_024;
/// Who pushes goes on within this time, or is let go.
const CHUNK_WITHIN: Duration = Duration::from_secs(30);
/// Lines stored in one go.
const LINES_AT_ONCE: usize = 1_000;
/// Faults told one by one; further ones are only counted.
const FAULTS_TOLD: usize = 100;

/// What became of the lines.
#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
pub struct Pushing {
    /// Durable, or durable already.
    accepted: u64,
    rejected_total: u64,
    /// The first hundred.
    rejected: Vec<LineFault>,
}

/// A line that was not stored.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LineFault {
    /// From 1.
    line: u64,
    reason: String,
}

/// Push samples, one a line.
///
/// Values of declared metrics go beside them or alone: in `metrics` by name, or as further fields of line protocol.
#[utoipa::path(post, path = "/shadow/metrics", params(
    ("format" = Option<String>, Query, description = "ndjson or line; by content type unless told")),
    request_body(content = String, description = "NDJSON, or InfluxDB line protocol with a tag instance; of what is told of a group, group"),
    responses((status = 200, description = "what became of the lines", body = Pushing), (status = 400, description = "no line could be used, or a parameter is wrong",
            content((Pushing = "application/json"), (Problem = "application/problem+json"))),
        (status = 503, description = "the store refuses; what is in `accepted` is durable", body = Problem)))]
pub async fn push_metrics(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    asked: Asked,
    body: Body,
) -> Result<Response, Problem> {
    let asked = asked.only(&["format"])?;
    let content = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = match asked.text("format") {
        Some("ndjson") => Format::NdJson,
        Some("line") => Format::LineProtocol,
        Some(_) => return Err(wrong("format", "must be ndjson or line")),
        None if content.contains("json") => Format::NdJson,
        None => Format::LineProtocol,
    };
    let mut pushing = Pushing::default();
    let mut waiting: Vec<Waiting> = Vec::new();
    let (mut rest, mut line_number) = (Vec::new(), 0);
    let mut chunks = body.into_data_stream();
    let mut broken = None;
    loop {
        let Ok(chunk) = tokio::time::timeout(CHUNK_WITHIN, chunks.next()).await else {
            broken = Some(format!("nothing came for {} s", CHUNK_WITHIN.as_secs()));
            break;
        };
        let Some(chunk) = chunk else { break };
        match chunk {
            Ok(chunk) => rest.extend_from_slice(&chunk),
            Err(error) => {
                broken = Some(error.to_string());
                break;
            }
        }
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            line_number += 1;
            take(&state, &caller, format, &line, line_number, &mut waiting, &mut pushing);
        }
        if rest.len() > LINE_BYTES {
            line_number += 1;
            pushing.reject(line_number, format!("a line has {LINE_BYTES} bytes at most; nothing after it is read"));
            rest.clear();
            break;
        }
        if waiting.len() >= LINES_AT_ONCE {
            store(&state, &caller, &mut waiting, &mut pushing).await?;
        }
    }
    if !rest.is_empty() && broken.is_none() {
        take(&state, &caller, format, &rest, line_number + 1, &mut waiting, &mut pushing);
    }
    store(&state, &caller, &mut waiting, &mut pushing).await?;
    if let Some(problem) = broken {
        return Err(Problem::bad(format!("the body broke off: {problem}; {} lines are durable", pushing.accepted)));
    }
    let all_bad = pushing.accepted == 0 && pushing.rejected_total > 0;
    let status = if all_bad { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Ok((status, Json(pushing)).into_response())
}

impl Pushing {
    fn reject(&mut self, line: u64, reason: String) {
        self.rejected_total += 1;
        if self.rejected.len() < FAULTS_TOLD {
            self.rejected.push(LineFault { line, reason });
        }
    }
}

fn take(
    state: &ApiState,
    caller: &Caller,
    format: Format,
    line: &[u8],
    number: u64,
    waiting: &mut Vec<Waiting>,
    pushing: &mut Pushing,
) {
    let read = std::str::from_utf8(line)
        .map_err(|_| "is not UTF-8".to_owned())
        .and_then(|line| lines::parse(format, line, state.clock.wall_micros()));
    match read {
        Ok(Some(line)) => match accepted(state, caller, line) {
            Ok(line) => waiting.push(line),
            Err(reason) => pushing.reject(number, reason),
        },
        Ok(None) => {}
        Err(reason) => pushing.reject(number, reason),
    }
}

/// A line that may be stored.
struct Waiting {
    sample: Option<Pushed>,
    readings: Vec<Reading>,
}

/// A line as a whole: nothing of it is stored when a part of it cannot be.
fn accepted(state: &ApiState, caller: &Caller, line: Line) -> Result<Waiting, String> {
    if let Some(pushed) = &line.sample {
        state.ingest.may_push(&pushed.instance, caller)?;
    }
    let readings = line.told.iter().map(|told| reading(state, caller, told)).collect::<Result<_, _>>()?;
    Ok(Waiting { sample: line.sample, readings })
}

/// A value of a declared metric that is right, of somebody who is known, from somebody who may tell it.
fn reading(state: &ApiState, caller: &Caller, told: &Told) -> Result<Reading, String> {
    let reading = state.readings.check(told, state.clock.wall_micros())?;
    state.ingest.may_tell(&reading.subject, caller).map_err(|why| format!("{}: {why}", reading.metric))?;
    // A name that nobody has is a slip of the pen, or a flood.
    let (what, name, known) = match &reading.subject {
        Subject::Group(group) => ("group", group, state.timeline.knows(group)),
        Subject::Instance(instance) => ("instance", instance, state.timeline.placement(instance).is_some()),
    };
    if known { Ok(reading) } else { Err(format!("{}: {what} {name} is not known here", reading.metric)) }
}

/// Stores what waits, one arrival an instance.
async fn store(
    state: &ApiState,
    caller: &Caller,
    waiting: &mut Vec<Waiting>,
    pushing: &mut Pushing,
) -> Result<(), Problem> {
    let proven = !caller.open && (caller.instance.is_some() || caller.role >= Role::Operator);
    let mut arrivals: BTreeMap<Id, Arrival> = BTreeMap::new();
    let mut values = Vec::new();
    let mut alone = 0;
    for line in waiting.drain(..) {
        values.extend(line.readings);
        let Some(pushed) = line.sample else {
            alone += 1;
            continue;
        };
        let arrival = arrivals.entry(pushed.instance.clone()).or_insert_with(|| Arrival {
            boot_id: pushed.instance.clone(),
            instance: pushed.instance,
            stream: pushed.stream,
            samples: Vec::new(),
            rejected: Vec::new(),
            dropped_total: 0,
        });
        arrival.samples.push(pushed.sample);
    }
    // Before the samples beside them: a line is told to be durable when all of it is.
    if let Err(error) = state.readings.write(&values).await {
        let detail = format!("{error}; {} lines before are durable, send the others again", pushing.accepted);
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    }
    pushing.accepted += alone;
    for (instance, arrival) in arrivals {
        let count = arrival.samples.len() as u64;
        state.timeline.pushed(&instance, state.clock.wall_micros());
        state.timeline.agent_proven(&instance, proven, state.clock.wall_micros());
        match state.ingest.store(arrival).await {
            Ok(_) => pushing.accepted += count,
            Err(error) => {
                let detail = format!("{error}; {} lines before are durable, send the others again", pushing.accepted);
                return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
            }
        }
    }
    Ok(())
}
