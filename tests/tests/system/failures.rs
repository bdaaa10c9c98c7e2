//! Daemons die, and the rest goes on.

use edgeless_tests::{
    cluster::{Cluster, Mirror},
    process::ENDING,
    wait::until,
};

use super::{Load, all_logged_once, logged, plan, with_pipeline};

#[tokio::test(flavor = "multi_thread")]
async fn functions_of_a_killed_node_run_elsewhere_and_only_its_events_are_lost() {
    let (mut cluster, id) = with_pipeline(2, Mirror::Without).await;
    let before = cluster.rest.placed(&id).await.unwrap();
    let of = |placed: &[(String, String, String)], name: &str| {
        placed
            .iter()
            .find(|(other, ..)| other == name)
            .unwrap()
            .clone()
    };
    let (_, victim, old_id) = of(&before, "double");
    let load = Load::start(cluster.nodes[0].ingress_url.clone(), "pipe.test");
    load.more(100).await;
    cluster.node(&victim).unwrap().daemon.kill();
    until("`double` runs elsewhere", async || {
        let placed = cluster.rest.placed(&id).await?;
        let moved = placed.len() == 4 && of(&placed, "double").2 != old_id;
        Ok((moved && placed.iter().all(|(_, node, _)| *node != victim)).then_some(()))
    })
    .await
    .unwrap();
    // Everything accepted from now on comes out: the dependants know the new place.
    load.more(300).await;
    let accepted = load.end().await;
    let last = &accepted[accepted.len() - 250..];
    until("the last numbers come out", async || {
        let out = logged(&cluster);
        Ok(last
            .iter()
            .all(|number| out.binary_search(number).is_ok())
            .then_some(()))
    })
    .await
    .unwrap();
    let out = logged(&cluster);
    let lost = accepted
        .iter()
        .filter(|number| out.binary_search(number).is_err())
        .count();
    println!(
        "{lost} of {} events were lost with the node",
        accepted.len()
    );
    let mut once = out.clone();
    once.dedup();
    assert_eq!(once, out, "nothing comes out twice");
    for (name, _, physical_id) in &before {
        let after = of(&cluster.rest.placed(&id).await.unwrap(), name);
        let was_there = *name == "double" || of(&before, name).1 == victim;
        assert_eq!(
            after.2 != *physical_id,
            was_there,
            "only what died is started anew: {name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_orchestrators_may_die_under_load_and_nothing_is_lost_or_restarted() {
    let (mut cluster, id) = with_pipeline(2, Mirror::Without).await;
    let before = cluster.rest.placed(&id).await.unwrap();
    let load = Load::start(cluster.nodes[0].ingress_url.clone(), "pipe.test");
    load.more(50).await;
    for round in 0..3 {
        if round != 1 {
            cluster.orc.kill();
        }
        if round != 0 {
            cluster.con.kill();
        }
        load.more(50).await;
        if round != 1 {
            cluster.orc.restart().unwrap();
        }
        if round != 0 {
            cluster.con.restart().unwrap();
        }
        until("everything is adopted", async || {
            let placed = cluster.rest.placed(&id).await?;
            Ok((placed.len() == 4).then_some(()))
        })
        .await
        .unwrap();
        assert_eq!(
            cluster.rest.placed(&id).await.unwrap(),
            before,
            "round {round}"
        );
        load.more(50).await;
    }
    // Past the grace after which what nobody reported would have been placed anew.
    load.more(500).await;
    let accepted = load.end().await;
    assert_eq!(cluster.rest.placed(&id).await.unwrap(), before);
    all_logged_once(&cluster, &accepted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_told_to_end_hands_its_instances_over_first() {
    let (mut cluster, id) = with_pipeline(2, Mirror::Without).await;
    let load = Load::start(cluster.nodes[0].ingress_url.clone(), "pipe.test");
    load.more(50).await;
    let placed = cluster.rest.placed(&id).await.unwrap();
    let victim = placed
        .iter()
        .find(|(name, ..)| name == "double")
        .unwrap()
        .1
        .clone();
    cluster
        .node(&victim)
        .unwrap()
        .daemon
        .signal("TERM")
        .unwrap();
    let ended = async {
        while cluster.node(&victim).unwrap().daemon.ended().is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(ENDING, ended).await.unwrap();
    until("everything runs elsewhere", async || {
        let placed = cluster.rest.placed(&id).await?;
        let moved = placed.len() == 4 && placed.iter().all(|(_, node, _)| *node != victim);
        Ok(moved.then_some(()))
    })
    .await
    .unwrap();
    load.more(100).await;
    let accepted = load.end().await;
    all_logged_once(&cluster, &accepted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_silent_too_long_stops_what_was_moved_meanwhile() {
    let (mut cluster, id) = with_pipeline(2, Mirror::Without).await;
    let placed = cluster.rest.placed(&id).await.unwrap();
    let victim = placed
        .iter()
        .find(|(name, ..)| name == "double")
        .unwrap()
        .1
        .clone();
    cluster
        .node(&victim)
        .unwrap()
        .daemon
        .signal("STOP")
        .unwrap();
    until("its instances run elsewhere", async || {
        let placed = cluster.rest.placed(&id).await?;
        let moved = placed.len() == 4 && placed.iter().all(|(_, node, _)| *node != victim);
        Ok(moved.then_some(()))
    })
    .await
    .unwrap();
    cluster
        .node(&victim)
        .unwrap()
        .daemon
        .signal("CONT")
        .unwrap();
    cluster.all_registered(3).await.unwrap();
    let load = Load::start(cluster.nodes[0].ingress_url.clone(), "pipe.test");
    load.more(100).await;
    let accepted = load.end().await;
    all_logged_once(&cluster, &accepted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_accepted_workflow_survives_kill_9_and_none_is_left_half_started() {
    let (mut cluster, _) = with_pipeline(1, Mirror::Without).await;
    cluster.rest.push("noop").await.unwrap();
    let document = serde_json::json!({
        "functions": [
            edgeless_tests::client::function("n", "noop", &serde_json::json!({}), &serde_json::json!({})),
        ],
    });
    let mut accepted = Vec::new();
    for _ in 0..3 {
        let rest = cluster.rest.clone();
        let body = document.clone();
        let (number, accepted_now) = tokio::sync::watch::channel(0);
        let flood = tokio::spawn(async move {
            let mut ids = Vec::new();
            while let Ok(id) = rest.start(&body).await {
                ids.push(id);
                number.send_replace(ids.len());
            }
            ids
        });
        // In the middle of them.
        until("some are accepted", async || {
            Ok((*accepted_now.borrow() >= 20).then_some(()))
        })
        .await
        .unwrap();
        cluster.con.kill();
        accepted.extend(flood.await.unwrap());
        cluster.con.restart().unwrap();
        cluster.all_registered(2).await.unwrap();
    }
    assert!(!accepted.is_empty());
    until(
        "everything accepted runs, and everything known is whole",
        async || {
            let all = cluster.rest.get("/api/v1/workflows").await?;
            let known: Vec<&str> = all
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|one| one["workflow_id"].as_str())
                .collect();
            assert!(
                accepted.iter().all(|id| known.contains(&id.as_str())),
                "an accepted one is gone"
            );
            for id in known {
                let status = cluster.rest.get(&format!("/api/v1/workflows/{id}")).await?;
                if status["state"] != "running" {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        },
    )
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_delivered_at_least_once_survives_the_death_of_a_node_under_load() {
    let mut cluster = Cluster::start(plan(2, Mirror::Without)).await.unwrap();
    for name in ["message_generator", "double"] {
        cluster.rest.push(name).await.unwrap();
    }
    let document = crate::tracked_numbers();
    let id = cluster.rest.start(&document).await.unwrap();
    // Numbers come doubled; `logged` halves them.
    let numbers = async |at_least: usize| {
        let ready = async || Ok((logged(&cluster).len() >= at_least).then_some(()));
        until("numbers come out", ready).await.unwrap();
    };
    numbers(300).await;
    let placed = cluster.rest.placed(&id).await.unwrap();
    let (_, victim, _) = placed.iter().find(|(name, ..)| name == "double").unwrap();
    let before = logged(&cluster).len();
    cluster.node(victim).unwrap().daemon.kill();
    until("all numbers come out, none twice", async || {
        let out = logged(&cluster);
        let mut once = out.clone();
        once.dedup();
        assert_eq!(once.len(), out.len(), "nothing comes out twice");
        let gapless = once
            .iter()
            .zip(0..)
            .take_while(|(number, index)| **number == *index);
        Ok((gapless.count() >= before + 2_000).then_some(()))
    })
    .await
    .unwrap();
}
