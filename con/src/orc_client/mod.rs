//! Calls to the ε-ORC of one domain: many vertices of many workflows in one call, code when it is
//! missed, a deadline on everything. When to call is for [`crate::worker`].

mod look;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use edgeless_daemon::code::CodeStore;
use edgeless_proto::{
    convert::{digest_from_wire, id_bytes, output_mapping_to_wire},
    v1::{
        self, domain_control_client::DomainControlClient,
        function_instance_client::FunctionInstanceClient,
        resource_configuration_client::ResourceConfigurationClient, start_outcome::Kind,
    },
};
use edgeless_types::{
    CodeDigest, Epoch, InstanceId, LogicalId, WorkflowId, resource::order_source,
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use crate::{
    epoch::{Epochs, to_wire},
    store::{VertexRecord, WorkflowRecord},
};
pub use look::NotMoved;

/// How long a domain may take to start vertices, and for a call that carries code.
const START: Duration = Duration::from_secs(20);
/// How long it may take for anything else.
const DEADLINE: Duration = Duration::from_secs(5);
/// The longest answer: the state of a large domain.
const ANSWER_BYTES: usize = 64 << 20;

/// What a start came to, of one vertex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    /// It runs, and why some copies do not.
    Running(Vec<InstanceId>, Option<String>),
    /// It waits, and why.
    Waiting(String),
    /// It is refused, and why.
    Refused(String),
}

/// Why nothing was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotStarted {
    /// The domain was told something newer before.
    Overtaken(String),
    /// The domain does not answer.
    Unreachable(String),
}

/// The calls to one domain; cheap to clone.
#[derive(Clone)]
pub struct OrcClient {
    functions: FunctionInstanceClient<Channel>,
    resources: ResourceConfigurationClient<Channel>,
    control: DomainControlClient<Channel>,
    code: CodeStore,
    epochs: Epochs,
}

impl OrcClient {
    /// A client; it connects when it is used.
    ///
    /// # Errors
    /// The address is of no use.
    pub(crate) fn new(
        url: &str,
        code: CodeStore,
        epochs: Epochs,
    ) -> Result<Self, tonic::transport::Error> {
        let channel = Endpoint::from_shared(url.to_owned())?
            .connect_timeout(Duration::from_secs(2))
            .timeout(START)
            .tcp_nodelay(true)
            .connect_lazy();
        Ok(Self {
            functions: FunctionInstanceClient::new(channel.clone())
                .max_decoding_message_size(ANSWER_BYTES),
            resources: ResourceConfigurationClient::new(channel.clone())
                .max_decoding_message_size(ANSWER_BYTES),
            control: DomainControlClient::new(channel).max_decoding_message_size(ANSWER_BYTES),
            code,
            epochs,
        })
    }

    /// Starts workflows; the answer has one outcome per vertex, in their order. The epoch was drawn before it was
    /// looked what is desired.
    ///
    /// # Errors
    /// The domain does not answer, or was told something newer before.
    pub async fn start(
        &mut self,
        epoch: Epoch,
        records: &[Arc<WorkflowRecord>],
    ) -> Result<Vec<Vec<Started>>, NotStarted> {
        let vertices: Vec<_> = records.iter().flat_map(|record| wire(record)).collect();
        let mut outcomes: Vec<Option<Started>> = vec![None; vertices.len()];
        let mut open: Vec<usize> = (0..vertices.len()).collect();
        // What brings tasks to a function goes to its node, which has to be known by then.
        let mut later: Vec<usize> = open
            .extract_if(.., |it| brings_tasks(&vertices[*it]))
            .collect();
        let mut sent = BTreeSet::new();
        loop {
            if open.is_empty() {
                open = std::mem::take(&mut later);
            }
            if open.is_empty() {
                break;
            }
            let wanted = open.iter().map(|&index| vertices[index].clone());
            let kinds = self.start_by_kind(epoch, wanted.collect()).await;
            let kinds = kinds.map_err(|status| not_started(&status))?;
            let mut missing = BTreeSet::new();
            let mut still_open = Vec::new();
            for (index, kind) in open.into_iter().zip(kinds) {
                match kind {
                    Some(Kind::MissingCode(code)) => {
                        missing.insert(code.digest);
                        still_open.push(index);
                    }
                    other => outcomes[index] = outcome(other),
                }
            }
            let unkept = self.send_code(missing, &mut sent).await;
            let unkept = unkept.map_err(NotStarted::Unreachable)?;
            if let Some(problem) = unkept.into_values().next() {
                for index in still_open.drain(..) {
                    outcomes[index] = Some(Started::Waiting(problem.clone()));
                }
            }
            open = still_open;
        }
        let unknown = || Started::Waiting("the domain said nothing about it".to_owned());
        let mut outcomes = outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(unknown));
        let of_record =
            |record: &Arc<WorkflowRecord>| outcomes.by_ref().take(record.vertices.len()).collect();
        Ok(records.iter().map(of_record).collect())
    }

    /// Names the next decision; see [`OrcClient::reconcile`].
    pub fn next_epoch(&self) -> Epoch {
        self.epochs.next()
    }

    /// Tells the domain everything that is desired of it; what it is not told, it stops. The epoch
    /// was drawn before the records were read.
    ///
    /// # Errors
    /// The domain does not answer, in words.
    pub async fn reconcile(
        &mut self,
        epoch: Epoch,
        records: &[Arc<WorkflowRecord>],
    ) -> Result<(), String> {
        let mut vertices: Vec<_> = records.iter().flat_map(|record| wire(record)).collect();
        let mut sent = BTreeSet::new();
        loop {
            let request = v1::StartRequest {
                vertices: vertices.clone(),
                epoch: to_wire(epoch),
            };
            let reply = within(START, self.control.reconcile(request)).await?;
            let kinds = reply
                .outcomes
                .into_iter()
                .filter_map(|outcome| outcome.kind);
            let missing: BTreeSet<Bytes> = kinds
                .filter_map(|kind| match kind {
                    Kind::MissingCode(code) => Some(code.digest),
                    Kind::Running(_) | Kind::Waiting(_) | Kind::Refused(_) => None,
                })
                .collect();
            if missing.is_empty() {
                return Ok(());
            }
            let unkept = self.send_code(missing, &mut sent).await?;
            // One function without its code must not keep the rest of the domain from running.
            vertices.retain(|vertex| {
                code_of(vertex).is_none_or(|digest| {
                    let lost = unkept.get(&digest);
                    if let Some(problem) = lost {
                        tracing::error!(problem, "a function is left out");
                    }
                    lost.is_none()
                })
            });
        }
    }

    /// Stops vertices, as far as nothing newer than this decision has been said of them.
    ///
    /// # Errors
    /// The domain does not answer, in words.
    pub async fn stop(&mut self, epoch: Epoch, logical_ids: &[LogicalId]) -> Result<(), String> {
        let request = v1::StopRequest {
            logical_ids: logical_ids.iter().map(id_bytes).collect(),
            epoch: to_wire(epoch),
        };
        // ε-ORC knows of each vertex what it is; one service stops both kinds.
        within(DEADLINE, self.functions.stop(request))
            .await
            .map(drop)
    }

    /// Starts functions and resources, each kind with its own service, at the same time.
    async fn start_by_kind(
        &mut self,
        epoch: Epoch,
        vertices: Vec<v1::Vertex>,
    ) -> Result<Vec<Option<Kind>>, Status> {
        let is_function: Vec<bool> = vertices.iter().map(|it| code_of(it).is_some()).collect();
        let (functions, resources): (Vec<_>, Vec<_>) = vertices
            .into_iter()
            .partition(|vertex| code_of(vertex).is_some());
        let epoch = to_wire(epoch);
        let start_functions = async {
            match functions.is_empty() {
                true => Ok(v1::StartReply::default()),
                false => {
                    let vertices = functions;
                    let request = v1::StartRequest { vertices, epoch };
                    reply(START, self.functions.start(request)).await
                }
            }
        };
        let start_resources = async {
            match resources.is_empty() {
                true => Ok(v1::StartReply::default()),
                false => {
                    let vertices = resources;
                    let request = v1::StartRequest { vertices, epoch };
                    reply(START, self.resources.start(request)).await
                }
            }
        };
        let (functions, resources) = tokio::join!(start_functions, start_resources);
        let mut functions = functions?.outcomes.into_iter();
        let mut resources = resources?.outcomes.into_iter();
        let next = |is_function: bool| match is_function {
            true => functions.next().and_then(|outcome| outcome.kind),
            false => resources.next().and_then(|outcome| outcome.kind),
        };
        Ok(is_function.into_iter().map(next).collect())
    }

    /// Sends code that the domain misses; what ε-CON has not got either is answered.
    async fn send_code(
        &mut self,
        missing: BTreeSet<Bytes>,
        sent: &mut BTreeSet<Bytes>,
    ) -> Result<HashMap<Bytes, String>, String> {
        let mut unkept = HashMap::new();
        for digest in missing {
            if !sent.insert(digest.clone()) {
                return Err("the domain does not keep the code it was given".to_owned());
            }
            let name: CodeDigest =
                digest_from_wire(&digest, "digest").map_err(|error| error.to_string())?;
            match self.code.get(name).await {
                Ok(Some(code)) => {
                    let request = v1::PutCodeRequest { digest, code };
                    within(START, self.control.put_code(request)).await?;
                }
                Ok(None) => {
                    unkept.insert(digest, format!("the code {name} is lost; publish it again"));
                }
                Err(error) => {
                    unkept.insert(digest, format!("the code {name} cannot be read: {error}"));
                }
            }
        }
        Ok(unkept)
    }
}

/// Whether a vertex takes the tasks of a service to a function.
fn brings_tasks(vertex: &v1::Vertex) -> bool {
    match vertex.spec.as_ref().and_then(|spec| spec.kind.as_ref()) {
        Some(v1::vertex_spec::Kind::Resource(resource)) => {
            resource.class_type == order_source::CLASS.class_type
        }
        Some(v1::vertex_spec::Kind::Function(_)) | None => false,
    }
}

fn outcome(kind: Option<Kind>) -> Option<Started> {
    match kind? {
        Kind::Running(running) => Some(match running.into_parts() {
            Ok((instances, waiting)) => Started::Running(instances, waiting),
            Err(error) => Started::Waiting(format!("the domain's answer is wrong: {error}")),
        }),
        Kind::Waiting(reason) => Some(Started::Waiting(reason)),
        Kind::Refused(reason) => Some(Started::Refused(reason)),
        Kind::MissingCode(_) => None,
    }
}

/// The answer of a call, or why there is none, in words.
async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, String> {
    let reply = reply(limit, call).await;
    reply.map_err(|status| no_answer(&status))
}

/// The answer of a call, or its status.
async fn reply<T>(
    limit: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(limit, call).await {
        Ok(reply) => reply.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded(format!(
            "nothing within {limit:?}"
        ))),
    }
}

fn not_started(status: &Status) -> NotStarted {
    let reason = no_answer(status);
    match status.code() {
        Code::Aborted => NotStarted::Overtaken(reason),
        _ => NotStarted::Unreachable(reason),
    }
}

fn no_answer(status: &Status) -> String {
    format!("its domain does not answer: {}", status.message())
}

fn wire(record: &WorkflowRecord) -> impl Iterator<Item = v1::Vertex> {
    let workflow_id: WorkflowId = record.workflow_id;
    let vertices = record.vertices.iter();
    vertices.map(move |vertex| vertex_to_wire(workflow_id, vertex))
}

fn vertex_to_wire(workflow_id: WorkflowId, vertex: &VertexRecord) -> v1::Vertex {
    v1::Vertex {
        logical_id: id_bytes(&vertex.logical_id),
        workflow_id: id_bytes(&workflow_id),
        spec: Some(vertex.spec.clone().into()),
        output_mapping: output_mapping_to_wire(&vertex.outputs),
    }
}

/// The code of a function; none of a resource.
fn code_of(vertex: &v1::Vertex) -> Option<Bytes> {
    match vertex.spec.as_ref()?.kind.as_ref()? {
        v1::vertex_spec::Kind::Function(function) => Some(function.code_digest.clone()),
        v1::vertex_spec::Kind::Resource(_) => None,
    }
}
