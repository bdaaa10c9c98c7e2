//! A node that lives on while ε-ORC and it do not see one another.

use std::collections::BTreeMap;

use edgeless_tests::{
    client::{function, resource},
    cluster::{Cluster, Mirror, NodePlan, OFTEN},
    proxy::Proxy,
    wait::until,
};
use serde_json::{Value, json};

use super::{logged, plan};

/// Two nodes for functions, the second behind proxies.
async fn with_proxies() -> (Cluster, [Proxy; 2]) {
    let mut cluster = Cluster::start(plan(1, Mirror::Without)).await.unwrap();
    let node = NodePlan {
        resources: false,
        labels: vec!["zone=functions".to_owned(), "name=far".to_owned()],
        refresh_interval: OFTEN,
        shards: 1,
    };
    let proxies = cluster.add_node_behind_proxies(&node).await.unwrap();
    cluster.all_registered(3).await.unwrap();
    (cluster, proxies)
}

/// On which nodes, by name, the instances of a workflow really run; what the nodes say.
async fn running(
    cluster: &Cluster,
    workflow: &str,
) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let mut found = BTreeMap::new();
    for node in &cluster.nodes {
        let url = format!("{}/api/v1/instances", node.status_url);
        let all: Vec<Value> = reqwest::get(url).await?.json().await?;
        let ours = all.iter().filter(|it| it["workflow_id"] == workflow);
        let ids = ours.map(|it| it["physical_id"].as_str().unwrap().to_owned());
        found.insert(node.node_id.clone(), ids.collect());
    }
    Ok(found)
}

/// Moves a vertex to the node behind the proxies.
async fn send_far(cluster: &Cluster, workflow: &str, name: &str) {
    let far = &cluster.nodes[2].node_id;
    let lid = super::logical_id(&cluster.rest, workflow, name).await;
    let intent = json!({"key": format!("intent:migrate:{lid}"), "value": far});
    let (status, answer) = super::placing::post_json(cluster, "/api/v1/intents", &intent).await;
    assert!(status.is_success(), "{status} {answer}");
    until("it runs behind the proxies", async || {
        let placed = cluster.rest.placed(workflow).await?;
        let there = placed.iter().any(|it| it.0 == name && it.1 == *far);
        Ok(there.then_some(()))
    })
    .await
    .unwrap();
}

/// Cuts the node off, waits until it is lost and all of the workflow runs elsewhere.
async fn cut(cluster: &Cluster, proxies: &[Proxy; 2], workflow: &str, number: usize) {
    let far = &cluster.nodes[2].node_id;
    proxies.iter().for_each(Proxy::cut);
    cluster.all_registered(2).await.unwrap();
    until("all of it runs elsewhere", async || {
        let placed = cluster.rest.placed(workflow).await?;
        let moved = placed.len() == number && placed.iter().all(|it| it.1 != *far);
        Ok(moved.then_some(()))
    })
    .await
    .unwrap();
    let there = &running(cluster, workflow).await.unwrap()[far];
    assert!(
        !there.is_empty(),
        "the node lives on and knows nothing of it"
    );
}

/// Ends the partition; afterwards what runs is what ε-ORC says.
async fn mend(cluster: &Cluster, proxies: &[Proxy; 2], workflow: &str) {
    proxies.iter().for_each(Proxy::mend);
    cluster.all_registered(3).await.unwrap();
    until("each instance runs once", async || {
        let mut there: Vec<String> = running(cluster, workflow)
            .await?
            .into_values()
            .flatten()
            .collect();
        let placed = cluster.rest.placed(workflow).await?;
        let mut wanted: Vec<String> = placed.into_iter().map(|(_, _, id)| id).collect();
        there.sort();
        wanted.sort();
        anyhow::ensure!(there == wanted, "{there:?} run, not {wanted:?}");
        Ok(Some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_delivered_at_least_once_comes_through_a_partition_once() {
    let (cluster, proxies) = with_proxies().await;
    for name in ["message_generator", "double"] {
        cluster.rest.push(name).await.unwrap();
    }
    let document = crate::tracked_numbers();
    let id = cluster.rest.start(&document).await.unwrap();
    send_far(&cluster, &id, "double").await;
    let numbers = async |more: usize| {
        let goal = logged(&cluster).len() + more;
        until("numbers come out, none missing, none twice", async || {
            let out = logged(&cluster);
            let in_order = out
                .iter()
                .zip(0..)
                .take_while(|(number, index)| **number == *index);
            let (gapless, all) = (in_order.count(), out.len());
            anyhow::ensure!(gapless >= goal, "{gapless} of {all} in a row");
            Ok(Some(()))
        })
        .await
        .unwrap();
    };
    numbers(200).await;
    for _ in 0..2 {
        cut(&cluster, &proxies, &id, 3).await;
        numbers(500).await;
        mend(&cluster, &proxies, &id).await;
        numbers(500).await;
        send_far(&cluster, &id, "double").await;
        numbers(200).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn state_that_was_reported_before_a_partition_is_not_lost() {
    let (cluster, proxies) = with_proxies().await;
    cluster.rest.push("counter").await.unwrap();
    let functions = json!({"label_match_all": "zone=functions"});
    let host = json!({"host": "count.test"});
    let document = json!({
        "functions": [function("counter", "counter", &json!({}), &functions)],
        "resources": [resource("entry", "http-ingress", &json!({"new_request": "counter"}), &host)],
    });
    let id = cluster.rest.start(&document).await.unwrap();
    send_far(&cluster, &id, "counter").await;
    let url = cluster.nodes[0].ingress_url.clone();
    let http = reqwest::Client::new();
    let count = async || {
        let answer = http.post(&url).header("host", "count.test").send().await?;
        Ok::<u64, anyhow::Error>(answer.error_for_status()?.text().await?.parse()?)
    };
    let again = async || {
        until("it counts", async || Ok(Some(count().await?)))
            .await
            .unwrap()
    };
    let mut last = 0;
    while last < 20 {
        last = again().await;
    }
    // State travels with the refresh after it was saved. All nodes refresh equally often.
    let updates = async || super::metric(&cluster, "node_updates_total").await;
    let goal = updates().await.unwrap() + 3.0 * 4.0;
    until("the state is reported", async || {
        Ok((updates().await? > goal).then_some(()))
    })
    .await
    .unwrap();
    cut(&cluster, &proxies, &id, 2).await;
    let after = again().await;
    assert!(after > last, "{last}, then {after}");
    mend(&cluster, &proxies, &id).await;
    assert!(
        again().await > after,
        "the old copy has not taken its place"
    );
}
