//! `POST /write` and `POST /api/v2/write`: what clients of InfluxDB 1.x and 2 write. 204 when it is durable; 400 for what never will
//! be, with the rest durable, as InfluxDB does; 503 for what is to be sent again. Answers are in both versions' words.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::ApiState;
use super::ask::Asked;
use super::packed::{self, Unzipped};
use super::problem::Problem;
use crate::identity::Caller;
use crate::ingest::influx::{self, Faults, MOST_FIELDS, Precision};
use crate::ingest::keep::{Rest, Way};
use crate::ingest::mapped::{Left, Taken};

/// Where who calls may say who it is as clients of InfluxDB do.
pub(super) const WRITES: [&str; 2] = ["/write", "/api/v2/write"];
/// Most of a request, packed and unpacked: clients write 5 000 lines at once, about a megabyte.
const PACKED_BYTES: usize = 4 * 1_024 * 1_024;
const UNPACKED_BYTES: usize = 8 * 1_024 * 1_024;

/// An error as clients of either version read it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Refusal {
    /// In the words of version 2: `invalid`, `not found`, `unavailable`, …
    code: &'static str,
    /// What version 2 calls it …
    message: String,
    /// … and version 1.
    error: String,
}

/// What clients say as `Token …`, or as the password of `Basic …`, is a token of ours. A browser that knows a password sends it along
/// by itself, so that it counts on these two routes alone.
pub(super) fn bearer(authorization: String) -> String {
    let Some((scheme, said)) = authorization.split_once(' ') else { return authorization };
    let token = match scheme {
        scheme if scheme.eq_ignore_ascii_case("token") => Some(said.trim().to_owned()),
        scheme if scheme.eq_ignore_ascii_case("basic") => STANDARD
            .decode(said.trim())
            .ok()
            .and_then(|pair| String::from_utf8(pair).ok())
            .and_then(|pair| pair.split_once(':').map(|(_, password)| password.to_owned())),
        _ => None,
    };
    token.map_or(authorization, |token| format!("Bearer {token}"))
}

/// What clients of InfluxDB 1.x write; the database is whatever they say.
#[utoipa::path(post, path = "/write", params(("db" = Option<String>, Query), ("rp" = Option<String>, Query),
    ("consistency" = Option<String>, Query), ("precision" = Option<String>, Query, description = "ns, u, ms, s, m or h; ns unless told")),
    request_body(content = String, description = "line protocol, plain or gzip", content_type = "text/plain"),
    responses((status = 204, description = "durable"), (status = 400, description = "what cannot be taken, the rest is durable", body = Refusal),
        (status = 404, description = "no [line_protocol] is configured", body = Refusal),
        (status = 413, description = "larger than is taken at once", body = Refusal),
        (status = 503, description = "to be sent again", body = Refusal)))]
pub async fn write_v1(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    asked: Asked,
    body: Body,
) -> Response {
    answer(take(state, caller, &headers, asked, &["db", "rp", "consistency", "precision"], body).await)
}

/// What clients of InfluxDB 2 write; the organisation and the bucket are whatever they say.
#[utoipa::path(post, path = "/api/v2/write", params(("bucket" = Option<String>, Query), ("org" = Option<String>, Query),
    ("orgID" = Option<String>, Query), ("precision" = Option<String>, Query, description = "ns, us, ms or s; ns unless told")),
    request_body(content = String, description = "line protocol, plain or gzip", content_type = "text/plain"),
    responses((status = 204, description = "durable"), (status = 400, description = "what cannot be taken, the rest is durable", body = Refusal),
        (status = 404, description = "no [line_protocol] is configured", body = Refusal),
        (status = 413, description = "larger than is taken at once", body = Refusal),
        (status = 503, description = "to be sent again", body = Refusal)))]
pub async fn write_v2(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    asked: Asked,
    body: Body,
) -> Response {
    answer(take(state, caller, &headers, asked, &["bucket", "org", "orgID", "precision"], body).await)
}

/// What clients of InfluxDB ask before they write.
#[utoipa::path(get, path = "/ping", responses((status = 204, description = "here")))]
pub async fn ping() -> impl IntoResponse {
    const VERSION: &str = concat!("foreshadow-", env!("CARGO_PKG_VERSION"));
    ([(HeaderName::from_static("x-influxdb-version"), HeaderValue::from_static(VERSION))], StatusCode::NO_CONTENT)
}

fn answer(taken: Result<(), Problem>) -> Response {
    let Err(problem) = taken else { return StatusCode::NO_CONTENT.into_response() };
    let code = match problem.status() {
        StatusCode::NOT_FOUND => "not found",
        StatusCode::PAYLOAD_TOO_LARGE => "request too large",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable",
        _ => "invalid",
    };
    let detail = problem.in_words();
    // Of a problem the status and what is said of it in headers.
    let mut response = problem.into_response();
    *response.body_mut() = Json(Refusal { code, message: detail.clone(), error: detail }).into_response().into_body();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn take(
    state: ApiState,
    caller: Caller,
    headers: &HeaderMap,
    asked: Asked,
    known: &[&str],
    body: Body,
) -> Result<(), Problem> {
    if asked.has("u") || asked.has("p") {
        let detail = "a password in the address would stand in every log: send it as Authorization, Basic or Token";
        return Err(Problem::bad(detail));
    }
    let asked = asked.only(known)?;
    let Some(tracks) = state.senders.line_protocol.clone() else {
        let detail = "line protocol is not configured: add [line_protocol] with exporter = \"telegraf\"";
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    };
    let precision = match asked.text("precision").filter(|word| !word.is_empty()) {
        None => Precision::Nanoseconds,
        Some(word) => Precision::from_word(word)
            .ok_or_else(|| Problem::bad(format!("precision {word:?} is none of ns, us, ms, s, m, h")))?,
    };
    let packed = match headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?")) {
        None | Some("" | "identity") => false,
        Some("gzip") => true,
        Some(other) => return Err(Problem::bad(format!("content-encoding {other:?}: gzip, or none"))),
    };
    let too_large = |detail: String| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail);
    let most = if packed { PACKED_BYTES } else { UNPACKED_BYTES };
    let body = axum::body::to_bytes(body, most).await;
    let body = body.map_err(|error| too_large(format!("the body (at most {most} bytes): {error}")))?;
    let mut faults = Ok(Faults::default());
    let rest = {
        let _one_of_few = packed::READING.acquire().await.map_err(|error| Problem::unavailable(&error))?;
        let body = match packed {
            false => body.into(),
            true => packed::unzipped(&body, UNPACKED_BYTES).map_err(|error| match error {
                Unzipped::TooLong(_) => too_large(error.to_string()),
                Unzipped::NoGzip(_) => Problem::bad(error.to_string()),
            })?,
        };
        let text = String::from_utf8(body).map_err(|error| Problem::bad(format!("the body is no UTF-8: {error}")))?;
        let way = Way { tracks, counted: "foreshadow_line_protocol_values_total" };
        let read = |tracks: &mut _, now| match influx::take(tracks, &text, precision, now) {
            Ok((taken, unread)) => {
                faults = Ok(unread);
                taken
            }
            Err(too_many) => {
                faults = Err(too_many);
                Taken::default()
            }
        };
        state.keeper().take(caller, way, read).await.map_err(|error| Problem::unavailable(&error))?
    };
    let faults =
        faults.map_err(|_| too_large(format!("more than {MOST_FIELDS} mapped fields: write smaller batches")))?;
    said(&faults, &rest).map_or(Ok(()), |said| Err(Problem::bad(said)))
}

/// What was not taken. What is known already is sent again by whoever got no answer, and is no fault.
fn said(faults: &Faults, rest: &Rest) -> Option<String> {
    let mut said: Vec<String> = faults.first.iter().map(|(line, why)| format!("line {line}: {why}")).collect();
    if faults.count > said.len() {
        said.push(format!("{} more lines", faults.count - said.len()));
    }
    said.extend(rest.said(&[Left::Unmapped, Left::OutOfOrder]).map(|(_, left)| format!("fields left out: {left}")));
    (!said.is_empty()).then(|| format!("partial write: {}; what else there is was taken", said.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_clients_of_either_version_send_it() {
        let read = |said: &str| bearer(said.to_owned());
        assert_eq!(read("Token fs_1"), "Bearer fs_1");
        assert_eq!(read(&format!("Basic {}", STANDARD.encode("anybody:fs:1"))), "Bearer fs:1");
        for other in ["Bearer fs_1", "Basic !", "Basic YQ==", "Digest x", ""] {
            assert_eq!(read(other), other);
        }
    }
}
