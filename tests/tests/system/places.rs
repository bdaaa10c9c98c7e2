//! Who gets which place: priorities in a full domain, a rebalance on request, nodes that come and go.

use edgeless_tests::{
    client::function,
    cluster::{Cluster, Mirror},
    wait::until,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{operations::cli, placing::post_json, plan};

const WORKFLOWS: &str = "/api/v1/workflows";

/// A function that takes so many hundredths of the processors of a node.
async fn asking(cluster: &Cluster, name: &str, hundredths: u64, requirements: &Value) -> Value {
    let nodes = cluster.orc_http.get("/api/v1/nodes").await.unwrap();
    let cores = nodes[0]["capabilities"]["num_cores"].as_u64().unwrap();
    let mut annotations = requirements.clone();
    annotations["cpu_millis"] = json!((cores * 10 * hundredths).to_string());
    function(name, "noop", &json!({}), &annotations)
}

/// On the node for functions only, with a priority.
fn only(priority: &str) -> Value {
    json!({"label_match_all": "zone=functions", "priority": priority})
}

/// Starts a workflow of these functions, which may have to wait; its id, and the answer.
async fn start(cluster: &Cluster, functions: &[Value]) -> (String, Value) {
    let document = json!({ "functions": functions }).to_string();
    let path = format!("{WORKFLOWS}?wait=true");
    let sent = cluster.rest.send(Method::POST, &path, document);
    let (status, answer) = sent.await.unwrap();
    assert!(status.is_success(), "{answer}");
    let id = answer["workflow_id"].as_str().unwrap().to_owned();
    (id, answer)
}

async fn is_in_state(cluster: &Cluster, id: &str, state: &str) {
    until(state, async || {
        let status = cluster.rest.get(&format!("{WORKFLOWS}/{id}")).await?;
        Ok((status["state"] == state).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_higher_priority_takes_the_place_of_a_lower_one_which_waits_until_it_is_gone() {
    let cluster = Cluster::start(plan(1, Mirror::Without)).await.unwrap();
    cluster.rest.push("noop").await.unwrap();
    let low = asking(&cluster, "low", 60, &only("0")).await;
    let (low, _) = start(&cluster, &[low]).await;
    is_in_state(&cluster, &low, "running").await;
    let high = asking(&cluster, "high", 60, &only("5")).await;
    let (high, _) = start(&cluster, &[high]).await;
    is_in_state(&cluster, &high, "running").await;
    is_in_state(&cluster, &low, "waiting").await;
    let path = format!("{WORKFLOWS}/{high}");
    let stopped = cluster.rest.send(Method::DELETE, &path, "").await.unwrap();
    assert_eq!(stopped.0, StatusCode::NO_CONTENT);
    is_in_state(&cluster, &low, "running").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebalance_that_is_asked_for_moves_functions_to_an_empty_node() {
    let cluster = Cluster::start(plan(1, Mirror::Without)).await.unwrap();
    cluster.rest.push("noop").await.unwrap();
    let empty = cluster.nodes[0].node_id.as_str();
    cli(&cluster, &["node", "cordon", empty]).await.unwrap();
    let mut functions = Vec::new();
    for name in ["a", "b", "c", "d"] {
        functions.push(asking(&cluster, name, 20, &json!({})).await);
    }
    let (id, _) = start(&cluster, &functions).await;
    is_in_state(&cluster, &id, "running").await;
    cli(&cluster, &["node", "uncordon", empty]).await.unwrap();
    let there = async || {
        let placed = cluster.rest.placed(&id).await?;
        let there = placed.iter().filter(|(_, node, _)| node == empty).count();
        Ok::<_, anyhow::Error>((placed.len(), there))
    };
    assert_eq!(there().await.unwrap(), (4, 0));
    let intent = json!({"key": "intent:rebalance:domain", "value": ""});
    assert_eq!(post_json(&cluster, "/api/v1/intents", &intent).await.0, 200);
    until("some of them run on the other node", async || {
        let (all, there) = there().await?;
        Ok((all == 4 && (1..4).contains(&there)).then_some(()))
    })
    .await
    .unwrap();
    is_in_state(&cluster, &id, "running").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_and_goes_gets_nothing_new_until_it_is_freed() {
    let mut cluster = Cluster::start(plan(1, Mirror::Without)).await.unwrap();
    cluster.rest.push("noop").await.unwrap();
    let path = cluster.folder().join("orchestrator.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("[baseline]\n", "[baseline]\nflap_times = 2\n");
    std::fs::write(&path, text).unwrap();
    cluster.orc.kill();
    cluster.orc.restart().unwrap();
    let node_id = cluster.nodes[1].node_id.clone();
    are_registered(&cluster, 2).await;
    for _ in 0..2 {
        cluster.node(&node_id).unwrap().daemon.kill();
        are_registered(&cluster, 1).await;
        cluster.node(&node_id).unwrap().daemon.restart().unwrap();
        are_registered(&cluster, 2).await;
    }
    cluster.all_registered(2).await.unwrap();
    let wants_it = asking(&cluster, "f", 10, &only("0")).await;
    let (id, answer) = start(&cluster, &[wants_it]).await;
    assert_eq!(answer["state"], "waiting", "{answer}");
    let listed = cli(&cluster, &["node", "list"]).await.unwrap();
    let rests = "came and went too often, rests for another";
    assert!(listed.contains(rests), "{listed}");
    let uncordon = ["node", "uncordon", &node_id];
    cli(&cluster, &uncordon).await.unwrap();
    is_in_state(&cluster, &id, "running").await;
}

/// Waits until ε-ORC has so many nodes.
async fn are_registered(cluster: &Cluster, number: usize) {
    until("all nodes that are there are registered", async || {
        let nodes = cluster.orc_http.get("/api/v1/nodes").await?;
        Ok((nodes.as_array().map(Vec::len) == Some(number)).then_some(()))
    })
    .await
    .unwrap();
}
