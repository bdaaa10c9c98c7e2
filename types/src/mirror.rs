//! The mirror contract: names of keys and the JSON under them.
//!
//! ε-ORC writes these to Redis and serves the same over HTTP; `proxy_cli` and third parties read
//! them. Every id is a UUID string of its own.
//!
//! | key | value |
//! |---|---|
//! | `domain_info:domain_id` | the domain's id, plain text |
//! | `nodes:capabilities:<node_id>` | JSON [`crate::NodeCapabilities`] |
//! | `provider:<provider_id>` | JSON [`crate::ResourceProvider`] |
//! | `instance:<lid>` | JSON [`ActiveInstance`] |
//! | `dependency:<lid>` | JSON [`Dependencies`] |
//! | `nodes:capabilities:last_update`, `provider:last_update`, … | timestamp |
//! | `node:health:<node_id>` | sorted set of JSON [`crate::NodeHealth`], with its timestamp, see [`HealthMember`] |
//! | `performance:function_execution_time:<pid>` | sorted set of `timestamp:value`, seconds |
//! | `performance:function_transfer_time:<pid>` | sorted set of `timestamp:value`, seconds |
//! | `performance:<target>:<value>` | sorted set of `timestamp:value`, custom log entries |
//! | `performance:<target>:<pid>` | the same entries by the instance that wrote them (ours) |
//! | `bottleneck:<workflow_id>` | JSON [`Bottleneck`] of a workflow with traffic (ours) |
//! | `scaling:decisions` | list of JSON [`ScalingDecision`], the newest first (ours) |

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    Generation, InstanceId, LogicalId, NodeId, PhysicalId, ProviderId, Sample, Timestamp,
    WaitReason, WorkflowId,
    workflow::{OutputMapping, VertexSpec},
};

/// The key of the domain's id.
pub const DOMAIN_ID: &str = "domain_info:domain_id";
/// Updated with the capabilities of any node.
pub const CAPABILITIES_LAST_UPDATE: &str = "nodes:capabilities:last_update";
/// Updated with any provider.
pub const PROVIDER_LAST_UPDATE: &str = "provider:last_update";
/// Updated with any instance.
pub const INSTANCE_LAST_UPDATE: &str = "instance:last_update";
/// Updated with any dependency.
pub const DEPENDENCY_LAST_UPDATE: &str = "dependency:last_update";

/// Decisions about numbers of copies, the newest first.
pub const SCALING_DECISIONS: &str = "scaling:decisions";

/// The key of what limits a workflow.
pub fn bottleneck_key(workflow_id: WorkflowId) -> String {
    format!("bottleneck:{workflow_id}")
}

/// The key of a node's capabilities.
pub fn capabilities_key(node_id: NodeId) -> String {
    format!("nodes:capabilities:{node_id}")
}

/// The key of a provider.
pub fn provider_key(provider_id: &ProviderId) -> String {
    format!("provider:{provider_id}")
}

/// The key of an instance.
pub fn instance_key(logical_id: LogicalId) -> String {
    format!("instance:{logical_id}")
}

/// The key of the dependencies of a vertex.
pub fn dependency_key(logical_id: LogicalId) -> String {
    format!("dependency:{logical_id}")
}

/// The key of the sorted set of a node's health.
pub fn health_key(node_id: NodeId) -> String {
    format!("node:health:{node_id}")
}

/// The key of a sorted set of performance values; `metric` is a [`crate::SampleKind::name`] or
/// the target of a custom log entry.
pub fn performance_key(metric: &str, physical_id: PhysicalId) -> String {
    format!("performance:{metric}:{physical_id}")
}

/// The key of a custom log entry by its value, as document 004 tables it.
pub fn log_entry_key(target: &str, value: &str) -> String {
    format!("performance:{target}:{value}")
}

/// The element of a performance set.
pub fn performance_member(timestamp: Timestamp, value: impl std::fmt::Display) -> String {
    format!("{timestamp}:{value}")
}

/// Writes the element of a performance set behind what is there; gives back how much of it is its score: the moment
/// in microseconds, as a float holds no more, and reads fewer digits sooner. Within one the elements are in the order
/// of their texts, which begin with the whole moment.
pub fn write_performance_member(text: &mut String, sample: &Sample) -> usize {
    use std::fmt::Write as _;
    let begin = text.len();
    let to_memory = "writing to memory does not fail";
    write!(text, "{}", sample.timestamp).expect(to_memory);
    let score = text.len() - begin - 3;
    write!(text, ":{}", sample.secs()).expect(to_memory);
    score
}

/// A vertex as it is desired, and where it runs: the value of `instance:<lid>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveInstance {
    /// The vertex.
    pub logical_id: LogicalId,
    /// Its workflow.
    pub workflow_id: WorkflowId,
    /// What it is: a function or a resource, with its specification.
    pub spec: Arc<VertexSpec>,
    /// Counts the decisions about it.
    pub generation: Generation,
    /// Where it runs now.
    pub instances: Vec<RunningSince>,
    /// Why it does not run (yet); absent when it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
}

/// One running copy, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningSince {
    /// Its node.
    pub node_id: NodeId,
    /// Its physical id.
    pub physical_id: PhysicalId,
    /// When it was reported to run.
    pub since: Timestamp,
}

impl From<RunningSince> for InstanceId {
    fn from(running: RunningSince) -> Self {
        Self {
            node_id: running.node_id,
            physical_id: running.physical_id,
        }
    }
}

/// Why a vertex does not run, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// When it began to wait.
    pub since: Timestamp,
    /// Why.
    pub reason: WaitReason,
    /// The same in words.
    pub message: String,
}

/// The value of `dependency:<lid>`: output channels of the vertex and where they lead.
pub type Dependencies = OutputMapping;

/// All dependencies of a domain, by vertex.
pub type DependencyTable = BTreeMap<LogicalId, Dependencies>;

/// Another number of copies of a function was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScalingDecision {
    /// When.
    pub timestamp: Timestamp,
    /// Of which function.
    pub logical_id: LogicalId,
    /// By which policy.
    pub policy: String,
    /// How many copies there were to be before.
    pub before: u32,
    /// How many there are to be.
    pub copies: u32,
    /// Why, in words and numbers.
    pub reason: String,
}

/// What limits a workflow with traffic, or where most of the time of its events goes. Written when it is another one, and
/// every ten seconds with new numbers; gone when nothing happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bottleneck {
    /// When it was seen.
    pub timestamp: Timestamp,
    /// Of which workflow.
    pub workflow_id: WorkflowId,
    /// Which function.
    pub logical_id: LogicalId,
    /// Its name in the workflow.
    pub name: String,
    /// `rate`, `queue`, `execution` or `transfer`.
    pub cause: String,
    /// Whether the workflow would do more if this function did; else it is only where time goes.
    pub limits: bool,
    /// What keeps it from having more copies: `max_instances`, `no_room` or `not_scaled`; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// Why, in words and numbers.
    pub why: String,
    /// What the system does, or what would help.
    pub action: String,
}

/// The element of a node's health set: `<timestamp> <json>` would not be JSON, and two equal
/// health reports would be one element; so the JSON object carries its timestamp as a field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthMember {
    /// When the report arrived.
    pub timestamp: Timestamp,
    /// The report.
    #[serde(flatten)]
    pub health: crate::NodeHealth,
}
