//! Load shapes and groups that carry them, for the demo and the tests: generated, seeded, and always
//! marked as simulated where a person sees them.
//!
//! [`load`] makes demand, [`cloud`] is an account strict enough to judge an executor by, whose provider
//! scales a group by itself where it is told to.

pub mod cloud;
pub mod load;

pub use cloud::StrictCloud;
pub use load::{Load, Seeded, Surprise};
