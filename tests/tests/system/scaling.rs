//! Functions that are switched off while nobody wants them, and come back with the first request.

use std::{collections::BTreeSet, time::Duration};

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
    for name in ["http_processor", "worker"] {
        cluster.rest.push(name).await.unwrap();
    }
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
        let service = super::orders::service("worker", &json!({"annotations": { key: value }}));
        let path = "/api/v1/services/A";
        let method = reqwest::Method::PUT;
        let sent = cluster.rest.send(method, path, service.to_string());
        let (status, body) = sent.await.unwrap();
        assert!(status.is_client_error(), "{key}: {status} {body}");
        assert!(body.to_string().contains(expected), "{key}: {body}");
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

#[tokio::test(flavor = "multi_thread")]
async fn what_a_function_counts_is_there_after_it_was_switched_off() {
    let mut cluster = Cluster::start(plan(2, Mirror::Without)).await.unwrap();
    for name in ["http_processor", "counter"] {
        cluster.rest.push(name).await.unwrap();
    }
    let functions = json!({"label_match_all": "zone=functions"});
    let mut sleepy = functions.clone();
    sleepy["min_instances"] = "0".into();
    sleepy["max_instances"] = "1".into();
    sleepy["idle_after"] = "300ms".into();
    let document = json!({
        "functions": [
            function("receive", "http_processor", &json!({"out": "count"}), &functions),
            function("count", "counter", &json!({"out": "log"}), &sleepy),
        ],
        "resources": [
            resource("entry", "http-ingress", &json!({"new_request": "receive"}), &json!({"host": "count.test"})),
            resource("log", "file-log", &json!({}), &json!({"filename": "count.log"})),
        ],
    });
    let id = cluster.rest.start(&document).await.unwrap();
    let (http, url) = (reqwest::Client::new(), cluster.nodes[0].ingress_url.clone());
    for round in 1..=3_usize {
        until("it sleeps", async || {
            let path = format!("/api/v1/workflows/{id}");
            let status = cluster.rest.get(&path).await?;
            let functions = status["functions"].as_array().unwrap();
            let count = functions.iter().find(|it| it["name"] == "count").unwrap();
            Ok((count["asleep"] == true && status["state"] == "running").then_some(()))
        })
        .await
        .unwrap();
        if round == 3 {
            // It sleeps on, and what it has saved is in the journal.
            cluster.orc.kill();
            cluster.orc.restart().unwrap();
        }
        assert!(request(&http, &url, "count.test", "7".to_owned()).await);
        until("it has counted", async || {
            Ok((cluster.logged("count.log").len() == round).then_some(()))
        })
        .await
        .unwrap();
    }
    assert_eq!(cluster.logged("count.log"), ["1", "2", "3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_counts_is_there_after_it_has_slept() {
    let mut cluster = Cluster::start(plan(2, Mirror::Without)).await.unwrap();
    cluster.rest.push("counter").await.unwrap();
    let sleepy = json!({"min_instances": 0, "max_instances": 1, "idle_after": "300ms"});
    let service = super::orders::service("counter", &sleepy);
    super::orders::put(&cluster, "services/A", &service).await;
    for round in 1..=4 {
        if round == 3 {
            // It sleeps on, and its workflow is there again.
            cluster.con.kill();
            cluster.con.restart().unwrap();
            cluster.all_registered(cluster.nodes.len()).await.unwrap();
        }
        let order = json!({"input": 7, "tasks": ["A"]});
        let (_, end) = super::orders::order(&cluster, &order).await;
        assert_eq!(end["result"], round, "{end}");
        until("it sleeps", async || {
            let service = cluster.rest.get("/api/v1/services/A").await?;
            let function = function_of(&cluster, "A").await?;
            let sleeps = service["state"] == "asleep" && function["asleep"] == true;
            Ok(sleeps.then_some(()))
        })
        .await
        .unwrap();
    }
    let function = function_of(&cluster, "A").await.unwrap();
    let logical_id = function["logical_id"].as_str().unwrap();
    let path = cluster.dataset.join("scaling_decisions.csv");
    until("it is said why it woke and slept", async || {
        let text = std::fs::read_to_string(&path)?;
        let of_it = text.lines().filter(|line| line.contains(logical_id));
        let of_it: Vec<_> = of_it.collect();
        let is_told = |change: &str| of_it.iter().any(|line| line.contains(change));
        let both =
            is_told(",predictive,1,0,") && is_told(",predictive,0,1,1 wait and nothing runs");
        Ok(both.then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_counts_outlives_a_restart_of_orc_and_then_its_node() {
    let mut cluster = Cluster::start(plan(2, Mirror::Without)).await.unwrap();
    cluster.rest.push("counter").await.unwrap();
    let one = json!({"annotations": {"label_match_all": "zone=functions"}, "max_instances": 1});
    let service = super::orders::service("counter", &one);
    super::orders::put(&cluster, "services/A", &service).await;
    let order = json!({"input": 7, "tasks": ["A"]});
    for round in 1..=3 {
        let (_, end) = super::orders::order(&cluster, &order).await;
        assert_eq!(end["result"], round, "{end}");
    }
    let function = function_of(&cluster, "A").await.unwrap();
    let home = function["instances"][0]["node_id"].as_str().unwrap();
    cluster.orc.kill();
    cluster.orc.restart().unwrap();
    until("the nodes are back", async || {
        let nodes = cluster.orc_http.get("/api/v1/nodes").await?;
        Ok((nodes.as_array().map(Vec::len) == Some(3)).then_some(()))
    })
    .await
    .unwrap();
    cluster.node(home).unwrap().daemon.kill();
    let (_, end) = super::orders::order(&cluster, &order).await;
    assert_eq!(end["result"], 4, "{end}");
}

/// The function of a service.
async fn function_of(cluster: &Cluster, name: &str) -> anyhow::Result<Value> {
    let service = cluster
        .rest
        .get(&format!("/api/v1/services/{name}"))
        .await?;
    let id = service["workflow_id"].as_str().unwrap_or_default();
    let workflow = cluster.rest.get(&format!("/api/v1/workflows/{id}")).await?;
    Ok(workflow["functions"][0].clone())
}

/// How many copies of it run.
async fn copies_of_service(cluster: &Cluster, name: &str) -> anyhow::Result<usize> {
    let function = function_of(cluster, name).await?;
    Ok(function["instances"].as_array().map_or(0, Vec::len))
}

/// Orders that pass `A`, which takes its time, then `B`, which takes a twentieth of it.
async fn send_orders(cluster: &Cluster, number: usize) {
    let order = json!({"input": 7, "tasks": ["A", "B"]}).to_string();
    let batch = vec![order; number].join("\n");
    let path = "/api/v1/orders/batch";
    let sent = cluster.rest.send(reqwest::Method::POST, path, batch).await;
    let (status, body) = sent.unwrap();
    assert!(status.is_success(), "{status} {body}");
}

async fn all_end(cluster: &Cluster, number: usize) {
    until("all orders have ended", async || {
        let figures = cluster.rest.get("/api/v1/orders/figures").await?;
        let ended = figures["ended"] == number && figures["active_orders"] == 0;
        Ok(ended.then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_orders_multiplies_the_service_that_is_slow_and_no_other_until_it_is_over() {
    let cluster = Cluster::start(plan(3, Mirror::Without)).await.unwrap();
    cluster.rest.push("worker").await.unwrap();
    let rounds = |thousands: &str, most: u32| {
        let annotations = json!({"init-payload": thousands});
        super::orders::service(
            "worker",
            &json!({"annotations": annotations, "max_instances": most}),
        )
    };
    for (name, service) in [("A", rounds("20000", 3)), ("B", rounds("1000", 3))] {
        super::orders::put(&cluster, &format!("services/{name}"), &service).await;
    }
    // What each takes is known.
    send_orders(&cluster, 10).await;
    all_end(&cluster, 10).await;
    let one_copy = async || {
        let copies = copies_of_service(&cluster, "A").await?;
        Ok((copies == 1).then_some(()))
    };
    until("it has one copy", one_copy).await.unwrap();
    send_orders(&cluster, 200).await;
    until("the slow one has more copies", async || {
        let copies = copies_of_service(&cluster, "A").await?;
        assert_eq!(copies_of_service(&cluster, "B").await?, 1);
        Ok((copies == 3).then_some(()))
    })
    .await
    .unwrap();
    all_end(&cluster, 210).await;
    until("it has one copy again", one_copy).await.unwrap();
    let function = function_of(&cluster, "B").await.unwrap();
    let logical_id = function["logical_id"].as_str().unwrap();
    let path = cluster.dataset.join("scaling_decisions.csv");
    let decisions = std::fs::read_to_string(path).unwrap();
    assert!(!decisions.contains(logical_id), "{decisions}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_with_state_that_may_have_one_copy_is_never_multiplied() {
    let cluster = Cluster::start(plan(3, Mirror::Without)).await.unwrap();
    cluster.rest.push("worker").await.unwrap();
    let one = json!({"annotations": {"init-payload": "20000", "scale_policy": "predictive"},
        "max_instances": 1});
    let service = super::orders::service("worker", &one);
    super::orders::put(&cluster, "services/A", &service).await;
    super::orders::put(
        &cluster,
        "services/B",
        &super::orders::service("worker", &json!({})),
    )
    .await;
    send_orders(&cluster, 100).await;
    until("all orders have ended", async || {
        assert_eq!(copies_of_service(&cluster, "A").await?, 1);
        let figures = cluster.rest.get("/api/v1/orders/figures").await?;
        Ok((figures["ended"] == 100).then_some(()))
    })
    .await
    .unwrap();
}

/// The copies of a service that run.
async fn ids_of_service(cluster: &Cluster, name: &str) -> BTreeSet<String> {
    let function = function_of(cluster, name).await.unwrap();
    let instances = function["instances"].as_array().cloned();
    let instances = instances.unwrap_or_default().into_iter();
    let ids = instances.map(|it| it["physical_id"].as_str().unwrap_or_default().to_owned());
    ids.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bounds_under_load_leave_copies_and_what_they_do() {
    let cluster = Cluster::start(plan(3, Mirror::Without)).await.unwrap();
    cluster.rest.push("worker").await.unwrap();
    let bounds = |least: u32, most: u32| {
        let fields = json!({
            "annotations": {"init-payload": "20000"}, "min_instances": least, "max_instances": most,
            "retries": {"attempts": 1},
        });
        super::orders::service("worker", &fields)
    };
    super::orders::put(&cluster, "services/A", &bounds(2, 2)).await;
    let both = async || Ok((copies_of_service(&cluster, "A").await? == 2).then_some(()));
    until("both run", both).await.unwrap();
    let before = ids_of_service(&cluster, "A").await;
    let order = json!({"input": 7, "tasks": ["A"]}).to_string();
    let path = "/api/v1/orders/batch";
    let sent = cluster
        .rest
        .send(reqwest::Method::POST, path, vec![order; 100].join("\n"));
    assert!(sent.await.unwrap().0.is_success());
    for (least, most) in [(2, 3), (3, 3)] {
        super::orders::put(&cluster, "services/A", &bounds(least, most)).await;
        let now = ids_of_service(&cluster, "A").await;
        assert!(before.is_subset(&now), "{before:?} {now:?}");
    }
    all_end(&cluster, 100).await;
    let service = cluster.rest.get("/api/v1/services/A").await.unwrap();
    let done = &service["figures"]["done"];
    assert_eq!(*done, 100, "one attempt was enough: {service}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_grows_gets_copies_before_the_next_refresh() {
    let mut plan = plan(3, Mirror::Without);
    for node in &mut plan.nodes {
        node.refresh_interval = Duration::from_mins(5);
    }
    let cluster = Cluster::start(plan).await.unwrap();
    for name in ["message_generator", "worker"] {
        cluster.rest.push(name).await.unwrap();
    }
    // Ten messages a second, each of which takes longer than a tenth of one.
    let near = json!({"label_match_all": "zone=resources", "init-payload": "100"});
    let slow = json!({"label_match_all": "zone=functions", "init-payload": "200000", "max_instances": "3"});
    let document = json!({"functions": [
        function("source", "message_generator", &json!({"out": "answer"}), &near),
        function("answer", "worker", &json!({}), &slow),
    ]});
    let id = cluster.rest.start(&document).await.unwrap();
    until("it has more copies", async || {
        Ok((copies(&cluster, &id).await? > 1).then_some(()))
    })
    .await
    .unwrap();
}
