//! How often nodes tell of what they do.

use std::time::Duration;

use edgeless_types::{NodeId, Timestamp};

use crate::domain::Domain;

/// A node that has told nothing for longer was away.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);

impl Domain {
    /// How long a node has said nothing before it says something now.
    pub(super) fn note_every(&mut self, node_id: NodeId, before: Timestamp) -> Duration {
        let every = self.now.since(before).min(LONGEST_SILENCE);
        if let Some(node) = self.nodes.get_mut(&node_id) {
            node.every = every.max(node.every.mul_f32(0.9) + every.mul_f32(0.1));
        }
        every
    }
}
