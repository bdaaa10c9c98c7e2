//! Suite `main`: starts, HTTP, chains, mirror, recovery, memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use redis::AsyncCommands;
use serde_json::{Value, json};

use super::{Measured, Options, quantile};
use crate::{
    client::{function, resource},
    cluster::{Cluster, Mirror, NodePlan, OFTEN, Plan},
    process::rss_mib,
    wait::until,
};

const SUITE: &str = "main";

/// Runs all benchmarks of the suite.
///
/// # Errors
/// A daemon does not start or does not do what it is asked.
pub async fn run(options: &Options) -> anyhow::Result<Vec<Measured>> {
    let mut results = Vec::new();
    let mut keep = |all: Vec<Option<Measured>>| {
        for measured in all.into_iter().flatten() {
            eprintln!("{} {:.2} {}", measured.name, measured.value, measured.unit);
            results.push(measured);
        }
    };
    let names = [
        "workflow_start_per_s",
        "workflow_start_p99_ms",
        "workflow_stop_per_s",
    ];
    if options.wants(&names) {
        keep(starts(options).await?.into());
    }
    keep(http(SUITE, options).await?);
    for chain in CHAINS {
        keep(chain.measure(SUITE, options).await?);
    }
    if options.wants(&["mirror_lag_p99_ms"]) {
        keep(vec![mirror_lag(options).await?]);
    }
    if options.wants(&["dead_node_replaced_ms"]) {
        keep(vec![dead_node(options).await?]);
    }
    if options.wants(&["idle_rss_mib_con", "idle_rss_mib_orc", "idle_rss_mib_node"]) {
        keep(idle(options).await?.into());
    }
    if options.cold {
        keep(vec![cold_build()?]);
    }
    Ok(results)
}

pub(super) fn nodes(number: usize, shards: usize) -> Vec<NodePlan> {
    let node = |index| NodePlan {
        resources: true,
        labels: vec![format!("name=n{index}")],
        refresh_interval: OFTEN,

        shards,
    };
    (0..number).map(node).collect()
}

pub(super) async fn cluster(number: usize, mirror: Mirror) -> anyhow::Result<Cluster> {
    cluster_of(nodes(number, 1), mirror).await
}

async fn cluster_of(nodes: Vec<NodePlan>, mirror: Mirror) -> anyhow::Result<Cluster> {
    let cluster = Cluster::start(Plan { nodes, mirror }).await?;
    for name in ["noop", "echo", "relay", "bench_source", "bench_sink"] {
        cluster.rest.push(name).await?;
    }
    Ok(cluster)
}

/// One-function workflows over REST, 16 at a time, until running; then their stops.
async fn starts(options: &Options) -> anyhow::Result<[Option<Measured>; 3]> {
    let cluster = cluster(3, Mirror::Running).await?;
    let number = if options.quick { 200 } else { 2_000 };
    let none = json!({});
    let document = json!({"functions": [function("f", "noop", &none, &none)]});
    let (mut rates, mut tails, mut stops) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.runs() {
        let begin = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let (rest, document) = (cluster.rest.clone(), document.clone());
            tasks.spawn(async move {
                let mut done = Vec::new();
                for _ in 0..number / 16 {
                    let begin = Instant::now();
                    let id = rest.start(&document).await?;
                    done.push((id, begin.elapsed().as_secs_f64() * 1e3));
                }
                anyhow::Ok(done)
            });
        }
        let mut all = Vec::new();
        while let Some(done) = tasks.join_next().await {
            all.extend(done??);
        }
        rates.push(all.len() as f64 / begin.elapsed().as_secs_f64());
        let mut times: Vec<f64> = all.iter().map(|(_, time)| *time).collect();
        tails.push(quantile(&mut times, 0.99));
        let begin = Instant::now();
        let count = all.len();
        let ids = Arc::new(std::sync::Mutex::new(all));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let (rest, ids) = (cluster.rest.clone(), Arc::clone(&ids));
            tasks.spawn(async move {
                loop {
                    let next = ids.lock().ok().and_then(|mut ids| ids.pop());
                    let Some((id, _)) = next else {
                        return anyhow::Ok(());
                    };
                    let path = format!("/api/v1/workflows/{id}");
                    rest.send(reqwest::Method::DELETE, &path, "").await?;
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        stops.push(count as f64 / begin.elapsed().as_secs_f64());
    }
    Ok([
        Measured::of(SUITE, "workflow_start_per_s", "1/s", rates),
        Measured::of(SUITE, "workflow_start_p99_ms", "ms", tails),
        Measured::of(SUITE, "workflow_stop_per_s", "1/s", stops),
    ])
}

/// Request → `http-ingress` → `RUST_WASM` → reply, 64 connections.
pub(super) async fn http(
    suite: &'static str,
    options: &Options,
) -> anyhow::Result<Vec<Option<Measured>>> {
    if !options.wants(&["http_requests_per_s", "http_p99_ms"]) {
        return Ok(Vec::new());
    }
    let cluster = cluster(1, Mirror::Without).await?;
    let none = json!({});
    let document = json!({
        "functions": [function("echo", "echo", &none, &none)],
        "resources": [resource(
            "entry", "http-ingress", &json!({"new_request": "echo"}), &json!({"host": "*"}),
        )],
    });
    cluster.rest.start(&document).await?;
    let duration = Duration::from_secs(if options.quick { 1 } else { 5 });
    let (mut rates, mut tails) = (Vec::new(), Vec::new());
    for _ in 0..options.runs() {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let (url, stop) = (cluster.nodes[0].ingress_url.clone(), Arc::clone(&stop));
            tasks.spawn(connection(url, stop));
        }
        tokio::time::sleep(duration).await;
        stop.store(true, Relaxed);
        let mut times = Vec::new();
        while let Some(done) = tasks.join_next().await {
            times.extend(done??);
        }
        rates.push(times.len() as f64 / duration.as_secs_f64());
        tails.push(quantile(&mut times, 0.99));
    }
    Ok(vec![
        Measured::of(suite, "http_requests_per_s", "1/s", rates),
        Measured::of(suite, "http_p99_ms", "ms", tails),
    ])
}

/// One connection with one request at a time; milliseconds of each.
async fn connection(url: String, stop: Arc<AtomicBool>) -> anyhow::Result<Vec<f64>> {
    let address = url.trim_start_matches("http://").to_owned();
    let stream = tokio::net::TcpStream::connect(&address).await?;
    stream.set_nodelay(true)?;
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    let driver = tokio::spawn(connection);
    let mut times = Vec::new();
    while !stop.load(Relaxed) {
        let body = http_body_util::Full::new(bytes::Bytes::from_static(b"hello"));
        let request = hyper::Request::post("/")
            .header("host", "bench")
            .body(body)?;
        let begin = Instant::now();
        let response = sender.send_request(request).await?;
        anyhow::ensure!(response.status() == 200, "answered {}", response.status());
        http_body_util::BodyExt::collect(response.into_body()).await?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    driver.abort();
    Ok(times)
}

/// Source → three relays → sink. The source is a function that sends bursts of 64-byte events; the
/// sink counts, and answers a call through an ingress with its count, so that what is counted has
/// really come through the chain.
pub(super) struct Chain {
    rate_name: &'static str,
    tail_name: &'static str,
    nodes: usize,
}

pub(super) const CHAINS: [Chain; 2] = [
    Chain {
        rate_name: "chain3_one_node_events_per_s",
        tail_name: "chain3_one_node_p99_us",
        nodes: 1,
    },
    Chain {
        rate_name: "chain3_two_nodes_events_per_s",
        tail_name: "chain3_two_nodes_p99_us",
        nodes: 2,
    },
];

impl Chain {
    /// Measures throughput and latency, if either is wanted.
    pub(super) async fn measure(
        &self,
        suite: &'static str,
        options: &Options,
    ) -> anyhow::Result<Vec<Option<Measured>>> {
        if !options.wants(&[self.rate_name, self.tail_name]) {
            return Ok(Vec::new());
        }
        // One node works with all cores: one shard each, and one chain each.
        let shards = match self.nodes {
            1 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            _ => 1,
        };
        let cluster = cluster_of(nodes(self.nodes, shards), Mirror::Without).await?;
        let (mut rates, mut tails) = (Vec::new(), Vec::new());
        for _ in 0..options.runs() {
            let load = Load {
                nodes: self.nodes,
                chains: shards,
                delivery: Delivery::AtMostOnce,
            };
            rates.push(chain_rate(&cluster, load, options).await?);
            tails.push(chain_tail(&cluster, self.nodes, options).await?);
        }
        Ok(vec![
            Measured::of(suite, self.rate_name, "1/s", rates),
            Measured::of(suite, self.tail_name, "us", tails),
        ])
    }
}

/// What becomes of a message on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    AtMostOnce,
    AtLeastOnce,
}

/// The place of the sink in a chain, even as that of the source.
const SINK: usize = 4;

/// A chain whose links alternate between the nodes.
fn chain(number: usize, host: &str, load: &str, delivery: Delivery) -> Value {
    let on = |index: usize| {
        let mut annotations = json!({"label_match_all": format!("name=n{}", index % number)});
        if delivery == Delivery::AtLeastOnce && index != SINK {
            annotations["at_least_once"] = Value::from("out");
        }
        annotations
    };
    let mut source = on(0);
    source["init-payload"] = Value::from(load);
    json!({
        "functions": [
            function("source", "bench_source", &json!({"out": "r1"}), &source),
            function("r1", "relay", &json!({"out": "r2"}), &on(1)),
            function("r2", "relay", &json!({"out": "r3"}), &on(0)),
            function("r3", "relay", &json!({"out": "sink"}), &on(1)),
            function("sink", "bench_sink", &json!({}), &on(SINK)),
        ],
        "resources": [resource(
            "entry", "http-ingress", &json!({"new_request": "sink"}), &json!({"host": host}),
        )],
    })
}

/// What all sinks have counted.
async fn counted(
    http: &reqwest::Client,
    cluster: &Cluster,
    hosts: &[String],
) -> anyhow::Result<u64> {
    let mut all = 0;
    for host in hosts {
        let mut answer = None;
        for node in &cluster.nodes {
            let request = http.post(&node.ingress_url).header("host", host);
            let response = request.send().await?;
            if response.status().is_success() {
                answer = Some(response.text().await?.trim().parse::<u64>()?);
            }
        }
        all += answer.ok_or_else(|| anyhow::anyhow!("the sink `{host}` does not answer"))?;
    }
    Ok(all)
}

/// What is put on a cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Over how many nodes each chain goes.
    pub(super) nodes: usize,
    /// How many chains there are, each a workflow of its own.
    pub(super) chains: usize,
    pub(super) delivery: Delivery,
}

pub(super) async fn chain_rate(
    cluster: &Cluster,
    load: Load,
    options: &Options,
) -> anyhow::Result<f64> {
    let hosts: Vec<String> = (0..load.chains).map(|it| format!("sink-{it}")).collect();
    let mut ids = Vec::new();
    for host in &hosts {
        let document = chain(load.nodes, host, "0", load.delivery);
        ids.push(cluster.rest.start(&document).await?);
    }
    let http = reqwest::Client::new();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let duration = Duration::from_secs(if options.quick { 1 } else { 4 });
    let (first, begin) = (counted(&http, cluster, &hosts).await?, Instant::now());
    tokio::time::sleep(duration).await;
    let (last, time) = (counted(&http, cluster, &hosts).await?, begin.elapsed());
    for id in ids {
        stop(cluster, &id).await?;
    }
    anyhow::ensure!(last > first, "nothing came through the chain");
    Ok((last - first) as f64 / time.as_secs_f64())
}

/// The way of an event at 1,000 a second: the sum of the transfer and execution times that ε-ORC
/// recorded for the four receivers of each event, which come in order.
async fn chain_tail(cluster: &Cluster, number: usize, options: &Options) -> anyhow::Result<f64> {
    let id = cluster
        .rest
        .start(&chain(number, "sink", "1000", Delivery::AtMostOnce))
        .await?;
    let seconds = if options.quick { 2 } else { 5 };
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let placed = cluster.rest.placed(&id).await?;
    stop(cluster, &id).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let text = std::fs::read_to_string(cluster.dataset.join("performance_samples.csv"))?;
    let of = |name: &str, metric: &str| -> Vec<f64> {
        let physical_id = placed
            .iter()
            .find(|(other, ..)| other == name)
            .map(|(.., id)| id);
        let start = format!("{metric},{},", physical_id.map_or("", String::as_str));
        let rows = text
            .lines()
            .filter_map(|line| line.strip_prefix(start.as_str()));
        rows.filter_map(|row| row.split(',').next()?.parse().ok())
            .collect()
    };
    let columns: Vec<Vec<f64>> = ["r1", "r2", "r3", "sink"]
        .iter()
        .flat_map(|name| {
            [
                of(name, "function_transfer_time"),
                of(name, "function_execution_time"),
            ]
        })
        .collect();
    let rows = columns.iter().map(Vec::len).min().unwrap_or_default();
    let mut ways: Vec<f64> = (0..rows)
        .map(|row| columns.iter().map(|column| column[row]).sum::<f64>() * 1e6)
        .collect();
    anyhow::ensure!(ways.len() > 500, "only {} events were recorded", ways.len());
    Ok(quantile(&mut ways, 0.99))
}

pub(super) async fn stop(cluster: &Cluster, id: &str) -> anyhow::Result<()> {
    let path = format!("/api/v1/workflows/{id}");
    cluster
        .rest
        .send(reqwest::Method::DELETE, &path, "")
        .await?;
    Ok(())
}

/// From the moment a vertex runs, as ε-ORC notes it, until Redis has it.
async fn mirror_lag(options: &Options) -> anyhow::Result<Option<Measured>> {
    let cluster = cluster(1, Mirror::Running).await?;
    let client = redis::Client::open(cluster.redis_url.as_str())?;
    let mut redis = client.get_multiplexed_async_connection().await?;
    let none = json!({});
    let document = json!({"functions": [function("f", "noop", &none, &none)]});
    let mut tails = Vec::new();
    for _ in 0..options.runs() {
        let mut lags = Vec::new();
        for _ in 0..if options.quick { 20 } else { 100 } {
            let id = cluster.rest.start(&document).await?;
            let status = cluster.rest.get(&format!("/api/v1/workflows/{id}")).await?;
            let since: f64 = status["functions"][0]["instances"][0]["since"]
                .as_str()
                .unwrap_or_default()
                .parse()?;
            let lid = status["functions"][0]["logical_id"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            let key = format!("instance:{lid}");
            until("it is mirrored", async || {
                let text: Option<String> = redis.get(&key).await?;
                Ok(text.filter(|text| text.contains("physical_id")).map(|_| ()))
            })
            .await?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
            lags.push((now - since) * 1e3);
        }
        tails.push(quantile(&mut lags, 0.99));
    }
    Ok(Measured::of(SUITE, "mirror_lag_p99_ms", "ms", tails))
}

/// From the deadline of a killed node until its function runs elsewhere.
async fn dead_node(options: &Options) -> anyhow::Result<Option<Measured>> {
    let mut times = Vec::new();
    for _ in 0..options.runs() {
        let mut cluster = cluster(2, Mirror::Without).await?;
        let none = json!({});
        let document = json!({"functions": [function("f", "noop", &none, &none)]});
        let id = cluster.rest.start(&document).await?;
        let placed = cluster.rest.placed(&id).await?;
        let (_, victim, before) = placed[0].clone();
        cluster.node(&victim)?.daemon.kill();
        let since = until("it runs elsewhere", async || {
            let status = cluster.rest.get(&format!("/api/v1/workflows/{id}")).await?;
            let instance = &status["functions"][0]["instances"][0];
            let elsewhere = instance["physical_id"]
                .as_str()
                .is_some_and(|id| id != before);
            Ok(elsewhere.then(|| instance["since"].as_str().unwrap_or_default().to_owned()))
        })
        .await?;
        let last = last_health(&cluster, &victim)?;
        // The deadline of the nodes of this cluster is one second after their last refresh.
        times.push((since.parse::<f64>()? - last - 1.0) * 1e3);
    }
    Ok(Measured::of(SUITE, "dead_node_replaced_ms", "ms", times))
}

fn last_health(cluster: &Cluster, node_id: &str) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(cluster.dataset.join("health_status.csv"))?;
    let rows = text.lines().filter(|line| line.contains(node_id));
    let last = rows
        .filter_map(|row| row.split(',').next()?.parse::<f64>().ok())
        .next_back();
    last.ok_or_else(|| anyhow::anyhow!("the node never refreshed"))
}

/// Resident memory of each daemon with nothing to do.
async fn idle(options: &Options) -> anyhow::Result<[Option<Measured>; 3]> {
    let mut memory = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..options.runs() {
        let cluster = Cluster::start(Plan {
            nodes: nodes(1, 1),
            mirror: Mirror::Without,
        })
        .await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let daemons = [&cluster.con, &cluster.orc, &cluster.nodes[0].daemon];
        for (values, daemon) in memory.iter_mut().zip(daemons) {
            values.extend(daemon.pid().and_then(rss_mib));
        }
    }
    let [con, orc, node] = memory;
    Ok([
        Measured::of(SUITE, "idle_rss_mib_con", "MiB", con),
        Measured::of(SUITE, "idle_rss_mib_orc", "MiB", orc),
        Measured::of(SUITE, "idle_rss_mib_node", "MiB", node),
    ])
}

/// An optimised build of everything from nothing.
fn cold_build() -> anyhow::Result<Option<Measured>> {
    let folder = tempfile::tempdir()?;
    let begin = Instant::now();
    let status = std::process::Command::new("cargo")
        .args(["build", "--release", "--workspace", "--bins"])
        .current_dir(crate::process::root())
        .env("CARGO_TARGET_DIR", folder.path())
        .status()?;
    anyhow::ensure!(status.success(), "the build failed");
    Ok(Measured::of(
        SUITE,
        "cold_build_s",
        "s",
        vec![begin.elapsed().as_secs_f64()],
    ))
}
