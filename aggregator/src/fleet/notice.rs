//! What is heard of an instance that moves: an event, an agent's word, an entry in the provider's own
//! records. It names whom to look at and perhaps why; who is where, only a description says.

use foreshadow_proto::convert::Id;

/// Characters of a reason from outside that are kept.
const KEPT: usize = 300;

/// One thing heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub group: Id,
    pub instance: Id,
    /// The provider's id of what happened: the same by whichever way it is heard of.
    pub activity: Option<String>,
    pub heard_by: HeardBy,
    /// Why, or by whom, in the provider's words.
    pub why: Option<String>,
}

/// The ways by which a move is heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HeardBy {
    /// An event of the provider.
    Event,
    /// A call that somebody made, by the account's trail.
    Trail,
    /// The provider's list of what it did.
    Activities,
    /// The instance's agent.
    Agent,
    /// Somebody by `POST /shadow/detached`.
    Caller,
}

impl HeardBy {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Trail => "trail",
            Self::Activities => "activities",
            Self::Agent => "agent",
            Self::Caller => "caller",
        }
    }
}

/// A reason from outside as it may be shown: one line, of bounded length, without what separates
/// reasons here.
pub fn shown_reason(text: &str) -> Option<String> {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ").replace(';', ",");
    let text: String = words.chars().filter(|character| !character.is_control()).take(KEPT).collect();
    Some(text).filter(|text| !text.is_empty())
}
