//! How much waits for mirror and datasets: nodes that measure more than these take are held back a little,
//! before anything has to be given up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::Notify;

use crate::change::Change;

/// Up to here nobody is held back; in samples.
const ROOM: usize = 100_000;
/// Beyond this what comes is given up.
const BOUND: usize = 2_000_000;
/// Nobody is held back for longer.
const LONGEST: Duration = Duration::from_secs(1);

/// What waits for mirror and datasets; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Backlog {
    /// For Redis.
    pub mirror: Gauge,
    /// For the disk.
    pub record: Gauge,
}

impl Backlog {
    /// Waits until there is room for more samples, at most a second and a fifth of `deadline`, within
    /// which a node has to refresh.
    pub async fn room(&self, deadline: Duration) {
        let both = async {
            self.record.room().await;
            self.mirror.room().await;
        };
        // Held back for long enough, if there is still none.
        drop(tokio::time::timeout(LONGEST.min(deadline / 5), both).await);
    }
}

/// What waits in one place; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    waiting: AtomicUsize,
    less: Notify,
    given_up: AtomicU64,
    incomplete: AtomicBool,
}

impl Gauge {
    /// Notes that changes wait; false when they are too many, and are given up.
    pub(crate) fn add(&self, weight: usize) -> bool {
        if self.0.waiting.load(Relaxed) > BOUND {
            self.0.given_up.fetch_add(weight as u64, Relaxed);
            self.0.incomplete.store(true, Relaxed);
            return false;
        }
        self.0.waiting.fetch_add(weight, Relaxed);
        true
    }

    /// Notes that changes have been taken.
    pub(crate) fn done(&self, weight: usize) {
        let before = self.0.waiting.fetch_sub(weight, Relaxed);
        if before >= ROOM && before.saturating_sub(weight) < ROOM {
            self.0.less.notify_waiters();
        }
    }

    /// What was given up so far, in samples.
    pub(crate) fn given_up(&self) -> u64 {
        self.0.given_up.load(Relaxed)
    }

    /// Whether something was given up since [`Gauge::begin`].
    pub(crate) fn is_incomplete(&self) -> bool {
        self.0.incomplete.load(Relaxed)
    }

    /// What was given up so far is of no more concern: all of it is written anew.
    pub(crate) fn begin(&self) {
        self.0.incomplete.store(false, Relaxed);
    }

    async fn room(&self) {
        loop {
            let less = self.0.less.notified();
            if self.0.waiting.load(Relaxed) < ROOM {
                return;
            }
            less.await;
        }
    }
}

/// What changes weigh, in samples: about as much memory.
pub(crate) fn weight(changes: &[Change]) -> usize {
    changes.iter().map(Change::weight).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn there_is_room_again_when_enough_has_been_taken() {
        let gauge = Gauge::default();
        assert!(gauge.add(ROOM));
        let waiting = tokio::spawn({
            let gauge = gauge.clone();
            async move { gauge.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        gauge.done(1);
        waiting.await.unwrap();
    }

    #[test]
    fn what_is_too_much_is_given_up_and_counted_until_there_is_room() {
        let gauge = Gauge::default();
        assert!(gauge.add(BOUND + 1));
        assert!(!gauge.add(7));
        assert_eq!(gauge.given_up(), 7);
        assert!(gauge.is_incomplete());
        gauge.begin();
        assert!(!gauge.is_incomplete());
        gauge.done(BOUND + 1);
        assert!(gauge.add(7));
    }
}
