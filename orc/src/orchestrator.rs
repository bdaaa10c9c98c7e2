//! The one owner of the domain: takes requests, lets the domain decide, has the effects done.

use std::{collections::HashMap, time::Duration};

use edgeless_daemon::code::CodeStore;
use edgeless_types::{
    Timestamp,
    intent::{Intent, IntentOutcome},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    change::{Change, What},
    domain::{
        Command, Domain, Effect, NodeUpdate, NodeUpdateReply, Refusal, StartOutcome, StepResult,
        Ticket, VertexRequest,
    },
    metrics::Metrics,
    node_client::{NodeClients, Outcomes},
    observers::Observers,
};

/// Requests that wait for the owner.
const INBOX: usize = 4_096;
/// Requests taken at a time.
const BATCH: usize = 256;
/// How often time passes for the domain.
const TICK: Duration = Duration::from_millis(20);

/// The wall clock.
pub fn now() -> Timestamp {
    edgeless_daemon::wall_clock()
}

type Read = Box<dyn FnOnce(&Domain, Timestamp) + Send>;

enum Request {
    Update(Box<NodeUpdate>, oneshot::Sender<NodeUpdateReply>),
    Start(
        Start,
        Vec<VertexRequest>,
        oneshot::Sender<Vec<StartOutcome>>,
    ),
    Tell(Command),
    Intent(String, Option<String>, oneshot::Sender<IntentOutcome>),
    Migrate(Intent, oneshot::Sender<Result<(), Refusal>>),
    Read(Read),
}

#[derive(Clone, Copy)]
enum Start {
    More,
    All,
}

/// ε-ORC has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ε-ORC is ending")]
pub struct Ended;

/// Asks the owner of the domain; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    code: CodeStore,
}

impl Handle {
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

    /// These vertices are desired as well.
    ///
    /// # Errors
    /// ε-ORC is ending.
    pub async fn start(&self, vertices: Vec<VertexRequest>) -> Result<Vec<StartOutcome>, Ended> {
        self.ask(|reply| Request::Start(Start::More, vertices, reply))
            .await
    }

    /// Exactly these vertices are desired.
    ///
    /// # Errors
    /// ε-ORC is ending.
    pub async fn reconcile(
        &self,
        vertices: Vec<VertexRequest>,
    ) -> Result<Vec<StartOutcome>, Ended> {
        self.ask(|reply| Request::Start(Start::All, vertices, reply))
            .await
    }

    /// Tells the domain something that needs no answer.
    ///
    /// # Errors
    /// ε-ORC is ending.
    pub async fn tell(&self, command: Command) -> Result<(), Ended> {
        self.requests
            .send(Request::Tell(command))
            .await
            .map_err(|_| Ended)
    }

    /// Carries out an intent and says what became of it.
    ///
    /// # Errors
    /// ε-ORC is ending.
    pub async fn intent(&self, key: String, value: Option<String>) -> Result<IntentOutcome, Ended> {
        self.ask(|reply| Request::Intent(key, value, reply)).await
    }

    /// Moves a vertex.
    ///
    /// # Errors
    /// ε-ORC is ending.
    pub async fn migrate(&self, intent: Intent) -> Result<Result<(), Refusal>, Ended> {
        self.ask(|reply| Request::Migrate(intent, reply)).await
    }

    /// Looks at the domain.
    ///
    /// # Errors
    /// ε-ORC is ending.
    pub async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Domain, Timestamp) -> T + Send + 'static,
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

/// The owner, before it runs.
pub struct Orchestrator {
    domain: Domain,
    requests: mpsc::Receiver<Request>,
    outcomes: mpsc::Receiver<Outcomes>,
    nodes: NodeClients,
    observers: Observers,
    metrics: Metrics,
    tickets: HashMap<Ticket, oneshot::Sender<Vec<StartOutcome>>>,
    next_ticket: u64,
    changes: Vec<Change>,
    failed: Vec<(edgeless_types::NodeId, crate::domain::StepKey)>,
}

impl Orchestrator {
    /// An owner and the handle to it.
    pub fn new(
        domain: Domain,
        code: CodeStore,
        observers: Observers,
        metrics: Metrics,
    ) -> (Self, Handle) {
        let (sender, requests) = mpsc::channel(INBOX);
        let (outcomes_sender, outcomes) = mpsc::channel(INBOX);
        let nodes = NodeClients::new(outcomes_sender, code.clone());
        let owner = Self {
            domain,
            requests,
            outcomes,
            nodes,
            observers,
            metrics,
            tickets: HashMap::new(),
            next_ticket: 0,
            changes: Vec::new(),
            failed: Vec::new(),
        };
        (
            owner,
            Handle {
                requests: sender,
                code,
            },
        )
    }

    /// Runs until shutdown.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let domain_id = self.domain.id().clone();
        self.changes.push(Change {
            at: now(),
            what: What::Reset(domain_id),
        });
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some((node_id, outcomes)) = self.outcomes.recv() => {
                    for (key, result) in outcomes {
                        if matches!(result, StepResult::Failed(_)) {
                            self.metrics.failed_steps.inc();
                        }
                        self.command(Command::Outcome { node_id, key, result });
                    }
                }
                number = self.requests.recv_many(&mut batch, BATCH) => {
                    if number == 0 {
                        break;
                    }
                    for request in batch.drain(..) {
                        self.on_request(request);
                    }
                }
                _ = tick.tick() => {
                    self.command(Command::Tick);
                    self.metrics.set(self.domain.numbers());
                }
            }
            while let Some((node_id, key)) = self.failed.pop() {
                let result = StepResult::Failed("the node is not there".to_owned());
                self.command(Command::Outcome {
                    node_id,
                    key,
                    result,
                });
            }
            self.observers.publish(&mut self.changes);
        }
    }

    fn on_request(&mut self, request: Request) {
        match request {
            Request::Update(update, reply) => {
                self.metrics.updates.inc();
                let (answer, effects) = self.domain.on_node_update(*update, now());
                self.carry_out(effects);
                respond(reply, answer);
            }
            Request::Start(start, vertices, reply) => {
                self.next_ticket += 1;
                let ticket = Ticket(self.next_ticket);
                self.tickets.insert(ticket, reply);
                self.command(match start {
                    Start::More => Command::Start { vertices, ticket },
                    Start::All => Command::Reconcile { vertices, ticket },
                });
            }
            Request::Tell(command) => self.command(command),
            Request::Intent(key, value, reply) => {
                let outcome = self.intent(key, value);
                respond(reply, outcome);
            }
            Request::Migrate(intent, reply) => {
                let (outcome, effects) = self.domain.on_intent(intent, now());
                self.carry_out(effects);
                respond(reply, outcome);
            }
            Request::Read(look) => look(&self.domain, now()),
        }
    }

    fn command(&mut self, command: Command) {
        let effects = self.domain.on_command(command, now());
        self.carry_out(effects);
    }

    fn intent(&mut self, key: String, value: Option<String>) -> IntentOutcome {
        let timestamp = now();
        self.metrics.intents.inc();
        let refused = match Intent::parse(&key, value.as_deref()) {
            Ok(intent) => {
                let (outcome, effects) = self.domain.on_intent(intent, timestamp);
                self.carry_out(effects);
                outcome.err().map(|refusal| refusal.to_string())
            }
            Err(error) => Some(error.to_string()),
        };
        match &refused {
            None => tracing::info!(key, "an intent is carried out"),
            Some(reason) => tracing::warn!(key, reason, "an intent is refused"),
        }
        let outcome = IntentOutcome {
            key,
            value,
            timestamp,
            refused,
        };
        self.changes.push(Change {
            at: timestamp,
            what: What::Intent(outcome.clone()),
        });
        outcome
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Step { node_id, step } => {
                    self.metrics.steps.inc();
                    if let Some(key) = self.nodes.send(node_id, step) {
                        self.failed.push((node_id, key));
                    }
                }
                Effect::Forget(node_id) => self.nodes.forget(node_id),
                Effect::Meet { node_id, agent_url } => self.nodes.meet(node_id, &agent_url),
                Effect::Answer { ticket, outcomes } => {
                    if let Some(reply) = self.tickets.remove(&ticket) {
                        respond(reply, outcomes);
                    }
                }
                Effect::Change(change) => self.changes.push(change),
            }
        }
    }
}

fn respond<T>(reply: oneshot::Sender<T>, answer: T) {
    if reply.send(answer).is_err() {
        tracing::debug!("nobody waited for the answer");
    }
}
