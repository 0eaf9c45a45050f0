//! OTLP metrics: `POST /v1/metrics` as protobuf or JSON, and the same call by gRPC. What is taken is durable when the answer goes out;
//! what is left out is in the answer's `partial_success`. 400 (`INVALID_ARGUMENT`) for what never will be taken, 503 (`UNAVAILABLE`) for
//! what is to be sent again.

use std::borrow::Cow;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use http_body_util::StreamBody;
use hyper::body::Frame;
use prost::Message;
use tonic::{Code, Status};

use super::ApiState;
use super::ask::Asked;
use super::packed;
use super::problem::Problem;
use crate::identity::Caller;
use crate::ingest::keep::{Rest, Way};
use crate::ingest::mapped::Left;
use crate::ingest::otlp::{self, ExportRequest, ExportResponse, PartialSuccess};

pub(super) const SERVICE: &str = "opentelemetry.proto.collector.metrics.v1.MetricsService";
pub(super) const METHOD: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
/// Most of a request, packed and unpacked: a collector sends 8 192 values at once, below 2 MB.
const PACKED_BYTES: usize = 4 * 1_024 * 1_024;
const UNPACKED_BYTES: usize = 8 * 1_024 * 1_024;
/// A request comes within this time.
const READ_WITHIN: Duration = Duration::from_secs(60);
/// When to send again.
const AGAIN_AFTER_SECONDS: i64 = 5;
/// A gRPC message begins with whether it is packed, and its length.
const FRAME_BYTES: usize = 5;

/// Why a request is not taken.
#[derive(Debug)]
enum Refused {
    /// It never will be.
    Never(String),
    /// In a form that is not spoken here.
    Unspoken(String),
    NotConfigured,
    Later(String),
}

/// How a request is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Protobuf,
    Json,
}

/// `google.rpc.Status`, which every refusal by HTTP carries.
#[derive(Clone, PartialEq, Message, serde::Serialize)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    #[serde(skip)]
    details: Vec<Detail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Detail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo` with its `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Seconds>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Seconds {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

impl Refused {
    /// By HTTP, by gRPC, and what is said.
    fn told(self) -> (StatusCode, Code, String) {
        match self {
            Self::Never(said) => (StatusCode::BAD_REQUEST, Code::InvalidArgument, said),
            Self::Unspoken(said) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::Unimplemented, said),
            Self::NotConfigured => {
                let said = "OTLP is not configured: add [otlp] with exporter = \"hostmetrics\"".to_owned();
                (StatusCode::NOT_FOUND, Code::Unimplemented, said)
            }
            Self::Later(said) => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, said),
        }
    }

    fn by_http(self, form: Form) -> Response {
        let (http, code, message) = self.told();
        let status = RpcStatus { code: code as i32, message, details: Vec::new() };
        let mut response = match form {
            Form::Protobuf => protobuf(http, &status),
            Form::Json => (http, axum::Json(status)).into_response(),
        };
        if http == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(AGAIN_AFTER_SECONDS));
        }
        response
    }

    fn by_grpc(self) -> Status {
        let (_, code, message) = self.told();
        if code != Code::Unavailable {
            return Status::new(code, message);
        }
        let wait = RetryInfo { retry_delay: Some(Seconds { seconds: AGAIN_AFTER_SECONDS }) };
        let (type_url, value) = ("type.googleapis.com/google.rpc.RetryInfo".to_owned(), wait.encode_to_vec());
        let details =
            RpcStatus { code: code as i32, message: message.clone(), details: vec![Detail { type_url, value }] };
        Status::with_details(code, message, details.encode_to_vec().into())
    }
}

fn protobuf(status: StatusCode, message: &impl Message) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/x-protobuf")];
    (status, kind, message.encode_to_vec()).into_response()
}

/// What OpenTelemetry exports, by OTLP over HTTP.
#[utoipa::path(post, path = "/v1/metrics",
    request_body(description = "opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest, plain or gzip",
        content((Vec<u8> = "application/x-protobuf"), (Object = "application/json"))),
    responses((status = 200, description = "durable, but for what partial_success names"),
        (status = 400, description = "never will be: not to be sent again (google.rpc.Status)"),
        (status = 404, description = "no [otlp] is configured (google.rpc.Status)"),
        (status = 415, description = "another form than protobuf, JSON and gzip (google.rpc.Status)"),
        (status = 503, description = "to be sent again after Retry-After (google.rpc.Status)")))]
pub async fn by_http(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    asked: Asked,
    body: Body,
) -> Result<Response, Problem> {
    asked.only(&[])?;
    let kind = text(&headers, &header::CONTENT_TYPE);
    let form = match kind.split(';').next().unwrap_or_default().trim() {
        "application/json" => Form::Json,
        "application/x-protobuf" => Form::Protobuf,
        other => {
            let said = format!("content-type {other:?}: application/x-protobuf or application/json");
            return Ok(Refused::Unspoken(said).by_http(Form::Json));
        }
    };
    let packed = match text(&headers, &header::CONTENT_ENCODING) {
        "" | "identity" => false,
        "gzip" => true,
        other => return Ok(Refused::Unspoken(format!("content-encoding {other:?}: gzip, or none")).by_http(form)),
    };
    let exported = async {
        let body = axum::body::to_bytes(body, PACKED_BYTES).await;
        let body = body.map_err(|error| Refused::Never(format!("the body (at most {PACKED_BYTES} bytes): {error}")))?;
        take(state, caller, &body, packed, form).await
    };
    Ok(match exported.await {
        Ok(response) if form == Form::Json => axum::Json(response).into_response(),
        Ok(response) => protobuf(StatusCode::OK, &response),
        Err(refused) => refused.by_http(form),
    })
}

/// The same by gRPC. Its one message is read by hand: so a packed one is bounded like any other, and what is wrong with it is told by a
/// status on which no exporter sends it again.
pub async fn by_grpc(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let exported = async {
        if !text(&headers, &header::CONTENT_TYPE).starts_with("application/grpc") {
            return Err(Refused::Unspoken("content-type: application/grpc".to_owned()));
        }
        let reading = axum::body::to_bytes(body, PACKED_BYTES + FRAME_BYTES);
        let Ok(body) = tokio::time::timeout(READ_WITHIN, reading).await else {
            return Err(Refused::Later(format!("the message did not come within {} s", READ_WITHIN.as_secs())));
        };
        let body =
            body.map_err(|error| Refused::Never(format!("the message (at most {PACKED_BYTES} bytes): {error}")))?;
        let (packed, message) = framed(&body, text(&headers, &HeaderName::from_static("grpc-encoding")))?;
        take(state, caller, message, packed, Form::Protobuf).await
    };
    match exported.await {
        Ok(response) => answered(&response),
        Err(refused) => {
            let mut response = refused.by_grpc().into_http::<Body>();
            let accepted = HeaderValue::from_static("identity,gzip");
            response.headers_mut().insert(HeaderName::from_static("grpc-accept-encoding"), accepted);
            response
        }
    }
}

/// The one message of a call, and whether it is packed.
fn framed<'a>(body: &'a [u8], encoding: &str) -> Result<(bool, &'a [u8]), Refused> {
    let Some(([packed, length @ ..], message)) = body.split_first_chunk::<FRAME_BYTES>() else {
        return Err(Refused::Never("the call has no message".to_owned()));
    };
    let length = u32::from_be_bytes(*length);
    if usize::try_from(length) != Ok(message.len()) {
        let said = format!("the message says it has {length} bytes, and {} came", message.len());
        return Err(Refused::Never(said));
    }
    match (*packed, encoding) {
        (0, _) => Ok((false, message)),
        (1, "gzip") => Ok((true, message)),
        (1, other) => Err(Refused::Unspoken(format!("grpc-encoding {other:?}: gzip, or none"))),
        (other, _) => Err(Refused::Never(format!("the message's first byte is {other}: 0 or 1"))),
    }
}

fn answered(response: &ExportResponse) -> Response {
    let message = response.encode_to_vec();
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap_or_default().to_be_bytes());
    frame.extend_from_slice(&message);
    let mut trailers = HeaderMap::new();
    trailers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
    let frames = [Frame::data(Bytes::from(frame)), Frame::trailers(trailers)].map(Ok::<_, std::convert::Infallible>);
    let body = Body::new(StreamBody::new(futures::stream::iter(frames)));
    ([(header::CONTENT_TYPE, "application/grpc")], body).into_response()
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

async fn take(
    state: ApiState,
    caller: Caller,
    body: &[u8],
    packed: bool,
    form: Form,
) -> Result<ExportResponse, Refused> {
    let Some(tracks) = state.senders.otlp.clone() else { return Err(Refused::NotConfigured) };
    let request = {
        let _one_of_few = packed::READING.acquire().await.map_err(|error| Refused::Later(error.to_string()))?;
        read(body, packed, form).map_err(Refused::Never)?
    };
    let way = Way { tracks, counted: "foreshadow_otlp_points_total" };
    let rest = state.keeper().take(caller, way, move |tracks, now| otlp::take(tracks, &request, now)).await;
    rest.map(|rest| ExportResponse { partial_success: partial(&rest) })
        .map_err(|error| Refused::Later(error.to_string()))
}

/// Unpacks and reads a request; bounded, whatever it says of itself.
fn read(body: &[u8], packed: bool, form: Form) -> Result<ExportRequest, String> {
    let unzipped = || packed::unzipped(body, UNPACKED_BYTES).map_err(|error| error.to_string());
    let body = if packed { Cow::Owned(unzipped()?) } else { Cow::Borrowed(body) };
    let what = "ExportMetricsServiceRequest";
    match form {
        Form::Protobuf => ExportRequest::decode(&*body).map_err(|error| format!("the body is no {what}: {error}")),
        Form::Json => serde_json::from_slice(&body).map_err(|error| format!("the body is no {what} in JSON: {error}")),
    }
}

/// What was not taken although it is mapped.
fn partial(rest: &Rest) -> Option<PartialSuccess> {
    rest.said(&[Left::Unmapped]).map(|(count, said)| PartialSuccess {
        rejected_data_points: i64::try_from(count).unwrap_or(i64::MAX),
        error_message: format!("data points left out: {said}"),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn zipped(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(bytes).expect("in memory");
        packer.finish().expect("in memory")
    }

    #[test]
    fn what_unpacks_to_too_much_is_refused_before_it_is_read() {
        let bomb = zipped(&vec![0; UNPACKED_BYTES * 8]);
        assert!(bomb.len() < 100_000, "{}", bomb.len());
        assert!(read(&bomb, true, Form::Protobuf).expect_err("refused").contains("bytes unpacked"));
        assert!(read(&bomb, false, Form::Protobuf).expect_err("refused").contains("is no ExportMetrics"));
        assert!(read(b"{}", true, Form::Json).expect_err("refused").contains("is not gzip"));
        assert!(read(b"{", false, Form::Json).expect_err("refused").contains("line 1"));
        assert_eq!(read(&zipped(b"{}"), true, Form::Json), Ok(ExportRequest::default()));
        assert_eq!(read(b"", false, Form::Protobuf), Ok(ExportRequest::default()));
    }

    #[test]
    fn a_call_has_one_message_and_says_how_long_it_is() {
        let framed = |body: &[u8], encoding| framed(body, encoding).map(|(packed, message)| (packed, message.to_vec()));
        assert!(matches!(framed(&[0, 0, 0, 0, 2, 7, 8], ""), Ok((false, message)) if message == [7, 8]));
        assert!(matches!(framed(&[1, 0, 0, 0, 1, 7], "gzip"), Ok((true, message)) if message == [7]));
        assert!(matches!(framed(&[1, 0, 0, 0, 1, 7], "zstd"), Err(Refused::Unspoken(_))));
        for wrong in [
            &[][..],
            &[0, 0, 0, 0],
            &[0, 0, 0, 0, 2, 7],
            &[0, 0, 0, 0, 0, 7],
            &[0, 0xff, 0xff, 0xff, 0xff],
            &[2, 0, 0, 0, 0],
        ] {
            assert!(matches!(framed(wrong, "gzip"), Err(Refused::Never(_))), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_not_mapped_is_nobodys_fault_and_the_rest_is_told() {
        let rest = |left: &[(Left, u64)], foreign| Rest { left: left.iter().copied().collect(), foreign };
        assert_eq!(partial(&rest(&[(Left::Unmapped, 500)], 0)), None);
        let told = partial(&rest(&[(Left::Unmapped, 500), (Left::OutOfOrder, 2)], 1)).expect("told");
        assert_eq!(told.rejected_data_points, 3);
        assert!(
            told.error_message.contains("2 older than") && told.error_message.contains("1 of instances"),
            "{told:?}"
        );
    }

    #[test]
    fn later_says_when_in_both_ways() {
        let http = Refused::Later("x".to_owned()).by_http(Form::Protobuf);
        assert_eq!(
            (http.status(), &http.headers()["retry-after"]),
            (StatusCode::SERVICE_UNAVAILABLE, &HeaderValue::from(5))
        );
        let status = Refused::Later("x".to_owned()).by_grpc();
        let details = RpcStatus::decode(status.details()).expect("a status");
        let wait = RetryInfo::decode(details.details[0].value.as_slice()).expect("its detail");
        assert_eq!((status.code(), wait.retry_delay.map(|delay| delay.seconds)), (Code::Unavailable, Some(5)));
    }
}
