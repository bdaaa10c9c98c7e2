//! `LeastLoaded`: the node with the least reported load, used memory and instances.

use edgeless_types::NodeId;
use rand::rngs::StdRng;

use super::{Order, ranked::Ranked};
use crate::plan::{Ask, NodeView};

#[derive(Debug, Default)]
pub(super) struct LeastLoaded(Ranked);

impl Order for LeastLoaded {
    fn put(&mut self, node: &NodeView<'_>) {
        self.0.put(node.node_id, load(node));
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

/// Load per core, plus the share of memory in use, plus a tenth for each instance per core: what was placed
/// since the last report counts, though it does not show in the load yet. In thousandths.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to integer saturates, and none of the parts is negative"
)]
fn load(node: &NodeView<'_>) -> u64 {
    let cores = f64::from(node.capabilities.num_cores.max(1));
    let (mut load, mut memory) = (0.0, 0.0);
    if let Some(health) = node.health {
        load = f64::from(health.load_avg_1) / 100.0 / cores;
        let total = f64::from(node.capabilities.mem_size.max(1));
        memory = 1.0 - (health.mem_available as f64 / total).clamp(0.0, 1.0);
    }
    let sum = load + memory + 0.1 * node.instances as f64 / cores;
    (sum * 1_000.0) as u64
}
