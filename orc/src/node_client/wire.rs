//! Steps as messages.

use std::collections::HashMap;

use edgeless_proto::{convert::id_bytes, v1};
use edgeless_types::NodeId;

use crate::domain::{Output, Step};

/// A call with these steps, and the addresses of all nodes they name.
pub(super) fn to_wire(steps: &[&Step]) -> v1::ApplyRequest {
    let mut peers: HashMap<NodeId, String> = HashMap::new();
    let steps = steps
        .iter()
        .map(|step| step_to_wire(step, &mut peers))
        .collect();
    let peer = |(node_id, invocation_url): (NodeId, String)| v1::Peer {
        node_id: id_bytes(&node_id),
        invocation_url,
    };
    v1::ApplyRequest {
        steps,
        peers: peers.into_iter().map(peer).collect(),
    }
}

fn step_to_wire(step: &Step, peers: &mut HashMap<NodeId, String>) -> v1::Step {
    let kind = match step.clone() {
        Step::Start {
            instance,
            spec,
            outputs,
            state,
            code: _,
        } => v1::step::Kind::Start(v1::StartInstance {
            instance: Some(instance.into()),
            spec: Some(std::sync::Arc::unwrap_or_clone(spec).into()),
            outputs: outputs_to_wire(outputs, peers),
            state,
        }),
        Step::Stop {
            physical_id,
            generation,
            drain,
        } => v1::step::Kind::Stop(v1::StopInstance {
            physical_id: id_bytes(&physical_id),
            generation: generation.0,
            drain_ms: u64::try_from(drain.as_millis()).unwrap_or(u64::MAX),
        }),
        Step::Patch {
            physical_id,
            generation,
            outputs,
        } => v1::step::Kind::Patch(v1::PatchInstance {
            physical_id: id_bytes(&physical_id),
            generation: generation.0,
            outputs: outputs_to_wire(outputs, peers),
        }),
    };
    v1::Step { kind: Some(kind) }
}

fn outputs_to_wire(outputs: Vec<Output>, peers: &mut HashMap<NodeId, String>) -> Vec<v1::Output> {
    let mut wire = Vec::with_capacity(outputs.len());
    for output in outputs {
        let instances = output.instances.into_iter().map(|(id, url)| {
            peers.entry(id.node_id).or_insert_with(|| url.to_string());
            v1::InstanceId::from(id)
        });
        wire.push(v1::Output {
            channel: output.channel.to_string(),
            logical_id: id_bytes(&output.logical_id),
            instances: instances.collect(),
        });
    }
    wire
}
