//! Operations of a domain: dry runs, draining, updates.

use edgeless_tests::{
    client::function,
    cluster::{Cluster, Mirror},
    process::binary,
    wait::until,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Load, all_logged_once, pipeline, plan, with_pipeline};

const WORKFLOWS: &str = "/api/v1/workflows";

async fn dry_run(cluster: &Cluster, document: &Value) -> Value {
    let path = format!("{WORKFLOWS}?dry_run=true");
    let sent = cluster.rest.send(Method::POST, &path, document.to_string());
    let (status, answer) = sent.await.unwrap();
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer
}

/// What the CLI prints to a pipe.
pub(super) async fn cli(cluster: &Cluster, arguments: &[&str]) -> Result<String, String> {
    let output = tokio::process::Command::new(binary("edgeless_cli").unwrap())
        .env_clear()
        .args(["--url", &cluster.rest.url])
        .args(arguments)
        .output()
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_where_a_workflow_would_go_and_what_excludes_nodes() {
    let cluster = Cluster::start(plan(2, Mirror::Without)).await.unwrap();
    for name in ["http_processor", "double", "noop"] {
        cluster.rest.push(name).await.unwrap();
    }
    let document = pipeline("pipe.test");
    let would = dry_run(&cluster, &document).await;
    assert_eq!(
        (&would["fits"], &would["domain"]),
        (&json!(true), &json!("test-domain"))
    );
    let nothing = json!([]);
    assert_eq!(cluster.rest.get(WORKFLOWS).await.unwrap(), nothing);
    let file = cluster.folder().join("pipeline.json");
    std::fs::write(&file, document.to_string()).unwrap();
    let start = ["workflow", "start", "--dry-run", file.to_str().unwrap()];
    let shown = cli(&cluster, &start).await.unwrap();
    assert_eq!(shown.lines().count(), 4, "{shown}");
    let id = cluster.rest.start(&document).await.unwrap();
    let mut placed = cluster.rest.placed(&id).await.unwrap();
    placed.sort();
    for vertex in would["vertices"].as_array().unwrap() {
        let resources = ["entry", "log"].map(Value::from).contains(&vertex["name"]);
        let node = vertex["nodes"][0].as_str().unwrap();
        assert_eq!(node == cluster.nodes[0].node_id, resources, "{vertex}");
    }

    // Each fits alone; together they ask for more than the node with that label has.
    let cores = cluster
        .rest
        .get("/api/v1/domains/test-domain/nodes")
        .await
        .unwrap()[0]["cores"]
        .as_u64()
        .unwrap();
    let millis = (cores * 600).to_string();
    let large = json!({"label_match_all": "name=f0", "cpu_millis": millis});
    let document = json!({"functions": [
        function("first", "noop", &json!({}), &large),
        function("second", "noop", &json!({}), &large),
    ]});
    let would = dry_run(&cluster, &document).await;
    assert_eq!(would["fits"], false, "{would}");
    assert_eq!(would["vertices"][0]["nodes"][0], cluster.nodes[1].node_id);
    let excluded = json!(["cpu_millis: 1 of 3 nodes", "label_match_all: 2 of 3 nodes"]);
    assert_eq!(would["vertices"][1]["excluded"], excluded, "{would}");
    let reason = would["domains"]["test-domain"].as_str().unwrap();
    assert!(reason.contains("`second`"), "{would}");
    std::fs::write(&file, document.to_string()).unwrap();
    let error = cli(&cluster, &start).await.unwrap_err();
    assert!(error.contains("it would not run"), "{error}");
    let copies = json!({"label_match_all": "name=f0", "cpu_millis": millis, "min_instances": "2"});
    let document = json!({"functions": [function("both", "noop", &json!({}), &copies)]});
    one_of_two_copies_runs(&cluster, &document).await;

    let moon = json!({"label_match_all": "zone=moon"});
    let document = json!({"functions": [function("n", "noop", &json!({}), &moon)]});
    let would = dry_run(&cluster, &document).await;
    let excluded = json!(["label_match_all: 3 of 3 nodes"]);
    assert_eq!(would["vertices"][0]["excluded"], excluded, "{would}");
    let all = cluster.rest.get(WORKFLOWS).await.unwrap();
    assert_eq!(
        all.as_array().unwrap().len(),
        1,
        "nothing of a dry run is left"
    );

    let path = format!("{WORKFLOWS}?dryrun=true");
    let sent = cluster.rest.send(Method::POST, &path, document.to_string());
    let (status, problem) = sent.await.unwrap();
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        problem["detail"].as_str().unwrap().contains("dry_run"),
        "{problem}"
    );
}

/// A start says what `inspect` says: not all runs, and why.
async fn one_of_two_copies_runs(cluster: &Cluster, document: &Value) {
    let sent = cluster
        .rest
        .send(Method::POST, WORKFLOWS, document.to_string());
    let (status, started) = sent.await.unwrap();
    assert_eq!(status, StatusCode::ACCEPTED, "{started}");
    let path = format!("{WORKFLOWS}/{}", started["workflow_id"].as_str().unwrap());
    let looked_at = cluster.rest.get(&path).await.unwrap();
    for shown in [&started, &looked_at] {
        assert_eq!(shown["state"], "waiting", "{shown}");
        let both = &shown["functions"][0];
        assert_eq!(both["instances"].as_array().unwrap().len(), 1, "{shown}");
        let why = both["waiting"].as_str().unwrap();
        assert!(why.contains("cpu_millis"), "{shown}");
    }
    let sent = cluster.rest.send(Method::DELETE, &path, "").await.unwrap();
    assert_eq!(sent.0, StatusCode::NO_CONTENT);
}

/// Why a node takes nothing new, as the CLI shows it, and how many instances it has.
async fn closed(cluster: &Cluster, node_id: &str) -> (String, String) {
    let shown = cli(cluster, &["node", "list"]).await.unwrap();
    let row = shown.lines().find(|row| row.starts_with(node_id)).unwrap();
    let cells: Vec<&str> = row.split('\t').collect();
    (cells[5].to_owned(), cells[4].to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_drained_under_traffic_and_no_request_is_lost() {
    let (cluster, id) = with_pipeline(2, Mirror::Without).await;
    let load = Load::start(cluster.nodes[0].ingress_url.clone(), "pipe.test");
    load.more(50).await;
    let placed = cluster.rest.placed(&id).await.unwrap();
    let drained = &placed.iter().find(|(name, ..)| name == "double").unwrap().1;
    let said = cli(&cluster, &["node", "drain", drained]).await.unwrap();
    assert_eq!(said, format!("node {drained} is draining\n"));
    until("the node is drained", async || {
        let (why, instances) = closed(&cluster, drained).await;
        Ok((why == "no, drained" && instances == "0").then_some(()))
    })
    .await
    .unwrap();
    until("all runs on the other nodes", async || {
        let placed = cluster.rest.placed(&id).await?;
        let elsewhere = placed.iter().all(|(_, node, _)| node != drained);
        Ok((placed.len() == 4 && elsewhere).then_some(()))
    })
    .await
    .unwrap();
    load.more(50).await;
    let accepted = load.end().await;
    let all: Vec<u64> = (1..=accepted.len() as u64).collect();
    assert_eq!(accepted, all, "every request was answered");
    all_logged_once(&cluster, &accepted).await;

    for (verb, why) in [
        ("uncordon", "yes"),
        ("cordon", "no, cordoned"),
        ("uncordon", "yes"),
    ] {
        cli(&cluster, &["node", verb, drained]).await.unwrap();
        assert_eq!(closed(&cluster, drained).await.0, why);
    }
    let nobody = "00000000-0000-4000-8000-000000000000";
    let error = cli(&cluster, &["node", "drain", nobody]).await.unwrap_err();
    assert!(error.contains("there is no node"), "{error}");
    let path = "/api/v1/nodes/somebody/cordon";
    let (status, problem) = cluster.rest.send(Method::POST, path, "").await.unwrap();
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    a_node_that_is_off_is_uncordoned(cluster, drained).await;
}

async fn a_node_that_is_off_is_uncordoned(mut cluster: Cluster, node_id: &str) {
    cli(&cluster, &["node", "drain", node_id]).await.unwrap();
    cluster.node(node_id).unwrap().daemon.kill();
    let is_listed = async |cluster: &Cluster| {
        let shown = cli(cluster, &["node", "list"]).await;
        shown
            .map(|shown| shown.contains(node_id))
            .map_err(anyhow::Error::msg)
    };
    until("the node is gone", async || {
        Ok((!is_listed(&cluster).await?).then_some(()))
    })
    .await
    .unwrap();
    let said = cli(&cluster, &["node", "uncordon", node_id]).await.unwrap();
    assert_eq!(said, format!("node {node_id} is open\n"));
    let again = cli(&cluster, &["node", "uncordon", node_id])
        .await
        .unwrap_err();
    assert!(again.contains("there is no node"), "{again}");
    cluster.node(node_id).unwrap().daemon.restart().unwrap();
    until("the node is back", async || {
        Ok(is_listed(&cluster).await?.then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(closed(&cluster, node_id).await.0, "yes");
}
