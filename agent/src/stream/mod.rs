//! Speaking with the aggregator: [`session`] decides, [`link`] is the wire, over TCP or [`quic`].

mod link;
pub mod quic;
mod session;

pub use link::{Endpoint, LinkError, Open, Transport, pushback};
pub use session::{Effect, Event, Hello, Session};
