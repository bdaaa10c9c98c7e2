//! Services while the disk of ε-CON is full and when it has room again. There is no domain: what is started waits.

use std::{path::Path, sync::atomic::Ordering::SeqCst};

use edgeless_daemon::{code::CodeStore, status::Readiness};
use edgeless_orders::{book::Answer, submission::Submission};
use edgeless_types::{CodeDigest, OrderId, Timestamp};
use prometheus_client::registry::Registry;
use rand::{SeedableRng, rngs::SmallRng};
use serde_json::json;

use super::*;
use crate::{
    controller::Wait,
    metrics::Metrics,
    orders::{Defined, Settings, open},
    store::{FunctionRecord, Kept, tests::Disk},
};

/// How long anything may take here, on a slow machine too.
const LONGEST: Duration = Duration::from_secs(60);

struct World {
    deployer: Deployer,
    disk: Disk,
    wanted: mpsc::Receiver<Arc<str>>,
    /// Where it is, and what runs.
    _kept: Box<dyn std::any::Any>,
}

/// A service `A` that is off until it is wanted.
fn service() -> ServiceRecord {
    let class = json!({"id": "double", "function_type": "RUST_WASM", "version": "1"});
    let spec = json!({"class_specification": class, "min_instances": 0});
    ServiceRecord {
        spec: serde_json::from_value(spec).unwrap(),
        start: Uuid::from_u128(1),
        workflow_id: None,
        paused: false,
    }
}

async fn orders(folder: &Path, services: &[(String, ServiceRecord)]) -> super::super::Opened {
    let services = services.iter();
    let defined = Defined {
        services: services
            .map(|(name, record)| (name.as_str().into(), Arc::new(record.spec.clone())))
            .collect(),
        clients: Vec::new(),
    };
    let (settings, readiness) = (Settings::default(), Readiness::default());
    let end = CancellationToken::new();
    let opened = open(folder, &settings, defined, readiness, end).await;
    opened.unwrap_or_else(|error| panic!("{error}"))
}

async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let services = vec![("A".to_owned(), service())];
    let opened = orders(&folder.path().join("orders"), &services).await;
    let disk = Disk::default();
    let readiness = Readiness::default();
    let store = disk.store(readiness.clone());
    let code = CodeStore::open(folder.path().join("code")).unwrap();
    let class = FunctionRecord {
        id: "double".to_owned(),
        version: "1".to_owned(),
        function_type: "RUST_WASM".to_owned(),
        outputs: std::collections::BTreeSet::new(),
        code: CodeDigest::of(b"double"),
    };
    let kept = Kept {
        functions: vec![class],
        ..Kept::default()
    };
    let metrics = Metrics::new(&mut Registry::default());
    let shutdown = CancellationToken::new();
    let con = Controller::new(kept, 1, store.clone(), code, metrics, readiness, shutdown);
    let url = Ok("http://localhost:1".to_owned());
    World {
        deployer: Deployer::new(con, opened.orders, store, url, services),
        disk,
        wanted: opened.wanted,
        _kept: Box::new((folder, opened.tasks)),
    }
}

/// What an order with these tasks is answered.
async fn submit(orders: &Orders, tasks: &serde_json::Value) -> Answer {
    let document = json!({"input": 1, "tasks": tasks}).to_string();
    let lists = orders.lists();
    let read = |text: &edgeless_orders::json::Json| lists.list(text);
    let now = Timestamp::from_unix(Duration::from_secs(1_000_000));
    let submission = Submission::parse(&document.into(), None, now, |_| [0; 32], read);
    let id = OrderId::at(now, &mut SmallRng::from_os_rng());
    orders.submit(id, submission.unwrap(), false).await
}

#[tokio::test]
async fn a_service_that_is_wanted_and_could_not_be_started_is_tried_again() {
    let World {
        deployer,
        disk,
        wanted,
        _kept,
    } = world().await;
    disk.is_full.store(true, SeqCst);
    let orders = deployer.0.orders.clone();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(deployer.clone().run(wanted, shutdown.clone()));
    let answer = submit(&orders, &json!(["A"])).await;
    assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");
    let mut counts = disk.counts.subscribe();
    let refused = counts.wait_for(|(refused, _)| *refused > 0);
    tokio::time::timeout(LONGEST, refused)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(deployer.inspect("A").await.unwrap().state, "off");
    disk.is_full.store(false, SeqCst);
    // The workflow, and the service that has it.
    let taken = counts.wait_for(|(_, taken)| *taken > 1);
    tokio::time::timeout(LONGEST, taken).await.unwrap().unwrap();
    shutdown.cancel();
    running.await.unwrap();
    let view = deployer.inspect("A").await.unwrap();
    assert_eq!(view.state, "waiting", "{view:?}");
    assert!(view.reason.is_some(), "{view:?}");
}

#[tokio::test]
async fn a_service_that_cannot_be_started_is_tried_once_a_second() {
    let World {
        deployer,
        disk,
        wanted,
        _kept,
    } = world().await;
    disk.is_full.store(true, SeqCst);
    let orders = deployer.0.orders.clone();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(deployer.clone().run(wanted, shutdown.clone()));
    let mut counts = disk.counts.subscribe();
    let begun = tokio::time::Instant::now();
    submit(&orders, &json!(["A"])).await;
    // The first when it is wanted, the others when it is looked at.
    let refused = counts.wait_for(|(refused, _)| *refused > 3);
    tokio::time::timeout(LONGEST, refused)
        .await
        .unwrap()
        .unwrap();
    assert!(begun.elapsed() >= LOOK, "{:?}", begun.elapsed());
    shutdown.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_service_whose_workflow_was_stopped_is_started_anew_when_it_is_wanted_or_defined() {
    let World {
        deployer, _kept, ..
    } = world().await;
    let workflow = async || deployer.inspect("A").await.unwrap().workflow_id.unwrap();
    deployer.ensure("A").await.unwrap();
    let first = workflow().await;
    deployer.0.con.stop(first).await.unwrap();
    deployer.ensure("A").await.unwrap();
    let second = workflow().await;
    assert_ne!(first, second);
    deployer.0.con.stop(second).await.unwrap();
    let spec = deployer.inspect("A").await.unwrap().spec;
    deployer
        .put(
            "A",
            ServiceSpec {
                min_instances: 1,
                ..spec
            },
        )
        .await
        .unwrap();
    assert!(deployer.0.con.has(workflow().await));
}

#[tokio::test]
async fn a_service_whose_end_cannot_be_kept_is_there_as_before() {
    let world = world().await;
    let deployer = &world.deployer;
    let before = deployer.inspect("A").await.unwrap();
    world.disk.is_full.store(true, SeqCst);
    let refusal = deployer.delete("A").await.unwrap_err();
    assert!(matches!(refusal, Refusal::Store(_)), "{refusal}");
    assert_eq!(deployer.inspect("A").await.unwrap(), before);
    let answer = submit(&deployer.0.orders, &json!(["A"])).await;
    let Answer::Accepted { id, .. } = answer else {
        panic!("{answer:?}");
    };
    // It can be ended when nobody needs it, and the disk has room.
    deployer.0.orders.cancel(id, String::new()).await;
    world.disk.is_full.store(false, SeqCst);
    deployer.delete("A").await.unwrap();
    let answer = submit(&deployer.0.orders, &json!(["A"])).await;
    assert!(matches!(answer, Answer::Refused(_)), "{answer:?}");
}

#[tokio::test]
async fn as_many_services_can_be_wanted_at_once_as_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let count = 65_536;
    let names: Vec<String> = (0..count).map(|number| format!("s{number}")).collect();
    let services = names.iter().map(|name| (name.clone(), service()));
    let services: Vec<_> = services.collect();
    let opened = orders(folder.path(), &services).await;
    for some in names.chunks(1_000) {
        let answer = submit(&opened.orders, &json!([some])).await;
        assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");
    }
    // What was asked before is done when this is answered.
    let figures = opened.orders.figures().await.unwrap();
    assert_eq!(figures.tasks_to_do, count);
    assert_eq!(opened.wanted.len() as u64, count);
}

/// The workflow that runs for `A`, as far as that is known.
fn runs(deployer: &Deployer) -> Option<edgeless_types::WorkflowId> {
    deployer.record("A").unwrap().workflow_id
}

/// What is being done about services comes to its end.
async fn all_done(jobs: &mut Jobs) {
    let done = async {
        while !jobs.is_empty() {
            jobs.one_done().await;
        }
    };
    tokio::time::timeout(LONGEST, done).await.unwrap();
}

async fn order_for_a(deployer: &Deployer) {
    let answer = submit(&deployer.0.orders, &json!(["A"])).await;
    assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");
}

#[tokio::test]
async fn a_service_that_is_off_is_started_for_its_tasks_though_the_wish_was_lost() {
    let World {
        deployer,
        disk: _disk,
        wanted: mut lost,
        _kept,
    } = world().await;
    let shutdown = CancellationToken::new();
    // Nothing comes over it.
    let (_wants, wanted) = mpsc::channel(1);
    deployer.pause("A", true).await.unwrap();
    order_for_a(&deployer).await;
    let mut jobs = Jobs::default();
    let mut tellers = Tellers::new(deployer.0.con.clone());
    deployer.look(&mut jobs, &mut tellers).await;
    all_done(&mut jobs).await;
    assert_eq!(runs(&deployer), None);
    deployer.pause("A", false).await.unwrap();
    assert_eq!(&*lost.recv().await.unwrap(), "A");
    let running = tokio::spawn(deployer.clone().run(wanted, shutdown.clone()));
    let started = async {
        while runs(&deployer).is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONGEST, started).await.unwrap();
    shutdown.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_service_that_runs_stays_and_is_not_started_again_when_it_is_wanted() {
    let World {
        deployer, _kept, ..
    } = world().await;
    let mut tellers = Tellers::new(deployer.0.con.clone());
    let mut jobs = Jobs::default();
    let mut wanted = vec!["A".into()];
    deployer
        .on_wanted(&mut wanted, &mut jobs, &mut tellers)
        .await;
    all_done(&mut jobs).await;
    let first = runs(&deployer);
    assert!(first.is_some());
    deployer.look(&mut jobs, &mut tellers).await;
    wanted.push("A".into());
    deployer
        .on_wanted(&mut wanted, &mut jobs, &mut tellers)
        .await;
    assert!(jobs.is_empty());
    assert_eq!(runs(&deployer), first);
}

#[tokio::test]
async fn the_function_of_a_service_that_an_older_version_started_may_sleep_from_now_on() {
    let World {
        deployer, _kept, ..
    } = world().await;
    let annotations = || {
        let workflow_id = runs(&deployer).unwrap();
        let annotations = deployer.0.con.annotations(workflow_id, workflow::FUNCTION);
        annotations.unwrap()
    };
    let mut before = service().spec;
    before.min_instances = 1;
    let mut workflow = deployer.workflow("A", &before).unwrap();
    workflow.functions[0].annotations.clear();
    let started = deployer.0.con.start(workflow, Wait::Yes, None).await;
    let mut record = service();
    record.workflow_id = Some(started.unwrap().workflow_id);
    deployer.keep("A", record.clone()).await.unwrap();
    assert_eq!(annotations().get("min_instances"), None);
    // There is no domain that could do it; it is desired.
    deployer.begin("A").await.ok();
    assert_eq!(annotations()["min_instances"], "0");
    assert_eq!(runs(&deployer), record.workflow_id);
}
