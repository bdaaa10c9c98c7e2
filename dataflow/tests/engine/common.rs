//! What tests of the engine share: an engine, operators that relay or are stuck, and patience.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use edgeless_dataflow::{
    Answer, CallRef, Delivery, Engine, EngineConfig, Operator, Outbox, Outputs, Place, Port,
    Progress, Remote, Spawn,
};
use edgeless_types::{
    Generation, InstanceId, NodeId, PhysicalId, Timestamp,
    message::{Message, MessageKind},
};
use tokio::sync::mpsc;
use uuid::Uuid;

struct NoRemote;

impl Remote for NoRemote {
    fn send(&self, _: usize, _: NodeId, message: Message) -> Result<(), Message> {
        Err(message)
    }

    fn signal(&self, _: usize, _: edgeless_types::message::Signal) {}
}

pub(crate) fn engine(shards: usize, inbox: usize) -> Engine {
    patient_engine(shards, inbox, Duration::from_millis(50))
}

pub(crate) fn patient_engine(shards: usize, inbox: usize, park_timeout: Duration) -> Engine {
    let bounds = (inbox, edgeless_dataflow::WORKFLOW, edgeless_dataflow::NODE);
    bounded_engine(shards, bounds, park_timeout)
}

/// Bounds of an inbox, a workflow and the node.
pub(crate) fn bounded_engine(
    shards: usize,
    (inbox, workflow, node): (usize, usize, usize),
    park_timeout: Duration,
) -> Engine {
    let clock = || Timestamp::from_unix(SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
    let config = EngineConfig {
        node_id: NodeId::new(Uuid::nil()),
        shards,
        inbox,
        hops: edgeless_dataflow::HOPS,
        workflow,
        node,
        call_timeout: Duration::from_secs(5),
        park_timeout,
        ack_timeout: Duration::from_secs(15),
        attempts: 5,
        samples: 1_000,
        clock: Arc::new(clock),
        seed: 7,
    };
    Engine::start(config, Arc::new(NoRemote)).unwrap()
}

pub(crate) fn id(number: u128) -> InstanceId {
    InstanceId {
        node_id: NodeId::new(Uuid::nil()),
        physical_id: PhysicalId::new(Uuid::from_u128(number)),
    }
}

/// Passes casts on to `out`, counts them, and answers calls with their own payload.
struct Relay(Arc<AtomicU64>);

impl Operator for Relay {
    fn on_message(
        &mut self,
        message: Message,
        _: &mut task::Context<'_>,
        out: &mut Outbox,
    ) -> Progress {
        self.0.fetch_add(1, SeqCst);
        if message.kind == MessageKind::Call {
            out.answer(CallRef::of(&message), Answer::Reply(message.payload));
        } else {
            out.cast("out", message.payload);
        }
        Progress::Done
    }

    fn stop(&mut self, _: &mut Outbox) -> Option<Bytes> {
        Some(Bytes::from_static(b"state"))
    }
}

/// Starts a relay; answers its counter and its port.
pub(crate) async fn relay(
    engine: &Engine,
    number: u128,
    out: Option<Vec<InstanceId>>,
) -> (Arc<AtomicU64>, Port) {
    let count = Arc::new(AtomicU64::new(0));
    let (sender, mut ports) = mpsc::channel(1);
    let for_operator = Arc::clone(&count);
    let spawn = Spawn {
        physical_id: id(number).physical_id,
        generation: Generation(1),
        place: Place::Anywhere,
        outputs: Outputs::new(out.map(|to| ("out".to_owned(), to)).into_iter().collect()),
        delivery: Delivery::default(),
        factory: Box::new(move |context| {
            sender.try_send(context.port).unwrap();
            Ok(Box::new(Relay(for_operator)))
        }),
    };
    engine.spawn(spawn).await.unwrap();
    (count, ports.recv().await.unwrap())
}

pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .is_ok(),
        "{what}"
    );
}

/// What an operator does with a message; the rest of it does nothing.
struct Does<F>(F);

impl<F> Operator for Does<F>
where
    F: FnMut(Message, &mut task::Context<'_>, &mut Outbox) -> Progress,
{
    fn on_message(
        &mut self,
        message: Message,
        task: &mut task::Context<'_>,
        out: &mut Outbox,
    ) -> Progress {
        (self.0)(message, task, out)
    }
}

pub(crate) async fn does<F>(
    engine: &Engine,
    number: u128,
    outs: &[(&str, Vec<InstanceId>)],
    what: F,
) -> Port
where
    F: FnMut(Message, &mut task::Context<'_>, &mut Outbox) -> Progress + Send + 'static,
{
    does_tracked(engine, number, outs, &[], what).await
}

/// The same, at a certain place.
pub(crate) async fn does_at<F>(
    engine: &Engine,
    number: u128,
    place: Place,
    outs: &[(&str, Vec<InstanceId>)],
    what: F,
) -> Port
where
    F: FnMut(Message, &mut task::Context<'_>, &mut Outbox) -> Progress + Send + 'static,
{
    does_all(engine, number, place, outs, &[], what).await
}

/// The same, with channels on which messages are delivered at least once.
pub(crate) async fn does_tracked<F>(
    engine: &Engine,
    number: u128,
    outs: &[(&str, Vec<InstanceId>)],
    tracked: &[&str],
    what: F,
) -> Port
where
    F: FnMut(Message, &mut task::Context<'_>, &mut Outbox) -> Progress + Send + 'static,
{
    does_all(engine, number, Place::Anywhere, outs, tracked, what).await
}

async fn does_all<F>(
    engine: &Engine,
    number: u128,
    place: Place,
    outs: &[(&str, Vec<InstanceId>)],
    tracked: &[&str],
    what: F,
) -> Port
where
    F: FnMut(Message, &mut task::Context<'_>, &mut Outbox) -> Progress + Send + 'static,
{
    let (sender, mut ports) = mpsc::channel(1);
    let outs = outs
        .iter()
        .map(|(name, to)| ((*name).to_owned(), to.clone()));
    let spawn = Spawn {
        physical_id: id(number).physical_id,
        generation: Generation(1),
        place,
        outputs: Outputs::new(outs.collect()),
        delivery: Delivery::at_least_once(tracked.iter().copied()),
        factory: Box::new(move |context| {
            sender.try_send(context.port).unwrap();
            Ok(Box::new(Does(what)))
        }),
    };
    engine.spawn(spawn).await.unwrap();
    ports.recv().await.unwrap()
}

/// Does nothing.
pub(crate) struct NoOp;

impl Operator for NoOp {
    fn on_message(&mut self, _: Message, _: &mut task::Context<'_>, _: &mut Outbox) -> Progress {
        Progress::Done
    }
}

/// An instance that is stuck with its first message until the door is opened.
#[derive(Clone, Default)]
pub(crate) struct Door(Arc<Mutex<(bool, Option<task::Waker>)>>);

impl Door {
    pub(crate) fn open(&self) {
        let mut door = self.0.lock().unwrap();
        door.0 = true;
        if let Some(waker) = door.1.take() {
            waker.wake();
        }
    }

    pub(crate) fn is_reached(&self) -> bool {
        self.0.lock().unwrap().1.is_some()
    }

    pub(crate) fn pass(&self, task: &mut task::Context<'_>) -> Progress {
        let mut door = self.0.lock().unwrap();
        if door.0 {
            return Progress::Done;
        }
        door.1 = Some(task.waker().clone());
        Progress::Busy
    }
}

pub(crate) fn flood(port: Port, channel: &'static str, number: u32) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        for value in 0..number {
            let payload = Bytes::copy_from_slice(&value.to_be_bytes());
            port.cast(channel, payload).await.unwrap();
        }
    })
}
