//! Where messages go: to an inbox, another shard, another node, or to wait.

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use edgeless_types::{
    InstanceId, PhysicalId,
    message::{Envelope, MAX_CALLERS, Message, MessageId, MessageKind},
};

use rand::{SeedableRng, rngs::SmallRng};

use super::{
    Shard,
    park::accepted,
    slot::{Done, Entrance, Parked, Wait},
};
use crate::{
    counters::Drop,
    gate::Gate,
    names::{derived, mix},
    operator::{Answer, CallRef, Destination},
    output::{ChannelName, Route},
    port::PortError,
};

/// The largest payload that goes to another node, in bytes.
pub const FAR_PAYLOAD: usize = 48 << 20;
/// Gates of instances on other shards that a shard remembers.
const GATES: usize = 65_536;
/// How much longer an inbox may be for calls than for casts.
const CALLS: usize = 8;

impl Shard {
    /// An id that there was never before.
    #[inline]
    pub(super) fn next_id(&mut self) -> MessageId {
        self.sequence += 1;
        MessageId {
            origin: self.shared.origins[self.index],
            sequence: self.sequence,
        }
    }

    /// A new message from an operator; its target is set when it is sent.
    #[inline]
    pub(super) fn message(&mut self, key: usize, kind: MessageKind, payload: Bytes) -> Message {
        let source = self.slots[key].me;
        Message {
            id: self.next_id(),
            source,
            target: source.physical_id,
            kind,
            ticket: None,
            envelope: Envelope {
                created: self.now,
                deadline: self.slots[key].use_by(self.now),
                extra: None,
            },
            payload,
        }
    }

    pub(super) fn answer(&mut self, key: usize, call: CallRef, answer: Answer) {
        let local = self.shared.config.node_id == call.caller.node_id;
        if local && call.id.origin == self.shared.origins[self.index] {
            self.answered(call.id, call.ticket, answer);
            return;
        }
        let (kind, payload) = answer.into_parts();
        let mut message = self.message(key, kind, payload);
        message.id = call.id;
        message.ticket = call.ticket;
        message.envelope.deadline = None;
        message.target = call.caller.physical_id;
        // Whatever its operator waits for, an answer does not: its caller may be what must go on.
        if let Err((wait, message)) = self.send_to(call.caller, message, 1) {
            let to = Destination::Instance(call.caller);
            let done = None;
            self.park(key, wait, Parked { to, message, done });
        }
    }

    /// Sends a message if there is room within so many times the bound of its target.
    #[inline]
    #[expect(
        clippy::result_large_err,
        reason = "the message itself comes back, unboxed"
    )]
    pub(super) fn try_send(
        &mut self,
        key: usize,
        to: &Destination,
        mut message: Message,
        done: &mut Done,
        times: usize,
    ) -> Result<(), (Wait, Message)> {
        let slot = &mut self.slots[key];
        let mut others = None;
        let target = match to {
            Destination::Instance(instance) => *instance,
            Destination::Channel(name) if name.as_slice() == b"self" => slot.me,
            Destination::Channel(name) if !slot.held.is_empty() && slot.holds(name) => {
                return self.hold(key, name, message, done);
            }
            Destination::Channel(name) => match slot.outputs.route(name) {
                Route::To(instance) => instance,
                Route::Several => match slot.outputs.broadcast(name) {
                    Some(instances) if message.kind == MessageKind::Cast => {
                        slot.outputs.sent(name, instances[0]);
                        others = Some((name, instances.clone(), message.clone()));
                        instances[0]
                    }
                    Some(_) | None => self.choose(key, name, &message),
                },
                Route::Hold => return self.hold(key, name, message, done),
                Route::Unmapped => {
                    self.unmapped(name, &message, done);
                    return Ok(());
                }
            },
        };
        message.target = target.physical_id;
        if message.kind == MessageKind::Call && self.goes_round(key, &message, target) {
            return Ok(());
        }
        match message.kind {
            MessageKind::Cast if message.ticket.is_some() => {
                let due = self.now + self.shared.config.ack_timeout;
                self.tracker.sent(message.clone(), target, due);
            }
            MessageKind::Call => self.tracker.called(message.ticket, message.id, target),
            MessageKind::Cast | MessageKind::Reply | MessageKind::NoReply | MessageKind::Error => {}
        }
        match self.send_to(target, message, times) {
            Ok(()) => {
                if let Some((name, instances, message)) = others {
                    self.send_to_others(key, name, &message, &instances[1..], done);
                }
                accepted(done, Ok(()));
                Ok(())
            }
            Err((wait, message)) => {
                if let Destination::Channel(name) = to {
                    self.slots[key].outputs.unsent(name, target);
                }
                self.tracker.unsent(message.ticket, message.id);
                Err((wait, message))
            }
        }
    }

    /// Answers a call that waits for itself: its target waits for it, directly or over others. So is one
    /// for which too many wait.
    fn goes_round(&mut self, key: usize, message: &Message, target: InstanceId) -> bool {
        let extra = message.envelope.extra.as_ref();
        let callers = extra.map_or(&[][..], |extra| &extra.callers);
        let text = match callers.iter().position(|&caller| caller == target) {
            Some(from) => {
                let path = callers[from..].iter().chain([&target]);
                let path: Vec<String> = path.map(|it| it.physical_id.to_string()).collect();
                self.shared.counters.circles.fetch_add(1, Relaxed);
                format!("a circle of calls: {}", path.join(" → "))
            }
            None if callers.len() > MAX_CALLERS => {
                format!("more than {MAX_CALLERS} instances wait for one another's answers")
            }
            None => return false,
        };
        self.log(key, "fault".to_owned(), text.clone());
        self.answered(message.id, message.ticket, Answer::Error(text));
        true
    }

    /// Sends what has gone to one instance of a channel to the others as well; a port waits until the
    /// last is sent.
    #[cold]
    fn send_to_others(
        &mut self,
        key: usize,
        name: &ChannelName,
        message: &Message,
        others: &[InstanceId],
        done: &mut Done,
    ) {
        let tracks = self.slots[key].tracks(&Destination::Channel(name.clone()));
        for (index, &instance) in others.iter().enumerate() {
            let mut message = message.clone();
            let (high, low) = instance.physical_id.uuid().as_u64_pair();
            let before = (message.ticket.take(), message.id);
            message.id = derived(message.id, mix(high) ^ low);
            if let Some(channel) = tracks
                && !self.track_like(key, channel, &mut message, before)
            {
                return;
            }
            self.slots[key].outputs.sent(name, instance);
            let last = index + 1 == others.len();
            let done = if last { done.take() } else { None };
            self.dispatch(key, Destination::Instance(instance), message, done);
        }
    }

    /// Chooses one of the several instances of a channel.
    fn choose(&mut self, key: usize, name: &ChannelName, message: &Message) -> InstanceId {
        let slot = &mut self.slots[key];
        let (me, mut outputs) = (slot.me, std::mem::take(&mut slot.outputs));
        let mut rng = std::mem::replace(&mut self.rng, SmallRng::seed_from_u64(0));
        let chosen = outputs.choose(name, message, &mut rng, |instance| self.waiting(instance));
        self.rng = rng;
        self.slots[key].outputs = outputs;
        chosen.unwrap_or(me)
    }

    /// How much waits for an instance or is in its hands, by weight, as far as that is known here.
    fn waiting(&self, instance: InstanceId) -> usize {
        if instance.node_id != self.shared.config.node_id {
            return self.shared.remote.waiting(self.index, instance);
        }
        match self.by_id.get(&instance.physical_id) {
            Some(&key) => self.slots[key].gate.load(),
            None => self
                .shared
                .gate(instance.physical_id)
                .map_or(0, |gate| gate.load()),
        }
    }

    #[expect(
        clippy::result_large_err,
        reason = "the message itself comes back, unboxed"
    )]
    #[inline]
    fn send_to(
        &mut self,
        target: InstanceId,
        message: Message,
        times: usize,
    ) -> Result<(), (Wait, Message)> {
        if target.node_id != self.shared.config.node_id {
            return self.send_far(target, message);
        }
        if message.kind.is_answer() {
            let mut origins = self.shared.origins.iter();
            match origins.position(|&origin| origin == message.id.origin) {
                Some(shard) if shard != self.index => self.outgoing[shard].push(message),
                Some(_) => self.accept_uncounted(message),
                None => self.no_instance(&message),
            }
            return Ok(());
        }
        // Calls are few, as each has a caller that waits; casts must not crowd them out.
        let times = match message.kind {
            MessageKind::Call => times * CALLS,
            MessageKind::Cast | MessageKind::Reply | MessageKind::NoReply | MessageKind::Error => {
                times
            }
        };
        if let Some(key) = self.key_of(target.physical_id) {
            if self.hops_left > 0 && self.hand.is_none() && self.is_at_leisure(key) {
                self.hand = Some((key, message));
                return Ok(());
            }
            if self.slots[key].local >= self.shared.config.inbox * times {
                return Err((Wait::Full, message));
            }
            self.enqueue(key, message, Entrance::Local);
            return Ok(());
        }
        let here = self.index;
        let Some(gate) = self.gate(target.physical_id) else {
            self.no_instance(&message);
            return Ok(());
        };
        // An instance of this shard that is not here yet is about to start.
        let shard = gate.shard();
        if shard == here || !gate.admit(here, times, message.weight()) {
            return Err((Wait::Full, message));
        }
        self.outgoing[shard].push(message);
        Ok(())
    }

    #[expect(
        clippy::result_large_err,
        reason = "the message itself comes back, unboxed"
    )]
    fn send_far(&mut self, target: InstanceId, message: Message) -> Result<(), (Wait, Message)> {
        if message.payload.len() > FAR_PAYLOAD {
            self.shared.counters.dropped(Drop::TooLarge, 1);
            self.give_up(&message, "too large for the way to another node");
            if message.kind == MessageKind::Call {
                let size = message.payload.len();
                let text = format!(
                    "{size} bytes are more than the {FAR_PAYLOAD} a message to another node may have"
                );
                self.answered(message.id, message.ticket, Answer::Error(text));
            }
            return Ok(());
        }
        let sent = self.shared.remote.send(self.index, target.node_id, message);
        sent.map_err(|message| (Wait::Far, message))
    }

    /// The gate of an instance of another shard, looked up once.
    pub(super) fn gate(&mut self, physical_id: PhysicalId) -> Option<&Gate> {
        let known = self.gates.get(&physical_id);
        if known.is_none_or(|gate| gate.is_closed()) {
            self.gates.remove(&physical_id);
            let gate = self.shared.gate(physical_id)?;
            if self.gates.len() >= GATES {
                self.gates.clear();
            }
            self.gates.insert(physical_id, gate);
        }
        self.gates.get(&physical_id).map(|gate| &**gate)
    }

    fn unmapped(&mut self, name: &ChannelName, message: &Message, done: &mut Done) {
        self.shared.counters.dropped(Drop::Unmapped, 1);
        self.give_up(message, "its channel leads nowhere");
        let call = message.kind == MessageKind::Call;
        if !call && done.is_none() {
            return;
        }
        let name = String::from_utf8_lossy(name).into_owned();
        if call {
            let text = format!("output `{name}` leads nowhere");
            self.answered(message.id, message.ticket, Answer::Error(text));
        }
        accepted(done, Err(PortError::Unmapped(name)));
    }

    /// A message for an instance that is not here: a call is answered at once.
    pub(super) fn no_instance(&mut self, message: &Message) {
        if message.kind.is_answer() {
            self.shared.counters.dropped(Drop::LateAnswer, 1);
            return;
        }
        self.shared.counters.dropped(Drop::NoInstance, 1);
        self.refuse_tracked(message, "the instance does not run here", false);
        if message.kind == MessageKind::Call {
            let text = format!("instance {} does not run here", message.target);
            self.refuse(message, text);
        }
    }

    /// Answers a call that no operator will handle.
    pub(super) fn refuse(&mut self, message: &Message, text: String) {
        let answer = Message {
            id: message.id,
            source: InstanceId {
                node_id: self.shared.config.node_id,
                physical_id: message.target,
            },
            target: message.source.physical_id,
            kind: MessageKind::Error,
            ticket: message.ticket,
            envelope: Envelope {
                created: self.now,
                ..Envelope::default()
            },
            payload: Bytes::from(text),
        };
        if message.source.node_id == self.shared.config.node_id
            && message.id.origin == self.shared.origins[self.index]
        {
            let text = Answer::from_parts(answer.kind, answer.payload);
            self.answered(answer.id, answer.ticket, text);
        } else if self.send_to(message.source, answer, 1).is_err() {
            self.shared.counters.dropped(Drop::Parked, 1);
        }
    }

    /// Sends what waits for other shards.
    pub(super) fn flush_outgoing(&mut self) {
        for (index, waiting) in self.outgoing.iter_mut().enumerate() {
            if waiting.is_empty() {
                continue;
            }
            if let Ok(permit) = self.shared.data[index].try_reserve() {
                permit.send(std::mem::take(waiting));
            }
        }
    }
}
