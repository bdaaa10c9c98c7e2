//! Whether the indices over the model say what it says itself: for tests.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use super::{ClassKey, Model, ReplicaKey, VertexKey};

impl Model {
    /// How many kinds classes keep for values of labels.
    pub(in crate::domain) fn kinds_of_zones(&self) -> usize {
        self.classes
            .iter()
            .map(|(_, class)| class.zones.len())
            .sum()
    }

    /// Makes every index anew and compares. `shared` has the users of classes beside vertices and updates.
    pub(in crate::domain) fn check(&self, shared: impl Iterator<Item = ClassKey>) {
        let mut users = BTreeMap::<ClassKey, usize>::new();
        for class in shared {
            *users.entry(class).or_default() += 1;
        }
        let mut replicas = BTreeSet::new();
        let mut channels = FxHashMap::<_, usize>::default();
        for (place, vertex) in &self.vertices {
            let key = VertexKey(place);
            assert_eq!(self.by_logical.get(&vertex.logical_id), Some(&key));
            let of_workflow = self.of_workflow(vertex.workflow_id).iter();
            assert_eq!(of_workflow.filter(|it| **it == key).count(), 1);
            *users.entry(vertex.class).or_default() += 1;
            if let Some(update) = &vertex.update {
                *users.entry(update.before).or_default() += 1;
            }
            for &replica in &vertex.replicas {
                assert_eq!(self.replicas[replica.0].vertex, key);
                assert!(replicas.insert(replica), "a replica is named twice");
            }
            for (channel, target) in &vertex.outputs {
                assert!(self.senders_of(*target).contains(&key));
                *channels.entry(std::sync::Arc::clone(channel)).or_default() += 1;
            }
        }
        assert_eq!(self.by_logical.len(), self.vertices.len());
        let of_workflows = self.by_workflow.values().map(Vec::len).sum::<usize>();
        assert_eq!(of_workflows, self.vertices.len());
        assert_eq!(replicas.len(), self.replicas.len(), "no replica is lost");
        let counted: BTreeMap<_, _> = self
            .classes
            .iter()
            .map(|(key, class)| (ClassKey(key), class.users))
            .collect();
        assert_eq!(counted, users, "users of classes");
        assert_eq!(self.by_spec.len(), self.classes.len());
        for (target, senders) in &self.senders {
            assert!(!senders.is_empty());
            for sender in senders {
                let mut outputs = self.vertices[sender.0].outputs.iter();
                assert!(outputs.any(|(_, to)| to == target), "a sender of old");
            }
        }
        assert_eq!(self.channels, channels, "names of channels");
        self.check_copies();
    }

    /// Each copy is the instance of its replica or replaced by it, and nothing else is known.
    fn check_copies(&self) {
        let mut copies = BTreeMap::new();
        for (place, replica) in &self.replicas {
            let key = ReplicaKey(place);
            if let Some(instance) = replica.instance {
                assert!(copies.insert(instance.physical_id, key).is_none());
            }
            for &physical_id in replica.predecessors() {
                assert!(copies.insert(physical_id, key).is_none());
            }
        }
        let known: BTreeMap<_, _> = self
            .by_physical
            .iter()
            .map(|(id, key)| (*id, *key))
            .collect();
        assert_eq!(known, copies, "copies and their replicas");
    }

    /// All replicas, in no order.
    pub(in crate::domain) fn all_replicas(
        &self,
    ) -> impl Iterator<Item = (ReplicaKey, &super::Replica)> {
        self.replicas.iter().map(|(key, it)| (ReplicaKey(key), it))
    }
}
