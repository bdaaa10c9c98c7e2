//! ε-ORC: one domain. Nodes register, vertices are placed, healed and moved, and what happens is
//! mirrored and recorded.

pub mod admission;
mod backlog;
pub mod change;
pub mod config;
pub mod domain;
pub mod domain_client;
pub mod fence;
pub mod grpc;
pub mod handle;
pub mod journal;
mod lives;
pub mod metrics;
pub mod mirror;
pub mod node_client;
pub mod observers;
pub mod orchestrator;
pub mod plan;
mod recent;
pub mod record;
pub mod scale;
mod start;
pub mod status;

pub use config::Config;
pub use start::{Running, StartError, start};
