//! A past that was measured elsewhere, so that the first forecast is there in minutes: [`command`] reads it from a file
//! or a server ([`csv`], [`prometheus`], [`cloudwatch`], [`influxdb`]), [`minutes`] makes a group's minutes of it, [`log`] keeps them.

mod cloudwatch;
pub mod command;
pub(crate) mod csv;
mod influxdb;
mod log;
pub(crate) mod minutes;
mod prometheus;
mod server;
pub(crate) mod sql;

pub use log::{ImportLog, Imported, Part, Stretch};
