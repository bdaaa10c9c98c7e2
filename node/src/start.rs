//! From a configuration to a running node, and to its end.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use edgeless_daemon::{
    net::{BindError, Bound, Listen},
    status::{self, Readiness, Status},
};
use edgeless_dataflow::{Clock, Engine, EngineConfig};
use edgeless_types::{NodeHealth, NodeId, RunningInstance, Samples, Timestamp};
use rand::{Rng, RngCore};
use tokio::{runtime::Handle, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;

use crate::{
    agent::{Agent, Failure},
    capabilities,
    code::CodeStore,
    config::{self, Config, announced},
    dataplane::{self, DataPlane},
    grpc,
    health::HealthReader,
    host::{Host, RUST_WASM},
    identity, metrics,
    registration::{News, Pace, Profile, Registration, Source},
    resource::{self, Resources, http_ingress},
    runtime::wasm,
};

/// After the node has ended its work, servers get so long to end theirs.
const SERVERS_END: Duration = Duration::from_secs(2);
/// How often failures of instances are looked for between refreshes.
const FAILURE_INTERVAL: Duration = Duration::from_millis(100);
/// How long a message may wait for a full inbox before it is dropped and counted.
const PARK_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A value cannot be used.
    #[error("the configuration cannot be used")]
    Config(#[from] config::ValueError),
    /// The directory of the node cannot be created.
    #[error("key `general.data_dir`: could not create `{}`", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The id cannot be read or kept.
    #[error("key `general.data_dir`: the node has no id")]
    Identity(#[from] identity::IdentityError),
    /// A port cannot be opened.
    #[error("key `{key}`")]
    Bind {
        /// The key with its section.
        key: &'static str,
        /// Why not.
        source: BindError,
    },
    /// The machine cannot be asked about itself.
    #[error("could not find out what this machine can do")]
    System(#[from] sysinfo::Error),
    /// The engine does not start.
    #[error("could not start the engine")]
    Engine(#[source] std::io::Error),
    /// The runtime for functions does not start.
    #[error("section `wasm_runtime`")]
    Wasm(#[from] wasm::RuntimeError),
    /// A provider of resources cannot be set up.
    #[error("section `resources`")]
    Resources(#[from] resource::ResourcesError),
    /// The address of ε-ORC is none.
    #[error("key `general.node_register_url`")]
    Address(#[from] crate::registration::AddressError),
}

/// A node that has started.
pub struct Running {
    /// Its id.
    pub node_id: NodeId,
    /// Where it takes steps, as bound.
    pub agent_url: Listen,
    /// Where it takes messages, as bound.
    pub invocation_url: Listen,
    /// Where it takes HTTP requests, as bound.
    pub http_ingress_url: Option<Listen>,
    /// Its status port, as bound.
    pub status_url: Option<Listen>,
    ending: tokio::task::JoinHandle<()>,
}

impl Running {
    /// Waits until the node has ended, after its shutdown token was cancelled.
    pub async fn join(self) {
        if let Err(error) = self.ending.await {
            tracing::error!(%error, "the node did not end in order");
        }
    }
}

/// All ports of a node.
struct Ports {
    agent: Bound,
    invocation: Bound,
    http_ingress: Option<Bound>,
    status: Option<Bound>,
}

/// Starts a node. It runs until `shutdown` is cancelled; then it takes leave of its ε-ORC, ends its
/// instances and its servers.
///
/// # Errors
/// Something cannot be used or opened; then nothing runs.
pub async fn start(config: Config, shutdown: CancellationToken) -> Result<Running, StartError> {
    config.check()?;
    let data_dir = &config.general.data_dir;
    std::fs::create_dir_all(data_dir)
        .and_then(|()| CodeStore::open(data_dir.join("code")).map(drop))
        .map_err(|source| StartError::DataDir {
            path: data_dir.clone(),
            source,
        })?;
    let node_id = match config.general.node_id {
        Some(node_id) => node_id,
        None => identity::node_id(data_dir, &mut rand::rng())?,
    };
    let ports = Ports::bind(&config).await?;
    let closed = CancellationToken::new();
    let urls = Urls::of(&config, &ports);
    let engine_config = engine_config(&config, node_id);
    let plane = DataPlane::new(
        node_id,
        urls.invocation.to_string(),
        engine_config.shards,
        Handle::current(),
        closed.clone(),
    );
    let agent = Agent::new(host(&config, engine_config, &plane)?);
    let readiness = Readiness::default();
    let registration = registration(&config, node_id, &urls, agent.clone(), readiness.clone())?;
    let running = Running {
        node_id,
        agent_url: ports.agent.url.clone(),
        invocation_url: ports.invocation.url.clone(),
        http_ingress_url: ports.http_ingress.as_ref().map(|bound| bound.url.clone()),
        status_url: ports.status.as_ref().map(|bound| bound.url.clone()),
        ending: tokio::spawn(async {}),
    };
    let node = Node {
        agent,
        plane,
        readiness,
        drain: config.general.drain_timeout,
        shutdown,
        closed,
        ingress_closed: CancellationToken::new(),
        servers: JoinSet::new(),
    };
    let ending = tokio::spawn(node.run(ports, registration));
    tracing::info!(%node_id, "the node is up");
    Ok(Running { ending, ..running })
}

/// A node at work.
struct Node {
    agent: Agent<Host>,
    plane: DataPlane,
    readiness: Readiness,
    drain: Duration,
    /// Somebody wants the node to end.
    shutdown: CancellationToken,
    /// Nothing runs on it any more: servers end.
    closed: CancellationToken,
    /// No more HTTP requests are taken.
    ingress_closed: CancellationToken,
    servers: JoinSet<()>,
}

impl Node {
    async fn run(mut self, ports: Ports, registration: Registration<NodeSource>) {
        self.serve(ports);
        self.readiness.started();
        let (shutdown, leave) = (self.shutdown.clone(), CancellationToken::new());
        let registered = registration.run(leave.clone());
        tokio::pin!(registered);
        tokio::select! {
            () = &mut registered => {}
            () = shutdown.cancelled() => {
                leave.cancel();
                registered.await;
            }
            Some(_) = self.servers.join_next() => {
                tracing::error!("a server of the node has ended by itself: the node ends");
                leave.cancel();
                registered.await;
            }
        }
        self.end().await;
    }

    fn serve(&mut self, ports: Ports) {
        let host = self.agent.host();
        if let (Some(bound), Some(routes)) = (ports.http_ingress, host.resources.ingress_routes()) {
            let counters = Arc::clone(host.resources.counters());
            let listener = http_ingress::Listener { routes, counters };
            let closed = self.ingress_closed.clone();
            self.servers.spawn(listener.serve(bound.listener, closed));
        }
        let invocation = dataplane::server::serve(
            ports.invocation,
            host.engine.clone(),
            self.plane.clone(),
            self.closed.clone(),
        );
        let service = grpc::Service::server(
            self.agent.clone(),
            host.code.clone(),
            self.plane.peers().clone(),
        );
        let incoming = TcpIncoming::from(ports.agent.listener).with_nodelay(Some(true));
        let agent = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .max_concurrent_streams(1024)
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, self.closed.clone().cancelled_owned());
        self.servers.spawn(report("invocation", invocation));
        self.servers.spawn(report("agent", agent));
        if let Some(bound) = ports.status {
            let status = Status {
                readiness: self.readiness.clone(),
                metrics: metrics::registry(self.agent.clone(), self.plane.clone()),
            };
            let serving = status::serve(bound, status.router(), self.closed.clone());
            self.servers.spawn(report("status", serving));
        }
    }

    /// Requests under way first, then instances, then the engine, then servers.
    async fn end(mut self) {
        self.ingress_closed.cancel();
        let host = self.agent.host();
        self.agent.end(self.drain).await;
        let resources = host.resources.finished();
        if tokio::time::timeout(self.drain, resources).await.is_err() {
            tracing::warn!("resources had messages left when the node ended");
        }
        self.closed.cancel();
        let servers = async { while self.servers.join_next().await.is_some() {} };
        if tokio::time::timeout(SERVERS_END, servers).await.is_err() {
            tracing::warn!("connections were still open when the node ended");
            self.servers.shutdown().await;
        }
        self.plane.ended().await;
        let engine = host.engine.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || engine.end()).await {
            tracing::error!(%error, "the engine did not end in order");
        }
        tracing::info!("the node has ended");
    }
}

async fn report<E: std::fmt::Display>(
    name: &'static str,
    serving: impl Future<Output = Result<(), E>>,
) {
    if let Err(error) = serving.await {
        tracing::error!(%error, "the server `{name}` failed");
    }
}

impl Ports {
    async fn bind(config: &Config) -> Result<Self, StartError> {
        let general = &config.general;
        let bind = async |key, listen: &Listen, name| {
            let bound = listen.bind(name).await;
            bound.map_err(|source| StartError::Bind { key, source })
        };
        let agent = bind("general.agent_url", &general.agent_url, "agent").await?;
        let url = &general.invocation_url;
        let invocation = bind("general.invocation_url", url, "invocation").await?;
        let http_ingress = match &config.resources.http_ingress_url {
            Some(url) => Some(bind("resources.http_ingress_url", url, "http-ingress").await?),
            None => None,
        };
        let status = match &general.status_url {
            Some(url) => Some(bind("general.status_url", url, "status").await?),
            None => None,
        };
        Ok(Self {
            agent,
            invocation,
            http_ingress,
            status,
        })
    }
}

/// The addresses others use.
struct Urls {
    agent: Listen,
    invocation: Listen,
}

impl Urls {
    fn of(config: &Config, ports: &Ports) -> Self {
        let general = &config.general;
        Self {
            agent: announced(&ports.agent.url, general.agent_url_announced.as_ref()),
            invocation: announced(
                &ports.invocation.url,
                general.invocation_url_announced.as_ref(),
            ),
        }
    }
}

fn wall_clock() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp::from_unix(since_epoch.unwrap_or_default())
}

fn engine_config(config: &Config, node_id: NodeId) -> EngineConfig {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let shards = match config.engine.shards {
        0 => cores(),
        number => number,
    };
    let clock: Clock = Arc::new(wall_clock);
    EngineConfig {
        node_id,
        shards,
        inbox: config.engine.inbox_capacity,
        call_timeout: config.engine.call_timeout,
        park_timeout: PARK_TIMEOUT,
        samples: config.telemetry.samples_per_refresh.div_ceil(shards),
        clock,
        seed: rand::rng().random(),
    }
}

fn host(config: &Config, engine: EngineConfig, plane: &DataPlane) -> Result<Host, StartError> {
    let data_dir = &config.general.data_dir;
    let code = CodeStore::open(data_dir.join("code")).map_err(|source| StartError::DataDir {
        path: data_dir.clone(),
        source,
    })?;
    let limits = wasm::Limits {
        memory_bytes: config.wasm_runtime.memory_limit_mib << 20,
        event_time: config.wasm_runtime.time_limit,
        ..wasm::Limits::default()
    };
    let clock = Arc::clone(&engine.clock);
    let start = || wasm::Runtime::start(limits, &data_dir.join("compiled"), clock).map(Arc::new);
    let wasm = config.wasm_runtime.enabled.then(start).transpose()?;
    Ok(Host {
        resources: Resources::new(&config.resources)?,
        engine: Engine::start(engine, Arc::new(plane.clone())).map_err(StartError::Engine)?,
        wasm,
        code,
    })
}

fn registration(
    config: &Config,
    node_id: NodeId,
    urls: &Urls,
    agent: Agent<Host>,
    readiness: Readiness,
) -> Result<Registration<NodeSource>, StartError> {
    let runtimes = match config.wasm_runtime.enabled {
        true => vec![RUST_WASM.to_owned()],
        false => vec![],
    };
    let found = capabilities::find_out(runtimes)?;
    let host_name = capabilities::host_name();
    let profile = Profile {
        node_id,
        nonce: rand::rng().next_u64(),
        agent_url: urls.agent.to_string(),
        invocation_url: urls.invocation.to_string(),
        capabilities: config.user_node_capabilities.apply(found),
        providers: resource::providers(&config.resources, node_id, &host_name),
    };
    let pace = Pace {
        interval: config.general.refresh_interval,
        deadline: config.general.deadline(),
        leave_timeout: config.general.leave_timeout,
    };
    let source = NodeSource {
        agent,
        health: HealthReader::new()?,
        samples: config.telemetry.performance_samples,
    };
    let url = config.general.node_register_url.to_string();
    Ok(Registration::new(url, profile, pace, source, readiness)?)
}

/// What the node says about itself in its registration.
struct NodeSource {
    agent: Agent<Host>,
    health: HealthReader,
    /// Whether samples are reported.
    samples: bool,
}

impl NodeSource {
    /// Tells the agent what ended by itself in the engine.
    fn collect_failures(&self) {
        for failure in self.agent.host().engine.drain_failures() {
            self.agent.failed(Failure {
                physical_id: failure.physical_id,
                message: failure.message,
            });
        }
    }
}

impl Source for NodeSource {
    fn health(&mut self) -> NodeHealth {
        self.health.read(Instant::now())
    }

    fn running(&mut self) -> Vec<RunningInstance> {
        self.agent.running()
    }

    async fn news(&mut self) -> News {
        self.collect_failures();
        let engine = &self.agent.host().engine;
        let samples = engine.drain_samples().await;
        News {
            samples: if self.samples {
                samples
            } else {
                Samples::default()
            },
            failures: self.agent.take_failures(),
            states: engine.drain_states().into_iter().collect(),
        }
    }

    async fn urgent(&self) {
        let look = async {
            loop {
                tokio::time::sleep(FAILURE_INTERVAL).await;
                self.collect_failures();
            }
        };
        tokio::select! {
            () = look => {}
            () = self.agent.urgent() => {}
        }
    }
}

impl grpc::Peers for dataplane::Peers {
    fn learn(&self, peers: Vec<(NodeId, String)>) {
        for (node_id, invocation_url) in peers {
            Self::learn(self, node_id, &invocation_url);
        }
    }
}
