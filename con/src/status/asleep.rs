//! How a workflow is as a whole: functions that sleep do not keep it from running.

use std::collections::HashSet;

use edgeless_types::{LogicalId, Requirements, workflow::VertexSpec};

use super::{VertexStatus, WorkflowState, WorkflowStatus, vertices};
use crate::store::WorkflowRecord;

/// The state of a whole follows from its vertices.
pub(super) fn judged(mut status: WorkflowStatus, record: &WorkflowRecord) -> WorkflowStatus {
    let has_no_copy = |it: &&mut VertexStatus| it.waiting.is_none() && it.instances.is_empty();
    let without = vertices(&mut status).filter(has_no_copy);
    let without: HashSet<LogicalId> = without.map(|it| it.logical_id).collect();
    let asleep = record.vertices.iter();
    let asleep = asleep.filter(|it| without.contains(&it.logical_id) && may_sleep(&it.spec));
    let asleep: HashSet<LogicalId> = asleep.map(|it| it.logical_id).collect();
    for vertex in vertices(&mut status) {
        vertex.asleep = asleep.contains(&vertex.logical_id);
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
    Requirements::from_annotations(&function.annotations).is_ok_and(|it| it.may_sleep())
}
