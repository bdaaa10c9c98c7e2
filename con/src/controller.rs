//! The one owner of what ε-CON knows: accepts, stops, moves and shows workflows.
//!
//! Everything accepted is on disk before it is acknowledged. Which domain runs what is decided by
//! the pure [`Cluster`]; the calls are those of [`OrcClient`].

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use edgeless_daemon::code::CodeStore;
use edgeless_proto::{
    convert::{id_bytes, id_from_wire},
    v1,
};
use edgeless_types::{CodeDigest, LogicalId, NodeId, Timestamp, WorkflowId, workflow::Workflow};
use tokio::sync::{mpsc, oneshot};

use crate::{
    check::{self, Known, RegisteredClass},
    cluster::{Cluster, DomainUpdate, Effect},
    orc_client::{OrcClient, Order, Started},
    problem::Refusal,
    status::{self, DomainStatus, WorkflowState, WorkflowStatus},
    store::{FunctionRecord, Kept, KeyRecord, Store, VertexRecord, WorkflowRecord, Write},
};

/// How long the domain may take to say how things are.
const LOOK: Duration = Duration::from_secs(3);

/// The wall clock.
pub fn now() -> Timestamp {
    Timestamp::from_unix(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

/// Whether a workflow that nobody can run now is accepted as waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It is.
    Yes,
    /// It is refused.
    No,
}

/// Asks the owner; cheap to clone.
#[derive(Clone)]
pub struct Controller(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    store: Store,
    code: CodeStore,
}

struct State {
    cluster: Cluster,
    functions: BTreeMap<(String, String), FunctionRecord>,
    keys: HashMap<String, KeyRecord>,
    links: HashMap<String, Link>,
}

#[derive(Clone)]
struct Link {
    orders: mpsc::Sender<Order>,
    client: OrcClient,
}

impl Known for State {
    fn class(&self, id: &str, version: &str) -> Option<RegisteredClass> {
        let record = self.functions.get(&(id.to_owned(), version.to_owned()))?;
        Some(RegisteredClass {
            function_type: record.function_type.clone(),
            code: record.code,
            outputs: record.outputs.clone(),
        })
    }

    fn has_code(&self, _: CodeDigest) -> bool {
        false
    }
}

/// The registry with the uploaded code beside it.
struct Everything<'a>(&'a State, &'a CodeStore);

impl Known for Everything<'_> {
    fn class(&self, id: &str, version: &str) -> Option<RegisteredClass> {
        self.0.class(id, version)
    }

    fn has_code(&self, digest: CodeDigest) -> bool {
        self.1.has(digest)
    }
}

impl Controller {
    /// The owner of what was kept.
    pub fn new(kept: Kept, store: Store, code: CodeStore) -> Self {
        let function =
            |record: FunctionRecord| ((record.id.clone(), record.version.clone()), record);
        let state = State {
            cluster: Cluster::new(kept.workflows, kept.domains),
            functions: kept.functions.into_iter().map(function).collect(),
            keys: kept.keys.into_iter().collect(),
            links: HashMap::new(),
        };
        Self(Arc::new(Inner {
            state: Mutex::new(state),
            store,
            code,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts a workflow: checks it, keeps it, has it started, and says how it is.
    ///
    /// # Errors
    /// It is wrong, nobody can run it, or it cannot be kept. Then nothing of it is left.
    pub async fn start(
        &self,
        workflow: Workflow,
        wait: Wait,
        key: Option<(String, CodeDigest)>,
    ) -> Result<WorkflowStatus, Refusal> {
        if let Some((key, body)) = &key
            && let Some(known) = self.known_key(key, *body)?
        {
            return self.inspect(known).await;
        }
        let checked = {
            let state = self.state();
            check::check(&workflow, &Everything(&state, &self.0.code))
        };
        let checked = checked.map_err(|faults| Refusal::Invalid { faults })?;
        for (digest, code) in checked.code {
            let put = self.0.code.put(digest, code).await;
            put.map_err(|error| Refusal::Store(error.to_string()))?;
        }
        let mut record = new_record(workflow.name.unwrap_or_default(), checked.vertices);
        let choice = self.state().cluster.choose(&record);
        match (choice, wait) {
            (Ok(domain_id), _) => record.domain_id = Some(domain_id),
            (Err(_), Wait::Yes) => {}
            (Err(reason), Wait::No) => return Err(Refusal::Infeasible(reason)),
        }
        self.keep(&record, key).await?;
        self.begin(record, wait).await
    }

    fn known_key(&self, key: &str, body: CodeDigest) -> Result<Option<WorkflowId>, Refusal> {
        match self.state().keys.get(key) {
            Some(known) if known.body == body => Ok(Some(known.workflow_id)),
            Some(_) => Err(Refusal::Conflict(format!(
                "the idempotency key `{key}` was used with another body"
            ))),
            None => Ok(None),
        }
    }

    async fn keep(
        &self,
        record: &WorkflowRecord,
        key: Option<(String, CodeDigest)>,
    ) -> Result<(), Refusal> {
        let workflow_id = record.workflow_id;
        let mut writes = vec![Write::Workflow(Box::new(record.clone()))];
        if let Some((key, body)) = key {
            let used = KeyRecord { body, workflow_id };
            writes.push(Write::Key(key.clone(), used.clone()));
            self.state().keys.insert(key, used);
        }
        self.state().cluster.insert(record.clone());
        if let Err(error) = self.0.store.write(writes).await {
            self.state().cluster.remove(workflow_id);
            return Err(Refusal::Store(error.to_string()));
        }
        Ok(())
    }

    /// Has a workflow started in its domain. One that cannot run is taken back unless it may wait.
    async fn begin(&self, record: WorkflowRecord, wait: Wait) -> Result<WorkflowStatus, Refusal> {
        let workflow_id = record.workflow_id;
        let link = record.domain_id.as_ref().and_then(|id| self.link(id));
        let Some(link) = link else {
            return self.inspect(workflow_id).await;
        };
        let (reply, answer) = oneshot::channel();
        let order = Order::Start(Box::new(record.clone()), reply);
        let sent = link.orders.send(order).await.is_ok();
        let outcomes = match answer.await {
            Ok(Ok(outcomes)) if sent => outcomes,
            // It is kept, and the domain is told again when it is there again.
            Ok(_) | Err(_) => return self.inspect(workflow_id).await,
        };
        let reasons: Vec<String> = record
            .vertices
            .iter()
            .zip(&outcomes)
            .filter_map(|(vertex, outcome)| match outcome {
                Started::Running => None,
                Started::Waiting(reason) | Started::Refused(reason) => {
                    Some(format!("`{}`: {reason}", vertex.spec.name()))
                }
            })
            .collect();
        let refused = outcomes
            .iter()
            .any(|outcome| matches!(outcome, Started::Refused(_)));
        if refused || (wait == Wait::No && !reasons.is_empty()) {
            self.stop(workflow_id).await?;
            return Err(Refusal::Infeasible(reasons.join("; ")));
        }
        if reasons.is_empty() {
            return self.inspect(workflow_id).await;
        }
        self.inspect(workflow_id).await
    }

    fn link(&self, domain_id: &str) -> Option<Link> {
        self.state().links.get(domain_id).cloned()
    }

    /// Stops a workflow; when this returns it will not come back.
    ///
    /// # Errors
    /// It is not known, or its end cannot be kept.
    pub async fn stop(&self, workflow_id: WorkflowId) -> Result<(), Refusal> {
        let record = self.state().cluster.remove(workflow_id);
        let record = record.ok_or_else(|| unknown_workflow(workflow_id))?;
        if let Err(error) = self
            .0
            .store
            .write(vec![Write::WorkflowGone(workflow_id)])
            .await
        {
            self.state().cluster.insert(record);
            return Err(Refusal::Store(error.to_string()));
        }
        let Some(link) = record.domain_id.as_ref().and_then(|id| self.link(id)) else {
            return Ok(());
        };
        let logical_ids = record
            .vertices
            .iter()
            .map(|vertex| vertex.logical_id)
            .collect();
        let (reply, answer) = oneshot::channel();
        if link
            .orders
            .send(Order::Stop(logical_ids, reply))
            .await
            .is_ok()
            && let Ok(Err(error)) = answer.await
        {
            // The next reconciliation stops it there.
            tracing::warn!(%workflow_id, error, "the domain was not told of a stop");
        }
        Ok(())
    }

    /// How a workflow is, as its domain says.
    ///
    /// # Errors
    /// It is not known.
    pub async fn inspect(&self, workflow_id: WorkflowId) -> Result<WorkflowStatus, Refusal> {
        let record = self.state().cluster.workflow(workflow_id).cloned();
        let record = record.ok_or_else(|| unknown_workflow(workflow_id))?;
        let logical_ids: Vec<_> = record
            .vertices
            .iter()
            .map(|vertex| vertex.logical_id)
            .collect();
        let seen = match &record.domain_id {
            Some(domain_id) => self.look(domain_id, &logical_ids).await,
            None => Err("no domain can run it now".to_owned()),
        };
        Ok(status::of_workflow(&record, seen))
    }

    async fn look(
        &self,
        domain_id: &str,
        logical_ids: &[LogicalId],
    ) -> Result<HashMap<LogicalId, v1::VertexStatus>, String> {
        let link = self.link(domain_id).ok_or("its domain is not registered")?;
        let request = v1::InspectVerticesRequest {
            logical_ids: logical_ids.iter().map(id_bytes).collect(),
        };
        let mut control = link.client.control();
        let reply = tokio::time::timeout(LOOK, control.inspect_vertices(request)).await;
        let reply = reply.map_err(|_| "its domain does not answer".to_owned())?;
        let vertices = reply
            .map_err(|status| status.message().to_owned())?
            .into_inner()
            .vertices;
        let read = |vertex: v1::VertexStatus| {
            let id = id_from_wire::<LogicalId>(&vertex.logical_id, "logical_id").ok()?;
            Some((id, vertex))
        };
        Ok(vertices.into_iter().filter_map(read).collect())
    }

    /// How many workflows and domains there are.
    pub fn numbers(&self) -> (i64, i64) {
        let state = self.state();
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        (
            number(state.cluster.workflows().count()),
            number(state.cluster.domains().len()),
        )
    }

    /// All workflows, by name and where they are; not asking the domains.
    pub fn list(&self) -> Vec<WorkflowStatus> {
        let state = self.state();
        let summary = |record: &WorkflowRecord| status::summary(record);
        state.cluster.workflows().map(summary).collect()
    }

    /// Moves a workflow to another domain.
    ///
    /// # Errors
    /// The workflow or the domain is not known, or the domain cannot run it.
    pub async fn move_to_domain(
        &self,
        workflow_id: WorkflowId,
        domain_id: &str,
    ) -> Result<WorkflowStatus, Refusal> {
        if self.state().cluster.workflow(workflow_id).is_none() {
            return Err(unknown_workflow(workflow_id));
        }
        let before = self
            .state()
            .cluster
            .move_to(workflow_id, domain_id)
            .map_err(|reason| Refusal::fault("/domain_id", reason))?;
        let mut effects = vec![Effect::Assigned(workflow_id)];
        effects.push(Effect::Reconcile(domain_id.to_owned()));
        effects.extend(
            before
                .filter(|before| before != domain_id)
                .map(Effect::Reconcile),
        );
        self.carry_out(effects).await;
        self.inspect(workflow_id).await
    }

    /// Moves one vertex of a workflow to a node.
    ///
    /// # Errors
    /// Workflow, vertex or node are not known, or the node is not feasible.
    pub async fn move_vertex(
        &self,
        workflow_id: WorkflowId,
        name: &str,
        node_id: NodeId,
    ) -> Result<WorkflowStatus, Refusal> {
        let record = self.state().cluster.workflow(workflow_id).cloned();
        let record = record.ok_or_else(|| unknown_workflow(workflow_id))?;
        let vertex = record
            .vertices
            .iter()
            .find(|vertex| vertex.spec.name() == name);
        let vertex = vertex.ok_or_else(|| {
            Refusal::fault("/vertex", format!("the workflow has no vertex `{name}`"))
        })?;
        let link = record.domain_id.as_ref().and_then(|id| self.link(id));
        let link = link.ok_or_else(|| Refusal::Unreachable("it is in no domain".to_owned()))?;
        let request = v1::MigrateRequest {
            logical_id: id_bytes(&vertex.logical_id),
            node_id: id_bytes(&node_id),
        };
        let mut control = link.client.control();
        match tokio::time::timeout(LOOK, control.migrate(request)).await {
            Ok(Ok(_)) => self.inspect(workflow_id).await,
            Ok(Err(status)) => match status.code() {
                tonic::Code::NotFound | tonic::Code::FailedPrecondition => {
                    Err(Refusal::fault("/node_id", status.message()))
                }
                _ => Err(Refusal::Unreachable(status.message().to_owned())),
            },
            Err(_) => Err(Refusal::Unreachable("no answer in time".to_owned())),
        }
    }

    /// Publishes a class of functions. True: it is new.
    ///
    /// # Errors
    /// The code is no function, or another code has this id and version and is not to be replaced.
    pub async fn publish(
        &self,
        record: FunctionRecord,
        code: Bytes,
        replace: bool,
    ) -> Result<bool, Refusal> {
        let key = (record.id.clone(), record.version.clone());
        let known = self.state().functions.get(&key).cloned();
        if known.as_ref() == Some(&record) {
            return Ok(false);
        }
        if known.is_some_and(|known| known.code != record.code) && !replace {
            return Err(Refusal::Conflict(format!(
                "`{}` version `{}` has other code; publish another version, or use `?replace=true`",
                record.id, record.version
            )));
        }
        self.upload(code).await?;
        let written = self
            .0
            .store
            .write(vec![Write::Function(record.clone())])
            .await;
        written.map_err(|error| Refusal::Store(error.to_string()))?;
        Ok(self.state().functions.insert(key, record).is_none())
    }

    /// Keeps code by its content.
    ///
    /// # Errors
    /// The code is no function, or cannot be kept.
    pub async fn upload(&self, code: Bytes) -> Result<CodeDigest, Refusal> {
        check::check_module(&code).map_err(|problem| Refusal::fault("", problem))?;
        let digest = CodeDigest::of(&code);
        let put = self.0.code.put(digest, code).await;
        put.map_err(|error| Refusal::Store(error.to_string()))?;
        Ok(digest)
    }

    /// All classes of functions.
    pub fn functions(&self) -> Vec<FunctionRecord> {
        self.state().functions.values().cloned().collect()
    }

    /// One class.
    ///
    /// # Errors
    /// It is not known.
    pub fn function(&self, id: &str, version: &str) -> Result<FunctionRecord, Refusal> {
        let key = (id.to_owned(), version.to_owned());
        let known = self.state().functions.get(&key).cloned();
        known.ok_or_else(|| Refusal::Unknown {
            what: "function",
            id: format!("{id}/{version}"),
        })
    }

    /// The code of a class.
    ///
    /// # Errors
    /// It is not known or cannot be read.
    pub async fn code_of(&self, id: &str, version: &str) -> Result<Bytes, Refusal> {
        let digest = self.function(id, version)?.code;
        let code = self.0.code.get(digest).await;
        let code = code.map_err(|error| Refusal::Store(error.to_string()))?;
        code.ok_or_else(|| Refusal::Unknown {
            what: "code",
            id: digest.to_string(),
        })
    }

    /// All domains.
    pub fn domains(&self) -> Vec<DomainStatus> {
        let state = self.state();
        let domains = state.cluster.domains().iter();
        domains
            .map(|(domain_id, domain)| {
                status::of_domain(domain, state.cluster.of_domain(domain_id).len())
            })
            .collect()
    }

    /// The nodes of a domain, as it says.
    ///
    /// # Errors
    /// The domain is not known or does not answer.
    pub async fn nodes(&self, domain_id: &str) -> Result<Vec<status::NodeStatus>, Refusal> {
        let mut control = self.known_link(domain_id)?.client.control();
        let call = control.list_nodes(v1::ListNodesRequest {});
        let reply = tokio::time::timeout(LOOK, call).await;
        let reply = reply.map_err(|_| Refusal::Unreachable("no answer in time".to_owned()))?;
        let nodes = reply.map_err(|status| Refusal::Unreachable(status.message().to_owned()))?;
        Ok(nodes
            .into_inner()
            .nodes
            .into_iter()
            .filter_map(status::of_node)
            .collect())
    }

    /// The vertices of a domain, as it says.
    ///
    /// # Errors
    /// The domain is not known or does not answer.
    pub async fn instances(&self, domain_id: &str) -> Result<Vec<status::VertexStatus>, Refusal> {
        self.known_link(domain_id)?;
        let seen = self
            .look(domain_id, &[])
            .await
            .map_err(Refusal::Unreachable)?;
        let mut all: Vec<_> = seen.into_values().filter_map(status::of_vertex).collect();
        all.sort_by_key(|vertex| vertex.logical_id);
        Ok(all)
    }

    fn known_link(&self, domain_id: &str) -> Result<Link, Refusal> {
        let link = self.link(domain_id);
        link.ok_or_else(|| Refusal::Unknown {
            what: "domain",
            id: domain_id.to_owned(),
        })
    }

    /// A domain says that it is there. True: it is to reset itself.
    pub async fn on_domain(&self, update: DomainUpdate) -> bool {
        let (reset, effects) = self.state().cluster.on_update(update, now());
        self.carry_out(effects).await;
        reset
    }

    /// Time has passed.
    pub async fn on_tick(&self) {
        let effects = self.state().cluster.on_tick(now());
        self.carry_out(effects).await;
    }

    async fn carry_out(&self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Meet {
                    domain_id,
                    orchestrator_url,
                } => {
                    self.meet(domain_id, &orchestrator_url);
                }
                Effect::Entered(domain_id) => self.persist(Write::Domain(domain_id)).await,
                Effect::Assigned(workflow_id) => {
                    let record = self.state().cluster.workflow(workflow_id).cloned();
                    if let Some(record) = record {
                        self.persist(Write::Workflow(Box::new(record))).await;
                    }
                }
                Effect::Reconcile(domain_id) => {
                    let records = self.state().cluster.of_domain(&domain_id);
                    if let Some(link) = self.link(&domain_id)
                        && link.orders.send(Order::Reconcile(records)).await.is_err()
                    {
                        tracing::debug!(domain_id, "ε-CON is ending");
                    }
                }
            }
        }
    }

    async fn persist(&self, write: Write) {
        if let Err(error) = self.0.store.write(vec![write]).await {
            tracing::error!(%error, "a change is not kept; after a restart it is decided anew");
        }
    }

    fn meet(&self, domain_id: String, url: &str) {
        match OrcClient::new(url, self.0.code.clone()) {
            Ok(client) => {
                tracing::info!(domain_id, url, "a domain is there");
                let link = Link {
                    orders: client.clone().spawn(),
                    client,
                };
                self.state().links.insert(domain_id, link);
            }
            Err(error) => tracing::warn!(domain_id, url, %error, "a domain's address is of no use"),
        }
    }
}

fn unknown_workflow(workflow_id: WorkflowId) -> Refusal {
    Refusal::Unknown {
        what: "workflow",
        id: workflow_id.to_string(),
    }
}

fn new_record(
    name: String,
    vertices: Vec<(
        edgeless_types::workflow::VertexSpec,
        BTreeMap<String, String>,
    )>,
) -> WorkflowRecord {
    let mut rng = rand::rng();
    let ids: BTreeMap<String, LogicalId> = vertices
        .iter()
        .map(|(spec, _)| (spec.name().to_owned(), LogicalId::random(&mut rng)))
        .collect();
    let vertex = |(spec, mapping): (edgeless_types::workflow::VertexSpec, _)| VertexRecord {
        logical_id: ids[spec.name()],
        outputs: check::resolve(&mapping, &ids),
        spec,
    };
    WorkflowRecord {
        workflow_id: WorkflowId::random(&mut rng),
        name,
        accepted: now(),
        domain_id: None,
        vertices: vertices.into_iter().map(vertex).collect(),
    }
}

impl WorkflowState {
    /// The state in one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Unknown => "unknown",
        }
    }
}
