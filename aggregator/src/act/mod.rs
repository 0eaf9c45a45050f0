//! Acting on the cloud: nothing is done that was not written down first.
//!
//! [`journal`] decides, as a machine without IO. This version observes: nothing drives it yet.

pub mod journal;
