//! What every daemon shares: configuration files, arguments, logging, signals, bound addresses
//! and the HTTP status port. What a daemon *does* stands in its own crate.

pub mod code;
pub mod config;
pub mod file;
pub mod net;
pub mod panic;
pub mod ranges;
#[cfg(feature = "show")]
pub mod show;
pub mod status;
pub mod thread;
pub mod writer;

mod clock;
mod http;
mod run;

pub use clock::wall_clock;
pub use run::{Daemon, init_logging, run, wait_for_signal};
