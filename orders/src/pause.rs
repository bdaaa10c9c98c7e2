//! Pauses of threads that leave the disk or the processor to others.

use std::time::{Duration, Instant};

/// Waits so long.
pub(crate) fn pause(long: Duration) {
    let end = Instant::now() + long;
    while let Some(left) = end.checked_duration_since(Instant::now())
        && !left.is_zero()
    {
        std::thread::park_timeout(left);
    }
}
