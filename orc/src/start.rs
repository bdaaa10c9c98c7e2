//! Starts ε-ORC: everything is bound and checked before anything runs.

use std::{path::PathBuf, sync::Arc, time::Duration};

use edgeless_daemon::{
    code::CodeStore,
    config::ConfigError,
    net::{BindError, Bound, Listen},
    status::{self, Readiness, Status},
    thread::on_thread,
};
use edgeless_tables::{Additional, Dataset, DatasetError, Settings};
use edgeless_types::DomainId;
use rand::Rng;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    backlog::Backlog,
    config::{Config, ProxyType},
    domain::{self, Domain, Flapping, Rebalancing},
    domain_client::{self, Subscription},
    grpc,
    handle::Handle,
    journal::{self, Journal},
    metrics::Metrics,
    mirror::{self, Mirror},
    observers::Observers,
    orchestrator::Orchestrator,
    plan::fleet::Overcommit,
    recent::Recent,
    record,
    scale::{self, Priors},
    status::{Shown, router},
};

/// How long a replaced instance still takes what is under way to it.
const LINGER: Duration = Duration::from_millis(200);

/// ε-ORC cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is taken or not of this machine.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The address of Redis is of no use.
    #[error("key `proxy.redis_url`: {0}")]
    Redis(String),
    /// The domain is to be rebalanced though that is against its strategy.
    #[error("key `baseline.rebalance_every`: {0}")]
    Rebalancing(&'static str),
    /// The file of priors cannot be read.
    #[error("key `scaling.priors`: could not read `{}`{}", path.display(), crate::scale::priors::advice(source))]
    Priors {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file of priors is wrong.
    #[error("key `scaling.priors`")]
    WrongPriors(#[from] ConfigError),
    /// The datasets cannot be opened.
    #[error("section `proxy.dataset_settings`")]
    Dataset(#[from] DatasetError),
    /// What was kept cannot be read.
    #[error("key `general.data_dir`")]
    Journal(#[from] journal::OpenError),
    /// The folder for code cannot be made.
    #[error("key `general.data_dir`: could not create the folder `{}` for code", path.display())]
    Code {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system has no room for another thread.
    #[error("could not start a thread")]
    Thread(#[source] std::io::Error),
}

/// ε-ORC as it runs.
pub struct Running {
    /// Where nodes register.
    pub node_register_url: Listen,
    /// Where ε-CON reaches it.
    pub orchestrator_url: Listen,
    /// The status port.
    pub status_url: Listen,
    tasks: JoinSet<()>,
    shutdown: CancellationToken,
}

/// A part of ε-ORC panicked; the log says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a part of ε-ORC panicked; the log says which")]
pub struct Broken;

impl Running {
    /// Waits until everything has ended, after shutdown or because a part of it failed: half an ε-ORC is
    /// none.
    ///
    /// # Errors
    /// A part panicked.
    pub async fn join(mut self) -> Result<(), Broken> {
        let mut outcome = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a part of ε-ORC panicked: it ends");
                self.shutdown.cancel();
                outcome = Err(Broken);
            }
        }
        outcome
    }
}

/// Starts ε-ORC; it runs until `shutdown` is cancelled.
///
/// # Errors
/// An address cannot be bound, Redis' address is malformed, or files cannot be opened or are damaged.
pub async fn start(config: Config, shutdown: CancellationToken) -> Result<Running, StartError> {
    if let Some(problem) = config.baseline.contradiction() {
        return Err(StartError::Rebalancing(problem));
    }
    let redis = match config.proxy.proxy_type {
        ProxyType::None => None,
        ProxyType::Redis => {
            let url = config.proxy.redis_url.clone();
            let url = url.ok_or_else(|| StartError::Redis("is missing".to_owned()))?;
            let client = redis::Client::open(url.as_str());
            Some(client.map_err(|error| StartError::Redis(format!("`{url}`: {error}")))?)
        }
    };
    let priors = read_priors(&config)?;
    let dataset = open_dataset(&config)?;
    let path = config.general.data_dir.join("code");
    let code = CodeStore::open(path.clone());
    let code = code.map_err(|source| StartError::Code { path, source })?;
    let (journal, kept) = Journal::open(&config.general.data_dir.join(journal::FILE))?;
    // What is read from the journal is as good as what ε-CON says.
    let is_alone = config.general.domain_register_url.is_none() && !kept.told;
    let domain = make_domain(&config, is_alone).with_priors(priors);
    let nodes = config
        .general
        .node_register_url
        .bind("NodeRegistration")
        .await?;
    let controller = config
        .general
        .orchestrator_url
        .bind("FunctionInstance")
        .await?;
    let status_port = config.general.status_url.bind("status port").await?;
    let mut running = Running {
        node_register_url: nodes.url.clone(),
        orchestrator_url: controller.url.clone(),
        status_url: status_port.url.clone(),
        tasks: JoinSet::new(),
        shutdown,
    };
    spawn_all(
        &config,
        redis,
        dataset,
        code,
        (domain, (journal, kept)),
        [nodes, controller, status_port],
        &mut running,
    )?;
    Ok(running)
}

fn spawn_all(
    config: &Config,
    redis: Option<redis::Client>,
    dataset: Option<Dataset>,
    code: CodeStore,
    (domain, journal): (Domain, (Journal, journal::Kept)),
    [nodes, controller, status_port]: [Bound; 3],
    running: &mut Running,
) -> Result<(), StartError> {
    let shutdown = running.shutdown.clone();
    let _orchestrator_url = running.orchestrator_url.clone();
    let tasks = &mut running.tasks;
    let readiness = Readiness::default();
    let recent = Recent::default();
    let metrics = Metrics::default();
    let (mirror_sender, mirror_changes) = mpsc::channel(mirror::QUEUE);
    let (record_sender, record_changes) = mpsc::channel(record::QUEUE);
    let backlog = Backlog::default();
    let observers = Observers::new(
        redis.is_some().then_some(mirror_sender),
        dataset.is_some().then_some(record_sender),
        &backlog,
        recent.clone(),
    );
    let (orc, requests) = Handle::new(code, backlog.clone());
    let ready = readiness.clone();
    let owner = Orchestrator::new(domain, requests, journal, observers, metrics.clone(), ready);
    tasks.spawn(owner.run(shutdown.clone()));
    if let Some(client) = redis {
        let keep = Duration::from_secs(config.proxy.proxy_gc_period_seconds as u64);
        let gauge = backlog.mirror.clone();
        let (orc, readiness) = (orc.clone(), readiness.clone());
        let mirror = Mirror::new(client, mirror_changes, gauge, orc, readiness, keep);
        tasks.spawn(on_thread("mirror", mirror.run(shutdown.clone())).map_err(StartError::Thread)?);
    }
    if let Some(dataset) = dataset {
        let (readiness, lost) = (readiness.clone(), metrics.dataset_rows_lost.clone());
        let gauge = backlog.record;
        let record = record::run(dataset, record_changes, gauge, readiness, lost);
        tasks.spawn(on_thread("datasets", record).map_err(StartError::Thread)?);
    }
    tasks.spawn(ended(
        "NodeRegistration",
        grpc::serve_nodes(nodes, orc.clone(), metrics.clone(), shutdown.clone()),
    ));
    let serve = grpc::serve_controller(controller, orc.clone(), shutdown.clone());
    tasks.spawn(ended("FunctionInstance", serve));
    let shown = router(Shown {
        orc: orc.clone(),
        recent,
    });
    let metrics = Arc::new(metrics.registry());
    let routes = Status {
        readiness: readiness.clone(),
        metrics,
        refresh: None,
    }
    .router()
    .merge(shown);
    tasks.spawn(ended(
        "status port",
        status::serve(status_port, routes, shutdown.clone()),
    ));
    subscribe(
        config,
        &running.orchestrator_url,
        orc,
        &readiness,
        shutdown,
        tasks,
    );
    readiness.started();
    Ok(())
}

/// What is known of functions before they run.
fn read_priors(config: &Config) -> Result<Priors, StartError> {
    let Some(path) = &config.scaling.priors else {
        return Ok(Priors::default());
    };
    let text = std::fs::read_to_string(path).map_err(|source| StartError::Priors {
        path: path.clone(),
        source,
    })?;
    let priors = Priors::parse(&text, path)?;
    tracing::info!(file = %path.display(), classes = priors.classes().len(), "priors of functions");
    Ok(priors)
}

fn open_dataset(config: &Config) -> Result<Option<Dataset>, StartError> {
    let Some(settings) = &config.proxy.dataset_settings else {
        return Ok(None);
    };
    let additional = Additional::parse(&settings.additional_fields, &settings.additional_header)?;
    let settings = Settings {
        path: settings.dataset_path.clone(),
        append: settings.append,
        additional,
    };
    Ok(Some(Dataset::open(&settings)?))
}

fn make_domain(config: &Config, is_alone: bool) -> Domain {
    let settings = domain::Settings {
        domain_id: DomainId::new(config.general.domain_id.clone()),
        strategy: config.baseline.orchestration_strategy,
        overcommit: Overcommit {
            cpu: config.baseline.cpu_overcommit,
            memory: config.baseline.memory_overcommit,
        },
        seed: config.baseline.seed.unwrap_or_else(|| rand::rng().random()),
        life: rand::rng().random(),
        adoption_grace: config.baseline.adoption_grace,
        linger: LINGER,
        healing_per_node: u32::try_from(config.baseline.healing_per_node).unwrap_or(u32::MAX),
        flapping: Flapping {
            times: config.baseline.flap_times,
            within: config.baseline.flap_within,
            rest: config.baseline.flap_rest,
        },
        rebalancing: Rebalancing {
            every: config.baseline.rebalance_every,
        },
        scaling: scale::Settings::from(&config.scaling),
    };
    Domain::new(settings, is_alone)
}

fn subscribe(
    config: &Config,
    bound: &Listen,
    orc: Handle,
    readiness: &Readiness,
    shutdown: CancellationToken,
    tasks: &mut JoinSet<()>,
) {
    let Some(con) = config.general.domain_register_url.clone() else {
        return;
    };
    let announced = config
        .general
        .orchestrator_url_announced
        .as_ref()
        .unwrap_or(bound);
    let subscription = Subscription {
        domain_id: config.general.domain_id.clone(),
        labels: config.general.labels.clone(),
        orchestrator_url: announced.to_string(),
        nonce: rand::rng().random(),
        interval: config.general.subscription_refresh_interval,
    };
    let readiness = readiness.clone();
    tasks.spawn(async move {
        let run = domain_client::run(subscription, &con, orc, readiness);
        shutdown.run_until_cancelled(run).await;
    });
}

async fn ended<E: std::error::Error>(
    name: &'static str,
    serve: impl Future<Output = Result<(), E>>,
) {
    if let Err(error) = serve.await {
        tracing::error!(%error, name, "a server failed");
    }
}
