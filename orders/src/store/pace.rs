//! Leaves the processor to others during long work: what comes in bursts holds up whoever answers clients.

use std::time::{Duration, Instant};

use crate::pause::pause;

/// So long is worked at a stretch.
const SLICE: Duration = Duration::from_millis(1);
/// A pause is so many times as long as the work before it, and no longer than this.
const REST: u32 = 2;
const LONGEST: Duration = Duration::from_millis(5);
/// The clock is looked at after so many steps.
const STEPS: u32 = 16;
/// Work of more bytes than this shows that there is too much to do for pauses.
const HURRY: usize = 3 << 20;

/// The pauses of one piece of work.
#[derive(Debug)]
pub(super) struct Pace {
    begun: Instant,
    steps: u32,
    hurries: bool,
}

impl Pace {
    /// Begins work on so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            begun: Instant::now(),
            steps: 0,
            hurries: bytes > HURRY,
        }
    }

    /// One step is done; rests if it is time to.
    pub(super) fn step(&mut self) {
        self.steps += 1;
        if self.hurries || !self.steps.is_multiple_of(STEPS) {
            return;
        }
        let worked = self.begun.elapsed();
        if worked >= SLICE {
            pause((worked * REST).min(LONGEST));
            self.begun = Instant::now();
        }
    }
}
