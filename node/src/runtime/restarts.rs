//! How often and how soon a guest may be restarted: pure.

use std::{collections::VecDeque, time::Duration};

use edgeless_types::Timestamp;

/// How long a guest waits before its second restart within the window; each further one waits twice
/// as long.
const PAUSE: Duration = Duration::from_millis(10);
/// The longest wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Decides whether a guest may be restarted once more, and how soon: pure.
#[derive(Debug)]
pub(super) struct Restarts {
    limit: usize,
    window: Duration,
    times: VecDeque<Timestamp>,
}

impl Restarts {
    pub(super) fn new(limit: usize, window: Duration) -> Self {
        Self {
            limit,
            window,
            times: VecDeque::new(),
        }
    }

    /// How long to wait before the restart; none: it was restarted too often.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<Duration> {
        while self
            .times
            .front()
            .is_some_and(|&at| now.since(at) > self.window)
        {
            self.times.pop_front();
        }
        let before = self.times.len();
        if before >= self.limit {
            return None;
        }
        self.times.push_back(now);
        let doublings = u32::try_from(before.saturating_sub(1)).unwrap_or(u32::MAX);
        let pause = PAUSE.saturating_mul(2_u32.saturating_pow(doublings));
        Some(match before {
            0 => Duration::ZERO,
            _ => pause.min(LONGEST_PAUSE),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_pause_longer_and_longer_until_there_are_too_many() {
        let mut restarts = Restarts::new(4, Duration::from_secs(60));
        let at = |seconds| Timestamp::from_unix(Duration::from_secs(seconds));
        let pauses = [0, 10, 20, 40].map(|millis| Some(Duration::from_millis(millis)));
        assert_eq!([1, 2, 3, 4].map(|second| restarts.next(at(second))), pauses);
        assert_eq!(restarts.next(at(5)), None);
        assert!(restarts.next(at(62)).is_some(), "the first is forgotten");
    }
}
