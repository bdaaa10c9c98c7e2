//! Offline analysis of datasets: load made up or recorded, and how scaling policies would have done.

pub mod replay;
pub mod synth;
