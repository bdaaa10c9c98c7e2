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
use serde_json::json;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_takes_long_is_waited_for_and_holds_up_nobody() {
    let cluster = Cluster::start(plan(1, Mirror::Without)).await.unwrap();
    let rest = &cluster.rest;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let (come, (allow, may)) = (Arc::<AtomicUsize>::default(), watch::channel(false));
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(listener, Arc::clone(&come), may));
    rest.push("noop").await.unwrap();
    let path = "/api/v1/functions/waiter/0.1?function_type=RUST_WASM&outputs=";
    let code = wat::parse_str(CODE).unwrap();
    let (status, body) = rest.send(Method::PUT, path, code).await.unwrap();
    assert!(status.is_success(), "{body}");

    let outside = json!({"functions": [], "resources": [
        resource("outside", "http-egress", &json!({}), &json!({"timeout": "60s"})),
    ]});
    let outside = rest.start(&outside).await.unwrap();
    let (_, node, egress) = rest.placed(&outside).await.unwrap().remove(0);
    let request = json!({"protocol": "HTTP", "method": "GET", "host": host, "path": "/start"});
    let here = json!({"node_id_match_any": node});
    let mut slow = here.clone();
    let ids = [node, egress].map(|it| it.replace('-', "")).concat();
    slow["init-payload"] = format!("h0{ids};{request}").into();
    let slow = json!({"functions": [function("slow", "waiter", &json!({}), &slow)]});
    let meanwhile = async {
        until("it starts", async || {
            Ok((come.load(SeqCst) > 0).then_some(()))
        })
        .await
        .unwrap();
        let (begun, mut others) = (Instant::now(), 0);
        while begun.elapsed() < LONG {
            let document = json!({"functions": [function("quick", "noop", &json!({}), &here)]});
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
    let unanswered = metric(&cluster, "unanswered_calls_total").await.unwrap();
    assert!(unanswered < 1.0, "{unanswered}");
}
