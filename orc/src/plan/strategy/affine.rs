//! `Affine`: the node with the least measured transfer time. Nodes that have what an instance talks to
//! come before all others: the domain knows them.

use crate::plan::NodeView;

/// The mean transfer time of what the node handled lately, then the number of its instances.
pub(super) fn rank(node: &NodeView<'_>) -> u64 {
    // Times of one eighth of an octave are equal: noise moves nobody.
    let octave = 64 - node.transfer_nanos.leading_zeros();
    let eighth = (node.transfer_nanos >> octave.saturating_sub(4)) & 7;
    let instances = (node.instances as u64).min(u64::from(u32::MAX));
    ((u64::from(octave) * 8 + eighth) << 32) + instances
}
