//! Signals: what became of tracked messages, and what follows from it.

use std::rc::Rc;

use bytes::Bytes;
use edgeless_types::{
    PhysicalId,
    message::{Message, MessageId, MessageKind, Refusal, Signal, SignalKind, Ticket},
};

use super::{Shard, Waiter};
use crate::{
    control::{Control, Interests, Propagation},
    counters::Drop,
    operator::{Answer, Destination},
    output::{ChannelName, Route},
    port::PortError,
    track::{Begin, Effect, Expect, Need, OpenKey, Outcome, Parents},
};

impl Shard {
    /// Whether a message is to be handled; one that was handled before is acknowledged again.
    pub(super) fn begin_tracked(&mut self, key: usize, message: &Message, ticket: Ticket) -> Begin {
        let policy = self.slots[key].delivery.policy;
        let begin = self.tracker.begin(message, ticket, policy);
        match begin {
            Begin::New(_) => {}
            Begin::Busy => self.shared.counters.dropped(Drop::Duplicate, 1),
            Begin::Done => {
                self.shared.counters.dropped(Drop::Duplicate, 1);
                self.emit(message, SignalKind::Ack);
            }
        }
        begin
    }

    /// A message of an operator on a channel that is delivered at least once, and what it comes of.
    /// False: what it comes of is cancelled or has failed, and so it is not to be sent.
    pub(super) fn track(
        &mut self,
        key: usize,
        channel: usize,
        message: &mut Message,
        parents: Parents,
    ) -> bool {
        if !parents.as_slice().is_empty() {
            let Some(id) = self.tracker.derive(&parents) else {
                self.shared.counters.dropped(Drop::Cancelled, 1);
                return false;
            };
            message.id = id;
        }
        self.expect_ack(key, channel, message, parents, None);
        true
    }

    /// A message of a port on such a channel; `waiter` waits until it is acknowledged.
    pub(super) fn track_for(
        &mut self,
        key: usize,
        channel: usize,
        message: &mut Message,
        waiter: Option<Box<Waiter>>,
    ) {
        self.expect_ack(key, channel, message, Parents::None, waiter);
    }

    fn expect_ack(
        &mut self,
        key: usize,
        channel: usize,
        message: &mut Message,
        parents: Parents,
        waiter: Option<Box<Waiter>>,
    ) {
        let slot = &mut self.slots[key];
        slot.outstanding += 1;
        let interests = slot.interests;
        message.ticket = self.tracker.expect(Expect {
            id: message.id,
            from: slot.me.physical_id,
            need: Need::Ack(channel),
            parents,
            deadline: message.envelope.deadline,
            waiter,
            told: interests.has(Interests::ACK) || interests.has(Interests::NACK),
        });
    }

    /// A message that goes to one more of several as another did: it comes of the same, and who waits for
    /// that one waits for both. False: nobody waits for that one any more.
    pub(super) fn track_like(
        &mut self,
        key: usize,
        channel: usize,
        message: &mut Message,
        (ticket, id): (Option<Ticket>, MessageId),
    ) -> bool {
        let Some((parents, waiter)) = self.tracker.shared(ticket, id) else {
            return false;
        };
        self.expect_ack(key, channel, message, parents, waiter);
        self.tracker.goes_to_all(message.ticket, message.id);
        true
    }

    /// A call: who waits for its answer until its deadline.
    pub(super) fn expect_answer(&mut self, key: usize, message: &mut Message, waiter: Waiter) {
        message.ticket = self.tracker.expect(Expect {
            id: message.id,
            from: self.slots[key].me.physical_id,
            need: Need::Answer,
            parents: Parents::None,
            deadline: message.envelope.deadline,
            waiter: Some(Box::new(waiter)),
            told: false,
        });
    }

    /// A port that wants to wait for an acknowledgement on a channel without any: it need not.
    pub(super) fn nothing_to_wait_for(&mut self, waiter: Option<Box<Waiter>>) {
        if let Some(waiter) = waiter {
            self.ended(*waiter, Outcome::Handled);
        }
    }

    /// Sends what comes of messages that an operator has taken; they are handled by that.
    pub(super) fn batch(&mut self, key: usize, to: Destination, payload: Bytes, of: &[MessageId]) {
        let me = self.slots[key].me.physical_id;
        let parents: Parents = of
            .iter()
            .filter_map(|&id| self.tracker.find(me, id))
            .collect();
        let mut message = self.message(key, MessageKind::Cast, payload);
        message.envelope.sooner(self.tracker.deadline(&parents));
        if parents.as_slice().is_empty() && !of.is_empty() {
            // Those it comes of were not tracked, or are over: then so is this.
            message.ticket = None;
        }
        let sends = match self.slots[key].tracks(&to) {
            Some(channel) => self.track(key, channel, &mut message, parents.clone()),
            None => true,
        };
        if sends {
            self.dispatch(key, to, message, None);
        }
        for &parent in parents.as_slice() {
            self.tracker.handled(parent, &mut self.effects);
        }
    }

    /// Says to the sender of a message that it will not be handled here.
    pub(super) fn refuse_tracked(&mut self, message: &Message, reason: &str, permanent: bool) {
        if message.is_tracked() {
            let refusal = Refusal {
                permanent,
                ..Refusal::passing(reason)
            };
            self.emit(message, SignalKind::Nack(Box::new(refusal)));
        }
    }

    fn emit(&mut self, message: &Message, kind: SignalKind) {
        if let Some(ticket) = message.ticket {
            self.effects.push(Effect::Signal(Signal {
                id: message.id,
                ticket,
                to: message.source,
                kind,
            }));
        }
    }

    /// What a task took over is handled, or failed.
    pub(super) fn finish_taken(&mut self, key: usize, id: MessageId, error: Option<Refusal>) {
        let me = self.slots[key].me.physical_id;
        if let Some(open) = self.tracker.find(me, id) {
            self.close(open, error);
        }
    }

    /// A message that an operator handles or has taken counts as handled now.
    pub(super) fn acknowledge(&mut self, key: usize, id: MessageId) {
        if let Some(open) = self.open_of(key, id) {
            self.tracker.acknowledge(open, &mut self.effects);
        }
    }

    /// A message that an operator handles or has taken is not handled.
    pub(super) fn refuse_open(&mut self, key: usize, id: MessageId, refusal: Refusal) {
        if let Some(open) = self.open_of(key, id) {
            self.tracker.failed(open, refusal, &mut self.effects);
        }
    }

    /// The name of a message that an operator handles or has taken; it is not its current one any more.
    fn open_of(&mut self, key: usize, id: MessageId) -> Option<OpenKey> {
        let slot = &mut self.slots[key];
        let open = self.tracker.find(slot.me.physical_id, id)?;
        if let Some(current) = &mut slot.current
            && current.open == Some(open)
        {
            current.open = None;
        }
        Some(open)
    }

    /// The handling of a tracked message is over.
    pub(super) fn close(&mut self, open: OpenKey, error: Option<Refusal>) {
        match error {
            None => self.tracker.handled(open, &mut self.effects),
            Some(refusal) => self.tracker.failed(open, refusal, &mut self.effects),
        }
    }

    /// Takes signals from other shards and nodes.
    pub(super) fn on_signals(&mut self, signals: Vec<Signal>) {
        for signal in signals {
            self.on_signal(signal);
        }
    }

    fn on_signal(&mut self, signal: Signal) {
        if signal.kind == SignalKind::Cancel {
            self.on_cancel(signal.to.physical_id, signal.id);
        } else {
            self.tracker.on_signal(signal, self.now, &mut self.effects);
        }
    }

    /// A message that no channel leads anywhere for: its sender need not try again.
    pub(super) fn give_up(&mut self, message: &Message, reason: &str) {
        let (ticket, id) = (message.ticket, message.id);
        let refusal = Box::new(Refusal::permanent(reason));
        self.tracker
            .refused(ticket, id, refusal, self.now, &mut self.effects);
    }

    /// The outputs of an operator have changed.
    pub(super) fn reroute(&mut self, key: usize) {
        let slot = &self.slots[key];
        if slot.outstanding == 0 {
            return;
        }
        let leads_to = |channel: usize, target| {
            let name = slot.delivery.tracked.get(channel);
            name.is_some_and(|name| slot.outputs.target(name.as_bytes(), target).is_some())
        };
        self.tracker
            .rerouted(slot.me.physical_id, leads_to, self.now);
    }

    /// Does what follows from signals; what follows from that comes later.
    pub(super) fn carry_out_effects(&mut self) {
        if self.tracker.next_due().is_some_and(|at| at <= self.now) {
            self.tracker.take_due(self.now, &mut self.effects);
        }
        let mut effects = std::mem::take(&mut self.effects_taken);
        std::mem::swap(&mut effects, &mut self.effects);
        for effect in effects.drain(..) {
            self.carry_out(effect);
        }
        self.effects_taken = effects;
    }

    fn carry_out(&mut self, effect: Effect<Waiter>) {
        match effect {
            Effect::Signal(signal) => self.signal(signal),
            Effect::Again(from, channel, message) => self.send_again(from, channel, *message),
            Effect::Settled(from, number) => {
                if let Some(key) = self.key_of(from) {
                    let slot = &mut self.slots[key];
                    slot.outstanding = slot.outstanding.saturating_sub(number);
                    if !slot.inbox.is_empty() {
                        self.make_ready(key);
                    }
                    self.allowed(from);
                    self.end_if_idle(key);
                }
            }
            Effect::Withdraw(from, id, anew) => self.withdraw(from, id, anew),
            Effect::GivenUp(why) => self.shared.counters.dropped(why, 1),
            Effect::Ended(waiter, outcome) => self.ended(*waiter, outcome),
            Effect::Acknowledged(from, id, need, parents) => {
                if self.ask(from, Interests::ACK, || Control::Ack(id)) == Propagation::Pass {
                    self.tracker.count_for(&parents, need, &mut self.effects);
                }
            }
            Effect::Refused(from, id, ticket, refusal) => {
                let control = || Control::Nack(id, (*refusal).clone());
                let asked = self.ask(from, Interests::NACK, control);
                let (ticket, effects) = (Some(ticket), &mut self.effects);
                match asked {
                    Propagation::Pass => {
                        self.tracker
                            .try_again(ticket, id, &refusal, self.now, effects);
                    }
                    Propagation::Stop | Propagation::Refuse(_) => {
                        self.tracker.settle(ticket, id, effects);
                    }
                }
            }
        }
    }

    fn signal(&mut self, signal: Signal) {
        if signal.to.node_id != self.shared.config.node_id {
            self.shared.remote.signal(self.index, signal);
            return;
        }
        if self.key_of(signal.to.physical_id).is_some() {
            self.on_signal(signal);
            return;
        }
        // Whoever has ended needs no signal.
        if let Some(gate) = self.gate(signal.to.physical_id) {
            let shard = gate.shard();
            self.outgoing_signals[shard].push(signal);
        }
    }

    fn send_again(&mut self, from: PhysicalId, channel: usize, message: Message) {
        let Some(&key) = self.by_id.get(&from) else {
            return;
        };
        let Some(name) = self.slots[key].delivery.tracked.get(channel) else {
            return;
        };
        let outputs = &self.slots[key].outputs;
        let again = outputs.target(name.as_bytes(), message.target);
        let to_all = self.tracker.went_to_all(message.ticket, message.id);
        let to = match (outputs.is_broadcast(name.as_bytes()), again) {
            (true, Some(instance)) => Destination::Instance(instance),
            // The others have theirs, and who has left needs none.
            (true, None) if to_all => {
                self.tracker
                    .settle(message.ticket, message.id, &mut self.effects);
                return;
            }
            (true, None) | (false, _) => {
                Destination::Channel(ChannelName::from_slice(name.as_bytes()))
            }
        };
        self.shared
            .counters
            .redelivered
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.dispatch(key, to, message, None);
    }

    /// Whoever waited for a message learns what became of it.
    fn ended(&mut self, waiter: Waiter, outcome: Outcome) {
        let heard = match (waiter, outcome) {
            (Waiter::Operator(physical_id, token), outcome) => {
                let text = match outcome {
                    Outcome::Handled => return,
                    Outcome::Refused(reason) => reason,
                    Outcome::Late => "no answer in time".to_owned(),
                };
                self.answers
                    .push_back((physical_id, token, Answer::Error(text)));
                true
            }
            (Waiter::Port(caller), outcome) => {
                let error = match outcome {
                    Outcome::Refused(reason) => PortError::Failed(reason),
                    Outcome::Handled | Outcome::Late => {
                        self.expired_call(caller.from, &caller.channel)
                    }
                };
                caller.hears(Err(error))
            }
            (Waiter::Delivery(done), outcome) => {
                let outcome = match outcome {
                    // The last one of those it was sent to says so.
                    Outcome::Handled if Rc::strong_count(&done) > 1 => return,
                    Outcome::Handled => Ok(()),
                    Outcome::Refused(reason) => Err(PortError::Failed(reason)),
                    Outcome::Late => Err(PortError::Deadline),
                };
                let done = done.take();
                done.is_some_and(|done| done.send(outcome).is_ok())
            }
        };
        if !heard {
            tracing::debug!("whoever waited for a message has gone away");
        }
    }

    /// Why a call of a port got no answer: its channel may lead to nothing that runs.
    pub(super) fn expired_call(&self, from: PhysicalId, channel: &ChannelName) -> PortError {
        let slot = self.by_id.get(&from).map(|&key| &self.slots[key]);
        match slot.map(|slot| slot.outputs.peek(channel)) {
            Some(Route::Hold) => PortError::Waiting(String::from_utf8_lossy(channel).into_owned()),
            Some(Route::To(_) | Route::Several | Route::Unmapped) | None => PortError::Deadline,
        }
    }
}
