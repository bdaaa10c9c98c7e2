//! `Affine`: the node with the least measured transfer time. Nodes that have what an instance talks to
//! come before all others: the domain knows them.

use edgeless_types::NodeId;
use rand::rngs::StdRng;

use super::{Order, ranked::Ranked};
use crate::plan::{Ask, NodeView};

/// Nodes by the mean transfer time of what they handled lately, then by the number of their instances.
#[derive(Debug, Default)]
pub(super) struct Affine(Ranked);

impl Order for Affine {
    fn put(&mut self, node: &NodeView<'_>) {
        // Times of one eighth of an octave are equal: noise moves nobody.
        let octave = 64 - node.transfer_nanos.leading_zeros();
        let eighth = (node.transfer_nanos >> octave.saturating_sub(4)) & 7;
        let rank = (u64::from(octave) * 8 + eighth) << 32;
        let instances = (node.instances as u64).min(u64::from(u32::MAX));
        self.0.put(node.node_id, rank + instances);
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
