//! Functions that are switched off while nobody wants them, and come back with the first request.

use edgeless_tests::{
    client::{function, resource},
    cluster::{Cluster, Mirror},
    wait::until,
};
use serde_json::{Value, json};

use super::{plan, request};

/// Ingress → `answer`, which may sleep.
fn sleepy(more: &Value) -> Value {
    let mut annotations = json!({"label_match_all": "zone=functions", "min_instances": "0"});
    for (key, value) in more.as_object().unwrap() {
        annotations[key] = value.clone();
    }
    let entry = json!({"host": "sleepy.test", "timeout": "20s"});
    json!({
        "name": "sleepy",
        "functions": [function("answer", "http_processor", &json!({}), &annotations)],
        "resources": [resource("entry", "http-ingress", &json!({"new_request": "answer"}), &entry)],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_annotations_of_scaling_are_refused_with_what_to_mend() {
    let cluster = Cluster::start(plan(1, Mirror::Without)).await.unwrap();
    cluster.rest.push("http_processor").await.unwrap();
    for (key, value, expected) in [
        ("scale_policy", "magic", "`predictive`"),
        ("idle_after", "soon", "idle_after"),
        ("target_utilisation", "7", "target_utilisation"),
        ("min_instances", "-1", "min_instances"),
    ] {
        let document = sleepy(&json!({ key: value })).to_string();
        let path = "/api/v1/workflows";
        let sent = cluster.rest.send(reqwest::Method::POST, path, document);
        let (status, body) = sent.await.unwrap();
        assert!(status.is_client_error(), "{key}: {status} {body}");
        assert!(body.to_string().contains(expected), "{key}: {body}");
        assert_eq!(cluster.rest.get(path).await.unwrap(), json!([]), "{key}");
    }
}

async fn copies(cluster: &Cluster, id: &str) -> anyhow::Result<usize> {
    let placed = cluster.rest.placed(id).await?;
    Ok(placed.iter().filter(|(name, ..)| name == "answer").count())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_function_is_switched_off_and_the_next_request_waits_until_it_runs() {
    let cluster = Cluster::start(plan(2, Mirror::Without)).await.unwrap();
    cluster.rest.push("http_processor").await.unwrap();
    let document = sleepy(&json!({"idle_after": "500ms"}));
    let id = cluster.rest.start(&document).await.unwrap();
    let (http, url) = (reqwest::Client::new(), cluster.nodes[0].ingress_url.clone());
    for round in 0..3 {
        until("it is switched off", async || {
            Ok((copies(&cluster, &id).await? == 0).then_some(()))
        })
        .await
        .unwrap();
        let answered = request(&http, &url, "sleepy.test", "7".to_owned()).await;
        assert!(answered, "round {round}");
        assert_eq!(copies(&cluster, &id).await.unwrap(), 1);
    }
    let path = cluster.dataset.join("scaling_decisions.csv");
    until("decisions are recorded with their reasons", async || {
        let text = std::fs::read_to_string(&path)?;
        let is_told = |change: &str| text.lines().any(|line| line.contains(change));
        let both = is_told(",predictive,1,0,") && is_told(",predictive,0,1,");
        Ok(both.then_some(()))
    })
    .await
    .unwrap();
}
