//! One round per group and step: samples → demand → forecast → plan.

mod board;
mod slices;

pub use board::{AnswersCapacity, Board, GroupReport, PredictError};
