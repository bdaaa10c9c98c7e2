//! The one owner of the domain: takes requests, lets the domain decide, has the effects done.
//!
//! What it is told to desire is decided and done at once, and answered when the journal has it as well.

use std::{collections::HashMap, time::Duration};

use edgeless_daemon::{status::Readiness, writer::WriteError};
use edgeless_types::{
    NodeId, Timestamp,
    intent::{Intent, IntentOutcome},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    admission::{self, Admitted, Left},
    change::{Change, What},
    domain::{Command, Domain, Effect, StartOutcome, StepKey, StepResult, Ticket},
    fence::Fence,
    handle::{Kept, NotKept, Request, Requests, Start},
    journal::{self, Difference, Journal, keeper::Keeper},
    lives::Lives,
    metrics::Metrics,
    node_client::{NodeClients, Outcomes},
    observers::Observers,
};

/// Outcomes of steps that wait for the owner.
const INBOX: usize = 4_096;
/// Requests taken at a time.
const BATCH: usize = 256;
/// How often time passes for the domain.
const TICK: Duration = Duration::from_millis(20);

/// The time: no step of the wall clock moves it, so no node is lost by one.
pub fn now() -> Timestamp {
    edgeless_daemon::wall_clock()
}

/// Who waits for the journal.
enum Waiting {
    Start(Ticket),
    Change(oneshot::Sender<Kept<()>>),
    Intent(IntentOutcome, oneshot::Sender<IntentOutcome>),
}

/// A start is answered when it has come to something and is kept.
struct StartWaiting {
    reply: oneshot::Sender<Kept<Vec<StartOutcome>>>,
    outcomes: Option<Vec<StartOutcome>>,
    is_kept: bool,
    left: Left,
}

/// The owner, before it runs.
pub struct Orchestrator {
    domain: Domain,
    requests: mpsc::Receiver<Request>,
    outcomes: mpsc::Receiver<Outcomes>,
    nodes: NodeClients,
    lives: Lives,
    observers: Observers,
    metrics: Metrics,
    fence: Fence,
    keeper: Keeper<Waiting>,
    /// What was kept of an earlier life, until it is told to the domain.
    kept: Option<journal::Kept>,
    tickets: HashMap<Ticket, StartWaiting>,
    next_ticket: u64,
    changes: Vec<Change>,
    failed: Vec<(NodeId, StepKey)>,
}

impl Orchestrator {
    /// An owner that takes requests of the handles, with what its journal kept.
    pub fn new(
        domain: Domain,
        requests: Requests,
        (journal, kept): (Journal, journal::Kept),
        observers: Observers,
        metrics: Metrics,
        readiness: Readiness,
    ) -> Self {
        let (outcomes_sender, outcomes) = mpsc::channel(INBOX);
        let nodes = NodeClients::new(outcomes_sender, requests.code, metrics.clone());
        Self {
            domain,
            requests: requests.queue,
            outcomes,
            nodes,
            lives: Lives::default(),
            observers,
            metrics,
            keeper: Keeper::new(journal, readiness),
            kept: Some(kept),
            fence: Fence::default(),
            tickets: HashMap::new(),
            next_ticket: 0,
            changes: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// Runs until shutdown.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let domain_id = self.domain.id().clone();
        self.changes.push(Change {
            at: now(),
            what: What::Reset(domain_id),
        });
        self.restore();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        let mut outcomes = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = self.outcomes.recv_many(&mut outcomes, BATCH) => {
                    for (node_id, outcomes) in outcomes.drain(..) {
                        self.on_outcomes(node_id, outcomes);
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
                (outcome, waiting) = self.keeper.written() => self.on_kept(outcome, waiting),
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
            self.keeper.hand_over();
            self.observers.publish(&mut self.changes);
        }
        self.keeper.close().await;
    }

    /// What was desired before the end of an earlier life is desired again; nodes report what of it runs.
    fn restore(&mut self) {
        let Some(kept) = self.kept.take() else {
            return;
        };
        let (vertices, cordoned) = (kept.vertices, kept.cordoned.into_iter().collect());
        self.command(Command::Cordoned(cordoned));
        let drained = kept.drained.into_iter().collect();
        self.command(Command::Drained(drained));
        self.command(Command::Asleep(kept.asleep));
        if kept.told {
            tracing::info!(
                vertices = vertices.len(),
                "what was desired is read from the journal"
            );
            let ticket = self.ticket();
            self.command(Command::Reconcile { vertices, ticket });
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    fn on_outcomes(&mut self, node_id: NodeId, outcomes: Vec<(StepKey, StepResult)>) {
        for (key, result) in outcomes {
            if matches!(result, StepResult::Failed(_)) {
                self.metrics.failed_steps.inc();
            }
            self.command(Command::Outcome {
                node_id,
                key,
                result,
            });
        }
    }

    fn on_request(&mut self, request: Request) {
        match request {
            Request::Update(update, reply) => {
                self.metrics.updates.inc();
                if self.lives.is_late(&update) {
                    self.metrics.late_updates.inc();
                }
                let (answer, effects) = self.domain.on_node_update(*update, now());
                if answer.duplicate {
                    self.metrics.duplicate_nodes.inc();
                }
                self.carry_out(effects);
                respond(reply, answer);
            }
            Request::Start(start, vertices, difference, epoch, reply) => {
                let (fence, asked) = (&mut self.fence, (vertices, difference));
                let admitted = match start {
                    Start::More => admission::start(fence, asked, epoch),
                    Start::All => admission::reconcile(fence, &self.domain, asked, epoch),
                };
                match admitted {
                    Ok(admitted) => self.start(start, admitted, reply),
                    Err(overtaken) => respond(reply, Err(overtaken.into())),
                }
            }
            Request::Change(command, difference, epoch, reply) => {
                match admission::change(&mut self.fence, (command, difference), epoch) {
                    Ok((command, difference)) => self.change(command, difference, reply),
                    Err(overtaken) => respond(reply, Err(overtaken.into())),
                }
            }
            Request::Intent(key, value, reply) => self.intent(key, value, reply),
            Request::Migrate(intent, reply) => {
                let (outcome, effects) = self.domain.on_intent(intent, now());
                self.carry_out(effects);
                respond(reply, outcome);
            }
            Request::Read(look) => look(&mut self.domain, now()),
        }
    }

    fn start(
        &mut self,
        start: Start,
        admitted: Admitted,
        reply: oneshot::Sender<Kept<Vec<StartOutcome>>>,
    ) {
        let (vertices, difference) = (admitted.vertices, admitted.difference);
        let ticket = self.ticket();
        let waiting = StartWaiting {
            reply,
            outcomes: None,
            is_kept: difference.is_empty(),
            left: admitted.left,
        };
        self.tickets.insert(ticket, waiting);
        if !difference.is_empty() {
            self.keeper.keep(difference, Waiting::Start(ticket));
        }
        self.command(match start {
            Start::More => Command::Start { vertices, ticket },
            Start::All => Command::Reconcile { vertices, ticket },
        });
    }

    fn change(
        &mut self,
        command: Command,
        difference: Difference,
        reply: oneshot::Sender<Kept<()>>,
    ) {
        self.command(command);
        match difference.is_empty() {
            true => respond(reply, Ok(())),
            false => self.keeper.keep(difference, Waiting::Change(reply)),
        }
    }

    fn command(&mut self, command: Command) {
        let effects = self.domain.on_command(command, now());
        self.carry_out(effects);
    }

    fn intent(
        &mut self,
        key: String,
        value: Option<String>,
        reply: oneshot::Sender<IntentOutcome>,
    ) {
        let timestamp = now();
        self.metrics.intents.inc();
        let parsed = Intent::parse(&key, value.as_deref());
        let difference = parsed
            .as_ref()
            .map_or_else(|_| Difference::default(), difference_of);
        let refused = match parsed {
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
        match outcome.refused.is_none() && !difference.is_empty() {
            true => self
                .keeper
                .keep(difference, Waiting::Intent(outcome, reply)),
            false => self.answer_intent(outcome, reply),
        }
    }

    fn answer_intent(&mut self, outcome: IntentOutcome, reply: oneshot::Sender<IntentOutcome>) {
        self.changes.push(Change {
            at: outcome.timestamp,
            what: What::Intent(outcome.clone()),
        });
        respond(reply, outcome);
    }

    /// A commit of the journal has come to something: those who waited for it are answered.
    fn on_kept(&mut self, outcome: Result<(), WriteError>, waiting: Vec<Waiting>) {
        let kept = outcome.map_err(NotKept::Journal);
        for waiting in waiting {
            match (waiting, &kept) {
                (Waiting::Start(ticket), Ok(())) => {
                    if let Some(start) = self.tickets.get_mut(&ticket) {
                        start.is_kept = true;
                        self.answer_start(ticket);
                    }
                }
                (Waiting::Start(ticket), Err(error)) => {
                    if let Some(start) = self.tickets.remove(&ticket) {
                        respond(start.reply, Err(error.clone()));
                    }
                }
                (Waiting::Change(reply), kept) => respond(reply, kept.clone()),
                (Waiting::Intent(mut outcome, reply), kept) => {
                    outcome.refused = kept.as_ref().err().map(ToString::to_string);
                    self.answer_intent(outcome, reply);
                }
            }
        }
    }

    fn answer_start(&mut self, ticket: Ticket) {
        let is_done = |start: &StartWaiting| start.is_kept && start.outcomes.is_some();
        if self.tickets.get(&ticket).is_some_and(is_done)
            && let Some(start) = self.tickets.remove(&ticket)
        {
            let outcomes = start.outcomes.unwrap_or_default();
            respond(start.reply, Ok(start.left.fill(outcomes, &self.domain)));
        }
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
                Effect::Forget(node_id) => {
                    self.nodes.forget(node_id);
                    self.lives.forget(node_id);
                }
                Effect::Meet { node_id, agent_url } => self.nodes.meet(node_id, &agent_url),
                Effect::Answer { ticket, outcomes } => {
                    if let Some(start) = self.tickets.get_mut(&ticket) {
                        start.outcomes = Some(outcomes);
                        self.answer_start(ticket);
                    }
                }
                Effect::Asleep { logical_id, state } => self.keeper.asleep(logical_id, state),
                Effect::Awake(logical_id) => self.keeper.awake(logical_id),
                Effect::Change(change) => self.changes.push(change),
            }
        }
    }
}

/// What of an intent is to be kept.
fn difference_of(intent: &Intent) -> Difference {
    match *intent {
        Intent::Cordon { node_id } => Difference::cordon(node_id, true),
        Intent::Drain { node_id } => Difference::drain(node_id),
        Intent::Uncordon { node_id } => Difference::cordon(node_id, false),
        Intent::Migrate { .. } | Intent::Rebalance => Difference::default(),
    }
}

fn respond<T>(reply: oneshot::Sender<T>, answer: T) {
    if reply.send(answer).is_err() {
        tracing::debug!("nobody waited for the answer");
    }
}
