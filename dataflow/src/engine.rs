//! The handle to all shards of a node.

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock},
    task::Waker,
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use edgeless_types::{
    Generation, InstanceId, PhysicalId, Samples, Timestamp,
    message::{Message, Signal},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use rustc_hash::FxHashMap;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use crate::{
    config::{EngineConfig, Remote},
    counters::Counters,
    gate::{self, Gate},
    operator::Operator,
    output::Outputs,
    port::Port,
    shard::{Inject, Shard, Woken},
};

/// Makes an operator on its shard; the operator itself need not be `Send`.
pub type Factory = Box<dyn FnOnce(SpawnContext) -> Result<Box<dyn Operator>, String> + Send>;

/// What an operator may keep from its making.
pub struct SpawnContext {
    /// Its own ids.
    pub me: InstanceId,
    /// Lets it be polled.
    pub waker: Waker,
    /// Sends on its behalf.
    pub port: Port,
}

/// An instance to be started.
pub struct Spawn {
    /// Its id.
    pub physical_id: PhysicalId,
    /// The decision it comes from.
    pub generation: Generation,
    /// Where its channels lead.
    pub outputs: Outputs,
    /// The channels on which messages are delivered at least once.
    pub tracked: Vec<String>,
    /// Makes its operator.
    pub factory: Factory,
}

/// Why an instance did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpawnError {
    /// It says so itself.
    #[error("{0}")]
    Failed(String),
    /// The engine has ended.
    #[error("the engine has ended")]
    Ended,
}

/// An instance that ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which one.
    pub physical_id: PhysicalId,
    /// Why.
    pub message: String,
}

/// What shards share.
pub(crate) struct Shared {
    pub(crate) config: EngineConfig,
    pub(crate) counters: Counters,
    pub(crate) directory: RwLock<FxHashMap<PhysicalId, Arc<Gate>>>,
    pub(crate) bells: Vec<Arc<Woken>>,
    pub(crate) origins: Vec<u64>,
    pub(crate) shards: Vec<mpsc::Sender<Inject>>,
    pub(crate) data: Vec<mpsc::Sender<Vec<Message>>>,
    pub(crate) failures: Mutex<Vec<Failure>>,
    pub(crate) states: Mutex<FxHashMap<PhysicalId, Bytes>>,
    pub(crate) remote: Arc<dyn Remote>,
}

impl Shared {
    /// The gate of an instance that runs here or is about to.
    pub(crate) fn gate(&self, physical_id: PhysicalId) -> Option<Arc<Gate>> {
        let directory = self
            .directory
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        directory.get(&physical_id).map(Arc::clone)
    }

    /// An instance has ended: whoever waits for it looks again.
    pub(crate) fn forget(&self, physical_id: PhysicalId) {
        let mut directory = self
            .directory
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = directory.remove(&physical_id) {
            self.ring(gate.close());
        }
    }

    /// Rings shards, one bit each.
    pub(crate) fn ring(&self, shards: u64) {
        if shards == 0 {
            return;
        }
        for (index, woken) in self.bells.iter().enumerate() {
            if shards & gate::bit(index) != 0 {
                woken.bell.notify_one();
            }
        }
    }
}

/// The engine of a node; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    runtimes: Arc<[Handle]>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

/// Commands and batches that wait for a shard.
const INJECTED: usize = 1_024;
/// Batches of messages that wait for a shard.
const BATCHES: usize = 16;

impl Engine {
    /// Starts the shards, each on a thread of its own.
    ///
    /// # Errors
    /// A thread or its runtime cannot be started.
    pub fn start(config: EngineConfig, remote: Arc<dyn Remote>) -> std::io::Result<Self> {
        let number = config.shards.max(1);
        let mut rng = SmallRng::seed_from_u64(config.seed);
        let (shards, inboxes): (Vec<_>, Vec<_>) =
            (0..number).map(|_| mpsc::channel(INJECTED)).unzip();
        let (data, batches): (Vec<_>, Vec<_>) = (0..number).map(|_| mpsc::channel(BATCHES)).unzip();
        let shared = Arc::new(Shared {
            counters: Counters::default(),
            directory: RwLock::default(),
            bells: (0..number).map(|_| Arc::default()).collect(),
            origins: (0..number).map(|_| rng.random()).collect(),
            shards,
            data,
            failures: Mutex::default(),
            states: Mutex::default(),
            remote,
            config,
        });
        let (mut threads, mut runtimes) = (Vec::new(), Vec::new());
        for (index, (inbox, data)) in inboxes.into_iter().zip(batches).enumerate() {
            let (for_shard, seed) = (Arc::clone(&shared), rng.random());
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtimes.push(runtime.handle().clone());
            let thread = std::thread::Builder::new()
                .name(format!("shard-{index}"))
                .spawn(move || {
                    let shard = Shard::new(index, for_shard, seed);
                    runtime.block_on(shard.run(inbox, data));
                })?;
            threads.push(thread);
        }
        Ok(Self {
            shared,
            runtimes: runtimes.into(),
            threads: Arc::new(Mutex::new(threads)),
        })
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

    /// Starts an instance on the shard with the fewest; answers when it is ready for messages.
    ///
    /// # Errors
    /// It does not start.
    pub async fn spawn(&self, spawn: Spawn) -> Result<(), SpawnError> {
        let index = self.place(spawn.physical_id);
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
            let directory = self
                .shared
                .directory
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            for message in messages {
                if message.kind.is_answer() {
                    let mut origins = self.shared.origins.iter();
                    let index = origins.position(|&origin| origin == message.id.origin);
                    controls[index.unwrap_or(0)].push(message);
                } else if let Some(gate) = directory.get(&message.target) {
                    gate.admit_all(1);
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

    /// Whether an instance has room for more messages from other nodes; those that do not run here
    /// have, as what is sent to them is answered or counted.
    pub fn is_open(&self, physical_id: PhysicalId) -> bool {
        self.shared
            .gate(physical_id)
            .is_none_or(|gate| gate.is_open())
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

    fn place(&self, physical_id: PhysicalId) -> usize {
        let mut directory = self
            .shared
            .directory
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let mut numbers = vec![0_usize; self.shards()];
        for gate in directory.values() {
            numbers[gate.shard()] += 1;
        }
        let fewest = (0..numbers.len())
            .min_by_key(|&index| numbers[index])
            .unwrap_or(0);
        let gate = Gate::new(fewest, self.shared.config.inbox);
        directory.insert(physical_id, Arc::new(gate));
        fewest
    }
}
