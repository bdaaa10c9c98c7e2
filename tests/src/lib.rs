//! What system tests and benchmarks share: real daemons as processes, a real Redis, and load.
//!
//! Everything that is started here ends with its owner.

pub mod agent;
pub mod bench;
pub mod client;
pub mod cluster;
pub mod domains;
pub mod process;
pub mod proxy;
pub mod sim;
pub mod simulated;
pub mod wait;
