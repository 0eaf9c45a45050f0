//! placeholder
pub mod eval;
