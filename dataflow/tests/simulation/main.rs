//! Whole graphs on whole engines, in one thread and in a time of their own: the same seed is the same run.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod graphs;
mod mixed;
mod network;
mod world;
