//! Starts the orders: what was kept is read, the threads are started.

use std::{path::Path, sync::Arc};

use edgeless_daemon::{panic::caught, status::Readiness, thread::on_thread};
use edgeless_orders::{
    body::Body,
    book::{Book, Effect, Event, Output, Settings as BookSettings},
    contract::Contract,
    log::{self, Log, Options, Writer},
    record::Record,
    service::ServiceSpec,
    store::{Keep, RowChange, Rows, Store, StoreError, Tables, Which},
    tasks::Lists,
};
use edgeless_types::OrderId;
use prost::Message;
use rand::{SeedableRng, rngs::SmallRng};
use rustc_hash::FxHashMap;
use std::ops::ControlFlow;
use tokio::{
    sync::{broadcast, mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    INBOX, Inner, Orders, Settings, WATCH, body_of, now,
    outputs::Outputs,
    owner::{Carrying, Kept, Owner},
    reads,
    rows::Applier,
};

/// Batches of records on their way to the store.
const RECORDS: usize = 8;
/// What is to be read from the store.
const READS: usize = 1024;
/// Ends that are to be told.
const ENDS: usize = 65_536;
/// Services that are wanted.
const WANTED: usize = 256;

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

/// The orders as they run.
pub struct Opened {
    /// Asks them.
    pub orders: Orders,
    /// Services that tasks wait for and nobody is there.
    pub wanted: mpsc::Receiver<Arc<str>>,
    /// End when all handles are gone, and everything is kept.
    pub tasks: JoinSet<()>,
}

/// Reads what was kept and starts.
///
/// # Errors
/// What was kept cannot be read.
pub async fn open(
    folder: &Path,
    settings: &Settings,
    services: Vec<(Arc<str>, Arc<ServiceSpec>)>,
    clients: Vec<(Arc<str>, Arc<Contract>)>,
    readiness: Readiness,
    end: CancellationToken,
) -> Result<Opened, OpenError> {
    let failed = |source| OpenError::Start {
        folder: folder.display().to_string(),
        source,
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let lists = Lists::default();
    let (store, log) = read_kept(folder, settings, &lists)?;
    let mut book = Book::new(
        BookSettings {
            resident_bytes: settings.resident_mib << 20,
            ..BookSettings::default()
        },
        log.next(),
        SmallRng::from_os_rng(),
    );
    for (name, spec) in services {
        let spec = Some(spec);
        book.on_event(Event::Service { name, spec }, now());
    }
    for (name, contract) in clients {
        let contract = Some(contract);
        book.on_event(Event::Client { name, contract }, now());
    }
    let begin = restore(&mut book, &*store, &lists)?;
    let (kept, kept_by) = watch::channel(Kept {
        through: log.next() - 1,
        room: log.room(),
        ..Kept::default()
    });
    let (writer, thread) = Writer::start(log, move |progress| {
        kept.send_modify(|kept| kept.follow(progress));
    })
    .map_err(failed)?;
    let writer = Arc::new(writer);
    let (applied, applied_by) = watch::channel(book.next() - 1 - begin.records.len() as u64);
    let (inbox, posts) = mpsc::channel(INBOX);
    let (rows, records) = mpsc::channel(RECORDS);
    let (reads, asked) = mpsc::channel(READS);
    let (catch_up, wishes) = mpsc::channel(1);
    let (changes, _) = broadcast::channel(WATCH);
    let (wants, wanted) = mpsc::channel(WANTED);
    let (ends, ended) = mpsc::channel(ENDS);
    let owner = Owner {
        book,
        inbox: posts,
        log: Arc::clone(&writer),
        kept: kept_by.clone(),
        applied: applied_by.clone(),
        rows,
        reads,
        changes: changes.clone(),
        wanted: wants,
        ends,
        readiness: readiness.clone(),
        end,
        state: Carrying::default(),
    };
    let trimmed = Arc::downgrade(&writer);
    drop(writer);
    let applier = Applier {
        store: Arc::clone(&store),
        records,
        catch_up: wishes,
        applied,
        trim: Box::new(move |below| {
            if let Some(log) = trimmed.upgrade() {
                log.trim(below);
            }
        }),
        retention: settings.retention,
        readiness,
    };
    let orders = Orders(Arc::new(Inner {
        inbox: inbox.clone(),
        asks: 0.into(),
        lines: 1.into(),
        lists: lists.clone(),
        store: Arc::clone(&store),
        kept: kept_by,
        applied: applied_by,
        catch_up,
        changes,
    }));
    let mut tasks = JoinSet::new();
    let inbox = inbox.downgrade();
    tasks.spawn(on_thread("orders", owner.run(begin)).map_err(failed)?);
    tasks.spawn(on_thread("order-rows", applier.run()).map_err(failed)?);
    let reading = reads::run(store, lists, asked, inbox.clone());
    tasks.spawn(on_thread("order-reads", reading).map_err(failed)?);
    let outputs = Outputs::new(settings.results_dir.clone(), inbox);
    tasks.spawn(outputs.run(ended));
    tasks.spawn(async move {
        let ended = tokio::task::spawn_blocking(move || thread.join()).await;
        if !matches!(ended, Ok(Ok(()))) {
            tracing::error!("the log of orders has panicked");
        }
    });
    Ok(Opened {
        orders,
        wanted,
        tasks,
    })
}

/// Opens log and store, and brings the store to where the log is.
fn read_kept(
    folder: &Path,
    settings: &Settings,
    lists: &Lists,
) -> Result<(Arc<dyn Store>, Log), OpenError> {
    // The database takes its file for what it wrote, and panics where it is not.
    let opened = caught(|| Tables::open(&folder.join("orders.redb")));
    let store = opened.unwrap_or_else(|| {
        let text = "its pages contradict one another; restore it from a copy, or move the folder `orders` away to \
                    begin anew without its orders";
        Err(StoreError(text.to_owned()))
    })?;
    let applied = store.applied()?;
    let mut changed: FxHashMap<OrderId, Record> = FxHashMap::default();
    let options = Options {
        segment_bytes: settings.segment_mib << 20,
        max_bytes: settings.log_mib << 20,
        sync_delay: settings.sync_delay,
    };
    let mut through = applied;
    let log = Log::open(
        &folder.join("log"),
        options,
        applied + 1,
        |sequence, bytes| {
            let record = Record::decode(bytes).map_err(|error| error.to_string())?;
            for change in record.changes {
                changed.entry(change.id()).or_default().changes.push(change);
            }
            through = sequence;
            Ok(())
        },
    )?;
    let mut rows = Rows::default();
    rows.through = through;
    for (id, record) in changed {
        let before = store.read(id)?;
        let row = row_change(before, record, lists)?;
        rows.rows.insert(id, row);
    }
    if through > applied {
        tracing::info!(
            orders = rows.rows.len(),
            "orders are brought from the log to the store"
        );
        store.apply(&rows, Keep::ForGood)?;
    }
    let mut log = log;
    log.trim(through + 1);
    Ok((Arc::new(store), log))
}

/// What changes in the log come to for a row.
fn row_change(
    before: Option<Record>,
    changes: Record,
    lists: &Lists,
) -> Result<RowChange, StoreError> {
    let mut rows = Rows::default();
    let told = edgeless_orders::book::Told::default();
    let id = changes.changes.first().map(|change| change.id());
    let all = Record {
        changes: before
            .into_iter()
            .flat_map(|row| row.changes)
            .chain(changes.changes.clone())
            .collect(),
    };
    rows.add(0, changes, &told);
    let mut row = id.and_then(|id| rows.rows.remove(&id)).unwrap_or_default();
    let body = body_of(all, lists)?;
    // What was told is counted by the store itself.
    let delivered = body.delivered.len();
    row.ended = body.ended().map(|ended| edgeless_orders::book::EndedOrder {
        outputs: ended.outputs + u32::try_from(delivered).unwrap_or(0),
        ..ended
    });
    Ok(row)
}

/// Puts what had not ended into the book.
fn restore(book: &mut Book, store: &dyn Store, lists: &Lists) -> Result<Output, OpenError> {
    let mut begin = Output::default();
    let mut damaged = None;
    let mut count = 0_u64;
    store.visit(
        Which::Active,
        None,
        &mut |_, record| match body_of(record, lists) {
            Ok(body) => {
                count += 1;
                add(&mut begin, book.restore(Box::new(body), now()));
                ControlFlow::Continue(())
            }
            Err(error) => {
                damaged = Some(error);
                ControlFlow::Break(())
            }
        },
    )?;
    if let Some(error) = damaged {
        return Err(error.into());
    }
    for (parent, position, child) in book.orphans() {
        if let Some(record) = store.read(child)? {
            let child: Body = body_of(record, lists)?;
            add(&mut begin, book.adopt(parent, position, &child, now()));
        }
    }
    add(&mut begin, book.resume(now()));
    for id in store.undelivered()? {
        if let Some(record) = store.read(id)? {
            begin
                .effects
                .push(Effect::Deliver(Arc::new(body_of(record, lists)?)));
        }
    }
    tracing::info!(orders = count, "active orders go on");
    Ok(begin)
}

fn add(all: &mut Output, more: Output) {
    all.records.extend(more.records);
    all.effects.extend(more.effects);
}
