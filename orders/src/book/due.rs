//! What time brings: deadlines, ends of pauses and delays, tasks that nobody was heard of again.

use edgeless_types::Timestamp;

use super::{Book, Entry, Ticket};

/// What time brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// An order's deadline, or the end of its delay, or of the pause of one of its tasks.
    Order {
        slot: u32,
        generation: u32,
        what: Due,
    },
    /// A task that was handed out.
    Flight(Ticket),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    Deadline,
    Task(u16),
    Again(u16),
    Begin,
}

impl Book {
    /// The next moment at which [`Event::Tick`](super::Event::Tick) is wanted; the epoch: at once.
    pub fn next_due(&self) -> Option<Timestamp> {
        if self.has_applied() {
            return Some(Timestamp::default());
        }
        let first = self.timers.first().filter(|_| self.hold.is_none());
        first.map(|(due, _)| *due)
    }

    pub(super) fn on_tick(&mut self, now: Timestamp) {
        while let Some((due, timer)) = self.timers.first().copied()
            && due <= now
        {
            self.timers.pop_first();
            match timer {
                Timer::Flight(ticket) => self.on_overdue(ticket, now),
                Timer::Order {
                    slot,
                    generation,
                    what,
                } => {
                    let entry = Entry {
                        slot,
                        generation,
                        position: 0,
                    };
                    if self.order(entry).is_some() {
                        self.on_order_due(entry, what, now);
                    }
                }
            }
        }
    }

    fn on_order_due(&mut self, entry: Entry, what: Due, now: Timestamp) {
        match what {
            Due::Deadline => self.on_deadline(entry.slot, now),
            Due::Task(position) => self.on_task_deadline(entry.slot, position, now),
            Due::Begin => self.queue_current(entry.slot, now),
            Due::Again(position) => {
                let entry = Entry { position, ..entry };
                if let Some(service) = self.enqueue(entry, true, now) {
                    self.dispatch(service, now);
                }
            }
        }
    }
}
