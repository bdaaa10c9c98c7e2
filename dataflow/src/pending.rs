//! Calls that wait for their answers, with deadlines.

use std::collections::BTreeSet;

use edgeless_types::Timestamp;
use rustc_hash::FxHashMap;

/// Calls by the sequence number of their message, each with what to do with its answer.
#[derive(Debug)]
pub(crate) struct Pending<T> {
    calls: FxHashMap<u64, (Timestamp, T)>,
    deadlines: BTreeSet<(Timestamp, u64)>,
}

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self {
            calls: FxHashMap::default(),
            deadlines: BTreeSet::new(),
        }
    }
}

impl<T> Pending<T> {
    /// Remembers a call until its answer or its deadline.
    pub(crate) fn insert(&mut self, sequence: u64, deadline: Timestamp, waiter: T) {
        self.calls.insert(sequence, (deadline, waiter));
        self.deadlines.insert((deadline, sequence));
    }

    /// The answer is here: who waits for it? None when nobody does (any more).
    pub(crate) fn answered(&mut self, sequence: u64) -> Option<T> {
        let (deadline, waiter) = self.calls.remove(&sequence)?;
        self.deadlines.remove(&(deadline, sequence));
        Some(waiter)
    }

    /// One call whose deadline has passed, if any.
    pub(crate) fn expired(&mut self, now: Timestamp) -> Option<T> {
        let &(deadline, sequence) = self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        self.deadlines.pop_first();
        self.calls.remove(&sequence).map(|(_, waiter)| waiter)
    }

    /// The next deadline.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_ends_once_by_answer_or_deadline() {
        let at = Timestamp::from_nanos;
        let mut pending = Pending::default();
        pending.insert(1, at(10), "a");
        pending.insert(2, at(5), "b");
        assert_eq!(pending.next_deadline(), Some(at(5)));
        assert_eq!(pending.expired(at(4)), None);
        assert_eq!(pending.expired(at(5)), Some("b"));
        assert_eq!(pending.answered(2), None);
        assert_eq!(pending.answered(1), Some("a"));
        assert_eq!(pending.expired(at(100)), None);
    }
}
