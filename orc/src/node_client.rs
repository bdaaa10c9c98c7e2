//! Carries out steps on nodes: one worker per node, in order, in batches, with a deadline.
//!
//! A node that hangs delays nobody else, and is not waited for: starts that get no answer in about a second
//! fail, so that they are tried elsewhere, and while the node stays silent those behind them fail at once.
//! Stops and patches are tried again until the node answers or is gone; so what it was asked to start, and
//! may start late, is stopped then. A node that takes long is told from one that hangs by the pings of the
//! connection, so that code may take its time, and a node says of a step that takes long that it is under
//! way: that is asked after beside the others (`linger`). What an answer is worth is judged in `answer`.

mod answer;
mod line;
mod linger;
#[cfg(test)]
mod tests;
mod wire;

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use edgeless_daemon::code::CodeStore;
use edgeless_proto::v1::{self, node_agent_client::NodeAgentClient};
use edgeless_types::{CodeDigest, NodeId};
use tokio::{
    sync::{
        Semaphore,
        mpsc::{self, error::TryRecvError},
    },
    task::JoinSet,
};
use tonic::transport::Endpoint;

use crate::{
    domain::{Step, StepKey, StepResult},
    metrics::Metrics,
};
use answer::sort_out;
use line::{IDLE, Line};

/// Steps that wait for one node.
const QUEUE: usize = 20_000;
/// Steps in one call.
const BATCH: usize = 256;
/// How long a node may take for a batch, beside what its steps take: what it does not answer is to run elsewhere
/// in about a second, and has to start there.
const DEADLINE: Duration = Duration::from_millis(800);
/// How much longer for each step.
const STEP: Duration = Duration::from_millis(10);
/// How long it may take for code, and to make instances of code that it did not have.
const CODE_DEADLINE: Duration = Duration::from_secs(30);
/// Between two pings while a stream of steps is open and nothing is heard: longer than one is kept open without
/// steps ([`line::IDLE`]), so that nodes at rest are never pinged.
const PING: Duration = Duration::from_secs(2);
/// How long the answer to a ping may take.
const PONG: Duration = Duration::from_secs(1);
/// Between two tries of stops and patches; doubles up to `LONGEST`.
const RETRY: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(2);

/// What steps came to, of one node.
pub type Outcomes = (NodeId, Vec<(StepKey, StepResult)>);

/// The workers of all nodes.
pub struct NodeClients {
    workers: HashMap<NodeId, mpsc::Sender<Box<Step>>>,
    tasks: JoinSet<()>,
    outcomes: mpsc::Sender<Outcomes>,
    code: CodeStore,
    metrics: Metrics,
}

impl NodeClients {
    /// No workers yet; what steps come to goes to `outcomes`.
    pub fn new(outcomes: mpsc::Sender<Outcomes>, code: CodeStore, metrics: Metrics) -> Self {
        Self {
            workers: HashMap::new(),
            tasks: JoinSet::new(),
            outcomes,
            code,
            metrics,
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
            .connect_timeout(DEADLINE)
            .timeout(CODE_DEADLINE)
            .http2_keep_alive_interval(PING)
            .keep_alive_timeout(PONG)
            .tcp_nodelay(true)
            .connect_lazy();
        let client = NodeAgentClient::new(channel)
            .max_encoding_message_size(usize::MAX)
            .max_decoding_message_size(64 << 20);
        let (sender, steps) = mpsc::channel(QUEUE);
        self.workers.insert(node_id, sender);
        let caller = Caller {
            node_id,
            line: Line::new(client),
            code: self.code.clone(),
            metrics: self.metrics.clone(),
        };
        let queue = Queue {
            node_id,
            steps,
            outcomes: self.outcomes.clone(),
            behind: Vec::new(),
        };
        self.tasks.spawn(run(caller, queue));
    }

    /// A node is gone: its worker ends.
    pub fn forget(&mut self, node_id: NodeId) {
        self.workers.remove(&node_id);
    }

    /// Hands a step to the worker; gives the key back when that cannot be.
    pub fn send(&self, node_id: NodeId, step: Step) -> Option<StepKey> {
        let key = step.key();
        match self.workers.get(&node_id) {
            Some(worker) => worker.try_send(Box::new(step)).is_err().then_some(key),
            None => Some(key),
        }
    }
}

/// What is to be done on one node.
struct Queue {
    node_id: NodeId,
    /// In boxes, as a queue has room for some from its beginning, and there are many of them.
    steps: mpsc::Receiver<Box<Step>>,
    outcomes: mpsc::Sender<Outcomes>,
    /// Taken from the queue while the node was silent: no starts, at most [`QUEUE`].
    behind: Vec<Step>,
}

/// Nobody wants to know more of the node.
struct Gone;

/// Takes the steps of one node until it is gone.
async fn run(mut caller: Caller, mut queue: Queue) {
    let Err(Gone) = work(&mut caller, &mut queue).await;
}

async fn work(caller: &mut Caller, queue: &mut Queue) -> Result<std::convert::Infallible, Gone> {
    let (mut batch, mut lingering) = (Vec::new(), JoinSet::new());
    let streams = Arc::new(Semaphore::new(linger::STREAMS));
    let (mut silent, mut pause) = (false, RETRY);
    loop {
        queue.next(&mut batch, &mut caller.line).await?;
        let applied = if silent {
            queue.meanwhile(caller.apply(&batch)).await?
        } else {
            caller.apply(&batch).await
        };
        let mut again = Vec::new();
        let mut done = Vec::with_capacity(batch.len());
        for (step, result) in batch.drain(..).zip(applied.results) {
            match result {
                Some(result) => done.push((step.key(), result)),
                None => again.push(step),
            }
        }
        queue.tell(done).await?;
        while lingering.try_join_next().is_some() {}
        if applied.answered && !again.is_empty() {
            let (again, streams) = (std::mem::take(&mut again), Arc::clone(&streams));
            let outcomes = queue.outcomes.clone();
            lingering.spawn(linger::linger(caller.another(), streams, outcomes, again));
        }
        batch = again;
        if silent == applied.answered {
            silent = !applied.answered;
            let node_id = queue.node_id;
            match silent {
                true => tracing::warn!(%node_id, "a node does not do what it is asked"),
                false => tracing::info!(%node_id, "a node does what it is asked again"),
            }
        }
        if !silent {
            pause = RETRY;
            continue;
        }
        queue.pass_over().await?;
        if !batch.is_empty() {
            queue.meanwhile(tokio::time::sleep(pause)).await?;
            pause = (pause * 2).min(LONGEST);
        }
    }
}

impl Queue {
    /// Fills a batch; waits until there is something.
    async fn next(&mut self, batch: &mut Vec<Step>, line: &mut Line) -> Result<(), Gone> {
        let more = BATCH.saturating_sub(batch.len()).min(self.behind.len());
        batch.extend(self.behind.drain(..more));
        if !batch.is_empty() {
            return Ok(());
        }
        let mut taken = Vec::new();
        if line.is_open() {
            let soon = tokio::time::timeout(IDLE, self.steps.recv_many(&mut taken, BATCH));
            match soon.await {
                Ok(0) => return Err(Gone),
                Ok(_) => {}
                Err(_) => line.close(),
            }
        }
        if taken.is_empty() && self.steps.recv_many(&mut taken, BATCH).await == 0 {
            return Err(Gone);
        }
        batch.extend(taken.into_iter().map(|it| *it));
        Ok(())
    }

    /// Waits for something while the node is silent: starts that come meanwhile fail at once.
    async fn meanwhile<T>(&mut self, waiting: impl Future<Output = T>) -> Result<T, Gone> {
        tokio::pin!(waiting);
        loop {
            tokio::select! {
                biased;
                done = &mut waiting => return Ok(done),
                step = self.steps.recv(), if self.behind.len() < QUEUE => match step {
                    Some(step) => {
                        let refused = self.sort(*step);
                        self.tell(refused.into_iter().collect()).await?;
                    }
                    None => return Err(Gone),
                },
            }
        }
    }

    /// Looks through what is queued for a silent node: starts fail.
    async fn pass_over(&mut self) -> Result<(), Gone> {
        let mut refused = Vec::new();
        while self.behind.len() < QUEUE {
            match self.steps.try_recv() {
                Ok(step) => refused.extend(self.sort(*step)),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Err(Gone),
            }
        }
        self.tell(refused).await
    }

    fn sort(&mut self, step: Step) -> Option<(StepKey, StepResult)> {
        if matches!(step, Step::Start { .. }) {
            let failed = StepResult::Failed("the node does not answer".to_owned());
            return Some((step.key(), failed));
        }
        self.behind.push(step);
        None
    }

    async fn tell(&self, done: Vec<(StepKey, StepResult)>) -> Result<(), Gone> {
        if done.is_empty() {
            return Ok(());
        }
        let told = self.outcomes.send((self.node_id, done)).await;
        told.map_err(|_| Gone)
    }
}

/// What came of a batch.
struct Applied {
    /// Of each step; none: it is to be tried again.
    results: Vec<Option<StepResult>>,
    /// Whether the node answered, and the answer was of use.
    answered: bool,
}

/// Calls one node.
struct Caller {
    node_id: NodeId,
    line: Line,
    code: CodeStore,
    metrics: Metrics,
}

impl Caller {
    /// One more, with a stream of its own.
    fn another(&mut self) -> Self {
        Self {
            node_id: self.node_id,
            line: Line::new(self.line.client().clone()),
            code: self.code.clone(),
            metrics: self.metrics.clone(),
        }
    }

    async fn apply(&mut self, steps: &[Step]) -> Applied {
        let mut results: Vec<Option<StepResult>> = vec![None; steps.len()];
        let mut open: Vec<usize> = (0..steps.len()).collect();
        let mut given: Vec<Bytes> = Vec::new();
        let mut deadline = deadline(steps);
        let answered = loop {
            let wanted: Vec<&Step> = open.iter().map(|&index| &steps[index]).collect();
            let outcomes = match self.call(&wanted, deadline).await {
                Ok(outcomes) => outcomes,
                Err(message) => {
                    fail_starts(steps, &open, &message, &mut results);
                    break false;
                }
            };
            let sorted = sort_out(steps, &open, outcomes, &given, &mut results);
            if sorted.wrong > 0 {
                self.metrics.wrong_answers.inc_by(sorted.wrong);
                let (node_id, number) = (self.node_id, sorted.wrong);
                tracing::warn!(%node_id, number, "a node answered steps with nonsense");
            }
            open = sorted.again;
            let Some(code) = sorted.missing else {
                break true;
            };
            if let Err(message) = self.put_code(code).await {
                for &index in &open {
                    results[index] = Some(StepResult::Failed(message.clone()));
                }
                break true;
            }
            given.push(Bytes::copy_from_slice(code.as_bytes()));
            deadline = CODE_DEADLINE;
        };
        Applied { results, answered }
    }

    async fn call(
        &mut self,
        steps: &[&Step],
        deadline: Duration,
    ) -> Result<Vec<v1::StepOutcome>, String> {
        let request = wire::to_wire(steps);
        let call = self.line.ask(request);
        let reply = match tokio::time::timeout(deadline, call).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(status)) => {
                self.metrics.unanswered.inc();
                return Err(format!("the node does not answer: {}", status.message()));
            }
            Err(_) => {
                self.metrics.unanswered.inc();
                return Err("the node does not answer".to_owned());
            }
        };
        let outcomes = reply.outcomes;
        if outcomes.len() != steps.len() {
            self.metrics.wrong_answers.inc();
            return Err("the node answered another number of steps".to_owned());
        }
        Ok(outcomes)
    }

    async fn put_code(&mut self, digest: CodeDigest) -> Result<(), String> {
        let code: Bytes = self
            .code
            .get(digest)
            .await
            .map_err(|error| error.to_string())?
            .ok_or_else(|| format!("the code {digest} is not here"))?;
        let digest = Bytes::copy_from_slice(digest.as_bytes());
        let call = self
            .line
            .client()
            .put_code(v1::PutCodeRequest { digest, code });
        match tokio::time::timeout(CODE_DEADLINE, call).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(status.message().to_owned()),
            Err(_) => Err("the node does not take the code in time".to_owned()),
        }
    }
}

fn fail_starts(steps: &[Step], open: &[usize], message: &str, results: &mut [Option<StepResult>]) {
    for &index in open {
        if matches!(steps[index], Step::Start { .. }) {
            results[index] = Some(StepResult::Failed(message.to_owned()));
        }
    }
}

/// How long a node may take for these steps: instances that it stops may drain, those next to one another
/// at once.
pub fn deadline(steps: &[Step]) -> Duration {
    let (mut all, mut group) = (DEADLINE, Duration::ZERO);
    for step in steps {
        all += STEP;
        if let Step::Stop { drain, .. } = step {
            group = group.max(*drain);
        } else {
            all += std::mem::take(&mut group);
        }
    }
    all + group
}
