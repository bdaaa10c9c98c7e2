//! The boundary between guest and host: a script drives a guest (see `guest.wat`) through every import with
//! any arguments and lets every export answer anything. The host does not panic, each event ends in time,
//! and the neighbour, a guest on the same shard, answers afterwards.
#![no_main]

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task,
    time::Duration,
};

use bytes::Bytes;
use edgeless_dataflow::{
    Answer, CallRef, Clock, Delivery, Engine, EngineConfig, Factory, Operator, Outbox, Outputs,
    Place, Port, Progress, Remote, Spawn, SpawnContext,
};
use edgeless_node::runtime::{Limits, Runtimes};
use edgeless_types::{
    CodeDigest, Generation, InstanceId, NodeId, PhysicalId,
    message::{Message, Signal},
};
use libfuzzer_sys::fuzz_target;
use tokio::{runtime::Runtime, time::timeout};
use uuid::Uuid;

/// A guest that does what its script says.
const SCRIPTED: &str = include_str!("guest.wat");
/// A guest that answers nothing to everybody.
const NEIGHBOUR: &str = r#"(module
  (memory (export "memory") 1)
  (func (export "edgeless_mem_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "edgeless_mem_free") (param i32 i32))
  (func (export "handle_init_asm") (param i32 i32 i32 i32))
  (func (export "handle_cast_asm") (param i32 i32 i32 i32))
  (func (export "handle_call_asm") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 0))
  (func (export "handle_stop_asm")))"#;
/// The one who answers the calls of the scripted guest.
const ANSWERER: u128 = 1;
const NEIGHBOUR_ID: u128 = 2;
/// Longer than all a script can do within its bounds; then something hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Nobody is on other nodes: what is sent there is lost.
struct Nowhere;

impl Remote for Nowhere {
    fn send(&self, _: usize, _: NodeId, _: Message) -> Result<(), Message> {
        Ok(())
    }

    fn signal(&self, _: usize, _: Signal) {}
}

/// Answers a call with its payload; one that begins with 1 or 2 with nothing or an error.
struct Answerer;

impl Operator for Answerer {
    fn on_message(
        &mut self,
        message: Message,
        _: &mut task::Context<'_>,
        out: &mut Outbox,
    ) -> Progress {
        if let Some(call) = CallRef::of_call(&message) {
            let answer = match message.payload.first() {
                Some(1) => Answer::NoReply,
                Some(2) => Answer::Error("as asked".to_owned()),
                _ => Answer::Reply(message.payload),
            };
            out.answer(call, answer);
        }
        Progress::Done
    }
}

/// What lasts over all inputs.
struct World {
    runtime: Runtime,
    engine: Engine,
    runtimes: Runtimes,
    scripted: CodeDigest,
    to_neighbour: Port,
    ids: AtomicU64,
    _cache: tempfile::TempDir,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime starts");
    let cache = tempfile::tempdir().expect("there is a folder for temporary files");
    let clock: Clock = Arc::new(edgeless_daemon::wall_clock);
    let config = EngineConfig {
        node_id: here(),
        shards: 1,
        inbox: 64,
        hops: edgeless_dataflow::HOPS,
        workflow: edgeless_dataflow::WORKFLOW,
        node: edgeless_dataflow::NODE,
        call_timeout: Duration::from_millis(5),
        park_timeout: Duration::from_millis(5),
        ack_timeout: Duration::from_secs(1),
        attempts: edgeless_dataflow::ATTEMPTS,
        samples: 100,
        clock: Arc::clone(&clock),
        seed: 1,
    };
    let limits = Limits {
        memory_bytes: 1 << 20,
        event_time: Duration::from_millis(10),
        event_bytes: 8 << 20,
        instances: 20,
        restarts: 1,
        ..Limits::default()
    };
    let engine = Engine::start(config, Arc::new(Nowhere)).expect("the engine starts");
    let runtimes = Runtimes::start(limits, cache.path(), clock).expect("the runtimes start");
    let (scripted, neighbour) = (compile(SCRIPTED), compile(NEIGHBOUR));
    let (scripted, to_neighbour) = runtime.block_on(async {
        let mut digests = Vec::new();
        for code in [scripted, neighbour] {
            let digest = CodeDigest::of(&code);
            let loaded = runtimes.wasm.load(digest, code).await;
            loaded.expect("the guests fit the interface");
            digests.push(digest);
        }
        start(&engine, ANSWERER, 0, Box::new(|_| Ok(Box::new(Answerer)))).await;
        let neighbour = runtimes.wasm.factory(digests[1], None, None);
        let neighbour = neighbour.expect("it is loaded");
        start(&engine, NEIGHBOUR_ID, 0, neighbour).await;
        (digests[0], port(&engine, 3, NEIGHBOUR_ID).await)
    });
    World {
        runtime,
        engine,
        runtimes,
        scripted,
        to_neighbour,
        ids: AtomicU64::new(1_000),
        _cache: cache,
    }
});

/// The id of this node; all zero, as untouched memory of a guest is.
fn here() -> NodeId {
    NodeId::new(Uuid::nil())
}

fn compile(text: &str) -> Bytes {
    Bytes::from(wat::parse_str(text).expect("the text is right"))
}

/// Starts an instance whose channel `out` leads to another; false when it does not start.
async fn start(engine: &Engine, id: u128, out: u128, factory: Factory) -> bool {
    let target = InstanceId {
        node_id: here(),
        physical_id: PhysicalId::new(Uuid::from_u128(out)),
    };
    let spawn = Spawn {
        physical_id: PhysicalId::new(Uuid::from_u128(id)),
        generation: Generation(1),
        place: Place::Anywhere,
        outputs: Outputs::new(vec![("out".to_owned(), vec![target])]),
        delivery: Delivery::default(),
        factory,
    };
    engine.spawn(spawn).await.is_ok()
}

/// A port whose channel `out` leads to that instance.
async fn port(engine: &Engine, id: u128, out: u128) -> Port {
    let (give, take) = tokio::sync::oneshot::channel();
    let factory: Factory = Box::new(move |context: SpawnContext| {
        let given = give.send(context.port);
        assert!(given.is_ok(), "somebody waits for the port");
        Ok(Box::new(Answerer))
    });
    assert!(start(engine, id, out, factory).await, "the port starts");
    take.await.expect("the port was given")
}

impl World {
    /// Starts a guest with that script, hands it events, and stops it.
    async fn play(&self, script: &[u8]) {
        // It is what the guest saved; what it saves now is its next script.
        let script = Some(Bytes::copy_from_slice(script));
        let id = u128::from(self.ids.fetch_add(2, Relaxed));
        let factory = self.runtimes.wasm.factory(self.scripted, None, script);
        let factory = factory.expect("it is loaded");
        if start(&self.engine, id, ANSWERER, factory).await {
            let port = port(&self.engine, id + 1, id).await;
            for round in 0..3 {
                let payload = Bytes::from(vec![round; 40]);
                // Whatever comes of them.
                drop(port.cast("out", payload.clone()).await);
                drop(port.call("out", payload, PATIENCE).await);
            }
            for id in [id, id + 1] {
                let physical_id = PhysicalId::new(Uuid::from_u128(id));
                self.engine
                    .stop(physical_id, Duration::from_millis(50))
                    .await;
            }
        }
        drop(self.engine.drain_failures());
        drop(self.engine.drain_states());
        drop(self.engine.drain_samples().await);
        let answer = self.to_neighbour.call("out", Bytes::new(), PATIENCE).await;
        assert_eq!(answer, Ok(None), "the neighbour answers");
    }
}

fuzz_target!(|script: &[u8]| {
    let world = &*WORLD;
    world.runtime.block_on(async {
        let played = timeout(PATIENCE, world.play(script)).await;
        played.expect("what a guest does ends in time");
    });
});
