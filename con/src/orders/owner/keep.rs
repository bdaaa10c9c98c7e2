//! What the owner of the order book has kept: batches go to the log, and what is safe goes on.

use std::time::{Duration, Instant};

use edgeless_orders::{book::Event, log::Batch};
use prost::Message;

use super::{
    super::{
        patience::{Seen, WAITING},
        progress::{Kept, show_full},
    },
    Owner,
};

/// After so many posts that came one by one, others are not to be expected while a batch is committed here.
pub(super) const HERE_ALONE: u32 = 8;
/// A batch with more records than this goes to the thread of the log: others may come meanwhile.
const HERE_RECORDS: usize = 2;
/// A disk that takes longer than this, recent times counting more, is left to that thread, for so many batches.
const HERE_SLOW: Duration = Duration::from_millis(1);
const HERE_PAUSE: u32 = 256;

impl Owner {
    /// Looks whether the log takes what comes; after how long to look again.
    pub(super) fn look_after_log(&mut self) -> Option<Duration> {
        let pending: usize = self.state.batches.iter().map(Batch::bytes).sum();
        let seen = {
            let kept = self.kept.borrow();
            Seen {
                waiting: self.log.waiting() + pending,
                through: kept.through,
                has_unsafe: !self.state.unsafe_records.is_empty(),
                stalled: kept.stalled.clone(),
            }
        };
        let now = Instant::now();
        if self.state.patience.look(&seen, now) {
            let why = self.state.patience.hold.clone();
            self.event(Event::Hold { why });
            let kept = self.kept.borrow().clone();
            self.tell_room(&kept);
            self.hand_on();
        }
        self.state.patience.due(now)
    }

    /// Has a batch kept. A small one, when nothing else is on its way, is committed here: the thread of the log would
    /// have to be woken, and this one by it. Then it says how far the log is.
    pub(super) fn commit(&mut self, mut batch: Batch) -> Option<Kept> {
        let is_alone =
            self.inbox.is_empty() && batch.len() <= HERE_RECORDS && self.state.alone >= HERE_ALONE;
        if is_alone && self.state.slow == 0 {
            let begun = Instant::now();
            match self.log.commit_here(batch) {
                Ok(progress) => {
                    self.state.took = (self.state.took * 7 + begun.elapsed()) / 8;
                    if self.state.took > HERE_SLOW {
                        (self.state.slow, self.state.took) = (HERE_PAUSE, Duration::ZERO);
                    }
                    self.told.send_modify(|kept| kept.follow(progress));
                    return Some(self.kept.borrow_and_update().clone());
                }
                Err(refused) => batch = refused,
            }
        }
        self.state.slow = self.state.slow.saturating_sub(1);
        if let Err(ended) = self.log.append(batch) {
            self.state.broken = Some(ended.into());
        }
        None
    }

    /// What the thread of the log says.
    pub(super) fn follow_log(&mut self) {
        let kept = self.kept.borrow_and_update().clone();
        self.follow_kept(&kept);
    }

    /// Says whether there is room for orders.
    pub(super) fn tell_room(&mut self, kept: &Kept) {
        let held = self.state.patience.hold.clone();
        let full = held.or_else(|| kept.full(self.state.safe_bytes));
        if full.is_some() != self.state.full {
            self.state.full = full.is_some();
            show_full(&self.readiness, full.as_deref());
            self.event(Event::Room { full });
        }
    }

    pub(super) fn follow_kept(&mut self, kept: &Kept) {
        self.tell_room(kept);
        let through = kept.through;
        while let Some((sequence, _, _)) = self.state.unsafe_records.front()
            && *sequence <= through
            && let Some(record) = self.state.unsafe_records.pop_front()
        {
            self.state.safe_bytes += record.1.encoded_len();
            self.state.safe_since.get_or_insert_with(Instant::now);
            self.state.safe_records.list.push(record);
        }
        self.event(Event::Durable { through });
    }

    /// What goes to the log next, if it does not have too much already: handing over never waits.
    pub(super) fn next_batch(&mut self) -> Option<Batch> {
        let has_some = self.state.batch.is_some() || !self.state.batches.is_empty();
        if !has_some || self.log.waiting() >= WAITING {
            return None;
        }
        let first = self.state.batches.pop_front();
        first.or_else(|| self.state.batch.take())
    }
}
