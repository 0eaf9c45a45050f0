//! The hands of the AWS source against a local AWS, seen through the fault proxy: what is sent, what
//! each fault comes to, and what describing makes of a lost answer. The local AWS is lenient, so what
//! was sent counts, not only what came of it.

mod faults;
mod launches;
mod many;
mod moves;
mod policy;
mod seen;
mod world;
