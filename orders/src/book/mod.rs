//! The order book: every order that has not come to its end, and what is to be done about it.
//!
//! A pure state machine: an event and the time go in, records to be kept and effects to be carried out come out.
//! Nothing is told to anybody and nothing is handed out before what it builds on is kept: effects that follow from a
//! record wait here until [`Event::Durable`] says so. Only services that say they are idempotent get their tasks at
//! once; what they answer is a record like others. What a record says has an effect on the book at once.
//!
//! Orders that wait may be in the store only ([`Event::Applied`] says what is there): the book then keeps a few dozen
//! bytes of each, and asks for the rest ([`Effect::Load`]) before their turn comes.
//!
//! `submit` takes orders, `flight` hands tasks out and takes their outcomes, `change` follows what comes of them,
//! `spawn` has the orders that tasks give rise to, `ask` what clients want otherwise, `due` what time brings, `memory`
//! what stays in memory, `restore` begins with what was kept, `figures` says how things are, `hold` is
//! for a log that takes nothing.

mod ahead;
mod ask;
mod change;
mod due;
mod event;
mod figures;
mod flight;
mod hold;
mod limit;
mod memory;
mod outcome;
mod queue;
mod restore;
mod retry;
mod services;
#[cfg(test)]
mod simulation;
mod spawn;
mod submit;
#[cfg(test)]
mod tests;
mod window;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use edgeless_types::{OrderId, Timestamp};
use rand::rngs::SmallRng;
use rustc_hash::FxHashMap;
use slab::Slab;
use smallvec::SmallVec;

use self::{
    due::{Due, Timer},
    flight::Flight,
    limit::Bucket,
    queue::{Entry, Queue},
};
use crate::{body::Body, bounds::TOGETHER_BYTES, contract::Contract, service::ServiceSpec};

pub use ask::{Answer, Refusal};
pub use event::{Again, Effect, EndedOrder, Event, Output, Told};
pub use figures::{BookFigures, ServiceFigures};
pub use flight::{Handout, Outcome};
pub use window::Window;

/// Whoever asked; the shell knows who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ask(pub u64);

/// A line over which tasks go to a service; the shell knows where it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LineId(pub u32);

/// A task that was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Settings of a book.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of orders in memory beyond which those that wait are in the store only.
    pub resident_bytes: usize,
    /// How much later than its time-out a task is given up: its line says so itself before.
    pub grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            resident_bytes: 64 << 20,
            grace: Duration::from_secs(2),
        }
    }
}

/// All orders that have not come to their end.
#[derive(Debug)]
pub struct Book {
    settings: Settings,
    rng: SmallRng,
    orders: Slab<Order>,
    index: FxHashMap<OrderId, u32>,
    generations: u32,
    services: Vec<Service>,
    /// How many of them are off or asleep.
    off: usize,
    service_index: FxHashMap<Arc<str>, u32>,
    clients: Vec<Client>,
    client_index: FxHashMap<Arc<str>, u32>,
    lines: FxHashMap<LineId, Line>,
    flights: Slab<Flight>,
    tickets: u64,
    timers: BTreeSet<(Timestamp, Timer)>,
    /// What waits for its record to be kept.
    gated: VecDeque<(u64, Gated)>,
    /// The number of the next record.
    next: u64,
    durable: u64,
    full: Option<Arc<str>>,
    /// The log takes nothing for now.
    hold: Option<hold::Hold>,
    waiters: FxHashMap<OrderId, SmallVec<[Ask; 1]>>,
    /// Ends that are not in the store yet.
    ending: FxHashMap<OrderId, Arc<Body>>,
    /// Keys that are not in the store yet.
    keys: FxHashMap<(u32, Box<str>), (OrderId, [u8; 32])>,
    /// Submissions whose keys are being looked up.
    finding: FxHashMap<(u32, Box<str>), Vec<submit::Asked>>,
    /// What has to wait for orders that are being loaded.
    loading: FxHashMap<OrderId, Vec<memory::Parked>>,
    retried: FxHashMap<OrderId, OrderId>,
    unapplied: VecDeque<memory::Unapplied>,
    applied: u64,
    resident: usize,
    /// Bytes of a record beyond which what follows for the order above is another one.
    together: usize,
    /// Until all is restored: orders that others gave rise to, and by which task.
    restored: Vec<(OrderId, OrderId, u32)>,
    /// Somebody watches: [`Effect::Changed`] is wanted.
    pub watched: bool,
    rates: figures::Rates,
    out: Output,
}

/// An order that has not come to its end.
#[derive(Debug)]
struct Order {
    id: OrderId,
    accepted: Timestamp,
    deadline: Option<Timestamp>,
    /// Its last record.
    last: u64,
    /// Its bytes in memory, as counted.
    weight: usize,
    body: Option<Box<Body>>,
    /// Positions that are handed out.
    out: SmallVec<[u16; 4]>,
    client: u32,
    generation: u32,
    priority: u8,
    paused: bool,
    /// Orders that its tasks gave rise to are under way.
    has_children: bool,
}

#[derive(Debug, Default)]
struct Service {
    name: Arc<str>,
    spec: Option<Arc<ServiceSpec>>,
    lines: Vec<LineId>,
    queue: Queue,
    /// Tasks of active orders that are not done.
    to_do: u64,
    /// Tasks of active orders that it may have to take back.
    undos: u64,
    in_flight: u32,
    /// Orders being loaded whose turn has come.
    loading: u32,
    paused: bool,
    /// It may run, and nobody is behind it: kept by [`Book::count_off`].
    is_off: bool,
    wanted: services::Wanted,
    counts: figures::Counts,
}

#[derive(Debug, Default)]
struct Client {
    name: Arc<str>,
    contract: Option<Arc<Contract>>,
    list: Option<Arc<crate::tasks::TaskList>>,
    bucket: Bucket,
    active: u64,
}

#[derive(Debug)]
struct Line {
    service: u32,
    source: Arc<str>,
    window: Window,
    in_flight: u32,
    open: bool,
    /// Copies behind it.
    copies: u32,
}

/// What waits for a record to be kept.
#[derive(Debug)]
enum Gated {
    /// A task may be handed out.
    Queue(Entry),
    /// Something may be done.
    Effect(Effect),
    /// Those who wait for an order's end are answered.
    End(OrderId, Arc<Body>),
}

impl Book {
    /// An empty book whose first record has the number `next`.
    pub fn new(settings: Settings, next: u64, rng: SmallRng) -> Self {
        Self {
            settings,
            rng,
            orders: Slab::new(),
            index: FxHashMap::default(),
            generations: 0,
            services: Vec::new(),
            off: 0,
            service_index: FxHashMap::default(),
            clients: Vec::new(),
            client_index: FxHashMap::default(),
            lines: FxHashMap::default(),
            flights: Slab::new(),
            tickets: 0,
            timers: BTreeSet::new(),
            gated: VecDeque::new(),
            next,
            durable: next - 1,
            full: None,
            hold: None,
            waiters: FxHashMap::default(),
            ending: FxHashMap::default(),
            keys: FxHashMap::default(),
            finding: FxHashMap::default(),
            loading: FxHashMap::default(),
            unapplied: VecDeque::new(),
            retried: FxHashMap::default(),
            applied: next - 1,
            resident: 0,
            together: TOGETHER_BYTES,
            restored: Vec::new(),
            watched: false,
            rates: figures::Rates::default(),
            out: Output::default(),
        }
    }

    /// Follows one event.
    pub fn on_event(&mut self, event: Event, now: Timestamp) -> Output {
        self.follow(event, now);
        self.forget_applied();
        std::mem::take(&mut self.out)
    }

    fn follow(&mut self, event: Event, now: Timestamp) {
        let Some(event) = self.hold_back(event) else {
            return;
        };
        match event {
            Event::Submit {
                id,
                submission,
                ask,
                wait,
            } => self.on_submit(
                submit::Asked {
                    id,
                    submission,
                    ask,
                    wait,
                },
                now,
            ),
            Event::Look { id, ask } => self.on_look(id, ask),
            Event::Wait { id, ask } => self.on_wait(id, ask),
            Event::Cancel { id, reason, ask } => self.on_cancel(id, reason, ask, now),
            Event::Retry(again) => self.on_retry(again, now),
            Event::Pause { id, paused, ask } => self.on_pause(id, paused, ask, now),
            Event::PauseService { name, paused } => self.on_pause_service(&name, paused, now),
            Event::Service { name, spec } => self.on_service(&name, spec, now),
            Event::RemoveService { name, ask } => self.on_remove_service(&name, ask, now),
            Event::Client { name, contract } => self.on_client(&name, contract),
            Event::LineOpened {
                line,
                service,
                source,
                copies,
            } => self.on_line_opened(line, &service, source, copies, now),
            Event::Copies { line, copies } => self.on_copies(line, copies, now),
            Event::Open { line, open } => self.on_open(line, open, now),
            Event::LineClosed { line } => self.on_line_closed(line, now),
            Event::Outcome {
                line,
                ticket,
                outcome,
            } => self.on_outcome(line, ticket, outcome, now),
            Event::Durable { through } => self.on_durable(through, now),
            Event::Room { full } => self.full = full,
            Event::Hold { why } => self.on_hold(why, now),
            Event::Applied { through } => self.applied = self.applied.max(through),
            Event::Loaded { id, body } => self.on_loaded(id, body, now),
            Event::Unread { id, why } => self.on_unread(id, &why, now),
            Event::Unfound { client, key, why } => self.on_unfound(&client, key, &why),
            Event::Found { client, key, found } => self.on_found(&client, key, found, now),
            Event::Delivered {
                id,
                output,
                problem,
            } => self.on_delivered(id, output, problem, now),
            Event::Tick => self.on_tick(now),
        }
    }

    /// The number of the next record.
    pub fn next(&self) -> u64 {
        self.next
    }

    fn on_durable(&mut self, through: u64, now: Timestamp) {
        self.durable = self.durable.max(through);
        let mut touched: SmallVec<[u32; 8]> = SmallVec::new();
        while let Some((sequence, _)) = self.gated.front()
            && *sequence <= self.durable
            && let Some((_, gated)) = self.gated.pop_front()
        {
            match gated {
                Gated::Queue(entry) => {
                    if let Some(service) = self.enqueue(entry, false, now)
                        && !touched.contains(&service)
                    {
                        touched.push(service);
                    }
                }
                Gated::Effect(effect) => self.out.effects.push(effect),
                Gated::End(id, body) => self.tell_end(id, &body),
            }
        }
        for service in touched {
            self.dispatch(service, now);
        }
    }

    /// Has an effect wait until all that was recorded so far is kept.
    fn gate(&mut self, gated: Gated) {
        let last = self.next - 1;
        match gated {
            Gated::Effect(Effect::Answer { ask, answer }) if self.hold.is_some() => {
                self.answer_held(ask, answer);
            }
            Gated::Effect(effect) if last <= self.durable => self.out.effects.push(effect),
            gated => self.gated.push_back((last, gated)),
        }
    }

    fn answer(&mut self, ask: Ask, answer: Answer) {
        self.gate(Gated::Effect(Effect::Answer { ask, answer }));
    }

    fn order(&self, entry: Entry) -> Option<&Order> {
        let order = self.orders.get(entry.slot as usize)?;
        (order.generation == entry.generation).then_some(order)
    }
}
