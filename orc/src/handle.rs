//! How everybody asks the owner of the domain ([`crate::orchestrator`]).

use std::collections::BTreeMap;

use edgeless_daemon::{code::CodeStore, writer::WriteError};
use edgeless_types::{
    Epoch, LogicalId, OrderDemand, Timestamp, WorkflowId,
    intent::{Intent, IntentOutcome},
    workflow::OutputMapping,
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    backlog::Backlog,
    domain::{
        Command, Domain, Explanation, NodeUpdate, NodeUpdateReply, Refusal, StartOutcome,
        VertexRequest, WouldGo,
    },
    fence::Overtaken,
    journal::Difference,
};

/// Requests that wait for the owner.
const INBOX: usize = 4_096;

type Read = Box<dyn FnOnce(&mut Domain, Timestamp) + Send>;

/// An answer that comes when what was asked for is kept.
pub(crate) type Kept<T> = Result<T, NotKept>;

pub(crate) enum Request {
    Update(Box<NodeUpdate>, oneshot::Sender<NodeUpdateReply>),
    Start(
        Start,
        Vec<VertexRequest>,
        Difference,
        Epoch,
        oneshot::Sender<Kept<Vec<StartOutcome>>>,
    ),
    Change(Command, Difference, Epoch, oneshot::Sender<Kept<()>>),
    Intent(String, Option<String>, oneshot::Sender<IntentOutcome>),
    Migrate(Intent, oneshot::Sender<Result<(), Refusal>>),
    Read(Read),
}

#[derive(Clone, Copy)]
pub(crate) enum Start {
    More,
    All,
}

/// ε-ORC has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ε-ORC is ending")]
pub struct Ended;

/// What was asked for is not sure to survive a restart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// ε-ORC is ending.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// ε-CON has decided something else since.
    #[error(transparent)]
    Overtaken(#[from] Overtaken),
    /// It is carried out, but a restart would forget it; the journal is tried again.
    #[error(
        "carried out, but not safe from a restart of ε-ORC yet, as its journal cannot be written: {0}"
    )]
    Journal(WriteError),
}

/// Asks the owner of the domain; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    code: CodeStore,
    backlog: Backlog,
}

/// What handles ask; for the owner.
pub struct Requests {
    pub(crate) queue: mpsc::Receiver<Request>,
    pub(crate) code: CodeStore,
}

impl Handle {
    /// A handle, and what the owner needs of it.
    pub fn new(code: CodeStore, backlog: Backlog) -> (Self, Requests) {
        let (requests, queue) = mpsc::channel(INBOX);
        let handle = Self {
            requests,
            code: code.clone(),
            backlog,
        };
        (handle, Requests { queue, code })
    }

    /// What waits for mirror and datasets.
    pub fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// Code by its content.
    pub fn code(&self) -> &CodeStore {
        &self.code
    }

    /// A node registers or refreshes.
    ///
    /// # Errors
    /// ε-ORC is ending.
    pub async fn update(&self, update: NodeUpdate) -> Result<NodeUpdateReply, Ended> {
        self.ask(|reply| Request::Update(Box::new(update), reply))
            .await
    }

    /// These vertices are desired as well; answered when that is kept.
    ///
    /// # Errors
    /// ε-ORC is ending, or its journal cannot be written.
    pub async fn start(
        &self,
        vertices: Vec<VertexRequest>,
        epoch: Epoch,
    ) -> Result<Vec<StartOutcome>, NotKept> {
        let difference = Difference::start(&vertices);
        self.ask(|reply| Request::Start(Start::More, vertices, difference, epoch, reply))
            .await?
    }

    /// Exactly these vertices are desired; answered when that is kept.
    ///
    /// # Errors
    /// ε-ORC is ending, or its journal cannot be written.
    pub async fn reconcile(
        &self,
        vertices: Vec<VertexRequest>,
        epoch: Epoch,
    ) -> Result<Vec<StartOutcome>, NotKept> {
        let difference = Difference::reconcile(&vertices);
        self.ask(|reply| Request::Start(Start::All, vertices, difference, epoch, reply))
            .await?
    }

    /// These vertices are not desired any more; answered when that is kept.
    ///
    /// # Errors
    /// ε-ORC is ending, or its journal cannot be written.
    pub async fn stop(&self, logical_ids: Vec<LogicalId>, epoch: Epoch) -> Result<(), NotKept> {
        let difference = Difference::stop(&logical_ids);
        self.change(Command::Stop(logical_ids), difference, epoch)
            .await
    }

    /// Outputs lead elsewhere; answered when that is kept.
    ///
    /// # Errors
    /// ε-ORC is ending, or its journal cannot be written.
    pub async fn patch(
        &self,
        patches: Vec<(LogicalId, OutputMapping)>,
        epoch: Epoch,
    ) -> Result<(), NotKept> {
        let difference = Difference::patch(&patches);
        self.change(Command::Patch(patches), difference, epoch)
            .await
    }

    /// The domain enters the cluster of an ε-CON in this life: nothing is desired; answered when that is kept.
    ///
    /// # Errors
    /// ε-ORC is ending, or its journal cannot be written.
    pub async fn reset(&self, life: u64) -> Result<(), NotKept> {
        let epoch = Epoch { life, sequence: 0 };
        self.change(Command::Reset, Difference::reset(), epoch)
            .await
    }

    /// Carries out an intent and says what became of it, when that is kept.
    ///
    /// # Errors
    /// ε-ORC is ending.
    pub async fn intent(&self, key: String, value: Option<String>) -> Result<IntentOutcome, Ended> {
        self.ask(|reply| Request::Intent(key, value, reply)).await
    }

    /// What orders want of services, all of them.
    ///
    /// # Errors
    /// ε-ORC is ending.
    pub async fn tell_demand(&self, demand: BTreeMap<LogicalId, OrderDemand>) -> Result<(), Ended> {
        self.with(move |domain, _| domain.tell_demand(demand)).await
    }

    /// Moves a vertex.
    ///
    /// # Errors
    /// ε-ORC is ending.
    pub async fn migrate(&self, intent: Intent) -> Result<Result<(), Refusal>, Ended> {
        self.ask(|reply| Request::Migrate(intent, reply)).await
    }

    /// Where vertices would go if they were started now, in their order.
    ///
    /// # Errors
    /// ε-ORC is ending.
    pub async fn dry_run(&self, vertices: Vec<VertexRequest>) -> Result<Vec<WouldGo>, Ended> {
        self.with(move |domain, now| domain.dry_run(vertices, now))
            .await
    }

    /// What a workflow does, and what limits it; none: nothing of it is desired here.
    ///
    /// # Errors
    /// ε-ORC is ending.
    pub async fn explain(&self, workflow_id: WorkflowId) -> Result<Option<Explanation>, Ended> {
        self.with(move |domain, now| domain.explain(workflow_id, now))
            .await
    }

    /// Looks at the domain.
    ///
    /// # Errors
    /// ε-ORC is ending.
    pub async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Domain, Timestamp) -> T + Send + 'static,
    ) -> Result<T, Ended> {
        self.with(move |domain, now| look(domain, now)).await
    }

    async fn with<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Domain, Timestamp) -> T + Send + 'static,
    ) -> Result<T, Ended> {
        self.ask(|reply| {
            Request::Read(Box::new(move |domain, now| {
                if reply.send(look(domain, now)).is_err() {
                    tracing::debug!("nobody waited for the look");
                }
            }))
        })
        .await
    }

    async fn change(
        &self,
        command: Command,
        difference: Difference,
        epoch: Epoch,
    ) -> Result<(), NotKept> {
        self.ask(|reply| Request::Change(command, difference, epoch, reply))
            .await?
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Ended> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(request(reply))
            .await
            .map_err(|_| Ended)?;
        answer.await.map_err(|_| Ended)
    }
}
