//! One round per group: samples → demand → forecast → plan. [`service`] does the waiting and the
//! IO, [`group`] the thinking.

mod board;
mod group;
mod history;
pub(crate) mod inventory;
mod minutes;
mod plans;
mod service;
pub(crate) mod slices;
pub(crate) mod sql;

pub use board::{AnswersCapacity, Board, GroupReport, PredictError};
pub use group::{GroupRound, Measurements};
pub use plans::PlanLog;
pub use service::{GroupPolicy, Options, Service};
