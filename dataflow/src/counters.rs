//! What happened, and what was dropped and why.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why a message was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// The output channel leads nowhere.
    Unmapped,
    /// No such instance here (any more).
    NoInstance,
    /// It was past its deadline.
    Deadline,
    /// The way stayed full for too long: a circle of full inboxes, or another node.
    Parked,
    /// Its instance stopped before it was handled.
    Stopped,
    /// An answer to a call that nobody waits for any more.
    LateAnswer,
    /// Its sender has too many delayed messages and timers already.
    Timers,
    /// It is too large for the way to another node.
    TooLarge,
    /// It came once more than it was handled.
    Duplicate,
    /// It was to be delivered at least once, and was refused for good.
    Refused,
    /// Nobody waited for it any more.
    Cancelled,
}

impl Drop {
    /// Every reason, with its name in metrics.
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::Unmapped, "unmapped"),
        (Self::NoInstance, "no_instance"),
        (Self::Deadline, "deadline"),
        (Self::Parked, "parked"),
        (Self::Stopped, "stopped"),
        (Self::LateAnswer, "late_answer"),
        (Self::Timers, "timers"),
        (Self::TooLarge, "too_large"),
        (Self::Duplicate, "duplicate"),
        (Self::Refused, "refused"),
        (Self::Cancelled, "cancelled"),
    ];
}

/// Counts over all shards since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages handled.
    pub handled: AtomicU64,
    /// Dropped: see [`Drop::Unmapped`].
    pub unmapped: AtomicU64,
    /// Dropped: see [`Drop::NoInstance`].
    pub no_instance: AtomicU64,
    /// Dropped: see [`Drop::Deadline`].
    pub deadline: AtomicU64,
    /// Dropped: see [`Drop::Parked`].
    pub parked: AtomicU64,
    /// Dropped: see [`Drop::Stopped`].
    pub stopped: AtomicU64,
    /// Dropped: see [`Drop::LateAnswer`].
    pub late_answer: AtomicU64,
    /// Dropped: see [`Drop::Timers`].
    pub timers: AtomicU64,
    /// Dropped: see [`Drop::TooLarge`].
    pub too_large: AtomicU64,
    /// Dropped: see [`Drop::Duplicate`].
    pub duplicate: AtomicU64,
    /// Dropped: see [`Drop::Refused`].
    pub refused: AtomicU64,
    /// Dropped: see [`Drop::Cancelled`].
    pub cancelled: AtomicU64,
    /// Messages that were sent once more, as nobody had acknowledged them.
    pub redelivered: AtomicU64,
    /// Custom log entries that found no room among the samples.
    pub log_entries_lost: AtomicU64,
    /// Calls that waited for themselves, and were answered with an error.
    pub circles: AtomicU64,
    /// Events that ended with an error, such as a trap.
    pub faults: AtomicU64,
}

/// Faults of one reason.
pub type Faults = (&'static str, u64);

impl Counters {
    /// Counts dropped messages.
    pub fn dropped(&self, reason: Drop, number: u64) {
        self.of(reason).fetch_add(number, Relaxed);
    }

    /// The counter of a reason.
    pub fn of(&self, reason: Drop) -> &AtomicU64 {
        match reason {
            Drop::Unmapped => &self.unmapped,
            Drop::NoInstance => &self.no_instance,
            Drop::Deadline => &self.deadline,
            Drop::Parked => &self.parked,
            Drop::Stopped => &self.stopped,
            Drop::LateAnswer => &self.late_answer,
            Drop::Timers => &self.timers,
            Drop::TooLarge => &self.too_large,
            Drop::Duplicate => &self.duplicate,
            Drop::Refused => &self.refused,
            Drop::Cancelled => &self.cancelled,
        }
    }
}
