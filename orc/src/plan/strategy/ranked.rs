//! Nodes by a number, the least first.

use std::collections::BTreeSet;

use edgeless_types::NodeId;
use rustc_hash::FxHashMap;

/// Nodes by rank; those of one rank by id.
#[derive(Debug, Default)]
pub(super) struct Ranked {
    ranks: FxHashMap<NodeId, u64>,
    order: BTreeSet<(u64, NodeId)>,
}

impl Ranked {
    pub(super) fn put(&mut self, node_id: NodeId, rank: u64) {
        match self.ranks.insert(node_id, rank) {
            Some(before) if before == rank => return,
            Some(before) => {
                self.order.remove(&(before, node_id));
            }
            None => {}
        }
        self.order.insert((rank, node_id));
    }

    pub(super) fn remove(&mut self, node_id: NodeId) {
        if let Some(rank) = self.ranks.remove(&node_id) {
            self.order.remove(&(rank, node_id));
        }
    }

    /// Nodes of at least that rank, in their order.
    pub(super) fn from(&self, rank: u64) -> impl Iterator<Item = NodeId> {
        let least = NodeId::new(uuid::Uuid::nil());
        self.order
            .range((rank, least)..)
            .map(|&(_, node_id)| node_id)
    }

    /// All nodes, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = NodeId> {
        self.ranks.keys().copied()
    }
}
