//! The scenario of the document: services on nodes of their own, a client that nobody started with them; and copies
//! of a service of which one hangs.

use std::process::Command;

use edgeless_tests::{
    cluster::{Cluster, Mirror, NodePlan, OFTEN, Plan},
    wait::until,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    order_ends::{becomes, submit},
    orders::{order, put, service, with_services},
    plan,
};

/// Sends an order and asks until it has ended; prints how.
const CLIENT: &str = r#"
import json, sys, urllib.request
url, client, number = sys.argv[1:]
def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(url + path, data) as answer:
        return json.load(answer)
accepted = ask("/api/v1/orders", {"client": client, "input": int(number)})
while True:
    order = ask("/api/v1/orders/" + accepted["id"])
    if "ended" in order:
        break
print(json.dumps(order))
"#;

/// Three idle services, each on a node of its own, and the contract of `X`.
async fn idle_services() -> Cluster {
    let node = |number: u32| NodePlan {
        resources: false,
        labels: vec![format!("name=n{number}")],
        refresh_interval: OFTEN,
        shards: 1,
    };
    let plan = Plan {
        nodes: (0..3).map(node).collect(),
        mirror: Mirror::Without,
    };
    let cluster = Cluster::start(plan).await.unwrap();
    for class in ["add", "times"] {
        cluster.rest.push(class).await.unwrap();
    }
    for (number, (name, class, by)) in [("A", "add", 2), ("B", "times", 2), ("C", "add", 3)]
        .into_iter()
        .enumerate()
    {
        let annotations = json!({
            "label_match_all": format!("name=n{number}"),
            "init-payload": json!({"by": by, "name": name}).to_string(),
        });
        let more = json!({"annotations": annotations, "call": "message", "min_instances": 0});
        put(
            &cluster,
            &format!("services/{name}"),
            &service(class, &more),
        )
        .await;
    }
    let contract = json!({"tasks": ["A", "B", "C"], "own_tasks": "never", "mode": "trace"});
    put(&cluster, "clients/X", &contract).await;
    for view in cluster
        .rest
        .get("/api/v1/services")
        .await
        .unwrap()
        .as_array()
        .unwrap()
    {
        assert_eq!(view["state"], "off", "{view}");
    }
    cluster
}

/// How an order ended that another process has sent.
async fn sent_by_python(url: String) -> Value {
    let client = tokio::task::spawn_blocking(move || {
        let mut python = Command::new("python3");
        python
            .args(["-c", CLIENT, &url, "X", "5"])
            .output()
            .unwrap()
    });
    let output = client.await.unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_in_another_process_has_its_contract_done_by_services_that_were_idle() {
    let cluster = idle_services().await;
    let end = sent_by_python(cluster.rest.url.clone()).await;
    assert_eq!(end["result"], 17, "{end}");
    assert_eq!(end["client"], "X");
    let trace = end["trace"].as_array().unwrap();
    let results: Vec<&Value> = trace.iter().map(|step| &step["result"]).collect();
    assert_eq!(results, [7, 14, 17]);
    let mut nodes = Vec::new();
    for (name, step) in ["A", "B", "C"].into_iter().zip(trace) {
        let path = format!("/api/v1/services/{name}");
        let view = cluster.rest.get(&path).await.unwrap();
        let state = view["state"].as_str().unwrap();
        assert!(["running", "asleep"].contains(&state), "{view}");
        assert!(view["workflow_id"].is_string(), "{view}");
        let attempt = step["attempts"].as_array().unwrap().last().unwrap();
        let instance = attempt["instance"].as_str().unwrap();
        nodes.push(instance.rsplit('@').next().unwrap().to_owned());
    }
    let expected: Vec<&String> = cluster.nodes.iter().map(|node| &node.node_id).collect();
    assert_eq!(nodes.iter().collect::<Vec<_>>(), expected);
    let refused = json!({"client": "X", "input": 5, "tasks": ["A"]});
    let (status, problem) = order(&cluster, &refused).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
}

/// Where the copies of a vertex of a service run.
async fn nodes_of(cluster: &Cluster, service: &str, vertex: &str) -> Vec<String> {
    let path = format!("/api/v1/services/{service}");
    let view = cluster.rest.get(&path).await.unwrap();
    let workflow = view["workflow_id"].as_str().unwrap();
    let placed = cluster.rest.placed(workflow).await.unwrap();
    let of_vertex = placed.into_iter().filter(|(name, ..)| name == vertex);
    of_vertex.map(|(_, node, _)| node).collect()
}

/// Freezes a node while orders pass through a service with copies on two nodes.
async fn check_frozen(with_source: bool) {
    let cluster = Cluster::start(plan(2, Mirror::Without)).await.unwrap();
    cluster.rest.push("add").await.unwrap();
    let more = json!({
        "min_instances": 2,
        "timeout": "1s",
        "retries": {"attempts": 20, "pause": "1ms"},
    });
    put(&cluster, "services/A", &service("add", &more)).await;
    let copies = until("both copies run", async || {
        let copies = nodes_of(&cluster, "A", "function").await;
        Ok((copies.len() == 2).then_some(copies))
    })
    .await
    .unwrap();
    assert_ne!(copies[0], copies[1], "copies are on nodes of their own");
    let source = nodes_of(&cluster, "A", "tasks").await.remove(0);
    let frozen = match with_source {
        true => source,
        false => copies.into_iter().find(|node| *node != source).unwrap(),
    };
    let node = cluster.nodes.iter().find(|node| node.node_id == frozen);
    let daemon = &node.unwrap().daemon;
    let mut ids = Vec::new();
    for input in 0..200 {
        if input == 50 {
            daemon.signal("STOP").unwrap();
        }
        ids.push(submit(&cluster.rest, &json!({"input": input, "tasks": ["A"]})).await);
    }
    for (input, id) in ids.iter().enumerate() {
        let view = becomes(&cluster.rest, id, "completed").await;
        assert_eq!(view["result"], input + 2, "{view}");
    }
    daemon.signal("CONT").unwrap();
    cluster.all_registered(3).await.unwrap();
    for id in ids {
        let path = format!("/api/v1/orders/{id}/cancel");
        let (status, _) = cluster.rest.send(Method::POST, &path, "").await.unwrap();
        assert_eq!(status, StatusCode::CONFLICT, "an end is an end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_go_on_when_the_node_of_one_copy_hangs() {
    check_frozen(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_go_on_when_the_node_that_takes_the_tasks_hangs() {
    check_frozen(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_service_under_load_loses_no_order() {
    let cluster = with_services(&json!({})).await;
    let mut ids = Vec::new();
    for input in 0..300_u64 {
        if input % 100 == 50 {
            let by = json!({"annotations": {"init-payload": "2"}, "max_instances": input});
            put(&cluster, "services/A", &service("add", &by)).await;
        }
        ids.push(submit(&cluster.rest, &json!({"input": input, "tasks": ["A", "B"]})).await);
    }
    for (input, id) in ids.iter().enumerate() {
        let view = becomes(&cluster.rest, id, "completed").await;
        assert_eq!(view["result"], (input + 2) * 2, "{view}");
    }
}
