//! Nodes by a number, the least first: what most strategies are.

use std::collections::BTreeSet;

use edgeless_types::NodeId;
use rand::rngs::StdRng;
use rustc_hash::FxHashMap;

use super::Order;
use crate::plan::{Ask, NodeView};

/// Nodes by rank; those of one rank by id.
#[derive(Debug)]
pub(super) struct Ranked {
    rank: fn(&NodeView<'_>) -> u64,
    /// Nodes of a lower rank than this cannot have what is asked for.
    least: fn(Ask) -> u64,
    ranks: FxHashMap<NodeId, u64>,
    order: BTreeSet<(u64, NodeId)>,
}

impl Ranked {
    /// No nodes, in the order of their ranks.
    pub(super) fn by(rank: fn(&NodeView<'_>) -> u64) -> Self {
        Self::by_room(rank, |_| 0)
    }

    /// The same, where the rank also says who has no room for what is asked for.
    pub(super) fn by_room(rank: fn(&NodeView<'_>) -> u64, least: fn(Ask) -> u64) -> Self {
        Self {
            rank,
            least,
            ranks: FxHashMap::default(),
            order: BTreeSet::new(),
        }
    }
}

impl Order for Ranked {
    fn put(&mut self, node: &NodeView<'_>) {
        let (node_id, rank) = (node.node_id, (self.rank)(node));
        match self.ranks.insert(node_id, rank) {
            Some(before) if before == rank => return,
            Some(before) => {
                self.order.remove(&(before, node_id));
            }
            None => {}
        }
        self.order.insert((rank, node_id));
    }

    fn rank(&mut self, node: &NodeView<'_>) {
        self.put(node);
    }

    fn remove(&mut self, node_id: NodeId) {
        if let Some(rank) = self.ranks.remove(&node_id) {
            self.order.remove(&(rank, node_id));
        }
    }

    fn next(
        &mut self,
        ask: Ask,
        _: &mut StdRng,
        accepts: &mut dyn FnMut(NodeId) -> bool,
    ) -> Option<NodeId> {
        let first = ((self.least)(ask), NodeId::new(uuid::Uuid::nil()));
        let mut nodes = self.order.range(first..).map(|&(_, node_id)| node_id);
        nodes.find(|&node_id| accepts(node_id))
    }

    fn any(&self, accepts: &mut dyn FnMut(NodeId) -> bool) -> bool {
        self.ranks.keys().copied().any(accepts)
    }
}
