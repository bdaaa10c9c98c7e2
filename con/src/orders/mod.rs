//! Orders in ε-CON: the shell around the order book of `edgeless-orders`.
//!
//! One thread owns the book (`owner`): what happens comes to it as events, it hands records to the thread of the log
//! and carries out effects when they are kept. `rows` brings records from there to the store, `reads` reads it, `lines`
//! are the ways to services, `endpoint` is one that leads to an HTTP endpoint, `open` starts all of it. `blobs` has the
//! bytes that orders refer to, `bytes` brings them to services and back.
//! `deploy` sees to it that there is somebody behind each service, `outputs` tells the ends of orders.

pub mod blobs;
mod bytes;
mod clients;
mod contracts;
mod deploy;
mod endpoint;
mod kept;
mod lines;
mod metrics;
mod open;
mod outputs;
mod owner;
mod patience;
mod progress;
mod reads;
mod rows;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use edgeless_daemon::status::Readiness;
use edgeless_orders::{
    body::Body,
    book::{Again, Answer, Ask, BookFigures, Event, LineId, Outcome, Refusal, Ticket},
    contract::Contract,
    record::Record,
    service::ServiceSpec,
    store::{Store, StoreError},
    submission::Submission,
    tasks::Lists,
};
use edgeless_types::{OrderId, Timestamp};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

pub use bytes::{Taken, Tasks};
pub use clients::{ClientView, Clients};
pub use contracts::{ContractsError, FileContract, read as read_contracts};
pub use deploy::{Deployer, ServiceRecord, ServiceView};
pub use lines::{Line, ToLine};
pub use metrics::Metrics;
pub use open::{Defined, OpenError, Opened, open};
pub use progress::Broken;

/// What waits for the owner; whoever has more waits.
const INBOX: usize = 4096;
/// Changes of orders that those who watch may be behind.
const WATCH: usize = 4096;
/// How long the store is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Settings of the orders of one ε-CON.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Bytes of one segment of the log, in MiB; 8 to 1,024.
    pub segment_mib: u64,
    /// Bytes of all segments, in MiB; at least two of them.
    pub log_mib: u64,
    /// Bytes of orders in memory beyond which those that wait are in the store only, in MiB.
    pub resident_mib: usize,
    /// How long orders are kept that have ended.
    #[serde(with = "humantime_serde")]
    pub retention: Duration,
    /// Where nodes reach ε-CON for tasks; none: at `controller_url`.
    pub announced_url: Option<edgeless_daemon::net::Listen>,
    /// Contracts that hold from the start, `folder/*.yaml`, `.json` or `.csv`; one such pattern or a list of them.
    #[serde(deserialize_with = "contracts::patterns")]
    pub contracts: Vec<String>,
    /// The folder of files that contracts name as outputs.
    pub results_dir: Option<std::path::PathBuf>,
    /// Each sync takes so much longer; to find out how a slow disk does.
    #[serde(with = "humantime_serde")]
    pub sync_delay: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            segment_mib: 16,
            log_mib: 512,
            resident_mib: 64,
            retention: Duration::from_secs(7 * 24 * 60 * 60),
            announced_url: None,
            contracts: Vec::new(),
            results_dir: None,
            sync_delay: Duration::ZERO,
        }
    }
}

/// What is sent to the owner.
enum Post {
    /// Something happened.
    Event(Event),
    /// Somebody asks.
    Ask(Event, oneshot::Sender<Answer>),
    /// Tasks have come back over a line.
    Outcomes(LineId, Vec<(Ticket, Outcome)>),
    /// A line leads to a service.
    Line {
        line: LineId,
        service: Arc<str>,
        source: Arc<str>,
        copies: Option<u32>,
        tasks: mpsc::Sender<ToLine>,
    },
    /// Somebody waits for the store.
    CatchUp,
    /// Somebody wants the figures.
    Figures(oneshot::Sender<BookFigures>),
    /// Somebody wants to know how many tasks wait for services.
    Queues(oneshot::Sender<Vec<(Arc<str>, u64)>>),
}

/// Asks the owner of the orders; cheap to clone.
#[derive(Clone)]
pub struct Orders(Arc<Inner>);

struct Inner {
    inbox: mpsc::Sender<Post>,
    asks: AtomicU64,
    lines: AtomicU32,
    lists: Lists,
    blobs: blobs::Blobs,
    store: Arc<dyn Store>,
    /// Says what is amiss.
    readiness: Readiness,
    /// Up to which record the log is safe, and the store has it.
    kept: watch::Receiver<progress::Kept>,
    applied: watch::Receiver<u64>,
    changes: broadcast::Sender<Arc<Body>>,
}

impl Orders {
    /// The lists of tasks in use.
    pub fn lists(&self) -> &Lists {
        &self.0.lists
    }

    /// The bytes that orders refer to.
    pub fn blobs(&self) -> &blobs::Blobs {
        &self.0.blobs
    }

    /// Takes an order. With `wait` the answer is its end.
    pub async fn submit(&self, id: OrderId, submission: Submission, wait: bool) -> Answer {
        let submission = Box::new(submission);
        self.ask(|ask| Event::Submit {
            id,
            submission,
            ask,
            wait,
        })
        .await
    }

    /// How an order is.
    pub async fn look(&self, id: OrderId) -> Answer {
        self.ask(|ask| Event::Look { id, ask }).await
    }

    /// How an order ends, when it has.
    pub async fn wait(&self, id: OrderId) -> Answer {
        self.ask(|ask| Event::Wait { id, ask }).await
    }

    /// Ends an order.
    pub async fn cancel(&self, id: OrderId, reason: String) -> Answer {
        self.ask(|ask| Event::Cancel { id, reason, ask }).await
    }

    /// Takes a failed order up again, as a new one; once more, if the one that took it up before came to no good end.
    pub async fn retry(&self, id: OrderId, new: OrderId) -> Answer {
        let retry = async |after| {
            self.ask(|ask| {
                Event::Retry(Again {
                    id,
                    new,
                    after,
                    ask,
                })
            })
            .await
        };
        let answer = retry(None).await;
        let Answer::Refused(Refusal::Retried { by, .. }) = &answer else {
            return answer;
        };
        match self.look(*by).await {
            Answer::Order(body) | Answer::Ended(body) if !body.has_failed() => answer,
            Answer::Refused(Refusal::Ending) => answer,
            // It has failed too, or is not kept any more.
            Answer::Order(_)
            | Answer::Ended(_)
            | Answer::Refused(_)
            | Answer::Accepted { .. }
            | Answer::Done => retry(Some(*by)).await,
        }
    }

    /// Holds an order up, or lets it go on.
    pub async fn pause(&self, id: OrderId, paused: bool) -> Answer {
        self.ask(|ask| Event::Pause { id, paused, ask }).await
    }

    /// How things are; none: ε-CON is ending.
    pub async fn figures(&self) -> Option<BookFigures> {
        let (give, take) = oneshot::channel();
        self.0.inbox.send(Post::Figures(give)).await.ok()?;
        take.await.ok()
    }

    /// How many tasks wait for services, where any do; none: ε-CON is ending.
    pub async fn queues(&self) -> Option<Vec<(Arc<str>, u64)>> {
        let (give, take) = oneshot::channel();
        self.0.inbox.send(Post::Queues(give)).await.ok()?;
        take.await.ok()
    }

    /// The last record that is safe.
    pub fn kept_through(&self) -> u64 {
        self.0.kept.borrow().through
    }

    /// Waits until more is safe than this record; for ever when ε-CON is ending.
    pub async fn kept_beyond(&self, through: u64) {
        let mut kept = self.0.kept.clone();
        if kept.wait_for(|kept| kept.through > through).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Changes of orders as they are kept. Who is too far behind misses some.
    pub fn watch(&self) -> broadcast::Receiver<Arc<Body>> {
        self.0.changes.subscribe()
    }

    /// The store, when it has everything that was acknowledged before.
    ///
    /// # Errors
    /// It does not have that in time, and why.
    pub async fn store(&self) -> Result<Arc<dyn Store>, Refusal> {
        let through = self.0.kept.borrow().through;
        let mut applied = self.0.applied.clone();
        if *applied.borrow() < through {
            self.post(Post::CatchUp).await;
            let caught_up = applied.wait_for(|applied| *applied >= through);
            if tokio::time::timeout(PATIENCE, caught_up).await.is_err() {
                let why = self.0.readiness.report().reasons.remove(rows::PART);
                let why = why.unwrap_or_else(|| "they are far behind the log".to_owned());
                return Err(Refusal::Away(why));
            }
        }
        Ok(Arc::clone(&self.0.store))
    }

    /// A service is there, changed or gone.
    pub async fn set_service(&self, name: Arc<str>, spec: Option<Arc<ServiceSpec>>) {
        self.post(Post::Event(Event::Service { name, spec })).await;
    }

    /// A service is wanted no more: done, or refused because active orders may need it.
    async fn remove_service(&self, name: Arc<str>) -> Answer {
        self.ask(|ask| Event::RemoveService { name, ask }).await
    }

    /// A service is held up, or goes on.
    pub async fn pause_service(&self, name: Arc<str>, paused: bool) {
        self.post(Post::Event(Event::PauseService { name, paused }))
            .await;
    }

    /// A client is there, changed or gone.
    pub async fn set_client(&self, name: Arc<str>, contract: Option<Arc<Contract>>) {
        self.post(Post::Event(Event::Client { name, contract }))
            .await;
    }

    async fn ask(&self, event: impl FnOnce(Ask) -> Event) -> Answer {
        let ask = Ask(self.0.asks.fetch_add(1, Ordering::Relaxed));
        let (give, take) = oneshot::channel();
        let sent = self.0.inbox.send(Post::Ask(event(ask), give)).await;
        match sent {
            Ok(()) => take.await.unwrap_or(Answer::Refused(Refusal::Ending)),
            Err(_) => Answer::Refused(Refusal::Ending),
        }
    }

    async fn post(&self, post: Post) {
        // Nobody takes it when everything ends.
        self.0.inbox.send(post).await.ok();
    }
}

/// The time.
fn now() -> Timestamp {
    edgeless_daemon::wall_clock()
}

/// An order from its row.
fn body_of(record: Record, lists: &Lists) -> Result<Body, StoreError> {
    let body = Body::of(record.changes, |text| lists.list(text));
    body.map_err(|error| StoreError(error.to_string()))
}

/// Where nodes reach ε-CON for tasks, or why they cannot.
///
/// # Errors
/// ε-CON listens at all addresses, and nothing says which of them others know.
pub fn announced(
    settings: &Settings,
    bound: &edgeless_daemon::net::Listen,
) -> Result<String, String> {
    if let Some(url) = &settings.announced_url {
        return Ok(url.to_string());
    }
    match bound.host() {
        "0.0.0.0" | "::" => Err(
            "`controller_url` names no host that nodes could reach: set `orders.announced_url` in the \
             configuration of ε-CON"
                .to_owned(),
        ),
        _ => Ok(bound.to_string()),
    }
}
