//! Tests of real processes: `foreshadow`, `foreshadow-agent` and their peers on loopback.
//! One binary for all of them: each links the whole product, and its size on disk and its linking time would count per file.

mod access;
mod acting;
mod certificates;
mod cli;
mod crash;
mod decoders;
mod demo;
mod detach;
mod disk;
mod events;
mod explain;
mod grpc;
mod hands;
mod host;
mod identity;
mod import;
mod influxdb;
mod inventory;
mod keda;
mod lifecycle;
mod manual;
mod notice;
mod notify;
mod page;
mod postgres;
mod prometheus;
mod proxy;
mod push;
mod remote;
mod sources;
mod spool;
mod steer;
mod stops;
mod tls;
mod transports;
