//! When events arrive: idle times, times of day, trains. Rows come with the refreshes of nodes, so that events are put
//! in order of time first, as far as that is possible in bounded memory.

use std::{cmp::Reverse, collections::BinaryHeap};

use edgeless_orc::scale::priors::{HalfHour, Trains, gap_bin};

use super::class::Class;

/// Events that wait for their turn.
const MOST_WAITING: usize = 1 << 20;
/// How much later than its successors a row may come and still have its turn: 30 s.
const PATIENCE_NANOS: u64 = 30_000_000_000;

/// The length of a half hour in seconds.
pub(super) const HALF_HOUR_SECS: f64 = 1_800.0;
const HALF_HOUR_NANOS: u64 = 1_800_000_000_000;

/// The half hours since the epoch.
pub(super) fn half_hour(nanos: u64) -> u64 {
    nanos / HALF_HOUR_NANOS
}

/// Something that happened to a function, in nanoseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Event {
    /// When an event arrived, or its handling began.
    pub(super) at: u64,
    /// Until when it waited, or was handled.
    pub(super) until: u64,
    /// Which.
    pub(super) function: usize,
    /// Whether it arrived.
    pub(super) is_arrival: bool,
}

/// Puts events in order.
#[derive(Debug, Default)]
pub(super) struct Ordered {
    waiting: BinaryHeap<Reverse<Event>>,
    newest: u64,
}

impl Ordered {
    pub(super) fn add(&mut self, event: Event) {
        self.newest = self.newest.max(event.until);
        self.waiting.push(Reverse(event));
    }

    /// The earliest event, if no earlier one is expected, or there are too many.
    pub(super) fn due(&mut self) -> Option<Event> {
        let Reverse(first) = self.waiting.peek()?;
        let is_due = first.at.saturating_add(PATIENCE_NANOS) < self.newest;
        (is_due || self.waiting.len() > MOST_WAITING).then(|| self.earliest())?
    }

    /// The earliest event.
    pub(super) fn earliest(&mut self) -> Option<Event> {
        self.waiting.pop().map(|Reverse(event)| event)
    }
}

/// The arrivals of one function.
#[derive(Debug)]
pub(super) struct Arrivals {
    /// Until when it had something to do, as far as is known; nanoseconds.
    busy_until: Option<u64>,
    /// Whether arrivals are known by themselves; else events arrive when their handling begins.
    has_arrivals: bool,
    /// The half hour of the first event, which is not whole, and the one that runs.
    began: u64,
    running: u64,
    /// Events of the one that runs.
    count: u64,
    trains: Trains,
}

impl Arrivals {
    pub(super) fn from(at: u64) -> Self {
        Self {
            busy_until: None,
            has_arrivals: false,
            began: half_hour(at),
            running: half_hour(at),
            count: 0,
            trains: Trains::default(),
        }
    }

    pub(super) fn began(&self) -> u64 {
        self.began
    }

    pub(super) fn take(&mut self, event: &Event, class: &mut Class) {
        self.has_arrivals |= event.is_arrival;
        if event.is_arrival || !self.has_arrivals {
            self.arrived(event.at, class);
        }
        self.busy_until = self.busy_until.max(Some(event.until));
    }

    fn arrived(&mut self, at: u64, class: &mut Class) {
        let idle = self
            .busy_until
            .map(|until| at.saturating_sub(until) as f64 / 1e9);
        if let Some(bin) = idle.and_then(gap_bin) {
            if class.gaps.len() <= bin {
                class.gaps.resize(bin + 1, 0);
            }
            class.gaps[bin] += 1;
        }
        self.trains.arrived(at as f64 / 1e9);
        if half_hour(at) > self.running {
            self.close(class);
            (self.running, self.count) = (half_hour(at), 0);
        }
        self.count += 1;
    }

    fn close(&self, class: &mut Class) {
        if self.running > self.began {
            class.events[HalfHour::of(self.running).index()] += self.count;
        }
    }

    /// The dataset ends in that half hour, which is not whole.
    pub(super) fn end(&self, end: u64, class: &mut Class) {
        if self.running < end {
            self.close(class);
        }
        let whole = (self.began + 1)..end.max(self.began + 1);
        let days = (whole.end - whole.start) / HalfHour::NUMBER as u64;
        class.half_hours.iter_mut().for_each(|it| *it += days);
        for number in whole.start + days * HalfHour::NUMBER as u64..whole.end {
            class.half_hours[HalfHour::of(number).index()] += 1;
        }
        class.bursts.extend(self.trains.seen());
    }
}
