//! The agent: what one instance does, sent to the aggregator until it is acknowledged.
//!
//! Read it in the order of the data: [`sample`] reads the host, [`spool`] keeps what is not
//! acknowledged, [`stream`] speaks with the aggregator, [`identity`] knows which instance this is,
//! [`probe`] whether it is ready. [`run`](run::run) puts them together on one thread; [`reload`] changes what it runs with.

pub mod clock;
pub mod identity;
pub mod options;
pub mod output;
pub mod probe;
pub mod reader;
pub mod reload;
pub mod run;
pub mod sample;
pub mod spool;
pub mod stream;

pub use options::{command, main_with};
