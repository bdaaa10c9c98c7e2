//! Draining nodes: everything goes elsewhere, not too much at a time.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use edgeless_types::{NodeId, PhysicalId, Timestamp, WaitReason};

use super::{
    Domain,
    model::{Instance, Phase, ReplicaKey},
    moves::Move,
};

/// Instances of one node that move at a time.
const MOVES: usize = 32;
/// Between two tries of what found no other node.
const RETRY: Duration = Duration::from_secs(1);

/// What is left to do for a node that is drained.
#[derive(Debug, Default)]
pub(super) struct Drain {
    todo: VecDeque<PhysicalId>,
    moving: BTreeSet<PhysicalId>,
    /// What no other node takes.
    stuck: Vec<PhysicalId>,
    again: Timestamp,
}

impl Drain {
    /// Whether nothing can be moved any more.
    pub(super) fn is_over(&self) -> bool {
        self.todo.is_empty() && self.moving.is_empty()
    }

    #[cfg(test)]
    pub(super) fn moving(&self) -> &BTreeSet<PhysicalId> {
        &self.moving
    }
}

impl Domain {
    /// Everything on a node goes elsewhere from now on.
    pub(super) fn begin_drain(&mut self, node_id: NodeId) {
        let Some(node) = self.nodes.get(&node_id) else {
            return;
        };
        let mut todo: Vec<_> = node.instances.keys().copied().collect();
        todo.sort_unstable();
        let drain = Drain {
            todo: todo.into(),
            again: self.now + RETRY,
            ..Drain::default()
        };
        self.drains.insert(node_id, drain);
        self.advance_drain(node_id);
    }

    /// Moves on what can be moved now.
    pub(super) fn advance_drain(&mut self, node_id: NodeId) {
        let Some(mut drain) = self.drains.remove(&node_id) else {
            return;
        };
        let mut later = Vec::new();
        while drain.moving.len() < MOVES
            && let Some(physical_id) = drain.todo.pop_front()
        {
            let Some(key) = self.model.replica_of(physical_id) else {
                continue;
            };
            if self.retiring.contains(physical_id) {
                drain.moving.insert(physical_id);
            } else if self.is_another_moving(key) {
                later.push(physical_id);
            } else if self.move_away(key, None) == Move::Begun {
                // What had not started yet is gone at once.
                if self.model.replica_of(physical_id).is_some() {
                    drain.moving.insert(physical_id);
                }
            } else {
                drain.stuck.push(physical_id);
            }
        }
        drain.todo.extend(later);
        self.drains.insert(node_id, drain);
    }

    /// Copies of one vertex move one at a time.
    fn is_another_moving(&self, key: ReplicaKey) -> bool {
        let vertex = self.model.vertex(self.model.replica(key).vertex);
        let moves = |it: &ReplicaKey| {
            let replica = self.model.replica(*it);
            // Those that find no room, or fail, do so whatever the others do.
            let reason = replica.waiting.as_deref().map(|(_, reason)| reason);
            let comes = reason == Some(&WaitReason::Starting);
            let moves = |it: Instance| it.phase != Phase::Running;
            *it != key && replica.instance.map_or(comes, moves)
        };
        vertex.replicas.iter().any(moves)
    }

    /// A copy is found on a node: if that is drained, it has to go as well.
    pub(super) fn note_came(&mut self, node_id: NodeId, physical_id: PhysicalId) {
        if let Some(drain) = self.drains.get_mut(&node_id) {
            drain.todo.push_back(physical_id);
            self.drained.insert(node_id);
        }
    }

    /// A copy is not on its node any more.
    pub(super) fn note_moved(&mut self, node_id: NodeId, physical_id: PhysicalId) {
        if let Some(drain) = self.drains.get_mut(&node_id)
            && drain.moving.remove(&physical_id)
        {
            self.drained.insert(node_id);
        }
    }

    /// A copy stays where it is after all, for now.
    pub(super) fn note_stayed(&mut self, node_id: NodeId, physical_id: PhysicalId) {
        if let Some(drain) = self.drains.get_mut(&node_id)
            && drain.moving.remove(&physical_id)
        {
            drain.stuck.push(physical_id);
        }
    }

    /// Goes on with all drains that have come further; from time to time with what found no place.
    pub(super) fn advance_drains(&mut self) {
        for node_id in std::mem::take(&mut self.drained) {
            self.advance_drain(node_id);
        }
    }

    /// What found no place is tried again.
    pub(super) fn retry_drains(&mut self) {
        let now = self.now;
        let due = self.drains.iter().filter(|(_, drain)| drain.again <= now);
        let due: Vec<_> = due.map(|(node_id, _)| *node_id).collect();
        for node_id in due {
            if let Some(drain) = self.drains.get_mut(&node_id) {
                drain.again = now + RETRY;
                let stuck = std::mem::take(&mut drain.stuck);
                drain.todo.extend(stuck);
            }
            self.advance_drain(node_id);
        }
    }
}
