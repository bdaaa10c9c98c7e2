//! How a workflow is as a whole: functions that sleep do not keep it from running.

use std::collections::HashSet;

use edgeless_types::{LogicalId, workflow::VertexSpec};

use super::{VertexStatus, WorkflowState, WorkflowStatus, vertices};
use crate::store::WorkflowRecord;

/// The state of a whole follows from its vertices.
pub(super) fn judged(mut status: WorkflowStatus, record: &WorkflowRecord) -> WorkflowStatus {
    let may_sleep = record.vertices.iter().filter(|it| may_sleep(&it.spec));
    let may_sleep: HashSet<LogicalId> = may_sleep.map(|it| it.logical_id).collect();
    for vertex in vertices(&mut status) {
        let has_copies = vertex.waiting.is_some() || !vertex.instances.is_empty();
        vertex.asleep = !has_copies && may_sleep.contains(&vertex.logical_id);
    }
    let runs = |vertex: &mut VertexStatus| {
        vertex.asleep || vertex.waiting.is_none() && !vertex.instances.is_empty()
    };
    let all_run = vertices(&mut status).all(runs);
    status.state = match all_run {
        true => WorkflowState::Running,
        false => WorkflowState::Waiting,
    };
    status
}

/// Whether a vertex is switched off when nothing is wanted of it.
fn may_sleep(spec: &VertexSpec) -> bool {
    let VertexSpec::Function(function) = spec else {
        return false;
    };
    let least = function.annotations.get("min_instances");
    least.is_some_and(|it| it.trim() == "0")
}
