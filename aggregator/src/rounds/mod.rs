//! One round per group and step: samples → demand → forecast → plan.

mod board;
mod coverage;

pub use board::{AnswersCapacity, Board, GroupReport, PredictError};
