//! Carries out steps on nodes: one worker per node, in order, in batches, with a deadline.
//!
//! A node that hangs delays nobody else. Starts that get no answer fail, so that they are tried
//! elsewhere; stops and patches are tried again until the node is gone.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use bytes::Bytes;
use edgeless_daemon::code::CodeStore;
use edgeless_proto::{
    convert::{digest_from_wire, id_bytes},
    v1::{self, node_agent_client::NodeAgentClient, step_outcome::Kind},
};
use edgeless_types::{CodeDigest, NodeId};
use tokio::{sync::mpsc, task::JoinSet};
use tonic::transport::{Channel, Endpoint};

use crate::domain::{Output, Step, StepKey, StepResult};

/// Steps that wait for one node.
const QUEUE: usize = 20_000;
/// Steps in one call.
const BATCH: usize = 256;
/// How long a node may take for a batch.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long it may take for code.
const CODE_DEADLINE: Duration = Duration::from_secs(30);
/// Between two tries of stops and patches.
const RETRY: Duration = Duration::from_millis(200);

/// What steps came to, of one node.
pub type Outcomes = (NodeId, Vec<(StepKey, StepResult)>);

/// The workers of all nodes.
pub struct NodeClients {
    workers: HashMap<NodeId, mpsc::Sender<Step>>,
    tasks: JoinSet<()>,
    outcomes: mpsc::Sender<Outcomes>,
    code: CodeStore,
}

impl NodeClients {
    /// No workers yet; what steps come to goes to `outcomes`.
    pub fn new(outcomes: mpsc::Sender<Outcomes>, code: CodeStore) -> Self {
        Self {
            workers: HashMap::new(),
            tasks: JoinSet::new(),
            outcomes,
            code,
        }
    }

    /// A node is there, or elsewhere than before.
    pub fn meet(&mut self, node_id: NodeId, agent_url: &str) {
        while self.tasks.try_join_next().is_some() {}
        let endpoint = match Endpoint::from_shared(agent_url.to_owned()) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                tracing::warn!(%node_id, agent_url, %error, "the agent's address is of no use");
                return;
            }
        };
        let channel = endpoint
            .connect_timeout(Duration::from_secs(1))
            .timeout(CODE_DEADLINE)
            .tcp_nodelay(true)
            .connect_lazy();
        let client = NodeAgentClient::new(channel)
            .max_encoding_message_size(usize::MAX)
            .max_decoding_message_size(64 << 20);
        let (sender, steps) = mpsc::channel(QUEUE);
        self.workers.insert(node_id, sender);
        let worker = Worker {
            node_id,
            client,
            code: self.code.clone(),
            outcomes: self.outcomes.clone(),
        };
        self.tasks.spawn(worker.run(steps));
    }

    /// A node is gone: its worker ends.
    pub fn forget(&mut self, node_id: NodeId) {
        self.workers.remove(&node_id);
    }

    /// Hands a step to the worker; gives the key back when that cannot be.
    pub fn send(&self, node_id: NodeId, step: Step) -> Option<StepKey> {
        let key = step.key();
        match self.workers.get(&node_id) {
            Some(worker) => worker.try_send(step).is_err().then_some(key),
            None => Some(key),
        }
    }
}

struct Worker {
    node_id: NodeId,
    client: NodeAgentClient<Channel>,
    code: CodeStore,
    outcomes: mpsc::Sender<Outcomes>,
}

impl Worker {
    async fn run(mut self, mut steps: mpsc::Receiver<Step>) {
        let mut batch = Vec::new();
        loop {
            if batch.is_empty() && steps.recv_many(&mut batch, BATCH).await == 0 {
                return;
            }
            let results = self.apply(&batch).await;
            let mut again = Vec::new();
            let mut done = Vec::new();
            for (step, result) in batch.drain(..).zip(results) {
                match result {
                    Some(result) => done.push((step.key(), result)),
                    None => again.push(step),
                }
            }
            if !done.is_empty() && self.outcomes.send((self.node_id, done)).await.is_err() {
                return;
            }
            batch = again;
            if !batch.is_empty() {
                if steps.is_closed() {
                    return;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    /// What each step came to; none: it is to be tried again.
    async fn apply(&mut self, steps: &[Step]) -> Vec<Option<StepResult>> {
        let mut results: Vec<Option<StepResult>> = vec![None; steps.len()];
        let mut open: Vec<usize> = (0..steps.len()).collect();
        // Once more for each code that was missing.
        for _ in 0..=steps.len() {
            let wanted: Vec<&Step> = open.iter().map(|&index| &steps[index]).collect();
            let outcomes = match self.call(&wanted).await {
                Ok(outcomes) => outcomes,
                Err(message) => {
                    for &index in &open {
                        if matches!(steps[index], Step::Start { .. }) {
                            results[index] = Some(StepResult::Failed(message.clone()));
                        }
                    }
                    return results;
                }
            };
            let missing;
            (open, missing) = sort_out(steps, &open, outcomes, &mut results);
            let Some(digest) = missing else {
                return results;
            };
            if let Err(message) = self.put_code(&digest).await {
                for &index in &open {
                    results[index] = Some(StepResult::Failed(message.clone()));
                }
                return results;
            }
        }
        results
    }

    async fn call(&mut self, steps: &[&Step]) -> Result<Vec<v1::StepOutcome>, String> {
        let request = to_wire(steps);
        let call = self.client.apply(request);
        let reply = tokio::time::timeout(DEADLINE, call)
            .await
            .map_err(|_| "the node does not answer".to_owned())?
            .map_err(|status| format!("the node does not answer: {}", status.message()))?;
        let outcomes = reply.into_inner().outcomes;
        if outcomes.len() != steps.len() {
            return Err("the node answered another number of steps".to_owned());
        }
        Ok(outcomes)
    }

    async fn put_code(&mut self, digest: &[u8]) -> Result<(), String> {
        let digest: CodeDigest =
            digest_from_wire(digest, "missing_code.digest").map_err(|error| error.to_string())?;
        let code: Bytes = self
            .code
            .get(digest)
            .await
            .map_err(|error| error.to_string())?
            .ok_or_else(|| format!("the code {digest} is not here"))?;
        let digest = Bytes::copy_from_slice(digest.as_bytes());
        let call = self.client.put_code(v1::PutCodeRequest { digest, code });
        match tokio::time::timeout(CODE_DEADLINE, call).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(status.message().to_owned()),
            Err(_) => Err("the node does not take the code in time".to_owned()),
        }
    }
}

/// Notes what steps came to. Gives back those that must be done once more, and the code they need: a
/// start whose code is not there, and whatever follows it in the batch for the same instance.
fn sort_out(
    steps: &[Step],
    open: &[usize],
    outcomes: Vec<v1::StepOutcome>,
    results: &mut [Option<StepResult>],
) -> (Vec<usize>, Option<Bytes>) {
    let (mut again, mut missing) = (Vec::new(), None);
    let mut not_started = HashSet::new();
    for (&index, outcome) in open.iter().zip(outcomes) {
        let physical_id = steps[index].key().physical_id();
        if let Some(Kind::MissingCode(code)) = outcome.kind {
            missing = Some(code.digest);
            not_started.insert(physical_id);
            again.push(index);
            continue;
        }
        if not_started.contains(&physical_id) {
            again.push(index);
            continue;
        }
        results[index] = Some(match outcome.kind {
            Some(Kind::Done(done)) => StepResult::Done(done.state),
            Some(Kind::Failed(text)) => StepResult::Failed(text),
            Some(Kind::MissingCode(_)) | None => StepResult::Failed("no outcome".to_owned()),
        });
    }
    (again, missing)
}

fn to_wire(steps: &[&Step]) -> v1::ApplyRequest {
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

#[cfg(test)]
mod tests {
    use edgeless_types::{Generation, LogicalId, PhysicalId, RunningInstance, WorkflowId};
    use uuid::Uuid;

    use super::*;

    fn pid(number: u128) -> PhysicalId {
        PhysicalId::new(Uuid::from_u128(number))
    }

    fn start(number: u128) -> Step {
        let spec = edgeless_types::workflow::ResourceSpec {
            name: "r".to_owned(),
            class_type: "file-log".to_owned(),
            configurations: std::collections::BTreeMap::new(),
        };
        Step::Start {
            instance: RunningInstance {
                physical_id: pid(number),
                logical_id: LogicalId::new(Uuid::nil()),
                workflow_id: WorkflowId::new(Uuid::nil()),
                generation: Generation(1),
                fingerprint: 0,
            },
            spec: std::sync::Arc::new(edgeless_types::workflow::VertexSpec::Resource(spec)),
            outputs: Vec::new(),
            state: None,
            code: None,
        }
    }

    fn patch(number: u128) -> Step {
        Step::Patch {
            physical_id: pid(number),
            generation: Generation(2),
            outputs: Vec::new(),
        }
    }

    fn outcome(kind: Kind) -> v1::StepOutcome {
        v1::StepOutcome { kind: Some(kind) }
    }

    #[test]
    fn what_follows_a_start_without_code_is_repeated_with_it() {
        let steps = [start(1), start(2), patch(1), patch(2)];
        let missing = Kind::MissingCode(v1::MissingCode {
            digest: Bytes::from_static(b"digest"),
        });
        let not_here = Kind::Failed("does not run on this node".to_owned());
        let done = || outcome(Kind::Done(v1::StepDone { state: None }));
        let outcomes = vec![outcome(missing), done(), outcome(not_here), done()];
        let mut results = vec![None; 4];
        let (again, code) = sort_out(&steps, &[0, 1, 2, 3], outcomes, &mut results);
        assert_eq!(
            (again.as_slice(), code.as_deref()),
            (&[0, 2][..], Some(&b"digest"[..]))
        );
        let outcomes = vec![done(), done()];
        let (again, code) = sort_out(&steps, &again, outcomes, &mut results);
        assert_eq!((again.as_slice(), code), (&[][..], None));
        assert!(
            results
                .iter()
                .all(|it| matches!(it, Some(StepResult::Done(None))))
        );
    }
}
