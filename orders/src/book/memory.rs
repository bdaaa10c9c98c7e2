//! What of the orders is in memory: all of those at work, and of those that wait as much as there is room for.

use std::time::Duration;

use edgeless_types::{OrderId, Timestamp};

use super::{Answer, Book, Due, Effect, Entry, Event, Refusal, Timer};
use crate::{body::Body, json::Json};

/// After how long an order is asked for again that could not be read.
const UNREAD: Duration = Duration::from_secs(1);
/// So much is forgotten with each event.
const FORGOTTEN: usize = 32;
/// How many orders of a service may be on their way from the store.
const LOADS: u32 = 64;
/// What an order takes besides its values, in bytes; about.
const ORDER_BYTES: usize = 700;
/// What a step takes besides its values, in bytes; about.
const STEP_BYTES: usize = 300;

/// Something that is not in the store yet.
#[derive(Debug)]
pub(super) struct Unapplied {
    sequence: u64,
    what: Which,
}

#[derive(Debug)]
enum Which {
    Active(u32),
    Ended(OrderId),
    Key(u32, Box<str>),
    Retried(OrderId),
}

impl Unapplied {
    pub(super) fn active(sequence: u64, slot: u32) -> Self {
        let what = Which::Active(slot);
        Self { sequence, what }
    }

    pub(super) fn ended(sequence: u64, id: OrderId) -> Self {
        let what = Which::Ended(id);
        Self { sequence, what }
    }

    pub(super) fn retried(sequence: u64, id: OrderId) -> Self {
        let what = Which::Retried(id);
        Self { sequence, what }
    }

    pub(super) fn key(sequence: u64, client: u32, key: Box<str>) -> Self {
        let what = Which::Key(client, key);
        Self { sequence, what }
    }
}

/// What waits for an order to be there.
#[derive(Debug)]
pub(super) enum Parked {
    /// Something happens to it.
    Event(Event),
    /// Its turn has come at a service.
    Turn(Entry, u32),
    /// Its steps at work are to wait for their services.
    Begin,
    /// A task of it is to wait for its service.
    Queue(Entry),
    /// The deadline of a task of it has passed.
    TaskDeadline(Entry),
    /// Its own deadline has passed.
    Deadline,
    /// The order that gave rise to it waits for it no more.
    Orphan,
}

impl Book {
    /// Forgets some of what is in the store: a store takes thousands of records at once, and to forget all of them at
    /// once would hold up everything else.
    pub(super) fn forget_applied(&mut self) {
        for _ in 0..FORGOTTEN {
            if !self.has_applied() {
                return;
            }
            let Some(Unapplied { what, .. }) = self.unapplied.pop_front() else {
                return;
            };
            match what {
                Which::Active(slot) => self.evict(slot),
                Which::Ended(id) => {
                    self.ending.remove(&id);
                }
                Which::Retried(id) => {
                    self.retried.remove(&id);
                }
                Which::Key(client, key) => {
                    self.keys.remove(&(client, key));
                }
            }
        }
    }

    /// Whether something can be forgotten.
    pub(super) fn has_applied(&self) -> bool {
        let first = self.unapplied.front();
        first.is_some_and(|first| first.sequence <= self.applied)
    }

    /// Forgets what the store has, if memory is short and nothing is being done with it.
    pub(super) fn evict(&mut self, slot: u32) {
        if self.resident <= self.settings.resident_bytes {
            return;
        }
        let Some(order) = self.orders.get_mut(slot as usize) else {
            return;
        };
        let is_waiting = order.out.is_empty() && !order.has_children;
        if is_waiting && order.last <= self.applied && order.body.take().is_some() {
            self.resident = self.resident.saturating_sub(order.weight);
        }
    }

    /// Whether a service may have another order loaded.
    pub(super) fn may_load(&self, service: u32) -> bool {
        self.services[service as usize].loading < LOADS
    }

    /// Has something wait until an order is there, and asks for it.
    pub(super) fn park(&mut self, id: OrderId, parked: Parked) {
        if let Parked::Turn(_, service) = &parked {
            self.services[*service as usize].loading += 1;
        }
        let waiting = self.loading.entry(id).or_default();
        waiting.push(parked);
        if waiting.len() == 1 {
            self.out.effects.push(Effect::Load { id });
        }
    }

    pub(super) fn on_loaded(&mut self, id: OrderId, body: Option<Box<Body>>, now: Timestamp) {
        let parked = self.loading.remove(&id).unwrap_or_default();
        let slot = self.index.get(&id).copied();
        let ended = match (slot, body) {
            (Some(slot), Some(body)) => {
                self.take_in(slot, body);
                None
            }
            (Some(_), None) => {
                // The store said that it has it. It is asked again when something happens.
                tracing::error!(order = %id, "an order that waits is not in the store");
                None
            }
            (None, body) => body,
        };
        let has_turn = parked
            .iter()
            .any(|parked| matches!(parked, Parked::Turn(..)));
        for parked in parked {
            // What was parked before may have brought its end.
            let slot_now = self.index.get(&id).copied();
            match (parked, slot_now) {
                (Parked::Event(event), _) => match slot.is_some() {
                    true => self.follow(event, now),
                    false => self.on_ended_loaded(id, ended.as_deref(), event, now),
                },
                (Parked::Queue(entry), _) => {
                    if let Some(service) = self.enqueue(entry, true, now) {
                        self.dispatch(service, now);
                    }
                }
                (Parked::TaskDeadline(entry), Some(slot)) => {
                    self.on_task_deadline(slot, entry.position, now);
                }
                (Parked::Deadline, Some(slot)) => self.on_deadline(slot, now),
                (Parked::Begin, Some(slot)) => self.queue_current(slot, now),
                (Parked::Orphan, Some(_)) => self.end_orphan(id, now),
                (
                    Parked::TaskDeadline(_) | Parked::Deadline | Parked::Begin | Parked::Orphan,
                    None,
                ) => {}
                (Parked::Turn(entry, service), _) => {
                    self.services[service as usize].loading -= 1;
                    self.enqueue(entry, true, now);
                    self.dispatch(service, now);
                }
            }
        }
        // What was only looked at, or waits again, need not stay.
        if !has_turn && let Some(slot) = self.index.get(&id).copied() {
            self.evict(slot);
        }
    }

    /// The store cannot be read: whoever asked is answered, and what is to be done is tried again a little later.
    pub(super) fn on_unread(&mut self, id: OrderId, why: &str, now: Timestamp) {
        let slot = self.index.get(&id).copied();
        for parked in self.loading.remove(&id).unwrap_or_default() {
            let again = |entry: Entry| Some(Due::Again(entry.position));
            let due = match parked {
                Parked::Event(event) => {
                    if let Some(ask) = event.ask() {
                        self.answer(ask, Answer::Refused(Refusal::Away(why.to_owned())));
                    }
                    None
                }
                Parked::Turn(entry, service) => {
                    self.services[service as usize].loading -= 1;
                    again(entry)
                }
                Parked::Queue(entry) => again(entry),
                Parked::TaskDeadline(entry) => Some(Due::Task(entry.position)),
                Parked::Begin => Some(Due::Begin),
                Parked::Deadline => Some(Due::Deadline),
                Parked::Orphan => Some(Due::Orphan),
            };
            let order = slot.and_then(|slot| Some((slot, self.orders.get(slot as usize)?)));
            if let (Some(what), Some((slot, order))) = (due, order) {
                let generation = order.generation;
                let timer = Timer::Order {
                    slot,
                    generation,
                    what,
                };
                self.timers.insert((now + UNREAD, timer));
            }
        }
    }

    fn take_in(&mut self, slot: u32, body: Box<Body>) {
        let order = &mut self.orders[slot as usize];
        if order.body.is_none() {
            order.weight = bytes(&body);
            self.resident += order.weight;
            order.body = Some(body);
        }
    }
}

/// Who is answered by what was parked.
/// About how much memory an order takes.
pub(super) fn bytes(body: &Body) -> usize {
    let steps = body.steps.iter().map(|step| {
        let result = step.done.as_ref().map_or(0, |(_, done)| done.result.len());
        let misses = step
            .misses
            .iter()
            .map(|(_, missed)| missed.reason.len() + 100);
        STEP_BYTES + result + misses.sum::<usize>()
    });
    ORDER_BYTES
        + body.accepted.input.len()
        + body.accepted.metadata.len()
        + weight(&body.value)
        + steps.sum::<usize>()
}

/// A payload and its size for the account of memory.
fn weight(json: &Json) -> usize {
    json.as_bytes().len()
}
