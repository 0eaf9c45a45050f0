//! What was asked of the cloud and what came of it, for tests to assert on.

use super::fault::{Call, CloudError};

/// Who changed, or tried to change, something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// The caller of this API: the executor under test, or the test in its place.
    Caller,
    /// The provider: replacing, its own scaling policy, its choice of victims.
    Provider,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Applied,
    /// A client token was seen again: the first answer was repeated and nothing was done.
    Replayed,
    /// The state asked for was there already.
    Unchanged,
    /// Refused, throttled or lost on the way: nothing was done.
    None,
}

/// One call that changes things (or a change the provider made by itself). Descriptions are not listed.
#[derive(Debug, Clone, PartialEq)]
pub struct Mutation {
    pub at: i64,
    pub by: Actor,
    pub call: Call,
    pub group: Option<String>,
    pub token: Option<String>,
    /// Instances launched, or those the call named.
    pub ids: Vec<String>,
    /// What really happened.
    pub effect: Effect,
    /// What the caller was told went wrong, if anything.
    pub error: Option<CloudError>,
}
