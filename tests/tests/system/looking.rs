//! Looking at what runs: queues and times on a node, its metrics, pauses, and messages as they pass.

use std::process::Stdio;

use edgeless_tests::{cluster::Mirror, process::binary, wait::until};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{request, with_pipeline};

/// What a node says of an instance.
async fn seen(http: &reqwest::Client, node: &str, physical_id: &str) -> anyhow::Result<Value> {
    let answer = http.get(format!("{node}/api/v1/instances")).send().await?;
    let all: Vec<Value> = answer.json().await?;
    let found = all.into_iter().find(|it| it["physical_id"] == physical_id);
    found.ok_or_else(|| anyhow::anyhow!("{physical_id} is not there"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_shows_queues_and_times_and_a_paused_function_keeps_its_requests() {
    let (cluster, id) = with_pipeline(1, Mirror::Without).await;
    let placed = cluster.rest.placed(&id).await.unwrap();
    let (_, node_id, function) = placed.iter().find(|(it, ..)| it == "receive").unwrap();
    let node = cluster
        .nodes
        .iter()
        .find(|it| it.node_id == *node_id)
        .unwrap();
    let (http, status) = (reqwest::Client::new(), &node.status_url);
    let url = cluster.nodes[0].ingress_url.clone();
    for number in 0..10 {
        assert!(request(&http, &url, "pipe.test", number.to_string()).await);
    }
    let receive = seen(&http, status, function).await.unwrap();
    assert_eq!(
        (&receive["state"], &receive["events"]),
        (&"running".into(), &10.into())
    );
    assert_eq!(receive["workflow_id"], Value::from(id.as_str()));
    assert_eq!(receive["transfer"][0]["events"], 10);
    assert_eq!(receive["outputs"][0]["targets"][0]["sent"], 10);
    assert!(receive["execution"]["max"].as_f64().unwrap() > 0.0);
    let metrics = http.get(format!("{status}/metrics")).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let line = format!("edgeless_node_instance_events_total{{instance=\"{function}\"}} 10");
    assert!(metrics.contains(&line), "{metrics}");
    assert!(
        metrics.contains("edgeless_node_edge_transfer_seconds{"),
        "{metrics}"
    );

    let post = async |verb: &str| {
        let url = format!("{status}/api/v1/instances/{function}/{verb}");
        http.post(url).send().await.unwrap().status().as_u16()
    };
    assert_eq!(post("pause").await, 204);
    let waiting = tokio::spawn({
        let http = http.clone();
        async move { request(&http, &url, "pipe.test", "7".to_owned()).await }
    });
    until("the request waits", async || {
        let receive = seen(&http, status, function).await?;
        Ok((receive["queued"] == 1 && receive["state"] == "paused").then_some(()))
    })
    .await
    .unwrap();
    assert!(!waiting.is_finished());
    assert_eq!(post("resume").await, 204);
    assert!(waiting.await.unwrap(), "it is answered after all");
    let nobody = format!("{status}/api/v1/instances/{id}/pause");
    assert_eq!(http.post(nobody).send().await.unwrap().status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_shown_as_they_pass() {
    let (cluster, id) = with_pipeline(1, Mirror::Without).await;
    let rest = &cluster.rest.url;
    let mut tap = tokio::process::Command::new(binary("edgeless_cli").unwrap())
        .args([
            "--url",
            rest,
            "--json",
            "tap",
            &format!("{id}/double"),
            "--contains",
            "4",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tap.stdout.take().unwrap()).lines();
    let http = reqwest::Client::new();
    let url = &cluster.nodes[0].ingress_url;
    let send = async {
        // The tap opens some time after it was started.
        loop {
            for number in [1, 21, 42] {
                request(&http, url, "pipe.test", number.to_string()).await;
            }
        }
    };
    let look = async {
        let mut shown: Vec<Value> = Vec::new();
        while shown.len() < 6 {
            let line = lines.next_line().await.unwrap().expect("it goes on");
            shown.push(serde_json::from_str(&line).unwrap());
        }
        shown
    };
    let shown = tokio::select! {
        shown = look => shown,
        () = send => unreachable!("it sends for ever"),
    };
    // Of 21, only what goes out contains a 4; of 42, what comes in and what goes out.
    let payloads: Vec<&str> = shown
        .iter()
        .filter_map(|it| it["payload"].as_str())
        .collect();
    assert!(payloads.iter().all(|it| it.contains('4')), "{payloads:?}");
    assert!(
        shown
            .iter()
            .any(|it| it["channel"] == "out" && it["payload"] == "84")
    );
    assert!(
        shown
            .iter()
            .any(|it| it["source"].is_string() && it["payload"] == "42")
    );
    let path = format!("/api/v1/workflows/{id}");
    let stopped = cluster.rest.send(reqwest::Method::DELETE, &path, "").await;
    assert!(stopped.unwrap().0.is_success());
    let ended = tap.wait_with_output().await.unwrap();
    let text = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{text}");
    assert!(text.contains("has ended or moved"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_function_that_runs_nowhere_is_seen_by_the_orchestrator() {
    let (mut cluster, id) = with_pipeline(1, Mirror::Without).await;
    let placed = cluster.rest.placed(&id).await.unwrap();
    let receive = placed.iter().find(|(name, ..)| name == "receive").unwrap();
    let (http, url) = (reqwest::Client::new(), cluster.nodes[0].ingress_url.clone());
    assert!(request(&http, &url, "pipe.test", "1".to_owned()).await);
    let functions = cluster
        .nodes
        .iter()
        .position(|it| it.node_id == receive.1)
        .unwrap();
    cluster.nodes[functions].daemon.kill();
    // It gives up after a while; by then the orchestrator knows that it waits.
    let waiting = tokio::spawn(async move {
        loop {
            request(&http, &url, "pipe.test", "2".to_owned()).await;
        }
    });
    until("the orchestrator knows", async || {
        let demand = cluster.orc_http.get("/api/v1/demand").await?;
        let waits = demand.as_object().and_then(|it| it.values().next());
        Ok(waits.and_then(Value::as_u64).filter(|&it| it > 0))
    })
    .await
    .unwrap();
    waiting.abort();
}
