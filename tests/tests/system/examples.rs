//! The example workflows run as they are and do what they say.

use std::{collections::BTreeSet, fs, path::Path};

use edgeless_tests::{
    cluster::{Cluster, Mirror},
    process::root,
    wait::until,
};
use serde_json::Value;

use super::plan;

/// Starts an example with all functions it needs.
async fn start(cluster: &Cluster, path: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(path)?;
    let document: Value = match path.extension().is_some_and(|it| it == "yaml") {
        true => serde_saphyr::from_str(&text)?,
        false => serde_json::from_str(&text)?,
    };
    let functions = document["functions"].as_array().into_iter().flatten();
    let classes = functions.filter_map(|it| it["class_specification"]["id"].as_str());
    for class in classes.collect::<BTreeSet<_>>() {
        cluster.rest.push(class).await?;
    }
    cluster.rest.start(&document).await
}

/// What a request to a host behind the ingress is answered with.
async fn answer(cluster: &Cluster, host: &str, body: &'static str) -> anyhow::Result<String> {
    let url = &cluster.nodes[0].ingress_url;
    let request = reqwest::Client::new().post(url).header("host", host);
    let response = request.body(body).send().await?.error_for_status()?;
    Ok(response.text().await?)
}

/// Waits until a file has a line that will do.
async fn line(cluster: &Cluster, file: &str, fits: impl Fn(&str) -> bool) {
    until(file, async || {
        let lines = cluster.logged(file);
        Ok(lines.iter().any(|line| fits(line)).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_workflow_runs_and_does_what_it_says() {
    let cluster = Cluster::start(plan(2, Mirror::Without)).await.unwrap();
    let mut files: Vec<_> = fs::read_dir(root().join("configs/workflows"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for path in &files {
        start(&cluster, path).await.unwrap();
    }
    let counted = answer(&cluster, "counter.edgeless", "").await.unwrap();
    assert_eq!(counted.trim(), "1");
    let echoed = answer(&cluster, "echo.edgeless", "hello").await.unwrap();
    assert!(echoed.contains("echo.edgeless"), "{echoed}");
    line(&cluster, "ping_pong.log", |line| line.contains("ping 1")).await;
    answer(&cluster, "demo.edgeless", "21").await.unwrap();
    line(&cluster, "doubled.log", |line| line.ends_with(" 42")).await;
    answer(&cluster, "vectors.edgeless", "4,5,6").await.unwrap();
    line(&cluster, "products.log", |line| line == "32").await;
    // 0, 1, 2, … doubled, from 10 on.
    line(&cluster, "chain.log", |line| line == "11").await;
    // 0, 1, 2, … added up by a component.
    line(&cluster, "sums.log", |line| line.ends_with("10")).await;
    line(&cluster, "averages.log", |line| line.ends_with(" 2")).await;
}
