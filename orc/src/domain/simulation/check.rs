//! What has to be true of a domain at rest.

use std::collections::{BTreeMap, BTreeSet};

use edgeless_types::{LogicalId, NodeId, PhysicalId};

use super::{NODES, ROOM, Simulation, Step, VERTICES, logical_id, priority};

type Running = BTreeMap<u128, BTreeSet<(NodeId, PhysicalId)>>;

impl Simulation {
    /// What a node was asked to start and has not yet.
    pub(in crate::domain) fn starts_under_way(&self, id: NodeId) -> Vec<LogicalId> {
        let steps = self.nodes[&id].steps.iter();
        let starts = steps.filter_map(|step| match step {
            Step::Start { instance, .. } => Some(instance.logical_id),
            Step::Stop { .. } | Step::Patch { .. } => None,
        });
        starts.collect()
    }

    /// The copies of a vertex to which others send.
    pub(in crate::domain) fn leads_to(&self, number: u128) -> BTreeSet<PhysicalId> {
        let nodes = self.nodes.values();
        let outputs = nodes.flat_map(|node| node.outputs.values().flatten());
        let mine = outputs.filter(|it| it.logical_id == logical_id(number));
        let copies = mine.flat_map(|it| it.instances.iter().map(|(id, _)| id.physical_id));
        copies.collect()
    }

    pub(in crate::domain) fn check_at_rest(&self) {
        let mut running = Running::new();
        for (&id, node) in &self.nodes {
            let room = node.running.len() <= ROOM;
            assert!(room, "{id} has more than it has room for");
            for instance in node.running.values() {
                let number = (0..VERTICES).find(|&it| logical_id(it) == instance.logical_id);
                let copies = running.entry(number.unwrap()).or_default();
                copies.insert((id, instance.physical_id));
            }
        }
        for (physical_id, saved) in self.nodes.values().flat_map(|node| &node.saved) {
            let model = &self.domain.model;
            let replica = model.replica_of(*physical_id).map(|it| model.replica(it));
            let known = replica.and_then(|it| it.extra.as_ref()?.state.as_ref());
            assert_eq!(known, Some(saved), "what {physical_id} saved is known");
        }
        let none = BTreeSet::new();
        let copies_of = |number: u128| running.get(&number).unwrap_or(&none);
        let places = NODES as usize * ROOM;
        let total: usize = self.desired.values().map(|it| it.copies).sum();
        let found: usize = running.values().map(BTreeSet::len).sum();
        assert_eq!(found, total.min(places), "all run for which there is room");
        for (&number, desired) in &self.desired {
            let copies = copies_of(number);
            assert!(copies.len() <= desired.copies, "f{number} runs too often");
            if copies.len() < desired.copies {
                for other in self.desired.keys() {
                    let lower =
                        priority(*other) < priority(number) && !copies_of(*other).is_empty();
                    assert!(!lower, "f{number} waits while f{other} runs");
                }
            }
            let shown = self.domain.active_instance(logical_id(number)).unwrap();
            let told = shown
                .instances
                .iter()
                .map(|one| (one.node_id, one.physical_id));
            assert_eq!(
                &told.collect::<BTreeSet<_>>(),
                copies,
                "the mirror tells the truth"
            );
        }
        // Of a new version that finds no room at all nothing is known yet.
        let mut open = self.asked.values().flatten();
        let is_known = open.all(|&number| copies_of(number).is_empty());
        assert!(is_known, "{:?} have no answer", self.asked);
        self.check_nodes(&running);
    }

    /// Nothing else runs, of the right versions, and senders know where.
    fn check_nodes(&self, running: &Running) {
        let none = BTreeSet::new();
        let copies_of = |number: u128| running.get(&number).unwrap_or(&none);
        for number in running.keys() {
            assert!(
                self.desired.contains_key(number),
                "f{number} runs and is not desired"
            );
        }
        for node in self.nodes.values() {
            for (physical_id, version) in &node.versions {
                let lid = node.running[physical_id].logical_id;
                let desired = self
                    .desired
                    .iter()
                    .find(|(number, _)| logical_id(**number) == lid);
                let (number, desired) = desired.unwrap();
                assert_eq!(
                    version,
                    &desired.version.to_string(),
                    "the version of f{number}"
                );
            }
            for output in node.outputs.values().flatten() {
                let number = (0..VERTICES).find(|&it| logical_id(it) == output.logical_id);
                let leads = output
                    .instances
                    .iter()
                    .map(|(id, _)| (id.node_id, id.physical_id));
                let there = copies_of(number.unwrap());
                assert_eq!(
                    &leads.collect::<BTreeSet<_>>(),
                    there,
                    "senders know where {number:?} is"
                );
            }
        }
    }
}
