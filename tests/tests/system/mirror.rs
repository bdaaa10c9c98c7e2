//! The mirror against document 004, and a Redis that comes and goes.

use std::collections::BTreeSet;

use edgeless_tests::{
    cluster::{Cluster, Mirror},
    process::redis,
    wait::until,
};
use redis::AsyncCommands;
use serde_json::Value;

use super::{Load, all_logged_once, logical_id, with_pipeline};

pub(super) async fn connect(
    cluster: &Cluster,
) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
    let client = redis::Client::open(cluster.redis_url.as_str())?;
    client.get_multiplexed_async_connection().await
}

async fn keys(cluster: &Cluster, pattern: &str) -> anyhow::Result<BTreeSet<String>> {
    Ok(connect(cluster).await?.keys(pattern).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_values_and_scores_are_those_of_the_document() {
    let (cluster, id) = with_pipeline(2, Mirror::Running).await;
    let load = Load::start(cluster.nodes[0].ingress_url.clone(), "pipe.test");
    load.more(50).await;
    all_logged_once(&cluster, &load.end().await).await;
    let placed = cluster.rest.placed(&id).await.unwrap();
    let mut redis = connect(&cluster).await.unwrap();
    let domain: String = redis.get("domain_info:domain_id").await.unwrap();
    assert_eq!(domain, "test-domain");
    for node in &cluster.nodes {
        let key = format!("nodes:capabilities:{}", node.node_id);
        let text: String = redis.get(key).await.unwrap();
        let capabilities: Value = serde_json::from_str(&text).unwrap();
        for field in [
            "num_cpus",
            "num_cores",
            "mem_size",
            "labels",
            "is_tee_running",
            "runtimes",
        ] {
            assert!(capabilities.get(field).is_some(), "{field}");
        }
        let health: Vec<(String, f64)> = redis
            .zrange_withscores(format!("node:health:{}", node.node_id), 0, -1)
            .await
            .unwrap();
        let (member, score) = health.last().unwrap();
        let member: Value = serde_json::from_str(member).unwrap();
        assert!(member.get("mem_free").is_some());
        let timestamp: f64 = member["timestamp"].as_str().unwrap().parse().unwrap();
        assert!((timestamp - score).abs() < 0.001);
    }
    for (name, node_id, physical_id) in &placed {
        let lid = logical_id(&cluster.rest, &id, name).await;
        let text: String = redis.get(format!("instance:{lid}")).await.unwrap();
        let instance: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(instance["instances"][0]["node_id"], node_id.as_str());
        assert_eq!(
            instance["instances"][0]["physical_id"],
            physical_id.as_str()
        );
        let text: String = redis.get(format!("dependency:{lid}")).await.unwrap();
        let _: Value = serde_json::from_str(&text).unwrap();
        if name == "entry" {
            // A source handles no events.
            continue;
        }
        for metric in ["function_execution_time", "function_transfer_time"] {
            let key = format!("performance:{metric}:{physical_id}");
            until("the samples are mirrored", async || {
                let mut redis = connect(&cluster).await?;
                let set: Vec<(String, f64)> = redis.zrange_withscores(&key, 0, -1).await?;
                let Some((member, score)) = set.first().cloned() else {
                    return Ok(None);
                };
                let (timestamp, value) = member.split_once(':').unwrap();
                assert!((timestamp.parse::<f64>().unwrap() - score).abs() < 0.001);
                assert!(value.parse::<f64>().unwrap() >= 0.0);
                Ok(Some(()))
            })
            .await
            .unwrap();
        }
    }
    let providers = keys(&cluster, "provider:*").await.unwrap();
    assert!(
        providers.iter().any(|key| key.contains("http-ingress")),
        "{providers:?}"
    );
    last_updates(&mut redis).await;
}

async fn last_updates(redis: &mut redis::aio::MultiplexedConnection) {
    for kind in ["nodes:capabilities", "provider", "instance", "dependency"] {
        let updated: String = redis.get(format!("{kind}:last_update")).await.unwrap();
        assert!(updated.parse::<f64>().unwrap() > 1e9, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_absent_killed_or_empty_delays_only_the_mirror() {
    let (mut cluster, id) = with_pipeline(1, Mirror::Absent).await;
    let degraded = async |wanted: &str| {
        let report = cluster.orc_http.get("/readyz").await?;
        Ok((report["status"] == wanted).then_some(()))
    };
    until("it says degraded", async || degraded("degraded").await)
        .await
        .unwrap();
    let port = cluster
        .redis_url
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    for _ in 0..2 {
        cluster.redis = Some(redis(port, cluster.folder()).unwrap());
        until("the mirror is whole", async || {
            let mirrored = keys(&cluster, "*").await?;
            let state = cluster.state("").await?;
            let whole = state
                .as_object()
                .unwrap()
                .keys()
                .all(|key| mirrored.contains(key));
            let report = cluster.orc_http.get("/readyz").await?;
            Ok((whole && report["status"] == "ready").then_some(()))
        })
        .await
        .unwrap();
        cluster.redis.as_mut().unwrap().kill();
        // Decisions go on without it.
        let other = cluster
            .rest
            .start(&super::pipeline("second.test"))
            .await
            .unwrap();
        let path = format!("/api/v1/workflows/{other}");
        let (status, _) = cluster
            .rest
            .send(reqwest::Method::DELETE, &path, "")
            .await
            .unwrap();
        assert_eq!(status, 204);
    }
    let lid = logical_id(&cluster.rest, &id, "double").await;
    let mapping = cluster.dataset.join("mapping_to_instance_id.csv");
    assert!(std::fs::read_to_string(mapping).unwrap().contains(&lid));
}

#[tokio::test(flavor = "multi_thread")]
async fn intents_come_from_redis_in_order() {
    let (cluster, id) = with_pipeline(2, Mirror::Running).await;
    let lid = logical_id(&cluster.rest, &id, "double").await;
    let placed = cluster.rest.placed(&id).await.unwrap();
    let home = &placed.iter().find(|(name, ..)| name == "double").unwrap().1;
    let other = cluster.nodes[1..]
        .iter()
        .find(|node| node.node_id != *home)
        .unwrap();
    let mut redis = connect(&cluster).await.unwrap();
    let key = format!("intent:migrate:{lid}");
    let _: () = redis.set(&key, &other.node_id).await.unwrap();
    let _: () = redis
        .rpush("intents", &["intent:cordon:nobody", &key])
        .await
        .unwrap();
    until("both are processed", async || {
        let mut redis = connect(&cluster).await?;
        let outcomes: Vec<String> = redis.lrange("intent_outcomes", 0, -1).await?;
        let placed = cluster.rest.placed(&id).await?;
        let double = placed.iter().find(|(name, ..)| name == "double");
        let moved = double.is_some_and(|(_, node, _)| *node == other.node_id);
        let told = outcomes.len() == 2 && outcomes[1].contains("not a UUID");
        anyhow::ensure!(moved && told, "{outcomes:?} {placed:?}");
        Ok(Some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_dies_under_load_is_made_whole() {
    let (mut cluster, id) = with_pipeline(2, Mirror::Running).await;
    let load = Load::start(cluster.nodes[0].ingress_url.clone(), "pipe.test");
    let port = cluster.redis_url.rsplit(':').next().unwrap();
    let port = port.parse().unwrap();
    let placed = cluster.rest.placed(&id).await.unwrap();
    let double = placed.iter().find(|(name, ..)| name == "double").unwrap();
    let samples = format!("performance:function_execution_time:{}", double.2);
    for _ in 0..3 {
        load.more(100).await;
        cluster.redis.as_mut().unwrap().kill();
        // What is decided meanwhile is in the mirror afterwards, too.
        let host = "meanwhile.test";
        let other = cluster.rest.start(&super::pipeline(host)).await.unwrap();
        let lid = logical_id(&cluster.rest, &other, "double").await;
        load.more(100).await;
        cluster.redis = Some(redis(port, cluster.folder()).unwrap());
        until("the mirror is whole, and samples go on", async || {
            let mirrored = keys(&cluster, "*").await?;
            let state = cluster.state("").await?;
            let all = state.as_object().unwrap().keys();
            let missing: Vec<_> = all.filter(|key| !mirrored.contains(*key)).collect();
            anyhow::ensure!(missing.is_empty(), "{missing:?}");
            let seen = mirrored.contains(&samples) && mirrored.contains(&format!("instance:{lid}"));
            let report = cluster.orc_http.get("/readyz").await?;
            anyhow::ensure!(seen && report["status"] == "ready", "{report}");
            Ok(Some(()))
        })
        .await
        .unwrap();
        let path = format!("/api/v1/workflows/{other}");
        let delete = reqwest::Method::DELETE;
        assert_eq!(cluster.rest.send(delete, &path, "").await.unwrap().0, 204);
        until("what is gone is gone from the mirror", async || {
            let gone = keys(&cluster, &format!("*:{lid}")).await?.is_empty();
            Ok(gone.then_some(()))
        })
        .await
        .unwrap();
    }
    assert_eq!(cluster.rest.placed(&id).await.unwrap(), placed);
    all_logged_once(&cluster, &load.end().await).await;
}
