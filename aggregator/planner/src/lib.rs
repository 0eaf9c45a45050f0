//! What a group needs and what should be done about it: pure functions, no clock, no IO.
//!
//! Read in this order: [`metric`] is what can drive capacity, [`policy`] what the user wants, [`bounds`] what of it holds for a time, [`demand`] what the group carries,
//! [`baseline`] what an idle instance costs, [`capacity`] how many instances that takes,
//! [`evidence`] what is known and how old it is, [`hold`] the reasons for not acting,
//! [`rule`] the step rule, [`plan`] all of it together, [`meanwhile`] what speaks against a step at the moment of its call.
//! [`simulation`] makes load and a group that carries it, for the demo and the tests.
//!
//! Units: utilisation and demand in points (percent of one reference instance; of a declared metric its own unit), times in seconds
//! since the Unix epoch.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod baseline;
pub mod bounds;
pub mod capacity;
pub mod demand;
pub mod evidence;
pub mod hold;
pub mod meanwhile;
pub mod metric;
pub mod plan;
pub mod policy;
pub mod rule;
pub mod simulation;

pub use plan::plan;
