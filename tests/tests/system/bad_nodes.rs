//! Nodes that say nonsense, answer wrongly or never: they harm themselves only, and are counted.

use std::{collections::BTreeSet, time::Instant};

use edgeless_proto::v1;
use edgeless_tests::{
    agent::{Conduct, FakeNode, registration, sound},
    client::function,
    cluster::{Cluster, Mirror},
    wait::until,
};
use serde_json::json;
use tonic::Code;
use uuid::Uuid;

use super::{metric, plan};

/// Starts this many workflows of one function; their ids.
async fn start(cluster: &Cluster, number: usize) -> Vec<String> {
    let functions = json!({"label_match_all": "zone=functions"});
    let document = json!({"functions": [function("n", "noop", &json!({}), &functions)]});
    let mut ids = Vec::new();
    for _ in 0..number {
        let path = "/api/v1/workflows?wait=true";
        let body = document.to_string();
        let sent = cluster.rest.send(reqwest::Method::POST, path, body).await;
        let (status, body) = sent.unwrap();
        assert!(status.is_success(), "{status} {body}");
        ids.push(body["workflow_id"].as_str().unwrap().to_owned());
    }
    ids
}

/// Waits until all run, none of them on these nodes.
async fn all_run(cluster: &Cluster, ids: &[String], not_on: &str) {
    until("all run on sound nodes", async || {
        for id in ids {
            let placed = cluster.rest.placed(id).await?;
            anyhow::ensure!(placed.len() == 1 && placed[0].1 != not_on, "{placed:?}");
        }
        Ok(Some(()))
    })
    .await
    .unwrap();
}

async fn with_noop(functions: usize) -> Cluster {
    let cluster = Cluster::start(plan(functions, Mirror::Without))
        .await
        .unwrap();
    cluster.rest.push("noop").await.unwrap();
    cluster
}

/// A node that behaves like this among sound ones: what it is asked to start runs elsewhere while it is
/// still registered, it is counted, and it is told to stop all of that when it behaves again.
async fn check(conduct: Conduct, counter: &str) {
    let cluster = with_noop(1).await;
    let bad = FakeNode::start(&cluster.register_url, conduct)
        .await
        .unwrap();
    cluster.all_registered(3).await.unwrap();
    let node_id = Uuid::from_slice(&bad.update.node_id).unwrap().to_string();
    let mut ids = Vec::new();
    let begun = Instant::now();
    while bad.starts().is_empty() {
        ids.extend(start(&cluster, 1).await);
    }
    let first = begun.elapsed();
    ids.extend(start(&cluster, 5).await);
    all_run(&cluster, &ids, &node_id).await;
    println!(
        "{conduct:?}: the first start went elsewhere within {first:?}, five more within {:?}",
        begun.elapsed() - first
    );
    assert!(metric(&cluster, counter).await.unwrap() >= 1.0);
    cluster.all_registered(3).await.unwrap();
    bad.behave(Conduct::Well);
    until("it was told to stop everything", async || {
        Ok(bad.is_fenced().then_some(()))
    })
    .await
    .unwrap();
    all_run(&cluster, &ids, &node_id).await;
    bad.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_never_answered_is_tried_elsewhere() {
    check(Conduct::Never, "unanswered_calls_total").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_another_number_of_steps_is_none() {
    check(Conduct::TooFew, "wrong_answers_total").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_content_is_a_failure() {
    check(Conduct::Empty, "wrong_answers_total").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_nobody_needs_is_not_given() {
    check(Conduct::Greedy, "wrong_answers_total").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_that_nobody_could_keep_is_a_failure() {
    check(Conduct::Bloated, "wrong_answers_total").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stands_still_holds_nobody_up() {
    let mut plan = plan(3, Mirror::Without);
    // It is not lost meanwhile.
    for node in &mut plan.nodes {
        node.refresh_interval = std::time::Duration::from_secs(20);
    }
    let cluster = Cluster::start(plan).await.unwrap();
    cluster.rest.push("noop").await.unwrap();
    let still = &cluster.nodes[1];
    still.daemon.signal("STOP").unwrap();
    let mut ids = Vec::new();
    while metric(&cluster, "unanswered_calls_total").await.unwrap() < 1.0 {
        ids.extend(start(&cluster, 1).await);
    }
    ids.extend(start(&cluster, 12).await);
    all_run(&cluster, &ids, &still.node_id).await;
    cluster.all_registered(4).await.unwrap();
    still.daemon.signal("CONT").unwrap();
    until("each function runs once", async || {
        let mut there = Vec::new();
        for node in &cluster.nodes {
            let url = format!("{}/api/v1/instances", node.status_url);
            let all: Vec<serde_json::Value> = reqwest::get(url).await?.json().await?;
            there.extend(all.iter().map(|it| it["workflow_id"].to_string()));
        }
        let once: BTreeSet<_> = there.iter().collect();
        anyhow::ensure!(
            there.len() == ids.len() && once.len() == ids.len(),
            "{there:?}"
        );
        Ok(Some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn registrations_that_make_no_sense_are_refused_by_field_and_counted() {
    type Change = fn(&mut v1::UpdateNodeRequest);
    fn capabilities(update: &mut v1::UpdateNodeRequest) -> &mut v1::NodeCapabilities {
        let profile = update.profile.as_mut().unwrap();
        profile.capabilities.as_mut().unwrap()
    }
    let cluster = with_noop(1).await;
    let mut registration = registration(&cluster.register_url).await.unwrap();
    let wrong: [(&str, Change); 13] = [
        ("refresh_deadline_ms", |it| it.refresh_deadline_ms = 0),
        ("refresh_deadline_ms", |it| {
            it.refresh_deadline_ms = 3_155_760_000_000;
        }),
        ("clock_freq_cpu", |it| {
            capabilities(it).clock_freq_cpu = f32::NAN;
        }),
        ("clock_freq_cpu", |it| {
            capabilities(it).clock_freq_cpu = -1.0;
        }),
        ("clock_freq_cpu", |it| {
            capabilities(it).clock_freq_cpu = 1e30;
        }),
        ("num_cores", |it| capabilities(it).num_cores = 0),
        ("num_cores", |it| capabilities(it).num_cores = u32::MAX),
        ("mem_size", |it| capabilities(it).mem_size = u32::MAX),
        ("labels", |it| {
            capabilities(it).labels = vec!["a".to_owned(); 1_000_000];
        }),
        ("labels", |it| {
            capabilities(it).labels = vec!["a".repeat(1 << 20)];
        }),
        ("runtimes", |it| {
            capabilities(it).runtimes = vec!["a".to_owned(); 1_000_000];
        }),
        ("physical_id", |it| {
            let instance = v1::RunningInstance {
                physical_id: vec![1; 16].into(),
                logical_id: vec![2; 16].into(),
                workflow_id: vec![3; 16].into(),
                generation: 1,
                fingerprint: 0,
            };
            it.running.as_mut().unwrap().instances = vec![instance; 2];
        }),
        ("provider_id", |it| {
            let provider = v1::ResourceProvider {
                provider_id: "log".to_owned(),
                class_type: "file-log".to_owned(),
                outputs: Vec::new(),
            };
            it.profile.as_mut().unwrap().providers = vec![provider; 2];
        }),
    ];
    let number = wrong.len();
    for (field, change) in wrong {
        let mut update = sound("http://127.0.0.1:1");
        change(&mut update);
        let status = registration.update_node(update).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(field), "{field}: {status}");
    }
    let refused = metric(&cluster, "refused_node_updates_total")
        .await
        .unwrap();
    assert_eq!(refused, number as f64);
    cluster.all_registered(2).await.unwrap();
    let ids = start(&cluster, 2).await;
    all_run(&cluster, &ids, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_and_repeated_refreshes_change_nothing_and_one_id_is_one_node() {
    let cluster = with_noop(1).await;
    let fake = FakeNode::start(&cluster.register_url, Conduct::Well)
        .await
        .unwrap();
    cluster.all_registered(3).await.unwrap();
    let mut registration = registration(&cluster.register_url).await.unwrap();
    let refresh = |nonce, sequence, cores| {
        let mut update = fake.update.clone();
        (update.nonce, update.sequence) = (nonce, sequence);
        let profile = update.profile.as_mut().unwrap();
        profile.capabilities.as_mut().unwrap().num_cores = cores;
        update
    };
    let cores = async || {
        let node_id = Uuid::from_slice(&fake.update.node_id).unwrap();
        let key = format!("nodes:capabilities:{node_id}");
        let all = cluster.state(&key).await.unwrap();
        let text = all[&key].to_string();
        let found = [2, 3, 4].into_iter().find(|it| {
            text.replace('\\', "")
                .contains(&format!("\"num_cores\":{it}"))
        });
        found.unwrap_or_else(|| panic!("{text}"))
    };
    registration.update_node(refresh(1, 5, 2)).await.unwrap();
    for sequence in [3, 5, 4] {
        registration
            .update_node(refresh(1, sequence, 3))
            .await
            .unwrap();
    }
    assert_eq!(cores().await, 2, "what is late is not taken");
    assert!(metric(&cluster, "late_node_updates_total").await.unwrap() >= 3.0);

    // Another process with this id takes its place; the first is told.
    registration.update_node(refresh(2, 1, 4)).await.unwrap();
    for sequence in 6..9 {
        let status = registration
            .update_node(refresh(1, sequence, 3))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::AlreadyExists, "{status}");
    }
    assert_eq!(cores().await, 4);
    assert_eq!(
        metric(&cluster, "duplicate_node_updates_total")
            .await
            .unwrap(),
        3.0
    );
    cluster.all_registered(3).await.unwrap();
    fake.end().await;
}
