//! Nodes that have more than they have room for: what they ran when ε-ORC was started again, or before they became
//! smaller. One copy at a time leaves, the least priority first, if it fits elsewhere; what fits nowhere stays.

use std::{cmp::Reverse, collections::BTreeSet, time::Duration};

use edgeless_types::{NodeId, Timestamp};

use super::{
    Domain,
    model::{Phase, ReplicaKey},
    moves::Move,
};
use crate::plan::Ask;

/// Between two copies that leave a node.
const RETRY: Duration = Duration::from_secs(1);

/// Which nodes these are.
#[derive(Debug, Default)]
pub(super) struct Overfull {
    nodes: BTreeSet<NodeId>,
    tried: Timestamp,
}

impl Overfull {
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }
}

impl Domain {
    /// A node has got something that nobody placed there, or has become another.
    pub(super) fn note_if_overfull(&mut self, node_id: NodeId) {
        if self.fleet.excess(node_id) != Ask::default() && self.overfull.nodes.insert(node_id) {
            tracing::warn!(%node_id, "a node has more than it has room for: some of it goes elsewhere if it can");
        }
    }

    /// From time to time one copy leaves each of these nodes.
    pub(super) fn relieve_overfull(&mut self) {
        if self.overfull.nodes.is_empty() || self.now < self.overfull.tried + RETRY {
            return;
        }
        self.overfull.tried = self.now;
        let (nodes, fleet) = (&self.nodes, &self.fleet);
        let is_overfull =
            |it: &NodeId| nodes.contains_key(it) && fleet.excess(*it) != Ask::default();
        self.overfull.nodes.retain(is_overfull);
        for node_id in self.overfull.nodes.clone() {
            self.relieve(node_id);
        }
    }

    fn relieve(&mut self, node_id: NodeId) {
        for key in self.who_may_leave(node_id) {
            if self.move_away(key, None) == Move::Begun {
                tracing::info!(%node_id, "a copy leaves a node that has no room for it");
                return;
            }
        }
    }

    /// Copies that ask for something of which there is too little, the least priority first and of one priority the largest; none while one is
    /// about to leave.
    fn who_may_leave(&self, node_id: NodeId) -> Vec<ReplicaKey> {
        let Some(node) = self.nodes.get(&node_id) else {
            return Vec::new();
        };
        let excess = self.fleet.excess(node_id);
        let mut all = Vec::new();
        for (&physical_id, &class) in &node.instances {
            if self.retiring.contains(physical_id) {
                return Vec::new();
            }
            let Some(key) = self.model.replica_of(physical_id) else {
                continue;
            };
            let instance = self.model.replica(key).instance;
            let runs = instance
                .is_some_and(|it| it.physical_id == physical_id && it.phase == Phase::Running);
            let vertex = self.model.vertex(self.model.replica(key).vertex);
            let class = self.model.class(class);
            if runs && vertex.update.is_none() && class.ask.overlaps(excess) {
                all.push((class.requirements.priority, Reverse(class.ask), key));
            }
        }
        all.sort_unstable();
        all.into_iter().map(|(_, _, key)| key).collect()
    }
}
