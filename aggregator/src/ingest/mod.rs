//! From an agent's stream to the store: [`session`] decides, [`service`] does the IO, [`lines`]
//! reads what is pushed by `POST /shadow/metrics`, [`remote`] what Prometheus writes.

pub mod lines;
pub mod remote;
mod service;
pub mod session;

pub use service::AgentService;
