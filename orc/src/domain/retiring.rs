//! Copies that are replaced: each is stopped once nobody sends to it any more. Pure.

use std::collections::BTreeSet;

use edgeless_types::{LogicalId, PhysicalId, Timestamp};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::model::Instance;

/// A copy that is replaced.
#[derive(Clone, Debug)]
pub(super) struct Retired {
    pub(super) instance: Instance,
    pub(super) logical_id: LogicalId,
    /// Senders that have not confirmed their patch yet.
    senders: SmallVec<[PhysicalId; 2]>,
    /// When it is stopped at the latest; none: it does the work until its successor runs.
    due: Option<Timestamp>,
    /// Since when nobody sends to it any more, and it is waited for what it has to do.
    quiet: Option<Timestamp>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Retiring {
    copies: FxHashMap<PhysicalId, Retired>,
    /// Whose confirmation is waited for, and by which copies.
    expected: FxHashMap<PhysicalId, SmallVec<[PhysicalId; 2]>>,
    dues: BTreeSet<(Timestamp, PhysicalId)>,
}

impl Retiring {
    pub(super) fn contains(&self, physical_id: PhysicalId) -> bool {
        self.copies.contains_key(&physical_id)
    }

    pub(super) fn get(&self, physical_id: PhysicalId) -> Option<&Retired> {
        self.copies.get(&physical_id)
    }

    /// Whether a copy that is replaced does the work until its successor runs.
    pub(super) fn is_working(&self, physical_id: PhysicalId) -> bool {
        let copy = self.copies.get(&physical_id);
        copy.is_some_and(|it| it.due.is_none())
    }

    /// A copy is replaced, and works on until [`Self::senders_told`].
    pub(super) fn begin(&mut self, instance: Instance, logical_id: LogicalId) {
        self.copies.insert(
            instance.physical_id,
            Retired {
                instance,
                logical_id,
                senders: SmallVec::new(),
                due: None,
                quiet: None,
            },
        );
    }

    /// Its senders are told to send elsewhere: when all have confirmed it lingers until `linger`, and until
    /// `confirm` in any case.
    pub(super) fn senders_told(
        &mut self,
        physical_id: PhysicalId,
        senders: &[PhysicalId],
        linger: Timestamp,
        confirm: Timestamp,
    ) {
        self.forget_expected(physical_id);
        let Some(copy) = self.copies.get_mut(&physical_id) else {
            return;
        };
        copy.senders = senders.into();
        for &sender in senders {
            self.expected.entry(sender).or_default().push(physical_id);
        }
        let due = if senders.is_empty() { linger } else { confirm };
        self.set_due(physical_id, due);
    }

    /// A sender has confirmed, or is gone.
    pub(super) fn confirmed(&mut self, sender: PhysicalId, linger: Timestamp) {
        for physical_id in self.expected.remove(&sender).unwrap_or_default() {
            let Some(copy) = self.copies.get_mut(&physical_id) else {
                continue;
            };
            copy.senders.retain(|it| *it != sender);
            if copy.senders.is_empty() && copy.due.is_some_and(|due| due > linger) {
                self.set_due(physical_id, linger);
            }
        }
    }

    /// The next copy that is due. It stays one that is replaced until it has stopped.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<PhysicalId> {
        let &(due, physical_id) = self.dues.first()?;
        if due > now {
            return None;
        }
        self.dues.pop_first();
        Some(physical_id)
    }

    /// Whether a copy that is replaced, or goes, was not told to stop yet.
    pub(super) fn waits_for_its_stop(&self, physical_id: PhysicalId) -> bool {
        let due = self.copies.get(&physical_id).and_then(|it| it.due);
        due.is_some_and(|due| self.dues.contains(&(due, physical_id)))
    }

    /// A copy that was due still has something to do, as far as is known: it is due again then.
    pub(super) fn put_off(&mut self, physical_id: PhysicalId, now: Timestamp, due: Timestamp) {
        if let Some(copy) = self.copies.get_mut(&physical_id) {
            copy.quiet.get_or_insert(now);
            self.set_due(physical_id, due);
        }
    }

    /// Since when nobody sends to a copy any more; now, if that was not asked before.
    pub(super) fn quiet_since(&self, physical_id: PhysicalId, now: Timestamp) -> Timestamp {
        let copy = self.copies.get(&physical_id);
        copy.and_then(|it| it.quiet).unwrap_or(now)
    }

    /// It has stopped, or is not replaced after all.
    pub(super) fn remove(&mut self, physical_id: PhysicalId) -> Option<Retired> {
        self.forget_expected(physical_id);
        let copy = self.copies.remove(&physical_id)?;
        if let Some(due) = copy.due {
            self.dues.remove(&(due, physical_id));
        }
        Some(copy)
    }

    fn set_due(&mut self, physical_id: PhysicalId, due: Timestamp) {
        let Some(copy) = self.copies.get_mut(&physical_id) else {
            return;
        };
        if let Some(before) = copy.due.replace(due) {
            self.dues.remove(&(before, physical_id));
        }
        self.dues.insert((due, physical_id));
    }

    fn forget_expected(&mut self, physical_id: PhysicalId) {
        let Some(copy) = self.copies.get_mut(&physical_id) else {
            return;
        };
        for sender in std::mem::take(&mut copy.senders) {
            if let Some(waiting) = self.expected.get_mut(&sender) {
                waiting.retain(|it| *it != physical_id);
                if waiting.is_empty() {
                    self.expected.remove(&sender);
                }
            }
        }
    }
}

#[cfg(test)]
impl Retiring {
    /// Whether all indices say the same; what is replaced.
    pub(super) fn check(&self) -> BTreeSet<PhysicalId> {
        let mut expected = 0;
        for (physical_id, copy) in &self.copies {
            for sender in &copy.senders {
                assert!(self.expected[sender].contains(physical_id));
                expected += 1;
            }
        }
        let waiting = self.expected.values();
        assert!(waiting.clone().all(|it| !it.is_empty()));
        assert_eq!(waiting.map(SmallVec::len).sum::<usize>(), expected);
        for (due, physical_id) in &self.dues {
            assert_eq!(self.copies[physical_id].due, Some(*due));
        }
        self.copies.keys().copied().collect()
    }
}
