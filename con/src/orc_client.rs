//! Calls to the ε-ORC of one domain: many vertices of many workflows in one call, code when it is
//! missed, a deadline on everything.

use std::{collections::BTreeSet, time::Duration};

use edgeless_daemon::code::CodeStore;
use edgeless_proto::{
    convert::{digest_from_wire, id_bytes, output_mapping_to_wire},
    v1::{
        self, domain_control_client::DomainControlClient,
        function_instance_client::FunctionInstanceClient,
        resource_configuration_client::ResourceConfigurationClient, start_outcome::Kind,
    },
};
use edgeless_types::{LogicalId, WorkflowId, workflow::VertexSpec};
use tokio::sync::{mpsc, oneshot};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use crate::store::{VertexRecord, WorkflowRecord};

/// Calls that wait for the domain.
const QUEUE: usize = 4_096;
/// Calls joined into one.
const BATCH: usize = 128;
/// How long a domain may take to start vertices.
const START: Duration = Duration::from_secs(20);
/// How long it may take for anything else.
const DEADLINE: Duration = Duration::from_secs(5);

/// What a start came to, of one vertex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    /// It runs.
    Running,
    /// It waits, and why.
    Waiting(String),
    /// It is refused, and why.
    Refused(String),
}

/// What a worker is asked for.
pub enum Order {
    /// Start a workflow.
    Start(
        Box<WorkflowRecord>,
        oneshot::Sender<Result<Vec<Started>, String>>,
    ),
    /// Stop vertices.
    Stop(Vec<LogicalId>, oneshot::Sender<Result<(), String>>),
    /// Everything that is desired of the domain.
    Reconcile(Vec<WorkflowRecord>),
}

/// The calls to one domain.
#[derive(Clone)]
pub struct OrcClient {
    functions: FunctionInstanceClient<Channel>,
    resources: ResourceConfigurationClient<Channel>,
    control: DomainControlClient<Channel>,
    code: CodeStore,
}

impl OrcClient {
    /// A client; it connects when it is used.
    ///
    /// # Errors
    /// The address is of no use.
    pub fn new(url: &str, code: CodeStore) -> Result<Self, tonic::transport::Error> {
        let channel = Endpoint::from_shared(url.to_owned())?
            .connect_timeout(Duration::from_secs(2))
            .timeout(START)
            .tcp_nodelay(true)
            .connect_lazy();
        Ok(Self {
            functions: FunctionInstanceClient::new(channel.clone()),
            resources: ResourceConfigurationClient::new(channel.clone()),
            control: DomainControlClient::new(channel).max_decoding_message_size(64 << 20),
            code,
        })
    }

    /// The calls beside starting and stopping.
    pub fn control(&self) -> DomainControlClient<Channel> {
        self.control.clone()
    }

    /// Runs a worker for this client and answers the way to it.
    pub fn spawn(self) -> mpsc::Sender<Order> {
        let (sender, orders) = mpsc::channel(QUEUE);
        tokio::spawn(self.run(orders));
        sender
    }

    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut batch = Vec::new();
        while orders.recv_many(&mut batch, BATCH).await > 0 {
            let mut starts = Vec::new();
            for order in batch.drain(..) {
                match order {
                    Order::Start(record, reply) => starts.push((*record, reply)),
                    Order::Stop(logical_ids, reply) => {
                        self.start_all(std::mem::take(&mut starts));
                        let outcome = self.stop(logical_ids).await;
                        if reply.send(outcome).is_err() {
                            tracing::debug!("nobody waited for a stop");
                        }
                    }
                    Order::Reconcile(records) => {
                        self.start_all(std::mem::take(&mut starts));
                        if let Err(error) = self.reconcile(&records).await {
                            tracing::warn!(error, "a domain could not be reconciled");
                        }
                    }
                }
            }
            self.start_all(starts);
        }
    }

    /// Starts go on while the worker takes more: a slow one does not hold up the others.
    fn start_all(&self, starts: Vec<(WorkflowRecord, StartReply)>) {
        if starts.is_empty() {
            return;
        }
        let mut client = self.clone();
        tokio::spawn(async move { client.start(starts).await });
    }

    async fn start(&mut self, starts: Vec<(WorkflowRecord, StartReply)>) {
        let vertices: Vec<_> = starts.iter().flat_map(|(record, _)| wire(record)).collect();
        let outcome = self.start_vertices(vertices, Call::Start).await;
        let mut outcomes = outcome.map(Vec::into_iter);
        for (record, reply) in starts {
            let answer = match &mut outcomes {
                Ok(outcomes) => Ok(outcomes.by_ref().take(record.vertices.len()).collect()),
                Err(error) => Err(error.clone()),
            };
            if reply.send(answer).is_err() {
                tracing::debug!("nobody waited for a start");
            }
        }
    }

    async fn reconcile(&mut self, records: &[WorkflowRecord]) -> Result<(), String> {
        let vertices = records.iter().flat_map(wire).collect();
        self.start_vertices(vertices, Call::Reconcile)
            .await
            .map(|_| ())
    }

    /// Starts vertices, sending the code that is missed.
    async fn start_vertices(
        &mut self,
        vertices: Vec<v1::Vertex>,
        call: Call,
    ) -> Result<Vec<Started>, String> {
        let mut results: Vec<Option<Started>> = vec![None; vertices.len()];
        let mut open: Vec<usize> = (0..vertices.len()).collect();
        let mut sent: BTreeSet<Vec<u8>> = BTreeSet::new();
        loop {
            let wanted: Vec<_> = open.iter().map(|&index| vertices[index].clone()).collect();
            let outcomes = match call {
                Call::Start => self.start_by_kind(wanted).await,
                Call::Reconcile => {
                    let request = v1::StartRequest {
                        vertices: vertices.clone(),
                    };
                    let reply = within(START, self.control.reconcile(request)).await;
                    open = (0..vertices.len()).collect();
                    reply.map(|reply| reply.outcomes)
                }
            }?;
            let mut missing = BTreeSet::new();
            let mut still = Vec::new();
            for (index, outcome) in open.iter().copied().zip(outcomes) {
                results[index] = Some(match outcome.kind {
                    Some(Kind::Running(_)) => Started::Running,
                    Some(Kind::Waiting(reason)) => Started::Waiting(reason),
                    Some(Kind::Refused(reason)) => Started::Refused(reason),
                    Some(Kind::MissingCode(code)) => {
                        still.push(index);
                        missing.insert(code.digest.to_vec());
                        Started::Waiting("its code is on its way".to_owned())
                    }
                    None => Started::Waiting("the domain said nothing about it".to_owned()),
                });
            }
            if missing.is_empty() {
                let unknown = || Started::Waiting("the domain said nothing about it".to_owned());
                return Ok(results
                    .into_iter()
                    .map(|result| result.unwrap_or_else(unknown))
                    .collect());
            }
            for digest in missing {
                if !sent.insert(digest.clone()) {
                    return Err("the domain does not keep the code it was given".to_owned());
                }
                self.put_code(&digest).await?;
            }
            open = still;
        }
    }

    async fn start_by_kind(
        &mut self,
        vertices: Vec<v1::Vertex>,
    ) -> Result<Vec<v1::StartOutcome>, String> {
        let is_function = |vertex: &v1::Vertex| {
            let kind = vertex.spec.as_ref().and_then(|spec| spec.kind.as_ref());
            matches!(kind, Some(v1::vertex_spec::Kind::Function(_)))
        };
        let order: Vec<bool> = vertices.iter().map(is_function).collect();
        let (functions, resources): (Vec<_>, Vec<_>) = vertices.into_iter().partition(is_function);
        let none = v1::StartReply {
            outcomes: Vec::new(),
        };
        let start_functions = async {
            match functions.is_empty() {
                true => Ok(none.clone()),
                false => {
                    let request = v1::StartRequest {
                        vertices: functions,
                    };
                    within(START, self.functions.start(request)).await
                }
            }
        };
        let start_resources = async {
            match resources.is_empty() {
                true => Ok(none.clone()),
                false => {
                    let request = v1::StartRequest {
                        vertices: resources,
                    };
                    within(START, self.resources.start(request)).await
                }
            }
        };
        let (functions, resources) = tokio::join!(start_functions, start_resources);
        let (mut functions, mut resources) = (
            functions?.outcomes.into_iter(),
            resources?.outcomes.into_iter(),
        );
        let none = || v1::StartOutcome { kind: None };
        let next = |is_function: bool| match is_function {
            true => functions.next().unwrap_or_else(none),
            false => resources.next().unwrap_or_else(none),
        };
        Ok(order.into_iter().map(next).collect())
    }

    async fn stop(&mut self, logical_ids: Vec<LogicalId>) -> Result<(), String> {
        let logical_ids = logical_ids.iter().map(id_bytes).collect();
        let request = v1::StopRequest { logical_ids };
        within(DEADLINE, self.functions.stop(request))
            .await
            .map(|_| ())
    }

    async fn put_code(&mut self, digest: &[u8]) -> Result<(), String> {
        let digest = digest_from_wire(digest, "digest").map_err(|error| error.to_string())?;
        let code = self
            .code
            .get(digest)
            .await
            .map_err(|error| error.to_string())?;
        let code = code.ok_or_else(|| format!("the code {digest} is not here any more"))?;
        let request = v1::PutCodeRequest {
            digest: digest.as_bytes().to_vec().into(),
            code,
        };
        within(START, self.control.put_code(request))
            .await
            .map(|_| ())
    }
}

type StartReply = oneshot::Sender<Result<Vec<Started>, String>>;

#[derive(Clone, Copy)]
enum Call {
    Start,
    Reconcile,
}

/// The answer of a call, or why there is none.
async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, String> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(reply)) => Ok(reply.into_inner()),
        Ok(Err(status)) => Err(format!("ε-ORC: {}", status.message())),
        Err(_) => Err(format!("ε-ORC does not answer within {limit:?}")),
    }
}

fn wire(record: &WorkflowRecord) -> impl Iterator<Item = v1::Vertex> {
    let workflow_id: WorkflowId = record.workflow_id;
    record
        .vertices
        .iter()
        .map(move |vertex| vertex_to_wire(workflow_id, vertex))
}

fn vertex_to_wire(workflow_id: WorkflowId, vertex: &VertexRecord) -> v1::Vertex {
    let spec: VertexSpec = vertex.spec.clone();
    v1::Vertex {
        logical_id: id_bytes(&vertex.logical_id),
        workflow_id: id_bytes(&workflow_id),
        spec: Some(spec.into()),
        output_mapping: output_mapping_to_wire(&vertex.outputs),
    }
}
