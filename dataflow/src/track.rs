//! What is outstanding: messages that were sent and are not acknowledged, calls that are not answered,
//! and messages whose handling is not over as what came of it is outstanding. Pure; one per shard.
//!
//! A tracked message is acknowledged to its sender when its handling is done and what came of it on
//! tracked channels is acknowledged itself, as its [`Policy`] says: so an acknowledgement at the source
//! speaks for the whole way. A message may come of several (a batch) and several of one (a split, a
//! fan-out): what is kept is edges. What comes of a message has ids derived from its id, so that a second
//! handling makes the same ids, and receivers know what they have seen. Who needs a message no more
//! cancels it, and what came of it, along the same edges.
//!
//! Nothing here is looked up by a long key on the way of a message: signals and answers carry the ticket
//! of their message, which says where it is kept.

mod due;
mod effect;
mod handling;
mod parents;

use std::time::Duration;

use edgeless_types::{
    InstanceId, PhysicalId, Timestamp,
    message::{Message, MessageId, Refusal, Signal, SignalKind, Ticket},
};
use slab::Slab;

use crate::{config::ATTEMPTS, counters::Drop, seen::Seen};
pub(crate) use due::Waits;
pub(crate) use effect::{Effect, Outcome};
pub(crate) use handling::Begin;
use handling::Open;
pub use handling::Policy;
pub(crate) use parents::Parents;

/// How long a message waits after a refusal before it is sent anew; doubles with each, up to so often.
const PAUSE: Duration = Duration::from_millis(10);
const DOUBLINGS: u32 = 8;
/// The longest that a receiver may ask a sender to wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Names a message that is being handled; an old name finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenKey {
    slot: u32,
    id: MessageId,
}

/// What ends the waiting for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// An acknowledgement; until then it is sent again, on the tracked channel of that number.
    Ack(usize),
    /// An answer.
    Answer,
}

/// A message that is outstanding.
#[derive(Debug)]
struct Outgoing<W> {
    id: MessageId,
    from: PhysicalId,
    need: Need,
    /// What it came of.
    parents: Parents,
    attempts: u32,
    /// Where it went.
    to: Option<InstanceId>,
    /// The message, once it was sent and where it may be sent again.
    sent: Option<Message>,
    /// When it is sent again, once it was sent; of a call: when nobody waits any more.
    due: Timestamp,
    /// After this it is of no use.
    deadline: Option<Timestamp>,
    /// Who waits for it, besides what it came of.
    waiter: Option<Box<W>>,
    /// Whether its sender is told what becomes of it.
    told: bool,
    /// Whether others went to others, each for itself.
    to_all: bool,
}

/// What a sender says about a message when it is to become outstanding.
pub(crate) struct Expect<W> {
    pub(crate) id: MessageId,
    pub(crate) from: PhysicalId,
    pub(crate) need: Need,
    pub(crate) parents: Parents,
    /// After this it is of no use; of a call: nobody waits any more.
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) waiter: Option<Box<W>>,
    pub(crate) told: bool,
}

/// All that is outstanding on one shard; `W` is who waits for calls.
#[derive(Debug)]
pub(crate) struct Tracker<W> {
    open: Slab<Open>,
    outgoing: Slab<Outgoing<W>>,
    /// When the outgoing messages are looked through next, and when they were last.
    next_look: Timestamp,
    looked: Timestamp,
    seen: Seen,
    /// How often a message is sent before it is given up.
    attempts: u32,
}

impl<W> Default for Tracker<W> {
    fn default() -> Self {
        Self {
            open: Slab::new(),
            outgoing: Slab::new(),
            next_look: Timestamp::default(),
            looked: Timestamp::default(),
            seen: Seen::default(),
            attempts: ATTEMPTS,
        }
    }
}

impl<W> Tracker<W> {
    /// One that gives messages up when they were refused so often.
    pub(crate) fn with_attempts(attempts: u32) -> Self {
        Self {
            attempts: attempts.max(1),
            ..Self::default()
        }
    }

    /// A message becomes outstanding: its ticket.
    pub(crate) fn expect(&mut self, expect: Expect<W>) -> Option<Ticket> {
        for &parent in expect.parents.as_slice() {
            self.has_child(parent, expect.need);
        }
        let due = match (expect.need, expect.deadline) {
            (Need::Answer, Some(deadline)) => deadline,
            (Need::Answer | Need::Ack(_), _) => Timestamp::default(),
        };
        if let Some(deadline) = expect.deadline {
            self.look_at(deadline);
        }
        let slot = self.outgoing.insert(Outgoing {
            id: expect.id,
            from: expect.from,
            need: expect.need,
            parents: expect.parents,
            attempts: 0,
            to: None,
            sent: None,
            due,
            deadline: expect.deadline,
            waiter: expect.waiter,
            told: expect.told,
            to_all: false,
        });
        u32::try_from(slot + 1).ok().and_then(Ticket::new)
    }

    /// It was sent; unless it is acknowledged it is due again at `due`.
    pub(crate) fn sent(&mut self, message: Message, to: InstanceId, due: Timestamp) {
        let ticket = message.ticket;
        if let Some(outgoing) = self.outgoing_mut(ticket, message.id) {
            outgoing.to = Some(to);
            outgoing.sent = Some(message);
            outgoing.due = due;
        }
    }

    /// The answer to a call is here: who waits for it? None when nobody does (any more).
    pub(crate) fn answered(&mut self, ticket: Option<Ticket>, id: MessageId) -> Option<W> {
        let outgoing = self.outgoing_mut(ticket, id)?;
        if outgoing.need != Need::Answer {
            return None;
        }
        let outgoing = self.outgoing.remove(place(ticket?));
        outgoing.waiter.map(|waiter| *waiter)
    }

    /// A signal about a message that was sent from here.
    pub(crate) fn on_signal(
        &mut self,
        signal: Signal,
        now: Timestamp,
        effects: &mut Vec<Effect<W>>,
    ) {
        match signal.kind {
            SignalKind::Ack => self.acknowledged(signal.ticket, signal.id, effects),
            SignalKind::Nack(refusal) => {
                self.refused(Some(signal.ticket), signal.id, refusal, now, effects);
            }
            SignalKind::Cancel => {
                self.cancelled(signal.to.physical_id, signal.id, effects);
            }
        }
    }

    /// A message needs no acknowledgement any more: it counts as acknowledged.
    pub(crate) fn settle(
        &mut self,
        ticket: Option<Ticket>,
        id: MessageId,
        effects: &mut Vec<Effect<W>>,
    ) {
        if let Some(outgoing) = self.outgoing_mut(ticket, id) {
            outgoing.told = false;
        }
        if let Some(ticket) = ticket {
            self.acknowledged(ticket, id, effects);
        }
    }

    fn acknowledged(&mut self, ticket: Ticket, id: MessageId, effects: &mut Vec<Effect<W>>) {
        let Some(outgoing) = self.take_tracked(ticket, id) else {
            return;
        };
        effects.push(Effect::Settled(outgoing.from, 1));
        if let Some(waiter) = outgoing.waiter {
            effects.push(Effect::Ended(waiter, Outcome::Handled));
        }
        if outgoing.told {
            let (from, need, parents) = (outgoing.from, outgoing.need, outgoing.parents);
            effects.push(Effect::Acknowledged(from, id, need, parents));
        } else {
            self.count_for(&outgoing.parents, outgoing.need, effects);
        }
    }

    /// What came of these messages is acknowledged.
    pub(crate) fn count_for(
        &mut self,
        parents: &Parents,
        need: Need,
        effects: &mut Vec<Effect<W>>,
    ) {
        for &parent in parents.as_slice() {
            self.child_acknowledged(parent, need, effects);
        }
    }

    /// A message was not taken, or what came of it failed.
    pub(crate) fn refused(
        &mut self,
        ticket: Option<Ticket>,
        id: MessageId,
        refusal: Box<Refusal>,
        now: Timestamp,
        effects: &mut Vec<Effect<W>>,
    ) {
        let Some(outgoing) = self.outgoing_mut(ticket, id) else {
            return;
        };
        match (outgoing.need, ticket) {
            (Need::Ack(_), Some(ticket)) if outgoing.told => {
                effects.push(Effect::Refused(outgoing.from, id, ticket, refusal));
            }
            (Need::Ack(_), _) => self.try_again(ticket, id, &refusal, now, effects),
            (Need::Answer, _) => {}
        }
    }

    /// A refused message is sent again after a pause, or given up.
    pub(crate) fn try_again(
        &mut self,
        ticket: Option<Ticket>,
        id: MessageId,
        refusal: &Refusal,
        now: Timestamp,
        effects: &mut Vec<Effect<W>>,
    ) {
        let most = self.attempts;
        let Some(outgoing) = self.outgoing_mut(ticket, id) else {
            return;
        };
        outgoing.attempts += 1;
        let pause = PAUSE * (1 << outgoing.attempts.min(DOUBLINGS));
        let pause = refusal.retry_after.unwrap_or(pause).min(LONGEST_PAUSE);
        let in_time = outgoing.deadline.is_none_or(|it| now + pause < it);
        if !refusal.permanent && outgoing.attempts < most && in_time {
            outgoing.due = now + pause;
            self.look_at(now + pause);
            return;
        }
        self.give_up(ticket, id, refusal, Drop::Refused, effects);
    }

    fn give_up(
        &mut self,
        ticket: Option<Ticket>,
        id: MessageId,
        refusal: &Refusal,
        why: Drop,
        effects: &mut Vec<Effect<W>>,
    ) {
        let Some(outgoing) = ticket.and_then(|ticket| self.take_tracked(ticket, id)) else {
            return;
        };
        effects.push(Effect::Settled(outgoing.from, 1));
        if let Some(waiter) = outgoing.waiter {
            let outcome = Outcome::Refused(refusal.reason.clone());
            effects.push(Effect::Ended(waiter, outcome));
        } else if !outgoing
            .parents
            .as_slice()
            .iter()
            .any(|&it| self.is_open(it))
        {
            effects.push(Effect::GivenUp(why));
        }
        for &parent in outgoing.parents.as_slice() {
            self.child_failed(parent, outgoing.need, refusal, effects);
        }
    }

    fn take_tracked(&mut self, ticket: Ticket, id: MessageId) -> Option<Outgoing<W>> {
        let outgoing = self.outgoing_mut(Some(ticket), id)?;
        (outgoing.need != Need::Answer).then(|| self.outgoing.remove(place(ticket)))
    }

    fn outgoing_mut(&mut self, ticket: Option<Ticket>, id: MessageId) -> Option<&mut Outgoing<W>> {
        let outgoing = self.outgoing.get_mut(place(ticket?));
        outgoing.filter(|outgoing| outgoing.id == id)
    }
}

impl<W> Outgoing<W> {
    /// What follows when nobody waits for it any more: who got it learns it, or it is not sent.
    fn cancelled(&self, ticket: Option<Ticket>, effects: &mut Vec<Effect<W>>) {
        if let (Some(to), Some(ticket)) = (self.to, ticket) {
            effects.push(cancel(self.id, ticket, to));
        }
        self.withdrawn(false, effects);
    }

    fn withdrawn(&self, anew: bool, effects: &mut Vec<Effect<W>>) {
        let sent = self.sent.is_some() || self.need == Need::Answer && self.to.is_some();
        if !sent {
            effects.push(Effect::Withdraw(self.from, self.id, anew));
        }
    }
}

fn cancel<W>(id: MessageId, ticket: Ticket, to: InstanceId) -> Effect<W> {
    let kind = SignalKind::Cancel;
    Effect::Signal(Signal {
        id,
        ticket,
        to,
        kind,
    })
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
mod edges;
#[cfg(test)]
mod tests;
