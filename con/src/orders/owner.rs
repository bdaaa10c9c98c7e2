//! The one owner of the order book.

mod keep;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use edgeless_daemon::status::Readiness;
use edgeless_orders::{
    body::Body,
    book::{Answer, Ask, Book, Effect, Event, LineId, Output, Told},
    log::{Batch, Writer},
    record::Record,
};
use prost::Message;
use rustc_hash::FxHashMap;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Post, ToLine, now,
    patience::Patience,
    progress::{Broken, Kept, Records},
    reads::Read,
};

/// Posts that are followed before what came of them is handed on.
const TURN: usize = 256;
/// Records that are handed on to the store at once, and how long they wait for others.
const ROWS: usize = 4096;
const ROWS_AFTER: Duration = Duration::from_millis(100);
/// So much is handed to the log at once; the rest when there is room for it.
const BATCH: usize = 1 << 20;

/// How long is waited at most for what is due.
const FAR: Duration = Duration::from_secs(60 * 60);

/// What the owner has woken for.
enum Woke {
    Posts,
    Log,
    Applied,
    Due,
    End,
}

/// What the owner needs.
pub(super) struct Owner {
    pub(super) book: Book,
    pub(super) inbox: mpsc::Receiver<Post>,
    pub(super) log: Arc<Writer>,
    pub(super) kept: watch::Receiver<Kept>,
    /// Where that is said.
    pub(super) told: Arc<watch::Sender<Kept>>,
    pub(super) applied: watch::Receiver<u64>,
    pub(super) rows: mpsc::Sender<Records>,
    pub(super) reads: mpsc::Sender<Read>,
    pub(super) changes: broadcast::Sender<Arc<Body>>,
    pub(super) wanted: mpsc::Sender<Arc<str>>,
    pub(super) ends: mpsc::Sender<Arc<Body>>,
    pub(super) readiness: Readiness,
    /// Ends the owner, after all who ask.
    pub(super) end: CancellationToken,
    pub(super) state: Carrying,
}

/// What is on its way.
#[derive(Default)]
pub(super) struct Carrying {
    asks: FxHashMap<Ask, oneshot::Sender<Answer>>,
    lines: FxHashMap<LineId, mpsc::Sender<ToLine>>,
    outgoing: Vec<(LineId, ToLine)>,
    lost: Vec<LineId>,
    batch: Option<Batch>,
    /// Those before it, which are long enough.
    batches: VecDeque<Batch>,
    patience: Patience,
    /// Written, not known to be safe.
    unsafe_records: VecDeque<(u64, Record, Told)>,
    /// Safe, not handed to the store yet.
    safe_records: Records,
    safe_bytes: usize,
    /// Since when there are such.
    safe_since: Option<Instant>,
    reads: VecDeque<Read>,
    next: u64,
    full: bool,
    /// Posts that came one by one lately.
    alone: u32,
    /// Batches until the disk is tried here again.
    slow: u32,
    /// How long it takes here.
    took: Duration,
    /// Nothing goes on.
    broken: Option<Broken>,
}

impl Owner {
    /// Runs until all who could post something are gone; what was asked before is kept then.
    ///
    /// # Errors
    /// It cannot go on.
    pub(super) async fn run(mut self, begin: Output) -> Result<(), Broken> {
        self.state.next = self.book.next() - begin.records.len() as u64;
        self.carry_out(begin);
        self.hand_on();
        let mut posts = Vec::with_capacity(TURN);
        let mut look = true;
        loop {
            let patience = self.look_after_log();
            if let Some(broken) = self.state.broken.take() {
                return Err(broken);
            }
            let may_take = self.state.patience.may_take();
            // Whoever is not heard is not late.
            let due = self.book.next_due().filter(|_| may_take);
            let due = due.map(|due| due.since(now()).min(FAR));
            let rows_due = self.rows_due();
            let may_hand = rows_due.is_some_and(|due| due.is_zero());
            let rows_due = rows_due.filter(|_| !may_hand);
            let next = [due, rows_due, patience].into_iter().flatten().min();
            let woke = tokio::select! {
                () = self.end.cancelled() => Woke::End,
                changed = self.kept.changed() => changed.map_or(Woke::End, |()| Woke::Log),
                count = self.inbox.recv_many(&mut posts, TURN), if may_take => match count {
                    0 => Woke::End,
                    _ => Woke::Posts,
                },
                changed = self.applied.changed() => changed.map_or(Woke::End, |()| Woke::Applied),
                room = self.rows.reserve(), if may_hand => {
                    room.map_or(Woke::End, |place| {
                        (self.state.safe_bytes, self.state.safe_since) = (0, None);
                        place.send(std::mem::take(&mut self.state.safe_records));
                        Woke::Posts
                    })
                }
                room = self.reads.reserve(), if !self.state.reads.is_empty() => {
                    room.map_or(Woke::End, |place| {
                        if let Some(read) = self.state.reads.pop_front() {
                            place.send(read);
                        }
                        Woke::Posts
                    })
                }
                () = tokio::time::sleep(next.unwrap_or(FAR)), if next.is_some() => Woke::Due,
            };
            match woke {
                Woke::End => return Ok(()),
                Woke::Posts => self.gather(&mut posts).await,
                Woke::Log => look = true,
                Woke::Due if !may_take => {}
                Woke::Due => self.event(Event::Tick),
                Woke::Applied => {
                    let through = *self.applied.borrow_and_update();
                    self.event(Event::Applied { through });
                }
            }
            for post in posts.drain(..) {
                self.follow(post);
            }
            if std::mem::take(&mut look) || self.kept.has_changed().unwrap_or(false) {
                self.follow_log();
            }
            self.hand_on();
        }
    }

    /// Lets everybody who is about to post something do so first: the more is followed together, the fewer wakes, syncs
    /// and messages there are for each.
    async fn gather(&mut self, posts: &mut Vec<Post>) {
        if posts.is_empty() {
            return;
        }
        if self.state.alone < keep::HERE_ALONE {
            tokio::task::yield_now().await;
        }
        while posts.len() < TURN
            && let Ok(post) = self.inbox.try_recv()
        {
            posts.push(post);
        }
        match posts.len() {
            1 => self.state.alone = self.state.alone.saturating_add(1),
            _ => self.state.alone = 0,
        }
    }

    /// After how long records are handed on to the store: in bulk, so that its thread is woken rarely.
    fn rows_due(&self) -> Option<Duration> {
        let safe = &self.state.safe_records;
        let is_much = safe.wanted || safe.list.len() >= ROWS;
        let after = |since: Instant| ROWS_AFTER.saturating_sub(since.elapsed());
        let after = self.state.safe_since.map(after);
        is_much.then_some(Duration::ZERO).or(after)
    }

    fn follow(&mut self, post: Post) {
        match post {
            Post::CatchUp => self.state.safe_records.wanted = true,
            Post::Event(event) => self.event(event),
            Post::Ask(event, give) => {
                if let Some(ask) = event.ask() {
                    self.state.asks.insert(ask, give);
                }
                self.event(event);
            }
            Post::Outcomes(line, outcomes) => {
                for (ticket, outcome) in outcomes {
                    self.event(Event::Outcome {
                        line,
                        ticket,
                        outcome,
                    });
                }
            }
            Post::Line {
                line,
                service,
                source,
                copies,
                tasks,
            } => {
                self.state.lines.insert(line, tasks);
                self.event(Event::LineOpened {
                    line,
                    service,
                    source,
                    copies,
                });
            }
            Post::Figures(give) => {
                // Whoever wanted them may be gone.
                give.send(self.book.figures(now())).ok();
            }
            Post::Queues(give) => {
                give.send(self.book.queues()).ok();
            }
        }
    }

    fn event(&mut self, event: Event) {
        if let Event::LineClosed { line } = event {
            self.state.lines.remove(&line);
        }
        self.book.watched = self.changes.receiver_count() > 0;
        let out = self.book.on_event(event, now());
        self.carry_out(out);
    }

    fn carry_out(&mut self, out: Output) {
        if self.state.broken.is_some() {
            return;
        }
        for (record, told) in out.records {
            let sequence = self.state.next;
            self.state.next += 1;
            let log = &self.log;
            let batch = self.state.batch.get_or_insert_with(|| log.buffer());
            let written = batch.push_with(|buffer| {
                record
                    .encode(buffer)
                    .expect("a vector has room for everything");
            });
            if let Err(source) = written {
                // Whatever came after it would be kept under another number.
                self.state.broken = Some(Broken::Record { sequence, source });
                return;
            }
            if batch.bytes() >= BATCH {
                self.state.batches.extend(self.state.batch.take());
            }
            let unsafe_records = &mut self.state.unsafe_records;
            unsafe_records.push_back((sequence, record, told));
        }
        for effect in out.effects {
            self.effect(effect);
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Hand { line, handout } => self.line_out(line).tasks.push(handout),
            Effect::Withdraw { line, ticket } => self.line_out(line).cancelled.push(ticket),
            Effect::Answer { ask, answer } => {
                if let Some(give) = self.state.asks.remove(&ask) {
                    // Whoever asked may be gone.
                    give.send(answer).ok();
                }
            }
            Effect::Load { id } => self.state.reads.push_back(Read::Order(id)),
            Effect::Find { client, key } => self.state.reads.push_back(Read::Key(client, key)),
            Effect::Changed(body) => {
                // Those who watched may be gone.
                self.changes.send(body).ok();
            }
            Effect::Deliver(body) => {
                if self.ends.try_send(body).is_err() {
                    tracing::warn!("too many ends of orders are to be told: some are told later");
                }
            }
            Effect::Wanted { service } => {
                // There is room: one is wanted twice at most until somebody is there. What is lost is seen at a look.
                self.wanted.try_send(service).ok();
            }
        }
    }

    fn line_out(&mut self, line: LineId) -> &mut ToLine {
        let outgoing = &mut self.state.outgoing;
        let place = outgoing.iter().position(|(other, _)| *other == line);
        let place = place.unwrap_or_else(|| {
            outgoing.push((line, ToLine::default()));
            outgoing.len() - 1
        });
        &mut outgoing[place].1
    }

    /// Hands on what came of one turn, and what comes of that: nothing waits here for the next one.
    fn hand_on(&mut self) {
        self.hand_on_once();
        while !self.state.lost.is_empty() {
            for line in std::mem::take(&mut self.state.lost) {
                self.event(Event::LineClosed { line });
            }
            self.hand_on_once();
        }
    }

    fn hand_on_once(&mut self) {
        // Tasks first: services work while the disk does.
        self.send_tasks();
        while let Some(batch) = self.next_batch() {
            if let Some(kept) = self.commit(batch) {
                // What follows from it may be records again.
                self.follow_kept(&kept);
            }
            self.send_tasks();
        }
    }

    fn send_tasks(&mut self) {
        for (line, message) in std::mem::take(&mut self.state.outgoing) {
            let sent = self
                .state
                .lines
                .get(&line)
                .map(|tasks| tasks.try_send(message));
            if !matches!(sent, Some(Ok(()))) {
                self.state.lost.push(line);
            }
        }
    }
}

#[cfg(test)]
mod tests;
