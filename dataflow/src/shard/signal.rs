//! Signals: what became of tracked messages, and what follows from it.

use edgeless_types::{
    PhysicalId,
    message::{Message, MessageId, Signal, SignalKind, Ticket},
};

use super::Shard;
use crate::{
    counters::Drop,
    operator::Destination,
    output::ChannelName,
    track::{Begin, Effect, OpenKey},
};

impl Shard {
    /// Whether a message is to be handled; one that was handled before is acknowledged again.
    pub(super) fn begin_tracked(&mut self, message: &Message, ticket: Ticket) -> Begin {
        let begin = self.tracker.begin(message, ticket);
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
    pub(super) fn track(
        &mut self,
        key: usize,
        channel: usize,
        message: &mut Message,
        parent: Option<OpenKey>,
    ) {
        let slot = &mut self.slots[key];
        if let Some(id) = parent.and_then(|parent| self.tracker.derive(parent)) {
            message.id = id;
        }
        slot.outstanding += 1;
        let me = slot.me.physical_id;
        message.ticket = self.tracker.expect(message.id, me, channel, parent);
    }

    /// Says to the sender of a message that it will not be handled here.
    pub(super) fn refuse_tracked(&mut self, message: &Message, reason: &str, permanent: bool) {
        if message.ticket.is_some() {
            let reason = reason.to_owned();
            self.emit(message, SignalKind::Nack { reason, permanent });
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
    pub(super) fn finish_taken(&mut self, key: usize, id: MessageId, error: Option<&str>) {
        let me = self.slots[key].me.physical_id;
        if let Some(open) = self.tracker.find(me, id) {
            self.close(open, error);
        }
    }

    /// The handling of a tracked message is over.
    pub(super) fn close(&mut self, open: OpenKey, error: Option<&str>) {
        match error {
            None => self.tracker.handled(open, &mut self.effects),
            Some(reason) => self.tracker.failed(open, reason, false, &mut self.effects),
        }
    }

    /// Takes signals from other shards and nodes.
    pub(super) fn on_signals(&mut self, signals: Vec<Signal>) {
        for signal in signals {
            self.tracker.on_signal(signal, self.now, &mut self.effects);
        }
    }

    /// A message that no channel leads anywhere for: its sender need not try again.
    pub(super) fn give_up(&mut self, message: &Message, reason: &str) {
        let (ticket, id) = (message.ticket, message.id);
        self.tracker
            .refused(ticket, id, reason, true, self.now, &mut self.effects);
    }

    /// The outputs of an operator have changed.
    pub(super) fn reroute(&mut self, key: usize) {
        let slot = &self.slots[key];
        if slot.outstanding == 0 {
            return;
        }
        let leads_to = |channel: usize, target| {
            let name = slot.tracked.get(channel);
            name.is_some_and(|name| slot.outputs.target(name.as_bytes(), target).is_some())
        };
        self.tracker
            .rerouted(slot.me.physical_id, leads_to, self.now);
    }

    /// Does what follows from signals, until nothing more follows.
    pub(super) fn carry_out_effects(&mut self) {
        if self.tracker.next_due().is_some_and(|at| at <= self.now) {
            self.tracker.take_due(self.now, &mut self.effects);
        }
        while !self.effects.is_empty() {
            let mut effects = std::mem::take(&mut self.effects_taken);
            std::mem::swap(&mut effects, &mut self.effects);
            for effect in effects.drain(..) {
                self.carry_out(effect);
            }
            self.effects_taken = effects;
        }
    }

    fn carry_out(&mut self, effect: Effect) {
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
                    self.end_if_idle(key);
                }
            }
            Effect::GivenUp => self.shared.counters.dropped(Drop::Refused, 1),
        }
    }

    fn signal(&mut self, signal: Signal) {
        if signal.to.node_id != self.shared.config.node_id {
            self.shared.remote.signal(self.index, signal);
            return;
        }
        if self.key_of(signal.to.physical_id).is_some() {
            self.tracker.on_signal(signal, self.now, &mut self.effects);
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
        let Some(name) = self.slots[key].tracked.get(channel) else {
            return;
        };
        let outputs = &self.slots[key].outputs;
        let again = outputs.target(name.as_bytes(), message.target);
        let to = match (outputs.is_broadcast(name.as_bytes()), again) {
            (true, Some(instance)) => Destination::Instance(instance),
            // The others have theirs, and who has left needs none.
            (true, None) => {
                self.tracker
                    .settle(message.ticket, message.id, &mut self.effects);
                return;
            }
            (false, _) => Destination::Channel(ChannelName::from_slice(name.as_bytes())),
        };
        self.shared
            .counters
            .redelivered
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.dispatch(key, to, message, None);
    }

    /// Sends what waits for other shards; what finds no room waits for the next time.
    pub(super) fn flush_signals(&mut self) {
        for (index, waiting) in self.outgoing_signals.iter_mut().enumerate() {
            if waiting.is_empty() {
                continue;
            }
            if let Ok(permit) = self.shared.shards[index].try_reserve() {
                permit.send(super::Inject::Signals(std::mem::take(waiting)));
            }
        }
    }
}
