//! Load replayed through the scaling policies of ε-ORC in simulated time.

mod builder;
mod compare;
pub mod daemons;
mod oracle;
mod outcome;
mod plan;
mod recorded;
mod world;

pub use compare::{Comparison, FELT, Line, compare, compare_with};
pub use oracle::instance_seconds;
pub use outcome::Outcome;
pub use recorded::{NothingRecorded, Recorded, Recording};
pub use world::{Setup, service as handling};

use crate::synth::Trace;

/// Runs a trace; the same trace and setup give the same outcome.
pub fn run(trace: &Trace, setup: Setup) -> Outcome {
    world::World::new(trace, setup).run()
}

#[cfg(test)]
mod tests;
