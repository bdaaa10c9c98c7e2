//! ε-CON: takes workflows over REST and gRPC, keeps them, and hands them to domains.

pub mod check;
pub mod cluster;
pub mod config;
pub mod controller;
pub mod epoch;
pub mod grpc;
pub mod metrics;
pub mod orc_client;
pub mod orders;
pub mod problem;
pub mod rest;
mod start;
pub mod status;
pub mod store;
pub mod worker;

pub use config::Config;
pub use start::{EndError, Running, StartError, start};
