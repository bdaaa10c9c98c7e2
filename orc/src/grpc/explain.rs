//! What a workflow does and what limits it, on the wire.

use edgeless_proto::{convert::id_bytes, v1};
use edgeless_types::mirror::{Bottleneck, ScalingDecision};

use crate::domain::{Explanation, StageReport};

pub(super) fn to_wire(explanation: Explanation) -> v1::ExplainReply {
    let vertices = explanation.stages.into_iter().map(stage_to_wire);
    v1::ExplainReply {
        vertices: vertices.collect(),
        bottleneck: explanation.bottleneck.map(bottleneck_to_wire),
    }
}

fn stage_to_wire(report: StageReport) -> v1::VertexWork {
    let stage = report.stage;
    let milliseconds = |seconds: f64| 1e3 * seconds;
    v1::VertexWork {
        logical_id: id_bytes(&report.logical_id),
        name: report.name,
        class: report.class,
        is_function: stage.slots > 0,
        copies: stage.copies,
        starting: stage.starting,
        most: stage.is_scaled.then_some(stage.most),
        handled_per_second: stage.now.rate,
        busy: stage.busy(),
        execution_ms: stage.now.service.map(milliseconds),
        transfer_ms: stage.now.transfer.map(milliseconds),
        queued: stage.now.queued,
        oldest_s: stage.now.oldest,
        waiting: report.waiting,
        decision: report.decision.map(|it| {
            let ScalingDecision {
                timestamp,
                policy,
                before,
                copies,
                reason,
                ..
            } = *it;
            v1::ScalingDecision {
                at_ns: timestamp.as_nanos(),
                policy,
                before,
                copies,
                reason,
            }
        }),
    }
}

fn bottleneck_to_wire(found: Bottleneck) -> v1::Bottleneck {
    v1::Bottleneck {
        logical_id: id_bytes(&found.logical_id),
        name: found.name,
        cause: found.cause,
        limits: found.limits,
        held: found.held,
        why: found.why,
        action: found.action,
    }
}
