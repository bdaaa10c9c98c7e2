//! What clients are shown: workflows, domains, nodes, vertices.

mod asleep;
mod explain;
mod update;

use std::collections::{BTreeMap, HashMap};

use edgeless_proto::{convert::id_from_wire, v1};
use edgeless_types::{
    DomainId, InstanceId, LogicalId, NodeHealth, NodeId, PhysicalId, Timestamp, WorkflowId,
    workflow::VertexSpec,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{cluster::Cluster, orc_client::Started, store::WorkflowRecord};
use asleep::judged;
pub use explain::{BottleneckStatus, DecisionStatus, Explanation, VertexWork};
pub(crate) use update::{Reached, all_reached};
pub use update::{UpdateState, UpdateStatus, VertexUpdateStatus};

/// How a workflow is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkflowState {
    /// Every vertex runs, but for functions that sleep.
    Running,
    /// Some vertex does not run, or not all of its copies.
    Waiting,
    /// Its domain does not say.
    Unknown,
}

impl WorkflowState {
    /// The state in one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Unknown => "unknown",
        }
    }
}

/// A workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkflowStatus {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub workflow_id: WorkflowId,
    /// For people.
    pub name: String,
    /// In one word.
    pub state: WorkflowState,
    /// Where it is; absent while no domain can run it.
    pub domain_id: Option<String>,
    /// When it was accepted, `secs.nsecs`.
    #[schema(value_type = String)]
    pub accepted: Timestamp,
    /// Why it waits, as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// What of the document was left out, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Its last update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<UpdateStatus>,
    /// Vertices that compute.
    pub functions: Vec<VertexStatus>,
    /// Vertices that touch the outside world.
    pub resources: Vec<VertexStatus>,
}

/// A vertex.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VertexStatus {
    /// Its name in the workflow.
    pub name: String,
    /// Function class or resource class.
    pub class: String,
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub logical_id: LogicalId,
    /// Its workflow.
    #[schema(value_type = String, format = Uuid)]
    pub workflow_id: WorkflowId,
    /// Where it runs.
    pub instances: Vec<InstanceStatus>,
    /// Why it does not run, or not all of its copies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// It has no copy as nothing is wanted of it: its `min_instances` is 0.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asleep: bool,
    /// How far an update of it is that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<VertexUpdateStatus>,
}

/// A running copy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InstanceStatus {
    /// Its node.
    #[schema(value_type = String, format = Uuid)]
    pub node_id: NodeId,
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub physical_id: PhysicalId,
    /// Since when, `secs.nsecs`.
    #[schema(value_type = String)]
    pub since: Timestamp,
}

/// A domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DomainStatus {
    /// Its id.
    pub domain_id: String,
    /// Where its ε-ORC is.
    pub orchestrator_url: String,
    /// Nodes in it.
    pub nodes: u32,
    /// Cores over all nodes.
    pub cores: u32,
    /// Memory over all nodes in MiB.
    pub mem_size: u64,
    /// Processor time that may be promised, in thousandths of a core.
    pub cpu_millis: u64,
    /// What of it is free.
    pub free_cpu_millis: u64,
    /// The most that is free on one node.
    pub largest_free_cpu_millis: u64,
    /// Memory that may be promised, in MiB.
    pub memory_mib: u64,
    /// What of it is free.
    pub free_memory_mib: u64,
    /// The most that is free on one node.
    pub largest_free_memory_mib: u64,
    /// Labels of the domain itself.
    pub domain_labels: Vec<String>,
    /// Labels of nodes and how many have each; the most common ones.
    pub labels: BTreeMap<String, u32>,
    /// Runtimes and how many nodes have each.
    pub runtimes: BTreeMap<String, u32>,
    /// Classes of resources and how many nodes provide each.
    pub resource_classes: BTreeMap<String, u32>,
    /// Workflows in it.
    pub workflows: usize,
    /// Updates since its ε-ORC started.
    pub counter: u64,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeStatus {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub node_id: NodeId,
    /// Where it takes steps.
    pub agent_url: String,
    /// Where it takes messages.
    pub invocation_url: String,
    /// Cores.
    pub cores: u32,
    /// Memory in MiB.
    pub mem_size: u32,
    /// Labels.
    pub labels: Vec<String>,
    /// Runtimes.
    pub runtimes: Vec<String>,
    /// Classes of resources it provides.
    pub resource_classes: Vec<String>,
    /// How it was when it last said so.
    #[schema(value_type = Option<Object>)]
    pub health: Option<NodeHealth>,
    /// Whether it was told to take nothing new.
    pub cordoned: bool,
    /// Why it takes nothing new: `leaving`, `draining`, `drained`, `cordoned`, or `came and went too often`
    /// with how long it rests. Absent: it takes something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<String>,
    /// Instances there.
    pub instances: u32,
    /// When it was last heard of, `secs.nsecs`.
    #[schema(value_type = String)]
    pub last_update: Timestamp,
}

/// Where a workflow would go if it were started now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DryRun {
    /// Whether a start would be accepted without `wait`.
    pub fits: bool,
    /// The domain it would go to; where it fits nowhere, the one whose nodes are counted. Null: no domain
    /// answers.
    pub domain: Option<String>,
    /// Its vertices, functions first.
    pub vertices: Vec<WouldGo>,
    /// Why it would not go to the other domains, or to any.
    pub domains: BTreeMap<String, String>,
    /// What of the document would be left out, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Where a vertex would go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WouldGo {
    /// Its name in the workflow.
    pub name: String,
    /// One node for each copy that finds one.
    pub nodes: Vec<String>,
    /// Why a copy finds none: how many nodes each requirement excludes, such as
    /// `label_match_all: 3 of 5 nodes`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<String>,
}

type Seen = Result<HashMap<LogicalId, v1::VertexStatus>, String>;

/// A workflow with what its domain said of its vertices, or why nothing was said.
pub(crate) fn of_workflow(record: &WorkflowRecord, seen: Seen) -> WorkflowStatus {
    let mut status = summary(record);
    let mut seen = match seen {
        Ok(seen) => seen,
        Err(reason) => {
            // In a domain it may well run, whoever does not answer; in none it cannot.
            status.state = match record.domain_id {
                Some(_) => WorkflowState::Unknown,
                None => WorkflowState::Waiting,
            };
            vertices(&mut status).for_each(|vertex| vertex.waiting = Some(reason.clone()));
            status.waiting = Some(reason);
            return status;
        }
    };
    status.update = update::of_record(record, &seen);
    for vertex in vertices(&mut status) {
        match seen.remove(&vertex.logical_id).and_then(of_vertex) {
            Some(known) => {
                vertex.instances = known.instances;
                vertex.waiting = known.waiting;
                vertex.update = known.update;
            }
            None => vertex.waiting = Some("its domain does not know it yet".to_owned()),
        }
    }
    judged(status, record)
}

/// A workflow that its domain has just been told to start.
pub(crate) fn of_started(
    record: &WorkflowRecord,
    outcomes: Vec<Started>,
    now: Timestamp,
) -> WorkflowStatus {
    let ids = record.vertices.iter().map(|vertex| vertex.logical_id);
    let mut outcomes: HashMap<LogicalId, Started> = ids.zip(outcomes).collect();
    let mut status = summary(record);
    for vertex in vertices(&mut status) {
        match outcomes.remove(&vertex.logical_id) {
            Some(Started::Running(instances, waiting)) => {
                let of_instance = |instance: InstanceId| InstanceStatus {
                    node_id: instance.node_id,
                    physical_id: instance.physical_id,
                    since: now,
                };
                vertex.instances = instances.into_iter().map(of_instance).collect();
                vertex.waiting = waiting;
            }
            Some(Started::Waiting(reason) | Started::Refused(reason)) => {
                vertex.waiting = Some(reason);
            }
            None => {}
        }
    }
    judged(status, record)
}

fn vertices(status: &mut WorkflowStatus) -> impl Iterator<Item = &mut VertexStatus> {
    status.functions.iter_mut().chain(&mut status.resources)
}

/// A workflow without asking its domain.
fn summary(record: &WorkflowRecord) -> WorkflowStatus {
    let mut functions = Vec::new();
    let mut resources = Vec::new();
    for vertex in &record.vertices {
        let status = VertexStatus {
            name: vertex.spec.name().to_owned(),
            class: vertex.spec.class().to_owned(),
            logical_id: vertex.logical_id,
            workflow_id: record.workflow_id,
            instances: Vec::new(),
            waiting: None,
            asleep: false,
            update: None,
        };
        match vertex.spec {
            VertexSpec::Function(_) => functions.push(status),
            VertexSpec::Resource(_) => resources.push(status),
        }
    }
    WorkflowStatus {
        workflow_id: record.workflow_id,
        name: record.name.clone(),
        state: WorkflowState::Unknown,
        domain_id: record.domain_id.as_ref().map(ToString::to_string),
        accepted: record.accepted,
        waiting: None,
        notes: record.notes.clone(),
        update: update::of_record(record, &HashMap::new()),
        functions,
        resources,
    }
}

/// A vertex as its domain said; none when what it said cannot be read.
pub(crate) fn of_vertex(vertex: v1::VertexStatus) -> Option<VertexStatus> {
    let instance = |running: v1::RunningStatus| {
        Some(InstanceStatus {
            node_id: id_from_wire(&running.node_id, "node_id").ok()?,
            physical_id: id_from_wire(&running.physical_id, "physical_id").ok()?,
            since: Timestamp::from_nanos(running.since_ns),
        })
    };
    Some(VertexStatus {
        name: vertex.name,
        class: vertex.class,
        logical_id: id_from_wire(&vertex.logical_id, "logical_id").ok()?,
        workflow_id: id_from_wire(&vertex.workflow_id, "workflow_id").ok()?,
        instances: vertex.instances.into_iter().filter_map(instance).collect(),
        waiting: vertex.waiting,
        asleep: false,
        update: update::of_vertex(vertex.update),
    })
}

/// A node as its domain said; none when what it said cannot be read.
pub(crate) fn of_node(node: v1::NodeStatus) -> Option<NodeStatus> {
    let profile = node.profile?;
    let capabilities = profile.capabilities?;
    Some(NodeStatus {
        node_id: id_from_wire(&node.node_id, "node_id").ok()?,
        agent_url: profile.agent_url,
        invocation_url: profile.invocation_url,
        cores: capabilities.num_cores,
        mem_size: capabilities.mem_size,
        labels: capabilities.labels,
        runtimes: capabilities.runtimes,
        resource_classes: profile
            .providers
            .into_iter()
            .map(|one| one.class_type)
            .collect(),
        health: node.health.map(NodeHealth::from),
        cordoned: node.cordoned,
        closed: Some(node.closed).filter(|why| !why.is_empty()),
        instances: node.num_instances,
        last_update: Timestamp::from_nanos(node.last_update_ns),
    })
}

/// A domain as it said of itself; what was assigned since then is not free. None: it is not known.
pub(crate) fn of_domain(cluster: &Cluster, domain_id: &DomainId) -> Option<DomainStatus> {
    let domain = cluster.domains().get(domain_id)?;
    let totals = &domain.totals;
    let free = cluster.available(domain_id);
    Some(DomainStatus {
        domain_id: domain_id.to_string(),
        orchestrator_url: domain.orchestrator_url.clone(),
        nodes: totals.num_nodes,
        cores: totals.num_cores,
        mem_size: totals.mem_size,
        cpu_millis: totals.capacity.cpu_millis,
        free_cpu_millis: free.cpu_millis,
        largest_free_cpu_millis: totals.largest_free.cpu_millis.min(free.cpu_millis),
        memory_mib: totals.capacity.memory_mib,
        free_memory_mib: free.memory_mib,
        largest_free_memory_mib: totals.largest_free.memory_mib.min(free.memory_mib),
        domain_labels: domain.labels.iter().cloned().collect(),
        labels: totals.labels.clone(),
        runtimes: totals.runtimes.clone(),
        resource_classes: totals.classes.clone(),
        workflows: cluster.count(domain_id),
        counter: domain.counter,
    })
}
