//! The aggregator. Read it in the order of the data:
//! [`ingest`] takes samples in, [`store`] makes them durable and [`readings`] the values of declared metrics, [`observe`] knows which instance is
//! in which mode, [`shadow`] keeps the sessions of detached instances, [`rounds`] turns samples
//! into demand, forecast and plan, raised by [`events`], [`act`] carries plans out in the clouds
//! behind [`fleet`] as far as [`leash`] lets it, [`api`] and its page, [`web`], show all of it, and [`traces`] tell a collector of it. [`supervise`] starts and ends them, [`reload`] follows the configuration file,
//! [`watchdog`] says that they go on; [`simulation`] is
//! the whole circle against a made-up cloud.

// First: what follows prints by it.
#[macro_use]
mod output;

pub mod act;
pub mod api;
pub mod backtest;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod decision;
pub mod demo;
pub mod eval;
pub mod events;
pub mod exchange;
pub mod explain;
pub mod fleet;
pub mod identity;
pub mod import;
pub mod ingest;
pub mod leash;
pub mod live;
pub mod manual;
pub mod models;
pub mod notify;
pub mod observe;
pub mod progress;
pub mod readings;
pub mod reload;
pub mod revision;
pub mod rounds;
pub mod shadow;
pub mod simulation;
pub mod sql;
pub mod steer;
pub mod store;
pub mod supervise;
pub mod table;
pub mod telemetry;
pub mod traces;
pub mod train;
pub mod watchdog;
pub mod web;
pub mod week;
pub mod windows;
