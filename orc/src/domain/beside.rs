//! What brings tasks to a function runs beside it: an `order-source` on another node costs each task two
//! messages between nodes more.

use edgeless_types::{NodeId, resource::order_source, workflow::VertexSpec};

use super::{
    Domain,
    model::{ReplicaKey, VertexKey},
    moves::Move,
};

impl Domain {
    /// Whether a vertex brings tasks to a function.
    pub(super) fn brings_tasks(&self, key: VertexKey) -> bool {
        match &*self.model.class(self.model.vertex(key).class).spec {
            VertexSpec::Resource(resource) => resource.class_type == order_source::CLASS.class_type,
            VertexSpec::Function(_) => false,
        }
    }

    /// The nodes that a replica is to be on for the sake of its tasks, the best first: those of the function that
    /// gets them, or that of the source that brings them, unless another copy is there already.
    pub(super) fn beside(&self, key: ReplicaKey) -> Vec<NodeId> {
        let vertex = self.model.vertex(self.model.replica(key).vertex);
        if self.brings_tasks(self.model.replica(key).vertex) {
            let targets = vertex.outputs.iter();
            let targets = targets.filter_map(|(_, to)| self.model.key_of(*to));
            return self.most_used(&Vec::from_iter(targets));
        }
        let mut nodes = self.most_used(&self.sources_of(self.model.replica(key).vertex));
        let mut others = vertex.replicas.iter().filter(|it| **it != key);
        if !nodes.is_empty() && others.any(|&it| self.model.replica(it).instance.is_some()) {
            // A second copy is to be spread as all others are.
            nodes.clear();
        }
        nodes
    }

    /// A function came to another node: what brings its tasks follows, unless a copy is still beside it.
    pub(super) fn bring_sources(&mut self, function: VertexKey) {
        let homes = self.most_used(&[function]);
        let Some(&home) = homes.first() else {
            return;
        };
        for source in self.sources_of(function) {
            for replica in self.model.vertex(source).replicas.clone() {
                let Some(instance) = self.model.replica(replica).running() else {
                    continue;
                };
                let class = self.model.class_of(replica);
                let takes = self.fleet.takes(class.kind, class.ask, home).is_ok();
                if takes
                    && !homes.contains(&instance.node_id)
                    && self.move_away(replica, Some(home)) == Move::Nowhere
                {
                    tracing::debug!(%home, "what brings tasks to a function stays on another node");
                }
            }
        }
    }

    /// What brings tasks to a vertex.
    fn sources_of(&self, key: VertexKey) -> Vec<VertexKey> {
        let senders = self.model.senders_of(self.model.vertex(key).logical_id);
        let sources = senders.into_iter().filter(|&it| self.brings_tasks(it));
        sources.collect()
    }
}
