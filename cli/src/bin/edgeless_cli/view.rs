//! What ε-CON answers, as far as it is shown. Fields that are not named here are ignored, so that
//! a client does not break when its server learns more; `--json` shows all of them.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A problem document (RFC 9457).
#[derive(Clone, Debug, Default, Deserialize, serde::Serialize)]
#[serde(default)]
pub(crate) struct Problem {
    /// Names the kind of problem.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The kind in words.
    pub(crate) title: String,
    /// The HTTP status.
    pub(crate) status: u16,
    /// What is wrong here.
    pub(crate) detail: String,
    /// The first thing that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pointer: Option<String>,
    /// Everything that is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<Fault>,
}

/// One thing that is wrong with a document.
#[derive(Clone, Debug, Default, Deserialize, serde::Serialize)]
#[serde(default)]
pub(crate) struct Fault {
    /// Where.
    pub(crate) pointer: String,
    /// What.
    pub(crate) detail: String,
}

/// A workflow.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Workflow {
    pub(crate) workflow_id: String,
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) domain_id: Option<String>,
    pub(crate) waiting: Option<String>,
    pub(crate) notes: Vec<String>,
    pub(crate) update: Option<Update>,
    pub(crate) functions: Vec<Vertex>,
    pub(crate) resources: Vec<Vertex>,
}

/// A function or resource of a workflow.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Vertex {
    pub(crate) name: String,
    pub(crate) class: String,
    pub(crate) logical_id: String,
    pub(crate) workflow_id: String,
    pub(crate) instances: Vec<Instance>,
    pub(crate) waiting: Option<String>,
    pub(crate) update: Option<VertexUpdate>,
}

/// The last update of a workflow.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Update {
    pub(crate) state: String,
    pub(crate) vertices: u64,
    pub(crate) updated: u64,
    pub(crate) reason: Option<String>,
}

/// How far the update of a vertex is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct VertexUpdate {
    pub(crate) copies: u64,
    pub(crate) updated: u64,
    pub(crate) waiting: Option<String>,
}

/// A running copy.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Instance {
    pub(crate) node_id: String,
    pub(crate) physical_id: String,
    pub(crate) since: String,
}

/// Where a workflow would go.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct DryRun {
    pub(crate) fits: bool,
    pub(crate) domain: Option<String>,
    pub(crate) vertices: Vec<WouldGo>,
    pub(crate) domains: BTreeMap<String, String>,
    pub(crate) notes: Vec<String>,
}

/// Where a vertex would go.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WouldGo {
    pub(crate) name: String,
    pub(crate) nodes: Vec<String>,
    pub(crate) excluded: Vec<String>,
}

/// A domain.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Domain {
    pub(crate) domain_id: String,
    pub(crate) orchestrator_url: String,
    pub(crate) nodes: u64,
    pub(crate) cores: u64,
    pub(crate) cpu_millis: u64,
    pub(crate) free_cpu_millis: u64,
    pub(crate) largest_free_cpu_millis: u64,
    pub(crate) memory_mib: u64,
    pub(crate) free_memory_mib: u64,
    pub(crate) largest_free_memory_mib: u64,
    pub(crate) domain_labels: Vec<String>,
    pub(crate) labels: BTreeMap<String, u64>,
    pub(crate) runtimes: BTreeMap<String, u64>,
    pub(crate) resource_classes: BTreeMap<String, u64>,
    pub(crate) workflows: u64,
}

/// A node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Node {
    pub(crate) node_id: String,
    pub(crate) agent_url: String,
    pub(crate) invocation_url: String,
    pub(crate) cores: u64,
    pub(crate) mem_size: u64,
    pub(crate) labels: Vec<String>,
    pub(crate) runtimes: Vec<String>,
    pub(crate) resource_classes: Vec<String>,
    pub(crate) cordoned: bool,
    pub(crate) closed: Option<String>,
    pub(crate) instances: u64,
    pub(crate) last_update: String,
}

/// A class of functions.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Function {
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) function_type: String,
    pub(crate) outputs: Vec<String>,
    pub(crate) digest: String,
}
