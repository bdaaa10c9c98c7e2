//! Placing: which replica goes where, and when.

use edgeless_types::{NodeId, PhysicalId, RunningInstance, WaitReason, workflow::VertexSpec};
use smallvec::SmallVec;

use super::{
    Domain, Effect, Output, Step,
    model::{Instance, Phase, ReplicaKey, VertexKey},
};
use crate::plan::fleet::Choice;

/// Whether more can be placed for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placing {
    /// It can.
    GoesOn,
    /// All nodes are busy with what was lost elsewhere.
    Pauses,
}

impl Domain {
    /// Uses the room that there is since the last time, then places whose turn it is.
    pub(super) fn settle_places(&mut self) {
        self.waiting.pass(self.now);
        for _ in 0..2 {
            for node_id in self.fleet.take_opened() {
                self.use_reserved(node_id);
                self.fill(node_id);
            }
            for node_id in std::mem::take(&mut self.healed) {
                self.heal_on(node_id);
            }
            while !self.paused
                && let Some(key) = self.waiting.next()
            {
                if self.place(key) == Placing::Pauses {
                    self.paused = true;
                }
            }
        }
    }

    /// A node has more room: who waited for it?
    fn fill(&mut self, node_id: NodeId) {
        for shape in self.waiting.shapes() {
            while let Some(key) = self.waiting.head(shape)
                && self.fleet.takes(shape.0, shape.1, node_id).is_ok()
            {
                let extra = self.model.replica(key).extra.as_deref();
                let most = self.settings.healing_per_node;
                if extra.is_some_and(|it| it.lost) && !self.fleet.is_calm(node_id, Some(most)) {
                    let priority = self.priority_of(key);
                    self.waiting.for_turn(key, priority);
                } else {
                    self.start_on(key, node_id);
                }
            }
        }
    }

    /// A node has healed something and may heal more.
    fn heal_on(&mut self, node_id: NodeId) {
        while let Some(key) = self.waiting.next() {
            let class = self.model.class_of(key);
            let (kind, ask) = (class.kind, class.ask);
            let extra = self.model.replica(key).extra.as_deref();
            let refused = extra.is_some_and(|it| it.refused_by.contains(&node_id));
            if refused
                || !self
                    .fleet
                    .is_calm(node_id, Some(self.settings.healing_per_node))
                || self.fleet.takes(kind, ask, node_id).is_err()
            {
                return;
            }
            self.start_on(key, node_id);
        }
    }

    /// Places a replica without an instance, or notes why it waits.
    pub(super) fn place(&mut self, key: ReplicaKey) -> Placing {
        let replica = self.model.replica(key);
        if replica.instance.is_some() {
            self.waiting.remove(key);
            return Placing::GoesOn;
        }
        let (not_before, lost) = (
            replica.not_before(),
            replica.extra.as_ref().is_some_and(|it| it.lost),
        );
        let class = self.model.class_of(key);
        let (shape, priority) = ((class.kind, class.ask), class.requirements.priority);
        if not_before > self.now {
            self.waiting.for_moment(key, priority, not_before);
            return Placing::GoesOn;
        }
        self.release(key);
        // Where those who came before find nothing, there is nothing.
        if let Some(head) = self.waiting.head(shape)
            && self.priority_of(head) >= priority
            && let Some((_, reason)) = self.model.replica(head).waiting.as_deref()
        {
            let reason = reason.clone();
            if !self.go_back(key) {
                self.waiting.for_room(key, priority, shape);
                self.wait(key, reason);
            }
            return Placing::GoesOn;
        }
        let calm = lost.then_some(self.settings.healing_per_node);
        match self.choose(key, calm) {
            Choice::Node(node_id) => self.start_on(key, node_id),
            Choice::Busy => {
                self.waiting.for_turn(key, priority);
                return Placing::Pauses;
            }
            // Its successor was lost or had to make room: what it was to replace does the work.
            Choice::Nowhere if self.go_back(key) || self.make_room(key) => {}
            Choice::Nowhere => {
                let excluded = self.fleet.excluded(shape.0, shape.1);
                self.waiting.for_room(key, priority, shape);
                self.wait(key, WaitReason::NoFeasibleNode { excluded });
            }
        }
        Placing::GoesOn
    }

    /// Notes why a replica waits. Its ticket learns it.
    pub(super) fn wait(&mut self, key: ReplicaKey, reason: WaitReason) {
        let now = self.now;
        let replica = self.model.replica_mut(key);
        let vertex = replica.vertex;
        let before = replica.waiting.as_deref();
        let since = before.map_or(now, |&(since, _)| since);
        let changed = before.is_none_or(|(_, before)| *before != reason);
        if changed {
            replica.waiting = Some(Box::new((since, reason)));
            self.touch(vertex);
        }
        self.resolve_if_known(vertex);
    }

    /// A node is asked to start a replica.
    pub(super) fn start_on(&mut self, key: ReplicaKey, node_id: NodeId) {
        self.waiting.remove(key);
        self.release(key);
        let physical_id = PhysicalId::random(&mut self.ids);
        let generation = self.decide();
        let now = self.now;
        let vertex_key = self.model.replica(key).vertex;
        self.note_home(vertex_key, node_id);
        let vertex = self.model.vertex_mut(vertex_key);
        vertex.generation = generation;
        let class = vertex.class;
        let instance = RunningInstance {
            physical_id,
            logical_id: vertex.logical_id,
            workflow_id: vertex.workflow_id,
            generation,
            fingerprint: self.model.class(class).of_copy,
        };
        let replica = self.model.replica_mut(key);
        let (mut state, mut phase) = (None, Phase::Starting);
        if let Some(extra) = &mut replica.extra {
            extra.wanted_node = None;
            state = extra.state.clone();
            if std::mem::take(&mut extra.lost) {
                phase = Phase::Healing;
            }
        }
        let since = replica.waiting.as_deref().map_or(now, |&(since, _)| since);
        replica.waiting = Some(Box::new((since, WaitReason::Starting)));
        replica.instance = Some(Instance {
            node_id,
            physical_id,
            class,
            phase,
            since: now,
            outdated: false,
            adopted: None,
        });
        if phase == Phase::Healing {
            self.fleet.begin_healing(node_id);
        }
        let spec = std::sync::Arc::clone(&self.model.class(class).spec);
        let code = match &*spec {
            VertexSpec::Function(function) => Some(function.code),
            VertexSpec::Resource(_) => None,
        };
        self.host(node_id, physical_id, key);
        let step = Step::Start {
            instance,
            spec,
            outputs: self.outputs_of(vertex_key),
            state,
            code,
        };
        self.effects.push(Effect::Step { node_id, step });
        self.touch(vertex_key);
    }

    /// Where the outputs of a vertex lead now.
    fn outputs_of(&self, key: VertexKey) -> Vec<Output> {
        let output = |(channel, target): &(std::sync::Arc<str>, edgeless_types::LogicalId)| {
            let running = self.model.key_of(*target).map(|it| self.running_of(it));
            let url = |id: edgeless_types::InstanceId| (id, self.invocation_url(id.node_id));
            Output {
                channel: std::sync::Arc::clone(channel),
                logical_id: *target,
                instances: running.into_iter().flatten().map(url).collect(),
            }
        };
        self.model.vertex(key).outputs.iter().map(output).collect()
    }

    /// All who send to a vertex are told where it is now; which instances those are.
    pub(super) fn patch_senders_of(
        &mut self,
        logical_id: edgeless_types::LogicalId,
    ) -> Vec<PhysicalId> {
        let mut told = Vec::new();
        for sender in self.model.senders_of(logical_id) {
            told.extend(self.patch_sender(sender));
        }
        told
    }

    /// Those who send to what is gone are told, each once.
    pub(super) fn tell_senders_of_gone(&mut self) {
        let gone = std::mem::take(&mut self.gone_astray);
        let senders = gone.into_iter().flat_map(|it| self.model.senders_of(it));
        let senders: std::collections::BTreeSet<VertexKey> = senders.collect();
        for sender in senders {
            self.patch_sender(sender);
        }
    }

    /// A vertex is told where its outputs lead now; which instances of it are.
    pub(super) fn patch_sender(&mut self, sender: VertexKey) -> SmallVec<[PhysicalId; 2]> {
        let replicas = self.model.vertex(sender).replicas.iter();
        let instances = replicas.filter_map(|&it| self.model.replica(it).instance);
        let mut instances: SmallVec<[(NodeId, PhysicalId); 2]> =
            instances.map(|it| (it.node_id, it.physical_id)).collect();
        // Those that are replaced still send what they have.
        let retired = self.model.vertex(sender).replicas.iter();
        let retired = retired.flat_map(|&it| self.model.replica(it).predecessors());
        instances.extend(retired.filter_map(|&physical_id| {
            Some((
                self.retiring.get(physical_id)?.instance.node_id,
                physical_id,
            ))
        }));
        instances.dedup();
        if instances.is_empty() {
            return SmallVec::new();
        }
        let outputs = self.outputs_of(sender);
        let generation = self.decide();
        let mut told = SmallVec::new();
        for (node_id, physical_id) in instances {
            let step = Step::Patch {
                physical_id,
                generation,
                outputs: outputs.clone(),
            };
            self.effects.push(Effect::Step { node_id, step });
            told.push(physical_id);
        }
        told
    }
}
