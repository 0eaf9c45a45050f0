//! One round per group: samples → demand → forecast → plan. [`service`] does the waiting and the
//! IO, [`group`] the thinking.

mod board;
mod damage;
mod forecast_hours;
mod gauges;
mod group;
mod history;
pub(crate) mod idle;
pub(crate) mod invariants;
pub(crate) mod inventory;
mod learned;
mod minutes;
mod plans;
pub(crate) mod pulse;
mod pulses;
mod raised;
mod revised;
mod scaler;
mod service;
pub(crate) mod slices;
pub(crate) mod sql;
mod standing;
mod tally;

pub use board::{AnswersCapacity, Board, GroupReport, PredictError};
pub use forecast_hours::ForecastHours;
pub use group::{GroupRound, Measurements};
pub use history::KEPT_MINUTES;
pub use learned::Learned;
pub use plans::{Course, PlanLog, Stretch};
pub use pulses::PulseLog;
pub use raised::MeasuredFactor;
pub use revised::Revised;
pub use service::{GroupPolicy, Logs, Options, Service};
pub use standing::{MetricReport, Standing};
