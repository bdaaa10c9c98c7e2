//! Starts ε-CON: everything is bound and read before anything runs.

use std::{path::PathBuf, sync::Arc, time::Duration};

use edgeless_daemon::{
    code::CodeStore,
    net::{BindError, Listen},
    status::{self, Readiness, Status},
    writer::WriteError,
};
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    controller::Controller,
    grpc,
    metrics::Metrics,
    orders::{self, Clients, Deployer},
    rest,
    store::{OpenError, Store, Write},
};

/// How often lost domains are looked for.
const TICK: Duration = Duration::from_millis(200);

/// How often a disk is tried that has refused something.
const STORE_TRIAL: Duration = Duration::from_secs(1);

/// How long requests under way may take after shutdown.
const DRAIN: Duration = Duration::from_secs(10);

/// ε-CON cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is taken or not of this machine.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// What was kept cannot be read.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// What was kept of orders cannot be read.
    #[error(transparent)]
    Orders(#[from] orders::OpenError),
    /// The start cannot be kept.
    #[error("key `controller.data_dir`: could not write to the store")]
    Life(#[source] WriteError),
    /// The folder for code cannot be made.
    #[error("key `controller.data_dir`: could not create the folder `{}` for code", path.display())]
    Code {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// ε-CON as it runs.
pub struct Running {
    /// Where clients ask over gRPC.
    pub controller_url: Listen,
    /// Where domains subscribe.
    pub domain_register_url: Listen,
    /// Where clients ask over REST.
    pub rest_url: Listen,
    con: Controller,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
    orders: JoinSet<()>,
    end: CancellationToken,
}

impl Running {
    /// Waits until everything has ended, after shutdown. Clients that do not let go of their
    /// connections are not waited for.
    pub async fn join(mut self) {
        self.shutdown.cancelled().await;
        let drain = async {
            while let Some(ended) = self.tasks.join_next().await {
                if let Err(error) = ended {
                    tracing::error!(%error, "a part of ε-CON panicked");
                }
            }
        };
        if tokio::time::timeout(DRAIN, drain).await.is_err() {
            tracing::warn!("some clients did not let go of their connections");
            self.tasks.shutdown().await;
        }
        self.end.cancel();
        let end = async { while self.orders.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, end).await.is_err() {
            tracing::warn!(
                "the orders did not end in time; what they kept is there at the next start"
            );
        }
        self.con.end().await;
    }
}

/// Starts ε-CON; it runs until `shutdown` is cancelled.
///
/// # Errors
/// An address cannot be bound, or what was kept cannot be read.
pub async fn start(config: Config, shutdown: CancellationToken) -> Result<Running, StartError> {
    let order_settings = config.orders;
    let config = config.controller;
    let readiness = Readiness::default();
    let (store, mut kept) = Store::open(&config.data_dir.join("con.redb"), readiness.clone())?;
    let path = config.data_dir.join("code");
    let code = CodeStore::open(path.clone());
    let code = code.map_err(|source| StartError::Code { path, source })?;
    let clients_at = config.controller_url.bind("WorkflowInstance").await?;
    let domains = config
        .domain_register_url
        .bind("DomainRegistration")
        .await?;
    let rest_port = config.rest_url.bind("REST").await?;
    tracing::info!(workflows = kept.workflows.len(), "what was kept is read");
    let mut registry = Registry::with_prefix("edgeless_con");
    let metrics = Metrics::new(&mut registry);
    let life = begin_life(&store, kept.life).await?;
    let (services, clients) = (
        std::mem::take(&mut kept.services),
        std::mem::take(&mut kept.clients),
    );
    let con = Controller::new(
        kept,
        life,
        store.clone(),
        code,
        metrics,
        readiness.clone(),
        shutdown.clone(),
    );
    let end = CancellationToken::new();
    let opened = orders::open(
        &config.data_dir.join("orders"),
        &order_settings,
        defined(&services, |record| record.spec.clone()),
        defined(&clients, Clone::clone),
        readiness.clone(),
        end.clone(),
    )
    .await?;
    let url = orders::announced(&order_settings, &clients_at.url);
    let deployer = Deployer::new(
        con.clone(),
        opened.orders.clone(),
        store.clone(),
        url,
        services,
    );
    let order_clients = Clients::new(opened.orders.clone(), store.clone(), clients);
    let mut running = Running {
        controller_url: clients_at.url.clone(),
        domain_register_url: domains.url.clone(),
        rest_url: rest_port.url.clone(),
        con: con.clone(),
        shutdown: shutdown.clone(),
        tasks: JoinSet::new(),
        orders: opened.tasks,
        end,
    };
    let tasks = &mut running.tasks;
    let orders = opened.orders.clone();
    let serve = grpc::serve_clients(clients_at, con.clone(), orders, shutdown.clone());
    tasks.spawn(ended("WorkflowInstance", serve));
    let serve = grpc::serve_domains(domains, con.clone(), shutdown.clone());
    tasks.spawn(ended("DomainRegistration", serve));
    readiness.started();
    let metrics = Arc::new(registry);
    let routes = Status {
        readiness,
        metrics,
        refresh: None,
    }
    .router()
    .merge(rest::router(rest::Api {
        con: con.clone(),
        orders: opened.orders,
        services: deployer.clone(),
        clients: order_clients,
        shutdown: shutdown.clone(),
    }));
    tasks.spawn(deployer.run(opened.wanted, shutdown.clone()));
    tasks.spawn(ended(
        "REST",
        status::serve(rest_port, routes, shutdown.clone()),
    ));
    tasks.spawn(try_store(store, shutdown.clone()));
    tasks.spawn(async move {
        let mut tick = tokio::time::interval(TICK);
        while shutdown.run_until_cancelled(tick.tick()).await.is_some() {
            con.on_tick().await;
        }
    });
    Ok(running)
}

/// What was kept, as the order book is told.
fn defined<R, T>(kept: &[(String, R)], what: impl Fn(&R) -> T) -> Vec<(Arc<str>, Arc<T>)> {
    let one = |(name, record): &(String, R)| (name.as_str().into(), Arc::new(what(record)));
    kept.iter().map(one).collect()
}

/// A number for this life that is greater than that of any before, also of those whose store was
/// moved away: the time in milliseconds, unless the clock goes backwards.
async fn begin_life(store: &Store, last: u64) -> Result<u64, StartError> {
    let now = edgeless_daemon::wall_clock().as_nanos() / 1_000_000;
    let life = now.max(last + 1);
    let written = store.write(vec![Write::Life(life)]).await;
    written.map_err(StartError::Life)?;
    Ok(life)
}

/// A disk that was full may have room again before anybody wants something to be kept.
async fn try_store(store: Store, shutdown: CancellationToken) {
    let mut tick = tokio::time::interval(STORE_TRIAL);
    while shutdown.run_until_cancelled(tick.tick()).await.is_some() {
        store.try_again().await;
    }
}

async fn ended<E: std::error::Error>(
    name: &'static str,
    serve: impl Future<Output = Result<(), E>>,
) {
    if let Err(error) = serve.await {
        tracing::error!(%error, name, "a server failed");
    }
}
