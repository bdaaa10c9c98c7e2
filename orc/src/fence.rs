//! Keeps what ε-CON decided earlier from overriding what it decided later: pure.
//!
//! A call may be late, or come twice: it was sent before the domain was cut off, or by a life of ε-CON that is gone,
//! or a newer one about the same vertex was quicker. The last reconciliation said everything that is desired, so
//! whatever is older is refused. What came after it is known by vertex: an order has no effect on a vertex of which
//! something newer was decided.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use edgeless_types::{Epoch, LogicalId};

/// Orders about single vertices that are known; what is older than one that had to be forgotten is refused.
const KEPT: usize = 65_536;

/// The decisions of which nothing older is carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    last: Epoch,
    /// The newest order about a vertex, of those that came after the last reconciliation.
    newest: BTreeMap<LogicalId, Epoch>,
    /// The same as they came, and before them some that were the newest of their vertex once.
    came: VecDeque<(LogicalId, Epoch)>,
}

/// Vertices of which something newer was decided than what an order says.
pub type Newer = BTreeSet<LogicalId>;

/// A call comes of a decision that is older than one that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("decision {epoch} of ε-CON is older than decision {last}, which is carried out")]
pub struct Overtaken {
    /// That of the call.
    pub epoch: Epoch,
    /// The newer one.
    pub last: Epoch,
}

impl Fence {
    /// Lets an order about vertices through unless it is older than the last reconciliation; those that are
    /// given back are to be left as they are. The first of a new life of ε-CON ends all before it.
    ///
    /// # Errors
    /// It is older.
    pub fn admit(
        &mut self,
        epoch: Epoch,
        logical_ids: impl IntoIterator<Item = LogicalId>,
    ) -> Result<Newer, Overtaken> {
        self.check(epoch)?;
        let mut newer = Newer::new();
        for logical_id in logical_ids {
            let known = self.newest.get(&logical_id);
            if known.is_some_and(|known| *known > epoch) {
                newer.insert(logical_id);
            } else if known != Some(&epoch) {
                self.newest.insert(logical_id, epoch);
                self.came.push_back((logical_id, epoch));
            }
        }
        while self.came.len() > KEPT {
            self.forget_first();
        }
        Ok(newer)
    }

    /// Everything that is desired was said: nothing older is of use. The vertices that are given back are to be left
    /// as they are.
    ///
    /// # Errors
    /// It is older itself.
    pub fn admit_all(&mut self, epoch: Epoch) -> Result<Newer, Overtaken> {
        self.check(epoch)?;
        self.last = epoch;
        self.newest.retain(|_, known| *known > epoch);
        self.came.retain(|(_, known)| *known > epoch);
        Ok(self.newest.keys().copied().collect())
    }

    /// The domain enters the cluster of an ε-CON in this life, whatever was before.
    pub fn reset(&mut self, life: u64) {
        *self = Self {
            last: Epoch { life, sequence: 0 },
            ..Self::default()
        };
    }

    fn check(&mut self, epoch: Epoch) -> Result<(), Overtaken> {
        let last = self.last;
        if epoch < last {
            return Err(Overtaken { epoch, last });
        }
        if epoch.life > last.life {
            self.reset(epoch.life);
        }
        Ok(())
    }

    fn forget_first(&mut self) {
        if let Some((logical_id, epoch)) = self.came.pop_front()
            && self.newest.get(&logical_id) == Some(&epoch)
        {
            self.newest.remove(&logical_id);
            self.last = self.last.max(epoch);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const NONE: [LogicalId; 0] = [];

    fn epoch(life: u64, sequence: u64) -> Epoch {
        Epoch { life, sequence }
    }

    fn id(number: usize) -> LogicalId {
        LogicalId::new(Uuid::from_u128(number as u128))
    }

    #[test]
    fn an_order_may_overtake_others_but_not_a_reconciliation() {
        let mut fence = Fence::default();
        fence.admit(epoch(1, 3), NONE).unwrap();
        fence.admit(epoch(1, 2), NONE).unwrap();
        fence.admit_all(epoch(1, 5)).unwrap();
        let late = fence.admit(epoch(1, 4), NONE).unwrap_err();
        assert_eq!((late.epoch, late.last), (epoch(1, 4), epoch(1, 5)));
        fence.admit(epoch(1, 6), NONE).unwrap();
        fence.admit_all(epoch(1, 4)).unwrap_err();
        fence.admit_all(epoch(1, 5)).unwrap();
    }

    #[test]
    fn a_vertex_is_left_as_its_newest_order_says() {
        let mut fence = Fence::default();
        assert_eq!(fence.admit(epoch(1, 7), [id(1)]), Ok(Newer::new()));
        let late = fence.admit(epoch(1, 6), [id(1), id(2)]);
        assert_eq!(late, Ok(Newer::from([id(1)])));
        let again = fence.admit(epoch(1, 7), [id(1)]);
        assert_eq!(again, Ok(Newer::new()), "the same once more does no harm");
        let older = fence.admit(epoch(1, 5), [id(2)]);
        assert_eq!(older, Ok(Newer::from([id(2)])));
    }

    #[test]
    fn a_reconciliation_ends_what_is_older_and_leaves_what_is_newer() {
        let mut fence = Fence::default();
        fence.admit(epoch(1, 4), [id(1)]).unwrap();
        fence.admit(epoch(1, 6), [id(2)]).unwrap();
        assert_eq!(fence.admit_all(epoch(1, 5)), Ok(Newer::from([id(2)])));
        fence.admit(epoch(1, 7), [id(1)]).unwrap();
        let again = fence.admit_all(epoch(1, 5));
        assert_eq!(again, Ok(Newer::from([id(1), id(2)])));
        assert_eq!(fence.admit_all(epoch(1, 8)), Ok(Newer::new()));
        assert_eq!((fence.newest.len(), fence.came.len()), (0, 0));
    }

    #[test]
    fn what_is_older_than_something_forgotten_is_refused() {
        let mut fence = Fence::default();
        fence.admit(epoch(1, 8), [id(0)]).unwrap();
        fence.admit(epoch(1, 9), (1..=KEPT).map(id)).unwrap();
        assert_eq!((fence.newest.len(), fence.came.len()), (KEPT, KEPT));
        fence.admit(epoch(1, 7), [id(KEPT + 1)]).unwrap_err();
        fence.admit(epoch(1, 8), NONE).unwrap();
    }

    #[test]
    fn a_life_ends_with_the_first_call_of_the_next() {
        let mut fence = Fence::default();
        fence.admit_all(epoch(1, 9)).unwrap();
        fence.admit(epoch(1, 10), [id(1)]).unwrap();
        assert_eq!(fence.admit(epoch(2, 1), [id(1)]), Ok(Newer::new()));
        fence.admit(epoch(1, 10), NONE).unwrap_err();
        fence.admit_all(epoch(1, 11)).unwrap_err();
    }

    #[test]
    fn a_domain_that_is_reset_serves_the_cluster_it_enters() {
        let mut fence = Fence::default();
        fence.admit_all(epoch(7, 9)).unwrap();
        fence.reset(3);
        fence.admit(epoch(3, 1), NONE).unwrap();
    }
}
