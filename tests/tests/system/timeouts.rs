//! The time-out of an HTTP request bounds how long its client waits, and not what its handling has set off.

use std::time::{Duration, Instant};

use edgeless_tests::{
    cluster::{Cluster, Mirror},
    wait::until,
};

use super::{all_logged_once, logged, pipeline, plan, request};

/// How long clients wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Requests, and so casts to the function that takes long.
const REQUESTS: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn what_answered_requests_have_set_off_is_done_after_their_time_out_too() {
    let cluster = Cluster::start(plan(1, Mirror::Without)).await.unwrap();
    for name in ["http_processor", "double"] {
        cluster.rest.push(name).await.unwrap();
    }
    let mut document = pipeline("short.test");
    let timeout = format!("{}s", TIMEOUT.as_secs());
    document["resources"][0]["configurations"]["timeout"] = timeout.into();
    let id = cluster.rest.start(&document).await.unwrap();
    let placed = cluster.rest.placed(&id).await.unwrap();
    let (_, node_id, double) = placed.iter().find(|it| it.0 == "double").unwrap();
    let mut nodes = cluster.nodes.iter();
    let node = nodes.find(|it| it.node_id == *node_id).unwrap();
    let http = reqwest::Client::new();
    let set = async |verb: &str| {
        let url = format!("{}/api/v1/instances/{double}/{verb}", node.status_url);
        assert_eq!(http.post(url).send().await.unwrap().status(), 204);
    };
    set("pause").await;
    let url = &cluster.nodes[0].ingress_url;
    for number in 1..=REQUESTS {
        assert!(request(&http, url, "short.test", number.to_string()).await);
    }
    let answered = Instant::now();
    let is_over = async || Ok((answered.elapsed() > TIMEOUT).then_some(()));
    until("the time-out is over", is_over).await.unwrap();
    assert!(logged(&cluster).is_empty());
    set("resume").await;
    all_logged_once(&cluster, &(1..=REQUESTS).collect::<Vec<_>>()).await;
}
