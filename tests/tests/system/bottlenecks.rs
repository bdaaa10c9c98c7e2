//! What limits a workflow is named by ε-CON, `proxy_cli` and the mirror: a slow function, the one after it, a slow link
//! between nodes, a node without room.

use std::time::Duration;

use edgeless_tests::{
    client::function,
    cluster::{Cluster, Mirror, NodePlan, OFTEN},
    process::binary,
    wait::until,
};
use serde_json::{Value, json};

use super::plan;

/// Thousands of rounds that take so little that nobody limits, and so much that a copy cannot do ten of them a second.
const LITTLE: u64 = 100;
const MUCH: u64 = 200_000;

/// Source → `a` → `b` → end; ten messages a second. `a` and `b` work for so long; they are on nodes with these labels.
fn line(work: [u64; 2], zones: [&str; 2], more: &Value) -> Value {
    let [a, b] = [0, 1].map(|place| {
        let mut annotations = json!({
            "label_match_all": format!("zone={}", zones[place]), "init-payload": work[place].to_string(),
        });
        for (key, value) in more.as_object().unwrap() {
            annotations[key] = value.clone();
        }
        annotations
    });
    let near = json!({"label_match_all": "zone=resources", "init-payload": "100"});
    json!({
        "name": "line",
        "functions": [
            function("source", "message_generator", &json!({"out": "a"}), &near),
            function("a", "worker", &json!({"out": "b"}), &a),
            function("b", "worker", &json!({"out": "end"}), &b),
            function("end", "noop", &json!({}), &json!({"label_match_all": "zone=resources"})),
        ],
    })
}

async fn cluster() -> Cluster {
    let cluster = Cluster::start(plan(2, Mirror::Running)).await.unwrap();
    for name in ["message_generator", "worker", "noop"] {
        cluster.rest.push(name).await.unwrap();
    }
    cluster
}

async fn explain(cluster: &Cluster, id: &str) -> anyhow::Result<Value> {
    let path = format!("/api/v1/workflows/{id}/explain");
    cluster.rest.get(&path).await
}

/// Waits until this function is named for this cause.
async fn named(cluster: &Cluster, id: &str, name: &str, cause: &[&str], limits: bool) -> Value {
    until(&format!("{name} is named for {cause:?}"), async || {
        let found = explain(cluster, id).await?["bottleneck"].clone();
        let is_right = found["name"] == name
            && cause.iter().any(|it| found["cause"] == *it)
            && found["limits"] == limits;
        Ok(is_right.then_some(found))
    })
    .await
    .unwrap()
}

/// Waits until messages come through and nothing limits.
async fn flows(cluster: &Cluster, id: &str) {
    until("messages come through", async || {
        let explained = explain(cluster, id).await?;
        let vertices = explained["vertices"].as_array().unwrap().clone();
        let end = vertices.iter().find(|it| it["name"] == "end").unwrap();
        let flows = end["handled_per_second"].as_f64().unwrap() > 5.0;
        Ok((flows && explained["bottleneck"]["limits"] == false).then_some(()))
    })
    .await
    .unwrap();
}

async fn put(cluster: &Cluster, id: &str, document: &Value) {
    let path = format!("/api/v1/workflows/{id}");
    let sent = cluster
        .rest
        .send(reqwest::Method::PUT, &path, document.to_string());
    let (status, body) = sent.await.unwrap();
    assert!(status.is_success(), "{status} {body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_function_is_named_wherever_it_is_in_the_line() {
    let cluster = cluster().await;
    let zones = ["functions", "functions"];
    let well = line([LITTLE, LITTLE], zones, &json!({}));
    let id = cluster.rest.start(&well).await.unwrap();
    flows(&cluster, &id).await;
    for (name, work) in [("a", [MUCH, LITTLE]), ("b", [LITTLE, MUCH])] {
        put(&cluster, &id, &line(work, zones, &json!({}))).await;
        let found = named(&cluster, &id, name, &["execution"], true).await;
        assert_eq!(found["held"], "not_scaled", "{found}");
        // The same is told to those who read the mirror.
        until("proxy_cli tells it", async || {
            let shown = tokio::process::Command::new(binary("proxy_cli")?)
                .env_clear()
                .args([
                    "--redis-url",
                    &cluster.redis_url,
                    "--json",
                    "top",
                    "--once",
                    "workflow",
                ])
                .output();
            let rows: Value = serde_json::from_slice(&shown.await?.stdout)?;
            let row = &rows[0];
            let is_told = row["limited_by"] == name && row["cause"] == "execution";
            Ok(is_told.then_some(()))
        })
        .await
        .unwrap();
        put(&cluster, &id, &well).await;
        flows(&cluster, &id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_link_is_named_and_so_is_a_function_for_which_no_node_has_room() {
    let mut cluster = cluster().await;
    let far = NodePlan {
        resources: false,
        labels: vec!["zone=far".to_owned()],
        refresh_interval: OFTEN,
        shards: 1,
    };
    let link = cluster.add_node_behind_link(&far).await.unwrap();
    cluster.all_registered(4).await.unwrap();
    let zones = ["functions", "far"];
    let id = cluster
        .rest
        .start(&line([LITTLE, LITTLE], zones, &json!({})))
        .await
        .unwrap();
    flows(&cluster, &id).await;
    link.slow(Duration::from_millis(60));
    let found = named(&cluster, &id, "b", &["transfer"], false).await;
    assert!(
        found["action"].as_str().unwrap().contains("nearer"),
        "{found}"
    );
    link.slow(Duration::ZERO);
    flows(&cluster, &id).await;
    // Each node has room for one copy: all of its processors.
    let cores = std::thread::available_parallelism().unwrap().get();
    let whole = json!({"cpu_millis": (1000 * cores).to_string(), "max_instances": "4"});
    let full = line([MUCH, LITTLE], ["functions", "far"], &whole);
    let path = format!("/api/v1/workflows/{id}");
    let (status, _) = cluster
        .rest
        .send(reqwest::Method::DELETE, &path, "")
        .await
        .unwrap();
    assert!(status.is_success());
    let id = cluster.rest.start(&full).await.unwrap();
    let found = until("nodes are full", async || {
        let found = explain(&cluster, &id).await?["bottleneck"].clone();
        Ok((found["held"] == "no_room").then_some(found))
    });
    let found = found.await.unwrap();
    assert_eq!(
        (&found["name"], &found["limits"]),
        (&json!("a"), &json!(true)),
        "{found}"
    );
    assert!(
        found["action"].as_str().unwrap().contains("cpu_millis"),
        "{found}"
    );
    until("it has a copy on each node", async || {
        let placed = cluster.rest.placed(&id).await?;
        Ok((placed.iter().filter(|it| it.0 == "a").count() == 2).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_cannot_be_explained() {
    let cluster = Cluster::start(plan(0, Mirror::Without)).await.unwrap();
    for (id, status) in [
        ("nonsense", 400),
        ("00000000-0000-4000-8000-000000000000", 404),
    ] {
        let path = format!("/api/v1/workflows/{id}/explain");
        let sent = cluster.rest.send(reqwest::Method::GET, &path, "").await;
        let (answered, body) = sent.unwrap();
        assert_eq!(answered, status, "{body}");
    }
}
