//! What every daemon shares: configuration files, arguments, logging, signals, bound addresses
//! and the HTTP status port. What a daemon *does* stands in its own crate.

pub mod code;
pub mod config;
pub mod file;
pub mod net;
pub mod ranges;
pub mod status;

mod run;

pub use run::{Daemon, init_logging, run, wait_for_signal};
