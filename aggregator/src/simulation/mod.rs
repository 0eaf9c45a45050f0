//! The whole circle against the strict fake, on one thread and by a clock of its own: the very code
//! that runs in production (timeline, sessions, planner, checker, journal, the call itself) between a
//! load and a cloud that are made up. The demo shows it, the tests run it through weeks.

mod faults;
mod fleet;
mod world;

pub use faults::Faults;
pub use fleet::SimulatedFleet;
pub use world::{Observed, Options, World};
