//! Where messages go: to an inbox, another shard, another node, or to wait.

use bytes::Bytes;
use edgeless_types::{
    InstanceId,
    message::{Envelope, Message, MessageId, MessageKind},
};

use super::{OUTGOING, Shard, slot::Parked};
use crate::{
    counters::Drop,
    operator::{Answer, CallRef, Destination},
    output::Route,
    port::PortError,
};

/// How much longer an inbox may be for calls than for casts.
const CALLS: usize = 8;

/// Why a message could not be sent now.
enum Blocked {
    /// The way is full: try again.
    Full(Message),
    /// The channel has no instance now: try again after a patch.
    Held(Message),
}

impl Shard {
    /// A new message from an operator; its target is set when it is sent.
    pub(super) fn message(&mut self, key: usize, kind: MessageKind, payload: Bytes) -> Message {
        self.sequence += 1;
        let source = self.slots[key].me;
        Message {
            id: MessageId {
                origin: self.shared.origins[self.index],
                sequence: self.sequence,
            },
            source,
            target: source.physical_id,
            kind,
            envelope: Envelope {
                created: self.now,
                ..Envelope::default()
            },
            payload,
        }
    }

    pub(super) fn answer(&mut self, key: usize, call: CallRef, answer: Answer) {
        let local = self.shared.config.node_id == call.caller.node_id;
        if local && call.id.origin == self.shared.origins[self.index] {
            self.answered(call.id, answer);
            return;
        }
        let (kind, payload) = answer.into_parts();
        let mut message = self.message(key, kind, payload);
        message.id = call.id;
        let to = Destination::Instance(call.caller);
        self.dispatch(
            key,
            Parked {
                to,
                message,
                done: None,
            },
        );
    }

    /// Sends a message, or parks it behind those that wait already.
    pub(super) fn dispatch(&mut self, key: usize, mut parked: Parked) {
        if !self.slots[key].parked.is_empty() {
            self.slots[key].parked.push_back(parked);
            return;
        }
        match self.send(key, &parked.to, parked.message) {
            Ok(outcome) => accepted(parked.done.take(), outcome),
            Err(Blocked::Full(message) | Blocked::Held(message)) => {
                parked.message = message;
                let slot = &mut self.slots[key];
                slot.parked_since = self.now;
                slot.parked.push_back(parked);
                self.blocked.push(key);
            }
        }
    }

    /// Tries what is parked again, everywhere.
    pub(super) fn retry_blocked(&mut self) {
        let keys = std::mem::take(&mut self.blocked);
        for key in keys {
            if self.slots.contains(key) {
                self.retry(key);
            }
        }
    }

    /// Tries what one operator has parked.
    pub(super) fn retry(&mut self, key: usize) {
        while let Some(mut parked) = self.slots[key].parked.pop_front() {
            let blocked = match self.send(key, &parked.to, parked.message) {
                Ok(outcome) => {
                    self.slots[key].parked_since = self.now;
                    accepted(parked.done.take(), outcome);
                    continue;
                }
                Err(blocked) => blocked,
            };
            let (message, timeout) = match blocked {
                Blocked::Full(message) => (message, Some(self.shared.config.park_timeout)),
                Blocked::Held(message) => (message, None),
            };
            let since = self.slots[key].parked_since;
            if timeout.is_some_and(|timeout| self.now.since(since) > timeout) {
                self.shared.counters.dropped(Drop::Parked, 1);
                accepted(parked.done.take(), Err(PortError::Deadline));
                self.slots[key].parked_since = self.now;
                continue;
            }
            parked.message = message;
            self.slots[key].parked.push_front(parked);
            self.blocked.push(key);
            return;
        }
        if !self.slots[key].inbox.is_empty() {
            self.make_ready(key);
        }
        self.end_if_idle(key);
    }

    #[expect(
        clippy::result_large_err,
        reason = "the message itself comes back, unboxed"
    )]
    fn send(
        &mut self,
        key: usize,
        to: &Destination,
        mut message: Message,
    ) -> Result<Result<(), PortError>, Blocked> {
        let target = match to {
            Destination::Instance(instance) => *instance,
            Destination::Channel(name) if name.as_slice() == b"self" => self.slots[key].me,
            Destination::Channel(name) => {
                let slot = &mut self.slots[key];
                match slot.outputs.route(name, &mut self.rng) {
                    Route::To(instance) => instance,
                    Route::Hold => return Err(Blocked::Held(message)),
                    Route::Unmapped => {
                        let name = String::from_utf8_lossy(name).into_owned();
                        return Ok(Err(self.unmapped(message.id, message.kind, name)));
                    }
                }
            }
        };
        message.target = target.physical_id;
        self.send_to(target, message).map(Ok).map_err(Blocked::Full)
    }

    #[expect(
        clippy::result_large_err,
        reason = "the message itself comes back, unboxed"
    )]
    fn send_to(&mut self, target: InstanceId, message: Message) -> Result<(), Message> {
        if target.node_id != self.shared.config.node_id {
            return self.shared.remote.send(self.index, target.node_id, message);
        }
        if let Some(&key) = self.by_id.get(&target.physical_id)
            && !message.kind.is_answer()
        {
            let slot = &mut self.slots[key];
            // Calls are few, as each has a caller that waits; casts must not crowd them out.
            let bound = match message.kind {
                MessageKind::Call => self.shared.config.inbox * CALLS,
                MessageKind::Cast
                | MessageKind::Reply
                | MessageKind::NoReply
                | MessageKind::Error => self.shared.config.inbox,
            };
            if slot.inbox.len() >= bound {
                return Err(message);
            }
            slot.inbox.push_back(message);
            self.make_ready(key);
            return Ok(());
        }
        let shard = if message.kind.is_answer() {
            self.shared
                .origins
                .iter()
                .position(|&origin| origin == message.id.origin)
        } else {
            self.shared.shard_of(target.physical_id)
        };
        match shard {
            Some(shard) if shard != self.index => {
                if self.outgoing[shard].len() >= OUTGOING {
                    return Err(message);
                }
                self.outgoing[shard].push(message);
            }
            Some(_) | None => self.no_instance(&message),
        }
        Ok(())
    }

    fn unmapped(&mut self, id: MessageId, kind: MessageKind, name: String) -> PortError {
        self.shared.counters.dropped(Drop::Unmapped, 1);
        if kind == MessageKind::Call {
            self.answered(id, Answer::Error(format!("output `{name}` leads nowhere")));
        }
        PortError::Unmapped(name)
    }

    /// A message for an instance that is not here: a call is answered at once.
    pub(super) fn no_instance(&mut self, message: &Message) {
        if message.kind.is_answer() {
            self.shared.counters.dropped(Drop::LateAnswer, 1);
            return;
        }
        self.shared.counters.dropped(Drop::NoInstance, 1);
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
            envelope: Envelope {
                created: self.now,
                ..Envelope::default()
            },
            payload: Bytes::from(text),
        };
        if message.source.node_id == self.shared.config.node_id
            && message.id.origin == self.shared.origins[self.index]
        {
            self.answered(answer.id, Answer::from_parts(answer.kind, answer.payload));
        } else if self.send_to(message.source, answer).is_err() {
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

fn accepted(
    done: Option<tokio::sync::oneshot::Sender<Result<(), PortError>>>,
    outcome: Result<(), PortError>,
) {
    if let Some(done) = done
        && done.send(outcome).is_err()
    {
        tracing::debug!("the sender is gone");
    }
}
