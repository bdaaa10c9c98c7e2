//! Choices on trial: what is chosen and taken between [`Fleet::begin_trial`] and [`Fleet::end_trial`], and
//! given back before the end, has no influence on what is chosen later.

use edgeless_types::NodeId;
use rustc_hash::FxHashMap;

use super::Fleet;

/// What choices leave behind, as it was before.
#[derive(Debug)]
pub struct Trial {
    /// The kinds that had a pool, and whose turn it was in it last.
    turns: FxHashMap<usize, Option<NodeId>>,
    opened: usize,
}

impl Fleet {
    /// From here on until the end nothing counts.
    pub fn begin_trial(&self) -> Trial {
        let pools = self
            .kinds
            .iter()
            .filter_map(|(slot, known)| Some((slot, known.pool.as_ref()?.last())));
        Trial {
            turns: pools.collect(),
            opened: self.opened.len(),
        }
    }

    /// From here on choices count again. What was taken has been given back, and kinds have been left.
    pub fn end_trial(&mut self, trial: &Trial) {
        for (slot, known) in &mut self.kinds {
            match (trial.turns.get(&slot), &mut known.pool) {
                (Some(last), Some(pool)) => pool.set_last(*last),
                // Made later, it has its nodes in the order that they have then.
                (None, pool) => *pool = None,
                (Some(_), None) => {}
            }
        }
        self.opened.truncate(trial.opened);
    }
}
