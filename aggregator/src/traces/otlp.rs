//! `ExportTraceServiceRequest` and its answer, declared by hand as [what comes in](crate::ingest::otlp) is: only what is sent.

use super::{SpanId, TraceId};

const NANOS_PER_MICRO: u64 = 1_000;
/// `SpanFlags`: it is sampled, and its parent is known not to be of another process.
const FLAGS: u32 = 0x101;

/// `SpanKind`: within this process, or a call of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Kind {
    Unspecified = 0,
    Internal = 1,
    Client = 3,
}

/// `StatusCode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Code {
    Unset = 0,
    Ok = 1,
    Error = 2,
}

/// `opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    pub resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Resource {
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    pub scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    pub spans: Vec<Span>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Scope {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub version: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Span {
    #[prost(bytes = "vec", tag = "1")]
    pub trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    pub name: String,
    #[prost(enumeration = "Kind", tag = "6")]
    pub kind: i32,
    #[prost(fixed64, tag = "7")]
    pub start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    pub end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    pub attributes: Vec<Attribute>,
    #[prost(message, repeated, tag = "11")]
    pub events: Vec<Event>,
    #[prost(message, optional, tag = "15")]
    pub status: Option<Status>,
    #[prost(fixed32, tag = "16")]
    pub flags: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Event {
    #[prost(fixed64, tag = "1")]
    pub time_unix_nano: u64,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, repeated, tag = "3")]
    pub attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Status {
    #[prost(string, tag = "2")]
    pub message: String,
    #[prost(enumeration = "Code", tag = "3")]
    pub code: i32,
}

/// `KeyValue`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Attribute {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(message, optional, tag = "2")]
    pub value: Option<Any>,
}

/// `AnyValue`; one of these.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Any {
    #[prost(string, optional, tag = "1")]
    pub string_value: Option<String>,
    #[prost(bool, optional, tag = "2")]
    pub bool_value: Option<bool>,
    #[prost(int64, optional, tag = "3")]
    pub int_value: Option<i64>,
    #[prost(double, optional, tag = "4")]
    pub double_value: Option<f64>,
    #[prost(message, optional, tag = "5")]
    pub array_value: Option<Array>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Array {
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<Any>,
}

/// `opentelemetry.proto.collector.trace.v1.ExportTraceServiceResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub rejected_spans: i64,
    #[prost(string, tag = "2")]
    pub error_message: String,
}

impl Span {
    /// `over`: from when to when, µs since the Unix epoch. A clock that was set back meanwhile makes no span that ends before
    /// it begins.
    pub fn new(trace: TraceId, span: SpanId, parent: Option<SpanId>, name: &str, over: (i64, i64)) -> Self {
        Self {
            trace_id: trace.0.to_vec(),
            span_id: span.0.to_vec(),
            parent_span_id: parent.map(|parent| parent.0.to_vec()).unwrap_or_default(),
            name: name.to_owned(),
            kind: Kind::Internal.into(),
            start_time_unix_nano: nanos(over.0),
            end_time_unix_nano: nanos(over.1.max(over.0)),
            flags: FLAGS,
            ..Self::default()
        }
    }

    /// With an attribute of this product: its name is put behind `foreshadow.`.
    pub fn with(mut self, name: &str, value: impl Into<Any>) -> Self {
        self.attributes.push(ours(name, value));
        self
    }

    /// With an attribute where there is a value.
    pub fn with_any(self, name: &str, value: Option<impl Into<Any>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// With something that happened within it, at a time in µs since the Unix epoch.
    pub fn event(mut self, name: &str, at: i64, attributes: Vec<Attribute>) -> Self {
        self.events.push(Event { time_unix_nano: nanos(at), name: name.to_owned(), attributes });
        self
    }

    /// With how it came out: `Err` says why not.
    pub fn outcome(mut self, outcome: Result<(), &str>) -> Self {
        self.status = Some(match outcome {
            Ok(()) => Status { message: String::new(), code: Code::Ok.into() },
            Err(why) => Status { message: why.to_owned(), code: Code::Error.into() },
        });
        self
    }

    /// As a call of another program.
    pub fn client(mut self) -> Self {
        self.kind = Kind::Client.into();
        self
    }
}

/// An attribute of this product.
pub fn ours(name: &str, value: impl Into<Any>) -> Attribute {
    attribute(&format!("foreshadow.{name}"), value)
}

/// An attribute by its whole name.
pub fn attribute(key: &str, value: impl Into<Any>) -> Attribute {
    Attribute { key: key.to_owned(), value: Some(value.into()) }
}

fn nanos(micros: i64) -> u64 {
    u64::try_from(micros).unwrap_or_default().saturating_mul(NANOS_PER_MICRO)
}

impl From<&str> for Any {
    fn from(text: &str) -> Self {
        Self { string_value: Some(text.to_owned()), ..Self::default() }
    }
}

impl From<String> for Any {
    fn from(text: String) -> Self {
        Self { string_value: Some(text), ..Self::default() }
    }
}

impl From<bool> for Any {
    fn from(value: bool) -> Self {
        Self { bool_value: Some(value), ..Self::default() }
    }
}

impl From<u32> for Any {
    fn from(number: u32) -> Self {
        Self { int_value: Some(number.into()), ..Self::default() }
    }
}

impl From<u64> for Any {
    fn from(number: u64) -> Self {
        Self { int_value: Some(i64::try_from(number).unwrap_or(i64::MAX)), ..Self::default() }
    }
}

impl From<f64> for Any {
    fn from(number: f64) -> Self {
        Self { double_value: Some(number), ..Self::default() }
    }
}

impl<T: Into<Self>> From<Vec<T>> for Any {
    fn from(all: Vec<T>) -> Self {
        Self { array_value: Some(Array { values: all.into_iter().map(Into::into).collect() }), ..Self::default() }
    }
}
