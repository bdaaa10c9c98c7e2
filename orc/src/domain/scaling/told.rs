//! How often nodes tell of what they do.

use std::time::Duration;

use edgeless_types::{NodeId, Timestamp};

use crate::domain::{Domain, model::VertexKey};

/// A node that has told nothing for longer was away.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);
/// For so long it is remembered how rarely a node told of what it does.
const REMEMBERED: Duration = Duration::from_secs(10);

impl Domain {
    /// Until when is known what the copies of a function did: their nodes say it now and then. None: it has no copies.
    pub(super) fn heard_until(&self, key: VertexKey) -> Option<Timestamp> {
        let replicas = self.model.vertex(key).replicas.iter();
        let running = replicas.filter_map(|it| self.model.replica(*it).running());
        let nodes = running.filter_map(|it| self.nodes.get(&it.node_id));
        nodes.map(|it| it.last_update).min()
    }

    /// How long a node has said nothing before it says something now.
    pub(super) fn note_every(&mut self, node_id: NodeId, before: Timestamp) -> Duration {
        let every = self.now.since(before).min(LONGEST_SILENCE);
        if let Some(node) = self.nodes.get_mut(&node_id) {
            // What is told early, because it is urgent, says little of how often the node tells.
            let share = (every.as_secs_f32() / REMEMBERED.as_secs_f32()).min(1.0);
            let mean = node.every.mul_f32(1.0 - share) + every.mul_f32(share);
            node.every = every.max(mean);
        }
        every
    }
}
