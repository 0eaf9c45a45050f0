//! What people are told of by themselves: [`alarm`] finds it in the latest rounds, [`told`] knows what was told already, [`kept`]
//! also over a restart, [`send`] carries it to Alertmanager or a server of one's own. Nothing waits for it, and nothing is decided by it.

mod alarm;
mod kept;
mod send;
pub(crate) mod sql;
mod told;

pub use alarm::{Alarm, Kind, Severity};
pub use send::Service;
