//! What others may see of a domain.

use std::collections::{BTreeMap, BTreeSet};

use edgeless_types::{
    DomainId, LogicalId, NodeHealth, NodeId, Timestamp, WorkflowId,
    mirror::{ActiveInstance, RunningSince, Waiting},
};

use super::{Domain, Phase, Profile};
use crate::change::{Change, What};

/// A node as others see it.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeReport {
    /// Its id.
    pub node_id: NodeId,
    /// What it is.
    pub profile: Profile,
    /// How it was when it last said so.
    pub health: Option<NodeHealth>,
    /// Whether it takes nothing new.
    pub cordoned: bool,
    /// How many instances are there or on their way.
    pub instances: usize,
    /// When it was last heard of.
    pub last_update: Timestamp,
}

/// Totals over the nodes of a domain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Nodes.
    pub nodes: Vec<NodeReport>,
    /// Labels of any node.
    pub labels: BTreeSet<String>,
    /// Runtimes of any node.
    pub runtimes: BTreeSet<String>,
    /// Provider ids of all nodes.
    pub providers: BTreeSet<String>,
    /// Classes of resources that some node provides, with their outputs.
    pub classes: BTreeMap<String, Vec<String>>,
}

/// Numbers for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Registered nodes.
    pub nodes: usize,
    /// Desired vertices.
    pub vertices: usize,
    /// Desired vertices that do not run.
    pub waiting: usize,
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
            vertices: self.vertices.len(),
            waiting: self.unplaced.len(),
        }
    }

    /// All nodes.
    pub fn node_reports(&self) -> Vec<NodeReport> {
        let report = |(&node_id, node): (&NodeId, &super::nodes::Node)| NodeReport {
            node_id,
            profile: node.profile.clone(),
            health: node.health.clone(),
            cordoned: self.cordoned.contains(&node_id),
            instances: node.instances.len(),
            last_update: node.last_update,
        };
        self.nodes().iter().map(report).collect()
    }

    /// How many messages wait for each vertex that has no instance to take them.
    pub fn demand(&self) -> BTreeMap<LogicalId, u64> {
        let mut all = BTreeMap::<LogicalId, u64>::new();
        for demand in self.nodes().values().flat_map(|node| &node.demand) {
            let sender = self.by_physical.get(&demand.physical_id);
            let targets = sender
                .and_then(|sender| self.vertices.get(sender))
                .and_then(|vertex| vertex.outputs.get(&demand.channel));
            if let Some(&target) = targets {
                *all.entry(target).or_default() += demand.waiting;
            }
        }
        all
    }

    /// Totals, for ε-CON.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals {
            nodes: self.node_reports(),
            ..Totals::default()
        };
        for node in self.nodes().values().filter(|node| !node.leaving) {
            let capabilities = &node.profile.capabilities;
            totals.labels.extend(capabilities.labels.iter().cloned());
            totals
                .runtimes
                .extend(capabilities.runtimes.iter().cloned());
            for provider in &node.profile.providers {
                totals
                    .providers
                    .insert(provider.provider_id.as_str().to_owned());
                totals
                    .classes
                    .insert(provider.class_type.clone(), provider.outputs.clone());
            }
        }
        totals
    }

    /// A vertex as the mirror shows it; none: it is not desired.
    pub fn active_instance(&self, logical_id: LogicalId) -> Option<ActiveInstance> {
        let vertex = self.vertices.get(&logical_id)?;
        let shown = vertex
            .instance
            .filter(|instance| instance.phase != Phase::Starting);
        let instances = shown.map(|instance| RunningSince {
            node_id: instance.node_id,
            physical_id: instance.physical_id,
            since: instance.since,
        });
        let waiting = vertex.waiting.as_ref().map(|(since, reason)| Waiting {
            since: *since,
            reason: reason.clone(),
            message: reason.to_string(),
        });
        Some(ActiveInstance {
            logical_id,
            workflow_id: vertex.workflow_id,
            spec: vertex.spec.clone(),
            generation: vertex.generation,
            instances: instances.into_iter().collect(),
            waiting,
        })
    }

    /// All vertices as the mirror shows them.
    pub fn active_instances(&self) -> Vec<ActiveInstance> {
        self.vertices
            .keys()
            .filter_map(|&id| self.active_instance(id))
            .collect()
    }

    /// The vertices of a workflow.
    pub fn vertices_of(&self, workflow_id: WorkflowId) -> Vec<LogicalId> {
        let of = |(&id, vertex): (&LogicalId, &super::Vertex)| {
            (vertex.workflow_id == workflow_id).then_some(id)
        };
        self.vertices.iter().filter_map(of).collect()
    }

    /// The whole state as changes, from which a mirror is made whole.
    pub fn snapshot(&self, now: Timestamp) -> Vec<Change> {
        let mut changes = vec![What::Reset(self.id().clone())];
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
        for (&logical_id, vertex) in &self.vertices {
            changes.push(What::Dependencies(logical_id, vertex.outputs.clone()));
            let active = self.active_instance(logical_id).map(Box::new);
            changes.extend(active.map(What::Instance));
        }
        changes
            .into_iter()
            .map(|what| Change { at: now, what })
            .collect()
    }

    /// Where each node takes messages.
    pub(super) fn invocation_url(&self, node_id: NodeId) -> String {
        let node = self.nodes.get(&node_id);
        node.map(|node| node.profile.invocation_url.clone())
            .unwrap_or_default()
    }

    /// Nodes by id, for those who look.
    pub(super) fn nodes(&self) -> &BTreeMap<NodeId, super::nodes::Node> {
        &self.nodes
    }
}
