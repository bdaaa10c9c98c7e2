//! `Spread`: the node with the fewest instances. That copies of one function are apart is seen to
//! by the domain, which knows where they are.

use crate::plan::NodeView;

/// The number of its instances.
pub(super) fn rank(node: &NodeView<'_>) -> u64 {
    node.instances as u64
}
