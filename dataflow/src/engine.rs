//! The handle to all shards of a node.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use edgeless_types::{
    Generation, NodeId, PhysicalId, Samples, Timestamp,
    message::{Message, Signal, Upward},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use crate::{
    config::{EngineConfig, Remote},
    control::Propagation,
    counters::Counters,
    directory::Place,
    output::Outputs,
    shard::{Inject, Shard},
    shared::Shared,
    spawn::{Failure, Spawn, SpawnError},
};

/// The engine of a node; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
    runtimes: Arc<[Handle]>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

/// Runs one shard of an engine.
pub struct ShardRun {
    index: usize,
    shared: Arc<Shared>,
    seed: u64,
    inbox: mpsc::Receiver<Inject>,
    data: mpsc::Receiver<Vec<Message>>,
}

impl ShardRun {
    /// Runs until the engine ends.
    pub async fn run(self) {
        let shard = Shard::new(self.index, self.shared, self.seed);
        shard.run(self.inbox, self.data).await;
    }
}

/// Commands and batches that wait for a shard.
const INJECTED: usize = 1_024;
/// Batches of messages that wait for a shard.
const BATCHES: usize = 16;

impl Engine {
    /// An engine and what runs its shards, for whoever brings threads and time of their own, such as a
    /// simulation: each is to be awaited for as long as the engine lives, on a current-thread runtime.
    pub fn assemble(config: EngineConfig, remote: Arc<dyn Remote>) -> (Self, Vec<ShardRun>) {
        let number = config.shards.max(1);
        let mut rng = SmallRng::seed_from_u64(config.seed);
        let (shards, inboxes): (Vec<_>, Vec<_>) =
            (0..number).map(|_| mpsc::channel(INJECTED)).unzip();
        let (data, batches): (Vec<_>, Vec<_>) = (0..number).map(|_| mpsc::channel(BATCHES)).unzip();
        let origins = (0..number).map(|_| rng.random()).collect();
        let shared = Arc::new(Shared::new(config, remote, origins, shards, data));
        let ends = inboxes.into_iter().zip(batches).enumerate();
        let runs = ends.map(|(index, (inbox, data))| ShardRun {
            index,
            shared: Arc::clone(&shared),
            seed: rng.random(),
            inbox,
            data,
        });
        let runs = runs.collect();
        let engine = Self {
            shared,
            runtimes: Arc::default(),
            threads: Arc::default(),
        };
        (engine, runs)
    }

    /// Starts the shards, each on a thread of its own.
    ///
    /// # Errors
    /// A thread or its runtime cannot be started.
    pub fn start(config: EngineConfig, remote: Arc<dyn Remote>) -> std::io::Result<Self> {
        let (mut engine, runs) = Self::assemble(config, remote);
        let (mut threads, mut runtimes) = (Vec::new(), Vec::new());
        for run in runs {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtimes.push(runtime.handle().clone());
            let thread = std::thread::Builder::new()
                .name(format!("shard-{}", run.index))
                .spawn(move || runtime.block_on(run.run()))?;
            threads.push(thread);
        }
        engine.runtimes = runtimes.into();
        engine.threads = Arc::new(Mutex::new(threads));
        Ok(engine)
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.shared.shards.len()
    }

    /// The runtimes of the shards: what is spawned there shares the thread of the shard, so that
    /// sockets and operators hand messages over without waking another thread. Such tasks must not
    /// block, and end with the engine.
    pub fn runtimes(&self) -> &[Handle] {
        &self.runtimes
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Starts an instance on the shard that its place says; answers when it is ready for messages.
    ///
    /// # Errors
    /// It does not start.
    pub async fn spawn(&self, spawn: Spawn) -> Result<(), SpawnError> {
        let index = self.place(spawn.physical_id, spawn.place);
        let physical_id = spawn.physical_id;
        let (done, ready) = oneshot::channel();
        let sent = self.shared.shards[index]
            .send(Inject::Spawn(spawn, done))
            .await;
        let outcome = match sent {
            Ok(()) => ready.await.unwrap_or(Err(SpawnError::Ended)),
            Err(_) => Err(SpawnError::Ended),
        };
        if outcome.is_err() {
            self.shared.forget(physical_id);
        }
        outcome
    }

    /// Stops an instance after it has handled what is queued, for at most `drain`. Answers with
    /// the state it saved last.
    pub async fn stop(&self, physical_id: PhysicalId, drain: Duration) -> Option<Bytes> {
        let index = self.shared.gate(physical_id)?.shard();
        let (done, stopped) = oneshot::channel();
        let inject = Inject::Stop {
            physical_id,
            drain,
            done,
        };
        self.shared.shards[index].send(inject).await.ok()?;
        stopped.await.ok()?
    }

    /// Changes where the channels of an instance lead; an older generation changes nothing.
    pub async fn patch(&self, physical_id: PhysicalId, generation: Generation, outputs: Outputs) {
        let Some(gate) = self.shared.gate(physical_id) else {
            return;
        };
        let (done, patched) = oneshot::channel();
        let inject = Inject::Patch {
            physical_id,
            generation,
            outputs,
            done,
        };
        let shard = &self.shared.shards[gate.shard()];
        if shard.send(inject).await.is_ok() && patched.await.is_err() {
            tracing::debug!(%physical_id, "the engine ended during a patch");
        }
    }

    /// Hands over messages from another node. They are taken at once, whatever the bounds of their
    /// targets: [`Engine::is_open`] says who may be sent more.
    pub async fn deliver(&self, messages: Vec<Message>) {
        let shards = self.shards();
        let (mut controls, mut batches) = (vec![Vec::new(); shards], vec![Vec::new(); shards]);
        {
            let directory = self.shared.directory();
            for message in messages {
                if message.kind.is_answer() {
                    let mut origins = self.shared.origins.iter();
                    let index = origins.position(|&origin| origin == message.id.origin);
                    controls[index.unwrap_or(0)].push(message);
                } else if let Some(gate) = directory.get(message.target) {
                    gate.admit_all(message.weight());
                    batches[gate.shard()].push(message);
                } else {
                    controls[0].push(message);
                }
            }
        }
        for (index, (control, batch)) in controls.into_iter().zip(batches).enumerate() {
            let shard = &self.shared.shards[index];
            if !control.is_empty() && shard.send(Inject::Uncounted(control)).await.is_err() {
                return;
            }
            if !batch.is_empty() && self.shared.data[index].send(batch).await.is_err() {
                return;
            }
        }
    }

    /// Hands over signals from another node.
    pub async fn deliver_signals(&self, signals: Vec<Signal>) {
        let mut by_shard = vec![Vec::new(); self.shards()];
        for signal in signals {
            // Whoever has ended needs no signal.
            if let Some(gate) = self.shared.gate(signal.to.physical_id) {
                by_shard[gate.shard()].push(signal);
            }
        }
        for (shard, signals) in self.shared.shards.iter().zip(by_shard) {
            if !signals.is_empty() && shard.send(Inject::Signals(signals)).await.is_err() {
                return;
            }
        }
    }

    /// Hands over what instances of other nodes say to those who send to them.
    pub async fn deliver_upwards(&self, upwards: Vec<Upward>) {
        let mut by_shard = vec![Vec::new(); self.shards()];
        for upward in upwards {
            let senders = self.shared.directory().senders_to(upward.of);
            for (to, shard) in senders {
                by_shard[shard].push((to, upward.clone()));
            }
        }
        for (shard, upwards) in self.shared.shards.iter().zip(by_shard) {
            if !upwards.is_empty() && shard.send(Inject::Upwards(upwards)).await.is_err() {
                return;
            }
        }
    }

    /// The way to a node broke: messages that are delivered at least once and went there are sent again
    /// at once. Those that it has are not handled twice.
    pub async fn lost(&self, peer: NodeId) {
        for shard in &self.shared.shards {
            if shard.send(Inject::Lost(peer)).await.is_err() {
                return;
            }
        }
    }

    /// Configures an instance anew ([`Control::Configure`](crate::Control::Configure)); what it says to
    /// that. None: it does not run here, or takes no configuration while it runs.
    pub async fn configure(&self, physical_id: PhysicalId, config: Bytes) -> Option<Propagation> {
        let index = self.shared.gate(physical_id)?.shard();
        let (done, told) = oneshot::channel();
        let inject = Inject::Configure(physical_id, config, done);
        self.shared.shards[index].send(inject).await.ok()?;
        told.await.ok()?
    }

    /// Tells those who want to know that the node is about to end
    /// ([`Control::Shutdown`](crate::Control::Shutdown)).
    pub async fn announce_shutdown(&self) {
        for shard in &self.shared.shards {
            if shard.send(Inject::Shutdown).await.is_err() {
                return;
            }
        }
    }

    /// Whether an instance has room for more messages from other nodes; those that do not run here
    /// have, as what is sent to them is answered or counted.
    pub fn is_open(&self, physical_id: PhysicalId) -> bool {
        self.shared
            .gate(physical_id)
            .is_none_or(|gate| gate.is_open())
    }

    /// How much waits in all inboxes, by [`Message::weight`], as the shards last said.
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Relaxed)
    }

    /// Takes what was measured since the last time.
    pub async fn drain_samples(&self) -> Samples {
        let mut all = Samples::default();
        for shard in &self.shared.shards {
            let (done, samples) = oneshot::channel();
            if shard.send(Inject::DrainSamples(done)).await.is_err() {
                continue;
            }
            if let Ok(mut samples) = samples.await {
                all.times.append(&mut samples.times);
                all.logs.append(&mut samples.logs);
                all.summaries.append(&mut samples.summaries);
            }
        }
        all
    }

    /// Waits until an instance has ended by itself since the last time that this was waited for.
    pub async fn failed(&self) {
        self.shared.failed.notified().await;
    }

    /// Waits until something has begun to wait for an output that leads to no instance; see [`Engine::demand`].
    pub async fn wanted(&self) {
        self.shared.wanted.notified().await;
    }

    /// Takes the instances that ended by themselves since the last time.
    pub fn drain_failures(&self) -> Vec<Failure> {
        let mut failures = self
            .shared
            .failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut failures)
    }

    /// Takes the states saved since the last time, the newest of each instance.
    pub fn drain_states(&self) -> Vec<(PhysicalId, Bytes)> {
        let mut states = self
            .shared
            .states
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        states.drain().collect()
    }

    /// The wall clock of the engine.
    pub fn now(&self) -> Timestamp {
        (self.shared.config.clock)()
    }

    /// Ends all shards and waits for their threads. Blocks: not for asynchronous tasks.
    pub fn end(&self) {
        for shard in &self.shared.shards {
            if let Err(error) = shard.blocking_send(Inject::End) {
                tracing::debug!(%error, "a shard has ended before");
            }
        }
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a shard panicked");
            }
        }
    }

    fn place(&self, physical_id: PhysicalId, place: Place) -> usize {
        let now = self.now();
        let loads: Vec<u64> = self.shared.loads.iter().map(|it| it.at(now)).collect();
        let capacity = self.shared.config.inbox;
        self.shared
            .directory_mut()
            .enter(physical_id, place, capacity, &loads)
    }
}
