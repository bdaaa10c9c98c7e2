//! `BinPack`: the fullest node that still fits, so that few nodes are used.

use crate::plan::{Ask, NodeView};

/// Instances up to this number tell nodes with equal room apart.
const INSTANCES: u64 = 1 << 20;

/// The processor time that is left, the least first; of equal ones that with the most instances.
pub(super) fn rank(node: &NodeView<'_>) -> u64 {
    let instances = (node.instances as u64).min(INSTANCES - 1);
    let room = node.free.cpu_millis.min(u64::MAX / INSTANCES - 1) * INSTANCES;
    room + (INSTANCES - 1 - instances)
}

/// Nodes with less processor time left are not even looked at.
pub(super) fn least(ask: Ask) -> u64 {
    ask.cpu_millis.saturating_mul(INSTANCES)
}
