//! Follows what a change comes to: the next tasks, the end, the order that waits for this one. All of it is one record.

use std::sync::Arc;

use edgeless_types::{OrderId, Timestamp};
use prost::Message;
use smallvec::SmallVec;

use super::{
    Answer, Book, Effect, Entry, Gated, Order, Told,
    memory::{Parked, Unapplied},
};
use crate::{
    body::{Body, Step, index},
    bounds::RECORD_BYTES,
    record::{Change, EndCode, Ended, Record, What, moment},
};

/// What one change has come to so far.
#[derive(Default)]
pub(super) struct Following {
    record: Record,
    /// Orders it was about, and the first step at work in each before.
    touched: SmallVec<[(u32, usize); 2]>,
    ended: SmallVec<[Arc<Body>; 1]>,
    /// Orders that another one waits for no more.
    orphans: Vec<OrderId>,
}

impl Book {
    /// Something about an order has changed, whose body is in memory.
    pub(super) fn change(&mut self, slot: u32, what: What, now: Timestamp) {
        let mut following = Following::default();
        self.apply(&mut following, slot, what, now);
        self.settle(&mut following, slot, now);
        self.keep(following, now);
    }

    /// Something about an order has changed, together with others.
    pub(super) fn change_with(&mut self, slot: u32, what: What, record: Record, now: Timestamp) {
        let mut following = Following {
            record,
            ..Following::default()
        };
        self.apply(&mut following, slot, what, now);
        self.settle(&mut following, slot, now);
        self.keep(following, now);
    }

    /// What follows from how an order is, if anything does.
    pub(super) fn settle_alone(&mut self, slot: u32, now: Timestamp) {
        let mut following = Following::default();
        self.settle(&mut following, slot, now);
        self.keep(following, now);
    }

    /// An order that was ended when it was accepted.
    pub(super) fn record_end(&mut self, record: Record, slot: u32, now: Timestamp) {
        let mut following = Following {
            record,
            touched: SmallVec::from_slice(&[(slot, 0)]),
            ..Following::default()
        };
        self.settle(&mut following, slot, now);
        self.keep(following, now);
    }

    /// Keeps a record that ends nothing.
    pub(super) fn record(&mut self, record: Record, slot: Option<u32>) {
        let sequence = self.put(record, Told::default());
        if let Some(order) = slot.and_then(|slot| self.orders.get_mut(slot as usize)) {
            order.last = sequence;
        }
        if let Some(slot) = slot {
            self.unapplied.push_back(Unapplied::active(sequence, slot));
        }
    }

    fn put(&mut self, record: Record, told: Told) -> u64 {
        debug_assert!(record.encoded_len() <= RECORD_BYTES, "a record is too long");
        let sequence = self.next;
        self.next += 1;
        self.out.records.push((record, told));
        sequence
    }

    pub(super) fn apply(
        &mut self,
        following: &mut Following,
        slot: u32,
        what: What,
        now: Timestamp,
    ) {
        let Some(order) = self.orders.get_mut(slot as usize) else {
            return;
        };
        let change = Change::new(order.id, now, what);
        following.record.changes.push(change.clone());
        let Some(body) = &mut order.body else {
            return;
        };
        let (begun, stage) = (body.begun(), body.stage());
        if !following.touched.iter().any(|(other, _)| *other == slot) {
            following.touched.push((slot, begun));
        }
        // An end, and what is taken back before it, change what is to do as a whole.
        let is_whole = body.end.is_some() || matches!(change.what, Some(What::Ended(_)));
        let may_leave = matches!(change.what, Some(What::Ended(_) | What::Missed(_)));
        let before = match is_whole {
            true => body.to_do(),
            false => body.open(),
        };
        let children: Vec<_> = match may_leave {
            true => body.children().collect(),
            false => Vec::new(),
        };
        body.apply(change);
        let after = match (is_whole, body.stage() == stage) {
            (true, _) => body.to_do(),
            (false, true) => body.open(),
            (false, false) => SmallVec::new(),
        };
        let left = children
            .into_iter()
            .filter(|(position, child)| body.waiting(*position, *child).is_none());
        following.orphans.extend(left.map(|(_, child)| child));
        let left_out = match is_whole {
            true => SmallVec::new(),
            false => body.left_out_since(stage),
        };
        self.count_services(&before, -1);
        self.count_services(&left_out, -1);
        self.count_services(&after, 1);
    }

    /// What follows of itself, for this order and those that wait for it.
    fn settle(&mut self, following: &mut Following, slot: u32, now: Timestamp) {
        let mut next = Some(slot);
        while let Some(slot) = next.take() {
            let Some(order) = self.orders.get(slot as usize) else {
                return;
            };
            let Some(body) = &order.body else { return };
            if !body.is_ended()
                && body.end.is_none()
                && order.out.is_empty()
                && let Some(reason) = body.failure().map(|step| failure(body, step))
            {
                let undoing = body.has_undo();
                let ended = Ended {
                    end: EndCode::Failed.into(),
                    reason,
                    undoing,
                };
                self.apply(following, slot, What::Ended(ended), now);
            }
            let is_ended = self.orders[slot as usize]
                .body
                .as_ref()
                .is_some_and(|body| body.is_ended());
            if is_ended {
                let body = self.take_out(slot, now);
                following.ended.push(Arc::clone(&body));
                if body.accepted.parent.is_some() {
                    if following.record.encoded_len() > self.together {
                        // A record has its bound. After a crash what follows is told by `adopt`.
                        self.keep(std::mem::take(following), now);
                    }
                    next = self.join(following, &body, now);
                }
            }
        }
    }

    /// An order that has come to its end leaves the book.
    fn take_out(&mut self, slot: u32, now: Timestamp) -> Arc<Body> {
        let order: Order = self.orders.remove(slot as usize);
        self.index.remove(&order.id);
        let body = order
            .body
            .expect("an order comes to its end with its body in memory");
        self.clients[order.client as usize].active -= 1;
        self.count_tasks(&body, -1);
        self.resident = self.resident.saturating_sub(order.weight);
        self.rates.ended(now);
        if !order.out.is_empty() {
            self.withdraw(slot, order.generation);
        }
        let timer = |what| super::Timer::Order {
            slot,
            generation: order.generation,
            what,
        };
        if let Some(deadline) = order.deadline {
            self.timers.remove(&(deadline, timer(super::Due::Deadline)));
        }
        if let Some(begin) = moment(body.accepted.not_before) {
            self.timers.remove(&(begin, timer(super::Due::Begin)));
        }
        for step in &body.steps {
            if let Some(deadline) = body.task_deadline(step) {
                let due = super::Due::Task(index(step.position));
                self.timers.remove(&(deadline, timer(due)));
            }
        }
        Arc::new(*body)
    }

    fn keep(&mut self, following: Following, now: Timestamp) {
        let Following {
            record,
            touched,
            ended,
            orphans,
        } = following;
        if record.changes.is_empty() && ended.is_empty() {
            return;
        }
        let told = Told {
            ended: ended.iter().filter_map(|body| body.ended()).collect(),
        };
        let sequence = self.put(record, told);
        for (slot, begun) in touched {
            let Some(order) = self.orders.get_mut(slot as usize) else {
                continue;
            };
            order.last = sequence;
            let Some(body) = &order.body else { continue };
            order.has_children = body.has_children();
            let weight = super::memory::bytes(body);
            self.resident = self.resident + weight - order.weight.min(self.resident + weight);
            order.weight = weight;
            self.unapplied.push_back(Unapplied::active(sequence, slot));
            if body.begun() != begun {
                self.queue_current(slot, now);
            }
            self.watch(slot);
        }
        for body in ended {
            let id = body.id;
            self.ending.insert(id, Arc::clone(&body));
            self.unapplied.push_back(Unapplied::ended(sequence, id));
            self.gated.push_back((sequence, Gated::End(id, body)));
        }
        for orphan in orphans {
            self.end_orphan(orphan, now);
        }
    }

    /// The steps at work wait for their services, as soon as what they build on is kept; at once where a service may do
    /// a task again.
    pub(super) fn queue_current(&mut self, slot: u32, now: Timestamp) {
        let Some(order) = self.orders.get(slot as usize) else {
            return;
        };
        let (generation, last) = (order.generation, order.last);
        let Some(body) = &order.body else {
            let id = order.id;
            return self.park(id, Parked::Begin);
        };
        let timer = |what| super::Timer::Order {
            slot,
            generation,
            what,
        };
        if let Some(begin) = moment(body.accepted.not_before)
            && begin > now
        {
            self.timers.insert((begin, timer(super::Due::Begin)));
            return;
        }
        let mut at_once: SmallVec<[(Entry, bool); 4]> = SmallVec::new();
        let is_kept = last <= self.durable;
        let current = body.current().iter();
        for step in current.filter(|step| step.is_open() || step.is_waiting()) {
            let position = super::flight::place(step.position);
            if let Some(deadline) = body.task_deadline(step) {
                self.timers
                    .insert((deadline, timer(super::Due::Task(position))));
            }
            if step.is_waiting() {
                continue;
            }
            match self.waits_until(body, step, now) {
                Some(again) => {
                    self.timers
                        .insert((again, timer(super::Due::Again(position))));
                }
                None => {
                    let entry = Entry {
                        slot,
                        generation,
                        position,
                    };
                    let may = is_kept || self.may_repeat(body.service(step.position));
                    at_once.push((entry, may));
                }
            }
        }
        let stage = body.stage();
        let goes_on = body.end.is_none() && stage + 1 < body.list.stages().len();
        if let Some(list) = goes_on.then(|| Arc::clone(&body.list)) {
            self.want_ahead(&list, stage);
        }
        for (entry, may) in at_once {
            match may {
                true => {
                    if let Some(service) = self.enqueue(entry, false, now) {
                        self.dispatch(service, now);
                    }
                }
                false => self.gated.push_back((last, Gated::Queue(entry))),
            }
        }
    }

    /// Whether a service may get a task before what it builds on is kept.
    fn may_repeat(&self, service: &str) -> bool {
        let spec = self
            .service(service)
            .and_then(|service| service.spec.as_ref());
        spec.is_some_and(|spec| spec.idempotent)
    }

    /// When a task may be tried again; none: now. A pause beyond the longest comes of a clock that was set back
    /// between two lives, and is over.
    pub(super) fn waits_until(
        &self,
        body: &Body,
        step: &Step,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let again = step.again().filter(|again| *again > now)?;
        let service = self.service(body.service(step.position));
        let spec = service.and_then(|service| service.spec.as_ref());
        let is_pause = spec.is_none_or(|spec| again.since(now) <= spec.retries.longest);
        is_pause.then_some(again)
    }

    /// Those who watch are told how an order is.
    pub(super) fn watch(&mut self, slot: u32) {
        let order = self.orders.get(slot as usize).filter(|_| self.watched);
        if let Some(body) = order.and_then(|order| order.body.as_deref()) {
            let changed = Effect::Changed(Arc::new(body.clone()));
            self.gate(Gated::Effect(changed));
        }
    }

    /// The end of an order is kept: whoever waits for it is told.
    pub(super) fn tell_end(&mut self, id: edgeless_types::OrderId, body: &Arc<Body>) {
        for ask in self.waiters.remove(&id).unwrap_or_default() {
            let answer = Answer::Ended(Arc::clone(body));
            self.out.effects.push(Effect::Answer { ask, answer });
        }
        if self.watched {
            self.out.effects.push(Effect::Changed(Arc::clone(body)));
        }
        if !body.accepted.outputs.is_empty() {
            self.out.effects.push(Effect::Deliver(Arc::clone(body)));
        }
    }
}

/// Why an order fails, in words.
fn failure(body: &Body, step: &crate::body::Step) -> String {
    let key = &body.task(step.position).key;
    let attempts = step.misses.len();
    let reason = step.misses.last().map_or("", |(_, missed)| &missed.reason);
    match attempts {
        1 => format!("task `{key}`: {reason}"),
        _ => format!("task `{key}`, {attempts} attempts: {reason}"),
    }
}
