//! What operators and delegated orchestrators ask for.

use edgeless_types::{NodeId, Timestamp, intent::Intent};

use super::{Domain, Effect, Refusal};

impl Domain {
    /// Carries out an intent.
    ///
    /// # Errors
    /// It names what is not known, or asks for what is not feasible.
    pub fn on_intent(
        &mut self,
        intent: Intent,
        now: Timestamp,
    ) -> (Result<(), Refusal>, Vec<Effect>) {
        self.set_now(now);
        let outcome = match intent {
            Intent::Migrate {
                logical_id,
                node_id,
            } => self.migrate(logical_id, node_id),
            Intent::Cordon { node_id } => self.known(node_id).map(|()| {
                self.cordoned.insert(node_id);
                self.recheck_closed(node_id);
            }),
            Intent::Uncordon { node_id } => self.can_be_freed(node_id).map(|()| {
                self.absences.forget(node_id);
                self.cordoned.remove(&node_id);
                self.to_drain.remove(&node_id);
                if self.nodes.get(&node_id).is_some_and(|it| !it.leaving) {
                    self.drains.remove(&node_id);
                }
                self.recheck_closed(node_id);
            }),
            Intent::Rebalance => self.rebalance(usize::MAX),
            Intent::Drain { node_id } => self.known(node_id).map(|()| {
                self.cordoned.insert(node_id);
                self.to_drain.insert(node_id);
                self.recheck_closed(node_id);
                self.begin_drain(node_id);
            }),
        };
        (outcome, self.finish())
    }

    /// A node that never comes back can be given up as well.
    fn can_be_freed(&self, node_id: NodeId) -> Result<(), Refusal> {
        match self.remembers_node(node_id) {
            true => Ok(()),
            false => Err(Refusal::UnknownNode(node_id)),
        }
    }

    pub(super) fn known(&self, node_id: NodeId) -> Result<(), Refusal> {
        if self.nodes.contains_key(&node_id) {
            return Ok(());
        }
        Err(Refusal::UnknownNode(node_id))
    }
}
