//! What a domain keeps of its vertices, with the indices over it. Pure, and it decides nothing.
//!
//! A [`Vertex`] is what is desired; its [`Replica`]s are the copies that are to run, each with at most one
//! [`Instance`]. What many vertices have in common is kept once, in a [`Class`]. Everything is found by
//! a place in a slab or by a hash: nothing here walks over all vertices.

#[cfg(test)]
mod check;
mod parts;

use std::sync::Arc;

use edgeless_types::{
    Generation, LogicalId, PhysicalId, RequirementError, Requirements, Timestamp, WaitReason,
    WorkflowId,
    workflow::{OutputMapping, VertexSpec},
};
use rustc_hash::FxHashMap;
use slab::Slab;
use smallvec::SmallVec;

use crate::{
    plan::{
        Ask,
        fleet::{Fleet, Kind},
    },
    scale::Settings,
};
pub(super) use parts::{
    Class, ClassKey, Instance, Outputs, Phase, Replica, ReplicaKey, Vertex, VertexKey,
};

/// Vertices, replicas, classes, and where to find them.
#[derive(Debug, Default)]
pub(super) struct Model {
    classes: Slab<Class>,
    by_spec: FxHashMap<Arc<VertexSpec>, ClassKey>,
    vertices: Slab<Vertex>,
    replicas: Slab<Replica>,
    by_logical: FxHashMap<LogicalId, VertexKey>,
    by_physical: FxHashMap<PhysicalId, ReplicaKey>,
    by_workflow: FxHashMap<WorkflowId, Vec<VertexKey>>,
    /// Who sends to a vertex, whether it is desired or not.
    senders: FxHashMap<LogicalId, SmallVec<[VertexKey; 2]>>,
    /// Names of channels, and how many outputs have each.
    channels: FxHashMap<Arc<str>, usize>,
}

impl Model {
    /// The class of a specification.
    ///
    /// # Errors
    /// Its annotations are wrong.
    pub(super) fn enter_class(
        &mut self,
        spec: VertexSpec,
        fleet: &mut Fleet,
    ) -> Result<ClassKey, RequirementError> {
        if let Some(&key) = self.by_spec.get(&spec) {
            self.classes[key.0].users += 1;
            return Ok(key);
        }
        let requirements = match &spec {
            VertexSpec::Function(function) => {
                let read = Settings::from_annotations(&function.annotations, &Settings::default());
                read.map_err(|error| RequirementError {
                    key: error.key.to_owned(),
                    problem: error.problem,
                })?;
                Requirements::from_annotations(&function.annotations)?
            }
            VertexSpec::Resource(_) => Requirements::default(),
        };
        let kind = Kind::of(&spec, &requirements);
        let preferred = &requirements.label_prefer;
        let preferred = (1..=preferred.len())
            .rev()
            .map(|number| fleet.enter(kind.narrowed(&preferred[..number])))
            .collect();
        let spec = Arc::new(spec);
        let class = Class {
            spec: Arc::clone(&spec),
            kind: fleet.enter(kind),
            ask: Ask::from(&requirements),
            requirements,
            preferred,
            zones: FxHashMap::default(),
            fingerprint: spec.fingerprint(),
            of_copy: spec.copy_fingerprint(),
            users: 1,
        };
        let key = ClassKey(self.classes.insert(class));
        self.by_spec.insert(spec, key);
        Ok(key)
    }

    /// One user of a class less.
    pub(super) fn leave_class(&mut self, key: ClassKey, fleet: &mut Fleet) {
        let class = &mut self.classes[key.0];
        class.users -= 1;
        if class.users > 0 {
            return;
        }
        let class = self.classes.remove(key.0);
        self.by_spec.remove(&class.spec);
        let zones = class.zones.into_values();
        for kind in zones.chain(class.preferred).chain([class.kind]) {
            fleet.leave(kind);
        }
    }

    /// One user of a class more.
    pub(super) fn share_class(&mut self, key: ClassKey) {
        self.classes[key.0].users += 1;
    }

    pub(super) fn class(&self, key: ClassKey) -> &Class {
        &self.classes[key.0]
    }

    pub(super) fn class_mut(&mut self, key: ClassKey) -> &mut Class {
        &mut self.classes[key.0]
    }

    /// A new vertex without replicas.
    pub(super) fn insert_vertex(
        &mut self,
        logical_id: LogicalId,
        workflow_id: WorkflowId,
        class: ClassKey,
        outputs: &OutputMapping,
    ) -> VertexKey {
        let key = VertexKey(self.vertices.insert(Vertex {
            logical_id,
            workflow_id,
            class,
            outputs: Box::default(),
            generation: Generation::default(),
            replicas: SmallVec::new(),
            update: None,
            touched: false,
        }));
        self.by_logical.insert(logical_id, key);
        self.by_workflow.entry(workflow_id).or_default().push(key);
        self.set_outputs(key, outputs);
        key
    }

    /// A vertex without replicas goes.
    pub(super) fn remove_vertex(&mut self, key: VertexKey) -> Vertex {
        self.set_outputs(key, &OutputMapping::new());
        let vertex = self.vertices.remove(key.0);
        self.by_logical.remove(&vertex.logical_id);
        if let Some(all) = self.by_workflow.get_mut(&vertex.workflow_id) {
            if let Some(place) = all.iter().position(|it| *it == key) {
                all.swap_remove(place);
            }
            if all.is_empty() {
                self.by_workflow.remove(&vertex.workflow_id);
            }
        }
        vertex
    }

    /// Leads the outputs of a vertex elsewhere.
    pub(super) fn set_outputs(&mut self, key: VertexKey, outputs: &OutputMapping) {
        let channels = &mut self.channels;
        let mut intern = |channel: &String| {
            let known = channels.get_key_value(channel.as_str());
            let known = known.map(|(known, _)| Arc::clone(known));
            let name = known.unwrap_or_else(|| channel.as_str().into());
            *channels.entry(Arc::clone(&name)).or_default() += 1;
            name
        };
        let new: Outputs = outputs
            .iter()
            .map(|(channel, &to)| (intern(channel), to))
            .collect();
        let old = std::mem::replace(&mut self.vertices[key.0].outputs, new);
        for (channel, target) in &old {
            if let Some(senders) = self.senders.get_mut(target) {
                senders.retain(|it| *it != key);
                if senders.is_empty() {
                    self.senders.remove(target);
                }
            }
            if let Some(users) = self.channels.get_mut(channel) {
                *users -= 1;
                if *users == 0 {
                    self.channels.remove(channel);
                }
            }
        }
        for (_, target) in &self.vertices[key.0].outputs {
            let senders = self.senders.entry(*target).or_default();
            if !senders.contains(&key) {
                senders.push(key);
            }
        }
    }

    pub(super) fn key_of(&self, logical_id: LogicalId) -> Option<VertexKey> {
        self.by_logical.get(&logical_id).copied()
    }

    pub(super) fn vertex(&self, key: VertexKey) -> &Vertex {
        &self.vertices[key.0]
    }

    pub(super) fn vertex_mut(&mut self, key: VertexKey) -> &mut Vertex {
        &mut self.vertices[key.0]
    }

    /// A vertex of which observers are to be told; none: it is gone, or they know.
    pub(super) fn touched_mut(&mut self, key: VertexKey) -> Option<&mut Vertex> {
        self.vertices.get_mut(key.0).filter(|it| it.touched)
    }

    /// All vertices, in no order.
    pub(super) fn vertices(&self) -> impl ExactSizeIterator<Item = (VertexKey, &Vertex)> {
        self.vertices.iter().map(|(key, it)| (VertexKey(key), it))
    }

    /// So many vertices from a place on, and the place after them; none: there are no more.
    pub(super) fn vertices_from(&self, from: usize, most: usize) -> (Vec<&Vertex>, Option<usize>) {
        let mut found = Vec::new();
        for place in from..self.vertices.capacity() {
            if found.len() >= most {
                return (found, Some(place));
            }
            found.extend(self.vertices.get(place));
        }
        (found, None)
    }

    /// The vertices of a workflow, in no order.
    pub(super) fn of_workflow(&self, workflow_id: WorkflowId) -> &[VertexKey] {
        self.by_workflow
            .get(&workflow_id)
            .map_or(&[], Vec::as_slice)
    }

    /// Who sends to a vertex.
    pub(super) fn senders_of(&self, logical_id: LogicalId) -> SmallVec<[VertexKey; 2]> {
        self.senders.get(&logical_id).cloned().unwrap_or_default()
    }

    /// A vertex gets one more replica.
    pub(super) fn add_replica(&mut self, vertex: VertexKey, now: Timestamp) -> ReplicaKey {
        let key = ReplicaKey(self.replicas.insert(Replica {
            vertex,
            instance: None,
            waiting: Some(Box::new((now, WaitReason::Starting))),
            extra: None,
        }));
        self.vertices[vertex.0].replicas.push(key);
        key
    }

    /// A replica goes; its vertex stays.
    pub(super) fn remove_replica(&mut self, key: ReplicaKey) -> Replica {
        let replica = self.replicas.remove(key.0);
        self.vertices[replica.vertex.0]
            .replicas
            .retain(|it| *it != key);
        replica
    }

    pub(super) fn replica(&self, key: ReplicaKey) -> &Replica {
        &self.replicas[key.0]
    }

    pub(super) fn replica_mut(&mut self, key: ReplicaKey) -> &mut Replica {
        &mut self.replicas[key.0]
    }

    pub(super) fn replicas(&self) -> usize {
        self.replicas.len()
    }

    /// Whether a replica is still there.
    pub(super) fn has_replica(&self, key: ReplicaKey) -> bool {
        self.replicas.contains(key.0)
    }

    /// The class of the vertex of a replica.
    pub(super) fn class_of(&self, key: ReplicaKey) -> &Class {
        let vertex = self.replicas[key.0].vertex;
        &self.classes[self.vertices[vertex.0].class.0]
    }

    /// The replica whose copy this is, or was until it has stopped.
    pub(super) fn replica_of(&self, physical_id: PhysicalId) -> Option<ReplicaKey> {
        self.by_physical.get(&physical_id).copied()
    }

    /// A copy belongs to a replica from now on.
    pub(super) fn bind(&mut self, physical_id: PhysicalId, key: ReplicaKey) {
        self.by_physical.insert(physical_id, key);
    }

    /// A copy belongs to nothing any more.
    pub(super) fn unbind(&mut self, physical_id: PhysicalId) -> Option<ReplicaKey> {
        self.by_physical.remove(&physical_id)
    }
}
