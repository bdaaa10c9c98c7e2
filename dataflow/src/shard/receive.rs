//! What comes in from other shards and nodes: messages for inboxes, and answers for who waits.

use edgeless_types::{
    PhysicalId,
    message::{Message, MessageId, Ticket},
};

use super::{Shard, Waiter, slot::Entrance};
use crate::{counters::Drop, operator::Answer};

impl Shard {
    pub(super) fn accept_all(&mut self, batch: Vec<Message>) {
        for message in batch {
            self.accept(message);
        }
    }

    /// Takes a message from another shard or node that the gate of its target has admitted.
    pub(super) fn accept(&mut self, message: Message) {
        if message.kind.is_answer() {
            self.accept_uncounted(message);
            return;
        }
        if let Some(key) = self.key_of(message.target) {
            self.enqueue(key, message, Entrance::Gate);
        } else if self.shared.gate(message.target).is_some() {
            self.early.push(message);
        } else {
            self.no_instance(&message);
        }
    }

    /// Takes an answer, or a message for an instance that does not run here.
    pub(super) fn accept_uncounted(&mut self, message: Message) {
        if message.kind.is_answer() {
            let answer = Answer::from_parts(message.kind, message.payload);
            self.answered(message.id, message.ticket, answer);
        } else {
            self.no_instance(&message);
        }
    }

    /// An instance has started, or will not: what came before it is taken again.
    pub(super) fn accept_early(&mut self) {
        for message in std::mem::take(&mut self.early) {
            self.accept(message);
        }
    }

    pub(super) fn answered(&mut self, id: MessageId, ticket: Option<Ticket>, answer: Answer) {
        if id.origin != self.shared.origins[self.index] {
            self.shared.counters.dropped(Drop::LateAnswer, 1);
            return;
        }
        match self.tracker.answered(ticket, id) {
            Some(waiter) => self.wake_waiter(waiter, answer),
            None => self.shared.counters.dropped(Drop::LateAnswer, 1),
        }
    }

    pub(super) fn wake_waiter(&mut self, waiter: Waiter, answer: Answer) {
        match waiter {
            Waiter::Operator(physical_id, token) => {
                self.answers.push_back((physical_id, token, answer));
            }
            Waiter::Port(caller) => {
                if !caller.hears(Ok(answer)) {
                    self.shared.counters.dropped(Drop::LateAnswer, 1);
                }
            }
            Waiter::Delivery(_) => {}
        }
    }

    pub(super) fn take_answers(&mut self) {
        // Those that these lead to come later.
        for _ in 0..self.answers.len() {
            let Some((physical_id, token, answer)) = self.answers.pop_front() else {
                return;
            };
            if let Some(key) = self.key_of(physical_id) {
                self.step(key, |operator, task, out| {
                    operator.on_answer(token, answer, task, out)
                });
            }
        }
    }

    /// The one operator of this shard to which the channel `out` of an operator leads, and its key.
    #[inline]
    pub(super) fn next_of(&mut self, key: usize) -> Option<(usize, PhysicalId)> {
        if let Some((next, target)) = self.slots[key].next
            && let Some(slot) = self.slots.get(next)
            && slot.me.physical_id == target
        {
            return Some((next, target));
        }
        let target = self.slots[key].outputs.only_out()?;
        if target.node_id != self.shared.config.node_id {
            return None;
        }
        let next = self.key_of(target.physical_id)?;
        self.slots[key].next = Some((next, target.physical_id));
        Some((next, target.physical_id))
    }
}
