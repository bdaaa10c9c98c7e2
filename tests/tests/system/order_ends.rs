//! How orders end whose services are endpoints outside: retries, dead letters, deadlines, what is taken back.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use edgeless_tests::{
    client::Rest,
    cluster::{Cluster, Mirror, Plan},
    process::free_port,
    wait::until,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    order_endpoint::{Came, Endpoint, Reply},
    orders::{order, put},
};

/// ε-CON and ε-ORC without a node.
pub(super) async fn without_nodes() -> Cluster {
    let plan = Plan {
        nodes: Vec::new(),
        mirror: Mirror::Without,
    };
    Cluster::start(plan).await.unwrap()
}

/// Defines a service that is an endpoint.
pub(super) async fn endpoint(cluster: &Cluster, name: &str, url: &str, more: &Value) {
    let mut spec = json!({"url": url, "retries": {"pause": "1ms"}});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    put(cluster, &format!("services/{name}"), &spec).await;
}

/// A task that adds one.
pub(super) fn plus_one(came: &Came) -> Reply {
    Reply::ok(&json!(came.body.as_i64().unwrap() + 1))
}

/// Sends something that has no body and must be taken.
pub(super) async fn post(rest: &Rest, path: &str) -> Value {
    let path = format!("/api/v1/{path}");
    let (status, body) = rest.send(Method::POST, &path, "").await.unwrap();
    assert!(status.is_success(), "{path}: {status} {body}");
    body
}

/// Sends an order that must be accepted; its id.
pub(super) async fn submit(rest: &Rest, document: &Value) -> String {
    let path = "/api/v1/orders";
    let body = document.to_string();
    let (status, body) = rest.send(Method::POST, path, body).await.unwrap();
    assert_eq!(status, StatusCode::ACCEPTED, "{document}: {body}");
    body["id"].as_str().unwrap().to_owned()
}

pub(super) async fn look(rest: &Rest, id: &str) -> Value {
    rest.get(&format!("/api/v1/orders/{id}")).await.unwrap()
}

/// Waits until an order is like this.
pub(super) async fn becomes(rest: &Rest, id: &str, state: &str) -> Value {
    until(state, async || {
        let view = rest.get(&format!("/api/v1/orders/{id}")).await?;
        anyhow::ensure!(view["state"] == state, "{view}");
        Ok(Some(view))
    })
    .await
    .unwrap()
}

/// The problems of the attempts of a task.
fn problems(view: &Value, step: usize) -> Vec<String> {
    let attempts = view["trace"][step]["attempts"].as_array().unwrap();
    let problem = |attempt: &Value| attempt["problem"].as_str().map(str::to_owned);
    attempts.iter().filter_map(problem).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_told_order_task_and_attempt_and_what_passes_by_is_tried_again() {
    let cluster = without_nodes().await;
    let flaky = Endpoint::start(|came| match came.number {
        0 => Reply::With(500, "a moment".to_owned()),
        1 => Reply::With(429, String::new()),
        2 => Reply::With(200, "no JSON".to_owned()),
        _ => plus_one(came),
    })
    .await;
    endpoint(&cluster, "A", &flaky.url, &json!({})).await;
    let (status, end) = order(&cluster, &json!({"input": 5, "tasks": ["A", "A"]})).await;
    assert_eq!(
        (status, &end["result"]),
        (StatusCode::OK, &json!(7)),
        "{end}"
    );
    let id = end["id"].as_str().unwrap();
    let view = look(&cluster.rest, id).await;
    let problems = problems(&view, 0);
    assert_eq!(
        problems[..2],
        [
            "500 Internal Server Error: a moment",
            "429 Too Many Requests"
        ]
    );
    assert!(
        problems[2].contains("makes no sense"),
        "{problems:?}: {view}"
    );
    let came = flaky.came();
    assert_eq!(came.len(), 5);
    for (number, attempt, task) in [
        (0, 1, "A"),
        (1, 2, "A"),
        (2, 3, "A"),
        (3, 4, "A"),
        (4, 1, "A#2"),
    ] {
        let came = &came[number];
        let key = format!("{id}/{task}");
        assert_eq!(
            [&came.order, &came.task, &came.attempt, &came.key],
            [id, task, &attempt.to_string(), &key]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_endpoint_refuses_is_not_tried_again_and_what_hangs_is_given_up() {
    let cluster = without_nodes().await;
    let twice = json!({"timeout": "50ms", "retries": {"attempts": 2, "pause": "1ms"}});
    let long = "9".repeat(1 << 20) + "9";
    let deep = "[".repeat(101) + &"]".repeat(101);
    let replies = [
        (Reply::With(400, "wrong".to_owned()), 1, "400 Bad Request"),
        (Reply::With(301, String::new()), 1, "301"),
        (Reply::With(200, long), 2, "longer than 1048576 bytes"),
        (Reply::With(200, deep), 2, "nests more than 100"),
        (Reply::With(200, String::new()), 2, "no JSON"),
        (Reply::With(503, String::new()), 2, "503"),
        (Reply::Never, 2, "no answer in time"),
    ];
    for (number, (reply, attempts, reason)) in replies.into_iter().enumerate() {
        let outside = Endpoint::start(move |_| reply.clone()).await;
        let name = format!("S{number}");
        endpoint(&cluster, &name, &outside.url, &twice).await;
        let (_, end) = order(&cluster, &json!({"input": 5, "tasks": [name]})).await;
        assert_eq!(end["state"], "failed", "{reason}: {end}");
        let said = end["reason"].as_str().unwrap();
        assert!(said.contains(reason), "{reason}: {said}");
        assert_eq!(outside.came().len(), attempts, "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_does_not_reach_its_endpoint_waits_and_that_is_no_attempt() {
    let cluster = without_nodes().await;
    let port = free_port().unwrap();
    let url = format!("http://127.0.0.1:{port}/");
    let once = json!({"retries": {"attempts": 1, "pause": "1ms"}});
    endpoint(&cluster, "A", &url, &once).await;
    let id = submit(&cluster.rest, &json!({"input": 5, "tasks": ["A"]})).await;
    until("it was handed out", async || {
        let view = look(&cluster.rest, &id).await;
        Ok((view["trace"][0]["state"] == "waiting").then_some(()))
    })
    .await
    .unwrap();
    let _late = Endpoint::start_at(port, plus_one).await;
    let view = becomes(&cluster.rest, &id, "completed").await;
    assert_eq!(view["result"], 6);
    assert_eq!(view["trace"][0]["attempts"].as_array().unwrap().len(), 1);
    assert_eq!(view["trace"][0]["attempts"][0]["attempt"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_blocks_nobody_and_goes_on_where_it_failed_when_it_is_retried() {
    let cluster = without_nodes().await;
    let first = Endpoint::start(plus_one).await;
    let is_well = Arc::new(AtomicBool::new(false));
    let well = Arc::clone(&is_well);
    let second = Endpoint::start(move |came| match came.body == 6 && !well.load(SeqCst) {
        true => Reply::With(500, "not today".to_owned()),
        false => plus_one(came),
    })
    .await;
    endpoint(&cluster, "A", &first.url, &json!({})).await;
    let twice = json!({"concurrency": 1, "retries": {"attempts": 2, "pause": "1ms"}});
    endpoint(&cluster, "B", &second.url, &twice).await;
    let poison = json!({"input": 5, "tasks": ["A", "B", "A"]});
    let (_, end) = order(&cluster, &poison).await;
    assert_eq!(end["state"], "failed");
    let id = end["id"].as_str().unwrap();
    let (_, other) = order(&cluster, &json!({"input": 6, "tasks": ["A", "B"]})).await;
    assert_eq!(other["result"], 8, "{other}");

    let failed = cluster.rest.get("/api/v1/orders?state=failed").await;
    let failed = failed.unwrap();
    assert_eq!(failed["orders"].as_array().unwrap().len(), 1, "{failed}");
    assert_eq!(failed["orders"][0]["id"], id);
    assert_eq!(failed["orders"][0]["done"], json!(["A"]));
    let reason = failed["orders"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("not today"), "{reason}");
    let view = look(&cluster.rest, id).await;
    assert_eq!(problems(&view, 1).len(), 2, "{view}");

    is_well.store(true, SeqCst);
    let calls = first.came().len();
    let again = post(&cluster.rest, &format!("orders/{id}/retry")).await;
    let again = again["id"].as_str().unwrap();
    let view = becomes(&cluster.rest, again, "completed").await;
    assert_eq!(
        (&view["result"], &view["retry_of"]),
        (&json!(8), &json!(id))
    );
    assert_eq!(
        first.came().len(),
        calls + 1,
        "what was done is not done again"
    );
    let path = format!("/api/v1/orders/{again}/retry");
    let (status, _) = cluster.rest.send(Method::POST, &path, "").await.unwrap();
    assert_eq!(status, StatusCode::CONFLICT);
    let path = format!("/api/v1/orders/{id}/retry");
    let (status, problem) = cluster.rest.send(Method::POST, &path, "").await.unwrap();
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(
        problem["detail"].as_str().unwrap().contains(again),
        "{problem}"
    );
    let view = look(&cluster.rest, id).await;
    assert_eq!(
        (&view["state"], &view["retried_as"]),
        (&json!("failed"), &json!(again))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_late_expires_and_is_not_handed_out() {
    let cluster = without_nodes().await;
    let hanging = Endpoint::start(|_| Reply::Never).await;
    let never = Endpoint::start(plus_one).await;
    endpoint(&cluster, "hanging", &hanging.url, &json!({})).await;
    endpoint(&cluster, "paused", &never.url, &json!({})).await;
    endpoint(&cluster, "never", &never.url, &json!({})).await;
    post(&cluster.rest, "services/paused/pause").await;
    for tasks in [json!(["hanging", "never"]), json!(["paused", "never"])] {
        let document = json!({"input": 5, "tasks": tasks, "deadline": "100ms"});
        let (_, end) = order(&cluster, &document).await;
        assert_eq!(end["state"], "expired", "{end}");
        assert_eq!(end["reason"], "its deadline has passed");
    }
    let task = json!([{"task": "hanging", "deadline": "100ms"}]);
    let (_, end) = order(&cluster, &json!({"input": 5, "tasks": task})).await;
    assert_eq!(end["state"], "failed", "{end}");
    post(&cluster.rest, "services/paused/resume").await;
    let (_, end) = order(&cluster, &json!({"input": 5, "tasks": ["paused"]})).await;
    assert_eq!(end["result"], 6);
    let came = never.came();
    assert_eq!(came.len(), 1, "{came:?}");
    assert_eq!(hanging.came().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_taken_back_in_the_other_order_when_an_order_is_cancelled_or_fails() {
    let cluster = without_nodes().await;
    let forth = Endpoint::start(plus_one).await;
    let back = Endpoint::start(|_| Reply::ok(&json!(null))).await;
    let hanging = Endpoint::start(|_| Reply::Never).await;
    let refusing = Endpoint::start(|_| Reply::With(400, String::new())).await;
    for (name, url) in [
        ("A", &forth.url),
        ("undo", &back.url),
        ("hanging", &hanging.url),
        ("refusing", &refusing.url),
    ] {
        endpoint(&cluster, name, url, &json!({})).await;
    }
    let undone = json!({"task": "A", "undo": "undo"});
    let tasks = json!([undone, "A", undone, "hanging"]);
    let document = json!({"input": 5, "tasks": tasks});
    let id = submit(&cluster.rest, &document).await;
    hanging.has(1).await;
    post(
        &cluster.rest,
        &format!("orders/{id}/cancel?reason=no%20more"),
    )
    .await;
    let view = becomes(&cluster.rest, &id, "cancelled").await;
    assert_eq!(view["reason"], "no more");
    let (_, end) = order(
        &cluster,
        &json!({"input": 5, "tasks": [undone, "refusing"]}),
    )
    .await;
    assert_eq!(end["state"], "failed");
    let bodies: Vec<Value> = back.came().into_iter().map(|came| came.body).collect();
    let done = |input: u64| json!({"input": input, "result": input + 1});
    assert_eq!(bodies, [done(7), done(5), done(5)]);
    assert_eq!(back.came()[0].key, format!("{id}/A#3/undo"));
    assert_eq!(view["trace"][4]["undo"], true, "{view}");

    // Ended is ended, and what waits is cancelled without a trace.
    for verb in ["cancel", "pause", "retry"] {
        let path = format!("/api/v1/orders/{id}/{verb}");
        let (status, body) = cluster.rest.send(Method::POST, &path, "").await.unwrap();
        assert_eq!(status, StatusCode::CONFLICT, "{verb}: {body}");
    }
    post(&cluster.rest, "services/A/pause").await;
    let calls = forth.came().len();
    let waiting = submit(&cluster.rest, &json!({"input": 5, "tasks": ["A"]})).await;
    post(&cluster.rest, &format!("orders/{waiting}/cancel")).await;
    becomes(&cluster.rest, &waiting, "cancelled").await;
    post(&cluster.rest, "services/A/resume").await;
    let (_, end) = order(&cluster, &json!({"input": 7, "tasks": ["A"]})).await;
    assert_eq!(end["result"], 8);
    assert_eq!(forth.came().len(), calls + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_gives_rise_to_orders_and_waits_for_them_but_not_for_itself() {
    let cluster = without_nodes().await;
    let parent = Endpoint::start(|came| {
        let child = |tasks: &Value| json!({"input": 5, "tasks": tasks});
        let orders = match came.body["payload"].as_str().unwrap() {
            "cycle" => json!([child(&json!(["B"])), child(&json!(["B", "A"]))]),
            "unknown" => json!([child(&json!(["nobody"]))]),
            "odd" => json!([{"inputs": 5}]),
            _ => json!([child(&json!(["B"])), child(&json!(["B", "B"]))]),
        };
        Reply::ok(&json!({"result": "parent", "orders": orders}))
    })
    .await;
    let child = Endpoint::start(plus_one).await;
    endpoint(&cluster, "A", &parent.url, &json!({"envelope": true})).await;
    endpoint(&cluster, "B", &child.url, &json!({})).await;
    let (_, end) = order(&cluster, &json!({"input": "two", "tasks": ["A"]})).await;
    let result = &end["result"];
    assert_eq!(result["result"], "parent", "{end}");
    assert_eq!(result["orders"][0]["result"], 6);
    assert_eq!(result["orders"][1]["result"], 7);
    let view = look(&cluster.rest, result["orders"][1]["id"].as_str().unwrap()).await;
    assert_eq!(view["parent"], end["id"], "{view}");
    let calls = child.came().len();
    for (input, reason) in [
        ("cycle", "a cycle: `A` is at work on it already"),
        ("unknown", "there is no service `nobody`"),
        ("odd", "unknown field `inputs`"),
    ] {
        let (_, end) = order(&cluster, &json!({"input": input, "tasks": ["A"]})).await;
        assert_eq!(end["state"], "failed", "{end}");
        let said = end["reason"].as_str().unwrap();
        assert!(said.contains(reason), "{said}");
    }
    assert_eq!(child.came().len(), calls, "all of them or none");
}
