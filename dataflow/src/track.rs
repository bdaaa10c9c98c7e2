//! What is outstanding: messages that were sent at least once and are not acknowledged, and messages
//! whose handling is not over as what came of it is outstanding. Pure; one per shard.
//!
//! A tracked message is acknowledged to its sender when its handling is done and everything that came
//! of it on tracked channels is acknowledged itself: so an acknowledgement at the source speaks for the
//! whole way. What comes of a message has ids derived from its id, so that a second handling makes the
//! same ids, and receivers know what they have seen.
//!
//! Nothing here is looked up by a long key on the way of a message: signals carry the ticket of their
//! message, which says where it is kept.

use std::time::Duration;

use edgeless_types::{
    InstanceId, PhysicalId, Timestamp,
    message::{Message, MessageId, Signal, SignalKind, Ticket},
};
use slab::Slab;

use crate::{
    names::{derived, fingerprint},
    seen::{Known, Seen},
};

/// How often a message is sent anew after a negative acknowledgement before it is given up.
const ATTEMPTS: u32 = 5;
/// How long a message waits after a refusal before it is sent anew; doubles with each.
const PAUSE: Duration = Duration::from_millis(10);
/// How often what is outstanding is looked through for what is overdue.
const LOOK: Duration = Duration::from_secs(1);

/// A message that is being handled, or waits for what came of it.
#[derive(Debug)]
struct Open {
    id: MessageId,
    ticket: Ticket,
    me: PhysicalId,
    sender: InstanceId,
    /// How many messages came of it so far.
    made: u64,
    /// How many of them are not acknowledged.
    remaining: usize,
    handled: bool,
}

/// Names a message that is being handled; an old name finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenKey {
    slot: u32,
    id: MessageId,
}

/// A message that is not acknowledged.
#[derive(Debug)]
struct Outgoing {
    id: MessageId,
    from: PhysicalId,
    /// The number of its channel among the tracked ones.
    channel: usize,
    parent: Option<OpenKey>,
    attempts: u32,
    /// The message, once it was sent.
    sent: Option<Message>,
    /// When it is sent again, once it was sent.
    due: Timestamp,
}

/// What a receiver is to do with a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// Handle it.
    New(OpenKey),
    /// It is being handled already.
    Busy,
    /// It was handled: acknowledge it again.
    Done,
}

/// What is to be done after a signal.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    /// Tell a sender.
    Signal(Signal),
    /// Send a message of an instance once more, on a channel of that number.
    Again(PhysicalId, usize, Box<Message>),
    /// So many messages of an instance are outstanding no more.
    Settled(PhysicalId, usize),
    /// A message is given up that nobody upstream waits for.
    GivenUp,
}

/// All that is outstanding on one shard.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    open: Slab<Open>,
    outgoing: Slab<Outgoing>,
    /// When the outgoing messages are looked through next.
    next_look: Timestamp,
    seen: Seen,
}

impl Tracker {
    /// A receiver is about to handle a message.
    pub(crate) fn begin(&mut self, message: &Message, ticket: Ticket) -> Begin {
        let name = fingerprint(message.target, message.id);
        match self.seen.get(name) {
            Some(Known::Open(_)) => return Begin::Busy,
            Some(Known::Done) => return Begin::Done,
            None => {}
        }
        let slot = self.open.insert(Open {
            id: message.id,
            ticket,
            me: message.target,
            sender: message.source,
            made: 0,
            remaining: 0,
            handled: false,
        });
        let key = key(slot, message.id);
        self.seen.open(name, key.slot);
        Begin::New(key)
    }

    /// The name of a message that was begun and is not over.
    pub(crate) fn find(&self, me: PhysicalId, id: MessageId) -> Option<OpenKey> {
        match self.seen.get(fingerprint(me, id))? {
            Known::Open(slot) => Some(OpenKey { slot, id }),
            Known::Done => None,
        }
    }

    /// A message comes of another: its id.
    pub(crate) fn derive(&mut self, parent: OpenKey) -> Option<MessageId> {
        let open = self.open_mut(parent)?;
        open.made += 1;
        Some(derived(open.id, open.made))
    }

    /// A message is to be sent at least once: its ticket.
    pub(crate) fn expect(
        &mut self,
        id: MessageId,
        from: PhysicalId,
        channel: usize,
        parent: Option<OpenKey>,
    ) -> Option<Ticket> {
        if let Some(open) = parent.and_then(|key| self.open_mut(key)) {
            open.remaining += 1;
        }
        let slot = self.outgoing.insert(Outgoing {
            id,
            from,
            channel,
            parent,
            attempts: 0,
            sent: None,
            due: Timestamp::default(),
        });
        u32::try_from(slot + 1).ok().and_then(Ticket::new)
    }

    /// It was sent; unless it is acknowledged it is due again at `due`.
    pub(crate) fn sent(&mut self, message: Message, due: Timestamp) {
        let ticket = message.ticket;
        if let Some(outgoing) = self.outgoing_mut(ticket, message.id) {
            outgoing.sent = Some(message);
            outgoing.due = due;
        }
    }

    /// It was not sent after all.
    pub(crate) fn unsent(&mut self, ticket: Option<Ticket>, id: MessageId) {
        if let Some(outgoing) = self.outgoing_mut(ticket, id) {
            outgoing.sent = None;
        }
    }

    /// The handling of a message is done.
    pub(crate) fn handled(&mut self, key: OpenKey, effects: &mut Vec<Effect>) {
        if let Some(open) = self.open_mut(key) {
            open.handled = true;
            self.close_if_over(key, effects);
        }
    }

    /// The handling of a message failed, and what came of it does not count.
    pub(crate) fn failed(
        &mut self,
        key: OpenKey,
        reason: &str,
        permanent: bool,
        effects: &mut Vec<Effect>,
    ) {
        if self.open_mut(key).is_none() {
            return;
        }
        let open = self.open.remove(key.slot as usize);
        self.seen.forget(fingerprint(open.me, open.id));
        if open.remaining > 0 {
            // A second handling sends them anew, under the same ids.
            let before = self.outgoing.len();
            self.outgoing.retain(|_, it| it.parent != Some(key));
            effects.push(Effect::Settled(open.me, before - self.outgoing.len()));
        }
        let kind = SignalKind::Nack {
            reason: reason.to_owned(),
            permanent,
        };
        effects.push(Effect::Signal(Signal {
            id: open.id,
            ticket: open.ticket,
            to: open.sender,
            kind,
        }));
    }

    /// A signal about a message that was sent from here.
    pub(crate) fn on_signal(&mut self, signal: Signal, now: Timestamp, effects: &mut Vec<Effect>) {
        match signal.kind {
            SignalKind::Ack => self.acknowledged(signal.ticket, signal.id, effects),
            SignalKind::Nack { reason, permanent } => {
                let ticket = Some(signal.ticket);
                self.refused(ticket, signal.id, &reason, permanent, now, effects);
            }
        }
    }

    /// A message needs no acknowledgement any more.
    pub(crate) fn settle(
        &mut self,
        ticket: Option<Ticket>,
        id: MessageId,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(ticket) = ticket {
            self.acknowledged(ticket, id, effects);
        }
    }

    fn acknowledged(&mut self, ticket: Ticket, id: MessageId, effects: &mut Vec<Effect>) {
        if self.outgoing_mut(Some(ticket), id).is_none() {
            return;
        }
        let outgoing = self.outgoing.remove(place(ticket));
        effects.push(Effect::Settled(outgoing.from, 1));
        if let Some(key) = outgoing.parent
            && let Some(open) = self.open_mut(key)
        {
            open.remaining = open.remaining.saturating_sub(1);
            self.close_if_over(key, effects);
        }
    }

    /// A message was not taken, or what came of it failed.
    pub(crate) fn refused(
        &mut self,
        ticket: Option<Ticket>,
        id: MessageId,
        reason: &str,
        permanent: bool,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(outgoing) = self.outgoing_mut(ticket, id) else {
            return;
        };
        outgoing.attempts += 1;
        if !permanent && outgoing.attempts < ATTEMPTS {
            let due = now + PAUSE * (1 << outgoing.attempts);
            outgoing.due = due;
            self.next_look = self.next_look.min(due);
            return;
        }
        let Some(ticket) = ticket else { return };
        let outgoing = self.outgoing.remove(place(ticket));
        effects.push(Effect::Settled(outgoing.from, 1));
        match outgoing.parent {
            Some(key) => self.failed(key, reason, permanent, effects),
            None => effects.push(Effect::GivenUp),
        }
    }

    /// What is due again, and is not yet sent again when this returns.
    pub(crate) fn take_due(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.next_look = now + LOOK;
        for (_, outgoing) in &mut self.outgoing {
            let Some(message) = &outgoing.sent else {
                continue;
            };
            if outgoing.due <= now {
                let message = Box::new(message.clone());
                effects.push(Effect::Again(outgoing.from, outgoing.channel, message));
                outgoing.sent = None;
            } else {
                self.next_look = self.next_look.min(outgoing.due);
            }
        }
    }

    /// When to look for what is due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        (!self.outgoing.is_empty()).then_some(self.next_look)
    }

    /// The channels of an instance lead elsewhere: what went to where none leads now is due at once.
    pub(crate) fn rerouted(
        &mut self,
        from: PhysicalId,
        leads_to: impl Fn(usize, PhysicalId) -> bool,
        now: Timestamp,
    ) {
        for (_, outgoing) in &mut self.outgoing {
            if outgoing.from == from
                && let Some(message) = &outgoing.sent
                && !leads_to(outgoing.channel, message.target)
            {
                outgoing.due = now;
                self.next_look = now;
            }
        }
    }

    /// An instance is gone, with all it had outstanding: its senders learn what it had not finished.
    pub(crate) fn forget(&mut self, me: PhysicalId, effects: &mut Vec<Effect>) {
        self.outgoing.retain(|_, outgoing| outgoing.from != me);
        let open = self.open.iter().filter(|(_, open)| open.me == me);
        let keys: Vec<OpenKey> = open.map(|(slot, open)| key(slot, open.id)).collect();
        for key in keys {
            self.failed(key, "the instance has ended", false, effects);
        }
    }

    fn close_if_over(&mut self, key: OpenKey, effects: &mut Vec<Effect>) {
        let over = self
            .open_mut(key)
            .is_some_and(|open| open.handled && open.remaining == 0);
        if !over {
            return;
        }
        let open = self.open.remove(key.slot as usize);
        self.seen.done(fingerprint(open.me, open.id));
        effects.push(Effect::Signal(Signal {
            id: open.id,
            ticket: open.ticket,
            to: open.sender,
            kind: SignalKind::Ack,
        }));
    }

    fn open_mut(&mut self, key: OpenKey) -> Option<&mut Open> {
        let open = self.open.get_mut(key.slot as usize);
        open.filter(|open| open.id == key.id)
    }

    fn outgoing_mut(&mut self, ticket: Option<Ticket>, id: MessageId) -> Option<&mut Outgoing> {
        let outgoing = self.outgoing.get_mut(place(ticket?));
        outgoing.filter(|outgoing| outgoing.id == id)
    }
}

fn place(ticket: Ticket) -> usize {
    ticket.get() as usize - 1
}

fn key(slot: usize, id: MessageId) -> OpenKey {
    OpenKey {
        slot: u32::try_from(slot).unwrap_or(u32::MAX),
        id,
    }
}

#[cfg(test)]
mod tests;
