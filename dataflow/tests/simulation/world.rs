//! What simulations share: a random graph, operators that work on it and fail, and what they saw.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task,
    time::Duration,
};

use bytes::Bytes;
use edgeless_dataflow::{
    Action, Clock, Delivery, Engine, EngineConfig, Operator, Outbox, Outputs, Place, Port,
    Progress, Remote, Spawn,
};
use edgeless_types::{
    Generation, InstanceId, NodeId, PhysicalId, Timestamp,
    message::{Message, MessageId},
};
use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::{sync::mpsc, task::AbortHandle};
use uuid::Uuid;

/// A graph and what happens on it. Edges lead from lower vertices to higher ones; messages enter at 0,
/// from one more vertex.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) vertices: usize,
    pub(crate) edges: BTreeSet<(usize, usize)>,
    pub(crate) messages: u32,
    pub(crate) shards: usize,
    pub(crate) inbox: usize,
    pub(crate) hops: usize,
    /// Whether all is delivered at least once; only then operators fail.
    pub(crate) tracked: bool,
}

pub(crate) fn plan(tracked: impl Strategy<Value = bool>) -> impl Strategy<Value = Plan> {
    let edges = prop::collection::btree_set((0_usize..9, 0_usize..9), 1..14);
    let engine = (
        1_usize..4,
        2_usize..40,
        prop::sample::select(vec![0, 3, 64]),
    );
    (any::<u64>(), 2_usize..9, edges, 1_u32..80, engine, tracked).prop_map(
        |(seed, vertices, edges, messages, (shards, inbox, hops), tracked)| Plan {
            seed,
            vertices,
            edges: edges
                .into_iter()
                .map(|(from, to)| (from % vertices, to % vertices))
                .filter(|(from, to)| from < to)
                .collect(),
            messages,
            shards,
            inbox,
            hops,
            tracked,
        },
    )
}

impl Plan {
    /// Over how many ways a message comes to each vertex.
    pub(crate) fn ways(&self) -> Vec<u32> {
        let mut ways = vec![0; self.vertices];
        ways[0] = 1;
        for to in 1..self.vertices {
            let before = self.edges.iter().filter(|edge| edge.1 == to);
            ways[to] = before.map(|edge| ways[edge.0]).sum();
        }
        ways
    }

    /// The vertices that one leads to; that beyond the last is where messages enter.
    pub(crate) fn targets(&self, from: usize) -> Vec<usize> {
        if from == self.vertices {
            return vec![0];
        }
        let edges = self.edges.iter().filter(|edge| edge.0 == from);
        edges.map(|edge| edge.1).collect()
    }
}

/// What operators saw.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// How often a vertex was done with a payload.
    done: BTreeMap<(usize, u32), u32>,
    /// The last message by vertex and sender, and how often one came after a later one.
    last: BTreeMap<(usize, PhysicalId), u64>,
    disorder: usize,
    attempts: BTreeMap<(PhysicalId, MessageId), u32>,
    ended: BTreeSet<PhysicalId>,
    after_end: usize,
    trace: Vec<(usize, u32, u64)>,
}

impl Seen {
    pub(crate) fn done(&self) -> BTreeMap<(usize, u32), u32> {
        self.0.lock().unwrap().done.clone()
    }

    pub(crate) fn disorder(&self) -> usize {
        self.0.lock().unwrap().disorder
    }

    pub(crate) fn after_end(&self) -> usize {
        self.0.lock().unwrap().after_end
    }

    /// What was done, in its order and at its moments.
    pub(crate) fn trace(&self) -> Vec<(usize, u32, u64)> {
        self.0.lock().unwrap().trace.clone()
    }

    pub(crate) fn ended(&self, physical_id: PhysicalId) {
        self.0.lock().unwrap().ended.insert(physical_id);
    }
}

/// An operator of the graph: sends what comes on all its channels, some time later or at once, and fails
/// now and then the first time it sees a message, half of its work done.
struct Worker {
    vertex: usize,
    me: PhysicalId,
    outs: Vec<String>,
    fails: bool,
    seen: Seen,
    chance: SmallRng,
    waits: Option<(Message, Arc<AtomicBool>)>,
}

impl Worker {
    fn finish(&mut self, message: &Message, out: &mut Outbox) -> Progress {
        let number = number(&message.payload);
        {
            let mut seen = self.seen.0.lock().unwrap();
            *seen.done.entry((self.vertex, number)).or_default() += 1;
            let key = (self.vertex, message.source.physical_id);
            // A sender counts up what it sends.
            let sent = message.id.sequence;
            if seen.last.insert(key, sent).is_some_and(|last| last > sent) {
                seen.disorder += 1;
            }
            let at = out.now.as_nanos();
            seen.trace.push((self.vertex, number, at));
        }
        for name in &self.outs {
            out.cast(name, message.payload.clone());
        }
        Progress::Done
    }
}

impl Operator for Worker {
    fn on_message(
        &mut self,
        message: Message,
        task: &mut task::Context<'_>,
        out: &mut Outbox,
    ) -> Progress {
        let attempt = {
            let mut seen = self.seen.0.lock().unwrap();
            if seen.ended.contains(&self.me) {
                seen.after_end += 1;
            }
            let attempts = seen.attempts.entry((self.me, message.id)).or_default();
            *attempts += 1;
            *attempts
        };
        if self.fails && attempt == 1 && self.chance.random_bool(0.2) {
            if let Some(first) = self.outs.first() {
                out.cast(first, message.payload);
            }
            out.push(Action::Fault("by chance".to_owned()));
            return Progress::Done;
        }
        if self.chance.random_bool(0.2) {
            let over = Arc::new(AtomicBool::new(false));
            let (waker, flag) = (task.waker().clone(), Arc::clone(&over));
            let pause = Duration::from_millis(self.chance.random_range(0..20));
            tokio::task::spawn_local(async move {
                tokio::time::sleep(pause).await;
                flag.store(true, SeqCst);
                waker.wake();
            });
            self.waits = Some((message, over));
            return Progress::Busy;
        }
        self.finish(&message, out)
    }

    fn poll(&mut self, _: &mut task::Context<'_>, out: &mut Outbox) -> Progress {
        match self.waits.take() {
            Some((message, over)) if over.load(SeqCst) => self.finish(&message, out),
            waits => {
                self.waits = waits;
                Progress::Busy
            }
        }
    }
}

pub(crate) fn number(payload: &Bytes) -> u32 {
    u32::from_be_bytes(payload[..4].try_into().unwrap())
}

pub(crate) fn node(number: u128) -> NodeId {
    NodeId::new(Uuid::from_u128(number))
}

pub(crate) fn instance(node_id: NodeId, number: usize) -> InstanceId {
    InstanceId {
        node_id,
        physical_id: PhysicalId::new(Uuid::from_u128(number as u128)),
    }
}

/// An engine whose shards run as tasks of the current thread, and what kills them.
pub(crate) fn engine(
    plan: &Plan,
    node_id: NodeId,
    remote: Arc<dyn Remote>,
) -> (Engine, Vec<AbortHandle>) {
    let begin = tokio::time::Instant::now();
    let clock: Clock = Arc::new(move || {
        let passed = begin.elapsed() + Duration::from_secs(1_000);
        Timestamp::from_unix(passed)
    });
    let config = EngineConfig {
        node_id,
        shards: plan.shards,
        inbox: plan.inbox,
        hops: plan.hops,
        workflow: edgeless_dataflow::WORKFLOW,
        node: edgeless_dataflow::NODE,
        call_timeout: Duration::from_secs(5),
        park_timeout: Duration::from_secs(5),
        ack_timeout: Duration::from_secs(15),
        attempts: edgeless_dataflow::ATTEMPTS,
        samples: 10,
        clock,
        seed: plan.seed ^ node_id.uuid().as_u128() as u64,
    };
    let (engine, runs) = Engine::assemble(config, remote);
    let shards = runs.into_iter();
    let shards = shards.map(|it| tokio::task::spawn_local(it.run()).abort_handle());
    (engine, shards.collect())
}

/// Starts a vertex as an instance; answers its port.
pub(crate) async fn start(
    engine: &Engine,
    plan: &Plan,
    seen: &Seen,
    vertex: usize,
    me: InstanceId,
    place_of: impl Fn(usize) -> InstanceId,
) -> Port {
    let targets = plan.targets(vertex);
    let names: Vec<String> = targets.iter().map(|to| format!("to {to}")).collect();
    let leads = names.iter().cloned().zip(&targets);
    let outputs = Outputs::new(
        leads
            .map(|(name, &to)| (name, vec![place_of(to)]))
            .collect(),
    );
    let (give, mut take) = mpsc::channel(1);
    let worker = (names.clone(), seen.clone(), plan.seed, plan.tracked);
    let spawn = Spawn {
        physical_id: me.physical_id,
        generation: Generation(1),
        place: Place::Anywhere,
        outputs,
        delivery: Delivery::at_least_once(if plan.tracked { names } else { Vec::new() }),
        factory: Box::new(move |context| {
            give.try_send(context.port).unwrap();
            let (outs, seen, seed, fails) = worker;
            Ok(Box::new(Worker {
                vertex,
                me: me.physical_id,
                outs,
                fails,
                seen,
                chance: SmallRng::seed_from_u64(seed ^ vertex as u64),
                waits: None,
            }))
        }),
    };
    engine.spawn(spawn).await.unwrap();
    take.recv().await.unwrap()
}

/// Runs a simulation on one thread, in a time that passes when nothing else happens.
pub(crate) fn simulate<T>(run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, run)
}

/// Waits, for at most an hour of the simulated time, until nothing waits anywhere.
pub(crate) async fn settled(engines: &[Engine], expected: impl Fn() -> bool) -> bool {
    for _ in 0..36_000 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if !expected() {
            continue;
        }
        let mut idle = true;
        for engine in engines {
            for view in engine.inspect().await {
                idle &= view.queued == 0 && view.parked == 0 && view.outstanding == 0;
            }
        }
        if idle {
            return true;
        }
    }
    false
}
