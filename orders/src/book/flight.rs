//! Hands tasks out: which, to whom, with what.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use edgeless_types::{OrderId, Timestamp};

use super::{Book, Effect, Entry, LineId, Ticket, Timer, memory::Parked, services::Wanted};
use crate::{
    body::{Body, Step, index},
    json::Json,
    record::UNDO,
    service::{Call, Payload, ServiceSpec},
};

/// A task as it is handed out.
#[derive(Clone, Debug, PartialEq)]
pub struct Handout {
    /// Comes back with its outcome.
    pub ticket: Ticket,
    /// The order.
    pub id: OrderId,
    /// The task, such as `A` or `A#2`.
    pub task: Arc<str>,
    /// It takes back what that task did.
    pub undo: bool,
    /// Counts from 1.
    pub attempt: u32,
    /// What the service gets, JSON.
    pub payload: Json,
    /// The form in which it gets that; with [`Payload::Bytes`] what `payload` names is looked up first.
    pub form: Payload,
    /// How long it may take.
    pub timeout: Duration,
}

/// What came of a task that was handed out.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The service has answered.
    Reply {
        /// What.
        payload: Bytes,
        /// Which copy, if that is known.
        instance: Option<Arc<str>>,
    },
    /// The service said that it failed.
    Failed(String),
    /// The service said that it will never do it.
    Refused(String),
    /// No answer in time.
    TimedOut,
    /// It did not reach the service.
    Undelivered(String),
}

/// A task that was handed out.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) ticket: Ticket,
    /// None: its order is gone.
    pub(super) entry: Option<Entry>,
    pub(super) line: LineId,
    pub(super) service: u32,
    pub(super) attempt: u32,
    pub(super) handed: Timestamp,
    pub(super) due: Timestamp,
}

/// A position as queues have it.
pub(super) fn place(position: u32) -> u16 {
    let undo = if position & UNDO == 0 { 0 } else { 0x8000 };
    index(position) | undo
}

impl Ticket {
    fn new(slot: usize, count: u64) -> Self {
        let slot = u64::try_from(slot).unwrap_or(u64::MAX);
        Self((count << 24) | (slot & 0xff_ffff))
    }

    fn slot(self) -> usize {
        usize::try_from(self.0 & 0xff_ffff).unwrap_or(usize::MAX)
    }
}

impl Book {
    /// A task waits for its service from now on; which that is. None: it need not wait any more.
    pub(super) fn enqueue(&mut self, entry: Entry, first: bool, now: Timestamp) -> Option<u32> {
        let order = self.order(entry)?;
        let (client, priority) = (order.client, order.priority);
        let service = match &order.body {
            Some(body) => Arc::clone(body.service(u32::from(entry.position))),
            None => {
                self.park(order.id, Parked::Queue(entry));
                return None;
            }
        };
        let service = self.service_slot(&service);
        let waiting = &mut self.services[service as usize];
        waiting.queue.push(entry, client, priority, first);
        waiting.counts.came(now);
        Some(service)
    }

    /// Hands out what waits for a service, as long as there is somebody to take it.
    pub(super) fn dispatch(&mut self, service: u32, now: Timestamp) {
        if self.hold.is_some() {
            return;
        }
        loop {
            let waiting = &mut self.services[service as usize];
            if waiting.queue.len() == 0 || waiting.paused || waiting.spec.is_none() {
                return;
            }
            if self.free_line(service, None).is_none() {
                if !self.has_copies(service) {
                    self.want(service, Wanted::Now);
                }
                return;
            }
            if !self.may_load(service) {
                return;
            }
            let clients = &self.clients;
            let weight = |client: u32| {
                let contract = clients[client as usize].contract.as_ref();
                contract.map_or(1, |contract| contract.weight)
            };
            if let Some(entry) = self.services[service as usize].queue.pop(weight) {
                self.hand(entry, service, now);
            }
        }
    }

    /// The line with the most room, if any has some; another one than `not` if there is one.
    fn free_line(&self, service: u32, not: Option<&str>) -> Option<LineId> {
        let lines = self.services[service as usize].lines.iter();
        let free = lines.filter_map(|id| {
            let line = self
                .lines
                .get(id)
                .filter(|line| line.open && line.copies > 0)?;
            let room = line.window.size().checked_sub(line.in_flight)?;
            let avoided = not.is_some_and(|not| *not == *line.source);
            (room > 0).then_some((!avoided, room, *id))
        });
        free.max().map(|(_, _, id)| id)
    }

    fn hand(&mut self, entry: Entry, service: u32, now: Timestamp) {
        let Some(order) = self.order(entry) else {
            return;
        };
        let id = order.id;
        let Some(body) = order.body.as_deref() else {
            return self.park(id, Parked::Turn(entry, service));
        };
        let position = u32::from(entry.position);
        let Some(step) = body.step(position) else {
            return;
        };
        let is_held = order.paused && !body.is_undoing();
        let waits = self.waits_until(body, step, now).is_some();
        if !step.is_open() || waits || is_held || order.out.contains(&entry.position) {
            return;
        }
        if body.failure().is_some() {
            // Another task of its group was given up: the order fails when nothing of it is out.
            return self.settle_alone(entry.slot, now);
        }
        let Some(spec) = self.services[service as usize].spec.clone() else {
            return;
        };
        let mut timeout = spec.timeout;
        for deadline in [order.deadline, body.task_deadline(step)]
            .into_iter()
            .flatten()
        {
            // What takes back what was done has no deadline.
            if position & UNDO == 0 {
                timeout = timeout.min(deadline.since(now));
            }
        }
        if timeout.is_zero() {
            return;
        }
        let last = step
            .misses
            .last()
            .map(|(_, missed)| missed.instance.as_str());
        let Some(line) = self.free_line(service, last) else {
            return;
        };
        let attempt = step.next_attempt();
        let payload = payload(&spec, body, step, attempt);
        let task = Arc::clone(&body.task(position).key);
        let due = now + timeout + self.settings.grace;
        let ticket = self.fly(entry, line, service, attempt, now, due);
        let handout = Handout {
            ticket,
            id,
            task,
            undo: position & UNDO != 0,
            attempt,
            payload,
            form: spec.payload,
            timeout,
        };
        self.out.effects.push(Effect::Hand { line, handout });
    }

    fn fly(
        &mut self,
        entry: Entry,
        line: LineId,
        service: u32,
        attempt: u32,
        now: Timestamp,
        due: Timestamp,
    ) -> Ticket {
        self.tickets += 1;
        let vacant = self.flights.vacant_entry();
        let ticket = Ticket::new(vacant.key(), self.tickets);
        vacant.insert(Flight {
            ticket,
            entry: Some(entry),
            line,
            service,
            attempt,
            handed: now,
            due,
        });
        self.timers.insert((due, Timer::Flight(ticket)));
        self.orders[entry.slot as usize].out.push(entry.position);
        self.services[service as usize].in_flight += 1;
        if let Some(line) = self.lines.get_mut(&line) {
            line.in_flight += 1;
        }
        ticket
    }

    /// Takes a task off those that were handed out.
    pub(super) fn land(&mut self, ticket: Ticket) -> Option<Flight> {
        let flight = self.flights.get(ticket.slot())?;
        if flight.ticket != ticket {
            return None;
        }
        let flight = self.flights.remove(ticket.slot());
        self.timers.remove(&(flight.due, Timer::Flight(ticket)));
        self.services[flight.service as usize].in_flight -= 1;
        if let Some(line) = self.lines.get_mut(&flight.line) {
            line.in_flight = line.in_flight.saturating_sub(1);
        }
        if let Some(entry) = flight.entry
            && let Some(order) = self.orders.get_mut(entry.slot as usize)
            && order.generation == entry.generation
        {
            order.out.retain(|position| *position != entry.position);
        }
        Some(flight)
    }

    /// Nobody waits any more for what was handed out of an order. It keeps its place on the line until it comes back.
    pub(super) fn withdraw(&mut self, slot: u32, generation: u32) {
        let of_order = |flight: &&mut Flight| {
            let entry = flight.entry;
            entry.is_some_and(|entry| entry.slot == slot && entry.generation == generation)
        };
        let mut withdrawn = Vec::new();
        for flight in self
            .flights
            .iter_mut()
            .map(|(_, flight)| flight)
            .filter(of_order)
        {
            flight.entry = None;
            withdrawn.push((flight.line, flight.ticket));
        }
        for (line, ticket) in withdrawn {
            self.out.effects.push(Effect::Withdraw { line, ticket });
        }
        if let Some(order) = self.orders.get_mut(slot as usize) {
            order.out.clear();
        }
    }

    /// The deadline of a task has passed: it is given up.
    pub(super) fn on_task_deadline(&mut self, slot: u32, position: u16, now: Timestamp) {
        let Some(order) = self.orders.get(slot as usize) else {
            return;
        };
        let Some(body) = &order.body else {
            let (id, generation) = (order.id, order.generation);
            let entry = Entry {
                slot,
                generation,
                position,
            };
            return self.park(id, Parked::TaskDeadline(entry));
        };
        let step = body.step(u32::from(position));
        let step = step.filter(|step| step.is_open() || step.is_waiting());
        let Some(step) = step else { return };
        let missed = crate::record::Missed {
            position: step.position,
            attempt: step.next_attempt(),
            instance: String::new(),
            handed: now.as_nanos(),
            kind: crate::record::MissCode::TimedOut.into(),
            reason: "its deadline has passed".to_owned(),
            again: 0,
        };
        self.withdraw_task(slot, position);
        self.change(slot, crate::record::What::Missed(missed), now);
    }

    fn withdraw_task(&mut self, slot: u32, position: u16) {
        let generation = self.orders[slot as usize].generation;
        let entry = Entry {
            slot,
            generation,
            position,
        };
        let mut flights = self.flights.iter_mut().map(|(_, flight)| flight);
        if let Some(flight) = flights.find(|flight| flight.entry == Some(entry)) {
            flight.entry = None;
            let (line, ticket) = (flight.line, flight.ticket);
            self.out.effects.push(Effect::Withdraw { line, ticket });
            self.orders[slot as usize]
                .out
                .retain(|other| *other != position);
        }
    }
}

/// What a service gets.
fn payload(spec: &ServiceSpec, body: &Body, step: &Step, attempt: u32) -> Json {
    let is_undo = step.position & UNDO != 0;
    let inner = match spec.call {
        Call::Message if !is_undo => body.message(step),
        Call::Message | Call::Value => step.input.clone(),
    };
    if !spec.envelope {
        return inner;
    }
    #[derive(serde::Serialize)]
    struct Envelope<'a> {
        order: OrderId,
        client: &'a str,
        task: &'a str,
        attempt: u32,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        undo: bool,
        payload: &'a Json,
    }
    let envelope = Envelope {
        order: body.id,
        client: &body.accepted.client,
        task: &body.task(step.position).key,
        attempt,
        undo: is_undo,
        payload: &inner,
    };
    let text = serde_json::to_vec(&envelope).expect("values that were checked are written");
    Json::written(text)
}
