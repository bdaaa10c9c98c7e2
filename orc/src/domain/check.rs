//! Whether a domain is of one mind: everything that is counted or indexed is made anew. For tests.

use std::collections::{BTreeMap, BTreeSet};

use edgeless_types::{NodeId, PhysicalId};

use super::{
    Domain,
    model::{Phase, ReplicaKey},
};
use crate::plan::Ask;

impl Domain {
    /// Panics where two parts of the state do not agree.
    pub(super) fn check(&self) {
        let hosted = self.nodes.values().flat_map(|node| node.instances.values());
        self.model.check(hosted.copied());
        self.check_replicas();
        self.check_fleet();
        self.check_copies();
        self.check_tickets();
        let mut deadlines = BTreeSet::new();
        for (id, node) in &self.nodes {
            deadlines.insert((node.deadline(), *id));
        }
        assert_eq!(self.deadlines, deadlines);
        for key in &self.updating {
            assert!(self.model.vertex(*key).update.is_some(), "no update");
        }
        for (key, vertex) in self.model.vertices() {
            let is_known = self.updating.contains(&key);
            assert_eq!(is_known, vertex.update.is_some(), "an update is forgotten");
        }
        let mut given_up = self.given_up.keys();
        assert!(given_up.all(|it| self.model.key_of(*it).is_some()));
        assert!(self.drains.keys().all(|id| self.nodes.contains_key(id)));
    }

    /// Who has no instance waits, who has one does not; priorities are counted.
    fn check_replicas(&self) {
        let mut waits = BTreeSet::new();
        let mut priorities = BTreeMap::<i32, usize>::new();
        for (key, replica) in self.model.all_replicas() {
            *priorities.entry(self.priority_of(key)).or_default() += 1;
            if replica.instance.is_none() {
                assert!(!replica.is_superfluous(), "it has stopped and may go");
                assert!(replica.waiting.is_some(), "it waits for no reason");
                waits.insert(key);
            }
            let running = replica.running().is_some();
            assert!(!running || replica.waiting.is_none(), "it runs and waits");
            if let Some(shape) = self.waiting.shape_of(key) {
                let class = self.model.class_of(key);
                assert_eq!(shape, (class.kind, class.ask), "it waits for old things");
            }
        }
        assert_eq!(self.waiting.check(), waits, "who waits");
        assert_eq!(self.priorities, priorities);
        let vertices = self.model.vertices();
        let asked = vertices.map(|(_, it)| self.model.class(it.class).least_ask());
        assert_eq!(self.desired, asked.fold(Ask::default(), Ask::plus));
    }

    /// What nodes are thought to have is what is there, on its way, or kept for somebody.
    fn check_fleet(&self) {
        let mut counted = BTreeMap::<NodeId, (usize, u32, Ask)>::new();
        for (&node_id, node) in &self.nodes {
            let classes = node.instances.values();
            let asks = classes.map(|&it| self.model.class(it).ask);
            let asked = asks.fold(Ask::default(), Ask::plus);
            counted.insert(node_id, (node.instances.len(), 0, asked));
        }
        for (_, replica) in self.model.all_replicas() {
            let healing = replica.instance.filter(|it| it.phase == Phase::Healing);
            if let Some(instance) = healing {
                counted.get_mut(&instance.node_id).unwrap().1 += 1;
            }
        }
        let mut kept_on = BTreeMap::<NodeId, BTreeSet<ReplicaKey>>::new();
        for (&key, reserved) in &self.reserved {
            assert!(self.model.has_replica(key), "room is kept for what is gone");
            let asked = &mut counted.get_mut(&reserved.node_id).unwrap().2;
            *asked = asked.plus(reserved.ask);
            kept_on.entry(reserved.node_id).or_default().insert(key);
        }
        assert_eq!(self.fleet.counted(), counted, "what nodes have");
        let kept = self.kept_on.iter();
        let kept = kept.map(|(id, keys)| (*id, keys.iter().copied().collect()));
        assert_eq!(kept.collect::<BTreeMap<_, _>>(), kept_on);
    }

    /// Every copy that counts belongs to a replica, and the other way round.
    fn check_copies(&self) {
        let mut hosted = BTreeMap::<PhysicalId, NodeId>::new();
        for (&node_id, node) in &self.nodes {
            for &physical_id in node.instances.keys() {
                assert!(hosted.insert(physical_id, node_id).is_none());
                assert!(self.model.replica_of(physical_id).is_some(), "a stray");
            }
        }
        let mut copies = BTreeMap::new();
        let mut replaced = BTreeSet::new();
        for (_, replica) in self.model.all_replicas() {
            if let Some(instance) = replica.instance {
                copies.insert(instance.physical_id, instance.node_id);
                if instance.phase == Phase::Handing {
                    replaced.insert(instance.physical_id);
                }
            }
            replaced.extend(replica.predecessors());
        }
        assert_eq!(self.retiring.check(), replaced, "what is replaced");
        for &physical_id in &replaced {
            if let Some(retired) = self.retiring.get(physical_id) {
                copies.insert(physical_id, retired.instance.node_id);
            }
        }
        assert_eq!(hosted, copies, "copies and their nodes");
        for drain in self.drains.values() {
            for physical_id in drain.moving() {
                let there = hosted.contains_key(physical_id);
                assert!(there, "a drain waits for what is gone");
            }
        }
    }

    /// Each ticket that is open waits for vertices that know it.
    fn check_tickets(&self) {
        for (logical_id, ticket) in &self.ticket_of {
            assert!(self.tickets.contains_key(ticket), "{logical_id}: no ticket");
            let vertex = self.model.key_of(*logical_id);
            assert!(vertex.is_some(), "a ticket waits for what is gone");
        }
        for (ticket, pending) in &self.tickets {
            for logical_id in pending.open() {
                assert_eq!(self.ticket_of.get(logical_id), Some(ticket));
            }
        }
    }
}
