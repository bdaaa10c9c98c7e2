//! Bad input at the doors of orders, services and clients: a status, a place, a reason, and nothing breaks.

use edgeless_tests::client::Rest;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    order_endpoint::{Endpoint, Reply},
    order_ends::{endpoint, plus_one, post, submit, without_nodes},
    order_wrong::{definitions, documents, requests},
    orders::{order, put},
};

fn check(request: &str, (status, problem): (StatusCode, Value), expected: (u16, &str, &str)) {
    let (wanted, pointer, says) = expected;
    assert_eq!(status, wanted, "{request}: {problem}");
    assert_eq!(problem["status"], wanted, "{request}: {problem}");
    if wanted == 422 {
        assert_eq!(problem["pointer"], pointer, "{request}: {problem}");
    }
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(detail.contains(says), "{request}: {problem}");
}

/// Sends an order with one more header.
async fn with_header(
    rest: &Rest,
    (name, value): (&str, &str),
    document: &str,
) -> (StatusCode, Value) {
    let request = reqwest::Client::new().post(format!("{}/api/v1/orders", rest.url));
    let request = request.header(name, value).body(document.to_owned());
    let response = request.send().await.unwrap();
    let status = response.status();
    let body = response.bytes().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_of_orders_is_refused_with_its_place_and_the_rest_goes_on() {
    let cluster = without_nodes().await;
    let outside = Endpoint::start(plus_one).await;
    for name in ["A", "B"] {
        endpoint(&cluster, name, &outside.url, &json!({})).await;
    }
    put(&cluster, "clients/X", &json!({"tasks": ["B"]})).await;
    let bounded = json!({"tasks": ["A"], "priority": 0, "deadline": "5s"});
    put(&cluster, "clients/bounded", &bounded).await;
    let strict = json!({"tasks": ["A"], "own_tasks": "never"});
    put(&cluster, "clients/strict", &strict).await;
    let shown = |text: &str| text.chars().take(100).collect::<String>();
    for (document, status, pointer, says) in documents() {
        let path = "/api/v1/orders";
        let sent = cluster.rest.send(Method::POST, path, document.clone());
        check(
            &shown(&document),
            sent.await.unwrap(),
            (status, pointer, says),
        );
    }
    let document = json!({"input": 5, "tasks": ["A"]}).to_string();
    for (method, path, status, says) in requests() {
        let request = format!("{method} {path}");
        let path = format!("/api/v1/orders{path}");
        let sent = cluster.rest.send(method, &path, document.clone()).await;
        let (found, problem) = sent.unwrap();
        assert_eq!(found, status, "{request}: {problem}");
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(says), "{request}: {problem}");
    }
    for (path, document, status, pointer, says) in definitions() {
        let request = format!("{path} {document}");
        let path = format!("/api/v1/{path}");
        let sent = cluster.rest.send(Method::PUT, &path, document.to_string());
        check(&request, sent.await.unwrap(), (status, pointer, says));
    }
    let packed = with_header(&cluster.rest, ("content-encoding", "gzip"), &document).await;
    check("gzip", packed, (415, "", "without compression"));
    let (_, end) = order(&cluster, &json!({"input": 5, "tasks": ["A"]})).await;
    assert_eq!(end["result"], 6);
    let figures = cluster.rest.get("/api/v1/orders/figures").await.unwrap();
    assert_eq!(figures["accepted"], 1, "{figures}");
    assert_eq!(outside.came().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sends_too_much_hears_so_and_can_go_on_over_the_same_connection() {
    let cluster = without_nodes().await;
    let host = cluster.rest.url.trim_start_matches("http://");
    let mut connection = TcpStream::connect(host).await.unwrap();
    for length in [2 << 20, 8 << 20] {
        let head = format!(
            "POST /api/v1/orders HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n\r\n"
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        connection.write_all(&vec![b' '; length]).await.unwrap();
        let head = head_of_answer(&mut connection).await;
        assert!(head.starts_with("HTTP/1.1 413"), "{head}");
        let text = format!("GET /api/v1/orders/figures HTTP/1.1\r\nhost: {host}\r\n\r\n");
        connection.write_all(text.as_bytes()).await.unwrap();
        let head = head_of_answer(&mut connection).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    }
}

/// Reads an answer to its end, and gives its head.
async fn head_of_answer(connection: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let end = |answer: &[u8]| answer.windows(4).position(|four| four == b"\r\n\r\n");
    loop {
        let read = connection.read_buf(&mut answer).await.unwrap();
        assert!(read > 0, "the connection was closed");
        let Some(end) = end(&answer) else { continue };
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let mut lines = head.lines();
        let length = lines.find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.expect("an answer with a length").parse().unwrap();
        if answer.len() >= end + 4 + length {
            return head;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_stands_for_one_document_of_one_client_also_after_a_restart() {
    let mut cluster = without_nodes().await;
    let outside = Endpoint::start(plus_one).await;
    endpoint(&cluster, "A", &outside.url, &json!({})).await;
    put(&cluster, "clients/X", &json!({"tasks": ["A"]})).await;
    let send = async |rest: &Rest, client: &str, input: u64| {
        let document = json!({
            "client": client, "input": input, "tasks": ["A"], "idempotency_key": "k",
        });
        let path = "/api/v1/orders";
        let sent = rest.send(Method::POST, path, document.to_string());
        sent.await.unwrap()
    };
    let (status, first) = send(&cluster.rest, "anybody", 5).await;
    assert_eq!(status, 202);
    for _ in 0..2 {
        let (status, again) = send(&cluster.rest, "anybody", 5).await;
        assert_eq!((status, &again["id"]), (StatusCode::ACCEPTED, &first["id"]));
        assert_eq!(again["again"], true);
        let spaced = r#"{"tasks": ["A"], "input": 5, "client": "anybody"}"#;
        let (status, again) = with_header(&cluster.rest, ("idempotency-key", "k"), spaced).await;
        assert_eq!((status, &again["id"]), (StatusCode::ACCEPTED, &first["id"]));
        let (status, problem) = send(&cluster.rest, "anybody", 6).await;
        assert_eq!(status, StatusCode::CONFLICT);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("key `k` was used"), "{problem}");
        let (status, other) = send(&cluster.rest, "X", 5).await;
        assert_eq!(status, 202);
        assert_ne!(other["id"], first["id"], "keys are those of a client");
        cluster.con.kill();
        cluster.con.restart().unwrap();
        cluster.all_registered(0).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_orders_need_and_a_client_with_orders_can_be_gone_but_not_their_orders() {
    let cluster = without_nodes().await;
    let hanging = Endpoint::start(|_| Reply::Never).await;
    endpoint(&cluster, "A", &hanging.url, &json!({})).await;
    put(&cluster, "clients/X", &json!({"tasks": ["A"]})).await;
    let id = submit(&cluster.rest, &json!({"client": "X", "input": 5})).await;
    let delete = async |path: &str| {
        let path = format!("/api/v1/{path}");
        cluster.rest.send(Method::DELETE, &path, "").await.unwrap()
    };
    let (status, problem) = delete("services/A").await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    assert_eq!(delete("clients/X").await.0, 204);
    assert_eq!(delete("clients/X").await.0, 404);
    let view = super::order_ends::look(&cluster.rest, &id).await;
    assert_eq!(view["state"], "waiting");
    let path = "/api/v1/orders";
    let document = json!({"client": "X", "input": 5}).to_string();
    let (status, problem) = cluster
        .rest
        .send(Method::POST, path, document)
        .await
        .unwrap();
    assert_eq!(
        (status.as_u16(), &problem["pointer"]),
        (422, &json!("/client"))
    );
    post(&cluster.rest, &format!("orders/{id}/cancel")).await;
    assert_eq!(delete("services/A").await.0, 204);
    assert_eq!(delete("services/A").await.0, 404);
}
