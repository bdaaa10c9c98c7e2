//! Starts the orders: what was kept is read, the threads are started.

use std::{path::Path, sync::Arc, thread::JoinHandle, time::Duration};

use edgeless_daemon::{status::Readiness, thread::on_thread};
use edgeless_orders::{
    book::{Book, Event, Settings as BookSettings},
    contract::Contract,
    log::{self, Log, Writer},
    service::ServiceSpec,
    store::StoreError,
    tasks::Lists,
};
use futures_util::FutureExt;
use rand::{SeedableRng, rngs::SmallRng};
use tokio::{
    sync::{broadcast, mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    INBOX, Inner, Orders, Settings, WATCH,
    blobs::{self, Blobs},
    kept, now,
    outputs::Outputs,
    owner::{Carrying, Owner},
    progress::{Broken, Kept},
    reads,
    rows::Applier,
};

/// Batches of records on their way to the store.
const RECORDS: usize = 8;
/// What is to be read from the store.
const READS: usize = 1024;
/// Ends that are to be told.
const ENDS: usize = 65_536;
/// Services that are wanted: each soon, and then at once.
const WANTED: usize = 2 * 65_536;

/// The orders cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] log::OpenError),
    /// The store cannot be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder cannot be made, or a thread cannot be started.
    #[error("the orders in `{folder}` cannot be started")]
    Start {
        /// The folder.
        folder: String,
        /// Why.
        source: std::io::Error,
    },
}

impl OpenError {
    fn start(folder: &Path, source: std::io::Error) -> Self {
        let folder = folder.display().to_string();
        Self::Start { folder, source }
    }
}

/// The orders as they run.
pub struct Opened {
    /// Asks them.
    pub orders: Orders,
    /// Services that tasks wait for and nobody is there.
    pub wanted: mpsc::Receiver<Arc<str>>,
    /// End when all handles are gone, and everything is kept; before that only if something cannot go on.
    pub tasks: JoinSet<Result<(), Broken>>,
}

/// Services and clients that are defined, by name.
#[derive(Debug, Default)]
pub struct Defined {
    /// Services.
    pub services: Vec<(Arc<str>, Arc<ServiceSpec>)>,
    /// Clients.
    pub clients: Vec<(Arc<str>, Arc<Contract>)>,
}

fn new_book(settings: &Settings, next: u64, defined: Defined) -> Book {
    let settings = BookSettings {
        resident_bytes: settings.resident_mib << 20,
        ..BookSettings::default()
    };
    let mut book = Book::new(settings, next, SmallRng::from_os_rng());
    for (name, spec) in defined.services {
        let spec = Some(spec);
        book.on_event(Event::Service { name, spec }, now());
    }
    for (name, contract) in defined.clients {
        let contract = Some(contract);
        book.on_event(Event::Client { name, contract }, now());
    }
    book
}

/// Reads what was kept and starts.
///
/// # Errors
/// What was kept cannot be read.
pub async fn open(
    folder: &Path,
    settings: &Settings,
    defined: Defined,
    readiness: Readiness,
    end: CancellationToken,
) -> Result<Opened, OpenError> {
    let failed = |source| OpenError::start(folder, source);
    let blobs = Blobs::open(folder.join("blobs")).map_err(failed)?;
    let lists = Lists::default();
    let (store, log) = kept::read(folder, settings, &lists)?;
    let mut book = new_book(settings, log.next(), defined);
    let begin = kept::restore(&mut book, &*store, &lists)?;
    let (writer, thread, told) = start_log(log).map_err(failed)?;
    let kept_by = told.subscribe();
    let (applied, applied_by) = watch::channel(book.next() - 1 - begin.records.len() as u64);
    let (inbox, posts) = mpsc::channel(INBOX);
    let (rows, records) = mpsc::channel(RECORDS);
    let (reads, asked) = mpsc::channel(READS);
    let (changes, _) = broadcast::channel(WATCH);
    let (wants, wanted) = mpsc::channel(WANTED);
    let (ends, ended) = mpsc::channel(ENDS);
    let applier = Applier {
        store: Arc::clone(&store),
        records,
        applied,
        // The log ends with its owner.
        log: Arc::downgrade(&writer),
        retention: settings.retention,
        readiness: readiness.clone(),
    };
    let owner = Owner {
        book,
        inbox: posts,
        log: writer,
        kept: kept_by.clone(),
        told,
        applied: applied_by.clone(),
        rows,
        reads,
        changes: changes.clone(),
        wanted: wants,
        ends,
        readiness: readiness.clone(),
        end: end.clone(),
        state: Carrying::default(),
    };
    let kept_ends = (Arc::clone(&store), lists.clone());
    let outputs = Outputs::new(&settings.results_dir, inbox.downgrade(), kept_ends);
    let reading = reads::run(Arc::clone(&store), lists.clone(), asked, inbox.downgrade());
    let orders = Orders(Arc::new(Inner {
        inbox,
        asks: 0.into(),
        lines: 1.into(),
        lists,
        blobs,
        store,
        readiness,
        kept: kept_by,
        applied: applied_by,
        changes,
    }));
    let mut tasks = JoinSet::new();
    tasks.spawn(owner.run(begin));
    let applying = on_thread("order-rows", applier.run()).map_err(failed)?;
    let reading = on_thread("order-reads", reading).map_err(failed)?;
    tasks.spawn(applying.map(Ok));
    tasks.spawn(reading.map(Ok));
    tasks.spawn(outputs.run(ended).map(Ok));
    tasks.spawn(watch_log(thread).map(Ok));
    tasks.spawn(sweep_blobs(&orders, settings.retention, end).map(Ok));
    Ok(Opened {
        orders,
        wanted,
        tasks,
    })
}

/// Removes blobs without orders, until the end.
fn sweep_blobs(
    orders: &Orders,
    retention: Duration,
    end: CancellationToken,
) -> impl Future<Output = ()> + Send + 'static {
    blobs::run_sweeps(Arc::downgrade(&orders.0), retention, end)
}

type LogThread = (Arc<Writer>, JoinHandle<()>, Arc<watch::Sender<Kept>>);

/// Starts the thread of the log, which says how far it is.
fn start_log(log: Log) -> std::io::Result<LogThread> {
    let kept = watch::Sender::new(Kept {
        through: log.next() - 1,
        room: log.room(),
        ..Kept::default()
    });
    let kept = Arc::new(kept);
    let told = Arc::clone(&kept);
    let (writer, thread) = Writer::start(log, move |progress| {
        told.send_modify(|kept| kept.follow(progress));
    })?;
    Ok((Arc::new(writer), thread, kept))
}

/// Waits until the thread of the log has ended.
async fn watch_log(thread: JoinHandle<()>) {
    let ended = tokio::task::spawn_blocking(move || thread.join()).await;
    if !matches!(ended, Ok(Ok(()))) {
        tracing::error!("the log of orders has panicked");
    }
}
