//! Acting on the cloud: nothing is done that was not written down first.
//!
//! [`journal`] decides, as a machine without IO.

pub mod journal;
