//! How things are: what is active, what waits for which service and for how long, and when it will be done.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use edgeless_types::Timestamp;
use serde::Serialize;

use super::{Book, services::Wanted};

/// The seconds over which rates are taken.
const SECONDS: usize = 10;

/// How often something happened in the last seconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Rate {
    seconds: [(u64, u32); SECONDS + 1],
}

impl Rate {
    fn add(&mut self, now: Timestamp) {
        let second = now.as_nanos() / 1_000_000_000;
        let place = &mut self.seconds[(second as usize) % (SECONDS + 1)];
        if place.0 != second {
            *place = (second, 0);
        }
        place.1 += 1;
    }

    /// Per second, over the last whole seconds.
    fn per_second(&self, now: Timestamp) -> f64 {
        let second = now.as_nanos() / 1_000_000_000;
        let recent = self
            .seconds
            .iter()
            .filter(|(at, _)| *at < second && at + (SECONDS as u64) >= second);
        let sum: u64 = recent.map(|(_, count)| u64::from(*count)).sum();
        sum as f64 / SECONDS as f64
    }
}

/// Orders that came and ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Rates {
    came: Rate,
    ended: Rate,
    accepted: u64,
    all_ended: u64,
}

impl Rates {
    pub(super) fn came(&mut self, now: Timestamp) {
        self.came.add(now);
        self.accepted += 1;
    }

    pub(super) fn ended(&mut self, now: Timestamp) {
        self.ended.add(now);
        self.all_ended += 1;
    }
}

/// What one service has done.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    came: Rate,
    done: Rate,
    all_done: u64,
    missed: u64,
    took: Duration,
}

impl Counts {
    pub(super) fn came(&mut self, now: Timestamp) {
        self.came.add(now);
    }

    /// How long a task takes from being handed out to its result; 0: none was done yet.
    pub(super) fn took(&self) -> Duration {
        self.took
    }

    pub(super) fn done(&mut self, took: Duration, now: Timestamp) {
        self.done.add(now);
        self.all_done += 1;
        self.took = match self.all_done {
            1 => took,
            _ => (self.took * 15 + took) / 16,
        };
    }

    pub(super) fn missed(&mut self) {
        self.missed += 1;
    }
}

/// All figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BookFigures {
    /// Orders that have not come to their end.
    pub active_orders: u64,
    /// Tasks that are handed out.
    pub active_tasks: u64,
    /// Tasks of active orders that are to be done or taken back.
    pub tasks_to_do: u64,
    /// Orders accepted since the start.
    pub accepted: u64,
    /// Orders ended since the start.
    pub ended: u64,
    /// Orders a second that came, over the last ten seconds.
    pub came_per_second: f64,
    /// Orders a second that ended.
    pub ended_per_second: f64,
    /// Copies behind all lines to services.
    pub copies: u64,
    /// Bytes of orders in memory.
    pub resident_bytes: u64,
    /// Active orders by client.
    pub clients: BTreeMap<Arc<str>, u64>,
    /// By service.
    pub services: BTreeMap<Arc<str>, ServiceFigures>,
}

/// The figures of one service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceFigures {
    /// Tasks of active orders that are not done, also those whose turn has not come; of orders whose end is decided
    /// those that take something back.
    pub tasks_to_do: u64,
    /// Tasks that could be handed out.
    pub waiting: u64,
    /// Tasks that are handed out.
    pub in_flight: u64,
    /// The age of the oldest order with a task that waits, in seconds.
    pub oldest_waiting_s: f64,
    /// Tasks a second that came, over the last ten seconds.
    pub came_per_second: f64,
    /// Tasks a second that were done.
    pub done_per_second: f64,
    /// Tasks done since the start.
    pub done: u64,
    /// Attempts in vain since the start.
    pub missed: u64,
    /// How long a task takes from being handed out to its result, in milliseconds; recent ones count more.
    pub took_ms: f64,
    /// How long what is to do will take at the present rate, in seconds; none: nothing is being done.
    pub drain_s: Option<f64>,
    /// Lines that lead there.
    pub lines: u64,
    /// Copies behind them; none: it is off or asleep.
    pub copies: u64,
    /// Nobody is behind it, and it was said that somebody has to be.
    #[serde(skip)]
    pub wanted: bool,
    /// It is held up.
    pub paused: bool,
}

impl Book {
    /// How things are.
    pub fn figures(&self, now: Timestamp) -> BookFigures {
        let services = self
            .services
            .iter()
            .filter(|service| service.spec.is_some() || service.to_do > 0);
        let services: BTreeMap<_, _> = services
            .map(|service| {
                (
                    Arc::clone(&service.name),
                    self.service_figures(service, now),
                )
            })
            .collect();
        let clients = self.clients.iter().filter(|client| client.active > 0);
        BookFigures {
            active_orders: self.orders.len() as u64,
            active_tasks: self
                .services
                .iter()
                .map(|service| u64::from(service.in_flight))
                .sum(),
            tasks_to_do: self.services.iter().map(|service| service.to_do).sum(),
            accepted: self.rates.accepted,
            ended: self.rates.all_ended,
            came_per_second: self.rates.came.per_second(now),
            ended_per_second: self.rates.ended.per_second(now),
            copies: self.lines.values().map(|line| u64::from(line.copies)).sum(),
            resident_bytes: self.resident as u64,
            clients: clients
                .map(|client| (Arc::clone(&client.name), client.active))
                .collect(),
            services,
        }
    }

    /// How many tasks could be handed out to services for which there are any.
    pub fn queues(&self) -> Vec<(Arc<str>, u64)> {
        let services = self.services.iter();
        let queues = services.map(|it| (&it.name, (it.queue.len() as u64).min(it.to_do)));
        let waiting = queues.filter(|(_, waiting)| *waiting > 0);
        waiting
            .map(|(name, waiting)| (Arc::clone(name), waiting))
            .collect()
    }

    fn service_figures(&self, service: &super::Service, now: Timestamp) -> ServiceFigures {
        let firsts = service.queue.firsts().filter_map(|entry| self.order(entry));
        let oldest = firsts.map(|order| order.accepted).min();
        let counts = &service.counts;
        let done_per_second = counts.done.per_second(now);
        let copies = service.lines.iter().filter_map(|id| self.lines.get(id));
        ServiceFigures {
            tasks_to_do: service.to_do,
            waiting: service.queue.len() as u64,
            in_flight: u64::from(service.in_flight),
            oldest_waiting_s: oldest.map_or(0.0, |oldest| now.since(oldest).as_secs_f64()),
            came_per_second: counts.came.per_second(now),
            done_per_second,
            done: counts.all_done,
            missed: counts.missed,
            took_ms: counts.took.as_secs_f64() * 1e3,
            drain_s: (done_per_second > 0.0).then(|| service.to_do as f64 / done_per_second),
            lines: service.lines.len() as u64,
            copies: copies.map(|line| u64::from(line.copies)).sum(),
            wanted: service.wanted != Wanted::No,
            paused: service.paused,
        }
    }
}
