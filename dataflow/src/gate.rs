//! What every shard may know of an instance: where it is, whether it takes more, whom it waits for.
//!
//! Messages that cross shards or nodes are admitted one by one against the bound of their target, so
//! that an instance that is slow holds up those who send to it and nobody else.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use edgeless_types::{PhysicalId, Timestamp};

/// It is told no more often than this that an instance has nothing to do.
const IDLE_NEWS: Duration = Duration::from_millis(1);

/// The gate of one instance.
#[derive(Debug)]
pub(crate) struct Gate {
    shard: usize,
    capacity: usize,
    /// The weight of what is admitted from other shards and nodes, and not handled yet.
    admitted: AtomicUsize,
    /// The weight of what its own shard has for it beside, and one for what it has in hand.
    here: AtomicUsize,
    /// Whether senders on other nodes want to know what waits.
    watched: AtomicBool,
    /// When it was told last that nothing does, in nanoseconds.
    told_idle: AtomicU64,
    /// Shards that wait for room, one bit each (shards beyond 64 share bits).
    waiting: AtomicU64,
    /// Whether its instance is there to take messages.
    opened: AtomicBool,
    closed: AtomicBool,
    /// Whose full inbox this instance waits for.
    waits_for: Mutex<Option<PhysicalId>>,
}

impl Gate {
    pub(crate) fn new(shard: usize, capacity: usize) -> Self {
        Self {
            shard,
            capacity: capacity.max(1),
            admitted: AtomicUsize::new(0),
            here: AtomicUsize::new(0),
            watched: AtomicBool::new(false),
            told_idle: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            opened: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            waits_for: Mutex::new(None),
        }
    }

    /// The shard its instance runs on.
    pub(crate) fn shard(&self) -> usize {
        self.shard
    }

    /// Its instance is there; the shards to ring, one bit each.
    pub(crate) fn open(&self) -> u64 {
        self.opened.store(true, SeqCst);
        self.waiting.swap(0, SeqCst)
    }

    /// Admits a message of another shard, of that weight, unless its instance is not there yet or `times`
    /// the bound is reached; then that shard is rung when there is room.
    pub(crate) fn admit(&self, from: usize, times: usize, weight: usize) -> bool {
        if self.try_admit(times, weight) {
            return true;
        }
        self.waiting.fetch_or(bit(from), SeqCst);
        // Room made before the bit was seen would ring nobody.
        self.try_admit(times, weight)
    }

    fn try_admit(&self, times: usize, weight: usize) -> bool {
        if !self.opened.load(SeqCst) {
            return false;
        }
        let admitted = self.admitted.fetch_add(weight, SeqCst);
        if admitted < self.capacity * times {
            return true;
        }
        self.admitted.fetch_sub(weight, SeqCst);
        false
    }

    /// Its shard has so much for it that was not admitted here.
    #[inline]
    pub(crate) fn set_here(&self, weight: usize) {
        if self.here.load(Relaxed) != weight {
            self.here.store(weight, Relaxed);
        }
    }

    /// Senders on other nodes want to know what waits from now on.
    pub(crate) fn watch(&self) {
        self.watched.store(true, Relaxed);
    }

    /// Whether they are to be told now that its instance has nothing to do.
    #[inline]
    pub(crate) fn is_idle_news(&self, now: Timestamp) -> bool {
        if !self.watched.load(Relaxed) || self.load() > 0 {
            return false;
        }
        let told = Timestamp::from_nanos(self.told_idle.load(Relaxed));
        let is_news = now.since(told) >= IDLE_NEWS;
        if is_news {
            self.told_idle.store(now.as_nanos(), Relaxed);
        }
        is_news
    }

    /// The weight of what waits for its instance or is in its hands.
    pub(crate) fn load(&self) -> usize {
        self.admitted.load(Relaxed) + self.here.load(Relaxed)
    }

    /// Admits messages of another node, of that weight; its credits are their bound.
    pub(crate) fn admit_all(&self, weight: usize) {
        self.admitted.fetch_add(weight, SeqCst);
    }

    /// So much that was admitted is handled; the shards to ring, one bit each.
    pub(crate) fn release(&self, weight: usize) -> u64 {
        self.admitted.fetch_sub(weight, SeqCst);
        if self.waiting.load(SeqCst) == 0 {
            return 0;
        }
        self.waiting.swap(0, SeqCst)
    }

    /// Whether messages from other nodes find room.
    pub(crate) fn is_open(&self) -> bool {
        let admitted = self.admitted.load(SeqCst);
        self.is_closed() || self.opened.load(SeqCst) && admitted < self.capacity
    }

    /// Its instance has ended; the shards to ring, one bit each.
    pub(crate) fn close(&self) -> u64 {
        self.closed.store(true, SeqCst);
        self.waiting.swap(0, SeqCst)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// Its instance waits for the full inbox of another, or for none.
    pub(crate) fn set_waits_for(&self, other: Option<PhysicalId>) {
        *self
            .waits_for
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = other;
    }

    pub(crate) fn waits_for(&self) -> Option<PhysicalId> {
        *self
            .waits_for
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bit of a shard.
pub(crate) fn bit(shard: usize) -> u64 {
    1 << (shard % 64)
}

/// Longest cycle of full inboxes that is recognised.
const HOPS: usize = 256;

/// Whether `me`, who waits for `target`, waits for itself in the end. `next` says whom an instance
/// waits for.
pub(crate) fn is_cycle(
    me: PhysicalId,
    target: PhysicalId,
    next: impl Fn(PhysicalId) -> Option<PhysicalId>,
) -> bool {
    let mut at = target;
    for _ in 0..HOPS {
        if at == me {
            return true;
        }
        match next(at) {
            Some(further) => at = further,
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use uuid::Uuid;

    use super::*;

    fn pid(number: u128) -> PhysicalId {
        PhysicalId::new(Uuid::from_u128(number))
    }

    #[test]
    fn a_full_gate_rings_who_waits_once_there_is_room_again() {
        let gate = Gate::new(0, 4);
        assert!(!gate.admit(1, 1, 1) && !gate.is_open(), "not there yet");
        assert_eq!(gate.open(), bit(1));
        for _ in 0..4 {
            assert!(gate.admit(1, 1, 1));
        }
        assert!(!gate.admit(1, 1, 1) && !gate.is_open());
        assert!(gate.admit(1, 2, 1), "a cycle may go over the bound");
        assert_eq!(gate.release(1), bit(1));
        assert_eq!(gate.release(1), 0);
        assert!(gate.is_open());
    }

    #[test]
    fn a_cycle_is_only_what_leads_back_to_who_asks() {
        let waits = HashMap::from([(2, 3), (3, 2), (4, 5), (5, 6)]);
        let next = |at: PhysicalId| waits.get(&at.uuid().as_u128()).map(|&to| pid(to));
        assert!(is_cycle(pid(1), pid(1), next), "to itself");
        assert!(is_cycle(pid(2), pid(3), next));
        assert!(!is_cycle(pid(1), pid(2), next), "a cycle of others");
        assert!(!is_cycle(pid(1), pid(4), next), "a chain");
    }
}
