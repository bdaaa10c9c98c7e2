//! How long copies took to start: from the decision to the row of the mapping that has them.

use std::collections::VecDeque;

use edgeless_types::Timestamp;

/// Starts of one function that are waited for.
const MOST_PENDING: usize = 1_024;
/// What took longer waited for a node, not for its start: ten minutes.
const LONGEST_NANOS: u64 = 600_000_000_000;

/// The starts of one function.
#[derive(Debug, Default)]
pub(super) struct Starts {
    /// When, and the number of copies before and from then on.
    decisions: VecDeque<(Timestamp, u32, u32)>,
    /// Whether a policy decides about it.
    is_scaled: bool,
    /// When the copies were decided that do not run yet.
    pending: VecDeque<Timestamp>,
    /// Whether the mapping has a row of it.
    is_placed: bool,
}

impl Starts {
    pub(super) fn decided(&mut self, at: Timestamp, before: u32, copies: u32) {
        self.is_scaled = true;
        self.decisions.push_back((at, before, copies));
    }

    /// So many new copies run; `took` gets the nanoseconds of each start that was decided. Copies that come without a
    /// decision, for those that were moved or lost, do not count.
    pub(super) fn placed(
        &mut self,
        at: Timestamp,
        new: usize,
        is_nowhere: bool,
        mut took: impl FnMut(u64),
    ) {
        while let Some(&(decided, before, copies)) = self.decisions.front()
            && decided <= at
        {
            self.decisions.pop_front();
            for _ in before..copies.min(before.saturating_add(MOST_PENDING as u32)) {
                self.pending.push_back(decided);
            }
            self.pending.truncate(MOST_PENDING);
            let fewer = before.saturating_sub(copies) as usize;
            let left = self.pending.len().saturating_sub(fewer);
            self.pending.truncate(left);
        }
        // The first row of a vertex says that it is desired and runs nowhere yet.
        if !self.is_placed && is_nowhere && !self.is_scaled {
            self.pending.push_back(at);
        }
        self.is_placed = true;
        for _ in 0..new {
            let Some(decided) = self.pending.pop_front() else {
                return;
            };
            // Rows may go back in time, by the clock of a machine that was set.
            let nanos = at.as_nanos().saturating_sub(decided.as_nanos());
            if nanos <= LONGEST_NANOS {
                took(nanos);
            }
        }
    }
}
