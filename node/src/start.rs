//! From a configuration to a running node, and to its end.

use std::{path::PathBuf, sync::Arc, time::Duration};

use edgeless_daemon::{
    code::CodeStore,
    net::{BindError, Bound, Listen, PeerUrl},
    status::Readiness,
};
use edgeless_dataflow::{Clock, Engine, EngineConfig};
use edgeless_types::{NodeCapabilities, NodeId};
use rand::{Rng, RngCore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    agent::Agent,
    capabilities,
    config::{self, Config, announced},
    dataplane::{DataPlane, Tls, TlsError},
    health::HealthReader,
    host::Host,
    identity,
    registration::{self, Pace, Profile, Registration},
    resource::{self, Resources},
    runtime::{Limits, RuntimeError, Runtimes},
    source::NodeSource,
    work::{Node, Ports},
};

/// How long full inboxes may wait for one another in a circle before messages are dropped and counted.
const PARK_TIMEOUT: Duration = Duration::from_secs(5);

/// After how long an unacknowledged message is sent again although nothing says that it is lost.
const ACK_TIMEOUT: Duration = Duration::from_secs(15);

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
    /// The id cannot be read or kept, or another node uses the directory.
    #[error("key `general.data_dir`: the node cannot have it")]
    Identity(#[from] identity::IdentityError),
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
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
    Wasm(#[from] RuntimeError),
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
    pub invocation_url: PeerUrl,
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
    let lock = identity::lock(data_dir)?;
    let node_id = match config.general.node_id {
        Some(node_id) => node_id,
        None => identity::node_id(data_dir, &mut rand::rng())?,
    };
    let found = Found::out(&config)?;
    let pace = Pace {
        interval: config.general.refresh_interval,
        deadline: config.general.deadline(),
        leave_timeout: config.general.leave_timeout,
    };
    let orchestrator = registration::endpoint(&config.general.node_register_url.to_string(), pace)?;
    let ports = Ports::bind(&config).await?;
    let urls = Urls::of(&config, &ports);
    let closed = CancellationToken::new();
    let engine = engine_config(&config, node_id);
    let plane = DataPlane::new(
        node_id,
        urls.invocation.to_string(),
        config.data_plane_tls.as_ref().map(Tls::read).transpose()?,
        engine.shards,
        closed.clone(),
    );
    // The last that can fail: from here on there are threads that must be ended.
    let agent = Agent::new(host(&config, engine, &plane)?);
    let readiness = Readiness::default();
    let samples = config.telemetry.performance_samples;
    let source = NodeSource::new(agent.clone(), found.health, samples);
    let profile = profile(&config, node_id, &urls, found.capabilities);
    let registration = Registration::new(&orchestrator, profile, pace, source, readiness.clone());
    let url = |bound: &Bound| bound.url.clone();
    let agent_url = url(&ports.agent);
    let invocation_url = invocation(&config, url(&ports.invocation));
    let (http_ingress_url, status_url) = (
        ports.http_ingress.as_ref().map(url),
        ports.status.as_ref().map(url),
    );
    let node = Node {
        agent,
        plane,
        readiness,
        drain: config.general.drain_timeout,
        shutdown,
        closed,
        ingress_closed: CancellationToken::new(),
        servers: JoinSet::new(),
        lock,
    };
    let ending = tokio::spawn(node.run(ports, registration));
    tracing::info!(%node_id, "the node is up");
    Ok(Running {
        node_id,
        agent_url,
        invocation_url,
        http_ingress_url,
        status_url,
        ending,
    })
}

/// What was found out about this machine.
struct Found {
    capabilities: NodeCapabilities,
    health: HealthReader,
}

impl Found {
    fn out(config: &Config) -> Result<Self, sysinfo::Error> {
        let runtimes = match config.wasm_runtime.enabled {
            true => Runtimes::NAMES.map(str::to_owned).to_vec(),
            false => vec![],
        };
        Ok(Self {
            capabilities: capabilities::find_out(runtimes)?,
            health: HealthReader::new()?,
        })
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
    invocation: PeerUrl,
}

impl Urls {
    fn of(config: &Config, ports: &Ports) -> Self {
        let general = &config.general;
        Self {
            agent: announced(&ports.agent.url, general.agent_url_announced.as_ref()),
            invocation: invocation(
                config,
                announced(
                    &ports.invocation.url,
                    general.invocation_url_announced.as_ref(),
                ),
            ),
        }
    }
}

/// The address with the scheme that says whether the node speaks TLS there.
fn invocation(config: &Config, at: Listen) -> PeerUrl {
    match config.data_plane_tls {
        Some(_) => PeerUrl::Tls(at),
        None => PeerUrl::Plain(at),
    }
}

fn engine_config(config: &Config, node_id: NodeId) -> EngineConfig {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let shards = match config.engine.shards {
        0 => cores(),
        number => number,
    };
    let clock: Clock = Arc::new(edgeless_daemon::wall_clock);
    EngineConfig {
        node_id,
        shards,
        inbox: config.engine.inbox_capacity,
        workflow: config.engine.workflow_capacity,
        node: config.engine.node_capacity,
        hops: edgeless_dataflow::HOPS,
        call_timeout: config.engine.call_timeout,
        park_timeout: PARK_TIMEOUT,
        ack_timeout: ACK_TIMEOUT,
        attempts: edgeless_dataflow::ATTEMPTS,
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
    let limits = Limits {
        memory_bytes: config.wasm_runtime.memory_limit_mib << 20,
        event_time: config.wasm_runtime.time_limit,
        instances: u32::try_from(config.wasm_runtime.max_instances).unwrap_or(u32::MAX),
        restarts: config.wasm_runtime.max_restarts,
        ..Limits::default()
    };
    let clock = Arc::clone(&engine.clock);
    let start = || Runtimes::start(limits, &data_dir.join("compiled"), clock);
    let runtimes = config.wasm_runtime.enabled.then(start).transpose()?;
    Ok(Host {
        resources: Resources::new(&config.resources)?,
        engine: Engine::start(engine, Arc::new(plane.clone())).map_err(StartError::Engine)?,
        runtimes,
        code,
    })
}

fn profile(config: &Config, node_id: NodeId, urls: &Urls, found: NodeCapabilities) -> Profile {
    Profile {
        node_id,
        nonce: rand::rng().next_u64(),
        agent_url: urls.agent.to_string(),
        invocation_url: urls.invocation.to_string(),
        capabilities: config.user_node_capabilities.apply(found),
        providers: resource::providers(&config.resources, node_id, &capabilities::host_name()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bytes::Bytes;
    use edgeless_proto::{
        convert::id_bytes,
        v1::{self, node_agent_client::NodeAgentClient, step, step_outcome},
    };
    use edgeless_types::{CodeDigest, LogicalId, PhysicalId};
    use tonic::transport::Channel;
    use uuid::Uuid;

    use super::*;
    use crate::{config::DataPlaneTls, dataplane::certificates::Authority};

    /// A function that answers every call with its payload; `%CAST%` handles casts.
    const GUEST: &str = r#"(module
      (memory (export "memory") 2)
      (global $next (mut i32) (i32.const 4096))
      (func (export "edgeless_mem_alloc") (param $n i32) (result i32)
        (local $p i32)
        (local.set $p (global.get $next))
        (global.set $next (i32.add (global.get $next) (i32.add (local.get $n) (i32.const 8))))
        (local.get $p))
      (func (export "edgeless_mem_free") (param i32 i32))
      (func (export "edgeless_mem_clear") (global.set $next (i32.const 4096)))
      (func (export "handle_init_asm") (param i32 i32 i32 i32))
      (func (export "handle_cast_asm") (param i32 i32 i32 i32))
      (func (export "handle_call_asm") (param $n i32) (param $c i32) (param $p i32) (param $l i32)
        (param $op i32) (param $ol i32) (result i32)
        (i32.store (local.get $op) (local.get $p))
        (i32.store (local.get $ol) (local.get $l))
        (i32.const 1))
      (func (export "handle_stop_asm")))"#;

    struct Case {
        running: Running,
        agent: NodeAgentClient<Channel>,
        shutdown: CancellationToken,
        _data_dir: tempfile::TempDir,
    }

    impl Case {
        async fn new() -> Self {
            Self::with_tls(None).await
        }

        async fn with_tls(data_plane_tls: Option<DataPlaneTls>) -> Self {
            let data_dir = tempfile::tempdir().unwrap();
            let mut config = config(&data_dir.path().display().to_string());
            config.data_plane_tls = data_plane_tls;
            let shutdown = CancellationToken::new();
            let running = start(config, shutdown.clone()).await.unwrap();
            let agent = NodeAgentClient::connect(running.agent_url.to_string());
            Self {
                agent: agent.await.unwrap(),
                running,
                shutdown,
                _data_dir: data_dir,
            }
        }

        async fn apply(&mut self, kinds: Vec<step::Kind>, peers: &[&Self]) -> Vec<String> {
            let steps = kinds.into_iter().map(|kind| v1::Step { kind: Some(kind) });
            let peer = |peer: &&Self| v1::Peer {
                node_id: id_bytes(&peer.running.node_id),
                invocation_url: peer.running.invocation_url.to_string(),
            };
            let request = v1::ApplyRequest {
                steps: steps.collect(),
                peers: peers.iter().map(peer).collect(),
            };
            let replies = self.agent.apply(tokio_stream::once(request)).await;
            let mut replies = replies.unwrap().into_inner();
            let reply = replies.message().await.unwrap().unwrap();
            let outcome = |outcome: v1::StepOutcome| match outcome.into_kind().unwrap() {
                step_outcome::Kind::Done(_) => "done".to_owned(),
                step_outcome::Kind::MissingCode(_) => "missing code".to_owned(),
                step_outcome::Kind::Working(_) => "working".to_owned(),
                step_outcome::Kind::Failed(message) => message,
            };
            reply.outcomes.into_iter().map(outcome).collect()
        }

        async fn put(&mut self, code: &[u8]) -> Bytes {
            let digest = Bytes::copy_from_slice(CodeDigest::of(code).as_bytes());
            let request = v1::PutCodeRequest {
                digest: digest.clone(),
                code: Bytes::copy_from_slice(code),
            };
            self.agent.put_code(request).await.unwrap();
            digest
        }

        async fn post(&self, body: &'static str) -> (u16, String) {
            let url = self.running.http_ingress_url.as_ref().unwrap().to_string();
            let response = reqwest::Client::new().post(url).body(body).send();
            let response = response.await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        }

        async fn end(self) {
            self.shutdown.cancel();
            self.running.join().await;
        }
    }

    fn config(data_dir: &str) -> Config {
        let text = format!(
            "[general]
             agent_url = 'http://127.0.0.1:0'
             invocation_url = 'http://127.0.0.1:0'
             status_url = 'http://127.0.0.1:0'
             node_register_url = 'http://127.0.0.1:9'
             data_dir = '{data_dir}'
             [resources]
             http_ingress_url = 'http://127.0.0.1:0'",
        );
        toml::from_str(&text).unwrap()
    }

    fn instance(id: u128) -> v1::RunningInstance {
        v1::RunningInstance {
            physical_id: id_bytes(&PhysicalId::new(Uuid::from_u128(id))),
            logical_id: id_bytes(&LogicalId::new(Uuid::from_u128(id))),
            workflow_id: Bytes::from_static(&[0; 16]),
            generation: 1,
            fingerprint: 0,
        }
    }

    fn function(id: u128, digest: Bytes) -> step::Kind {
        step::Kind::Start(v1::StartInstance {
            instance: Some(instance(id)),
            spec: Some(v1::VertexSpec {
                kind: Some(v1::vertex_spec::Kind::Function(v1::FunctionSpec {
                    function_type: "RUST_WASM".to_owned(),
                    code_digest: digest,
                    ..v1::FunctionSpec::default()
                })),
            }),
            outputs: vec![],
            state: None,
        })
    }

    /// An ingress whose requests go to an instance on a node.
    fn ingress(id: u128, node_id: NodeId, target: u128) -> step::Kind {
        let target = instance(target);
        step::Kind::Start(v1::StartInstance {
            instance: Some(instance(id)),
            spec: Some(v1::VertexSpec {
                kind: Some(v1::vertex_spec::Kind::Resource(v1::ResourceSpec {
                    name: "ingress".to_owned(),
                    class_type: "http-ingress".to_owned(),
                    configurations: HashMap::from([("host".to_owned(), "*".to_owned())]),
                })),
            }),
            outputs: vec![v1::Output {
                channel: "new_request".to_owned(),
                logical_id: target.logical_id,
                instances: vec![v1::InstanceId {
                    node_id: id_bytes(&node_id),
                    physical_id: target.physical_id,
                }],
            }],
            state: None,
        })
    }

    fn assert_echo((status, text): (u16, String)) {
        assert_eq!(status, 200, "{text}");
        let request: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(request["body"], "aGk=");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_request_passes_ingress_and_function_and_comes_back() {
        let mut case = Case::new().await;
        let node_id = case.running.node_id;
        let code = wat::parse_str(GUEST).unwrap();
        let digest = Bytes::copy_from_slice(CodeDigest::of(&code).as_bytes());
        let outcomes = case.apply(vec![function(1, digest.clone())], &[]).await;
        assert_eq!(outcomes, ["missing code"]);
        case.put(&code).await;
        for _ in 0..2 {
            let steps = vec![function(1, digest.clone()), ingress(2, node_id, 1)];
            assert_eq!(case.apply(steps, &[]).await, ["done", "done"]);
        }
        assert_echo(case.post("hi").await);

        let stop = step::Kind::Stop(v1::StopInstance {
            physical_id: instance(1).physical_id,
            generation: 1,
            drain_ms: 100,
        });
        assert_eq!(case.apply(vec![stop], &[]).await, ["done"]);
        assert_eq!(case.post("hi").await.0, 502);
        let refused = case.apply(vec![function(1, digest)], &[]).await;
        assert!(
            refused[0].contains("ended on this node already"),
            "{refused:?}"
        );
        case.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_request_that_enters_on_one_node_is_answered_on_another() {
        check_two_nodes(None, "http").await;
        let authority = Authority::new();
        check_two_nodes(Some(authority.files("127.0.0.1")), "https").await;
    }

    async fn check_two_nodes(tls: Option<DataPlaneTls>, scheme: &str) {
        let (mut near, mut far) = (Case::with_tls(tls.clone()).await, Case::with_tls(tls).await);
        let url = far.running.invocation_url.to_string();
        assert!(url.starts_with(&format!("{scheme}://")), "{url}");
        let digest = far.put(&wat::parse_str(GUEST).unwrap()).await;
        assert_eq!(far.apply(vec![function(1, digest)], &[]).await, ["done"]);
        let steps = vec![ingress(2, far.running.node_id, 1)];
        assert_eq!(near.apply(steps, &[&far]).await, ["done"]);
        assert_echo(near.post("hi").await);
        near.end().await;
        far.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn code_that_is_none_fails_its_start_and_nothing_else() {
        let mut case = Case::new().await;
        let (bad, good) = (
            case.put(b"not wasm").await,
            case.put(&wat::parse_str(GUEST).unwrap()).await,
        );
        let outcomes = case
            .apply(vec![function(1, bad), function(2, good)], &[])
            .await;
        assert!(
            outcomes[0].contains("neither a WebAssembly module"),
            "{outcomes:?}"
        );
        assert_eq!(outcomes[1], "done");
        let status = case.running.status_url.as_ref().unwrap();
        let metrics = reqwest::get(format!("{status}/metrics")).await.unwrap();
        let metrics = metrics.text().await.unwrap();
        assert!(metrics.contains("edgeless_node_instances 1\n"), "{metrics}");
        case.end().await;
    }

    #[tokio::test]
    async fn a_key_that_is_none_keeps_the_node_from_starting() {
        let (data_dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        let mut config = config(&data_dir.path().display().to_string());
        let mut tls = authority.files("127.0.0.1");
        tls.key = data_dir.path().join("bad.key");
        std::fs::write(&tls.key, "no key").unwrap();
        let path = tls.key.display().to_string();
        config.data_plane_tls = Some(tls);
        let error = start(config, CancellationToken::new()).await.err().unwrap();
        let error = error.to_string();
        assert!(error.starts_with("key `data_plane_tls.key`: "), "{error}");
        assert!(error.contains(&path), "{error}");
    }

    #[tokio::test]
    async fn a_port_that_is_taken_keeps_the_node_from_starting() {
        let data_dir = tempfile::tempdir().unwrap();
        let taken = Listen::loopback().bind("taken").await.unwrap();
        let mut config = config(&data_dir.path().display().to_string());
        config.general.status_url = Some(taken.url.clone());
        let error = start(config, CancellationToken::new()).await.err().unwrap();
        assert_eq!(error.to_string(), "key `general.status_url`");
    }
}
