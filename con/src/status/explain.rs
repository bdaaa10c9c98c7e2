//! What a workflow does, and what limits it.

use edgeless_proto::{convert::id_from_wire, v1};
use edgeless_types::{LogicalId, Timestamp, WorkflowId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a workflow does, and what limits it. Figures are means over the last three seconds, or over three times of
/// handling where these are longer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub workflow_id: WorkflowId,
    /// For people.
    pub name: String,
    /// What limits it, or where most of the time of its events goes; absent: nothing happens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bottleneck: Option<BottleneckStatus>,
    /// Its functions and resources, by their names.
    pub vertices: Vec<VertexWork>,
}

/// The function that limits a workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BottleneckStatus {
    /// Its name.
    pub name: String,
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub logical_id: LogicalId,
    /// `rate`: more arrives than its copies handle; `queue`: what came earlier waits; `execution`: its handling takes
    /// long; `transfer`: messages are long on their way to it.
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

/// What a function or resource does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VertexWork {
    /// Its name.
    pub name: String,
    /// Function class or resource class.
    pub class: String,
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub logical_id: LogicalId,
    /// `function` or `resource`.
    pub kind: String,
    /// Copies that can take work.
    pub copies: u32,
    /// Copies that start.
    pub starting: u32,
    /// Copies that it may have; absent: it is not scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_instances: Option<u32>,
    /// Events handled per second.
    pub handled_per_second: f64,
    /// The share of its copies that is busy, from 0 to 1.
    pub busy: f64,
    /// Milliseconds of one handling; absent: nothing was handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_ms: Option<f64>,
    /// Milliseconds from the creation of an event to its handling: on the way, and waiting for a copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer_ms: Option<f64>,
    /// Events that wait.
    pub queued: u32,
    /// Age of the oldest of them, in seconds.
    pub oldest_s: f64,
    /// Why a copy that is desired does not run; absent: all run, or are being started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// The last decision for another number of copies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionStatus>,
}

/// A decision for another number of copies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DecisionStatus {
    /// When, `secs.nsecs`.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// By which policy.
    pub policy: String,
    /// How many copies there were to be before.
    pub before: u32,
    /// How many there are to be.
    pub copies: u32,
    /// Why, in words and numbers.
    pub reason: String,
}

impl Explanation {
    /// What a domain said.
    pub(crate) fn of(workflow_id: WorkflowId, name: &str, reply: v1::ExplainReply) -> Self {
        let vertices = reply.vertices.into_iter().filter_map(vertex);
        let mut vertices: Vec<VertexWork> = vertices.collect();
        vertices.sort_by(|a, b| (&a.kind, &a.name).cmp(&(&b.kind, &b.name)));
        Self {
            workflow_id,
            name: name.to_owned(),
            bottleneck: reply.bottleneck.and_then(bottleneck),
            vertices,
        }
    }
}

fn bottleneck(found: v1::Bottleneck) -> Option<BottleneckStatus> {
    Some(BottleneckStatus {
        logical_id: id_from_wire(&found.logical_id, "logical_id").ok()?,
        name: found.name,
        cause: found.cause,
        limits: found.limits,
        held: found.held,
        why: found.why,
        action: found.action,
    })
}

fn vertex(vertex: v1::VertexWork) -> Option<VertexWork> {
    Some(VertexWork {
        logical_id: id_from_wire(&vertex.logical_id, "logical_id").ok()?,
        name: vertex.name,
        class: vertex.class,
        kind: match vertex.is_function {
            true => "function".to_owned(),
            false => "resource".to_owned(),
        },
        copies: vertex.copies,
        starting: vertex.starting,
        max_instances: vertex.most,
        handled_per_second: vertex.handled_per_second,
        busy: vertex.busy,
        execution_ms: vertex.execution_ms,
        transfer_ms: vertex.transfer_ms,
        queued: vertex.queued,
        oldest_s: vertex.oldest_s,
        waiting: vertex.waiting,
        decision: vertex.decision.map(|it| DecisionStatus {
            at: Timestamp::from_nanos(it.at_ns),
            policy: it.policy,
            before: it.before,
            copies: it.copies,
            reason: it.reason,
        }),
    })
}
