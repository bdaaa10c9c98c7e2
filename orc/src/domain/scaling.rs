//! How many copies there are: functions without any come back when somebody wants them.

use edgeless_types::{LogicalId, NodeId};

use super::Domain;

impl Domain {
    /// Functions that have no copy, and for which something waits on a node, get one.
    pub(super) fn wake_wanted(&mut self, node_id: NodeId) {
        let Some(node) = self.nodes.get(&node_id) else {
            return;
        };
        let targets = node.demand.iter().filter_map(|it| self.target_of(it));
        let asleep = |it: &LogicalId| {
            let key = self.model.key_of(*it);
            key.is_some_and(|key| self.copies_of(key) == 0)
        };
        let wanted: Vec<LogicalId> = targets.filter(asleep).collect();
        for logical_id in wanted {
            tracing::debug!(%logical_id, "a function without copies is wanted");
            self.scale(logical_id, 1);
        }
    }
}
