//! The gRPC service at `agent_url`: takes requests apart, asks the agent, shapes the answers.

mod tap;

use std::{pin::Pin, sync::Arc, time::Duration};

use edgeless_daemon::code::{CodeStore, PutError};
use edgeless_proto::{
    convert::{ConvertError, digest_from_wire, id_from_wire, required, spec_from_wire},
    v1::{self, node_agent_server, step_outcome},
};
use edgeless_types::{Generation, InstanceId, RunningInstance};
use futures_util::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::agent::{Agent, Host, Outcome, Output, Patch, Start, Step, Stop};

/// The longest message taken: code of 64 MiB and what is around it.
pub const MAX_MESSAGE_BYTES: usize = (64 << 20) + (1 << 16);

/// Longer drains are cut to this.
const MAX_DRAIN: Duration = Duration::from_secs(600);

/// Learns where peers take messages.
pub trait Peers: Send + Sync + 'static {
    /// A peer is at this address.
    fn learn(&self, peers: Vec<(edgeless_types::NodeId, String)>);
}

/// The service `NodeAgent`.
pub struct Service<H, P> {
    agent: Agent<H>,
    code: CodeStore,
    peers: Arc<P>,
    closed: CancellationToken,
}

impl<H: Host, P: Peers> Service<H, P> {
    /// The service over an agent, ready to be added to a server; takes no more steps once `closed`.
    pub fn server(
        agent: Agent<H>,
        code: CodeStore,
        peers: P,
        closed: CancellationToken,
    ) -> node_agent_server::NodeAgentServer<Self> {
        let peers = Arc::new(peers);
        let service = Self {
            agent,
            code,
            peers,
            closed,
        };
        node_agent_server::NodeAgentServer::new(service)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }
}

#[tonic::async_trait]
impl<H: Host, P: Peers> node_agent_server::NodeAgent for Service<H, P> {
    type ApplyStream = Pin<Box<dyn Stream<Item = Result<v1::ApplyReply, Status>> + Send>>;

    async fn apply(
        &self,
        requests: Request<Streaming<v1::ApplyRequest>>,
    ) -> Result<Response<Self::ApplyStream>, Status> {
        let (agent, peers) = (self.agent.clone(), Arc::clone(&self.peers));
        let replies = requests.into_inner().then(move |request| {
            let (agent, peers) = (agent.clone(), Arc::clone(&peers));
            async move { apply(&agent, &*peers, request?).await }
        });
        let closed = self.closed.clone().cancelled_owned();
        Ok(Response::new(Box::pin(replies.take_until(closed))))
    }

    type TapStream = tap::Messages;

    async fn tap(
        &self,
        request: Request<v1::TapRequest>,
    ) -> Result<Response<Self::TapStream>, Status> {
        let (physical_id, plan) = tap::plan(request.into_inner())?;
        let messages = self.agent.host().tap(physical_id, plan).await;
        let messages = messages.ok_or_else(|| {
            Status::not_found(format!("instance {physical_id} does not run here"))
        })?;
        Ok(Response::new(tap::messages(messages)))
    }

    async fn put_code(
        &self,
        request: Request<v1::PutCodeRequest>,
    ) -> Result<Response<v1::PutCodeReply>, Status> {
        let request = request.into_inner();
        let digest = digest_from_wire(&request.digest, "digest")?;
        match self.code.put(digest, request.code).await {
            Ok(()) => Ok(Response::new(v1::PutCodeReply {})),
            Err(error @ PutError::Digest { .. }) => {
                Err(ConvertError::new("digest", error.to_string()).into())
            }
            Err(PutError::Write { digest, source }) => {
                let message = format!("could not keep the code {digest}: {source}");
                Err(Status::resource_exhausted(message))
            }
        }
    }
}

async fn apply<H: Host, P: Peers>(
    agent: &Agent<H>,
    peers: &P,
    request: v1::ApplyRequest,
) -> Result<v1::ApplyReply, Status> {
    let learnt = request.peers.into_iter().enumerate().map(|(index, peer)| {
        let id = id_from_wire(&peer.node_id, &format!("peers[{index}].node_id"))?;
        Ok((id, peer.invocation_url))
    });
    let learnt = learnt.collect::<Result<Vec<_>, ConvertError>>()?;
    let steps = request.steps.into_iter().enumerate().map(|(index, step)| {
        step_from_wire(step).map_err(|error| error.below(&format!("steps[{index}]")))
    });
    let steps = steps.collect::<Result<Vec<_>, ConvertError>>()?;
    if !learnt.is_empty() {
        peers.learn(learnt);
    }
    let outcomes = agent.apply(steps).await;
    let outcomes = outcomes.into_iter().map(outcome_to_wire).collect();
    Ok(v1::ApplyReply { outcomes })
}

fn step_from_wire(step: v1::Step) -> Result<Step, ConvertError> {
    match required(step.kind, "kind")? {
        v1::step::Kind::Start(start) => start_from_wire(start)
            .map(|start| Step::Start(Box::new(start)))
            .map_err(|error| error.below("start")),
        v1::step::Kind::Stop(stop) => stop_from_wire(&stop)
            .map(Step::Stop)
            .map_err(|error| error.below("stop")),
        v1::step::Kind::Patch(patch) => patch_from_wire(patch)
            .map(Step::Patch)
            .map_err(|error| error.below("patch")),
    }
}

fn start_from_wire(start: v1::StartInstance) -> Result<Start, ConvertError> {
    let instance = required(start.instance, "instance")?;
    Ok(Start {
        instance: RunningInstance::try_from(instance).map_err(|error| error.below("instance"))?,
        spec: spec_from_wire(start.spec)?,
        outputs: outputs_from_wire(start.outputs)?,
        state: start.state,
    })
}

fn stop_from_wire(stop: &v1::StopInstance) -> Result<Stop, ConvertError> {
    Ok(Stop {
        physical_id: id_from_wire(&stop.physical_id, "physical_id")?,
        generation: Generation(stop.generation),
        drain: Duration::from_millis(stop.drain_ms).min(MAX_DRAIN),
    })
}

fn patch_from_wire(patch: v1::PatchInstance) -> Result<Patch, ConvertError> {
    Ok(Patch {
        physical_id: id_from_wire(&patch.physical_id, "physical_id")?,
        generation: Generation(patch.generation),
        outputs: outputs_from_wire(patch.outputs)?,
    })
}

fn outputs_from_wire(outputs: Vec<v1::Output>) -> Result<Vec<Output>, ConvertError> {
    let read = |(index, output): (usize, v1::Output)| {
        let field = |name: &str| format!("outputs[{index}].{name}");
        if output.channel.is_empty() {
            return Err(ConvertError::new(field("channel"), "is empty"));
        }
        let instances = output.instances.into_iter().map(InstanceId::try_from);
        Ok(Output {
            channel: output.channel,
            logical_id: id_from_wire(&output.logical_id, &field("logical_id"))?,
            instances: instances
                .collect::<Result<_, _>>()
                .map_err(|error| error.below(&field("instances")))?,
        })
    };
    outputs.into_iter().enumerate().map(read).collect()
}

fn outcome_to_wire(outcome: Outcome) -> v1::StepOutcome {
    let kind = match outcome {
        Outcome::Done { state } => step_outcome::Kind::Done(v1::StepDone { state }),
        Outcome::Working => step_outcome::Kind::Working(v1::StepWorking {}),
        Outcome::MissingCode(digest) => step_outcome::Kind::MissingCode(v1::MissingCode {
            digest: digest.as_bytes().to_vec().into(),
        }),
        Outcome::Failed(message) => step_outcome::Kind::Failed(message),
    };
    v1::StepOutcome { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn id(number: u8) -> Bytes {
        Bytes::copy_from_slice(&[number; 16])
    }

    fn start() -> v1::StartInstance {
        v1::StartInstance {
            instance: Some(v1::RunningInstance {
                physical_id: id(1),
                logical_id: id(2),
                workflow_id: id(3),
                generation: 4,
                fingerprint: 5,
            }),
            spec: Some(v1::VertexSpec {
                kind: Some(v1::vertex_spec::Kind::Resource(v1::ResourceSpec::default())),
            }),
            outputs: vec![v1::Output {
                channel: "out".to_owned(),
                logical_id: id(5),
                instances: vec![],
            }],
            state: None,
        }
    }

    fn refused(field: &str, spoil: impl FnOnce(&mut v1::StartInstance)) {
        let mut start = start();
        spoil(&mut start);
        let kind = Some(v1::step::Kind::Start(start));
        assert_eq!(step_from_wire(v1::Step { kind }).unwrap_err().field, field);
    }

    #[test]
    fn wrong_steps_are_refused_by_field() {
        assert!(start_from_wire(start()).is_ok());
        assert_eq!(
            step_from_wire(v1::Step { kind: None }).unwrap_err().field,
            "kind"
        );
        refused("start.instance", |start| start.instance = None);
        refused("start.instance.logical_id", |start| {
            start.instance.as_mut().unwrap().logical_id = Bytes::new();
        });
        refused("start.spec", |start| start.spec = None);
        refused("start.outputs[0].channel", |start| {
            start.outputs[0].channel.clear();
        });
        refused("start.outputs[0].logical_id", |start| {
            start.outputs[0].logical_id = Bytes::from_static(b"short");
        });
        refused("start.outputs[0].instances.node_id", |start| {
            start.outputs[0].instances = vec![v1::InstanceId::default()];
        });
        let stop = v1::StopInstance::default();
        let kind = Some(v1::step::Kind::Stop(stop));
        let error = step_from_wire(v1::Step { kind }).unwrap_err();
        assert_eq!(error.field, "stop.physical_id");
    }
}
