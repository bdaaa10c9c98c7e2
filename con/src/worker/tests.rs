//! What a domain is told of orders that come late.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use edgeless_daemon::{code::CodeStore, net::Listen};
use edgeless_proto::v1::{
    self,
    resource_configuration_server::{ResourceConfiguration, ResourceConfigurationServer},
};
use edgeless_types::{
    DomainRequirements, LogicalId, Timestamp,
    workflow::{ResourceSpec, VertexSpec},
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::*;
use crate::{epoch::Epochs, store::VertexRecord};

/// What is desired now, what the domain was told, and what is desired by the time at which it refuses the first start.
#[derive(Clone, Default)]
struct World(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    desired: Option<Arc<WorkflowRecord>>,
    refused: Option<Option<Arc<WorkflowRecord>>>,
    told: Vec<(u64, String)>,
}

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl Desired for World {
    fn all(&self) -> Vec<Arc<WorkflowRecord>> {
        self.state().desired.iter().cloned().collect()
    }

    fn now(&self, _: &Arc<WorkflowRecord>) -> Option<Arc<WorkflowRecord>> {
        self.state().desired.clone()
    }

    fn has(&self, _: WorkflowId) -> bool {
        self.state().desired.is_some()
    }
}

#[tonic::async_trait]
impl ResourceConfiguration for World {
    async fn start(
        &self,
        request: Request<v1::StartRequest>,
    ) -> Result<Response<v1::StartReply>, Status> {
        let request = request.into_inner();
        let mut state = self.state();
        if let Some(next) = state.refused.take() {
            state.desired = next;
            return Err(Status::aborted("a newer decision was carried out"));
        }
        let sequence = request.epoch.map_or(0, |epoch| epoch.sequence);
        let of = |vertex: &v1::Vertex| match vertex.spec.as_ref()?.kind.as_ref()? {
            v1::vertex_spec::Kind::Resource(it) => it.configurations.get("version").cloned(),
            v1::vertex_spec::Kind::Function(_) => None,
        };
        let versions = request.vertices.iter().filter_map(of);
        state.told.extend(versions.map(|it| (sequence, it)));
        let running = v1::start_outcome::Kind::Running(v1::Running::default());
        let outcome = v1::StartOutcome {
            kind: Some(running),
        };
        let outcomes = vec![outcome; request.vertices.len()];
        Ok(Response::new(v1::StartReply { outcomes }))
    }

    async fn stop(&self, _: Request<v1::StopRequest>) -> Result<Response<v1::StopReply>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn patch(
        &self,
        _: Request<v1::PatchRequest>,
    ) -> Result<Response<v1::PatchReply>, Status> {
        Ok(Response::new(Default::default()))
    }
}

fn record(version: &str) -> Arc<WorkflowRecord> {
    let spec = VertexSpec::Resource(ResourceSpec {
        name: "log".to_owned(),
        class_type: "file-log".to_owned(),
        configurations: BTreeMap::from([("version".to_owned(), version.to_owned())]),
    });
    let vertex = VertexRecord {
        logical_id: LogicalId::new(Uuid::from_u128(1)),
        spec,
        outputs: BTreeMap::default(),
    };
    Arc::new(WorkflowRecord {
        workflow_id: WorkflowId::new(Uuid::from_u128(2)),
        name: String::new(),
        accepted: Timestamp::default(),
        domain_id: None,
        vertices: vec![vertex],
        notes: vec![],
        domains: DomainRequirements::default(),
        update: None,
    })
}

/// Orders the start of version 1 when `before` is desired; before the domain takes a start, `after` is, if that is
/// another. What the domain was told, and what the order came to.
async fn check(
    before: Option<&str>,
    after: Option<Option<&str>>,
) -> (Vec<(u64, String)>, StartAnswer) {
    let world = World::default();
    world.state().desired = before.map(record);
    world.state().refused = after.map(|after| after.map(record));
    let bound = Listen::loopback().bind("fake").await.unwrap();
    let serving = tonic::transport::Server::builder()
        .add_service(ResourceConfigurationServer::new(world.clone()))
        .serve_with_incoming(TcpListenerStream::new(bound.listener));
    let directory = tempfile::tempdir().unwrap();
    let code = CodeStore::open(directory.path().to_owned()).unwrap();
    let url = bound.url.to_string();
    let client = OrcClient::new(&url, code, Epochs::new(1)).unwrap();
    let desired = Arc::new(world.clone());
    let (link, worker) = Link::new(url, client, desired, CancellationToken::new());
    let answer = tokio::select! {
        answer = link.start(record("1")) => answer,
        () = worker => unreachable!("somebody holds the link"),
        _ = serving => unreachable!("nobody ends the server"),
    };
    let told = std::mem::take(&mut world.state().told);
    (told, answer)
}

#[tokio::test]
async fn a_start_that_was_overtaken_tells_what_is_desired_by_then() {
    let (told, answer) = check(Some("1"), Some(Some("2"))).await;
    assert_eq!(told, [(3, "2".to_owned())]);
    assert_eq!(answer, Ok(vec![Started::Running(vec![], None)]));
}

#[tokio::test]
async fn a_start_that_was_overtaken_is_not_repeated_for_what_was_stopped() {
    let (told, answer) = check(Some("1"), Some(None)).await;
    assert_eq!(told, []);
    assert!(matches!(answer.as_deref(), Ok([Started::Waiting(_)])));
}

#[tokio::test]
async fn an_order_that_had_to_wait_tells_what_is_desired_when_its_turn_has_come() {
    let (told, _) = check(Some("2"), None).await;
    assert_eq!(told, [(1, "2".to_owned())]);
    let (told, answer) = check(None, None).await;
    assert_eq!(told, []);
    assert!(matches!(answer.as_deref(), Ok([Started::Waiting(_)])));
}
