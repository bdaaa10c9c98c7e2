//! Orders on their way: from ε-CON or an ingress to copies and back.

use std::collections::BTreeMap;

use edgeless_orc::domain::Command;
use edgeless_types::PhysicalId;
use rand::Rng;

use super::{Entry, Event, FUNCTIONS, Order, Task, URGENT, World, logical_id, service};
use crate::synth::Trace;

/// As `Retries` of `orders/src/service.rs` has it.
const FIRST_PAUSE: f64 = 0.1;
const LONGEST_PAUSE: f64 = 30.0;

impl<'a> World<'a> {
    /// An order arrives.
    pub(super) fn arrive(&mut self) {
        let order = self.orders.len();
        self.orders.push(Order {
            arrived: self.now,
            ..Order::default()
        });
        let chain = self.chain(order);
        match self.daemons.entry {
            Entry::Http => self.send(chain[0], order),
            Entry::Orders => {
                for &function in chain {
                    self.services[function].to_do += 1;
                }
                self.services[chain[0]].queue(order);
                self.hand_out(chain[0]);
            }
        }
    }

    /// The functions that an order passes.
    fn chain(&self, order: usize) -> &'a [usize] {
        let trace: &'a Trace = self.trace;
        let chain = &trace.contracts[trace.arrivals[order].contract].chain;
        match self.daemons.entry {
            Entry::Orders => chain,
            Entry::Http => &chain[..1],
        }
    }

    fn hand_out(&mut self, function: usize) {
        while let Some(order) = self.services[function].hand_out() {
            self.orders[order].handed = self.now;
            self.send(function, order);
        }
    }

    /// A source leads elsewhere: what it held goes there.
    pub(super) fn leads(&mut self, physical_id: PhysicalId) {
        let Some(source) = self.sources.get_mut(&physical_id) else {
            return;
        };
        let (function, copies) = (source.function, source.copies());
        let held = match copies {
            0 => std::collections::VecDeque::new(),
            _ => std::mem::take(&mut source.held),
        };
        if self.newest[function] != Some(physical_id) {
            return;
        }
        for order in std::mem::take(&mut self.homeless[function]) {
            self.send(function, order);
        }
        for order in held {
            self.send(function, order);
        }
        if self.daemons.entry == Entry::Orders {
            self.services[function].set_copies(copies);
            self.hand_out(function);
        }
    }

    /// The source of a function sends a task to a copy, or holds it and says so.
    pub(super) fn send(&mut self, function: usize, order: usize) {
        let Some(from) = self.newest[function] else {
            return self.homeless[function].push(order);
        };
        let Some(source) = self.sources.get_mut(&from) else {
            return self.homeless[function].push(order);
        };
        let created = self.now;
        match source.choose(&self.copies, &mut self.rng) {
            Some(to) => self.deliver(to, Task { order, created }),
            None => {
                self.outcome.cold += 1;
                source.held.push_back(order);
                if source.held.len() == 1 {
                    let node = source.node;
                    let turn = self.nodes[node].turn;
                    let early = self.nodes[node].refreshed + URGENT - self.now;
                    self.push(early.max(0.0), Event::Refresh { node, turn });
                }
            }
        }
    }

    fn deliver(&mut self, to: PhysicalId, task: Task) {
        match self.copies.get_mut(&to) {
            Some(copy) => {
                copy.inbox.push_back(task);
                self.next(to);
            }
            // It has gone since.
            None => {
                let step = self.orders[task.order].step;
                self.fail(self.chain(task.order)[step], task.order);
            }
        }
    }

    /// A task has failed: it is tried again, after the pause that services have by default, doubled each time. (Who
    /// calls over HTTP would get an error instead; it is taken to try again as well.)
    pub(super) fn fail(&mut self, function: usize, order: usize) {
        let it = &mut self.orders[order];
        let pause = FIRST_PAUSE * 2.0_f64.powi(it.failed);
        it.failed += 1;
        let pause = pause.min(LONGEST_PAUSE) * self.rng.random_range(0.5..1.0);
        self.services[function].failed();
        self.push(pause, Event::Again { order });
    }

    pub(super) fn again(&mut self, order: usize) {
        let function = self.chain(order)[self.orders[order].step];
        match self.daemons.entry {
            Entry::Http => self.send(function, order),
            Entry::Orders => {
                self.services[function].queue(order);
                self.hand_out(function);
            }
        }
    }

    /// A copy takes the next task, if it has none.
    fn next(&mut self, physical_id: PhysicalId) {
        let Some(copy) = self.copies.get_mut(&physical_id) else {
            return;
        };
        if copy.current.is_some() {
            return;
        }
        let Some(task) = copy.inbox.pop_front() else {
            return self.end_if_idle(physical_id);
        };
        copy.current = Some((task, self.now));
        let order = &self.orders[task.order];
        let took = service(self.trace, self.setup.seed, task.order, order.step);
        self.push(took, Event::Done { physical_id });
    }

    /// A copy has handled its task.
    pub(super) fn done(&mut self, physical_id: PhysicalId) {
        let Some(copy) = self.copies.get_mut(&physical_id) else {
            return;
        };
        let (node, function) = (copy.node, copy.function);
        let Some((task, began)) = copy.current.take() else {
            return;
        };
        let times = [task.created, began, self.now].map(|it| self.phase + it);
        self.nodes[node].measured(physical_id, times);
        self.next(physical_id);
        let order = &mut self.orders[task.order];
        order.handled += self.now - began;
        order.step += 1;
        order.failed = 0;
        self.outcome.work += self.now - began;
        let (handed, step) = (order.handed, order.step);
        let next = self.chain(task.order).get(step).copied();
        match next {
            Some(next) => self.services[next].queue(task.order),
            None => {
                let order = &self.orders[task.order];
                let waited = self.now - order.arrived - order.handled;
                self.outcome.waits.push(waited);
            }
        }
        if self.daemons.entry == Entry::Orders {
            self.services[function].done(self.now - handed);
            self.hand_out(function);
            if let Some(next) = next {
                self.hand_out(next);
            }
        }
    }

    /// ε-CON tells ε-ORC what orders want.
    pub(super) fn tell(&mut self) {
        if self.daemons.entry == Entry::Http {
            return;
        }
        let demand = self.services.iter_mut().enumerate();
        let demand: BTreeMap<_, _> = demand
            .map(|(function, it)| (logical_id(FUNCTIONS, function), it.demand()))
            .collect();
        self.domain.tell_demand(demand);
        self.command(Command::Tick);
    }
}
