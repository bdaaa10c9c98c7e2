//! Functions, copies and queues in simulated time, scaled by the policies of ε-ORC themselves.
//!
//! Deterministic: the same trace, policy and seed give the same events. Handling times belong to the order
//! and its step, so that all policies get the same ones. Copies handle one task at once.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    time::Duration,
};

use edgeless_orc::scale::{self, Settings, Successor, View, Window};
use edgeless_types::Timestamp;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use rand_distr::{Distribution, LogNormal};

use super::outcome::Outcome;
use crate::synth::Trace;

/// What a run is made with, beside its trace.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// How every function is scaled.
    pub settings: Settings,
    /// Mean time until a copy is ready; single ones are off by up to a fifth.
    pub start_time: Duration,
    /// Copies that all nodes together can take.
    pub capacity: u32,
    /// Seed of handling and start times.
    pub seed: u64,
}

/// Where time begins: a whole number of days, so that times of day are those of the trace.
pub(super) const BEGIN: f64 = 86_400.0 * 11_574.0;

/// An order on its way.
#[derive(Clone, Copy)]
struct Order {
    contract: usize,
    step: usize,
    waited: f64,
}

#[derive(Default)]
struct Function {
    window: Window,
    idle: u32,
    busy: u32,
    /// Copies that start: when each was asked for, by a number of its own.
    starting: BTreeMap<u64, f64>,
    queue: VecDeque<(usize, f64)>,
    /// What was decided last, and when it is asked again.
    wanted: u32,
    asks: f64,
    last_stop: Option<f64>,
    /// Until when the copies are in the bill.
    billed: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ready { function: usize, number: u64 },
    Done { function: usize, order: usize },
    Decide { function: usize },
}

/// A time that can be ordered: nanoseconds since the begin of the trace.
type Nanos = u64;

/// A run.
pub(super) struct World<'a> {
    trace: &'a Trace,
    setup: Setup,
    functions: Vec<Function>,
    orders: Vec<Order>,
    events: BinaryHeap<Reverse<(Nanos, u64, Event)>>,
    number: u64,
    running: u32,
    rng: SmallRng,
    now: f64,
    pub(super) outcome: Outcome,
}

fn nanos(seconds: f64) -> Nanos {
    (seconds * 1e9) as u64
}

fn moment(seconds: f64) -> Timestamp {
    Timestamp::from_unix(Duration::from_secs_f64(BEGIN + seconds))
}

/// How many seconds a step of an order is handled: as recorded, else it depends on the seed, the order and the step only.
pub fn service(trace: &Trace, seed: u64, order: usize, step: usize) -> f64 {
    if let Some(recorded) = trace.handled.get(order, step) {
        return recorded;
    }
    let function = &trace.functions[trace.contracts[trace.arrivals[order].contract].chain[step]];
    let mixed = (order as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (step as u64) << 56;
    let mut rng = SmallRng::seed_from_u64(mixed ^ seed.rotate_left(32));
    let square = (1.0 + function.variation * function.variation).ln();
    let lognormal = LogNormal::new(function.service.ln() - 0.5 * square, square.sqrt());
    lognormal.map_or(function.service, |it| it.sample(&mut rng))
}

impl<'a> World<'a> {
    pub(super) fn new(trace: &'a Trace, setup: Setup) -> Self {
        let functions = trace.functions.iter().map(|_| Function {
            asks: f64::INFINITY,
            ..Function::default()
        });
        Self {
            trace,
            setup,
            functions: functions.collect(),
            orders: Vec::with_capacity(trace.arrivals.len()),
            events: BinaryHeap::new(),
            number: 0,
            running: 0,
            rng: SmallRng::seed_from_u64(setup.seed ^ 0x5ca1_e000),
            now: 0.0,
            outcome: Outcome::default(),
        }
    }

    /// Until all orders are done and the trace is over.
    pub(super) fn run(mut self) -> Outcome {
        for function in 0..self.functions.len() {
            self.decide(function);
        }
        let mut next = 0;
        loop {
            let arrival = self.trace.arrivals.get(next).map(|it| nanos(it.at));
            let event = self.events.peek().map(|Reverse((at, ..))| *at);
            let over = next == self.trace.arrivals.len()
                && self.outcome.waits.len() == self.orders.len()
                && event.is_none_or(|at| at > nanos(self.trace.lasts));
            match (arrival, event) {
                _ if over => break,
                (Some(arrival), event) if event.is_none_or(|event| arrival < event) => {
                    self.advance(self.trace.arrivals[next].at);
                    next += 1;
                    self.accept();
                }
                (_, Some(_)) => {
                    if let Some(Reverse((at, _, event))) = self.events.pop() {
                        self.advance(at as f64 / 1e9);
                        self.on_event(event);
                    }
                }
                (_, None) => break,
            }
        }
        self.now = self.now.max(self.trace.lasts);
        for function in 0..self.functions.len() {
            self.bill(function);
        }
        self.outcome.finish();
        self.outcome
    }

    /// Events are at whole nanoseconds, a fraction of one before the moment that asked for them where that was the same:
    /// time stays then.
    fn advance(&mut self, at: f64) {
        self.now = self.now.max(at);
    }

    fn push(&mut self, at: f64, event: Event) {
        self.number += 1;
        self.events.push(Reverse((nanos(at), self.number, event)));
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Ready { function, number } => {
                let Some(asked) = self.functions[function].starting.get(&number).copied() else {
                    return; // It was stopped before.
                };
                self.bill(function);
                let it = &mut self.functions[function];
                it.starting.remove(&number);
                it.idle += 1;
                it.window.started(Duration::from_secs_f64(self.now - asked));
                self.serve(function);
                self.decide(function);
            }
            Event::Done { function, order } => self.done(function, order),
            Event::Decide { function } => {
                // Only the last appointment counts.
                if self.functions[function].asks <= self.now + 1e-9 {
                    self.decide(function);
                }
            }
        }
    }

    /// An order arrives: its later steps are announced, as the order book does.
    fn accept(&mut self) {
        let order = self.orders.len();
        let contract = self.trace.arrivals[order].contract;
        self.orders.push(Order {
            contract,
            step: 0,
            waited: 0.0,
        });
        let chain = &self.trace.contracts[contract].chain;
        self.arrive(chain[0], order);
        let now = moment(self.now);
        let mut due = now;
        for pair in chain.windows(2) {
            let view = self.view(pair[0]);
            let before = &self.functions[pair[0]];
            due = scale::leaves(&self.setup.settings, &before.window, &view, due, now);
            let later = &mut self.functions[pair[1]];
            later.window.expect(1, due);
            if later.idle == 0 || later.asks > self.now + 1.0 {
                self.decide(pair[1]);
            }
        }
    }

    fn arrive(&mut self, function: usize, order: usize) {
        let it = &mut self.functions[function];
        it.window.arrived(1, moment(self.now));
        if it.idle + it.busy == 0 {
            self.outcome.cold += 1;
        }
        it.queue.push_back((order, self.now));
        self.serve(function);
        let it = &self.functions[function];
        if !it.queue.is_empty() {
            self.decide(function);
        } else {
            self.level(function);
        }
    }

    /// Gives waiting tasks to idle copies.
    fn serve(&mut self, function: usize) {
        while self.functions[function].idle > 0 {
            let Some((order, since)) = self.functions[function].queue.pop_front() else {
                return;
            };
            let waited = self.now - since;
            let step = self.orders[order].step;
            self.orders[order].waited += waited;
            let took = service(self.trace, self.setup.seed, order, step);
            let it = &mut self.functions[function];
            (it.idle, it.busy) = (it.idle - 1, it.busy + 1);
            it.window.transferred(Duration::from_secs_f64(waited));
            self.outcome.work += took;
            self.push(self.now + took, Event::Done { function, order });
        }
    }

    fn done(&mut self, function: usize, order: usize) {
        let Order { contract, step, .. } = self.orders[order];
        let took = service(self.trace, self.setup.seed, order, step);
        let it = &mut self.functions[function];
        (it.idle, it.busy) = (it.idle + 1, it.busy - 1);
        it.window.executed(Duration::from_secs_f64(took));
        self.serve(function);
        self.shrink(function);
        self.level(function);
        match self.trace.contracts[contract].chain.get(step + 1) {
            Some(&next) => {
                self.orders[order].step += 1;
                self.arrive(next, order);
            }
            None => self.outcome.waits.push(self.orders[order].waited),
        }
    }

    fn view(&self, function: usize) -> View {
        let it = &self.functions[function];
        View {
            ready: it.idle + it.busy,
            starting: u32::try_from(it.starting.len()).unwrap_or(u32::MAX),
            busy: it.busy,
            queued: u32::try_from(it.queue.len()).unwrap_or(u32::MAX),
            in_flight: it.busy,
            room: self.setup.capacity.saturating_sub(self.running),
            slots: 1,
            successor: Successor::Free,
        }
    }

    fn level(&mut self, function: usize) {
        let view = self.view(function);
        self.functions[function]
            .window
            .observe(&view, moment(self.now));
    }

    fn decide(&mut self, function: usize) {
        let view = self.view(function);
        let it = &mut self.functions[function];
        let decision = scale::decide(
            &self.setup.settings,
            &mut it.window,
            &view,
            moment(self.now),
        );
        it.wanted = decision.copies;
        let next = decision.next.map(|at| at.since(moment(0.0)).as_secs_f64());
        it.asks = next.map_or(f64::INFINITY, |at| at.max(self.now + 1e-3));
        if it.asks.is_finite() {
            let at = it.asks;
            self.push(at, Event::Decide { function });
        }
        self.outcome.decisions += 1;
        let copies = view.copies();
        for _ in copies..decision.copies {
            self.start(function);
        }
        self.shrink(function);
    }

    fn start(&mut self, function: usize) {
        self.bill(function);
        let mean = self.setup.start_time.as_secs_f64();
        let ready = self.now + mean * self.rng.random_range(0.8..1.2);
        self.running += 1;
        let it = &mut self.functions[function];
        self.outcome.starts += 1;
        if it.last_stop.is_some_and(|at| self.now - at < FLAP) {
            self.outcome.flaps += 1;
            it.last_stop = None;
        }
        self.number += 1;
        let number = self.number;
        it.starting.insert(number, self.now);
        self.push(ready, Event::Ready { function, number });
    }

    /// Stops what is not wanted: copies that start and idle ones, never one with work in it.
    fn shrink(&mut self, function: usize) {
        self.bill(function);
        let it = &mut self.functions[function];
        loop {
            let starting = u32::try_from(it.starting.len()).unwrap_or(u32::MAX);
            let surplus = (it.idle + it.busy + starting).saturating_sub(it.wanted);
            if surplus == 0 || !it.queue.is_empty() {
                return;
            }
            if it.starting.pop_last().is_none() {
                if it.idle == 0 {
                    return; // All that run have work.
                }
                assert!(it.idle > 0, "a copy with work in it is never stopped");
                it.idle -= 1;
            }
            self.running -= 1;
            self.outcome.stops += 1;
            it.last_stop = Some(self.now);
        }
    }

    /// Adds the time since the last change to the bill.
    fn bill(&mut self, function: usize) {
        let it = &mut self.functions[function];
        let copies = it.idle + it.busy + u32::try_from(it.starting.len()).unwrap_or(u32::MAX);
        self.outcome.instance_seconds += f64::from(copies) * (self.now - it.billed);
        it.billed = self.now;
    }
}

/// A start so many seconds after a stop of the same function is a flap.
pub(super) const FLAP: f64 = 10.0;
