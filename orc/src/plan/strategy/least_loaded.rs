//! `LeastLoaded`: the node with the least reported load, used memory and instances.

use crate::plan::NodeView;

/// Load per core, plus the share of memory in use, plus a tenth for each instance per core: what was placed
/// since the last report counts, though it does not show in the load yet. In thousandths.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to integer saturates, and none of the parts is negative"
)]
pub(super) fn rank(node: &NodeView<'_>) -> u64 {
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
