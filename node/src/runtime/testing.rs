//! Guests in an engine, for the tests of each kind of code.

use std::{
    sync::{Arc, Mutex, PoisonError},
    task,
    time::Duration,
};

use bytes::Bytes;
use edgeless_dataflow::{
    Clock, Delivery, Engine, EngineConfig, Factory, Operator, Outbox, Outputs, Port, PortError,
    Progress, Remote, Spawn, SpawnError,
};
use edgeless_types::{CodeDigest, Generation, NodeId, PhysicalId, message::MessageKind};
use uuid::Uuid;

use super::{Kind, Limits, Runtime, Runtimes};

/// An engine, the runtimes, and what came out of guests.
pub(super) struct Guests {
    pub(super) engine: Engine,
    pub(super) runtimes: Runtimes,
    seen: Arc<Mutex<Vec<Bytes>>>,
    _cache: tempfile::TempDir,
}

struct NoRemote;

impl Remote for NoRemote {
    fn send(
        &self,
        _: usize,
        _: NodeId,
        message: edgeless_types::message::Message,
    ) -> Result<(), edgeless_types::message::Message> {
        Err(message)
    }

    fn signal(&self, _: usize, _: edgeless_types::message::Signal) {}
}

/// Keeps what it is sent.
struct Sink(Arc<Mutex<Vec<Bytes>>>);

impl Operator for Sink {
    fn on_message(
        &mut self,
        message: edgeless_types::message::Message,
        _: &mut task::Context<'_>,
        _: &mut Outbox,
    ) -> Progress {
        assert_eq!(message.kind, MessageKind::Cast);
        self.0.lock().unwrap().push(message.payload);
        Progress::Done
    }

    fn on_answer(
        &mut self,
        _: u64,
        _: edgeless_dataflow::Answer,
        _: &mut task::Context<'_>,
        _: &mut Outbox,
    ) -> Progress {
        Progress::Done
    }
}

pub(super) fn id(number: u128) -> edgeless_types::InstanceId {
    edgeless_types::InstanceId {
        node_id: NodeId::new(Uuid::nil()),
        physical_id: PhysicalId::new(Uuid::from_u128(number)),
    }
}

impl Guests {
    pub(super) fn start() -> Self {
        let clock: Clock = Arc::new(edgeless_daemon::wall_clock);
        let config = EngineConfig {
            node_id: NodeId::new(Uuid::nil()),
            shards: 1,
            inbox: 64,
            hops: edgeless_dataflow::HOPS,
            workflow: edgeless_dataflow::WORKFLOW,
            node: edgeless_dataflow::NODE,
            call_timeout: Duration::from_secs(5),
            park_timeout: Duration::from_secs(5),
            ack_timeout: Duration::from_secs(15),
            attempts: edgeless_dataflow::ATTEMPTS,
            samples: 1_000,
            clock: Arc::clone(&clock),
            seed: 1,
        };
        let cache = tempfile::tempdir().unwrap();
        let limits = Limits {
            memory_bytes: 2 << 20,
            event_time: Duration::from_millis(100),
            event_actions: 2_000,
            event_bytes: 8 << 20,
            instances: 20,
            restarts: 2,
            ..Limits::default()
        };
        Self {
            engine: Engine::start(config, Arc::new(NoRemote)).unwrap(),
            runtimes: Runtimes::start(limits, cache.path(), clock).unwrap(),
            seen: Arc::default(),
            _cache: cache,
        }
    }

    /// Starts a guest from its text, whose channel `out` leads to the instance of that number.
    pub(super) async fn start_text<K: Kind>(
        &self,
        runtime: &Runtime<K>,
        number: u128,
        text: &str,
        out: u128,
    ) -> Result<(), SpawnError> {
        let code = Bytes::from(wat::parse_str(text).unwrap());
        let digest = CodeDigest::of(&code);
        runtime.load(digest, code).await.unwrap();
        let factory = runtime.factory(digest, None, None).unwrap();
        self.spawn(number, factory, out).await
    }

    pub(super) async fn spawn(
        &self,
        number: u128,
        factory: Factory,
        out: u128,
    ) -> Result<(), SpawnError> {
        let outputs = Outputs::new(vec![("out".to_owned(), vec![id(out)])]);
        let physical_id = id(number).physical_id;
        let generation = Generation(1);
        self.engine
            .spawn(Spawn {
                physical_id,
                generation,
                place: edgeless_dataflow::Place::Anywhere,
                outputs,
                delivery: Delivery::default(),
                factory,
            })
            .await
    }

    /// A port whose channel `out` leads to the guest of this number.
    pub(super) async fn port_to(&self, number: u128) -> Port {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let seen = Arc::clone(&self.seen);
        let factory: Factory = Box::new(move |context| {
            sender.send(context.port).unwrap();
            Ok(Box::new(Sink(seen)))
        });
        self.spawn(1_000 + number, factory, number).await.unwrap();
        receiver.await.unwrap()
    }

    pub(super) async fn seen(&self, number: usize) -> Vec<Bytes> {
        let wait = async {
            while self
                .seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .len()
                < number
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .unwrap();
        self.seen.lock().unwrap().clone()
    }
}

pub(super) async fn call(port: &Port, payload: &'static str) -> Result<Option<Bytes>, PortError> {
    port.call(
        "out",
        Bytes::from_static(payload.as_bytes()),
        Duration::from_secs(10),
    )
    .await
}
