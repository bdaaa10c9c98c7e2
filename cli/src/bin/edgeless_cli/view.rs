//! What ε-CON answers, as far as it is shown. Fields that are not named here are ignored, so that
//! a client does not break when its server learns more; `--json` shows all of them.

use std::collections::BTreeMap;

use edgeless_types::Timestamp;
use serde::{Deserialize, Deserializer};

use crate::json::Json;

/// A value that is there, `null` too.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(from).map(Some)
}

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
    pub(crate) asleep: bool,
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

/// An order among others.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct OrderSummary {
    pub(crate) id: String,
    pub(crate) client: String,
    pub(crate) state: String,
    pub(crate) list: Option<Json>,
    pub(crate) done: Vec<String>,
    pub(crate) skipped: Vec<String>,
    pub(crate) tasks: u64,
    pub(crate) accepted: Option<Timestamp>,
    pub(crate) ended: Option<Timestamp>,
    pub(crate) reason: Option<String>,
}

/// What sending an order is answered with: that it is accepted, or how it has ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Submitted {
    pub(crate) id: String,
    pub(crate) again: bool,
    pub(crate) state: String,
    #[serde(deserialize_with = "given")]
    pub(crate) result: Option<Json>,
    pub(crate) reason: Option<String>,
    /// Why it is refused: a line of a batch.
    pub(crate) error: Option<Problem>,
}

/// A page of orders.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct OrderPage {
    pub(crate) orders: Vec<Json>,
    pub(crate) next: Option<String>,
}

/// An order with its trace.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Order {
    pub(crate) id: String,
    pub(crate) client: String,
    pub(crate) state: String,
    pub(crate) mode: String,
    pub(crate) input: Json,
    pub(crate) tasks: Json,
    #[serde(deserialize_with = "given")]
    pub(crate) result: Option<Json>,
    pub(crate) reason: Option<String>,
    pub(crate) accepted: Option<Timestamp>,
    pub(crate) ended: Option<Timestamp>,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) metadata: Option<Json>,
    pub(crate) parent: Option<String>,
    pub(crate) retry_of: Option<String>,
    pub(crate) retried_as: Option<String>,
    pub(crate) stages: Vec<Stage>,
    pub(crate) trace: Vec<Step>,
    pub(crate) outputs: Vec<OrderOutput>,
}

/// A stage of an order.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Stage {
    pub(crate) stage: String,
    pub(crate) state: String,
}

/// A task of an order that was begun or left out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Step {
    pub(crate) task: String,
    pub(crate) undo: bool,
    pub(crate) state: String,
    #[serde(deserialize_with = "given")]
    pub(crate) result: Option<Json>,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) orders: Vec<String>,
}

/// An attempt at a task.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Attempt {
    pub(crate) attempt: u64,
    pub(crate) instance: String,
    pub(crate) handed: Option<Timestamp>,
    pub(crate) ended: Option<Timestamp>,
    pub(crate) problem: Option<String>,
    pub(crate) again: Option<Timestamp>,
}

/// Where the end of an order is told.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct OrderOutput {
    pub(crate) to: String,
    pub(crate) delivered: bool,
    pub(crate) problem: Option<String>,
}

/// How all orders are.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Figures {
    pub(crate) active_orders: u64,
    pub(crate) active_tasks: u64,
    pub(crate) tasks_to_do: u64,
    pub(crate) accepted: u64,
    pub(crate) ended: u64,
    pub(crate) came_per_second: f64,
    pub(crate) ended_per_second: f64,
    pub(crate) clients: BTreeMap<String, u64>,
    pub(crate) services_running: u64,
    pub(crate) services_asleep: u64,
    pub(crate) services_off: u64,
    pub(crate) services_paused: u64,
    pub(crate) copies: u64,
    pub(crate) services: BTreeMap<String, ServiceFigures>,
}

/// How one service is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ServiceFigures {
    pub(crate) tasks_to_do: u64,
    pub(crate) waiting: u64,
    pub(crate) in_flight: u64,
    pub(crate) oldest_waiting_s: f64,
    pub(crate) came_per_second: f64,
    pub(crate) done_per_second: f64,
    pub(crate) done: u64,
    pub(crate) missed: u64,
    pub(crate) took_ms: f64,
    pub(crate) drain_s: Option<f64>,
    pub(crate) lines: u64,
    pub(crate) copies: u64,
    pub(crate) paused: bool,
}

/// A service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
    pub(crate) spec: ServiceSpec,
    pub(crate) workflow_id: Option<String>,
    pub(crate) figures: Option<ServiceFigures>,
}

/// What a service is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ServiceSpec {
    pub(crate) class_specification: Option<Function>,
    pub(crate) url: Option<String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) call: String,
    pub(crate) envelope: bool,
    pub(crate) idempotent: bool,
    pub(crate) min_instances: u64,
    pub(crate) max_instances: Option<u64>,
    pub(crate) idle_after: String,
    pub(crate) timeout: String,
    pub(crate) retries: Retries,
    pub(crate) concurrency: Option<u64>,
}

/// How often a task is tried.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Retries {
    pub(crate) attempts: u64,
    pub(crate) pause: String,
    pub(crate) longest: String,
}

/// A client of orders.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct OrderClient {
    pub(crate) name: String,
    pub(crate) contract: Contract,
    pub(crate) active_orders: u64,
}

/// What was agreed with a client.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Contract {
    pub(crate) tasks: Json,
    pub(crate) own_tasks: String,
    pub(crate) mode: String,
    pub(crate) deadline: Option<String>,
    pub(crate) priority: Option<u64>,
    pub(crate) weight: u64,
    pub(crate) limits: Limits,
    pub(crate) outputs: Vec<Json>,
}

/// How much a client may send.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Limits {
    pub(crate) orders_per_second: Option<f64>,
    pub(crate) burst: Option<u64>,
    pub(crate) active_orders: Option<u64>,
}
