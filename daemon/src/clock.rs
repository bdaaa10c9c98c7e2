//! The clock of a daemon, for shells; everything that decides takes the time as an argument.
//!
//! Deadlines are decided by this clock, so steps of the wall clock must not move it: it is read from the
//! wall clock once, when it is first asked, and goes on with the monotonic clock. What time servers do to
//! the rate of the system's clocks it follows; a step it takes over with the next start of the daemon.
//! Timestamps in messages, mirror and datasets are of this clock too, so that they never go back.

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use edgeless_types::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// A difference between clocks that is worth a word, in seconds.
const WORTH_A_WORD: f64 = 1.0;
/// How often it is looked for.
const LOOK: Duration = Duration::from_secs(10);

/// What the wall clock said when this was first asked, and what has passed since. At two thirds of the
/// cost of the standard library: every event of a node is timed.
pub fn wall_clock() -> Timestamp {
    let (clock, monotonic) = clock();
    clock.at(monotonic)
}

/// Says so when the wall clock was set, as timestamps do not follow it. Runs until it is dropped.
pub(crate) async fn watch() {
    let mut told = 0.0;
    loop {
        let (clock, monotonic) = clock();
        let off_seconds = clock.off_seconds(monotonic, system());
        if (off_seconds - told).abs() >= WORTH_A_WORD {
            told = off_seconds;
            tracing::warn!(
                off_seconds,
                "the clock of this machine was set; deadlines do not change, and timestamps follow when \
                 this daemon is started again"
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn clock() -> (&'static Anchored, Duration) {
    static CLOCK: OnceLock<Anchored> = OnceLock::new();
    // Read first: the anchor is not before it then.
    let clock = CLOCK.get_or_init(|| Anchored::new(monotonic(), system()));
    (clock, monotonic())
}

fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(now.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanos)
}

fn system() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp::from_unix(now.unwrap_or_default())
}

/// A clock that goes on from a moment of the wall clock, as the monotonic clock does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Anchored {
    monotonic: Duration,
    wall: Timestamp,
}

impl Anchored {
    /// Both clocks, read at one moment.
    const fn new(monotonic: Duration, wall: Timestamp) -> Self {
        Self { monotonic, wall }
    }

    /// The time at a reading of the monotonic clock; the anchor's for what was read before it.
    fn at(&self, monotonic: Duration) -> Timestamp {
        self.wall + monotonic.saturating_sub(self.monotonic)
    }

    /// How far the wall clock was set since: forward, or back if negative.
    fn off_seconds(&self, monotonic: Duration, wall: Timestamp) -> f64 {
        let expected = self.at(monotonic);
        wall.since(expected).as_secs_f64() - expected.since(wall).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(seconds: u64) -> Timestamp {
        Timestamp::from_unix(Duration::from_secs(seconds))
    }

    /// What the clock says a second after the wall clock was set, and how many seconds that was.
    fn check(set_to: Timestamp, off_seconds: i32) {
        let clock = Anchored::new(Duration::from_secs(50), wall(1_000_000));
        let monotonic = Duration::from_secs(51);
        assert_eq!(clock.at(monotonic), wall(1_000_001));
        let off = clock.off_seconds(monotonic, set_to);
        assert!((off - f64::from(off_seconds)).abs() < 1e-6, "{off}");
    }

    #[test]
    fn a_step_of_the_wall_clock_moves_nothing_and_is_noticed() {
        check(wall(1_000_001), 0);
        check(wall(1_003_601), 3_600);
        check(wall(996_401), -3_600);
        check(Timestamp::EPOCH, -1_000_001);
    }

    #[test]
    fn the_clock_never_goes_back() {
        let clock = Anchored::new(Duration::from_secs(50), wall(7));
        let readings = [0, 49, 50, 51, 51, 90].map(|it| clock.at(Duration::from_secs(it)));
        assert!(readings.is_sorted(), "{readings:?}");
        assert_eq!(readings[5], wall(47));
    }

    #[test]
    fn it_begins_with_what_the_wall_clock_says() {
        let (before, now, after) = (system(), wall_clock(), system());
        let slack = Duration::from_millis(1);
        assert!(before <= now + slack && now <= after + slack);
    }
}
