//! Several domains under one ε-CON.

use edgeless_proto::v1::{self, function_instance_client::FunctionInstanceClient};
use edgeless_tests::{
    client::{Rest, function},
    cluster::{Cluster, Mirror, NodePlan, OFTEN},
    domains::Domain,
    wait::until,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::plan;

const WORKFLOWS: &str = "/api/v1/workflows";

/// A cluster of three domains: one without labels of its own, `east` and `west`.
async fn three_domains() -> (Cluster, Domain, Domain) {
    let cluster = Cluster::start(plan(0, Mirror::Without)).await.unwrap();
    cluster.rest.push("noop").await.unwrap();
    let node = NodePlan {
        resources: false,
        labels: vec!["zone=edge".to_owned()],
        refresh_interval: OFTEN,
        shards: 1,
    };
    let nodes = std::slice::from_ref(&node);
    let east = Domain::start(&cluster, "east", &["region=east"], nodes).await;
    let west = Domain::start(&cluster, "west", &["region=west"], nodes).await;
    (cluster, east.unwrap(), west.unwrap())
}

fn noop(workflow: &Value, annotations: &Value) -> Value {
    let functions = [function("n", "noop", &json!({}), annotations)];
    json!({"functions": functions, "annotations": workflow})
}

/// The domain and state of a workflow.
async fn place(rest: &Rest, id: &str) -> anyhow::Result<(String, String)> {
    let status = rest.get(&format!("{WORKFLOWS}/{id}")).await?;
    let text = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
    Ok((text("domain_id"), text("state")))
}

async fn runs_in(rest: &Rest, id: &str, domain: &str) {
    let expected = (domain.to_owned(), "running".to_owned());
    until(&format!("it runs in {domain}"), async || {
        Ok((place(rest, id).await? == expected).then_some(()))
    })
    .await
    .unwrap();
}

/// How many instances a node runs.
async fn instances(domain: &Domain) -> anyhow::Result<usize> {
    let node = Rest::new(domain.nodes[0].status_url.clone());
    let all = node.get("/api/v1/instances").await?;
    Ok(all.as_array().map_or(0, Vec::len))
}

#[tokio::test(flavor = "multi_thread")]
async fn workflows_go_where_labels_nodes_and_amounts_say() {
    let (cluster, east, west) = three_domains().await;
    let rest = &cluster.rest;
    let nothing = json!({});
    for (workflow, annotations, expected) in [
        (
            json!({"domain_label_match_all": "region=west"}),
            json!({}),
            "west",
        ),
        (json!({"domain_match_any": "east"}), json!({}), "east"),
        (nothing.clone(), json!({"domain_match_any": "west"}), "west"),
        (
            nothing.clone(),
            json!({"node_id_match_any": east.nodes[0].node_id}),
            "east",
        ),
        (
            nothing.clone(),
            json!({"node_id_match_any": west.nodes[0].node_id}),
            "west",
        ),
        (
            nothing.clone(),
            json!({"label_match_all": "zone=resources"}),
            "test-domain",
        ),
    ] {
        let id = rest.start(&noop(&workflow, &annotations)).await.unwrap();
        runs_in(rest, &id, expected).await;
    }
    let refused = async |workflow: &Value, annotations: &Value| {
        let document = noop(workflow, annotations).to_string();
        let (status, body) = rest.send(Method::POST, WORKFLOWS, document).await.unwrap();
        (
            status,
            body["detail"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let nobody = json!({"node_id_match_any": "00000000-0000-4000-8000-000000000000"});
    let (status, reason) =
        refused(&json!({"domain_label_match_all": "region=west"}), &nobody).await;
    assert_eq!(status, StatusCode::CONFLICT);
    for says in [
        "east: the domain does not have the label `region=west`",
        "test-domain: the domain does not have the label `region=west`",
        "west: function `n`: none of the nodes of `node_id_match_any` is there",
    ] {
        assert!(reason.contains(says), "{reason}");
    }
    let (_, reason) = refused(&nothing, &json!({"cpu_millis": "4000000"})).await;
    assert!(
        reason.contains("4000000 cpu_millis, and no more than"),
        "{reason}"
    );
    let (status, _) = refused(&json!({"domain_match_any": "a,,b"}), &nothing).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_is_not_free_any_more() {
    let (cluster, ..) = three_domains().await;
    let free = async || {
        let east = cluster.rest.get("/api/v1/domains/east").await?;
        assert_eq!(east["labels"]["zone=edge"], 1, "{east}");
        anyhow::Ok(east["free_cpu_millis"].as_u64().unwrap())
    };
    let before = free().await.unwrap();
    let only = json!({"domain_match_any": "east"});
    let document = noop(&only, &json!({"cpu_millis": "300"}));
    // Whether it runs yet does not matter.
    let post = cluster
        .rest
        .send(Method::POST, WORKFLOWS, document.to_string());
    let (status, body) = post.await.unwrap();
    assert!(status.is_success(), "{body}");
    let id = body["workflow_id"].as_str().unwrap();
    assert_eq!(free().await.unwrap(), before - 300, "at once");
    let path = format!("{WORKFLOWS}/{id}");
    let stopped = cluster.rest.send(Method::DELETE, &path, "").await.unwrap();
    assert!(stopped.0.is_success(), "{stopped:?}");
    assert_eq!(free().await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn workflows_of_a_lost_domain_move_and_it_stops_them_when_it_returns() {
    let (cluster, mut east, west) = three_domains().await;
    let rest = &cluster.rest;
    let edge = json!({"label_match_all": "zone=edge"});
    let bound = noop(&json!({"domain_match_any": "east"}), &edge);
    let bound = rest.start(&bound).await.unwrap();
    runs_in(rest, &bound, "east").await;
    // It may run in both, and begins in the one that is lost.
    let free = rest.start(&noop(&json!({}), &edge)).await.unwrap();
    let path = format!("{WORKFLOWS}/{free}/migrate");
    let (status, body) = rest
        .send(
            Method::POST,
            &path,
            json!({"domain_id": "east"}).to_string(),
        )
        .await
        .unwrap();
    assert!(status.is_success(), "{status} {body}");
    runs_in(rest, &free, "east").await;
    let before = rest.placed(&bound).await.unwrap();
    assert_eq!(instances(&east).await.unwrap(), 2);

    east.orc.kill();
    runs_in(rest, &free, "west").await;
    assert_eq!(instances(&west).await.unwrap(), 1);
    assert_eq!(
        instances(&east).await.unwrap(),
        2,
        "nobody has told its node"
    );
    assert_eq!(place(rest, &bound).await.unwrap().0, "east");

    east.orc.restart().unwrap();
    until("the returning domain stops what has moved", async || {
        Ok((instances(&east).await? == 1).then_some(()))
    })
    .await
    .unwrap();
    runs_in(rest, &bound, "east").await;
    assert_eq!(
        rest.placed(&bound).await.unwrap(),
        before,
        "it was left alone"
    );
    runs_in(rest, &free, "west").await;
    assert_eq!(instances(&west).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_an_old_life_is_refused() {
    let (cluster, east, _) = three_domains().await;
    let only = json!({"domain_match_any": "east"});
    let id = cluster.rest.start(&noop(&only, &json!({}))).await.unwrap();
    runs_in(&cluster.rest, &id, "east").await;
    let url = east.orchestrator_url.clone();
    let mut late = FunctionInstanceClient::connect(url).await.unwrap();
    let request = v1::StartRequest {
        vertices: Vec::new(),
        epoch: Some(v1::Epoch {
            life: 1,
            sequence: u64::MAX,
        }),
    };
    let status = late.start(request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Aborted, "{status}");
    let unnamed = late.start(v1::StartRequest::default()).await.unwrap_err();
    assert_eq!(unnamed.code(), tonic::Code::InvalidArgument, "{unnamed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_orchestrator_with_the_same_domain_id_is_refused() {
    let (cluster, east, _) = three_domains().await;
    let second = Domain::begin(&cluster, "second", "east", &[], &[]).unwrap();
    until("it says why", async || {
        let log = second.orc.log();
        Ok(log
            .contains("uses the domain id `east` as well")
            .then_some(()))
    })
    .await
    .unwrap();
    let status = cluster.rest.get("/api/v1/domains/east").await.unwrap();
    assert_eq!(status["orchestrator_url"], east.orchestrator_url);
    assert_eq!(status["nodes"], 1);
}
