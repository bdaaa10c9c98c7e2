//! Starts ε-CON: everything is bound and read before anything runs.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use edgeless_daemon::{
    code::CodeStore,
    net::{BindError, Bound, Listen},
    status::{self, Readiness, Status},
    writer::WriteError,
};
use edgeless_orders::contract::Contract;
use prometheus_client::registry::Registry;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    controller::Controller,
    grpc,
    metrics::Metrics,
    orders::{self, Clients, Deployer, Orders, ServiceRecord},
    rest,
    store::{OpenError, Store, Write},
};

/// How often lost domains are looked for: when the next may be lost, within these bounds.
const TICK: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));

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
    /// Contracts cannot be read from files.
    #[error(transparent)]
    Contracts(#[from] orders::ContractsError),
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

/// ε-CON has ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum EndError {
    /// The orders cannot go on.
    #[error(transparent)]
    Orders(#[from] orders::Broken),
    /// A part of them is gone, without a reason but what it has logged.
    #[error("a part of the orders has ended before ε-CON")]
    Part,
    /// A part of them has panicked.
    #[error("a part of the orders has panicked")]
    Panicked(#[from] JoinError),
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
    orders: OrderTasks,
    end: CancellationToken,
}

impl Running {
    /// Waits until everything has ended, after shutdown. Clients that do not let go of their
    /// connections are not waited for. If the orders cannot go on, that is a shutdown as well.
    ///
    /// # Errors
    /// It did not end because it was told to.
    pub async fn join(mut self) -> Result<(), EndError> {
        let mut outcome = tokio::select! {
            // Who looks late, after a shutdown, finds parts that have ended with it.
            biased;
            () = self.shutdown.cancelled() => Ok(()),
            ended = self.orders.join_next() => Err(early(ended)),
        };
        self.shutdown.cancel();
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
        let end = async {
            while let Some(ended) = self.orders.join_next().await {
                // What went wrong first is what counts.
                if outcome.is_ok() {
                    outcome = of_part(ended);
                }
            }
        };
        if tokio::time::timeout(DRAIN, end).await.is_err() {
            tracing::warn!(
                "the orders did not end in time; what they kept is there at the next start"
            );
        }
        self.con.end().await;
        outcome
    }
}

/// What becomes of the parts of the orders.
type OrderTasks = JoinSet<Result<(), orders::Broken>>;

/// A part of the orders has ended before it was told to.
fn early(ended: Option<Result<Result<(), orders::Broken>, JoinError>>) -> EndError {
    let of_part = ended.map(of_part);
    of_part.and_then(Result::err).unwrap_or(EndError::Part)
}

fn of_part(ended: Result<Result<(), orders::Broken>, JoinError>) -> Result<(), EndError> {
    Ok(ended??)
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
    let ports = Ports::bind(&config).await?;
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
    let around = Around {
        con: con.clone(),
        store: store.clone(),
        readiness: readiness.clone(),
        shutdown: shutdown.clone(),
    };
    let folder = config.data_dir.join("orders");
    let kept = (services, clients);
    let url = &ports.clients.url;
    let (api, order_tasks, deploying) =
        start_orders(&folder, &order_settings, url, kept, around, end.clone()).await?;
    let mut running = Running {
        controller_url: ports.clients.url.clone(),
        domain_register_url: ports.domains.url.clone(),
        rest_url: ports.rest.url.clone(),
        con: con.clone(),
        shutdown: shutdown.clone(),
        tasks: JoinSet::new(),
        orders: order_tasks,
        end,
    };
    let routes = Status {
        readiness: readiness.clone(),
        refresh: Some(refresh(&mut registry, api.orders.clone())),
        metrics: Arc::new(registry),
    }
    .router()
    .merge(rest::router(api.clone()));
    let tasks = &mut running.tasks;
    tasks.spawn(deploying);
    tasks.spawn(try_store(store, shutdown));
    serve(tasks, ports, routes, api);
    readiness.started();
    Ok(running)
}

/// Listeners that are open.
struct Ports {
    clients: Bound,
    domains: Bound,
    rest: Bound,
}

impl Ports {
    async fn bind(config: &crate::config::Controller) -> Result<Self, BindError> {
        let domains = &config.domain_register_url;
        Ok(Self {
            clients: config.controller_url.bind("WorkflowInstance").await?,
            domains: domains.bind("DomainRegistration").await?,
            rest: config.rest_url.bind("REST").await?,
        })
    }
}

/// Serves all ports until shutdown, and looks for lost domains.
fn serve(tasks: &mut JoinSet<()>, ports: Ports, routes: axum::Router, api: rest::Api) {
    let rest::Api {
        con,
        orders,
        shutdown,
        ..
    } = api;
    let serving = grpc::serve_clients(ports.clients, con.clone(), orders, shutdown.clone());
    tasks.spawn(ended("WorkflowInstance", serving));
    let serving = grpc::serve_domains(ports.domains, con.clone(), shutdown.clone());
    tasks.spawn(ended("DomainRegistration", serving));
    let serving = status::serve_behind(ports.rest, rest::front, routes, shutdown.clone());
    tasks.spawn(ended("REST", serving));
    tasks.spawn(async move {
        loop {
            let due = con.on_tick().await.unwrap_or(TICK.1);
            let pause = tokio::time::sleep(due.clamp(TICK.0, TICK.1));
            if shutdown.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    });
}

/// What the orders need of ε-CON.
struct Around {
    con: Controller,
    store: Store,
    readiness: Readiness,
    shutdown: CancellationToken,
}

/// Services and clients as they were kept.
type KeptOrders = (Vec<(String, ServiceRecord)>, Contracts);

/// Starts the orders: what handlers ask, what ends with them, and what sees to their services.
async fn start_orders(
    folder: &Path,
    settings: &orders::Settings,
    controller_url: &Listen,
    (services, clients): KeptOrders,
    around: Around,
    end: CancellationToken,
) -> Result<
    (
        rest::Api,
        OrderTasks,
        impl Future<Output = ()> + Send + 'static,
    ),
    StartError,
> {
    let Around {
        con,
        store,
        readiness,
        shutdown,
    } = around;
    let (clients, files) = with_files(clients, settings)?;
    let known = orders::Defined {
        services: defined(&services, |record| record.spec.clone()),
        clients: defined(&clients, Clone::clone),
    };
    let opened = orders::open(folder, settings, known, readiness, end).await?;
    let url = orders::announced(settings, controller_url);
    let orders = opened.orders;
    let services = Deployer::new(con.clone(), orders.clone(), store.clone(), url, services);
    let clients = Clients::new(orders.clone(), store, clients, files);
    let deploying = services.clone().run(opened.wanted, shutdown.clone());
    let api = rest::Api {
        con,
        orders,
        services,
        clients,
        shutdown,
    };
    Ok((api, opened.tasks, deploying))
}

/// Clients and their contracts.
type Contracts = Vec<(String, Contract)>;

/// The contracts that hold: those of files, and others that were kept; and which file defines which client.
fn with_files(
    kept: Contracts,
    settings: &orders::Settings,
) -> Result<(Contracts, BTreeMap<String, String>), orders::ContractsError> {
    let of_files = orders::read_contracts(&settings.contracts)?;
    let mut contracts: BTreeMap<String, Contract> = kept.into_iter().collect();
    let mut files = BTreeMap::new();
    for orders::FileContract {
        client,
        contract,
        file,
        line: _,
    } in of_files
    {
        files.insert(client.clone(), file.display().to_string());
        contracts.insert(client, contract);
    }
    Ok((contracts.into_iter().collect(), files))
}

/// What is shown of orders is taken when it is asked for.
fn refresh(registry: &mut Registry, orders: Orders) -> status::Refresh {
    let metrics = orders::Metrics::new(registry);
    status::Refresh(Arc::new(move || {
        let (metrics, orders) = (metrics.clone(), orders.clone());
        Box::pin(async move { metrics.refresh(&orders).await })
    }))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_nobody_asked_for_has_a_reason() {
        let told = |ended| early(Some(Ok(ended))).to_string();
        assert_eq!(told(Ok(())), "a part of the orders has ended before ε-CON");
        let broken = orders::Broken::Log(edgeless_orders::log::Ended);
        assert_eq!(told(Err(broken)), "the orders cannot be kept");
    }
}
