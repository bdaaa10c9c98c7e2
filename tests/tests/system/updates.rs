//! Updates of workflows: under traffic, of several vertices, and when daemons end meanwhile.

use edgeless_tests::{
    client::{Rest, function},
    cluster::{Cluster, Mirror},
    process::root,
    wait::until,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Load, all_logged_once, logical_id, operations::cli, pipeline, with_pipeline};

const WORKFLOWS: &str = "/api/v1/workflows";

/// A core module with the exports of a function, each of which traps.
fn module_that_traps() -> Vec<u8> {
    let i32s =
        |number: usize| [&[u8::try_from(number).unwrap()][..], &[0x7f].repeat(number)].concat();
    let section = |id: u8, items: &[Vec<u8>]| {
        let body = [vec![u8::try_from(items.len()).unwrap()], items.concat()].concat();
        // None is longer than 127 bytes, but for the exports.
        let (low, high) = ((body.len() & 0x7f) as u8 | 0x80, (body.len() >> 7) as u8);
        [vec![id, low, high], body].concat()
    };
    let shapes = [(1, 1), (2, 0), (4, 0), (6, 1), (0, 0)];
    let types = shapes.map(|(takes, gives)| [vec![0x60], i32s(takes), i32s(gives)].concat());
    let functions = [
        ("edgeless_mem_alloc", 0_u8),
        ("edgeless_mem_free", 1),
        ("handle_init_asm", 2),
        ("handle_cast_asm", 2),
        ("handle_call_asm", 3),
        ("handle_stop_asm", 4),
    ];
    let export = |name: &str, kind: u8, index: u8| {
        let length = u8::try_from(name.len()).unwrap();
        [&[length][..], name.as_bytes(), &[kind, index]].concat()
    };
    let mut exports = vec![export("memory", 2, 0)];
    exports.extend(
        (0..)
            .zip(functions)
            .map(|(index, (name, _))| export(name, 0, index)),
    );
    [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &types),
        section(3, &functions.map(|(_, shape)| vec![shape])),
        section(5, &[vec![0, 1]]),
        section(7, &exports),
        section(10, &functions.map(|_| vec![3, 0, 0x00, 0x0b])),
    ]
    .concat()
}

/// The pipeline with another version of `double`.
fn with_double(version: &str) -> Value {
    let mut document = pipeline("pipe.test");
    document["functions"][1]["class_specification"]["version"] = json!(version);
    document
}

fn code_of(name: &str) -> Vec<u8> {
    let path = root().join("functions").join(name);
    std::fs::read(path.join(format!("{name}.wasm"))).unwrap()
}

async fn publish(rest: &Rest, class: &str, version: &str, code: Vec<u8>) {
    let path = format!("/api/v1/functions/{class}/{version}?function_type=RUST_WASM&outputs=out");
    let (status, answer) = rest.send(Method::PUT, &path, code).await.unwrap();
    assert!(status.is_success(), "{answer}");
}

async fn put(rest: &Rest, id: &str, document: &Value) -> (StatusCode, Value) {
    let path = format!("{WORKFLOWS}/{id}");
    let sent = rest.send(Method::PUT, &path, document.to_string());
    sent.await.unwrap()
}

/// The last update of a workflow.
async fn update_of(rest: &Rest, id: &str) -> anyhow::Result<Value> {
    let status = rest.get(&format!("{WORKFLOWS}/{id}")).await?;
    Ok(status["update"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_is_updated_under_traffic_and_one_that_cannot_start_is_taken_back() {
    let (mut cluster, id) = with_pipeline(2, Mirror::Without).await;
    let rest = cluster.rest.clone();
    publish(&rest, "double", "0.2", code_of("double")).await;
    publish(&rest, "double", "0.3", module_that_traps()).await;
    let put = async |document: Value| put(&rest, &id, &document).await;
    let load = Load::start(cluster.nodes[0].ingress_url.clone(), "pipe.test");
    load.more(20).await;
    let before = rest.placed(&id).await.unwrap();
    let lid = logical_id(&rest, &id, "double").await;

    let file = cluster.folder().join("updated.json");
    std::fs::write(&file, with_double("0.2").to_string()).unwrap();
    let update = ["workflow", "update", &id, file.to_str().unwrap()];
    let shown = cli(&cluster, &update).await.unwrap();
    assert_eq!(shown.lines().count(), 4, "{shown}");
    let update = update_of(&rest, &id).await.unwrap();
    let shown = ["state", "vertices", "updated"].map(|field| &update[field]);
    assert_eq!(shown, [&json!("finished"), &json!(1), &json!(1)]);
    let after = rest.placed(&id).await.unwrap();
    for (old, new) in before.iter().zip(&after) {
        assert_eq!(
            old == new,
            old.0 != "double",
            "only `double` is another copy"
        );
    }
    assert_eq!(logical_id(&rest, &id, "double").await, lid);
    load.more(20).await;

    let (status, problem) = put(with_double("0.3")).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("the old one runs again"), "{problem}");
    assert!(detail.contains("unreachable"), "{problem}");
    load.more(20).await;
    assert_eq!(
        rest.placed(&id).await.unwrap(),
        after,
        "the old copy was not touched"
    );

    let mut moon = with_double("0.2");
    moon["functions"][1]["annotations"] = json!({"label_match_all": "zone=moon"});
    let (status, problem) = put(moon).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("label_match_all: 3 of 3 nodes"),
        "{problem}"
    );

    let mut rewired = with_double("0.2");
    rewired["functions"][0]["output_mapping"] = json!({"out": "log"});
    let (status, problem) = put(rewired).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert_eq!(
        problem["pointer"], "/functions/0/output_mapping",
        "{problem}"
    );

    // What was taken back is not desired by a later life either.
    cluster.con.kill();
    cluster.con.restart().unwrap();
    cluster.all_registered(3).await.unwrap();
    load.more(20).await;
    assert_eq!(rest.placed(&id).await.unwrap(), after);
    all_logged_once(&cluster, &load.end().await).await;
}

/// The version of a function that its domain desires.
async fn version(cluster: &Cluster, lid: &str) -> anyhow::Result<Value> {
    let state = cluster.state(&format!("instance:{lid}")).await?;
    let instance = &state[format!("instance:{lid}")];
    Ok(instance["spec"]["version"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_functions_those_that_could_be_updated_go_back_with_the_one_that_could_not() {
    let (cluster, id) = with_pipeline(2, Mirror::Without).await;
    let rest = cluster.rest.clone();
    publish(&rest, "http_processor", "0.2", code_of("http_processor")).await;
    publish(&rest, "double", "0.3", module_that_traps()).await;
    let before = rest.placed(&id).await.unwrap();
    let lid = logical_id(&rest, &id, "receive").await;
    let load = Load::start(cluster.nodes[0].ingress_url.clone(), "pipe.test");
    load.more(20).await;

    let mut both = with_double("0.3");
    both["functions"][0]["class_specification"]["version"] = json!("0.2");
    let (status, problem) = put(&rest, &id, &both).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("`double`"), "{problem}");
    assert!(!detail.contains("`receive`"), "{problem}");
    until("all runs in its old version", async || {
        let status = rest.get(&format!("{WORKFLOWS}/{id}")).await?;
        let is_old = version(&cluster, &lid).await? == "0.1";
        Ok((status["state"] == "running" && is_old).then_some(()))
    })
    .await
    .unwrap();
    let update = update_of(&rest, &id).await.unwrap();
    let shown = ["state", "vertices", "updated"].map(|field| &update[field]);
    assert_eq!(shown, [&json!("taken_back"), &json!(2), &json!(0)]);
    assert!(update["reason"].as_str().unwrap().contains("`double`"));
    load.more(20).await;
    let after = rest.placed(&id).await.unwrap();
    let moved = |name: &str| {
        let find = |all: &[(String, String, String)]| {
            all.iter().find(|it| it.0 == name).unwrap().2.clone()
        };
        find(&before) != find(&after)
    };
    assert!(!moved("double"), "its old copy was not touched");
    let accepted = load.end().await;
    let all: Vec<u64> = (1..=accepted.len() as u64).collect();
    assert_eq!(accepted, all, "every request was answered");
    all_logged_once(&cluster, &accepted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_fails_when_nobody_waits_for_it_any_more_is_told_by_the_workflow() {
    let (mut cluster, id) = with_pipeline(2, Mirror::Without).await;
    let rest = cluster.rest.clone();
    publish(&rest, "double", "0.3", module_that_traps()).await;
    let before = rest.placed(&id).await.unwrap();
    let lid = logical_id(&rest, &id, "double").await;
    // The domain cannot be told: whoever asked for it is answered that it goes on.
    cluster.orc.kill();
    let (status, answer) = put(&rest, &id, &with_double("0.3")).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    assert_eq!(answer["update"]["state"], "under_way", "{answer}");
    cluster.con.kill();
    cluster.con.restart().unwrap();
    cluster.orc.restart().unwrap();
    let update = until("the update has come to something", async || {
        let update = update_of(&rest, &id).await.unwrap_or_default();
        Ok((update["ended"].is_string()).then_some(update))
    })
    .await
    .unwrap();
    assert_eq!(update["state"], "taken_back", "{update}");
    let reason = update["reason"].as_str().unwrap();
    assert!(reason.contains("`double`"), "{update}");
    assert!(reason.contains("unreachable"), "{update}");
    until("the old version runs", async || {
        let status = rest.get(&format!("{WORKFLOWS}/{id}")).await?;
        let is_old = version(&cluster, &lid).await? == "0.1";
        Ok((status["state"] == "running" && is_old).then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(
        rest.placed(&id).await.unwrap(),
        before,
        "the old copy goes on"
    );
    // One that changes nothing is not the one that was taken back.
    let (status, answer) = put(&rest, &id, &with_double("0.1")).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["update"], Value::Null, "{answer}");
    // The next one has what it goes back to, and the workflow can be changed again.
    publish(&rest, "double", "0.2", code_of("double")).await;
    let (status, answer) = put(&rest, &id, &with_double("0.2")).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["update"]["state"], "finished", "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_that_waits_goes_on_waiting_as_it_was_or_runs_in_a_version_that_finds_room() {
    let (cluster, _) = with_pipeline(1, Mirror::Without).await;
    let rest = &cluster.rest;
    let document = |zone: &str, version: &str| {
        let annotations = json!({"label_match_all": format!("zone={zone}")});
        let mut function = function("double", "double", &json!({}), &annotations);
        function["class_specification"]["version"] = json!(version);
        json!({"functions": [function]})
    };
    publish(rest, "double", "0.2", code_of("double")).await;
    let path = format!("{WORKFLOWS}?wait=true");
    let sent = rest.send(Method::POST, &path, document("moon", "0.1").to_string());
    let (status, answer) = sent.await.unwrap();
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    let id = answer["workflow_id"].as_str().unwrap();

    // It is in no domain, so that nothing is to be replaced.
    let (status, answer) = put(rest, id, &document("moon", "0.2")).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    assert_eq!(answer["update"]["state"], "finished", "{answer}");
    assert_eq!(answer["state"], "waiting", "{answer}");
    put(rest, id, &document("functions", "0.2")).await;
    let runs = async || {
        let status = rest.get(&format!("{WORKFLOWS}/{id}")).await?;
        Ok((status["state"] == "running").then_some(status))
    };
    let status = until("it runs", runs).await.unwrap();
    assert_eq!(status["update"]["state"], "finished", "{status}");
}
