//! A sink that takes nothing for a minute: the source is slowed, no node grows, and then all is delivered.

use std::time::{Duration, Instant};

use edgeless_tests::{
    client::{function, resource},
    cluster::{Cluster, Mirror},
    process::rss_mib,
    wait::until,
};
use serde_json::{Value, json};

use super::plan;

/// How long the sink takes nothing.
const PAUSE: Duration = Duration::from_secs(60);
/// What a node may grow by meanwhile, in MiB.
const GROWTH: f64 = 96.0;

struct Watched {
    cluster: Cluster,
    http: reqwest::Client,
    /// Name, status port of its node, and physical id of each vertex.
    vertices: Vec<(String, String, String)>,
}

impl Watched {
    fn vertex(&self, name: &str) -> (&str, &str) {
        let found = self.vertices.iter().find(|it| it.0 == name).unwrap();
        (&found.1, &found.2)
    }

    async fn seen(&self, name: &str) -> anyhow::Result<Value> {
        let (status, id) = self.vertex(name);
        let url = format!("{status}/api/v1/instances");
        let all: Vec<Value> = self.http.get(url).send().await?.json().await?;
        let found = all.into_iter().find(|it| it["physical_id"] == id);
        found.ok_or_else(|| anyhow::anyhow!("{name} is not there"))
    }

    async fn set(&self, name: &str, verb: &str) {
        let (status, id) = self.vertex(name);
        let url = format!("{status}/api/v1/instances/{id}/{verb}");
        assert_eq!(self.http.post(url).send().await.unwrap().status(), 204);
    }

    fn memory(&self) -> Vec<f64> {
        let nodes = self.cluster.nodes.iter();
        nodes
            .map(|node| rss_mib(node.daemon.pid().unwrap()).unwrap())
            .collect()
    }

    async fn counted(&self) -> anyhow::Result<u64> {
        let request = self.http.post(&self.cluster.nodes[0].ingress_url);
        let answer = request.header("host", "sink").send().await?;
        Ok(answer.error_for_status()?.text().await?.trim().parse()?)
    }
}

/// Source → relay → sink at least once, the relay on another node than the others.
async fn watched() -> Watched {
    let cluster = Cluster::start(plan(1, Mirror::Without)).await.unwrap();
    for name in ["bench_source", "relay", "bench_sink"] {
        cluster.rest.push(name).await.unwrap();
    }
    let on =
        |zone: &str| json!({"label_match_all": format!("zone={zone}"), "at_least_once": "out"});
    let mut source = on("resources");
    source["init-payload"] = Value::from("0");
    let document = json!({
        "functions": [
            function("source", "bench_source", &json!({"out": "relay"}), &source),
            function("relay", "relay", &json!({"out": "sink"}), &on("functions")),
            function("sink", "bench_sink", &json!({}), &json!({"label_match_all": "zone=resources"})),
        ],
        "resources": [resource(
            "entry", "http-ingress", &json!({"new_request": "sink"}), &json!({"host": "sink"}),
        )],
    });
    let id = cluster.rest.start(&document).await.unwrap();
    let placed = cluster.rest.placed(&id).await.unwrap();
    let status = |node_id: &String| {
        let mut nodes = cluster.nodes.iter();
        nodes
            .find(|it| it.node_id == *node_id)
            .unwrap()
            .status_url
            .clone()
    };
    let vertices = placed
        .iter()
        .map(|(name, node_id, id)| (name.clone(), status(node_id), id.clone()))
        .collect();
    Watched {
        cluster,
        http: reqwest::Client::new(),
        vertices,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_takes_nothing_for_a_minute_slows_its_source_and_loses_nothing() {
    let watched = watched().await;
    until("events come through", async || {
        Ok((watched.counted().await? > 10_000).then_some(()))
    })
    .await
    .unwrap();
    let before = watched.memory();
    watched.set("sink", "pause").await;
    let begin = Instant::now();
    let (mut most, mut handled) = (before.clone(), Vec::new());
    while begin.elapsed() < PAUSE {
        for (most, now) in most.iter_mut().zip(watched.memory()) {
            *most = most.max(now);
        }
        handled.push(
            watched.seen("relay").await.unwrap()["events"]
                .as_u64()
                .unwrap(),
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    println!("memory before {before:.1?} MiB, at most {most:.1?} MiB");
    for (before, most) in before.iter().zip(&most) {
        assert!(
            most - before < GROWTH,
            "a node grew from {before} to {most} MiB"
        );
    }
    // Whoever sends to the sink waits, and so back to the source.
    let (middle, last) = (handled[handled.len() / 2], handled[handled.len() - 1]);
    assert_eq!(middle, last, "the relay went on");

    watched.set("sink", "resume").await;
    watched.set("source", "pause").await;
    until("all is acknowledged", async || {
        let mut rest = 0;
        for name in ["source", "relay", "sink"] {
            let seen = watched.seen(name).await?;
            let waits = ["queued", "parked", "outstanding"].map(|it| seen[it].as_u64());
            // Bursts of its own wait for the source while it is paused.
            rest += match name {
                "source" => waits[1].unwrap() + waits[2].unwrap(),
                _ => waits.into_iter().flatten().sum(),
            };
        }
        Ok((rest == 0).then_some(()))
    })
    .await
    .unwrap();
    let relayed = watched.seen("relay").await.unwrap()["events"]
        .as_u64()
        .unwrap();
    assert_eq!(
        watched.counted().await.unwrap(),
        relayed,
        "counted at the sink"
    );
}
