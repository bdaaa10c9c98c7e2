//! A zone is lost: all its nodes die at once.

use edgeless_tests::{
    client::function,
    cluster::{Cluster, Mirror, NodePlan, OFTEN, Plan},
    wait::until,
};
use serde_json::{Value, json};

const ZONES: [&str; 3] = ["north", "east", "south"];
/// Functions that may run anywhere.
const ANYWHERE: usize = 12;

/// Two nodes in each zone.
async fn zones() -> Cluster {
    let node = |zone: &&str| NodePlan {
        resources: false,
        labels: vec![format!("zone={zone}")],
        refresh_interval: OFTEN,
        shards: 1,
    };
    let nodes = ZONES.iter().chain(&ZONES).map(node).collect();
    let mirror = Mirror::Without;
    let cluster = Cluster::start(Plan { nodes, mirror }).await.unwrap();
    cluster.rest.push("noop").await.unwrap();
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_feasible_elsewhere_survives_the_loss_of_a_zone() {
    let mut cluster = zones().await;
    let mut functions: Vec<Value> = (0..ANYWHERE)
        .map(|number| function(&format!("any-{number}"), "noop", &json!({}), &json!({})))
        .collect();
    for zone in ZONES {
        let here = json!({"label_match_all": format!("zone={zone}")});
        functions.push(function(zone, "noop", &json!({}), &here));
    }
    let document = json!({"functions": functions});
    let id = cluster.rest.start(&document).await.unwrap();
    let before = cluster.rest.placed(&id).await.unwrap();
    assert_eq!(before.len(), ANYWHERE + ZONES.len());

    let lost: Vec<String> = [0, 3].map(|at| cluster.nodes[at].node_id.clone()).to_vec();
    let hit = |node_id: &String| lost.contains(node_id);
    assert!(
        before.iter().filter(|(_, node, _)| hit(node)).count() > 1,
        "the zone is used"
    );
    for node_id in &lost {
        cluster.node(node_id).unwrap().daemon.kill();
    }
    until(
        "all but what wants the lost zone runs elsewhere",
        async || {
            let after = cluster.rest.placed(&id).await?;
            let elsewhere = after.len() == before.len() - 1 && !after.iter().any(|it| hit(&it.1));
            anyhow::ensure!(elsewhere, "{after:?}");
            Ok(Some(()))
        },
    )
    .await
    .unwrap();
    let after = cluster.rest.placed(&id).await.unwrap();
    for it in before.iter().filter(|(_, node, _)| !hit(node)) {
        assert!(after.contains(it), "what was not hit goes on: {it:?}");
    }
    // Not of the other node of the zone, which was lost a little later.
    until(
        "it says why the one that wants the lost zone waits",
        async || {
            let status = cluster.rest.get(&format!("/api/v1/workflows/{id}")).await?;
            let mut all = status["functions"].as_array().unwrap().iter();
            let pinned = all.find(|it| it["name"] == ZONES[0]).unwrap();
            let waiting = pinned["waiting"].as_str().unwrap_or_default();
            anyhow::ensure!(waiting.contains("label_match_all"), "{pinned}");
            Ok(Some(()))
        },
    )
    .await
    .unwrap();

    for at in [0, 3] {
        cluster.nodes[at].daemon.restart().unwrap();
    }
    until("it runs again when the zone is back", async || {
        let all = cluster.rest.placed(&id).await?;
        Ok((all.len() == before.len()).then_some(()))
    })
    .await
    .unwrap();
}
