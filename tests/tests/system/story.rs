//! The story: requests enter over HTTP, pass functions on other nodes and end in a file.

use edgeless_tests::{cluster::Mirror, wait::until};
use futures_util::{StreamExt, stream};

use super::{all_logged_once, request, with_pipeline};

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_are_each_answered_and_logged_exactly_once() {
    let (cluster, id) = with_pipeline(2, Mirror::Without).await;
    let placed = cluster.rest.placed(&id).await.unwrap();
    assert_eq!(placed.len(), 4);
    let resources = &cluster.nodes[0].node_id;
    for (name, node_id, _) in &placed {
        assert_eq!(
            node_id == resources,
            name == "entry" || name == "log",
            "{placed:?}"
        );
    }
    let (http, url) = (reqwest::Client::new(), cluster.nodes[0].ingress_url.clone());
    let numbers: Vec<u64> = (1..=1_000).collect();
    let answers = stream::iter(numbers.clone())
        .map(|number| request(&http, &url, "pipe.test", number.to_string()))
        .buffer_unordered(32)
        .collect::<Vec<bool>>()
        .await;
    assert!(answers.into_iter().all(|answered| answered));
    all_logged_once(&cluster, &numbers).await;

    // The samples of all four vertices are in the datasets, row by row.
    let path = cluster.dataset.join("performance_samples.csv");
    until("all samples are recorded", async || {
        let text = std::fs::read_to_string(&path)?;
        let of_log = &placed.iter().find(|(name, ..)| name == "log").unwrap().2;
        let rows = text.lines().filter(|line| {
            line.starts_with("function_execution_time") && line.contains(of_log.as_str())
        });
        Ok((rows.count() == 1_000).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_workflow_is_gone_everywhere() {
    let (cluster, id) = with_pipeline(1, Mirror::Without).await;
    let path = format!("/api/v1/workflows/{id}");
    let (status, _) = cluster
        .rest
        .send(reqwest::Method::DELETE, &path, "")
        .await
        .unwrap();
    assert_eq!(status, 204);
    let (status, _) = cluster
        .rest
        .send(reqwest::Method::GET, &path, "")
        .await
        .unwrap();
    assert_eq!(status, 404);
    until("nothing runs any more", async || {
        let state = cluster.state("instance:").await?;
        let only_updates = state
            .as_object()
            .unwrap()
            .keys()
            .all(|key| key.ends_with("last_update"));
        let http = reqwest::Client::new();
        let response = http
            .post(&cluster.nodes[0].ingress_url)
            .header("host", "pipe.test");
        Ok((only_updates && response.send().await?.status() == 404).then_some(()))
    })
    .await
    .unwrap();
}
