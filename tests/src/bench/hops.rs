//! Hops between operators, on the real engine in this process.

use std::{
    sync::Arc,
    task,
    time::{Duration, Instant},
};

use bytes::Bytes;
use edgeless_dataflow::{
    Answer, CallRef, Clock, Delivery, Engine, EngineConfig, Factory, Operator, Outbox, Outputs,
    Port, Progress, Remote, Spawn,
};
use edgeless_types::{Generation, InstanceId, NodeId, PhysicalId, message::Message};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::Options;

/// What is measured of hops.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop {
    shards: usize,
    /// How far messages are handed on without a queue.
    fused: usize,
    /// Whether each hop waits for acknowledgements.
    tracked: bool,
}

impl Hop {
    pub(super) const PLAIN: Self = Self {
        shards: 1,
        fused: edgeless_dataflow::HOPS,
        tracked: false,
    };
}

/// The hops by name: handed on; queued, with acknowledgements; from shard to shard.
pub(super) const HOPS: [(&str, Hop); 3] = [
    ("fused_hop_ns", Hop::PLAIN),
    (
        "queued_hop_ns",
        Hop {
            fused: 0,
            tracked: true,
            ..Hop::PLAIN
        },
    ),
    (
        "shard_hop_ns",
        Hop {
            shards: 2,
            ..Hop::PLAIN
        },
    ),
];

pub(super) struct Nowhere;

impl Remote for Nowhere {
    fn send(&self, _: usize, _: NodeId, message: Message) -> Result<(), Message> {
        Err(message)
    }

    fn signal(&self, _: usize, _: edgeless_types::message::Signal) {}
}

pub(super) fn clock() -> Clock {
    Arc::new(edgeless_daemon::wall_clock)
}

pub(super) fn config(node: u128, hop: Hop) -> EngineConfig {
    EngineConfig {
        node_id: NodeId::new(Uuid::from_u128(node)),
        shards: hop.shards,
        inbox: 1_024,
        workflow: edgeless_dataflow::WORKFLOW,
        node: edgeless_dataflow::NODE,
        hops: hop.fused,
        call_timeout: Duration::from_secs(5),
        park_timeout: Duration::from_secs(5),
        ack_timeout: Duration::from_secs(15),
        attempts: edgeless_dataflow::ATTEMPTS,
        samples: 20_000,
        clock: clock(),
        seed: 1,
    }
}

pub(super) fn id(node: u128, number: u128) -> InstanceId {
    InstanceId {
        node_id: NodeId::new(Uuid::from_u128(node)),
        physical_id: PhysicalId::new(Uuid::from_u128(number)),
    }
}

/// Sends bursts of events to `out` until so many were sent; begins when it gets its first message.
struct Source {
    left: u64,
    payload: Bytes,
}

/// Passes everything on to `out`: the very message, or a new one.
struct Relay {
    anew: bool,
}

/// Counts events, and says when all have come.
struct Sink {
    left: u64,
    done: Option<oneshot::Sender<Instant>>,
}

/// Events in one burst.
pub(super) const BURST: u64 = 256;

/// What all operators here have in common: they never wait.
macro_rules! operator {
    ($name:ty, $me:ident, $message:ident, $out:ident, $body:block) => {
        impl Operator for $name {
            fn on_message(
                &mut self,
                $message: Message,
                _: &mut task::Context<'_>,
                $out: &mut Outbox,
            ) -> Progress {
                let $me = self;
                $body
                Progress::Done
            }
        }
    };
}

operator!(Source, me, _message, out, {
    let number = me.left.min(BURST);
    for _ in 0..number {
        out.cast("out", me.payload.clone());
    }
    me.left -= number;
    if me.left > 0 {
        out.cast("self", Bytes::new());
    }
});
operator!(Relay, me, message, out, {
    match CallRef::of_call(&message) {
        Some(call) => out.answer(call, Answer::Reply(message.payload)),
        None if me.anew => out.cast("out", message.payload),
        None => out.pass(message),
    }
});
operator!(Sink, me, _message, _out, {
    me.left = me.left.saturating_sub(1);
    if me.left == 0
        && let Some(done) = me.done.take()
    {
        done.send(Instant::now())
            .expect("somebody waits for the end");
    }
});

pub(super) async fn spawn(
    engine: &Engine,
    number: u128,
    out: Option<InstanceId>,
    factory: Factory,
) -> anyhow::Result<()> {
    spawn_tracked(engine, number, out, false, factory).await
}

async fn spawn_tracked(
    engine: &Engine,
    number: u128,
    out: Option<InstanceId>,
    tracked: bool,
    factory: Factory,
) -> anyhow::Result<()> {
    let outputs = out.map(|to| ("out".to_owned(), vec![to]));
    let spawn = Spawn {
        physical_id: id(0, number).physical_id,
        generation: Generation(1),
        place: edgeless_dataflow::Place::Anywhere,
        outputs: Outputs::new(outputs.into_iter().collect()),
        delivery: Delivery::at_least_once(tracked.then_some("out")),
        factory,
    };
    Ok(engine.spawn(spawn).await?)
}

/// Starts a source; answers the port that starts it.
pub(super) async fn source(
    engine: &Engine,
    number: u128,
    out: InstanceId,
    left: u64,
    payload: usize,
    tracked: bool,
) -> anyhow::Result<Port> {
    let (give, port) = oneshot::channel();
    let payload = Bytes::from(vec![7; payload]);
    let factory: Factory = Box::new(move |context| {
        give.send(context.port)
            .map_err(|_| "nobody waits".to_owned())?;
        Ok(Box::new(Source { left, payload }))
    });
    spawn_tracked(engine, number, Some(out), tracked, factory).await?;
    Ok(port.await?)
}

pub(super) async fn sink(
    engine: &Engine,
    number: u128,
    left: u64,
) -> anyhow::Result<oneshot::Receiver<Instant>> {
    let (done, end) = oneshot::channel();
    let factory: Factory = Box::new(move |_| {
        Ok(Box::new(Sink {
            left,
            done: Some(done),
        }))
    });
    spawn(engine, number, None, factory).await?;
    Ok(end)
}

/// Nanoseconds that one event takes through so many relays.
pub(super) async fn pass(hop: Hop, relays: u128, events: u64) -> anyhow::Result<f64> {
    let engine = Engine::start(config(0, hop), Arc::new(Nowhere))?;
    let end = sink(&engine, 1_000, events).await?;
    let mut next = id(0, 1_000);
    for number in 0..relays {
        let anew = hop.tracked;
        let factory: Factory = Box::new(move |_| Ok(Box::new(Relay { anew })));
        spawn_tracked(&engine, number, Some(next), hop.tracked, factory).await?;
        next = id(0, number);
    }
    let port = source(&engine, 2_000, next, events, 64, hop.tracked).await?;
    let begin = Instant::now();
    port.cast("self", Bytes::new()).await?;
    let time = end.await?.duration_since(begin);
    tokio::task::spawn_blocking(move || engine.end()).await?;
    Ok(time.as_secs_f64() * 1e9 / events as f64)
}

/// What one more relay costs. Instances are spread evenly, so that with two shards each hop of a chain
/// goes from one to the other; both work at once, and the time of both is counted.
pub(super) async fn measure(options: &Options, hop: Hop) -> anyhow::Result<Vec<f64>> {
    let events = if options.quick { 50_000 } else { 500_000 };
    let (few, many) = (2, 34);
    let mut values = Vec::new();
    for _ in 0..options.runs() {
        let short = pass(hop, few, events).await?;
        let long = pass(hop, many, events).await?;
        let each = (long - short) / (many - few) as f64;
        values.push(each * hop.shards as f64);
    }
    Ok(values)
}
