//! Speaking with the aggregator: [`session`] decides, [`link`] is the wire.

mod link;
mod session;

pub use link::{Endpoint, LinkError, Open, pushback};
pub use session::{Effect, Event, Hello, Session};
