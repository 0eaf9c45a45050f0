//! Mutants of the two crates that decide whether machines may go: each has one guard taken out, and a
//! test must fail for it.
//!
//! [`source::mutate`] rewrites a file so that it holds all its mutants at once, asleep; [`lab::Lab`] builds
//! the rewritten crates once and runs their tests once for each mutant, awake by its number. Nothing has to be
//! registered: a guard that somebody adds is found in the source, and survives until it has a test.
//!
//! Property tests are left out of the runs: what a guard is there for is to be said by a case.

pub mod lab;
pub mod source;

pub use lab::{Lab, Verdict};
pub use source::Mutant;
