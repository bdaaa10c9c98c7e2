//! Orders in streams and lists: batches, server-sent events, waiting, filters and pages.

use std::{slice::from_ref, time::Duration};

use edgeless_tests::wait::until;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    order_endpoint::{Endpoint, Reply},
    order_ends::{becomes, endpoint, look, plus_one, post, submit, without_nodes},
    order_watch::Events,
    orders::put,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_line_of_a_batch_is_answered_at_its_place_and_the_others_are_taken() {
    let cluster = without_nodes().await;
    let outside = Endpoint::start(plus_one).await;
    endpoint(&cluster, "A", &outside.url, &json!({})).await;
    let batch = [
        r#"{"input": 1, "tasks": ["A"], "idempotency_key": "k"}"#,
        r#"{"input": 2, "tasks": ["nobody"]}"#,
        "",
        r#"{"input": 3, "tasks": ["A"]"#,
        r#"{"input": 1, "tasks": ["A"], "idempotency_key": "k"}"#,
        r#"{"input": 4, "tasks": ["A"]}"#,
        r#"{"input": 9, "tasks": ["A"], "idempotency_key": "k"}"#,
    ];
    let (status, text) = cluster
        .rest
        .send(Method::POST, "/api/v1/orders/batch", batch.join("\r\n"))
        .await
        .unwrap();
    assert_eq!(status, StatusCode::OK, "{text}");
    let lines = text.as_str().unwrap().lines();
    let lines: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 6, "{text}");
    let [first, unknown, broken, again, last, other] = &lines[..] else {
        panic!("{text}");
    };
    assert_eq!(unknown["error"]["status"], 422);
    assert_eq!(unknown["error"]["pointer"], "/tasks");
    assert_eq!(broken["error"]["status"], 400, "{broken}");
    assert_eq!(other["error"]["status"], 409, "{other}");
    assert_eq!(
        (&again["id"], &again["again"]),
        (&first["id"], &json!(true))
    );
    for (line, result) in [(first, 2), (last, 5)] {
        let id = line["id"].as_str().unwrap();
        let view = becomes(&cluster.rest, id, "completed").await;
        assert_eq!(view["result"], result);
    }
    let (status, text) = cluster
        .rest
        .send(Method::POST, "/api/v1/orders/batch", "\n \n")
        .await
        .unwrap();
    assert_eq!((status, text), (StatusCode::OK, json!("")));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_too_shortly_is_given_the_id_and_whoever_waits_again_the_end() {
    let cluster = without_nodes().await;
    let outside = Endpoint::start(plus_one).await;
    endpoint(&cluster, "A", &outside.url, &json!({})).await;
    post(&cluster.rest, "services/A/pause").await;
    let document = json!({"input": 5, "tasks": ["A"], "idempotency_key": "k"}).to_string();
    let send = async |wait: &str| {
        let path = format!("/api/v1/orders?wait={wait}");
        let sent = cluster.rest.send(Method::POST, &path, document.clone());
        sent.await.unwrap()
    };
    let (status, accepted) = send("50ms").await;
    assert_eq!(status, StatusCode::ACCEPTED, "{accepted}");
    let (status, same) = send("0s").await;
    assert_eq!(status, StatusCode::ACCEPTED, "{same}");
    assert_eq!(same["id"], accepted["id"]);
    post(&cluster.rest, "services/A/resume").await;
    for _ in 0..2 {
        let (status, end) = send("20s").await;
        assert_eq!(
            (status, &end["result"]),
            (StatusCode::OK, &json!(6)),
            "{end}"
        );
        assert_eq!(end["id"], accepted["id"]);
    }
    assert_eq!(outside.came().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_of_an_order_shows_each_change_and_ends_with_it() {
    let cluster = without_nodes().await;
    let outside = Endpoint::start(plus_one).await;
    for name in ["A", "B"] {
        endpoint(&cluster, name, &outside.url, &json!({})).await;
        post(&cluster.rest, &format!("services/{name}/pause")).await;
    }
    let id = submit(&cluster.rest, &json!({"input": 5, "tasks": ["A", "B"]})).await;
    submit(&cluster.rest, &json!({"input": 5, "tasks": ["A", "B"]})).await;
    let url = format!("{}/api/v1/orders/{id}/events", cluster.rest.url);
    let mut events = Events::open(&url).await.unwrap();
    let mut next = async || {
        let seen = tokio::time::timeout(Duration::from_secs(20), events.next());
        seen.await.unwrap().unwrap()
    };
    let mut seen = vec![next().await.unwrap()];
    for path in [
        format!("orders/{id}/pause"),
        format!("orders/{id}/resume"),
        "services/A/resume".to_owned(),
        "services/B/resume".to_owned(),
    ] {
        post(&cluster.rest, &path).await;
        seen.push(next().await.unwrap());
    }
    assert_eq!(next().await, None, "the stream ends");
    let states: Vec<&str> = seen.iter().map(|seen| seen.event.as_str()).collect();
    assert_eq!(
        states,
        ["waiting", "paused", "waiting", "running", "completed"]
    );
    assert!(seen.iter().all(|seen| seen.data["id"] == id));
    assert_eq!(seen[4].data["done"], json!(["A", "B"]));
    let stages = seen[4].data["stages"].as_array().unwrap();
    let stages: Vec<_> = stages
        .iter()
        .map(|it| (&it["stage"], &it["state"]))
        .collect();
    let done = json!("done");
    let names = ["START", "A", "B", "END"].map(|name| json!(name));
    assert_eq!(stages, names.each_ref().map(|name| (name, &done)));
    let ids: std::collections::BTreeSet<_> = seen.iter().map(|seen| &seen.id).collect();
    assert_eq!(ids.len(), 4, "the same for what looks the same: {ids:?}");
    // One that has ended has one event.
    let mut events = Events::open(&url).await.unwrap();
    assert_eq!(events.next().await.unwrap().as_ref(), seen.last());
    assert_eq!(events.next().await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_held_up_waits_while_others_pass() {
    let cluster = without_nodes().await;
    let outside = Endpoint::start(plus_one).await;
    endpoint(&cluster, "A", &outside.url, &json!({})).await;
    post(&cluster.rest, "services/A/pause").await;
    let held = submit(&cluster.rest, &json!({"input": 5, "tasks": ["A"]})).await;
    let other = submit(&cluster.rest, &json!({"input": 6, "tasks": ["A"]})).await;
    let waiting = cluster.rest.get("/api/v1/orders/figures").await.unwrap();
    assert_eq!(waiting["services"]["A"]["waiting"], 2, "{waiting}");
    post(&cluster.rest, &format!("orders/{held}/pause")).await;
    post(&cluster.rest, "services/A/resume").await;
    becomes(&cluster.rest, &other, "completed").await;
    assert_eq!(look(&cluster.rest, &held).await["state"], "paused");
    post(&cluster.rest, &format!("orders/{held}/resume")).await;
    let view = becomes(&cluster.rest, &held, "completed").await;
    assert_eq!(view["result"], 6);
    let came: Vec<Value> = outside.came().into_iter().map(|came| came.body).collect();
    assert_eq!(came, [6, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_with_a_greater_priority_go_first_and_clients_share_by_weight() {
    let cluster = without_nodes().await;
    let outside = Endpoint::start(plus_one).await;
    endpoint(&cluster, "A", &outside.url, &json!({"concurrency": 1})).await;
    for (client, weight) in [("heavy", 3), ("light", 1)] {
        let contract = json!({"tasks": ["A"], "weight": weight});
        put(&cluster, &format!("clients/{client}"), &contract).await;
    }
    post(&cluster.rest, "services/A/pause").await;
    let mut ids = Vec::new();
    for (client, first) in [("light", 100), ("heavy", 200)] {
        for input in first..first + 12 {
            let document = json!({"client": client, "input": input});
            ids.push(submit(&cluster.rest, &document).await);
        }
    }
    for (input, priority) in [(1, 0), (2, 9), (3, 7)] {
        let document = json!({"client": "light", "input": input, "priority": priority});
        ids.push(submit(&cluster.rest, &document).await);
    }
    post(&cluster.rest, "services/A/resume").await;
    for id in &ids {
        becomes(&cluster.rest, id, "completed").await;
    }
    let came: Vec<i64> = outside
        .came()
        .iter()
        .map(|came| came.body.as_i64().unwrap())
        .collect();
    assert_eq!((came[0], came[1], came[26]), (2, 3, 1), "{came:?}");
    let heavy = came[2..14].iter().filter(|input| **input >= 200).count();
    assert_eq!(heavy, 9, "three of four: {came:?}");
    let light: Vec<i64> = came
        .iter()
        .copied()
        .filter(|it| (100..200).contains(it))
        .collect();
    assert!(light.is_sorted(), "first come, first served: {came:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sends_too_much_is_told_when_there_is_room_again() {
    let cluster = without_nodes().await;
    let hanging = Endpoint::start(|_| Reply::Never).await;
    endpoint(&cluster, "A", &hanging.url, &json!({})).await;
    let slow = json!({"tasks": ["A"], "limits": {"orders_per_second": 0.01, "burst": 2}});
    put(&cluster, "clients/slow", &slow).await;
    let few = json!({"tasks": ["A"], "limits": {"active_orders": 2}});
    put(&cluster, "clients/few", &few).await;
    let http = reqwest::Client::new();
    let send = async |client: &str| {
        let url = format!("{}/api/v1/orders", cluster.rest.url);
        let body = json!({"client": client, "input": 5}).to_string();
        http.post(url).body(body).send().await.unwrap()
    };
    for client in ["slow", "few"] {
        let first = send(client).await;
        let id = first.json::<Value>().await.unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(send(client).await.status(), 202);
        let refused = send(client).await;
        assert_eq!(refused.status(), 429);
        let after: u64 = refused.headers()["retry-after"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        let problem: Value = refused.json().await.unwrap();
        assert_eq!(problem["type"], "urn:edgeless:problem:limit", "{problem}");
        let expected = if client == "slow" { 50..=100 } else { 1..=1 };
        assert!(expected.contains(&after), "{client}: {after}");
        // An order that has ended makes room among those that are active.
        post(&cluster.rest, &format!("orders/{id}/cancel")).await;
        let status = send(client).await.status();
        assert_eq!(status, if client == "few" { 202 } else { 429 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_and_paged() {
    let cluster = without_nodes().await;
    let outside = Endpoint::start(plus_one).await;
    for name in ["A", "B"] {
        endpoint(&cluster, name, &outside.url, &json!({})).await;
    }
    put(&cluster, "clients/X", &json!({"tasks": ["B"]})).await;
    let mut ids = Vec::new();
    for number in 0..25 {
        let client = if number % 5 == 0 { "X" } else { "anybody" };
        let task = if number % 5 == 0 { "B" } else { "A" };
        let metadata = json!({"number": number, "parity": number % 2 == 0, "site": "x y"});
        let document = json!({
            "client": client, "input": number, "tasks": [task], "metadata": metadata,
        });
        ids.push(submit(&cluster.rest, &document).await);
        becomes(&cluster.rest, &ids[number], "completed").await;
    }
    post(&cluster.rest, "services/A/pause").await;
    let active = submit(&cluster.rest, &json!({"input": 0, "tasks": ["A"]})).await;
    let all = async |query: &str| {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/api/v1/orders?limit=4&{query}{cursor}");
            let page = cluster.rest.get(&path).await.unwrap();
            let orders = page["orders"].as_array().unwrap();
            assert!(orders.len() <= 4);
            found.extend(
                orders
                    .iter()
                    .map(|it| it["id"].as_str().unwrap().to_owned()),
            );
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    };
    let newest: Vec<String> = ids.iter().rev().cloned().collect();
    let some = |wanted: &dyn Fn(usize) -> bool| {
        let kept = (0..25).rev().filter(|number| wanted(*number));
        kept.map(|number| ids[number].clone()).collect::<Vec<_>>()
    };
    assert_eq!(all("state=completed").await, newest);
    assert_eq!(all("state=ended").await, newest);
    assert_eq!(all("state=active").await, from_ref(&active));
    assert_eq!(all("state=waiting").await, from_ref(&active));
    assert_eq!(all("state=failed").await, [] as [String; 0]);
    assert_eq!(all("client=X").await, some(&|number| number % 5 == 0));
    assert_eq!(all("task=B").await, some(&|number| number % 5 == 0));
    assert_eq!(all("metadata.number=7").await, some(&|number| number == 7));
    let even = all("metadata.parity=true&metadata.site=x%20y").await;
    assert_eq!(even, some(&|number| number % 2 == 0));
    assert_eq!(all("metadata.site=x").await, [] as [String; 0]);
    assert_eq!(all("").await.len(), 26);
    // Times: accepted not before the sixth, and before the eleventh.
    let at = async |number: usize| {
        let view = look(&cluster.rest, &ids[number]).await;
        view["accepted"].as_str().unwrap().to_owned()
    };
    let (since, before) = (at(5).await, at(10).await);
    until("a page of a stretch of time", async || {
        let found = all(&format!("since={since}&until={before}")).await;
        anyhow::ensure!(
            found == some(&|number| (5..10).contains(&number)),
            "{found:?}"
        );
        Ok(Some(()))
    })
    .await
    .unwrap();
}
