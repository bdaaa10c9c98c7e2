//! The engine as resources and functions see it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod fused;
mod messages;
mod pressure;
mod routed;
mod signals;
mod tracked;
