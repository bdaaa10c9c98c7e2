//! Placing, moving and retiring instances.

use std::{collections::BTreeSet, time::Duration};

use edgeless_types::{
    InstanceId, LogicalId, NodeId, PhysicalId, RunningInstance, WaitReason, workflow::VertexSpec,
};

use super::{
    Domain, Effect, Instance, Output, Phase, Refusal, Retiring, StartOutcome, Step, Vertex,
};
use crate::plan::fleet::Excluded;

/// How long a stopped instance may drain.
const DRAIN: Duration = Duration::from_secs(2);
/// How long senders of a moved instance may take to confirm their patches.
const CONFIRM: Duration = Duration::from_secs(5);

impl Domain {
    /// Tries everything that waits for a place, but for what cannot have found one since it was tried.
    pub(super) fn place_all(&mut self) {
        let due: Vec<_> = self.unplaced.iter().copied().collect();
        for logical_id in due {
            let tried = self.vertices.get(&logical_id).and_then(|it| it.tried);
            if tried != Some(self.fleet.version()) {
                self.place(logical_id);
            }
        }
    }

    /// Places one vertex, or notes why it waits.
    pub(super) fn place(&mut self, logical_id: LogicalId) {
        let Some(vertex) = self.vertices.get(&logical_id) else {
            return;
        };
        if vertex.instance.is_some() || vertex.not_before > self.now {
            return;
        }
        match self.choose(logical_id, vertex.wanted_node) {
            Ok(node_id) => self.start_on(logical_id, node_id),
            Err(excluded) => {
                let version = self.fleet.version();
                if let Some(vertex) = self.vertices.get_mut(&logical_id) {
                    vertex.tried = Some(version);
                }
                self.wait(logical_id, WaitReason::NoFeasibleNode { excluded });
            }
        }
    }

    /// The node for a vertex: the one that was asked for, if it takes it, else the one of the strategy.
    fn choose(
        &mut self,
        logical_id: LogicalId,
        wanted: Option<NodeId>,
    ) -> Result<NodeId, Excluded> {
        let Some(vertex) = self.vertices.get(&logical_id) else {
            return Err(Excluded::new());
        };
        let (kind, ask) = (vertex.kind, vertex.ask);
        if let Some(node_id) = wanted
            && self.fleet.takes(kind, ask, node_id).is_ok()
        {
            return Ok(node_id);
        }
        self.fleet
            .choose(kind, ask, &vertex.refused_by, &mut self.rng)
    }

    /// Whether some node would take a vertex.
    pub(super) fn is_placeable(&mut self, logical_id: LogicalId) -> bool {
        let Some(vertex) = self.vertices.get(&logical_id) else {
            return false;
        };
        let none = BTreeSet::new();
        self.fleet.has_room(vertex.kind, vertex.ask, &none)
    }

    pub(super) fn wait(&mut self, logical_id: LogicalId, reason: WaitReason) {
        let now = self.now;
        let Some(vertex) = self.vertices.get_mut(&logical_id) else {
            return;
        };
        let since = vertex.waiting.as_ref().map_or(now, |&(since, _)| since);
        let changed = vertex
            .waiting
            .as_ref()
            .is_none_or(|(_, before)| *before != reason);
        let text = reason.to_string();
        vertex.waiting = Some((since, reason));
        if changed {
            self.touch(logical_id);
        }
        self.resolve(logical_id, StartOutcome::Waiting(text));
    }

    fn start_on(&mut self, logical_id: LogicalId, node_id: NodeId) {
        let physical_id = PhysicalId::random(&mut self.ids);
        let now = self.now;
        let generation = self.decide();
        let Some(vertex) = self.vertices.get_mut(&logical_id) else {
            return;
        };
        vertex.generation = generation;
        vertex.wanted_node = None;
        let phase = Phase::Starting;
        vertex.instance = Some(Instance {
            node_id,
            physical_id,
            phase,
            since: now,
            adopted: None,
        });
        let since = vertex.waiting.as_ref().map_or(now, |&(since, _)| since);
        vertex.waiting = Some((since, WaitReason::Starting));
        let instance = RunningInstance {
            physical_id,
            logical_id,
            workflow_id: vertex.workflow_id,
            generation: vertex.generation,
        };
        let spec = vertex.spec.clone();
        let code = match &spec {
            VertexSpec::Function(function) => Some(function.code),
            VertexSpec::Resource(_) => None,
        };
        self.unplaced.remove(&logical_id);
        self.host(node_id, physical_id, logical_id);
        let outputs = self.outputs_of(logical_id);
        let state = self.states.get(&logical_id).cloned();
        let step = Step::Start {
            instance,
            spec,
            outputs,
            state,
            code,
        };
        self.effects.push(Effect::Step { node_id, step });
        self.touch(logical_id);
    }

    /// Where the outputs of a vertex lead now.
    fn outputs_of(&self, logical_id: LogicalId) -> Vec<Output> {
        let Some(vertex) = self.vertices.get(&logical_id) else {
            return Vec::new();
        };
        let output = |(channel, &target): (&String, &LogicalId)| {
            let running = self
                .vertices
                .get(&target)
                .and_then(|vertex| vertex.running());
            Output {
                channel: channel.clone(),
                logical_id: target,
                instance: running.map(|id| (id, self.invocation_url(id.node_id))),
            }
        };
        vertex.outputs.iter().map(output).collect()
    }

    /// All who send to a vertex are told where it is now.
    pub(super) fn patch_senders_of(&mut self, logical_id: LogicalId) -> BTreeSet<PhysicalId> {
        let senders = self
            .dependants
            .get(&logical_id)
            .cloned()
            .unwrap_or_default();
        senders
            .into_iter()
            .filter_map(|sender| self.patch_sender(sender))
            .collect()
    }

    /// A vertex is told where its outputs lead now.
    pub(super) fn patch_sender(&mut self, sender: LogicalId) -> Option<PhysicalId> {
        let instance = self.vertices.get(&sender)?.instance?;
        let outputs = self.outputs_of(sender);
        let generation = self.decide();
        self.vertices.get_mut(&sender)?.generation = generation;
        let physical_id = instance.physical_id;
        let step = Step::Patch {
            physical_id,
            generation,
            outputs,
        };
        self.effects.push(Effect::Step {
            node_id: instance.node_id,
            step,
        });
        Some(physical_id)
    }

    /// Moves a vertex to a node that was asked for.
    pub(super) fn migrate(
        &mut self,
        logical_id: LogicalId,
        node_id: NodeId,
    ) -> Result<(), Refusal> {
        let vertex = self
            .vertices
            .get(&logical_id)
            .ok_or(Refusal::UnknownVertex(logical_id))?;
        if !self.nodes.contains_key(&node_id) {
            return Err(Refusal::UnknownNode(node_id));
        }
        if let Err(requirement) = self.fleet.takes(vertex.kind, vertex.ask, node_id) {
            let requirement = requirement.to_owned();
            return Err(Refusal::Infeasible {
                node_id,
                requirement,
            });
        }
        if vertex
            .instance
            .is_some_and(|instance| instance.node_id == node_id)
        {
            return Ok(());
        }
        self.move_away(logical_id, Some(node_id));
        Ok(())
    }

    /// Starts moving a vertex. A function is stopped first, as it may have saved state that has to
    /// go along, while its senders hold; a resource starts at its new place before the old one goes.
    pub(super) fn move_away(&mut self, logical_id: LogicalId, to: Option<NodeId>) {
        let Some(vertex) = self.vertices.get_mut(&logical_id) else {
            return;
        };
        let stateful = matches!(vertex.spec, VertexSpec::Function(_));
        vertex.wanted_node = to;
        let Some(old) = vertex.instance else {
            return self.place(logical_id);
        };
        match old.phase {
            Phase::Handing => return,
            Phase::Starting | Phase::Running => {}
        }
        if !self.is_placeable(logical_id) {
            return;
        }
        if stateful {
            if let Some(vertex) = self.vertices.get_mut(&logical_id)
                && let Some(instance) = &mut vertex.instance
            {
                instance.phase = Phase::Handing;
            }
            self.touch(logical_id);
            self.retire(logical_id, old);
            return;
        }
        let Ok(node_id) = self.choose(logical_id, to) else {
            return;
        };
        self.start_on(logical_id, node_id);
        // The old copy goes when the new one runs and the senders know: see `started`.
        let senders = BTreeSet::new();
        let retiring = Retiring {
            node_id: old.node_id,
            logical_id,
            senders,
        };
        self.retiring.insert(old.physical_id, retiring);
    }

    /// The senders to an old copy are patched; when all have confirmed, it is stopped.
    pub(super) fn retire(&mut self, logical_id: LogicalId, old: Instance) {
        let senders = self.patch_senders_of(logical_id);
        let retiring = Retiring {
            node_id: old.node_id,
            logical_id,
            senders,
        };
        self.retiring.insert(old.physical_id, retiring);
        self.lingering.insert((self.now + CONFIRM, old.physical_id));
        self.retire_ready();
    }

    /// Copies whose senders have all confirmed linger a little, then are stopped.
    pub(super) fn retire_ready(&mut self) {
        let at = self.now + self.settings.linger;
        let ready: Vec<_> = self
            .retiring
            .iter()
            .filter(|(physical_id, retiring)| {
                retiring.senders.is_empty() && !self.is_awaiting_successor(**physical_id, retiring)
            })
            .map(|(&physical_id, _)| physical_id)
            .collect();
        for physical_id in ready {
            let waits = self
                .lingering
                .iter()
                .any(|&(due, id)| id == physical_id && due <= at);
            if !waits {
                self.lingering.retain(|&(_, id)| id != physical_id);
                self.lingering.insert((at, physical_id));
            }
        }
    }

    /// Whether the copy still does the work, as its successor does not run yet.
    fn is_awaiting_successor(&self, physical_id: PhysicalId, retiring: &Retiring) -> bool {
        let vertex = self.vertices.get(&retiring.logical_id);
        vertex
            .and_then(|vertex| vertex.instance)
            .is_some_and(|instance| {
                instance.physical_id != physical_id && instance.phase == Phase::Starting
            })
    }

    pub(super) fn stop_retired(&mut self, physical_id: PhysicalId) {
        let Some(node_id) = self.retiring.get(&physical_id).map(|old| old.node_id) else {
            return;
        };
        let step = Step::Stop {
            physical_id,
            generation: self.decide(),
            drain: DRAIN,
        };
        self.effects.push(Effect::Step { node_id, step });
    }
}

impl Vertex {
    /// Where messages to it go now.
    pub(super) fn running(&self) -> Option<InstanceId> {
        let instance = self.instance?;
        let id = InstanceId {
            node_id: instance.node_id,
            physical_id: instance.physical_id,
        };
        (instance.phase == Phase::Running).then_some(id)
    }
}
