//! The engine as resources and functions see it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod broadcast;
mod common;
mod deadlines;
mod fair;
mod fused;
mod listener;
mod made;
mod messages;
mod pressure;
mod room;
mod routed;
mod signals;
mod sources;
mod told;
mod tracked;
mod withdrawn;
