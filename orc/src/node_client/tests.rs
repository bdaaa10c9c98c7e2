//! Workers against a node that takes connections and says nothing.

use edgeless_types::{Generation, LogicalId, PhysicalId, RunningInstance, WorkflowId};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::*;

pub(super) fn pid(number: u128) -> PhysicalId {
    PhysicalId::new(Uuid::from_u128(number))
}

pub(super) fn code() -> CodeDigest {
    CodeDigest::of(b"code")
}

pub(super) fn start(number: u128) -> Step {
    let spec = edgeless_types::workflow::ResourceSpec {
        name: "r".to_owned(),
        class_type: "file-log".to_owned(),
        configurations: std::collections::BTreeMap::new(),
    };
    Step::Start {
        instance: RunningInstance {
            physical_id: pid(number),
            logical_id: LogicalId::new(Uuid::nil()),
            workflow_id: WorkflowId::new(Uuid::nil()),
            generation: Generation(1),
            fingerprint: 0,
        },
        spec: std::sync::Arc::new(edgeless_types::workflow::VertexSpec::Resource(spec)),
        outputs: Vec::new(),
        state: None,
        code: Some(code()),
    }
}

pub(super) fn patch(number: u128) -> Step {
    Step::Patch {
        physical_id: pid(number),
        generation: Generation(2),
        outputs: Vec::new(),
    }
}

pub(super) fn stop(number: u128, drain: Duration) -> Step {
    Step::Stop {
        physical_id: pid(number),
        generation: Generation(2),
        drain,
    }
}

#[test]
fn instances_may_drain_next_to_one_another() {
    let second = Duration::from_secs(1);
    let check = |steps: &[Step], drains: u32| {
        let number = u32::try_from(steps.len()).unwrap();
        assert_eq!(deadline(steps), DEADLINE + STEP * number + second * drains);
    };
    check(&[start(1), patch(1)], 0);
    check(&[stop(1, second), stop(2, second * 2), stop(3, second)], 2);
    check(&[stop(1, second), start(2), stop(3, second)], 2);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_not_answered_is_given_up_within_a_second() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let code = CodeStore::open(folder.path().to_owned()).unwrap();
    let (sender, mut outcomes) = mpsc::channel(16);
    let mut clients = NodeClients::new(sender, code, Metrics::default());
    let node_id = NodeId::new(Uuid::from_u128(1));
    clients.meet(node_id, &url);
    // No clock of this machine is read: time passes when nothing else happens.
    let begun = tokio::time::Instant::now();
    assert_eq!(clients.send(node_id, start(1)), None);
    let (_, done) = outcomes.recv().await.unwrap();
    assert!(matches!(done[..], [(_, StepResult::Failed(_))]));
    let given_up = begun.elapsed();
    assert!(given_up < Duration::from_secs(1), "{given_up:?}");
}

#[tokio::test]
async fn starts_on_a_silent_node_fail_and_stops_are_kept() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let code = CodeStore::open(folder.path().to_owned()).unwrap();
    let (sender, mut outcomes) = mpsc::channel(16);
    let metrics = Metrics::default();
    let mut clients = NodeClients::new(sender, code, metrics.clone());
    let node_id = NodeId::new(Uuid::from_u128(1));
    clients.meet(node_id, &url);
    assert_eq!(clients.send(node_id, start(1)), None);
    let mut failed = async |number: u128| {
        let (_, done) = outcomes.recv().await.unwrap();
        let [(StepKey::Start(physical_id), StepResult::Failed(_))] = done[..] else {
            panic!("{done:?}");
        };
        assert_eq!(physical_id, pid(number));
    };
    failed(1).await;
    assert!(metrics.unanswered.get() >= 1);
    // What is to be stopped stands before what is to be started, and is not given up.
    assert_eq!(clients.send(node_id, stop(1, Duration::ZERO)), None);
    for number in 2..20 {
        assert_eq!(clients.send(node_id, start(number)), None);
        failed(number).await;
    }
    clients.forget(node_id);
    assert!(
        clients.tasks.join_next().await.is_some(),
        "the worker ends with its node"
    );
}
