//! From an agent's stream to the store: [`session`] decides, [`service`] does the IO, [`lines`]
//! reads what is pushed by `POST /shadow/metrics`, [`remote`] what Prometheus writes, [`otlp`] what OpenTelemetry exports, [`influx`]
//! what clients of InfluxDB write; [`prometheus`] asks for what cannot be written; [`mapped`] makes samples of the
//! latter, and [`keep`] keeps them.

pub mod influx;
pub mod keep;
pub mod lines;
pub mod mapped;
pub mod otlp;
pub mod prometheus;
pub mod remote;
mod service;
pub mod session;

pub use service::AgentService;
