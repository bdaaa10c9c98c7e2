//! The thread that owns the log: what is handed over while it syncs is committed together next. When the disk refuses
//! it keeps everything and tries again.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use super::{Batch, Log};

/// Bytes that may wait for the disk before whoever hands over more waits as well.
const QUEUE: usize = 32 << 20;
/// Bytes committed together, unless one batch alone has more.
const TOGETHER: usize = 1 << 20;
/// Buffers kept for reuse, and how large each may be.
const BUFFERS: usize = 8;
const BUFFER: usize = 256 << 10;
/// Pauses after the disk refused: the first and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

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
        let started = (log.syncs, log.written);
        let (room, together) = (log.room(), log.batch());
        let most = TOGETHER.min(log.capacity() / 2);
        let log = Arc::new(Mutex::new(log));
        let committer = Committer {
            shared: Arc::clone(&shared),
            log: Arc::clone(&log),
            started,
            most,
            room,
            together,
            on_progress,
        };
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
        self.shared.work.notify_one();
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
        self.keep_buffer(batch);
        Ok(progress)
    }

    fn keep_buffer(&self, mut batch: Batch) {
        batch.clear();
        let mut queue = self.shared.lock();
        if queue.buffers.len() < BUFFERS && batch.capacity() <= BUFFER {
            queue.buffers.push(batch);
        }
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
        let reused = self.shared.lock().buffers.pop();
        reused.unwrap_or_else(|| self.empty.clone())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.lock().is_closing = true;
        self.shared.work.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
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

/// The thread. When it ends, however that comes, nobody waits for it.
struct Committer<F> {
    shared: Arc<Shared>,
    log: Arc<Mutex<Log>>,
    /// Syncs and bytes of the log before the thread was there.
    started: (u64, u64),
    /// Bytes committed together, unless one batch alone has more.
    most: usize,
    /// The room that was said last.
    room: u64,
    /// The records of the next commit; after a refused one, those of it.
    together: Batch,
    on_progress: F,
}

impl<F> Drop for Committer<F> {
    fn drop(&mut self) {
        self.shared.lock().has_ended = true;
        self.shared.space.notify_all();
    }
}

impl<F: Fn(Progress)> Committer<F> {
    fn run(mut self) {
        let mut pause = PAUSE.0;
        // What was said about the disk, while it refuses.
        let mut stalled: Option<String> = None;
        loop {
            let is_closing = self.collect(stalled.is_some().then_some(pause));
            self.tell_room();
            if self.together.is_empty() {
                if is_closing {
                    return;
                }
                continue;
            }
            let mut log = locked(&self.log);
            let committed = log.commit(&self.together);
            match committed {
                Ok(through) => {
                    let progress = durable(&log, through, self.started);
                    self.room = log.room();
                    drop(log);
                    self.together.clear();
                    self.shared.lock().in_hand = false;
                    (self.on_progress)(progress);
                    (stalled, pause) = (None, PAUSE.0);
                }
                Err(error) if is_closing => {
                    tracing::error!(%error, "the last records of the log of orders could not be written");
                    (self.on_progress)(Progress::Stalled(error.to_string()));
                    return;
                }
                Err(error) => {
                    let why = error.to_string();
                    if stalled.as_ref() == Some(&why) {
                        pause = PAUSE.1.min(pause * 2);
                    } else {
                        (self.on_progress)(Progress::Stalled(why.clone()));
                        stalled = Some(why);
                    }
                }
            }
        }
    }

    /// Waits until there is something to do, or as long as a pause lasts, and takes what is committed together next;
    /// whether this is the end.
    fn collect(&mut self, pause: Option<Duration>) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut queue = shared.lock();
        queue = match pause {
            // More records do not end a pause; room, which a trim may bring, does.
            Some(pause) => {
                let idle =
                    |queue: &mut Queue| !queue.look && queue.trim.is_none() && !queue.is_closing;
                let waited = shared.work.wait_timeout_while(queue, pause, idle);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => {
                let idle = |queue: &mut Queue| {
                    let has_work = !queue.batches.is_empty() || queue.look || queue.trim.is_some();
                    !has_work && !queue.is_closing
                };
                let waited = shared.work.wait_while(queue, idle);
                waited.unwrap_or_else(PoisonError::into_inner)
            }
        };
        queue.look = false;
        let trim = queue.trim.take();
        // A refused commit is tried again as it was.
        if pause.is_none() {
            self.fill(&mut queue);
            shared.space.notify_all();
        }
        let is_closing = queue.is_closing && (queue.batches.is_empty() || pause.is_some());
        drop(queue);
        if let Some(below) = trim {
            locked(&self.log).trim(below);
        }
        is_closing
    }

    /// Takes the batches that fit together out of the queue, and gives their buffers back.
    fn fill(&mut self, queue: &mut Queue) {
        while let Some(next) = queue.batches.front()
            && (self.together.is_empty() || self.together.bytes() + next.bytes() <= self.most)
        {
            let Some(mut batch) = queue.batches.pop_front() else {
                return;
            };
            queue.bytes -= batch.bytes();
            queue.in_hand = true;
            if self.together.is_empty() {
                std::mem::swap(&mut self.together, &mut batch);
            } else {
                self.together.absorb(&batch);
            }
            batch.clear();
            if queue.buffers.len() < BUFFERS && batch.capacity() <= BUFFER {
                queue.buffers.push(batch);
            }
        }
    }

    fn tell_room(&mut self) {
        let room = locked(&self.log).room();
        if room != self.room {
            self.room = room;
            (self.on_progress)(Progress::Room(room));
        }
    }
}

#[cfg(test)]
mod tests;
