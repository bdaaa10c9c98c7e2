//! The thread itself: one commit after the other on a quick disk, commits that overlap on a slow one.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    super::{
        Batch, Log,
        syncers::{OVERLAP, Outcome, Pace, Syncers},
    },
    Progress, Queue, Shared, durable, locked,
};

/// Bytes committed together, unless one batch alone has more.
const TOGETHER: usize = 1 << 20;
/// A commit of so many records is followed by the next one after this for each of them, but not later than after
/// `GATHER_MOST`, both from its beginning on: under load, fewer and larger ones wake everybody less often.
const GATHER: Duration = Duration::from_micros(5);
const GATHER_MOST: Duration = Duration::from_micros(300);
/// Pauses after the disk refused: the first and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// The thread. When it ends, however that comes, nobody waits for it.
pub(super) struct Committer<F> {
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
    /// What is being synced by others, oldest first.
    flights: VecDeque<Flight>,
    /// The number of the next one.
    number: u64,
    /// When the last one began.
    launched: Instant,
    syncers: Syncers,
    pace: Pace,
    /// When the next commit may begin.
    ready: Instant,
    /// The disk refuses.
    refused: Option<Refused>,
    on_progress: F,
}

/// What the thread begins with.
pub(super) struct Beginning<F> {
    pub(super) shared: Arc<Shared>,
    pub(super) log: Arc<Mutex<Log>>,
    pub(super) syncers: Syncers,
    pub(super) on_progress: F,
}

/// A batch that is written, and is being synced while others are.
struct Flight {
    number: u64,
    batch: Batch,
    outcome: Option<Outcome>,
}

/// What was said about a disk that refuses, and how long to wait before the next try.
struct Refused {
    why: String,
    pause: Duration,
}

impl<F> Drop for Committer<F> {
    fn drop(&mut self) {
        self.shared.lock().has_ended = true;
        self.shared.space.notify_all();
    }
}

impl<F: Fn(Progress)> Committer<F> {
    pub(super) fn new(beginning: Beginning<F>) -> Self {
        let Beginning {
            shared,
            log,
            syncers,
            on_progress,
        } = beginning;
        let known = locked(&log);
        let (started, room) = ((known.syncs, known.written), known.room());
        let (most, together) = (TOGETHER.min(known.capacity() / 4), known.batch());
        drop(known);
        Self {
            shared,
            log,
            started,
            most,
            room,
            together,
            flights: VecDeque::new(),
            number: 0,
            launched: Instant::now(),
            syncers,
            pace: Pace::default(),
            ready: Instant::now(),
            refused: None,
            on_progress,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            let is_closing = self.collect();
            self.land();
            self.tell_room();
            let is_under_way = !self.flights.is_empty();
            let is_over = if self.together.is_empty() {
                is_closing && !is_under_way
            } else if self.launch() || is_under_way {
                false
            } else {
                !self.commit() && is_closing
            };
            if !is_over {
                continue;
            }
            if let Some(Refused { why, .. }) = &self.refused {
                tracing::error!(
                    why,
                    "the last records of the log of orders could not be written"
                );
            }
            return;
        }
    }

    /// Commits what was collected; whether that went well.
    fn commit(&mut self) -> bool {
        let began = Instant::now();
        self.ready = began + GATHER_MOST.min(GATHER * self.together.count());
        let mut log = locked(&self.log);
        match log.commit(&self.together) {
            Ok(through) => {
                let progress = durable(&log, through, self.started);
                drop(log);
                self.together.clear();
                self.pace.note(began.elapsed());
                self.say_durable(progress);
                true
            }
            Err(error) => {
                drop(log);
                self.refuse(error.to_string());
                false
            }
        }
    }

    /// Writes what was collected and has it synced by others, if the disk is slow; whether that was done.
    fn launch(&mut self) -> bool {
        if !self.may_launch() || self.until_launch() > Duration::ZERO {
            return false;
        }
        // What does not go ahead is committed when nothing is under way.
        let written = locked(&self.log).write_ahead(&self.together);
        let Ok(Some(file)) = written else {
            return false;
        };
        let empty = self.shared.buffer(&self.together);
        let batch = std::mem::replace(&mut self.together, empty);
        self.flights.push_back(Flight {
            number: self.number,
            batch,
            outcome: None,
        });
        self.syncers.sync(self.number, file);
        self.number += 1;
        self.launched = Instant::now();
        true
    }

    /// Whether another sync may overlap those under way.
    fn may_launch(&self) -> bool {
        let is_well = |it: &Flight| !matches!(it.outcome, Some(Err(_)));
        self.refused.is_none()
            && self.pace.is_slow()
            && self.flights.len() < OVERLAP
            && self.flights.iter().all(is_well)
    }

    /// How long until the next sync may begin.
    fn until_launch(&self) -> Duration {
        match self.flights.is_empty() {
            true => Duration::ZERO,
            false => self.pace.gap().saturating_sub(self.launched.elapsed()),
        }
    }

    /// Looks what came of syncs. Batches are safe in their order; after one that is not, none counts.
    fn land(&mut self) {
        if self.flights.is_empty() {
            return;
        }
        let synced = std::mem::take(&mut self.shared.lock().synced);
        for (number, outcome) in synced {
            if let Ok(took) = outcome {
                self.pace.note(took);
            }
            let flight = self.flights.iter_mut().find(|it| it.number == number);
            if let Some(flight) = flight {
                flight.outcome = Some(outcome);
            }
        }
        let mut safe = None;
        while let Some(flight) = self
            .flights
            .pop_front_if(|it| matches!(it.outcome, Some(Ok(_))))
        {
            let mut log = locked(&self.log);
            let through = log.is_safe();
            safe = Some(durable(&log, through, self.started));
            drop(log);
            self.shared.lock().keep_buffer(flight.batch);
        }
        if let Some(progress) = safe {
            self.say_durable(progress);
        }
        let all_are_back = self.flights.iter().all(|it| it.outcome.is_some());
        let mut outcomes = self.flights.iter().filter_map(|it| it.outcome.clone());
        if all_are_back && let Some(why) = outcomes.find_map(Result::err) {
            locked(&self.log).take_back();
            let mut together = self.together.emptied();
            for flight in self.flights.drain(..) {
                together.absorb(&flight.batch);
            }
            together.absorb(&self.together);
            self.together = together;
            self.refuse(why);
        }
    }

    fn say_durable(&mut self, progress: Progress) {
        if let Progress::Durable { room, .. } = progress {
            self.room = room;
        }
        if self.flights.is_empty() && self.together.is_empty() {
            self.shared.lock().in_hand = false;
        }
        (self.on_progress)(progress);
        self.refused = None;
    }

    fn refuse(&mut self, why: String) {
        match &mut self.refused {
            Some(refused) if refused.why == why => refused.pause = PAUSE.1.min(refused.pause * 2),
            Some(_) | None => {
                (self.on_progress)(Progress::Stalled(why.clone()));
                let pause = PAUSE.0;
                self.refused = Some(Refused { why, pause });
            }
        }
    }

    /// Waits until there is something to do, or as long as a pause lasts, and takes what is committed together next;
    /// whether this is the end.
    fn collect(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut queue = shared.lock();
        let has_news =
            |queue: &Queue| queue.look || queue.trim.is_some() || !queue.synced.is_empty();
        let is_paused = self.refused.is_some();
        queue = if let Some(refused) = &self.refused {
            // More records do not end a pause; room, which a trim may bring, does.
            let idle = |queue: &mut Queue| !has_news(queue) && !queue.is_closing;
            let waited = shared.work.wait_timeout_while(queue, refused.pause, idle);
            waited.unwrap_or_else(PoisonError::into_inner).0
        } else if self.flights.is_empty() {
            let has_work = !self.together.is_empty();
            let idle = |queue: &mut Queue| {
                let has_work = has_work || !queue.batches.is_empty() || has_news(queue);
                !has_work && !queue.is_closing
            };
            let waited = shared.work.wait_while(queue, idle);
            self.gather(&shared, waited.unwrap_or_else(PoisonError::into_inner))
        } else {
            let may_launch = self.may_launch() && self.together.is_empty();
            self.wait_ahead(&shared, queue, may_launch)
        };
        queue.look = false;
        let trim = queue.trim.take();
        // A refused commit is tried again as it was, and what did not go ahead as well.
        let may_fill = !is_paused
            && self.together.is_empty()
            && (self.flights.is_empty()
                || self.may_launch() && self.until_launch() == Duration::ZERO);
        if may_fill {
            self.fill(&mut queue);
            shared.space.notify_all();
        }
        let is_closing = queue.is_closing && (queue.batches.is_empty() || is_paused);
        drop(queue);
        if let Some(below) = trim {
            locked(&self.log).trim(below);
        }
        is_closing
    }

    /// Lets more come, if the last commit was large and the next one need not begin yet.
    fn gather<'a>(
        &self,
        shared: &'a Shared,
        mut queue: MutexGuard<'a, Queue>,
    ) -> MutexGuard<'a, Queue> {
        let left = self.ready.saturating_duration_since(Instant::now());
        if left.is_zero() || queue.batches.is_empty() {
            return queue;
        }
        queue.gathers = true;
        let waits = |queue: &mut Queue| !queue.is_closing;
        let waited = shared.work.wait_timeout_while(queue, left, waits);
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        queue.gathers = false;
        queue
    }

    /// Waits while syncs are under way: for what comes of one, or until the next may begin and has something to sync.
    fn wait_ahead<'a>(
        &self,
        shared: &'a Shared,
        mut queue: MutexGuard<'a, Queue>,
        may_launch: bool,
    ) -> MutexGuard<'a, Queue> {
        loop {
            if queue.look || queue.trim.is_some() || !queue.synced.is_empty() {
                return queue;
            }
            let waited = if may_launch && !queue.batches.is_empty() {
                let left = self.until_launch();
                if left.is_zero() {
                    return queue;
                }
                let waited = shared.work.wait_timeout(queue, left);
                waited.map(|(queue, _)| queue).map_err(|_| ())
            } else {
                shared.work.wait(queue).map_err(|_| ())
            };
            queue = waited.unwrap_or_else(|()| shared.lock());
        }
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
            queue.keep_buffer(batch);
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
