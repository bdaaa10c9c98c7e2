//! `LeastLoaded`: the node with the least reported load, used memory and instances.

use edgeless_types::NodeId;
use rand::rngs::StdRng;

use super::Strategy;
use crate::plan::NodeView;

pub(super) struct LeastLoaded;

impl Strategy for LeastLoaded {
    fn choose(&mut self, feasible: &[NodeView<'_>], _: &mut StdRng) -> NodeId {
        let least = feasible.iter().min_by(|a, b| load(a).total_cmp(&load(b)));
        least.unwrap_or(&feasible[0]).node_id
    }
}

/// Load per core, plus the share of memory in use, plus a tenth for each instance per core: what
/// was placed since the last report counts, though it does not show in the load yet.
fn load(node: &NodeView<'_>) -> f64 {
    let cores = f64::from(node.capabilities.num_cores.max(1));
    let (mut load, mut memory) = (0.0, 0.0);
    if let Some(health) = node.health {
        load = f64::from(health.load_avg_1) / 100.0 / cores;
        let total = f64::from(node.capabilities.mem_size.max(1));
        memory = 1.0 - (health.mem_available as f64 / total).clamp(0.0, 1.0);
    }
    load + memory + 0.1 * node.instances as f64 / cores
}
