//! Moving and retiring instances.

use std::time::Duration;

use edgeless_types::{LogicalId, NodeId, PhysicalId};

use super::{
    Domain, Effect, Refusal, Step,
    model::{Instance, Phase, ReplicaKey},
};
use crate::plan::fleet::Choice;

/// How long a stopped instance may drain.
const DRAIN: Duration = Duration::from_secs(2);
/// How long a copy that is not needed any more may work on what it has, and how often that is looked at.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(100);
/// How long senders of a moved instance may take to confirm their patches.
const CONFIRM: Duration = Duration::from_secs(5);

/// Whether an instance is on its way to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// It is.
    Begun,
    /// No other node takes it.
    Nowhere,
}

impl Domain {
    /// Moves a vertex to a node that was asked for; of several copies one that is not there yet.
    pub(super) fn migrate(
        &mut self,
        logical_id: LogicalId,
        node_id: NodeId,
    ) -> Result<(), Refusal> {
        let key = self.model.key_of(logical_id);
        let key = key.ok_or(Refusal::UnknownVertex(logical_id))?;
        self.known(node_id)?;
        let vertex = self.model.vertex(key);
        let class = self.model.class(vertex.class);
        for replica in vertex.replicas.clone() {
            let instance = self.model.replica(replica).instance;
            if instance.is_some_and(|it| it.node_id == node_id) {
                continue;
            }
            if let Err(requirement) = self.fleet.takes(class.kind, class.ask, node_id) {
                let requirement = requirement.to_owned();
                return Err(Refusal::Infeasible {
                    node_id,
                    requirement,
                });
            }
            self.move_away(replica, Some(node_id));
            break;
        }
        Ok(())
    }

    /// Starts moving a replica. A function is stopped first, as it may have saved state that has to
    /// go along, while its senders hold; a resource starts at its new place before the old one goes, and
    /// so does a function of which several copies have to run.
    pub(super) fn move_away(&mut self, key: ReplicaKey, to: Option<NodeId>) -> Move {
        let Some(old) = self.model.replica(key).instance else {
            if to.is_some() {
                self.model.replica_mut(key).extra_mut().wanted_node = to;
            }
            self.place(key);
            return Move::Begun;
        };
        if old.phase == Phase::Handing {
            if to.is_some() {
                self.model.replica_mut(key).extra_mut().wanted_node = to;
            }
            return Move::Begun;
        }
        let class = self.model.class_of(key);
        let copies = class.requirements.least_instances();
        let (kind, ask) = (class.kind, class.ask);
        if !self.fleet.has_room(kind, ask, &[old.node_id]) {
            return Move::Nowhere;
        }
        if to.is_some() {
            self.model.replica_mut(key).extra_mut().wanted_node = to;
        }
        if self.may_have_state(key) && copies < 2 {
            self.hand_over(key, old);
            return Move::Begun;
        }
        self.replace(key, old)
    }

    /// The instance is stopped; its state goes with the replica.
    pub(super) fn hand_over(&mut self, key: ReplicaKey, old: Instance) {
        self.end_healing(old);
        let replica = self.model.replica_mut(key);
        if let Some(instance) = &mut replica.instance {
            instance.phase = Phase::Handing;
        }
        let vertex = replica.vertex;
        self.touch(vertex);
        self.begin_retiring(key, old);
        self.tell_senders(old.physical_id);
    }

    /// Another instance is started; when it runs the old one goes: see `started`.
    pub(super) fn replace(&mut self, key: ReplicaKey, old: Instance) -> Move {
        if old.phase.is_starting() {
            // It did no work yet: what it replaces goes on until another runs.
            self.stop_copy(old.node_id, old.physical_id);
            self.unhost(old.node_id, old.physical_id);
            self.gone(old.physical_id);
            return Move::Begun;
        }
        let Choice::Node(node_id) = self.choose(key, None) else {
            return Move::Nowhere;
        };
        self.end_healing(old);
        self.begin_retiring(key, old);
        let extra = self.model.replica_mut(key).extra_mut();
        extra.predecessors.push(old.physical_id);
        self.start_on(key, node_id);
        Move::Begun
    }

    fn begin_retiring(&mut self, key: ReplicaKey, old: Instance) {
        let vertex = self.model.vertex(self.model.replica(key).vertex);
        let logical_id = vertex.logical_id;
        self.retiring.begin(old, logical_id);
    }

    /// The senders to a copy that is replaced are patched; when all have confirmed, it lingers a little and
    /// is stopped.
    pub(super) fn tell_senders(&mut self, physical_id: PhysicalId) {
        let Some(retired) = self.retiring.get(physical_id) else {
            return;
        };
        let senders = self.patch_senders_of(retired.logical_id);
        let (linger, confirm) = (self.now + self.settings.linger, self.now + CONFIRM);
        self.retiring
            .senders_told(physical_id, &senders, linger, confirm);
    }

    /// A copy that may go is stopped, unless it would have to wait for a node then.
    pub(super) fn stop_retired(&mut self, physical_id: PhysicalId) {
        let Some(node_id) = self.retiring.get(physical_id).map(|it| it.instance.node_id) else {
            return;
        };
        if self.stays_after_all(physical_id) {
            return;
        }
        if self.may_have_work(physical_id, node_id) {
            let later = self.now + LOOK;
            return self.retiring.put_off(physical_id, self.now, later);
        }
        let step = Step::Stop {
            physical_id,
            generation: self.decide(),
            drain: DRAIN,
        };
        self.effects.push(Effect::Step { node_id, step });
    }

    /// Whether a copy of which one fewer is desired has something to do, as far as its node has said since nobody sends
    /// to it any more.
    fn may_have_work(&self, physical_id: PhysicalId, node_id: NodeId) -> bool {
        let replica = self.model.replica_of(physical_id);
        let replica = replica.map(|it| self.model.replica(it));
        if !replica.is_some_and(super::model::Replica::is_superfluous) {
            return false;
        }
        let quiet = self.retiring.quiet_since(physical_id, self.now);
        let node = self.nodes.get(&node_id).filter(|node| !node.leaving);
        self.now < quiet + PATIENCE
            && node.is_some_and(|node| {
                let mut backlog = node.backlog.iter();
                node.last_update <= quiet || backlog.any(|it| it.physical_id == physical_id)
            })
    }

    /// All nodes to which a copy could go have been closed since it began to move, as its own is: it goes on
    /// where it is. Whether that is so.
    fn stays_after_all(&mut self, physical_id: PhysicalId) -> bool {
        let Some(key) = self.model.replica_of(physical_id) else {
            return false;
        };
        let replica = self.model.replica(key);
        let moves = |it: Instance| it.physical_id == physical_id && it.phase == Phase::Handing;
        let Some(old) = replica.instance.filter(|it| moves(*it)) else {
            return false;
        };
        if replica.extra.as_ref().is_some_and(|it| it.superfluous) {
            return false;
        }
        let class = self.model.class_of(key);
        let (kind, ask) = (class.kind, class.ask);
        if self.fleet.has_room(kind, ask, &[]) || !self.fleet.is_closed(old.node_id) {
            return false;
        }
        self.model.replica_mut(key).extra_mut().wanted_node = None;
        self.restore(key, physical_id);
        true
    }

    /// A copy that nobody sends to is stopped at once.
    pub(super) fn stop_copy(&mut self, node_id: NodeId, physical_id: PhysicalId) {
        let step = Step::Stop {
            physical_id,
            generation: self.decide(),
            drain: Duration::ZERO,
        };
        self.effects.push(Effect::Step { node_id, step });
    }

    /// One copy fewer is desired: it goes when nobody sends to it any more.
    pub(super) fn make_superfluous(&mut self, key: ReplicaKey) {
        self.model.replica_mut(key).extra_mut().superfluous = true;
        match self.model.replica(key).running() {
            Some(instance) => self.hand_over(key, instance),
            None if self
                .model
                .replica(key)
                .instance
                .is_some_and(|it| it.phase == Phase::Handing) => {}
            None => self.let_go(key),
        }
    }
}
