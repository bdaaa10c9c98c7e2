//! Which updates of nodes come late or again: counted, nothing more. The domain ignores them by itself.

use std::collections::HashMap;

use edgeless_types::NodeId;

use crate::domain::NodeUpdate;

/// More nodes than this are not remembered.
const NODES: usize = 1 << 20;

/// Of each node its life, and the newest update of it.
#[derive(Debug, Default)]
pub(crate) struct Lives(HashMap<NodeId, (u64, u64)>);

impl Lives {
    /// Whether an update is not newer than the last of its life; it is remembered.
    pub(crate) fn is_late(&mut self, update: &NodeUpdate) -> bool {
        let now = (update.nonce, update.sequence);
        if let Some(last) = self.0.get_mut(&update.node_id) {
            if last.0 == now.0 && last.1 >= now.1 {
                return true;
            }
            *last = now;
        } else if self.0.len() < NODES {
            self.0.insert(update.node_id, now);
        }
        false
    }

    /// A node is gone.
    pub(crate) fn forget(&mut self, node_id: NodeId) {
        self.0.remove(&node_id);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;

    #[test]
    fn late_is_what_is_not_newer_in_the_same_life() {
        let mut lives = Lives::default();
        let node_id = NodeId::new(Uuid::from_u128(1));
        let mut late = |nonce, sequence| {
            lives.is_late(&NodeUpdate {
                node_id,
                nonce,
                sequence,
                refresh_deadline: Duration::from_secs(1),
                profile: None,
                health: None,
                samples: None,
                running: None,
                started: Vec::new(),
                stopped: Vec::new(),
                failures: Vec::new(),
                states: Vec::new(),
                demand: Vec::new(),
                backlog: Vec::new(),
                leaving: false,
            })
        };
        assert_eq!(
            [late(1, 1), late(1, 2), late(1, 2), late(1, 1)],
            [false, false, true, true]
        );
        assert!(!late(2, 1), "a new life counts anew");
        lives.forget(node_id);
    }
}
