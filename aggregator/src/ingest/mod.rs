//! From an agent's stream to the store: [`session`] decides, [`service`] does the IO, [`lines`]
//! reads what is pushed by `POST /shadow/metrics`.

pub mod lines;
mod service;
pub mod session;

pub use service::AgentService;
