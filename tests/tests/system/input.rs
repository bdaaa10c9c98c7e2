//! Bad input at the doors: clear answers, and nothing breaks.

use edgeless_tests::{
    client::Rest,
    cluster::{Cluster, Mirror},
    wait::until,
};
use reqwest::Method;
use serde_json::json;

use super::plan;

type Case = (Method, String, String, u16, &'static str);

/// Method, path, body; the status, and what the problem must say.
#[expect(clippy::too_many_lines, reason = "one table")]
fn cases() -> Vec<Case> {
    let workflows = "/api/v1/workflows";
    let nobody = "00000000-0000-4000-8000-000000000000";
    let inline = json!({"functions": [{
        "name": "f",
        "class_specification": {
            "id": "x", "version": "1", "function_type": "RUST_WASM", "code": "aGVsbG8=",
        },
    }]});
    let settings = json!({"resources": [{"name": "r", "class_type": "file-log"}]});
    vec![
        (
            Method::POST,
            workflows.to_owned(),
            "not json".to_owned(),
            400,
            "line 1",
        ),
        (
            Method::POST,
            workflows.to_owned(),
            "{\"colour\": 1}".to_owned(),
            422,
            "colour",
        ),
        (
            Method::POST,
            workflows.to_owned(),
            "{}".to_owned(),
            422,
            "neither functions",
        ),
        (
            Method::POST,
            workflows.to_owned(),
            inline.to_string(),
            422,
            "not WebAssembly",
        ),
        (
            Method::POST,
            workflows.to_owned(),
            settings.to_string(),
            422,
            "filename",
        ),
        (
            Method::POST,
            workflows.to_owned(),
            " ".repeat(9 << 20),
            413,
            "longer than",
        ),
        (
            Method::GET,
            format!("{workflows}/{nobody}"),
            String::new(),
            404,
            nobody,
        ),
        (
            Method::GET,
            format!("{workflows}/nonsense"),
            String::new(),
            400,
            "UUID",
        ),
        (
            Method::DELETE,
            format!("{workflows}/{nobody}"),
            String::new(),
            404,
            nobody,
        ),
        (
            Method::POST,
            format!("{workflows}/{nobody}/migrate"),
            "{}".to_owned(),
            422,
            "either",
        ),
        (
            Method::PUT,
            "/api/v1/functions/a/1".to_owned(),
            "no code".to_owned(),
            422,
            "WebAssembly",
        ),
        (
            Method::GET,
            "/api/v1/functions/a/1".to_owned(),
            String::new(),
            404,
            "a/1",
        ),
        (
            Method::GET,
            "/api/v1/domains/moon".to_owned(),
            String::new(),
            404,
            "moon",
        ),
        (
            Method::GET,
            "/api/v1/functions/%ff/1".to_owned(),
            String::new(),
            400,
            "UTF-8",
        ),
        (
            Method::PATCH,
            workflows.to_owned(),
            String::new(),
            405,
            "PATCH",
        ),
        (
            Method::POST,
            format!("{workflows}?colour=red"),
            "{}".to_owned(),
            400,
            "colour",
        ),
        (
            Method::PUT,
            "/api/v1/functions/a%2Fb/1".to_owned(),
            "no code".to_owned(),
            422,
            "a/b",
        ),
        (
            Method::GET,
            "/api/v1/nothing".to_owned(),
            String::new(),
            404,
            "openapi",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_get_problem_documents_and_the_daemons_go_on() {
    let cluster = Cluster::start(plan(1, Mirror::Without)).await.unwrap();
    let rest = &cluster.rest;
    let workflows = "/api/v1/workflows";
    for (method, path, body, expected, says) in cases() {
        // A connection of its own for each: that of a body which was not read to its end is closed.
        let rest = Rest::new(rest.url.clone());
        let (status, problem) = rest.send(method, &path, body).await.unwrap();
        assert_eq!(status, expected, "{path}: {problem}");
        assert_eq!(problem["status"], expected, "{path}: {problem}");
        assert!(problem.to_string().contains(says), "{path}: {problem}");
    }
    assert_eq!(rest.get(workflows).await.unwrap(), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_gives_the_same_workflow_and_refuses_another_body() {
    let cluster = Cluster::start(plan(1, Mirror::Without)).await.unwrap();
    cluster.rest.push("noop").await.unwrap();
    let document = |name: &str| {
        let none = json!({});
        json!({"functions": [edgeless_tests::client::function(name, "noop", &none, &none)]})
    };
    let post = async |name: &str| {
        let url = format!("{}/api/v1/workflows", cluster.rest.url);
        let request = reqwest::Client::new()
            .post(url)
            .header("idempotency-key", "once");
        let response = request.json(&document(name)).send().await.unwrap();
        let status = response.status();
        (status, response.json::<serde_json::Value>().await.unwrap())
    };
    let (status, first) = post("a").await;
    assert_eq!(status, 201);
    let (_, again) = post("a").await;
    assert_eq!(first["workflow_id"], again["workflow_id"]);
    assert_eq!(post("b").await.0, 409);
    until("there is one workflow", async || {
        let all = cluster.rest.get("/api/v1/workflows").await?;
        Ok((all.as_array().map(Vec::len) == Some(1)).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_on_the_grpc_ports_hurts_nobody() {
    use tokio::io::AsyncWriteExt;
    let cluster = Cluster::start(plan(1, Mirror::Without)).await.unwrap();
    for name in ["controller", "orchestrator", "node-0"] {
        let text = std::fs::read_to_string(cluster.folder().join(format!("{name}.toml"))).unwrap();
        let addresses = text.lines().filter_map(|line| line.split("http://").nth(1));
        for address in addresses.map(|text| text.trim_end_matches('"')) {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            // The beginning of HTTP/2, then a frame that is cut short.
            stream
                .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\xff\xff\x01")
                .await
                .unwrap();
            drop(stream);
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.write_all(&[0xff; 4_096]).await.unwrap();
        }
    }
    cluster.all_registered(2).await.unwrap();
    cluster.rest.push("noop").await.unwrap();
    let none = json!({});
    let document =
        json!({"functions": [edgeless_tests::client::function("n", "noop", &none, &none)]});
    cluster.rest.start(&document).await.unwrap();
}
