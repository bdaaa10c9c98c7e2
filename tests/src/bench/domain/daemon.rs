//! A real ε-ORC without ε-CON, with a real Redis and datasets, and a caller who does what ε-CON does.

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use edgeless_proto::{
    convert::id_bytes,
    v1::{
        self, domain_control_client::DomainControlClient,
        function_instance_client::FunctionInstanceClient, start_outcome::Kind,
    },
};
use edgeless_types::{CodeDigest, LogicalId, WorkflowId};
use redis::aio::MultiplexedConnection;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use crate::{
    bench::costs::Costs,
    process::{self, Daemon, binary, free_port, rss_mib, thread_times, used},
    simulated::{Fleet, Settings},
    wait::{until, until_within},
};

/// The code of all functions; nobody runs it.
const CODE: &[u8] = b"f";
/// The one life of the ε-CON that is played here.
const EPOCH: Option<v1::Epoch> = Some(v1::Epoch {
    life: 1,
    sequence: 1,
});
/// How long a call may take: a thousand starts on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// ε-ORC and Redis as they run.
pub(super) struct Orc {
    pub(super) daemon: Daemon,
    pub(super) redis: Daemon,
    redis_url: String,
    register_url: String,
    control_url: String,
    folder: tempfile::TempDir,
}

impl Orc {
    /// Starts both, and gives ε-ORC the code.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path();
        let url = || Ok::<_, anyhow::Error>(format!("http://127.0.0.1:{}", free_port()?));
        let (register_url, control_url, status_url) = (url()?, url()?, url()?);
        let redis_port = free_port()?;
        let redis_url = format!("redis://127.0.0.1:{redis_port}");
        let config = toml(&[
            (
                "general",
                &[
                    ("domain_id", "bench"),
                    ("orchestrator_url", &control_url),
                    ("node_register_url", &register_url),
                    ("status_url", &status_url),
                    ("data_dir", &path.join("orc").display().to_string()),
                ],
            ),
            (
                "proxy",
                &[("proxy_type", "Redis"), ("redis_url", &redis_url)],
            ),
            (
                "proxy.dataset_settings",
                &[(
                    "dataset_path",
                    &format!("{}/", path.join("dataset").display()),
                )],
            ),
        ]);
        let file = path.join("orchestrator.toml");
        std::fs::write(&file, config)?;
        let redis = process::redis(redis_port, path)?;
        let arguments = vec!["-c".to_owned(), file.display().to_string()];
        let daemon = Daemon::start(binary("edgeless_orc_d")?, arguments, path.join("orc.log"))?;
        let orc = Self {
            daemon,
            redis,
            redis_url,
            register_url,
            control_url,
            folder,
        };
        let digest = CodeDigest::of(CODE);
        until("ε-ORC takes code", async || {
            let request = v1::PutCodeRequest {
                digest: Bytes::copy_from_slice(digest.as_bytes()),
                code: Bytes::from_static(CODE),
            };
            let channel = Endpoint::from_shared(orc.control_url.clone())?;
            let mut control = DomainControlClient::new(channel.connect().await?);
            Ok(control.put_code(request).await.ok())
        })
        .await?;
        orc.mirrored().await?;
        Ok(orc)
    }

    /// Waits until Redis has the domain.
    pub(super) async fn mirrored(&self) -> anyhow::Result<()> {
        until("Redis has the domain", async || {
            let mut redis = self.connect().await?;
            let there: bool = redis::cmd("EXISTS")
                .arg(edgeless_types::mirror::DOMAIN_ID)
                .query_async(&mut redis)
                .await?;
            Ok(there.then_some(()))
        })
        .await
    }

    /// Nodes that are all registered, each with its deadline far away.
    pub(super) async fn fleet(
        &self,
        nodes: usize,
        refresh: Duration,
        samples: usize,
    ) -> anyhow::Result<Fleet> {
        self.fleet_of(&Settings {
            register_url: self.register_url.clone(),
            nodes,
            refresh,
            deadline: Duration::from_secs(120),
            samples,
            delay: Duration::ZERO,
        })
        .await
    }

    /// Nodes that are all registered.
    pub(super) async fn fleet_of(&self, settings: &Settings) -> anyhow::Result<Fleet> {
        let settings = Settings {
            register_url: self.register_url.clone(),
            ..settings.clone()
        };
        let fleet = Fleet::start(&settings).await?;
        let wanted = settings.nodes as u64;
        let limit = Duration::from_secs(120);
        until_within(limit, "all nodes are registered", async || {
            Ok((fleet.tally().summary().registered >= wanted).then_some(()))
        })
        .await?;
        Ok(fleet)
    }

    pub(super) fn caller(&self) -> anyhow::Result<Caller> {
        let channel = Endpoint::from_shared(self.control_url.clone())?
            .timeout(DEADLINE)
            .tcp_nodelay(true)
            .connect_lazy();
        let functions = FunctionInstanceClient::new(channel).max_decoding_message_size(64 << 20);
        Ok(Caller { functions })
    }

    pub(super) async fn connect(&self) -> anyhow::Result<MultiplexedConnection> {
        let client = redis::Client::open(self.redis_url.as_str())?;
        Ok(client.get_multiplexed_async_connection().await?)
    }

    /// The file of a table of the datasets.
    pub(super) fn table(&self, name: &str) -> PathBuf {
        self.folder.path().join("dataset").join(name)
    }

    /// The resident memory of ε-ORC in MiB.
    pub(super) fn rss_mib(&self) -> anyhow::Result<f64> {
        let pid = self.daemon.pid().context("ε-ORC runs")?;
        rss_mib(pid).context("ε-ORC has ended")
    }

    /// Begins to count what all who take part use.
    pub(super) fn costs(&self) -> anyhow::Result<Costs> {
        Costs::begin(&[
            ("orc", self.daemon.pid()),
            ("redis", self.redis.pid()),
            ("load", Some(std::process::id())),
        ])
    }

    /// The cores that ε-ORC uses, as a mean over some time.
    pub(super) async fn cores(&self, time: Duration) -> anyhow::Result<f64> {
        let pid = self.daemon.pid().context("ε-ORC runs")?;
        let look = || thread_times(pid).context("ε-ORC has ended");
        let (before, begun) = (look()?, std::time::Instant::now());
        tokio::time::sleep(time).await;
        Ok(used(&before, &look()?) / begun.elapsed().as_secs_f64())
    }
}

/// Sections with their texts.
fn toml(sections: &[(&str, &[(&str, &str)])]) -> String {
    let mut text = String::new();
    for (section, values) in sections {
        text += &format!("[{section}]\n");
        for (key, value) in *values {
            text += &format!("{key} = {}\n", serde_json::Value::from(*value));
        }
    }
    text
}

/// Calls ε-ORC as ε-CON does; cheap to clone.
#[derive(Clone)]
pub(super) struct Caller {
    functions: FunctionInstanceClient<Channel>,
}

impl Caller {
    /// Starts a workflow: a ring of functions, each of which sends to the next. All of them run.
    pub(super) async fn start(&mut self, workflow: u128, size: u128) -> anyhow::Result<()> {
        let vertices = (0..size)
            .map(|it| vertex(workflow, it, (it + 1) % size))
            .collect();
        let reply = self
            .functions
            .start(v1::StartRequest {
                vertices,
                epoch: EPOCH,
            })
            .await?;
        for outcome in reply.into_inner().outcomes {
            let running = matches!(outcome.kind, Some(Kind::Running(_)));
            anyhow::ensure!(running, "a function does not run: {outcome:?}");
        }
        Ok(())
    }

    /// Leads the outputs of functions elsewhere: (workflow, function, its new target).
    pub(super) async fn patch(&mut self, patches: &[(u128, u128, u128)]) -> anyhow::Result<()> {
        let patch = |&(workflow, number, target): &(u128, u128, u128)| v1::Patch {
            logical_id: id_bytes(&logical_id(workflow, number)),
            output_mapping: [("out".to_owned(), id_bytes(&logical_id(workflow, target)))].into(),
        };
        let patches = patches.iter().map(patch).collect();
        self.functions
            .patch(v1::PatchRequest {
                patches,
                epoch: EPOCH,
            })
            .await?;
        Ok(())
    }
}

/// The id of a function of a workflow.
pub(super) fn logical_id(workflow: u128, number: u128) -> LogicalId {
    LogicalId::new(Uuid::from_u128((0xf1 << 120) + (workflow << 20) + number))
}

fn vertex(workflow: u128, number: u128, next: u128) -> v1::Vertex {
    let workflow_id = WorkflowId::new(Uuid::from_u128((0xf0 << 120) + workflow));
    let annotations = [("cpu_millis", "100"), ("memory_mib", "16")];
    let function = v1::FunctionSpec {
        name: format!("f{number}"),
        class_id: "f".to_owned(),
        function_type: "RUST_WASM".to_owned(),
        version: "1".to_owned(),
        code_digest: Bytes::copy_from_slice(CodeDigest::of(CODE).as_bytes()),
        outputs: vec!["out".to_owned()],
        annotations: annotations
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
    };
    v1::Vertex {
        logical_id: id_bytes(&logical_id(workflow, number)),
        workflow_id: id_bytes(&workflow_id),
        spec: Some(v1::VertexSpec {
            kind: Some(v1::vertex_spec::Kind::Function(function)),
        }),
        output_mapping: [("out".to_owned(), id_bytes(&logical_id(workflow, next)))].into(),
    }
}
