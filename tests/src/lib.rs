//! What the real-process tests share: [`process`] starts and ends the product's own binaries,
//! [`web`] asks them, [`fleet`] is many agents in one process that speak the real protocol,
//! [`oracle`] stands between agents and aggregator and counts, [`cloud`] is a local AWS,
//! [`proxy`] stands before it and fails on demand, [`metadata`] tells an instance of itself, [`machine`] reads this host by itself, [`tokens`]
//! makes callers of every role, [`trust`] certificates, right and wrong ones, [`installation`] is an aggregator with both, [`relay`]
//! stands before it and counts bytes.

pub mod cloud;
pub mod fleet;
pub mod influx;
pub mod installation;
pub mod instance_document;
pub mod machine;
pub mod metadata;
pub mod oracle;
pub mod process;
pub mod proxy;
pub mod relay;
pub mod tokens;
pub mod trust;
pub mod web;
