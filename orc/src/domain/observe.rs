//! What others may see of a domain.

use std::collections::BTreeMap;

use edgeless_types::{
    Demand, DomainId, LogicalId, NodeHealth, NodeId, OrderDemand, Timestamp, WorkflowId,
    mirror::{ActiveInstance, RunningSince, Waiting},
    workflow::VertexSpec,
};

use super::{
    Domain, Profile, StartOutcome, VertexRequest,
    model::{Vertex, VertexKey},
};
use crate::change::{Change, What};

const FLAPS: &str = "came and went too often";

/// A node as others see it.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeReport {
    /// Its id.
    pub node_id: NodeId,
    /// What it is.
    pub profile: Profile,
    /// How it was when it last said so.
    pub health: Option<NodeHealth>,
    /// Whether it was told to take nothing new.
    pub cordoned: bool,
    /// Why it takes nothing new: `leaving`, `draining`, `drained`, `cordoned`, or `came and went too often`
    /// with how long it rests. None: it takes something.
    pub closed: Option<String>,
    /// How many instances are there or on their way.
    pub instances: usize,
    /// When it was last heard of.
    pub last_update: Timestamp,
}

/// Numbers for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Registered nodes.
    pub nodes: usize,
    /// Desired vertices.
    pub vertices: usize,
    /// Desired copies of them.
    pub replicas: usize,
    /// Desired copies that have no node.
    pub waiting: usize,
    /// Nodes that get nothing new because they came and went.
    pub flapping: usize,
    /// Nodes that have more than they have room for.
    pub overfull: usize,
}

/// Where a part of the whole state begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part(usize);

fn at(now: Timestamp, changes: Vec<What>) -> Vec<Change> {
    let changes = changes.into_iter();
    changes.map(|what| Change { at: now, what }).collect()
}

impl Domain {
    /// The domain's id.
    pub fn id(&self) -> &DomainId {
        &self.settings.domain_id
    }

    /// Numbers for the metrics.
    pub fn numbers(&self) -> Numbers {
        Numbers {
            nodes: self.nodes.len(),
            vertices: self.model.vertices().len(),
            replicas: self.model.replicas(),
            waiting: self.waiting.len(),
            flapping: self.absences.resting(),
            overfull: self.overfull.len(),
        }
    }

    /// All nodes.
    pub fn node_reports(&self) -> Vec<NodeReport> {
        let report = |(&node_id, node): (&NodeId, &super::nodes::Node)| NodeReport {
            node_id,
            profile: node.profile.clone(),
            health: node.health.clone(),
            cordoned: self.cordoned.contains(&node_id),
            closed: self.why_shown_closed(node_id, node.instances.is_empty()),
            instances: node.instances.len(),
            last_update: node.last_update,
        };
        self.nodes().iter().map(report).collect()
    }

    /// Whether a node is registered.
    pub fn has_node(&self, node_id: NodeId) -> bool {
        self.nodes.contains_key(&node_id)
    }

    /// The same, or it is gone and something is remembered of it that can be ended by hand.
    pub fn remembers_node(&self, node_id: NodeId) -> bool {
        self.has_node(node_id)
            || self.cordoned.contains(&node_id)
            || self.absences.rests_until(node_id).is_some()
    }

    /// Why a node takes nothing new; none: it does.
    pub(super) fn why_closed(&self, node_id: NodeId) -> Option<&'static str> {
        let node = self.nodes.get(&node_id);
        if node.is_some_and(|node| node.leaving) {
            Some("leaving")
        } else if self.cordoned.contains(&node_id) {
            Some("cordoned")
        } else if self.absences.rests_until(node_id).is_some() {
            Some(FLAPS)
        } else {
            None
        }
    }

    /// The same, of a node that is drained with how far that is, of one that rests with how long.
    fn why_shown_closed(&self, node_id: NodeId, is_empty: bool) -> Option<String> {
        let why = self.why_closed(node_id)?;
        let end = self.absences.rests_until(node_id);
        Some(match (why, end) {
            ("cordoned", _) if self.drains.contains_key(&node_id) => match is_empty {
                true => "drained".to_owned(),
                false => "draining".to_owned(),
            },
            (FLAPS, Some(end)) => {
                let left = end.since(self.now).as_secs_f64().ceil();
                format!("{FLAPS}, rests for another {left} s")
            }
            (why, _) => why.to_owned(),
        })
    }

    /// ε-CON says what orders want of services; vertices that are not desired here do not count.
    pub fn tell_demand(&mut self, mut demand: BTreeMap<LogicalId, OrderDemand>) {
        demand.retain(|logical_id, _| self.model.key_of(*logical_id).is_some());
        self.order_demand = demand;
        self.note_order_demand();
    }

    /// What orders want of services, as ε-CON said last.
    pub fn order_demand(&self) -> &BTreeMap<LogicalId, OrderDemand> {
        &self.order_demand
    }

    /// How many messages wait for each vertex that has no instance to take them.
    pub fn demand(&self) -> BTreeMap<LogicalId, u64> {
        let mut all = BTreeMap::<LogicalId, u64>::new();
        for demand in self.nodes().values().flat_map(|node| &node.demand) {
            if let Some(target) = self.target_of(demand) {
                *all.entry(target).or_default() += demand.waiting;
            }
        }
        all
    }

    /// The vertex for which something waits.
    pub(super) fn target_of(&self, demand: &Demand) -> Option<LogicalId> {
        let sender = self.model.replica_of(demand.physical_id)?;
        let vertex = self.model.vertex(self.model.replica(sender).vertex);
        let mut outputs = vertex.outputs.iter();
        let output = outputs.find(|(channel, _)| **channel == *demand.channel);
        output.map(|(_, target)| *target)
    }

    /// A vertex as the mirror shows it; none: it is not desired.
    pub fn active_instance(&self, logical_id: LogicalId) -> Option<ActiveInstance> {
        let key = self.model.key_of(logical_id)?;
        Some(self.active(self.model.vertex(key)))
    }

    /// A vertex as it was asked for; none: it is not desired.
    pub fn request(&self, logical_id: LogicalId) -> Option<VertexRequest> {
        let vertex = self.model.vertex(self.model.key_of(logical_id)?);
        let outputs = vertex.outputs.iter();
        Some(VertexRequest {
            logical_id,
            workflow_id: vertex.workflow_id,
            spec: VertexSpec::clone(&self.model.class(vertex.class).spec),
            outputs: outputs
                .map(|(channel, to)| (channel.to_string(), *to))
                .collect(),
        })
    }

    /// What a vertex has come to so far; none: it is not desired.
    pub fn outcome(&self, logical_id: LogicalId) -> Option<StartOutcome> {
        self.model.key_of(logical_id)?;
        Some(self.outcome_now(logical_id))
    }

    /// A vertex that observers are to be told of; none: it is gone.
    pub(super) fn take_touched(&mut self, key: VertexKey) -> Option<ActiveInstance> {
        let vertex = self.model.touched_mut(key)?;
        vertex.touched = false;
        Some(self.active(self.model.vertex(key)))
    }

    pub(super) fn active(&self, vertex: &Vertex) -> ActiveInstance {
        let replicas = vertex.replicas.iter().map(|&it| self.model.replica(it));
        let shown = replicas.clone().filter_map(|it| it.instance);
        let shown = shown.filter(|it| !it.phase.is_starting());
        let since = shown.map(|it| RunningSince {
            node_id: it.node_id,
            physical_id: it.physical_id,
            since: it.since,
        });
        let waiting = replicas.filter_map(|it| it.waiting.as_deref()).next();
        ActiveInstance {
            logical_id: vertex.logical_id,
            workflow_id: vertex.workflow_id,
            spec: std::sync::Arc::clone(&self.model.class(vertex.class).spec),
            generation: vertex.generation,
            instances: since.collect(),
            waiting: waiting.map(|(since, reason)| Waiting {
                since: *since,
                reason: reason.clone(),
                message: reason.to_string(),
            }),
        }
    }

    /// All vertices as the mirror shows them.
    pub fn active_instances(&self) -> Vec<ActiveInstance> {
        let mut all: Vec<_> = self
            .model
            .vertices()
            .map(|(_, it)| self.active(it))
            .collect();
        all.sort_unstable_by_key(|it| it.logical_id);
        all
    }

    /// The vertices of a workflow.
    pub fn vertices_of(&self, workflow_id: WorkflowId) -> Vec<LogicalId> {
        let keys = self.model.of_workflow(workflow_id).iter();
        let mut all: Vec<_> = keys.map(|&it| self.model.vertex(it).logical_id).collect();
        all.sort_unstable();
        all
    }

    /// The whole state as changes, from which a mirror is made whole.
    pub fn snapshot(&self, now: Timestamp) -> Vec<Change> {
        let (mut changes, mut next) = self.snapshot_part(None, now, usize::MAX);
        while next.is_some() {
            let part;
            (part, next) = self.snapshot_part(next, now, usize::MAX);
            changes.extend(part);
        }
        changes
    }

    /// A part of the whole state as changes, and where the next one begins; none: this was the last. The
    /// first has the nodes, the others so many vertices each. Who takes it in parts has to take what changes
    /// meanwhile as well, after it.
    pub fn snapshot_part(
        &self,
        part: Option<Part>,
        now: Timestamp,
        vertices: usize,
    ) -> (Vec<Change>, Option<Part>) {
        let mut changes = Vec::new();
        let Some(Part(from)) = part else {
            changes.push(What::Reset(self.id().clone()));
            for (&node_id, node) in self.nodes() {
                changes.push(What::Node(
                    node_id,
                    std::sync::Arc::clone(&node.profile.capabilities),
                ));
                changes.extend(node.profile.providers.iter().cloned().map(What::Provider));
                if let Some(health) = &node.health {
                    changes.push(What::Health(node_id, health.clone()));
                }
            }
            let told = self.bottlenecks();
            changes.extend(
                told.map(|it| What::Bottleneck(it.workflow_id, Some(Box::new(it.clone())))),
            );
            return (at(now, changes), Some(Part(0)));
        };
        let (those, next) = self.model.vertices_from(from, vertices);
        for vertex in those {
            let outputs = vertex.outputs.iter();
            let outputs = outputs.map(|(channel, to)| (channel.to_string(), *to));
            changes.push(What::Dependencies(vertex.logical_id, outputs.collect()));
            changes.push(What::Instance(Box::new(self.active(vertex))));
        }
        (at(now, changes), next.map(Part))
    }

    /// Where each node takes messages.
    pub(super) fn invocation_url(&self, node_id: NodeId) -> std::sync::Arc<str> {
        let node = self.nodes.get(&node_id);
        node.map_or_else(|| "".into(), |it| std::sync::Arc::clone(&it.invocation_url))
    }

    /// Nodes by id, for those who look.
    pub(super) fn nodes(&self) -> &BTreeMap<NodeId, super::nodes::Node> {
        &self.nodes
    }
}
