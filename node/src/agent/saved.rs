//! What instances had saved when they were stopped, until ε-ORC has it: the answer of their stop may be lost. Pure.

use std::collections::VecDeque;

use bytes::Bytes;
use edgeless_types::{PhysicalId, STATE_BYTES};

/// So many are kept, and so many bytes of them; the oldest go first.
const MAX: usize = 4_096;
const MAX_BYTES: usize = 32 << 20;

/// All of them, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Saved {
    kept: VecDeque<(PhysicalId, Bytes)>,
    bytes: usize,
    /// So many of the first go with an update that is not acknowledged yet.
    told: usize,
}

impl Saved {
    /// An instance has stopped, and had saved this.
    pub(super) fn keep(&mut self, physical_id: PhysicalId, state: Bytes) {
        if state.len() > STATE_BYTES {
            return;
        }
        self.bytes += state.len();
        self.kept.push_back((physical_id, state));
        while self.kept.len() > MAX || self.bytes > MAX_BYTES {
            if self.told == 0
                && let Some((physical_id, _)) = self.kept.front()
            {
                tracing::warn!(%physical_id, "too much was saved by what has stopped: a state is forgotten");
            }
            self.forget_first();
        }
    }

    /// What this instance had saved; none: nothing, or ε-ORC has it.
    pub(super) fn of(&self, physical_id: PhysicalId) -> Option<Bytes> {
        let mut kept = self.kept.iter();
        let found = kept.find(|(it, _)| *it == physical_id);
        found.map(|(_, state)| state.clone())
    }

    /// What has not gone with an update before goes with the next.
    pub(super) fn tell(&mut self) -> Vec<(PhysicalId, Bytes)> {
        let untold = self.kept.iter().skip(self.told).cloned().collect();
        self.told = self.kept.len();
        untold
    }

    /// ε-ORC has everything that was told.
    pub(super) fn acknowledged(&mut self) {
        while self.told > 0 {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        self.told = self.told.saturating_sub(1);
        if let Some((_, state)) = self.kept.pop_front() {
            self.bytes -= state.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn pid(id: usize) -> PhysicalId {
        PhysicalId::new(Uuid::from_u128(id as u128))
    }

    #[test]
    fn a_state_is_kept_until_it_was_told_and_that_is_acknowledged() {
        let (mut saved, state) = (Saved::default(), Bytes::from_static(b"x"));
        saved.keep(pid(1), state.clone());
        saved.acknowledged();
        assert_eq!(saved.tell(), [(pid(1), state.clone())]);
        saved.keep(pid(2), state.clone());
        assert_eq!(saved.of(pid(1)), Some(state.clone()));
        saved.acknowledged();
        assert_eq!(
            (saved.of(pid(1)), saved.of(pid(2))),
            (None, Some(state.clone()))
        );
        assert_eq!(saved.tell(), [(pid(2), state)]);
        saved.acknowledged();
        assert_eq!((saved.kept.len(), saved.bytes), (0, 0));
    }

    #[test]
    fn so_many_and_so_large_states_are_kept() {
        let mut saved = Saved::default();
        for id in 0..=MAX {
            saved.keep(pid(id), Bytes::new());
        }
        assert_eq!((saved.kept.len(), saved.of(pid(0))), (MAX, None));
        assert_eq!(saved.tell().len(), MAX);
        let long = Bytes::from(vec![0; STATE_BYTES]);
        for id in MAX + 1..MAX + 40 {
            saved.keep(pid(id), long.clone());
        }
        saved.keep(pid(MAX + 40), Bytes::from(vec![0; STATE_BYTES + 1]));
        assert_eq!((saved.kept.len(), saved.told), (MAX_BYTES / STATE_BYTES, 0));
        assert_eq!(saved.tell().last(), Some(&(pid(MAX + 39), long)));
    }
}
