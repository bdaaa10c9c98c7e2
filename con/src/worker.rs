//! One worker per domain: what the domain is to start and stop, batched, and told again until it
//! was heard.
//!
//! Whatever the domain could not be told makes the worker *owe* a reconciliation, which is tried
//! with growing pauses; while it is owed, orders are answered at once with the reason.

use std::{sync::Arc, time::Duration};

use edgeless_types::{Epoch, LogicalId, WaitReason, WorkflowId};
use rand::Rng;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    orc_client::{NotStarted, OrcClient, Started},
    store::WorkflowRecord,
};

/// Orders that wait for the worker.
const QUEUE: usize = 4_096;
/// Orders joined into one call.
const BATCH: usize = 256;
/// Calls under way at the same time: a slow start does not hold up the others.
const CALLS: usize = 16;
/// How often a start that was overtaken is asked for.
const ATTEMPTS: u32 = 3;
/// Bounds of the pause before a domain that did not answer is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// Whether a domain was told of a stop, or why not.
pub type StopAnswer = Result<(), String>;

/// What a start came to, one outcome per vertex, or why the domain could not be told.
pub type StartAnswer = Result<Vec<Started>, String>;

/// What is desired of a domain, at the moment it is asked for.
pub trait Desired: Send + Sync + 'static {
    /// All of it.
    fn all(&self) -> Vec<Arc<WorkflowRecord>>;
    /// A workflow, or part of its vertices, as they are in it; none: it is not part of it.
    fn now(&self, record: &Arc<WorkflowRecord>) -> Option<Arc<WorkflowRecord>>;
    /// Whether a workflow is part of it.
    fn has(&self, workflow_id: WorkflowId) -> bool;
}

/// The way to a worker.
#[derive(Clone)]
pub struct Link {
    /// Where the domain is.
    pub url: String,
    /// Calls that need no order.
    pub client: OrcClient,
    orders: mpsc::Sender<Order>,
    owe: Arc<Notify>,
}

enum Order {
    Start(Arc<WorkflowRecord>, oneshot::Sender<StartAnswer>),
    Stop(WorkflowId, Vec<LogicalId>, oneshot::Sender<StopAnswer>),
}

impl Link {
    /// A way to a new worker, and the worker, to be run by its owner.
    pub fn new(
        url: String,
        client: OrcClient,
        desired: Arc<dyn Desired>,
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = ()>) {
        let (sender, orders) = mpsc::channel(QUEUE);
        let owe = Arc::new(Notify::new());
        let worker = Worker {
            client: client.clone(),
            desired,
            orders,
            owe: Arc::clone(&owe),
            debt: None,
            calls: JoinSet::new(),
        };
        let link = Self {
            url,
            client,
            orders: sender,
            owe,
        };
        (link, async move {
            shutdown.run_until_cancelled(worker.run()).await;
        })
    }

    /// Starts a workflow.
    ///
    /// # Errors
    /// The domain could not be told, in words. It will be, by reconciliation.
    pub async fn start(&self, record: Arc<WorkflowRecord>) -> StartAnswer {
        let (reply, answer) = oneshot::channel();
        self.send(Order::Start(record, reply))?;
        answer.await.unwrap_or_else(|_| Err(ending()))
    }

    /// Stops the vertices of a workflow, unless it is desired of the domain again when its turn comes.
    ///
    /// # Errors
    /// The domain could not be told, in words. It will be, by reconciliation.
    pub async fn stop(&self, workflow_id: WorkflowId, logical_ids: Vec<LogicalId>) -> StopAnswer {
        let (reply, answer) = oneshot::channel();
        self.send(Order::Stop(workflow_id, logical_ids, reply))?;
        answer.await.unwrap_or_else(|_| Err(ending()))
    }

    /// The domain is to be told everything, soon.
    pub fn reconcile(&self) {
        self.owe.notify_one();
    }

    fn send(&self, order: Order) -> Result<(), String> {
        self.orders.try_send(order).map_err(|error| {
            self.reconcile();
            match error {
                mpsc::error::TrySendError::Full(_) => {
                    format!("{QUEUE} orders wait for its domain already")
                }
                mpsc::error::TrySendError::Closed(_) => ending(),
            }
        })
    }
}

fn ending() -> String {
    "ε-CON is ending".to_owned()
}

/// A workflow to be started, and who waits for what comes of it.
type Start = (Arc<WorkflowRecord>, oneshot::Sender<StartAnswer>);

struct Worker {
    client: OrcClient,
    desired: Arc<dyn Desired>,
    orders: mpsc::Receiver<Order>,
    owe: Arc<Notify>,
    debt: Option<Debt>,
    /// Each answers whether the domain was told.
    calls: JoinSet<Result<(), String>>,
}

/// The domain must be told everything.
struct Debt {
    /// Why; shown to whoever asks for something meanwhile.
    reason: String,
    /// When it is tried next.
    next: Instant,
    /// How often it was tried in vain.
    failures: u32,
}

impl Debt {
    fn now(reason: &str) -> Self {
        Self {
            reason: reason.to_owned(),
            next: Instant::now(),
            failures: 0,
        }
    }
}

impl Worker {
    async fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            if self
                .debt
                .as_ref()
                .is_some_and(|debt| debt.next <= Instant::now())
            {
                self.settle().await;
            }
            let next_try = self.debt.as_ref().map(|debt| debt.next);
            let is_free = self.calls.len() < CALLS;
            let owe = Arc::clone(&self.owe);
            tokio::select! {
                () = owe.notified() => self.debt = Some(Debt::now("it is being told everything")),
                () = until(next_try) => {}
                Some(ended) = self.calls.join_next() => self.on_told(ended),
                number = self.orders.recv_many(&mut batch, BATCH), if is_free => {
                    if number == 0 {
                        return;
                    }
                    self.on_orders(&mut batch);
                }
            }
        }
    }

    fn on_told(&mut self, ended: Result<Result<(), String>, tokio::task::JoinError>) {
        let told = ended.unwrap_or_else(|error| Err(error.to_string()));
        if let Err(reason) = told
            && self.debt.is_none()
        {
            self.debt = Some(Debt::now(&reason));
        }
    }

    /// Tries to tell the domain everything.
    async fn settle(&mut self) {
        let failures = self.debt.take().map_or(0, |debt| debt.failures);
        // Drawn first: whatever is decided later has a greater one, and may be desired already.
        let epoch = self.client.next_epoch();
        let desired = self.desired.all();
        if let Err(reason) = self.client.reconcile(epoch, &desired).await {
            if failures == 0 {
                tracing::warn!(
                    reason,
                    "a domain cannot be told what is desired; it is tried again"
                );
            }
            let pause = (PAUSES.0 * 2_u32.pow(failures.min(8))).min(PAUSES.1);
            self.debt = Some(Debt {
                reason,
                next: Instant::now() + pause.mul_f64(rand::rng().random_range(0.5..1.0)),
                failures: failures + 1,
            });
        } else if failures > 0 {
            tracing::info!("the domain was told what is desired");
        }
    }

    fn on_orders(&mut self, batch: &mut Vec<Order>) {
        let mut starts = Vec::new();
        let mut stops = Vec::new();
        // Drawn in the order in which they are decided, and before it is looked at what is desired.
        let (start_epoch, stop_epoch) = (self.client.next_epoch(), self.client.next_epoch());
        for order in batch.drain(..) {
            let reason = self.debt.as_ref().map(|debt| debt.reason.clone());
            match (order, reason) {
                (Order::Start(_, reply), Some(reason)) => answer(reply, Err(reason)),
                (Order::Stop(_, _, reply), Some(reason)) => answer(reply, Err(reason)),
                (Order::Start(record, reply), None) => {
                    // It may be something else by now.
                    let Some(start) = as_desired(&*self.desired, (record, reply)) else {
                        continue;
                    };
                    // It may be put where it was to be stopped by an order before this one.
                    let this = start.0.workflow_id;
                    for (_, _, reply) in stops.extract_if(.., |(it, _, _)| *it == this) {
                        answer(reply, Ok(()));
                    }
                    starts.push(start);
                }
                // It may have waited so long that the workflow has come back.
                (Order::Stop(workflow_id, _, reply), None) if self.desired.has(workflow_id) => {
                    answer(reply, Ok(()));
                }
                (Order::Stop(workflow_id, logical_ids, reply), None) => {
                    stops.push((workflow_id, logical_ids, reply));
                }
            }
        }
        if !starts.is_empty() {
            let client = self.client.clone();
            let desired = Arc::clone(&self.desired);
            self.calls
                .spawn(start(client, desired, start_epoch, starts));
        }
        if !stops.is_empty() {
            let client = self.client.clone();
            self.calls.spawn(stop(client, stop_epoch, stops));
        }
    }
}

/// A start, as far as it is still desired; what is not is answered.
fn as_desired(desired: &dyn Desired, (record, reply): Start) -> Option<Start> {
    if let Some(now) = desired.now(&record) {
        return Some((now, reply));
    }
    // If it is desired again by the time that is looked at, another order has seen to it.
    let withdrawn = Started::Waiting(WaitReason::Starting.to_string());
    answer(reply, Ok(vec![withdrawn; record.vertices.len()]));
    None
}

async fn start(
    mut client: OrcClient,
    desired: Arc<dyn Desired>,
    mut epoch: Epoch,
    mut starts: Vec<Start>,
) -> Result<(), String> {
    let mut attempts = 1;
    loop {
        let records: Vec<_> = starts
            .iter()
            .map(|(record, _)| Arc::clone(record))
            .collect();
        let reason = match client.start(epoch, &records).await {
            Ok(outcomes) => {
                for ((_, reply), outcomes) in starts.into_iter().zip(outcomes) {
                    answer(reply, Ok(outcomes));
                }
                return Ok(());
            }
            // A reconciliation that was sent later has come first. What is desired is asked for as a newer decision.
            Err(NotStarted::Overtaken(_)) if attempts < ATTEMPTS => {
                attempts += 1;
                epoch = client.next_epoch();
                let again = starts.into_iter();
                starts = again.filter_map(|it| as_desired(&*desired, it)).collect();
                continue;
            }
            Err(NotStarted::Overtaken(reason) | NotStarted::Unreachable(reason)) => reason,
        };
        for (_, reply) in starts {
            answer(reply, Err(reason.clone()));
        }
        return Err(reason);
    }
}

async fn stop(
    mut client: OrcClient,
    epoch: Epoch,
    stops: Vec<(WorkflowId, Vec<LogicalId>, oneshot::Sender<StopAnswer>)>,
) -> Result<(), String> {
    let logical_ids: Vec<_> = stops.iter().flat_map(|(_, ids, _)| ids).copied().collect();
    let outcome = client.stop(epoch, &logical_ids).await;
    for (_, _, reply) in stops {
        answer(reply, outcome.clone());
    }
    outcome
}

/// Answers an order; nobody waits for one that was given in the background.
fn answer<T>(reply: oneshot::Sender<T>, answer: T) {
    drop(reply.send(answer));
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
