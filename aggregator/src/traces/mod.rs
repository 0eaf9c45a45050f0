//! Decisions as traces of OpenTelemetry: one trace from the samples to the calls. [`ids`] says which ids it has, [`decision`] and
//! [`course`] make spans of what was timed, [`otlp`] is how they travel, [`send`] carries them to a collector. Nothing waits
//! for it, and nothing is decided by it.

mod course;
mod decision;
mod ids;
pub mod otlp;
mod send;

pub use course::{Course, End, Stage};
pub use decision::{Timed, spans};
pub use ids::{SpanId, TraceId};
pub use otlp::Span;
pub use send::{Service, Traces};
