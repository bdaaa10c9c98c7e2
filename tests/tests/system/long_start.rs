//! A function whose start takes longer than ε-ORC waits for an answer: it is started once, and others on its node
//! do not wait for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use edgeless_tests::{
    client::{function, resource},
    cluster::{Cluster, Mirror},
    wait::until,
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
    task::JoinSet,
};

use super::{metric, plan};

/// At its start it asks a server, and goes on when that has answered.
const CODE: &str = include_str!("../../src/bench/scaling/waiter.wat");
/// More than a node that does not answer is given.
const LONG: Duration = Duration::from_millis(1_500);

/// Answers requests once it may; how many have come.
async fn serve(
    listener: TcpListener,
    come: Arc<AtomicUsize>,
    may: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (mut stream, _) = listener.accept().await?;
        let (come, mut may) = (Arc::clone(&come), may.clone());
        connections.spawn(async move {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                if stream.read_buf(&mut request).await? == 0 {
                    return Ok(());
                }
            }
            come.fetch_add(1, SeqCst);
            may.wait_for(|it| *it).await?;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            anyhow::Ok(stream.write_all(answer).await?)
        });
    }
}

/// A cluster of one node, and a server outside that answers when it may.
struct Outside {
    cluster: Cluster,
    come: Arc<AtomicUsize>,
    allow: watch::Sender<bool>,
    /// The request to it.
    request: Value,
    /// The annotation that places something on the node.
    here: Value,
    /// What a `waiter` is told, after how it answers and what it asks: who is called.
    called: String,
    _server: JoinSet<anyhow::Result<()>>,
}

impl Outside {
    async fn start() -> Self {
        let cluster = Cluster::start(plan(1, Mirror::Without)).await.unwrap();
        let rest = &cluster.rest;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (come, (allow, may)) = (Arc::<AtomicUsize>::default(), watch::channel(false));
        let mut server = JoinSet::new();
        server.spawn(serve(listener, Arc::clone(&come), may));
        let path = "/api/v1/functions/waiter/0.1?function_type=RUST_WASM&outputs=";
        let code = wat::parse_str(CODE).unwrap();
        let (status, body) = rest.send(Method::PUT, path, code).await.unwrap();
        assert!(status.is_success(), "{body}");
        let outside = json!({"functions": [], "resources": [
            resource("outside", "http-egress", &json!({}), &json!({"timeout": "60s"})),
        ]});
        let outside = rest.start(&outside).await.unwrap();
        let (_, node, egress) = rest.placed(&outside).await.unwrap().remove(0);
        let path = "/start";
        Self {
            request: json!({"protocol": "HTTP", "method": "GET", "host": host, "path": path}),
            here: json!({"node_id_match_any": node}),
            called: [node, egress].map(|it| it.replace('-', "")).concat(),
            cluster,
            come,
            allow,
            _server: server,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_takes_long_is_waited_for_and_holds_up_nobody() {
    let outside = Outside::start().await;
    let Outside {
        cluster,
        come,
        allow,
        request,
        here,
        called,
        ..
    } = &outside;
    let rest = &cluster.rest;
    rest.push("noop").await.unwrap();
    let mut slow = here.clone();
    slow["init-payload"] = format!("h0{called};{request}").into();
    let slow = json!({"functions": [function("slow", "waiter", &json!({}), &slow)]});
    let meanwhile = async {
        until("it starts", async || {
            Ok((come.load(SeqCst) > 0).then_some(()))
        })
        .await
        .unwrap();
        let (begun, mut others) = (Instant::now(), 0);
        while begun.elapsed() < LONG {
            let document = json!({"functions": [function("quick", "noop", &json!({}), here)]});
            rest.start(&document).await.unwrap();
            others += 1;
        }
        allow.send(true).unwrap();
        others
    };
    let (slow, others) = tokio::join!(rest.start(&slow), meanwhile);
    assert_eq!(rest.placed(&slow.unwrap()).await.unwrap().len(), 1);
    assert!(others >= 3, "{others} started meanwhile");
    assert_eq!(come.load(SeqCst), 1, "it was started once");
    let unanswered = metric(cluster, "unanswered_calls_total").await.unwrap();
    assert!(unanswered < 1.0, "{unanswered}");
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_are_off_start_together_for_an_order_that_passes_them_one_after_the_other() {
    let outside = Outside::start().await;
    let Outside {
        cluster,
        come,
        allow,
        request,
        called,
        ..
    } = &outside;
    let names = ["A", "B", "C"];
    for name in names {
        let annotations = json!({"init-payload": format!("o0{called};{request}")});
        let more = json!({"annotations": annotations, "min_instances": 0, "timeout": "1min"});
        let service = super::orders::service("waiter", &more);
        super::orders::put(cluster, &format!("services/{name}"), &service).await;
    }
    let order = json!({"input": request, "tasks": names}).to_string();
    let path = "/api/v1/orders";
    let sent = cluster.rest.send(Method::POST, path, order).await.unwrap();
    assert!(sent.0.is_success(), "{}", sent.1);
    until("all of them start", async || {
        Ok((come.load(SeqCst) == names.len()).then_some(()))
    })
    .await
    .unwrap();
    allow.send(true).unwrap();
    until("the order has ended", async || {
        let figures = cluster.rest.get("/api/v1/orders/figures").await?;
        Ok((figures["ended"] == 1).then_some(()))
    })
    .await
    .unwrap();
    // Each was started once, and asks again for its task.
    assert_eq!(come.load(SeqCst), 2 * names.len());
}
