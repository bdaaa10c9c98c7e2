//! Waiting for a place, intents, and state that follows its function.

use edgeless_tests::{
    client::{function, resource},
    cluster::{Cluster, Mirror, NodePlan, OFTEN},
    wait::until,
};
use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{logical_id, plan, with_pipeline};

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_run_is_refused_or_waits_and_says_why() {
    let mut cluster = Cluster::start(plan(1, Mirror::Without)).await.unwrap();
    cluster.rest.push("noop").await.unwrap();
    let special = json!({"label_match_all": "zone=moon"});
    let document = json!({"functions": [function("n", "noop", &json!({}), &special)]}).to_string();
    let path = "/api/v1/workflows";
    let (status, body) = cluster
        .rest
        .send(Method::POST, path, document.clone())
        .await
        .unwrap();
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(
        body["detail"].as_str().unwrap().contains("zone=moon"),
        "{body}"
    );
    assert_eq!(
        cluster.rest.get(path).await.unwrap(),
        json!([]),
        "nothing of it is left"
    );

    let waiting = format!("{path}?wait=true");
    let (status, body) = cluster
        .rest
        .send(Method::POST, &waiting, document)
        .await
        .unwrap();
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(body["state"], "waiting");
    let id = body["workflow_id"].as_str().unwrap().to_owned();

    let config = std::fs::read_to_string(cluster.folder().join("node-0.toml")).unwrap();
    let register = config
        .lines()
        .find_map(|line| line.strip_prefix("node_register_url = "));
    let register = register.unwrap().replace('"', "");
    let node = NodePlan {
        resources: false,
        labels: vec!["zone=moon".to_owned()],
        refresh_interval: OFTEN,

        shards: 1,
    };
    cluster.add_node(&node, &register).unwrap();
    until("it runs when the node is there", async || {
        let status = cluster.rest.get(&format!("{path}/{id}")).await?;
        Ok((status["state"] == "running").then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn state_follows_its_function_in_a_migration() {
    let cluster = Cluster::start(plan(2, Mirror::Without)).await.unwrap();
    cluster.rest.push("counter").await.unwrap();
    let document = json!({
        "functions": [
            function("counter", "counter", &json!({}), &json!({"label_match_all": "zone=functions"})),
        ],
        "resources": [
            resource("entry", "http-ingress", &json!({"new_request": "counter"}), &json!({"host": "count.test"})),
        ],
    });
    let id = cluster.rest.start(&document).await.unwrap();
    let http = reqwest::Client::new();
    let count = async || {
        let request = http
            .post(&cluster.nodes[0].ingress_url)
            .header("host", "count.test");
        request.send().await.unwrap().text().await.unwrap()
    };
    for number in 1..=5 {
        assert_eq!(count().await, number.to_string());
    }
    let lid = logical_id(&cluster.rest, &id, "counter").await;
    let placed = cluster.rest.placed(&id).await.unwrap();
    let home = &placed
        .iter()
        .find(|(name, ..)| name == "counter")
        .unwrap()
        .1;
    let other = cluster.nodes[1..]
        .iter()
        .find(|node| node.node_id != *home)
        .unwrap();
    // What was saved has travelled with a refresh by then, or goes with the stop.
    let intent = json!({"key": format!("intent:migrate:{lid}"), "value": other.node_id});
    until("the state is known", async || {
        let state = cluster.state("instance:").await?;
        Ok(state.to_string().contains(&lid).then_some(()))
    })
    .await
    .unwrap();
    let (status, body) = post_json(&cluster, "/api/v1/intents", &intent).await;
    assert_eq!(status, 200, "{body}");
    until("it has moved", async || {
        let placed = cluster.rest.placed(&id).await?;
        let counter = placed.iter().find(|(name, ..)| name == "counter");
        Ok(counter
            .is_some_and(|(_, node, _)| *node == other.node_id)
            .then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(count().await, "6");
}

pub(super) async fn post_json(
    cluster: &Cluster,
    path: &str,
    body: &serde_json::Value,
) -> (StatusCode, serde_json::Value) {
    let url = format!("{}{path}", cluster.orc_http.url);
    let response = reqwest::Client::new()
        .post(url)
        .json(body)
        .send()
        .await
        .unwrap();
    (response.status(), response.json().await.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn intents_that_make_no_sense_are_refused_with_the_reason() {
    let (cluster, id) = with_pipeline(1, Mirror::Without).await;
    let nobody = "00000000-0000-4000-8000-000000000000";
    let lid = logical_id(&cluster.rest, &id, "log").await;
    let functions_only = cluster.nodes[1].node_id.clone();
    for (key, value, says) in [
        ("intent:fly:away".to_owned(), String::new(), "is none of"),
        (
            format!("intent:cordon:{nobody}"),
            String::new(),
            "not known",
        ),
        (
            format!("intent:migrate:{nobody}"),
            functions_only.clone(),
            "not known",
        ),
        (
            format!("intent:migrate:{lid}"),
            nobody.to_owned(),
            "not known",
        ),
        (
            format!("intent:migrate:{lid}"),
            "here".to_owned(),
            "not a UUID",
        ),
        (
            format!("intent:migrate:{lid}"),
            functions_only,
            "resource class",
        ),
    ] {
        let intent = json!({"key": key, "value": value});
        let (status, body) = post_json(&cluster, "/api/v1/intents", &intent).await;
        assert!(status.is_client_error(), "{key}: {status}");
        assert!(
            body["refused"].as_str().unwrap().contains(says),
            "{key}: {body}"
        );
    }
    let outcomes = cluster
        .orc_http
        .get("/api/v1/intents/outcomes")
        .await
        .unwrap();
    assert_eq!(outcomes.as_array().unwrap().len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cordoned_node_gets_nothing_new_until_it_is_uncordoned() {
    let cluster = Cluster::start(plan(1, Mirror::Without)).await.unwrap();
    cluster.rest.push("noop").await.unwrap();
    let node_id = cluster.nodes[1].node_id.clone();
    let intent = json!({"key": format!("intent:cordon:{node_id}")});
    assert_eq!(post_json(&cluster, "/api/v1/intents", &intent).await.0, 200);
    let only = json!({"label_match_all": "zone=functions"});
    let document = json!({"functions": [function("n", "noop", &json!({}), &only)]}).to_string();
    let path = "/api/v1/workflows?wait=true";
    let (status, body) = cluster
        .rest
        .send(Method::POST, path, document)
        .await
        .unwrap();
    assert_eq!(status, StatusCode::ACCEPTED);
    let waiting = body["functions"][0]["waiting"].as_str().unwrap();
    assert!(waiting.contains("cordoned"), "{waiting}");
    let id = body["workflow_id"].as_str().unwrap();
    let intent = json!({"key": format!("intent:uncordon:{node_id}")});
    assert_eq!(post_json(&cluster, "/api/v1/intents", &intent).await.0, 200);
    until("it runs", async || {
        let status = cluster.rest.get(&format!("/api/v1/workflows/{id}")).await?;
        Ok((status["state"] == "running").then_some(()))
    })
    .await
    .unwrap();
}
