//! `RoundRobin`: one node after the other, in the order of their ids.

use std::{
    collections::BTreeSet,
    ops::Bound::{Excluded, Unbounded},
};

use edgeless_types::NodeId;
use rand::rngs::StdRng;

use super::Order;
use crate::plan::{Ask, NodeView};

#[derive(Debug, Default)]
pub(super) struct RoundRobin {
    nodes: BTreeSet<NodeId>,
    last: Option<NodeId>,
}

impl Order for RoundRobin {
    fn put(&mut self, node: &NodeView<'_>) {
        self.nodes.insert(node.node_id);
    }

    fn remove(&mut self, node_id: NodeId) {
        self.nodes.remove(&node_id);
    }

    fn next(
        &mut self,
        _: Ask,
        _: &mut StdRng,
        accepts: &mut dyn FnMut(NodeId) -> bool,
    ) -> Option<NodeId> {
        let after = self.last.map_or(Unbounded, Excluded);
        let rest = self.nodes.range((after, Unbounded));
        let mut round = rest.chain(&self.nodes).take(self.nodes.len()).copied();
        let next = round.find(|&node_id| accepts(node_id))?;
        self.last = Some(next);
        Some(next)
    }

    fn last(&self) -> Option<NodeId> {
        self.last
    }

    fn set_last(&mut self, last: Option<NodeId>) {
        self.last = last;
    }

    fn any(&self, accepts: &mut dyn FnMut(NodeId) -> bool) -> bool {
        self.nodes.iter().copied().any(accepts)
    }
}
