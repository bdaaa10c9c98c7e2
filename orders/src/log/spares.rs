//! Segments made ahead: prepared ones wait here for the log, and files it needs no more are prepared again. A thread
//! does that, so that no commit waits for it; without one, whoever takes a segment prepares it.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use super::{
    disk::Disk,
    segment::{HEADER, Segment},
};

/// After the disk refused, it is tried again so much later.
const AGAIN: Duration = Duration::from_secs(1);

/// What there is of files when the log is opened.
#[derive(Debug, Default)]
pub(super) struct Stock {
    /// Files to be prepared, in this order.
    pub(super) blank: VecDeque<u32>,
    /// Numbers of all files, also of those in use.
    pub(super) files: Vec<u32>,
    /// The place the next prepared one has among all segments.
    pub(super) next_ordinal: u64,
}

struct State {
    ready: VecDeque<Segment>,
    stock: Stock,
    /// Why the disk refused last.
    trouble: Option<String>,
    /// A thread prepares them.
    is_served: bool,
    is_closing: bool,
    /// Called when there is more to take than before.
    changed: Option<Box<dyn Fn() + Send>>,
}

/// One piece of work.
enum Work {
    Prepare(Segment),
    Make(u32),
}

struct Shared {
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    /// Files there may be.
    limit: usize,
    state: Mutex<State>,
    /// Something is to be done, or was done.
    moved: Condvar,
}

/// The way to them; the thread ends with it.
pub(super) struct Spares {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Spares {
    pub(super) fn new(disk: Arc<dyn Disk>, segment_bytes: u64, limit: usize, stock: Stock) -> Self {
        let state = State {
            ready: VecDeque::new(),
            stock,
            trouble: None,
            is_served: false,
            is_closing: false,
            changed: None,
        };
        let shared = Shared {
            disk,
            segment_bytes,
            limit,
            state: Mutex::new(state),
            moved: Condvar::new(),
        };
        Self {
            shared: Arc::new(shared),
            thread: None,
        }
    }

    /// Starts the thread.
    pub(super) fn serve(&mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        self.shared.lock().is_served = true;
        let thread = std::thread::Builder::new()
            .name("log-spares".to_owned())
            .spawn(move || shared.run())?;
        self.thread = Some(thread);
        Ok(())
    }

    /// Prepares every file there is; nothing of an earlier use is left then.
    pub(super) fn prepare_all(&self) -> io::Result<()> {
        while !self.shared.lock().stock.blank.is_empty() {
            self.shared.step()?;
        }
        Ok(())
    }

    /// Does one piece of work, if there is one.
    #[cfg(test)]
    pub(super) fn step(&self) -> io::Result<bool> {
        self.shared.step()
    }

    /// The next segment; waits while it is being prepared.
    ///
    /// # Errors
    /// There is none, and the disk or the bound allows no more.
    pub(super) fn take(&self) -> io::Result<Segment> {
        let mut state = self.shared.lock();
        loop {
            if let Some(segment) = state.ready.pop_front() {
                self.shared.moved.notify_all();
                return Ok(segment);
            }
            if state.is_served {
                if let Some(trouble) = &state.trouble {
                    let text = format!("no segment could be made: {trouble}");
                    return Err(io::Error::new(io::ErrorKind::StorageFull, text));
                }
                if self.shared.work(&state).is_none() {
                    return Err(self.shared.full());
                }
                state = self.shared.wait(state);
            } else {
                drop(state);
                if !self.shared.step()? {
                    return Err(self.shared.full());
                }
                state = self.shared.lock();
            }
        }
    }

    /// Gives segments back that were taken last, in the order they were taken.
    pub(super) fn put_back(&self, segments: &[Segment]) {
        let mut state = self.shared.lock();
        for &segment in segments.iter().rev() {
            state.ready.push_front(segment);
        }
    }

    /// Hands over a file that is needed no more.
    pub(super) fn recycle(&self, file: u32) {
        self.shared.lock().stock.blank.push_back(file);
        self.shared.moved.notify_all();
    }

    /// Bytes for batches in files that exist.
    pub(super) fn room(&self) -> u64 {
        let state = self.shared.lock();
        let files = state.ready.len() + state.stock.blank.len();
        files as u64 * (self.shared.segment_bytes - HEADER as u64)
    }

    /// Calls this whenever there is more to take; it must not call back.
    pub(super) fn on_change(&self, changed: impl Fn() + Send + 'static) {
        self.shared.lock().changed = Some(Box::new(changed));
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        self.shared.lock().is_closing = true;
        self.shared.moved.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that prepares segments of the log panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.moved
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn full(&self) -> io::Error {
        let text = format!(
            "all {} segments of the log hold records that are still needed; raise `max_bytes`",
            self.limit
        );
        io::Error::new(io::ErrorKind::StorageFull, text)
    }

    /// What is to be done next. A file whose preparation failed stays the first, so that no two get one ordinal.
    fn work(&self, state: &State) -> Option<Work> {
        if let Some(&file) = state.stock.blank.front() {
            return Some(Work::Prepare(Segment {
                file,
                ordinal: state.stock.next_ordinal,
                salt: self.disk.salt(),
            }));
        }
        if !state.ready.is_empty() || state.stock.files.len() >= self.limit {
            return None;
        }
        (0..)
            .find(|file| !state.stock.files.contains(file))
            .map(Work::Make)
    }

    /// Does one piece of work; whether there was one.
    fn step(&self) -> io::Result<bool> {
        let (work, gently) = {
            let state = self.lock();
            (self.work(&state), state.is_served)
        };
        let Some(work) = work else {
            return Ok(false);
        };
        let done = match &work {
            Work::Prepare(segment) => self
                .disk
                .write(segment.file, 0, &segment.header(self.segment_bytes))
                .and_then(|()| self.disk.sync(segment.file)),
            Work::Make(file) => self.disk.make(*file, self.segment_bytes, gently),
        };
        let mut state = self.lock();
        match (&done, work) {
            (Ok(()), Work::Prepare(segment)) => {
                state.stock.blank.pop_front();
                state.stock.next_ordinal += 1;
                state.ready.push_back(segment);
                state.trouble = None;
            }
            (Ok(()), Work::Make(file)) => {
                state.stock.files.push(file);
                state.stock.blank.push_back(file);
                state.trouble = None;
            }
            (Err(error), Work::Prepare(_) | Work::Make(_)) => {
                let trouble = error.to_string();
                if state.trouble.as_ref() != Some(&trouble) {
                    tracing::warn!(%error, "no segment of the log could be made ahead");
                }
                state.trouble = Some(trouble);
            }
        }
        if done.is_ok()
            && let Some(changed) = &state.changed
        {
            changed();
        }
        self.moved.notify_all();
        done.map(|()| true)
    }

    /// The thread: works when there is work, and waits a while after trouble.
    fn run(&self) {
        loop {
            let outcome = self.step();
            let state = self.lock();
            if state.is_closing {
                return;
            }
            match outcome {
                Ok(true) => {}
                // Looked at again under the lock: what came meanwhile would not wake it.
                Ok(false) if self.work(&state).is_some() => {}
                Ok(false) => drop(self.wait(state)),
                Err(_) => {
                    let waited = self.moved.wait_timeout(state, AGAIN);
                    drop(waited.unwrap_or_else(PoisonError::into_inner));
                }
            }
        }
    }
}
