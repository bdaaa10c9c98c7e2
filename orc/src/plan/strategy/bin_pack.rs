//! `BinPack`: the fullest node that still fits, so that few nodes are used.

use edgeless_types::NodeId;
use rand::rngs::StdRng;

use super::{Order, ranked::Ranked};
use crate::plan::{Ask, NodeView};

/// Instances up to this number tell nodes with equal room apart.
const INSTANCES: u64 = 1 << 20;

/// Nodes by the processor time that is left, the least first; of equal ones that with the most instances.
#[derive(Debug, Default)]
pub(super) struct BinPack(Ranked);

impl Order for BinPack {
    fn put(&mut self, node: &NodeView<'_>) {
        let instances = (node.instances as u64).min(INSTANCES - 1);
        let rank = node.free.cpu_millis.min(u64::MAX / INSTANCES - 1) * INSTANCES;
        self.0.put(node.node_id, rank + (INSTANCES - 1 - instances));
    }

    fn rank(&mut self, node: &NodeView<'_>) {
        self.put(node);
    }

    fn remove(&mut self, node_id: NodeId) {
        self.0.remove(node_id);
    }

    fn next(
        &mut self,
        ask: Ask,
        _: &mut StdRng,
        accepts: &mut dyn FnMut(NodeId) -> bool,
    ) -> Option<NodeId> {
        // Nodes with less processor time left are not even looked at.
        let mut nodes = self.0.from(ask.cpu_millis.saturating_mul(INSTANCES));
        nodes.find(|&node_id| accepts(node_id))
    }

    fn any(&self, accepts: &mut dyn FnMut(NodeId) -> bool) -> bool {
        self.0.all().any(accepts)
    }
}
