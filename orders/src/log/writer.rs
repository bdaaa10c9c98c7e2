//! The thread that owns the log: what is handed over while it syncs is committed together next. When the disk refuses
//! it keeps everything and tries again.

mod committer;

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use super::{
    Batch, Log,
    syncers::{Outcome, Syncers},
};
use committer::{Beginning, Committer};

/// Bytes that may wait for the disk before whoever hands over more waits as well.
const QUEUE: usize = 32 << 20;
/// Buffers kept for reuse, and how large each may be.
const BUFFERS: usize = 8;
const BUFFER: usize = 256 << 10;

/// What the thread says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Records are safe.
    Durable {
        /// The sequence of the last one.
        through: u64,
        /// Bytes that can be committed now, as [`Log::room`] says.
        room: u64,
        /// Syncs of the thread so far.
        syncs: u64,
        /// Bytes of records the thread wrote so far, with their headers.
        bytes: u64,
    },
    /// The disk refuses, and why. What was handed over is kept and tried again, until [`Progress::Durable`].
    Stalled(String),
    /// There is another amount of room than was said last, in bytes.
    Room(u64),
}

/// The thread of the log is not there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the thread of the log of orders has ended; start the program again")]
pub struct Ended;

#[derive(Default)]
struct Queue {
    batches: VecDeque<Batch>,
    /// Bytes of all of them.
    bytes: usize,
    buffers: Vec<Batch>,
    trim: Option<u64>,
    /// The thread has records that are not in the queue any more, and not committed yet.
    in_hand: bool,
    /// Syncs that came to an end, with their numbers.
    synced: Vec<(u64, Outcome)>,
    /// The thread lets more come: it need not be woken for it.
    gathers: bool,
    /// The spare segments changed.
    look: bool,
    is_closing: bool,
    has_ended: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// There is something to do.
    work: Condvar,
    /// There is space in the queue again.
    space: Condvar,
}

/// Hands batches to the thread. It ends, with all that was handed over before, when this is dropped.
pub struct Writer {
    shared: Arc<Shared>,
    log: Arc<Mutex<Log>>,
    /// Syncs and bytes of the log before the thread was there.
    started: (u64, u64),
    /// An empty batch to copy.
    empty: Batch,
}

impl Writer {
    /// Starts the thread. It calls `on_progress` itself: what that does keeps the next commit waiting.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        log: Log,
        on_progress: impl Fn(Progress) + Send + 'static,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let shared = Arc::new(Shared::default());
        let empty = log.batch();
        let looked = Arc::clone(&shared);
        log.spares.on_change(move || {
            looked.lock().look = true;
            looked.work.notify_one();
        });
        let told = Arc::clone(&shared);
        let syncers = Syncers::start(&log.disk, move |number, outcome| {
            told.lock().synced.push((number, outcome));
            told.work.notify_one();
        })?;
        let started = (log.syncs, log.written);
        let log = Arc::new(Mutex::new(log));
        let committer = Committer::new(Beginning {
            shared: Arc::clone(&shared),
            log: Arc::clone(&log),
            syncers,
            on_progress,
        });
        let thread = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || committer.run())?;
        let writer = Self {
            shared,
            log,
            started,
            empty,
        };
        Ok((writer, thread))
    }

    /// Hands records over. What is handed over first is safe first. Waits while 32 MiB wait for the disk already.
    ///
    /// # Errors
    /// The thread has ended by a panic.
    pub fn append(&self, batch: Batch) -> Result<(), Ended> {
        let mut queue = self.shared.lock();
        while queue.bytes >= QUEUE && !queue.has_ended {
            let waited = self.shared.space.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
        }
        if queue.has_ended {
            return Err(Ended);
        }
        queue.bytes += batch.bytes();
        queue.batches.push_back(batch);
        if !queue.gathers {
            self.shared.work.notify_one();
        }
        Ok(())
    }

    /// Commits records on the thread of the caller, which saves waking another one twice. What comes back is what the
    /// thread would have said; the batch itself comes back if that is not possible now: the thread is at work, or the
    /// disk refuses. Then it is to be handed over.
    ///
    /// # Errors
    /// The batch.
    pub fn commit_here(&self, batch: Batch) -> Result<Progress, Batch> {
        {
            let queue = self.shared.lock();
            if !queue.batches.is_empty() || queue.in_hand || queue.has_ended {
                return Err(batch);
            }
        }
        // Nobody else hands anything over meanwhile, so that nothing is overtaken.
        let Ok(mut log) = self.log.try_lock() else {
            return Err(batch);
        };
        let Ok(through) = log.commit(&batch) else {
            return Err(batch);
        };
        let progress = durable(&log, through, self.started);
        drop(log);
        self.shared.lock().keep_buffer(batch);
        Ok(progress)
    }

    /// Bytes of records that wait for the disk, those of the running commit apart; for callers that must not wait.
    pub fn waiting(&self) -> usize {
        self.shared.lock().bytes
    }

    /// Says that no record below this sequence is needed any more.
    pub fn trim(&self, below: u64) {
        let mut queue = self.shared.lock();
        queue.trim = queue.trim.max(Some(below));
        self.shared.work.notify_one();
    }

    /// An empty batch; its buffer was used before if there is one.
    pub fn buffer(&self) -> Batch {
        self.shared.buffer(&self.empty)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.lock().is_closing = true;
        self.shared.work.notify_one();
    }
}

impl Queue {
    /// A buffer that is not needed now.
    fn keep_buffer(&mut self, mut batch: Batch) {
        batch.clear();
        if self.buffers.len() < BUFFERS && batch.capacity() <= BUFFER {
            self.buffers.push(batch);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An empty batch like this one; its buffer was used before if there is one.
    fn buffer(&self, like: &Batch) -> Batch {
        let reused = self.lock().buffers.pop();
        reused.unwrap_or_else(|| like.emptied())
    }
}

fn locked(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is said after a commit.
fn durable(log: &Log, through: u64, started: (u64, u64)) -> Progress {
    Progress::Durable {
        through,
        room: log.room(),
        syncs: log.syncs - started.0,
        bytes: log.written - started.1,
    }
}

#[cfg(test)]
mod tests;
