//! Keeps what ε-CON decided earlier from overriding what it decided later: pure.
//!
//! A call may be late: it was sent before the domain was cut off, or by a life of ε-CON that is gone.
//! What it asks for may be elsewhere by now. The last reconciliation said everything that is desired,
//! so whatever is older is refused.

use edgeless_types::Epoch;

/// The decision of which nothing older is carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    last: Epoch,
}

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
    /// Lets a call through unless it is older. The first of a new life of ε-CON ends all before it.
    ///
    /// # Errors
    /// It is older.
    pub fn admit(&mut self, epoch: Epoch) -> Result<(), Overtaken> {
        let last = self.last;
        if epoch < last {
            return Err(Overtaken { epoch, last });
        }
        if epoch.life > last.life {
            self.reset(epoch.life);
        }
        Ok(())
    }

    /// Everything that is desired was said: nothing older is of use.
    ///
    /// # Errors
    /// It is older itself.
    pub fn admit_all(&mut self, epoch: Epoch) -> Result<(), Overtaken> {
        self.admit(epoch)?;
        self.last = epoch;
        Ok(())
    }

    /// The domain enters the cluster of an ε-CON in this life, whatever was before.
    pub fn reset(&mut self, life: u64) {
        self.last = Epoch { life, sequence: 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(life: u64, sequence: u64) -> Epoch {
        Epoch { life, sequence }
    }

    #[test]
    fn starts_may_overtake_one_another_but_not_a_reconciliation() {
        let mut fence = Fence::default();
        fence.admit(epoch(1, 3)).unwrap();
        fence.admit(epoch(1, 2)).unwrap();
        fence.admit_all(epoch(1, 5)).unwrap();
        let late = fence.admit(epoch(1, 4)).unwrap_err();
        assert_eq!((late.epoch, late.last), (epoch(1, 4), epoch(1, 5)));
        fence.admit(epoch(1, 6)).unwrap();
        fence.admit_all(epoch(1, 4)).unwrap_err();
        fence.admit_all(epoch(1, 5)).unwrap();
    }

    #[test]
    fn a_life_ends_with_the_first_call_of_the_next() {
        let mut fence = Fence::default();
        fence.admit_all(epoch(1, 9)).unwrap();
        fence.admit(epoch(2, 1)).unwrap();
        fence.admit(epoch(1, 10)).unwrap_err();
        fence.admit_all(epoch(1, 11)).unwrap_err();
    }

    #[test]
    fn a_domain_that_is_reset_serves_the_cluster_it_enters() {
        let mut fence = Fence::default();
        fence.admit_all(epoch(7, 9)).unwrap();
        fence.reset(3);
        fence.admit(epoch(3, 1)).unwrap();
    }
}
