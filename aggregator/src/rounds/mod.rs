//! One round per group and step: samples → demand → forecast → plan.

mod board;
mod group;
mod history;
mod slices;

pub use board::{AnswersCapacity, Board, GroupReport, PredictError};
pub use group::{GroupRound, Measurements};
