//! A node that is none: it registers and takes steps as a node does, and behaves as badly as it is told.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use edgeless_proto::v1::{
    self, node_agent_server, node_registration_client::NodeRegistrationClient, step, step_outcome,
};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tokio_stream::{Stream, StreamExt, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Channel};
use uuid::Uuid;

/// How a node answers steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// Everything is done, it says.
    Well,
    /// Not before its conduct changes.
    Never,
    /// One outcome less than there are steps.
    TooFew,
    /// Outcomes without content.
    Empty,
    /// It always misses code, whatever it was asked for.
    Greedy,
    /// With a state that nobody could keep.
    Bloated,
}

/// A node that is none.
#[derive(Debug)]
pub struct FakeNode {
    /// What it says of itself.
    pub update: v1::UpdateNodeRequest,
    /// How it behaves.
    pub conduct: watch::Sender<Conduct>,
    asked: Asked,
    tasks: JoinSet<()>,
}

/// Instances that were to be started and stopped.
type Asked = Arc<Mutex<(Vec<Bytes>, Vec<Bytes>)>>;

/// A client of `NodeRegistration`.
///
/// # Errors
/// The URL is none, or nobody is there.
pub async fn registration(url: &str) -> anyhow::Result<NodeRegistrationClient<Channel>> {
    Ok(NodeRegistrationClient::connect(url.to_owned()).await?)
}

/// A registration without fault, of a node with this agent: it has a core, 1 GiB, a runtime and the label
/// `zone=functions`, and is not lost within an hour.
pub fn sound(agent_url: &str) -> v1::UpdateNodeRequest {
    v1::UpdateNodeRequest {
        node_id: Bytes::copy_from_slice(Uuid::new_v4().as_bytes()),
        nonce: 1,
        sequence: 1,
        refresh_deadline_ms: 3_600_000,
        profile: Some(v1::NodeProfile {
            agent_url: agent_url.to_owned(),
            invocation_url: agent_url.to_owned(),
            capabilities: Some(v1::NodeCapabilities {
                num_cpus: 1,
                num_cores: 1,
                clock_freq_cpu: 1_000.0,
                mem_size: 1_024,
                labels: vec!["zone=functions".to_owned()],
                runtimes: vec!["RUST_WASM".to_owned()],
                ..v1::NodeCapabilities::default()
            }),
            providers: Vec::new(),
        }),
        running: Some(v1::RunningSet::default()),
        ..v1::UpdateNodeRequest::default()
    }
}

impl FakeNode {
    /// Registers and takes steps from then on.
    ///
    /// # Errors
    /// ε-ORC refuses it.
    pub async fn start(register_url: &str, conduct: Conduct) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let update = sound(&format!("http://{}", listener.local_addr()?));
        let (conduct, state) = watch::channel(conduct);
        let asked = Asked::default();
        let service = Agent {
            conduct: state,
            asked: Arc::clone(&asked),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let served = tonic::transport::Server::builder()
                .add_service(node_agent_server::NodeAgentServer::new(service))
                .serve_with_incoming(TcpListenerStream::new(listener));
            if let Err(error) = served.await {
                eprintln!("fake node: {error}");
            }
        });
        let mut registration = registration(register_url).await?;
        registration.update_node(update.clone()).await?;
        Ok(Self {
            update,
            conduct,
            asked,
            tasks,
        })
    }

    /// Changes its conduct.
    pub fn behave(&self, conduct: Conduct) {
        self.conduct.send_replace(conduct);
    }

    /// What it was asked to start.
    pub fn starts(&self) -> Vec<Bytes> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .clone()
    }

    /// Whether it was asked to stop all that it was ever asked to start.
    pub fn is_fenced(&self) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.0.iter().all(|id| asked.1.contains(id))
    }

    /// Ends it.
    pub async fn end(mut self) {
        self.tasks.shutdown().await;
    }
}

#[derive(Clone)]
struct Agent {
    conduct: watch::Receiver<Conduct>,
    asked: Asked,
}

impl Agent {
    fn note(&self, steps: &[v1::Step]) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        for step in steps {
            match &step.kind {
                Some(step::Kind::Start(start)) => {
                    let id = start.instance.as_ref().map(|it| it.physical_id.clone());
                    asked.0.extend(id);
                }
                Some(step::Kind::Stop(stop)) => asked.1.push(stop.physical_id.clone()),
                Some(step::Kind::Patch(_)) | None => {}
            }
        }
    }
}

#[tonic::async_trait]
impl node_agent_server::NodeAgent for Agent {
    type ApplyStream = Pin<Box<dyn Stream<Item = Result<v1::ApplyReply, Status>> + Send>>;

    async fn apply(
        &self,
        requests: Request<Streaming<v1::ApplyRequest>>,
    ) -> Result<Response<Self::ApplyStream>, Status> {
        let agent = self.clone();
        let replies = requests.into_inner().then(move |request| {
            let agent = agent.clone();
            async move { agent.answer(request?.steps).await }
        });
        Ok(Response::new(Box::pin(replies)))
    }

    async fn put_code(
        &self,
        _: Request<v1::PutCodeRequest>,
    ) -> Result<Response<v1::PutCodeReply>, Status> {
        Ok(Response::new(v1::PutCodeReply {}))
    }

    type TapStream = Pin<Box<dyn Stream<Item = Result<v1::Tapped, Status>> + Send>>;

    async fn tap(&self, _: Request<v1::TapRequest>) -> Result<Response<Self::TapStream>, Status> {
        Err(Status::unimplemented("nothing runs here"))
    }
}

impl Agent {
    async fn answer(&self, steps: Vec<v1::Step>) -> Result<v1::ApplyReply, Status> {
        self.note(&steps);
        let mut state = self.conduct.clone();
        let conduct = match state.wait_for(|conduct| *conduct != Conduct::Never).await {
            Ok(conduct) => *conduct,
            Err(_) => return Err(Status::unavailable("the fake node ends")),
        };
        let number = match conduct {
            Conduct::TooFew => steps.len() - 1,
            _ => steps.len(),
        };
        let kind = match conduct {
            Conduct::Empty => None,
            Conduct::Greedy => Some(step_outcome::Kind::MissingCode(v1::MissingCode {
                digest: Bytes::from_static(b"all of it"),
            })),
            Conduct::Bloated => Some(step_outcome::Kind::Done(v1::StepDone {
                state: Some(Bytes::from(vec![0; 2 << 20])),
            })),
            Conduct::Well | Conduct::Never | Conduct::TooFew => {
                Some(step_outcome::Kind::Done(v1::StepDone { state: None }))
            }
        };
        let outcomes = vec![v1::StepOutcome { kind }; number];
        Ok(v1::ApplyReply { outcomes })
    }
}
