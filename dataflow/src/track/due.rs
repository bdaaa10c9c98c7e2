//! What is overdue, lost, or of no use any more: sent again, given up, or forgotten.

use std::time::Duration;

use edgeless_types::{
    InstanceId, NodeId, PhysicalId, Timestamp,
    message::{MessageId, Refusal, Ticket},
};

use crate::counters::Drop;

use super::{Effect, Need, OpenKey, Outcome, Outgoing, Parents, Tracker, key};

/// How often what is outstanding is looked through for what is overdue.
const LOOK: Duration = Duration::from_secs(1);
/// How often at most: deadlines are kept this exactly.
const GRAIN: Duration = Duration::from_millis(1);

/// Somebody who waits for what becomes of a message.
pub(crate) trait Waits {
    /// Whether it has gone away.
    fn is_gone(&self) -> bool;

    /// Its message went there, or it is yet to be sent.
    fn went(&mut self, to: Option<InstanceId>);

    /// One that waits for another message as well as this one does, where that is possible.
    fn share(&self) -> Option<Self>
    where
        Self: Sized;
}

impl<W: Waits> Tracker<W> {
    /// A call went there.
    pub(crate) fn called(&mut self, ticket: Option<Ticket>, id: MessageId, to: InstanceId) {
        self.goes(ticket, id, Some(to));
    }

    /// It was not sent after all.
    pub(crate) fn unsent(&mut self, ticket: Option<Ticket>, id: MessageId) {
        self.goes(ticket, id, None);
        if let Some(outgoing) = self.outgoing_mut(ticket, id) {
            outgoing.sent = None;
        }
    }

    fn goes(&mut self, ticket: Option<Ticket>, id: MessageId, to: Option<InstanceId>) {
        if let Some(outgoing) = self.outgoing_mut(ticket, id) {
            outgoing.to = to;
            if let Some(waiter) = &mut outgoing.waiter {
                waiter.went(to);
            }
        }
    }

    /// What an outstanding message comes of, and who waits for it: another one is sent just like it.
    pub(crate) fn shared(
        &mut self,
        ticket: Option<Ticket>,
        id: MessageId,
    ) -> Option<(Parents, Option<Box<W>>)> {
        let outgoing = self.outgoing_mut(ticket, id)?;
        outgoing.to_all = true;
        let waiter = outgoing.waiter.as_deref().and_then(W::share);
        Some((outgoing.parents.clone(), waiter.map(Box::new)))
    }

    /// What is due again, and is not yet sent again when this returns; what is past its deadline ends.
    pub(crate) fn take_due(&mut self, now: Timestamp, effects: &mut Vec<Effect<W>>) {
        (self.looked, self.next_look) = (now, now + LOOK);
        let (mut late, mut next) = (Vec::new(), self.next_look);
        for (slot, outgoing) in &mut self.outgoing {
            let deadline = match outgoing.need {
                Need::Answer => Some(outgoing.due),
                Need::Ack(_) => outgoing.deadline,
            };
            let gone = outgoing.waiter.as_ref().is_some_and(|it| it.is_gone());
            if gone || deadline.is_some_and(|deadline| deadline <= now) {
                late.push((slot, outgoing.id));
                continue;
            }
            next = deadline.map_or(next, |deadline| next.min(deadline));
            let (Need::Ack(channel), Some(message)) = (outgoing.need, &outgoing.sent) else {
                continue;
            };
            if outgoing.due <= now {
                let message = Box::new(message.clone());
                effects.push(Effect::Again(outgoing.from, channel, message));
                outgoing.sent = None;
            } else {
                next = next.min(outgoing.due);
            }
        }
        self.next_look = next.max(now + GRAIN);
        for (slot, id) in late {
            self.too_late(slot, id, effects);
        }
    }

    fn too_late(&mut self, slot: usize, id: MessageId, effects: &mut Vec<Effect<W>>) {
        let ticket = u32::try_from(slot + 1).ok().and_then(Ticket::new);
        let Some(outgoing) = self.outgoing_mut(ticket, id) else {
            return;
        };
        outgoing.cancelled(ticket, effects);
        match outgoing.need {
            Need::Answer => {
                let outgoing = self.outgoing.remove(slot);
                let waiter = outgoing.waiter;
                effects.extend(waiter.map(|it| Effect::Ended(it, Outcome::Late)));
            }
            Need::Ack(_) => {
                let refusal = Refusal::permanent("past its deadline");
                self.give_up(ticket, id, &refusal, Drop::Deadline, effects);
            }
        }
    }
}

impl<W> Tracker<W> {
    /// Others like an outstanding message go to others.
    pub(crate) fn goes_to_all(&mut self, ticket: Option<Ticket>, id: MessageId) {
        if let Some(outgoing) = self.outgoing_mut(ticket, id) {
            outgoing.to_all = true;
        }
    }

    /// Whether others like an outstanding message went to others.
    pub(crate) fn went_to_all(&mut self, ticket: Option<Ticket>, id: MessageId) -> bool {
        let outgoing = self.outgoing_mut(ticket, id);
        outgoing.is_some_and(|outgoing| outgoing.to_all)
    }

    /// Somebody who waited has gone away: who it was is looked for soon.
    pub(crate) fn hung_up(&mut self, now: Timestamp) {
        self.look_at(now);
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
                && let Need::Ack(channel) = outgoing.need
                && let Some(message) = &outgoing.sent
                && !leads_to(channel, message.target)
            {
                outgoing.due = now;
                self.next_look = now;
            }
        }
    }

    /// The way to a node broke: what went there may be lost, and is due at once; answers from there may be
    /// lost as well, and whoever waits for one waits no longer.
    pub(crate) fn lost(&mut self, peer: NodeId, now: Timestamp, effects: &mut Vec<Effect<W>>) {
        let mut calls = Vec::new();
        for (slot, outgoing) in &mut self.outgoing {
            if outgoing.to.is_none_or(|to| to.node_id != peer) {
                continue;
            }
            if outgoing.need == Need::Answer {
                calls.push(slot);
            } else if outgoing.sent.is_some() {
                outgoing.due = now;
                self.next_look = now;
            }
        }
        for slot in calls {
            let reason = "the connection to its node broke".to_owned();
            let waiter = self.outgoing.remove(slot).waiter;
            effects.extend(waiter.map(|it| Effect::Ended(it, Outcome::Refused(reason))));
        }
    }

    /// An instance is gone, with all it had outstanding: its senders learn what it had not finished, and
    /// those it called that nobody waits.
    pub(crate) fn forget(&mut self, me: PhysicalId, effects: &mut Vec<Effect<W>>) {
        self.drop_outgoing(|outgoing| outgoing.from == me, false, effects);
        let open = self.open.iter().filter(|(_, open)| open.me == me);
        let keys: Vec<OpenKey> = open.map(|(slot, open)| key(slot, open.id)).collect();
        for key in keys {
            self.failed(key, Refusal::passing("the instance has ended"), effects);
        }
    }

    /// Forgets outgoing messages; who got a call, or anything when it `cancels`, learns that nobody
    /// waits. How many need no acknowledgement any more.
    pub(super) fn drop_outgoing(
        &mut self,
        which: impl Fn(&Outgoing<W>) -> bool,
        cancels: bool,
        effects: &mut Vec<Effect<W>>,
    ) -> usize {
        let mut tracked = 0;
        self.outgoing.retain(|slot, outgoing| {
            if !which(outgoing) {
                return true;
            }
            let ticket = u32::try_from(slot + 1).ok().and_then(Ticket::new);
            let cancels = cancels || outgoing.need == Need::Answer;
            match cancels {
                true => outgoing.cancelled(ticket, effects),
                false => outgoing.withdrawn(true, effects),
            }
            tracked += usize::from(outgoing.need != Need::Answer);
            false
        });
        tracked
    }

    pub(super) fn look_at(&mut self, at: Timestamp) {
        self.next_look = self.next_look.min(at.max(self.looked + GRAIN));
    }
}
