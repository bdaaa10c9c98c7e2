//! Suite `engine`: hops, guests, links. The hops run in this process on the real engine; what concerns
//! nodes runs on real daemons.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
    task,
    time::{Duration, Instant},
};

use bytes::Bytes;
use edgeless_dataflow::{
    Answer, CallRef, Clock, Engine, EngineConfig, Factory, Operator, Outbox, Outputs, Port,
    Progress, Remote, Spawn,
};
use edgeless_node::{
    dataplane::{DataPlane, server},
    runtime::{Kind, Limits, Runtime, Runtimes},
};
use edgeless_types::{CodeDigest, Generation, InstanceId, NodeId, PhysicalId, message::Message};
use serde_json::json;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Measured, Options,
    main_suite::{self, Delivery, Load},
    quantile,
};
use crate::{
    client::function,
    cluster::{Cluster, Mirror, NodePlan, Plan},
    process::{cpu_seconds, root, rss_mib},
    wait::until,
};

const SUITE: &str = "engine";

/// Runs all benchmarks of the suite.
///
/// # Errors
/// Something does not start or does not do what it is asked.
pub async fn run(options: &Options) -> anyhow::Result<Vec<Measured>> {
    let mut results = Vec::new();
    let mut keep = |name: &'static str, unit: &'static str, values: Vec<f64>| {
        if let Some(measured) = Measured::of(SUITE, name, unit, values) {
            eprintln!("{} {:.2} {}", measured.name, measured.value, measured.unit);
            results.push(measured);
        }
    };
    for (name, shards) in [("queued_hop_ns", 1), ("shard_hop_ns", 2)] {
        if options.wants(&[name]) {
            keep(name, "ns", hops(options, shards).await?);
        }
    }
    let folder = tempfile::tempdir()?;
    if options.wants(&["wasm_cast_ns"]) {
        let runtime = runtimes(folder.path())?.wasm;
        let casts = guest_casts(options, &runtime, "noop").await?;
        keep("wasm_cast_ns", "ns", casts);
    }
    if options.wants(&["component_cast_ns"]) {
        let runtime = runtimes(folder.path())?.component;
        let casts = guest_casts(options, &runtime, "component_noop").await?;
        keep("component_cast_ns", "ns", casts);
    }
    if options.wants(&["wasm_start_us", "wasm_start_cached_ms"]) {
        let (starts, cached) = wasm_starts(options).await?;
        keep("wasm_start_us", "us", starts);
        keep("wasm_start_cached_ms", "ms", cached);
    }
    if options.wants(&["link_mib_per_s"]) {
        keep("link_mib_per_s", "MiB/s", link(options).await?);
    }
    if options.wants(&["call_two_nodes_p50_us"]) {
        keep("call_two_nodes_p50_us", "us", calls(options).await?);
    }
    if options.wants(&["idle_rss_mib_node", "idle_cpu_percent_node"]) {
        let (memory, processor) = idle(options).await?;
        keep("idle_rss_mib_node", "MiB", memory);
        keep("idle_cpu_percent_node", "%", processor);
    }
    if options.wants(&["at_least_once_ratio"]) {
        keep("at_least_once_ratio", "", at_least_once(options).await?);
    }
    for chain in main_suite::CHAINS {
        for measured in chain.measure(SUITE, options).await?.into_iter().flatten() {
            keep(measured.name, measured.unit, measured.values);
        }
    }
    for measured in main_suite::http(SUITE, options)
        .await?
        .into_iter()
        .flatten()
    {
        keep(measured.name, measured.unit, measured.values);
    }
    Ok(results)
}

struct Nowhere;

impl Remote for Nowhere {
    fn send(&self, _: usize, _: NodeId, message: Message) -> Result<(), Message> {
        Err(message)
    }

    fn signal(&self, _: usize, _: edgeless_types::message::Signal) {}
}

fn clock() -> Clock {
    Arc::new(edgeless_daemon::wall_clock)
}

fn config(node: u128, shards: usize) -> EngineConfig {
    EngineConfig {
        node_id: NodeId::new(Uuid::from_u128(node)),
        shards,
        inbox: 1_024,
        hops: edgeless_dataflow::HOPS,
        call_timeout: Duration::from_secs(5),
        park_timeout: Duration::from_secs(5),
        ack_timeout: Duration::from_secs(15),
        samples: 20_000,
        clock: clock(),
        seed: 1,
    }
}

fn id(node: u128, number: u128) -> InstanceId {
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

/// Passes everything on to `out`.
struct Relay;

/// Counts events, and says when all have come.
struct Sink {
    left: u64,
    done: Option<oneshot::Sender<Instant>>,
}

/// Events in one burst.
const BURST: u64 = 256;

/// What all operators here have in common: they never wait.
macro_rules! operator {
    ($name:ty, $me:ident, $message:ident, $out:ident, $body:block) => {
        impl Operator for $name {
            fn start(&mut self, _: &mut task::Context<'_>, _: &mut Outbox) -> Progress {
                Progress::Done
            }

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

            fn on_answer(
                &mut self,
                _: u64,
                _: Answer,
                _: &mut task::Context<'_>,
                _: &mut Outbox,
            ) -> Progress {
                Progress::Done
            }

            fn poll(&mut self, _: &mut task::Context<'_>, _: &mut Outbox) -> Progress {
                Progress::Done
            }

            fn stop(&mut self, _: &mut Outbox) -> Option<Bytes> {
                None
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
operator!(Relay, _me, message, out, {
    match CallRef::of_call(&message) {
        Some(call) => out.answer(call, Answer::Reply(message.payload)),
        None => out.cast("out", message.payload),
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

async fn spawn(
    engine: &Engine,
    number: u128,
    out: Option<InstanceId>,
    factory: Factory,
) -> anyhow::Result<()> {
    let outputs = out.map(|to| ("out".to_owned(), vec![to]));
    let spawn = Spawn {
        physical_id: id(0, number).physical_id,
        generation: Generation(1),
        place: edgeless_dataflow::Place::Anywhere,
        outputs: Outputs::new(outputs.into_iter().collect()),
        tracked: Vec::new(),
        factory,
    };
    Ok(engine.spawn(spawn).await?)
}

/// Starts a source; answers the port that starts it.
async fn source(
    engine: &Engine,
    number: u128,
    out: InstanceId,
    left: u64,
    payload: usize,
) -> anyhow::Result<Port> {
    let (give, port) = oneshot::channel();
    let payload = Bytes::from(vec![7; payload]);
    let factory: Factory = Box::new(move |context| {
        give.send(context.port)
            .map_err(|_| "nobody waits".to_owned())?;
        Ok(Box::new(Source { left, payload }))
    });
    spawn(engine, number, Some(out), factory).await?;
    Ok(port.await?)
}

async fn sink(
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
async fn pass(shards: usize, relays: u128, events: u64) -> anyhow::Result<f64> {
    let engine = Engine::start(config(0, shards), Arc::new(Nowhere))?;
    let end = sink(&engine, 1_000, events).await?;
    let mut next = id(0, 1_000);
    for number in 0..relays {
        spawn(
            &engine,
            number,
            Some(next),
            Box::new(|_| Ok(Box::new(Relay))),
        )
        .await?;
        next = id(0, number);
    }
    let port = source(&engine, 2_000, next, events, 64).await?;
    let begin = Instant::now();
    port.cast("self", Bytes::new()).await?;
    let time = end.await?.duration_since(begin);
    tokio::task::spawn_blocking(move || engine.end()).await?;
    Ok(time.as_secs_f64() * 1e9 / events as f64)
}

/// What one more relay costs. Instances are spread evenly, so that with two shards each hop of a chain
/// goes from one to the other; both work at once, and the time of both is counted.
async fn hops(options: &Options, shards: usize) -> anyhow::Result<Vec<f64>> {
    let events = if options.quick { 50_000 } else { 500_000 };
    let (few, many) = (2, 34);
    let mut values = Vec::new();
    for _ in 0..options.runs() {
        let short = pass(shards, few, events).await?;
        let long = pass(shards, many, events).await?;
        let hop = (long - short) / (many - few) as f64;
        values.push(hop * shards as f64);
    }
    Ok(values)
}

fn guest(name: &str) -> anyhow::Result<(CodeDigest, Bytes)> {
    let path = root().join(format!("functions/{name}/{name}.wasm"));
    let code = Bytes::from(std::fs::read(path)?);
    Ok((CodeDigest::of(&code), code))
}

fn runtimes(cache: &Path) -> anyhow::Result<Runtimes> {
    Ok(Runtimes::start(Limits::default(), cache, clock())?)
}

fn made<K: Kind>(runtime: &Runtime<K>, digest: CodeDigest) -> anyhow::Result<Factory> {
    let factory = runtime.factory(digest, None, None);
    factory.ok_or_else(|| anyhow::anyhow!("the module is not loaded"))
}

/// Events from a source to a guest that does nothing; what the source costs with a built-in sink is
/// taken off.
async fn guest_casts<K: Kind>(
    options: &Options,
    runtime: &Runtime<K>,
    name: &str,
) -> anyhow::Result<Vec<f64>> {
    let events = if options.quick { 100_000 } else { 1_000_000 };
    let (digest, code) = guest(name)?;
    runtime.load(digest, code).await?;
    let mut values = Vec::new();
    for _ in 0..options.runs() {
        let built_in = pass(1, 0, events).await?;
        let engine = Engine::start(config(0, 1), Arc::new(Nowhere))?;
        spawn(&engine, 1, None, made(runtime, digest)?).await?;
        let port = source(&engine, 2, id(0, 1), events, 64).await?;
        let begin = Instant::now();
        port.cast("self", Bytes::new()).await?;
        let bursts = events.div_ceil(BURST);
        until("all events are handled", async || {
            let handled = engine.counters().handled.load(Relaxed);
            Ok((handled >= events + bursts).then_some(()))
        })
        .await?;
        let time = begin.elapsed().as_secs_f64() * 1e9 / events as f64;
        values.push(time - built_in);
        tokio::task::spawn_blocking(move || engine.end()).await?;
    }
    Ok(values)
}

/// From the request until an instance is ready: with its module in memory, and on disk.
async fn wasm_starts(options: &Options) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let folder = tempfile::tempdir()?;
    let (mut starts, mut cached) = (Vec::new(), Vec::new());
    for _ in 0..options.runs() {
        let (digest, code) = guest("noop")?;
        let runtimes = runtimes(folder.path())?;
        let runtime = &runtimes.wasm;
        let engine = Engine::start(config(0, 1), Arc::new(Nowhere))?;
        let begin = Instant::now();
        runtime.load(digest, code).await?;
        spawn(&engine, 1, None, made(runtime, digest)?).await?;
        cached.push(begin.elapsed().as_secs_f64() * 1e3);
        let mut times = Vec::new();
        for number in 2..500 {
            let begin = Instant::now();
            spawn(&engine, number, None, made(runtime, digest)?).await?;
            times.push(begin.elapsed().as_secs_f64() * 1e6);
        }
        starts.push(quantile(&mut times, 0.5));
        tokio::task::spawn_blocking(move || engine.end()).await?;
    }
    // The first of all had to compile.
    if cached.len() > 1 {
        cached.remove(0);
    }
    Ok((starts, cached))
}

/// 64 KiB payloads over one stream between two engines, each with its own sockets and threads.
async fn link(options: &Options) -> anyhow::Result<Vec<f64>> {
    const SIZE: usize = 64 << 10;
    let events: u64 = if options.quick { 4_000 } else { 40_000 };
    let mut values = Vec::new();
    for _ in 0..options.runs() {
        let shutdown = CancellationToken::new();
        let plane = |node: u128| {
            let name = NodeId::new(Uuid::from_u128(node));
            DataPlane::new(name, String::new(), 1, shutdown.clone())
        };
        let (near, far) = (plane(1), plane(2));
        let sender = Engine::start(config(1, 1), Arc::new(near.clone()))?;
        let receiver = Engine::start(config(2, 1), Arc::new(far.clone()))?;
        let bound = edgeless_daemon::net::Listen::loopback()
            .bind("bench")
            .await?;
        near.peers().learn(id(2, 0).node_id, &bound.url.to_string());
        let serving = server::serve(bound, receiver.clone(), far, shutdown.clone());
        let serving = tokio::spawn(serving);
        let end = sink(&receiver, 1, events).await?;
        let port = source(&sender, 2, id(2, 1), events, SIZE).await?;
        let begin = Instant::now();
        port.cast("self", Bytes::new()).await?;
        let time = end.await?.duration_since(begin).as_secs_f64();
        values.push((events as usize * SIZE) as f64 / (1 << 20) as f64 / time);
        shutdown.cancel();
        serving.await??;
        near.ended().await;
        tokio::task::spawn_blocking(move || {
            sender.end();
            receiver.end();
        })
        .await?;
    }
    Ok(values)
}

/// A function that calls another on another node, once a millisecond: its execution time is that of
/// the call.
async fn calls(options: &Options) -> anyhow::Result<Vec<f64>> {
    let cluster = main_suite::cluster(2, Mirror::Without).await?;
    for name in ["bench_caller", "echo"] {
        cluster.rest.push(name).await?;
    }
    let on = |name: &str| json!({"label_match_all": format!("name={name}")});
    let document = json!({"functions": [
        function("caller", "bench_caller", &json!({"out": "callee"}), &on("n0")),
        function("callee", "echo", &json!({}), &on("n1")),
    ]});
    let mut values = Vec::new();
    for _ in 0..options.runs() {
        let id = cluster.rest.start(&document).await?;
        let placed = cluster.rest.placed(&id).await?;
        tokio::time::sleep(Duration::from_secs(if options.quick { 1 } else { 4 })).await;
        main_suite::stop(&cluster, &id).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let text = std::fs::read_to_string(cluster.dataset.join("performance_samples.csv"))?;
        let caller = placed.iter().find(|(name, ..)| name == "caller");
        let caller = caller.map_or("", |(.., id)| id);
        let start = format!("function_execution_time,{caller},");
        let rows = text.lines().filter_map(|line| line.strip_prefix(&start));
        let mut times: Vec<f64> = rows
            .filter_map(|row| row.split(',').next()?.parse::<f64>().ok())
            .map(|seconds| seconds * 1e6)
            .collect();
        anyhow::ensure!(
            times.len() > 100,
            "only {} calls were recorded",
            times.len()
        );
        values.push(quantile(&mut times, 0.5));
    }
    Ok(values)
}

/// Throughput of a chain on one node with delivery at least once, over that with delivery at most once.
async fn at_least_once(options: &Options) -> anyhow::Result<Vec<f64>> {
    let cluster = main_suite::cluster(1, Mirror::Without).await?;
    let mut values = Vec::new();
    for _ in 0..options.runs() {
        let load = |delivery| Load {
            nodes: 1,
            chains: 1,
            delivery,
        };
        let plain = main_suite::chain_rate(&cluster, load(Delivery::AtMostOnce), options).await?;
        let tracked =
            main_suite::chain_rate(&cluster, load(Delivery::AtLeastOnce), options).await?;
        values.push(tracked / plain);
    }
    Ok(values)
}

/// A node with 100 functions that nobody sends anything, which refreshes once a second, as by default.
async fn idle(options: &Options) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let (mut memory, mut processor) = (Vec::new(), Vec::new());
    for _ in 0..options.runs() {
        let cluster = Cluster::start(Plan {
            nodes: vec![NodePlan {
                resources: true,
                labels: Vec::new(),
                refresh_interval: Duration::from_secs(1),

                shards: 1,
            }],
            mirror: Mirror::Without,
        })
        .await?;
        cluster.rest.push("noop").await?;
        let none = json!({});
        let functions: Vec<_> = (0..100)
            .map(|number| function(&format!("f{number}"), "noop", &none, &none))
            .collect();
        cluster.rest.start(&json!({"functions": functions})).await?;
        let pid = cluster.nodes[0].daemon.pid();
        let pid = pid.ok_or_else(|| anyhow::anyhow!("the node has ended"))?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (first, begin) = (cpu_seconds(pid), Instant::now());
        tokio::time::sleep(Duration::from_secs(if options.quick { 5 } else { 20 })).await;
        let (last, time) = (cpu_seconds(pid), begin.elapsed().as_secs_f64());
        processor.extend(
            first
                .zip(last)
                .map(|(first, last)| (last - first) / time * 100.0),
        );
        memory.extend(rss_mib(pid));
    }
    Ok((memory, processor))
}
