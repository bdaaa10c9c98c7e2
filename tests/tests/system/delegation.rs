//! The delegated orchestrator of `docs/`: it reads the mirror, moves a function, and is told what is wrong.

use std::{path::PathBuf, process::Stdio};

use edgeless_tests::{
    cluster::{Cluster, Mirror, NodePlan, OFTEN},
    process::root,
    wait::until,
};
use redis::AsyncCommands;
use serde_json::Value;
use uuid::Uuid;

use super::{Load, all_logged_once, logical_id, mirror, with_pipeline};

/// A Python that has redis-py; none: it is not installed.
fn python() -> Option<PathBuf> {
    let candidates = ["python3", "/usr/bin/python3"];
    let found = candidates.into_iter().find(|program| {
        let mut command = std::process::Command::new(program);
        let command = command.args(["-c", "import redis"]).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    });
    found.map(PathBuf::from)
}

/// Runs the script; what it printed.
async fn script(cluster: &Cluster, arguments: &[&str]) -> String {
    let python = python().expect("`cargo xtask test` installs python3-redis");
    let output = tokio::process::Command::new(python)
        .arg(root().join("docs/delegated_orchestrator.py"))
        .args(["--redis", &cluster.redis_url, "--once", "--margin", "0"])
        .args(arguments)
        .output()
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_party_balances_nodes_by_what_the_mirror_says() {
    let (mut cluster, id) = with_pipeline(1, Mirror::Running).await;
    let idle = NodePlan {
        resources: false,
        labels: vec!["zone=functions".to_owned()],
        refresh_interval: OFTEN,
        shards: 1,
    };
    let register_url = cluster.register_url.clone();
    cluster.add_node(&idle, &register_url).unwrap();
    cluster.all_registered(3).await.unwrap();
    let (busy, idle) = (&cluster.nodes[1].node_id, &cluster.nodes[2].node_id);
    let on = async |node_id: &str| {
        let placed = cluster.rest.placed(&id).await.unwrap();
        let there = placed.iter().filter(|(_, node, _)| node == node_id);
        there.count()
    };
    assert_eq!((on(busy).await, on(idle).await), (2, 0));
    let load = Load::start(cluster.nodes[0].ingress_url.clone(), "pipe.test");
    let redis = mirror::connect(&cluster).await.unwrap();
    for (name, _, physical_id) in cluster.rest.placed(&id).await.unwrap() {
        let key = format!("performance:function_execution_time:{physical_id}");
        until("samples are mirrored", async || {
            let number: u64 = redis.clone().zcard(&key).await?;
            Ok((name == "entry" || number > 10).then_some(()))
        })
        .await
        .unwrap();
    }

    let said = script(&cluster, &["--dry-run"]).await;
    assert!(
        said.contains("nothing is moved: this is a dry run"),
        "{said}"
    );
    assert_eq!((on(busy).await, on(idle).await), (2, 0));

    // The node of the resources is as idle, but not feasible: it may be asked for, and is refused.
    let said = script(&cluster, &[]).await;
    assert!(said.contains(&format!("runs on {idle} now")), "{said}");
    until("one function has moved", async || {
        let moved = (on(busy).await, on(idle).await) == (1, 1);
        Ok(moved.then_some(()))
    })
    .await
    .unwrap();
    load.more(50).await;
    let said = script(&cluster, &[]).await;
    assert!(said.contains("nothing is moved"), "{said}");
    all_logged_once(&cluster, &load.end().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intent_that_is_wrong_is_answered_in_the_list_of_outcomes() {
    let (cluster, id) = with_pipeline(1, Mirror::Running).await;
    let lid = logical_id(&cluster.rest, &id, "double").await;
    let (nobody, resources) = (Uuid::new_v4().to_string(), &cluster.nodes[0].node_id);
    let wrong = [
        (
            format!("intent:migrate:{lid}"),
            nobody.as_str(),
            "is not known",
        ),
        (
            format!("intent:migrate:{nobody}"),
            resources.as_str(),
            "is not known",
        ),
        (
            format!("intent:migrate:{lid}"),
            resources.as_str(),
            "is not feasible",
        ),
        (format!("intent:migrate:{lid}"), "the moon", "is not a UUID"),
        ("intent:fly:high".to_owned(), "", "is none of"),
    ];
    let before = cluster.rest.placed(&id).await.unwrap();
    let mut redis = mirror::connect(&cluster).await.unwrap();
    for (key, value, reason) in wrong {
        let _: () = redis.set(&key, value).await.unwrap();
        let _: () = redis.rpush("intents", &key).await.unwrap();
        until("it is answered", async || {
            let newest: Option<String> = redis.clone().lindex("intent_outcomes", 0).await?;
            let outcome: Value = serde_json::from_str(&newest.unwrap_or_default())?;
            let refused = outcome["refused"].as_str().unwrap_or_default();
            anyhow::ensure!(refused.contains(reason), "{key} = {value}: {outcome}");
            Ok(Some(()))
        })
        .await
        .unwrap();
    }
    assert_eq!(cluster.rest.placed(&id).await.unwrap(), before);
}
