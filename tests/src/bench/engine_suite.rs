//! Suite `engine`: hops, guests, links. The hops run in this process on the real engine; what concerns
//! nodes runs on real daemons.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use bytes::Bytes;
use edgeless_daemon::net::PeerUrl;
use edgeless_dataflow::{Engine, Factory};
use edgeless_node::{
    dataplane::{DataPlane, Tls, server},
    runtime::{Kind, Limits, Runtime, Runtimes},
};
use edgeless_types::{CodeDigest, NodeId};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Measured, Options, certificates,
    hops::{self, BURST, HOPS, Hop, Nowhere, clock, config, id, pass, sink, source, spawn},
    main_suite::{self, Delivery, Load},
    quantile,
};
use crate::{
    client::function,
    cluster::{Cluster, Mirror, NodePlan, Plan},
    process::{root, rss_mib, thread_times, used},
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
    for (name, hop) in HOPS {
        if options.wants(&[name]) {
            keep(name, "ns", hops::measure(options, hop).await?);
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
        keep("link_mib_per_s", "MiB/s", link(options, None).await?);
    }
    if options.wants(&["link_tls_mib_per_s"]) {
        let folder = tempfile::tempdir()?;
        let tls = certificates::tls(folder.path())?;
        keep(
            "link_tls_mib_per_s",
            "MiB/s",
            link(options, Some(tls)).await?,
        );
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
    let mut values = Vec::new();
    for _ in 0..options.runs() {
        let built_in = pass(Hop::PLAIN, 0, events).await?;
        values.push(guest_pass(runtime, name, events).await? - built_in);
    }
    Ok(values)
}

/// Nanoseconds that one event takes from a source to a guest.
async fn guest_pass<K: Kind>(runtime: &Runtime<K>, name: &str, events: u64) -> anyhow::Result<f64> {
    let (digest, code) = guest(name)?;
    runtime.load(digest, code).await?;
    let engine = Engine::start(config(0, Hop::PLAIN), Arc::new(Nowhere))?;
    spawn(&engine, 1, None, made(runtime, digest)?).await?;
    let port = source(&engine, 2, id(0, 1), events, 64, false).await?;
    let begin = Instant::now();
    port.cast("self", Bytes::new()).await?;
    let bursts = events.div_ceil(BURST);
    until("all events are handled", async || {
        let handled = engine.counters().handled.load(Relaxed);
        Ok((handled >= events + bursts).then_some(()))
    })
    .await?;
    let time = begin.elapsed().as_secs_f64() * 1e9 / events as f64;
    tokio::task::spawn_blocking(move || engine.end()).await?;
    Ok(time)
}

/// What is counted under [`super::instructions`], in this process: so many events.
///
/// # Errors
/// There is no such case, or it does not do what it is asked.
pub async fn count(case: &str, number: u64) -> anyhow::Result<()> {
    if let Some((_, hop)) = HOPS.iter().find(|(name, _)| *name == case) {
        pass(*hop, number.into(), super::instructions::EVENTS).await?;
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    match case {
        "wasm_cast_ns" => {
            let runtime = runtimes(folder.path())?.wasm;
            guest_pass(&runtime, "noop", number).await?;
        }
        "component_cast_ns" => {
            let runtime = runtimes(folder.path())?.component;
            guest_pass(&runtime, "component_noop", number).await?;
        }
        "source" => {
            pass(Hop::PLAIN, 0, number).await?;
        }
        "node_hop" => {
            link_pass(number, 64, None).await?;
        }
        other => anyhow::bail!("`{other}` is no case"),
    }
    Ok(())
}

/// From the request until an instance is ready: with its module in memory, and on disk.
async fn wasm_starts(options: &Options) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let folder = tempfile::tempdir()?;
    let (mut starts, mut cached) = (Vec::new(), Vec::new());
    for _ in 0..options.runs() {
        let (digest, code) = guest("noop")?;
        let runtimes = runtimes(folder.path())?;
        let runtime = &runtimes.wasm;
        let engine = Engine::start(config(0, Hop::PLAIN), Arc::new(Nowhere))?;
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
async fn link(options: &Options, tls: Option<Tls>) -> anyhow::Result<Vec<f64>> {
    const SIZE: usize = 64 << 10;
    let events: u64 = if options.quick { 4_000 } else { 40_000 };
    let mut values = Vec::new();
    for _ in 0..options.runs() {
        let time = link_pass(events, SIZE, tls.clone()).await?;
        values.push((events as usize * SIZE) as f64 / (1 << 20) as f64 / time);
    }
    Ok(values)
}

/// Seconds that so many events take from one engine to another.
async fn link_pass(events: u64, size: usize, tls: Option<Tls>) -> anyhow::Result<f64> {
    let shutdown = CancellationToken::new();
    let plane = |node: u128| {
        let name = NodeId::new(Uuid::from_u128(node));
        DataPlane::new(name, String::new(), tls.clone(), 1, shutdown.clone())
    };
    let (near, far) = (plane(1), plane(2));
    let sender = Engine::start(config(1, Hop::PLAIN), Arc::new(near.clone()))?;
    let receiver = Engine::start(config(2, Hop::PLAIN), Arc::new(far.clone()))?;
    let bound = edgeless_daemon::net::Listen::loopback()
        .bind("bench")
        .await?;
    let url = match &tls {
        Some(_) => PeerUrl::Tls(bound.url.clone()),
        None => PeerUrl::Plain(bound.url.clone()),
    };
    near.peers().learn(id(2, 0).node_id, &url.to_string());
    let serving = server::serve(bound, receiver.clone(), far, shutdown.clone());
    let serving = tokio::spawn(serving);
    let end = sink(&receiver, 1, events).await?;
    let port = source(&sender, 2, id(2, 1), events, size, false).await?;
    let begin = Instant::now();
    port.cast("self", Bytes::new()).await?;
    let time = end.await?.duration_since(begin).as_secs_f64();
    shutdown.cancel();
    serving.await??;
    near.ended().await;
    tokio::task::spawn_blocking(move || {
        sender.end();
        receiver.end();
    })
    .await?;
    Ok(time)
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
        let (first, begin) = (thread_times(pid), Instant::now());
        tokio::time::sleep(Duration::from_secs(if options.quick { 5 } else { 20 })).await;
        let (last, time) = (thread_times(pid), begin.elapsed().as_secs_f64());
        processor.extend(
            first
                .zip(last)
                .map(|(first, last)| used(&first, &last) / time * 100.0),
        );
        memory.extend(rss_mib(pid));
    }
    Ok((memory, processor))
}
