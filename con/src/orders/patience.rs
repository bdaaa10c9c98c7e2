//! How long the owner of the orders waits for the log before it goes on without.
//!
//! While the disk is only slow for a moment, whoever posts something waits. When it is behind for longer, or hangs, or
//! refuses, everybody is answered: nothing new is recorded then.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// With so much on its way to the disk no more is taken from the inbox.
pub(super) const WAITING: usize = 16 << 20;
/// So long whoever posts something waits for that.
const CROWDED: Duration = Duration::from_secs(1);
/// A disk that has kept nothing for so long hangs.
const HANGS: Duration = Duration::from_secs(5);

/// What of the log is seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Bytes on their way to the disk.
    pub(super) waiting: usize,
    /// The last record that is safe.
    pub(super) through: u64,
    /// Others are not.
    pub(super) has_unsafe: bool,
    /// Why the disk refuses.
    pub(super) stalled: Option<String>,
}

/// Since when the log is not as it should be.
#[derive(Debug, Default)]
pub(super) struct Patience {
    crowded: Option<Instant>,
    still: Option<(u64, Instant)>,
    /// Why nothing is recorded.
    pub(super) hold: Option<Arc<str>>,
}

impl Patience {
    /// Follows how the log is; whether anything has changed about [`Patience::hold`].
    pub(super) fn look(&mut self, seen: &Seen, now: Instant) -> bool {
        // One that was crowded for long is to have room for more than a moment.
        let most = if self.hold.is_some() {
            WAITING / 2
        } else {
            WAITING
        };
        self.crowded = match seen.waiting >= most {
            true => self.crowded.or(Some(now)),
            false => None,
        };
        self.still = match self.still {
            _ if !seen.has_unsafe => None,
            Some((through, since)) if through == seen.through => Some((through, since)),
            Some(_) | None => Some((seen.through, now)),
        };
        let is_past = |since: Instant, patience| now.saturating_duration_since(since) >= patience;
        let why = if let Some(reason) = &seen.stalled {
            Some(format!("the disk refuses them: {reason}"))
        } else if self.still.is_some_and(|(_, since)| is_past(since, HANGS)) {
            Some("the disk has kept nothing for seconds; see what it is busy with".to_owned())
        } else if self.crowded.is_some_and(|since| is_past(since, CROWDED)) {
            Some("the disk is far behind; send fewer at once".to_owned())
        } else {
            None
        };
        let has_changed = why.as_deref() != self.hold.as_deref();
        if has_changed {
            self.hold = why.map(Into::into);
        }
        has_changed
    }

    /// Whether anything is taken from the inbox; if not, nobody's time is up.
    pub(super) fn may_take(&self) -> bool {
        self.hold.is_some() || self.crowded.is_none()
    }

    /// When to look again, though nothing has happened.
    pub(super) fn due(&self, now: Instant) -> Option<Duration> {
        let crowded = self.crowded.map(|since| since + CROWDED);
        let still = self.still.map(|(_, since)| since + HANGS);
        let due = [crowded, still].into_iter().flatten();
        let due = due.filter(|_| self.hold.is_none()).min()?;
        Some(due.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn seen(waiting: usize, through: u64) -> Seen {
        Seen {
            waiting,
            through,
            has_unsafe: waiting > 0,
            stalled: None,
        }
    }

    #[test]
    fn a_crowd_waits_for_a_moment_and_is_refused_after_it() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        assert!(!patience.look(&seen(WAITING, 1), now));
        assert!(!patience.may_take());
        assert_eq!(patience.due(now), Some(SECOND));
        assert!(patience.look(&seen(WAITING, 2), now + SECOND));
        assert!(patience.may_take() && patience.hold.is_some());
        assert!(!patience.look(&seen(WAITING - 1, 3), now + 2 * SECOND));
        assert!(patience.hold.is_some());
        assert!(patience.look(&seen(WAITING / 2 - 1, 4), now + 3 * SECOND));
        assert!(patience.may_take() && patience.hold.is_none());
    }

    #[test]
    fn a_disk_that_hangs_is_not_waited_for_and_one_that_goes_on_is() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        for second in 0..20 {
            patience.look(&seen(1, u64::from(second)), now + second * SECOND);
            assert_eq!(patience.hold, None);
        }
        patience.look(&seen(1, 19), now + 23 * SECOND);
        assert_eq!(patience.hold, None);
        patience.look(&seen(1, 19), now + 24 * SECOND);
        assert!(patience.hold.is_some());
        patience.look(&seen(1, 20), now + 25 * SECOND);
        assert_eq!(patience.hold, None);
        // Nothing is to be kept, and so nothing hangs.
        patience.look(&seen(0, 20), now + 60 * SECOND);
        assert_eq!((patience.due(now), patience.hold), (None, None));
    }

    #[test]
    fn a_disk_that_refuses_is_named_at_once() {
        let mut patience = Patience::default();
        let stalled = Some("no space".to_owned());
        let seen = Seen {
            stalled,
            ..seen(1, 1)
        };
        assert!(patience.look(&seen, Instant::now()));
        let why = patience.hold.clone();
        assert_eq!(why.as_deref(), Some("the disk refuses them: no space"));
    }
}
