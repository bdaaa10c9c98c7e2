//! Making room: instances of lower priority leave a node so that one of a higher fits.

use std::time::Duration;

use edgeless_types::NodeId;

use super::{
    Domain,
    model::{Instance, Phase, ReplicaKey},
};
use crate::plan::Ask;

/// How many nodes are looked at for one that can be made to fit.
const LOOKS: usize = 64;
/// How long those who leave may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two tries to make room.
const RETRY: Duration = Duration::from_secs(1);

/// Room on a node that is kept for a replica.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reserved {
    pub(super) node_id: NodeId,
    pub(super) ask: Ask,
}

/// Who would have to leave a node.
pub(super) struct Leaving {
    pub(super) node_id: NodeId,
    /// The highest priority among them.
    highest: i32,
    pub(super) replicas: Vec<(ReplicaKey, Instance)>,
}

impl Domain {
    /// Instances of lower priority leave a node, whose room is kept for a replica until then: whether that
    /// is so.
    pub(super) fn make_room(&mut self, key: ReplicaKey) -> bool {
        let Some(least) = self.who_makes_room(key) else {
            return false;
        };
        let class = self.model.class_of(key);
        let (ask, priority) = (class.ask, class.requirements.priority);
        let node_id = least.node_id;
        tracing::info!(%node_id, leaving = least.replicas.len(), "room is made for a higher priority");
        self.reserve(key, node_id, ask);
        for (replica, instance) in least.replicas {
            self.hand_over(replica, instance);
        }
        self.waiting.for_moment(key, priority, self.now + PATIENCE);
        true
    }

    /// Those of the lowest priority that would have to leave some node so that a replica fits.
    pub(super) fn who_makes_room(&mut self, key: ReplicaKey) -> Option<Leaving> {
        let class = self.model.class_of(key);
        let (kind, ask, priority) = (class.kind, class.ask, class.requirements.priority);
        let lower = self
            .priorities
            .first_key_value()
            .is_some_and(|(&least, _)| least < priority);
        if !lower || ask == Ask::default() {
            return None;
        }
        let nodes = self.fleet.short_of_room(kind, ask, LOOKS);
        let leaving = nodes
            .into_iter()
            .filter_map(|it| self.who_leaves(it, ask, priority));
        leaving.min_by_key(|it| (it.highest, it.replicas.len(), it.node_id))
    }

    /// From time to time those who come first are tried again: what runs now may make room.
    pub(super) fn retry_room(&mut self) {
        if self.now < self.room_tried + RETRY || self.priorities.len() < 2 {
            return;
        }
        self.room_tried = self.now;
        for shape in self.waiting.shapes() {
            if let Some(key) = self.waiting.head(shape) {
                self.make_room(key);
            }
        }
    }

    /// Who would have to leave a node, the lowest priorities first and no more than are needed.
    fn who_leaves(&self, node_id: NodeId, ask: Ask, priority: i32) -> Option<Leaving> {
        let node = self.nodes.get(&node_id)?;
        let mut lower = Vec::new();
        for physical_id in node.instances.keys() {
            let Some(key) = self.model.replica_of(*physical_id) else {
                continue;
            };
            let class = self.model.class_of(key);
            if let Some(instance) = self.model.replica(key).instance
                && instance.physical_id == *physical_id
                && instance.phase != Phase::Handing
                && class.requirements.priority < priority
                && class.ask != Ask::default()
            {
                lower.push((class.requirements.priority, class.ask, key, instance));
            }
        }
        // Of one priority the largest first, so that few leave.
        lower.sort_unstable_by_key(|(priority, ask, key, _)| {
            (*priority, std::cmp::Reverse(*ask), *key)
        });
        let mut free = self.fleet.free(node_id);
        let mut leaving = Leaving {
            node_id,
            highest: i32::MIN,
            replicas: Vec::new(),
        };
        for (priority, theirs, key, instance) in lower {
            if free.covers(ask) {
                break;
            }
            free = free.plus(theirs);
            leaving.highest = priority;
            leaving.replicas.push((key, instance));
        }
        (free.covers(ask) && !leaving.replicas.is_empty()).then_some(leaving)
    }

    /// Room on a node is kept for a replica from now on.
    pub(super) fn reserve(&mut self, key: ReplicaKey, node_id: NodeId, ask: Ask) {
        self.release(key);
        self.fleet.reserve(node_id, ask);
        self.reserved.insert(key, Reserved { node_id, ask });
        self.kept_on.entry(node_id).or_default().push(key);
    }

    /// No room is kept for a replica any more.
    pub(super) fn release(&mut self, key: ReplicaKey) {
        let Some(reserved) = self.reserved.remove(&key) else {
            return;
        };
        self.fleet.unreserve(reserved.node_id, reserved.ask);
        if let Some(kept) = self.kept_on.get_mut(&reserved.node_id) {
            kept.retain(|it| *it != key);
            if kept.is_empty() {
                self.kept_on.remove(&reserved.node_id);
            }
        }
    }

    /// A node has more room: those for whom it is kept start there, as soon as they fit.
    pub(super) fn use_reserved(&mut self, node_id: NodeId) {
        for key in self.kept_on.get(&node_id).cloned().unwrap_or_default() {
            // Of one that gives way to its successor the last copy has to stop first.
            let is_free = self.model.replica(key).instance.is_none();
            if is_free && self.fleet.excess(node_id) == Ask::default() {
                let class = self.model.class_of(key);
                let (kind, ask) = (class.kind, class.ask);
                self.release(key);
                match self.fleet.takes(kind, ask, node_id) {
                    Ok(()) => self.start_on(key, node_id),
                    Err(_) => {
                        self.place(key);
                    }
                }
            }
        }
    }
}
