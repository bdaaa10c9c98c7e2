//! The node agent: runs functions and resources, and says so to its ε-ORC.

pub mod agent;
pub mod capabilities;
pub mod config;
pub mod dataplane;
pub mod grpc;
pub mod health;
pub mod host;
pub mod identity;
mod instances;
pub mod metrics;
mod ranges;
pub mod registration;
pub mod resource;
pub mod runtime;
mod source;
mod start;
mod status;
mod words;
mod work;

pub use config::Config;
pub use start::{Running, StartError, start};
