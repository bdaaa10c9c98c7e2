//! What tests need: a small domain, a real Redis, and an ε-ORC that answers what it is told.

use std::{collections::BTreeMap, process::Stdio};

use edgeless_types::{
    NodeHealth, Timestamp,
    mirror::{self, HealthMember},
};
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    process::{Child, Command},
};

pub(crate) const NODE: &str = "0b6f2e62-4a0e-4a2c-8f6e-2f0f6d6b7a11";
pub(crate) const COUNTER: &str = "11111111-4a0e-4a2c-8f6e-2f0f6d6b7a11";
pub(crate) const EGRESS: &str = "22222222-4a0e-4a2c-8f6e-2f0f6d6b7a11";
pub(crate) const COPY: &str = "33333333-4a0e-4a2c-8f6e-2f0f6d6b7a11";
pub(crate) const WORKFLOW: &str = "44444444-4a0e-4a2c-8f6e-2f0f6d6b7a11";

/// Ten seconds after the domain's only measurements.
pub(crate) const NOW: Timestamp = Timestamp::from_nanos(1_700_000_010_000_000_000);

/// One node, one function that runs on it, and one resource that waits.
pub(crate) fn state() -> BTreeMap<String, Value> {
    let function = json!({
        "kind": "function", "name": "count", "class_id": "counter", "version": "0.1",
        "function_type": "RUST_WASM", "code": "0".repeat(64), "outputs": ["out"],
        "annotations": {},
    });
    let resource = json!({
        "kind": "resource", "name": "sink", "class_type": "http-egress", "configurations": {},
    });
    let entries = [
        (mirror::DOMAIN_ID.to_owned(), json!("domain-1")),
        (mirror::INSTANCE_LAST_UPDATE.to_owned(), json!("1.0")),
        (
            format!("nodes:capabilities:{NODE}"),
            json!(edgeless_types::NodeCapabilities {
                num_cores: 4,
                runtimes: vec!["RUST_WASM".to_owned()],
                ..Default::default()
            }),
        ),
        (
            format!("instance:{COUNTER}"),
            json!({
                "logical_id": COUNTER, "workflow_id": WORKFLOW, "spec": function, "generation": 1,
                "instances": [
                    {"node_id": NODE, "physical_id": COPY, "since": "1700000000.000000000"},
                ],
            }),
        ),
        (
            format!("instance:{EGRESS}"),
            json!({
                "logical_id": EGRESS, "workflow_id": WORKFLOW, "spec": resource, "generation": 1,
                "instances": [],
                "waiting": {
                    "since": "1700000001.000000000",
                    "reason": serde_json::to_value(edgeless_types::WaitReason::Starting).unwrap(),
                    "message": "starting",
                },
            }),
        ),
        (format!("dependency:{COUNTER}"), json!({ "out": EGRESS })),
        (
            format!("bottleneck:{WORKFLOW}"),
            json!({
                "timestamp": "1700000001.000000000", "workflow_id": WORKFLOW, "logical_id": COUNTER,
                "name": "count", "cause": "rate", "limits": true, "held": "max_instances",
                "why": "too much", "action": "wait",
            }),
        ),
        (
            "provider:p".to_owned(),
            json!({"provider_id": "p", "class_type": "http-egress", "node_id": NODE, "outputs": []}),
        ),
    ];
    entries.into()
}

/// The sorted sets of the domain: key, score and element.
pub(crate) fn sets() -> Vec<(String, Timestamp, String)> {
    let at = Timestamp::from_nanos(1_700_000_000_000_000_000);
    let health = HealthMember {
        timestamp: at,
        health: NodeHealth {
            mem_available: 512,
            ..Default::default()
        },
    };
    let time = |kind: &str, value: &str| {
        let key = format!("performance:{kind}:{COPY}");
        (key, at, mirror::performance_member(at, value))
    };
    vec![
        (
            format!("node:health:{NODE}"),
            at,
            serde_json::to_string(&health).unwrap(),
        ),
        time("function_execution_time", "0.002"),
        time("function_transfer_time", "0.001"),
        time("temperature", "21.5"),
        (
            "performance:temperature:21.5".to_owned(),
            at,
            mirror::performance_member(at, "21.5"),
        ),
    ]
}

/// A Redis of one test, killed when dropped.
pub(crate) struct RedisServer {
    pub(crate) url: String,
    pub(crate) connection: MultiplexedConnection,
    _child: Child,
}

impl RedisServer {
    /// Starts an empty one and waits until it answers.
    pub(crate) async fn start() -> Self {
        loop {
            let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = free.local_addr().unwrap().port();
            drop(free);
            let mut child = Command::new("redis-server")
                .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
                .args(["--save", "", "--dir", "/tmp"])
                .stdout(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .expect("redis-server is installed");
            let url = format!("redis://127.0.0.1:{port}");
            let client = redis::Client::open(url.as_str()).unwrap();
            // It ends by itself when somebody else took the port meanwhile.
            while child.try_wait().unwrap().is_none() {
                if let Ok(connection) = client.get_multiplexed_async_connection().await {
                    return Self {
                        url,
                        connection,
                        _child: child,
                    };
                }
                tokio::task::yield_now().await;
            }
        }
    }

    /// Starts one with the small domain.
    pub(crate) async fn with_domain() -> Self {
        let mut server = Self::start().await;
        let mut pipeline = redis::pipe();
        for (key, value) in state() {
            let text = value.as_str().map_or(value.to_string(), str::to_owned);
            pipeline.cmd("SET").arg(key).arg(text).ignore();
        }
        for (key, at, member) in sets() {
            let add = pipeline.cmd("ZADD").arg(key).arg(at.as_secs_f64());
            add.arg(member).ignore();
        }
        let () = pipeline.query_async(&mut server.connection).await.unwrap();
        server
    }
}

/// Serves the small domain over HTTP, refuses each intent, and returns its address. It ends with
/// the runtime of its test.
pub(crate) async fn status_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            let mut head = Vec::new();
            let mut body_len = 0;
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap();
                let line = line.trim_end().to_owned();
                if line.is_empty() {
                    break;
                }
                if let Some((_, len)) = line.to_lowercase().split_once("content-length: ") {
                    body_len = len.parse().unwrap();
                }
                head.push(line);
            }
            let mut body = vec![0; body_len];
            stream.read_exact(&mut body).await.unwrap();
            let path = head.first().and_then(|line| line.split(' ').nth(1));
            let (status, answer) = answer(path.unwrap_or_default(), &body);
            let text = answer.to_string();
            let len = text.len();
            let response = format!(
                "HTTP/1.1 {status} x\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n{text}"
            );
            stream.write_all(response.as_bytes()).await.unwrap();
        }
    });
    url
}

fn answer(path: &str, body: &[u8]) -> (u16, Value) {
    let url = url::Url::parse(&format!("http://orc{path}")).unwrap();
    let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    match url.path() {
        "/api/v1/state" => {
            let mut state = state();
            state.retain(|key, _| key.starts_with(&query["prefix"]));
            (200, json!(state))
        }
        "/api/v1/nodes" => (200, json!([{ "node_id": NODE, "cordoned": true }])),
        "/api/v1/samples" => {
            let since = query["since"].parse().unwrap();
            let sets = sets().into_iter();
            let set = sets.filter(|(key, at, _)| *key == query["key"] && *at >= since);
            let set: Vec<_> = set.map(|(_, at, member)| (at, member)).collect();
            (200, json!(set))
        }
        "/api/v1/intents" => {
            let posted: Value = serde_json::from_slice(body).unwrap();
            let outcome = json!({
                "key": posted["key"], "value": posted["value"], "timestamp": "1.0",
                "refused": "the node is not feasible",
            });
            (422, outcome)
        }
        "/api/v1/intents/outcomes" => (200, json!([])),
        _ => (404, json!("not found")),
    }
}
