//! Load shapes and groups that carry them, for the demo and the tests: generated, seeded, and always
//! marked as simulated where a person sees them.
//!
//! [`load`] makes demand, [`tracked`] is a group that the provider scales by itself, [`cloud`] is an
//! account strict enough to judge an executor by.

pub mod cloud;
pub mod load;
pub mod tracked;

pub use cloud::StrictCloud;
pub use load::{Load, Seeded};
pub use tracked::{SimulatedGroup, SimulatedInstance, SimulatedMinute};
