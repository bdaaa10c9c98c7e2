//! `Spread`: the node with the fewest instances. That copies of one function are apart is seen to
//! by the domain, which knows where they are.

use edgeless_types::NodeId;
use rand::rngs::StdRng;

use super::{Order, ranked::Ranked};
use crate::plan::{Ask, NodeView};

/// Nodes by the number of their instances.
#[derive(Debug, Default)]
pub(super) struct Spread(Ranked);

impl Order for Spread {
    fn put(&mut self, node: &NodeView<'_>) {
        self.0.put(node.node_id, node.instances as u64);
    }

    fn rank(&mut self, node: &NodeView<'_>) {
        self.put(node);
    }

    fn remove(&mut self, node_id: NodeId) {
        self.0.remove(node_id);
    }

    fn next(
        &mut self,
        _: Ask,
        _: &mut StdRng,
        accepts: &mut dyn FnMut(NodeId) -> bool,
    ) -> Option<NodeId> {
        self.0.from(0).find(|&node_id| accepts(node_id))
    }

    fn any(&self, accepts: &mut dyn FnMut(NodeId) -> bool) -> bool {
        self.0.all().any(accepts)
    }
}
