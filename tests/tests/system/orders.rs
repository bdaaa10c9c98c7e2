//! Orders: services, messages of both kinds, and what is known of them.

use edgeless_tests::{
    cluster::{Cluster, Mirror},
    wait::until,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::plan;

/// A service that is one of the example functions.
pub(super) fn service(class: &str, more: &Value) -> Value {
    let mut spec = json!({
        "class_specification": {"id": class, "version": "0.1", "function_type": "RUST_WASM"},
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

/// Defines a service; it must be taken.
pub(super) async fn put(cluster: &Cluster, path: &str, document: &Value) -> Value {
    let path = format!("/api/v1/{path}");
    let (status, body) = cluster
        .rest
        .send(Method::PUT, &path, document.to_string())
        .await
        .unwrap();
    assert!(status.is_success(), "{path}: {status} {body}");
    body
}

/// Sends an order and waits for its end.
pub(super) async fn order(cluster: &Cluster, document: &Value) -> (StatusCode, Value) {
    let path = "/api/v1/orders?wait=20s";
    cluster
        .rest
        .send(Method::POST, path, document.to_string())
        .await
        .unwrap()
}

/// `A` adds two and `B` doubles, on nodes of their own.
pub(super) async fn with_services(more: &Value) -> Cluster {
    let cluster = Cluster::start(plan(2, Mirror::Without)).await.unwrap();
    for class in ["add", "times"] {
        cluster.rest.push(class).await.unwrap();
    }
    put(&cluster, "services/A", &service("add", more)).await;
    put(&cluster, "services/B", &service("times", more)).await;
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn both_examples_of_messages_come_to_their_results() {
    let cluster = with_services(&json!({"call": "message"})).await;
    for (tasks, mode, result) in [
        (json!(["A", "B"]), "slip", 14),
        (json!(["B", "A"]), "trace", 12),
        (json!(["B", "A"]), "slip", 12),
        (json!(["A", "B", "A"]), "trace", 16),
    ] {
        let document = json!({"input": 5, "tasks": tasks, "mode": mode});
        let (status, end) = order(&cluster, &document).await;
        assert_eq!(
            (status, &end["result"]),
            (StatusCode::OK, &json!(result)),
            "{document}: {end}"
        );
        let path = format!("/api/v1/orders/{}", end["id"].as_str().unwrap());
        let view = cluster.rest.get(&path).await.unwrap();
        assert_eq!(view["state"], "completed");
        assert_eq!(
            view["trace"].as_array().unwrap().len(),
            tasks.as_array().unwrap().len()
        );
        assert_eq!(view["trace"][0]["attempts"][0]["attempt"], 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_brings_tasks_to_a_function_runs_beside_it() {
    let cluster = with_services(&json!({})).await;
    let workflows = cluster.rest.get("/api/v1/workflows").await.unwrap();
    let workflows = workflows.as_array().unwrap();
    assert_eq!(workflows.len(), 2, "{workflows:?}");
    for workflow in workflows {
        let id = workflow["workflow_id"].as_str().unwrap();
        until("function and source are on one node", async || {
            let placed = cluster.rest.placed(id).await?;
            let together = placed.len() == 2 && placed[0].1 == placed[1].1;
            Ok(together.then_some(()))
        })
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_domain_is_told_what_orders_want_of_services() {
    let cluster = with_services(&json!({})).await;
    let path = "/api/v1/services/B/pause";
    let (status, view) = cluster.rest.send(Method::POST, path, "").await.unwrap();
    assert_eq!((status, &view["state"]), (StatusCode::OK, &json!("paused")));
    for input in 0..5 {
        let order = json!({"input": input, "tasks": ["A", "B", "B"]}).to_string();
        let sent = cluster
            .rest
            .send(Method::POST, "/api/v1/orders", order)
            .await;
        assert_eq!(sent.unwrap().0, StatusCode::ACCEPTED);
    }
    until("ε-ORC knows that B has ten tasks to do", async || {
        let demand = cluster.orc_http.get("/api/v1/order_demand").await?;
        let mut demands = demand.as_object().unwrap().values();
        let found = demands.find(|of| of["tasks_to_do"] == 10 && of["waiting"] == 5);
        Ok(found.cloned())
    })
    .await
    .unwrap();
    let (status, _) = cluster
        .rest
        .send(Method::POST, "/api/v1/services/B/resume", "")
        .await
        .unwrap();
    assert_eq!(status, StatusCode::OK);
    until("all orders are completed", async || {
        let page = cluster.rest.get("/api/v1/orders?state=completed").await?;
        Ok((page["orders"].as_array().unwrap().len() == 5).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_service_sleeps_and_the_next_order_wakes_it() {
    let cluster = with_services(&json!({"min_instances": 0, "idle_after": "300ms"})).await;
    let state = async |name: &str| {
        let view = cluster
            .rest
            .get(&format!("/api/v1/services/{name}"))
            .await?;
        anyhow::Ok(view["state"].as_str().unwrap().to_owned())
    };
    assert_eq!(state("A").await.unwrap(), "off");
    for input in 5..10 {
        let (_, end) = order(&cluster, &json!({"input": input, "tasks": ["A", "B"]})).await;
        assert_eq!(end["result"], (input + 2) * 2, "{end}");
        until("both sleep", async || {
            let asleep = [state("A").await?, state("B").await?] == ["asleep", "asleep"];
            Ok(asleep.then_some(()))
        })
        .await
        .unwrap();
    }
    let figures = cluster.rest.get("/api/v1/orders/figures").await.unwrap();
    assert_eq!(figures["services_asleep"], 2, "{figures}");
    assert_eq!(figures["copies"], 0, "{figures}");
    let workflows = cluster.rest.get("/api/v1/workflows").await.unwrap();
    assert_eq!(workflows.as_array().unwrap().len(), 2, "they stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_changes_of_an_order_end_with_its_end() {
    let cluster = with_services(&json!({})).await;
    let (_, end) = order(&cluster, &json!({"input": 5, "tasks": ["A"]})).await;
    let events = async |id: &Value| {
        let path = format!("/api/v1/orders/{}/events", id.as_str().unwrap());
        let text = cluster.rest.get(&path).await.unwrap();
        let text = text.as_str().unwrap().to_owned();
        let states = text.lines().filter_map(|line| line.strip_prefix("event: "));
        states.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(events(&end["id"]).await, ["completed"]);
    let document = json!({"input": 5, "tasks": ["A"], "delay": "100ms"}).to_string();
    let path = "/api/v1/orders";
    let (_, accepted) = cluster
        .rest
        .send(Method::POST, path, document)
        .await
        .unwrap();
    assert_eq!(events(&accepted["id"]).await, ["waiting", "completed"]);
}
