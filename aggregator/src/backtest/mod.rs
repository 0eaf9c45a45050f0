//! `foreshadow backtest`: what the live planner would have done over a recorded load, and what else would have.
//!
//! Read in the order of the work: [`load`] makes minutes of a history, [`foresight`] what was forecast at each step,
//! [`live`] runs the circle of production over it on simulated time, [`yardstick`] says what a path of capacity came to and
//! what reactive scaling and the oracle would have, [`compare`] does all of it, [`modes`] compares ways to scale in, [`advice`] recommends, [`table`] and
//! [`report`] show it. Loads and capacity are in instances (1 is what one serves at 100 %), times in seconds.

#![allow(clippy::cast_precision_loss, reason = "minutes and instances")]
#![allow(clippy::cast_possible_wrap, reason = "minutes of a history")]
#![allow(clippy::indexing_slicing, reason = "minutes of one load")]

pub mod advice;
mod charts;
pub mod command;
pub mod compare;
pub mod coverage;
pub mod foresight;
pub mod live;
pub mod load;
mod many;
pub mod modes;
mod recorded;
pub mod report;
mod setting;
pub mod svg;
mod table;
pub mod week;
mod worst;
pub mod yardstick;

pub use setting::Setting;

/// How fast machines may be taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// As in production, this group alone in its installation
    Production,
    /// As in production, one group of a large fleet: the 2 % of all machines is no limit
    Fleet,
    /// As fast as the plan wants: only a cloud on this machine is ever changed so fast
    Free,
}

impl Pace {
    const fn words(self) -> &'static str {
        match self {
            Self::Production => {
                "Machines went as slowly as the checker lets them in production, with this group alone in its installation."
            }
            Self::Fleet => {
                "Machines went as slowly as the checker lets them in production, in a group of a large fleet."
            }
            Self::Free => "Machines went as fast as the plan wanted: faster than the checker lets them in production.",
        }
    }
}
