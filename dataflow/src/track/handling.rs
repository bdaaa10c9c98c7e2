//! Messages that are being handled, or wait for what came of them.

pub use edgeless_types::delivery::AckPolicy as Policy;
use edgeless_types::{
    InstanceId, PhysicalId, Timestamp,
    message::{Message, MessageId, Refusal, Signal, SignalKind, Ticket},
};

use super::{Effect, Need, OpenKey, Parents, Tracker, key};
use crate::{
    counters::Drop,
    names::{derived, fingerprint, joined},
    seen::Known,
};

/// A message that is being handled, or waits for what came of it.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: MessageId,
    /// Its name at its receiver.
    name: u64,
    ticket: Ticket,
    pub(super) me: PhysicalId,
    sender: InstanceId,
    /// How many messages came of it so far.
    made: u64,
    /// How many of them are not acknowledged and are waited for.
    remaining: u32,
    /// Whether one of them is acknowledged, and whether one of them was given up.
    any: bool,
    lost: bool,
    handled: bool,
    policy: Policy,
    deadline: Option<Timestamp>,
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

impl<W> Tracker<W> {
    /// A receiver is about to handle a message.
    pub(crate) fn begin(&mut self, message: &Message, ticket: Ticket, policy: Policy) -> Begin {
        let name = fingerprint(message.target, message.id);
        match self.seen.get(name) {
            Some(Known::Open(slot)) => {
                // Who sent it again has forgotten the ticket of the first time.
                if let Some(open) = self.open_mut(OpenKey {
                    slot,
                    id: message.id,
                }) {
                    (open.ticket, open.sender) = (ticket, message.source);
                }
                return Begin::Busy;
            }
            Some(Known::Done) => return Begin::Done,
            None => {}
        }
        let slot = self.open.insert(Open {
            id: message.id,
            name,
            ticket,
            me: message.target,
            sender: message.source,
            made: 0,
            remaining: 0,
            any: false,
            lost: false,
            handled: false,
            policy,
            deadline: message.envelope.deadline,
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

    /// Whether a message is still being handled, and not cancelled or failed.
    pub(crate) fn is_open(&self, key: OpenKey) -> bool {
        self.open_at(key).is_some()
    }

    /// A message comes of others: its id. None: they are over.
    pub(crate) fn derive(&mut self, parents: &Parents) -> Option<MessageId> {
        let mut id = None;
        for &parent in parents.as_slice() {
            let Some(open) = self.open_mut(parent) else {
                continue;
            };
            open.made += 1;
            let own = derived(open.id, open.made);
            id = Some(id.map_or(own, |id| joined(id, own)));
        }
        id
    }

    /// The first moment after which one of several messages is of no use.
    pub(crate) fn deadline(&self, parents: &Parents) -> Option<Timestamp> {
        let open = parents.as_slice().iter().filter_map(|&it| self.open_at(it));
        open.filter_map(|open| open.deadline).min()
    }

    /// The handling of a message is done.
    pub(crate) fn handled(&mut self, key: OpenKey, effects: &mut Vec<Effect<W>>) {
        if let Some(open) = self.open_mut(key) {
            open.handled = true;
            self.close_if_over(key, effects);
        }
    }

    /// A message counts as handled now, whatever becomes of what came of it.
    pub(crate) fn acknowledge(&mut self, key: OpenKey, effects: &mut Vec<Effect<W>>) {
        if self.is_open(key) {
            self.close(key, effects);
        }
    }

    /// The handling of a message failed, and what came of it does not count: a second handling sends it
    /// anew, under the same ids. When there will be none, it is cancelled.
    pub(crate) fn failed(&mut self, key: OpenKey, refusal: Refusal, effects: &mut Vec<Effect<W>>) {
        let Some(open) = self.end(key, refusal.permanent, effects) else {
            return;
        };
        effects.push(open.says(SignalKind::Nack(Box::new(refusal))));
    }

    /// Nobody waits for a message any more.
    pub(crate) fn cancelled(
        &mut self,
        me: PhysicalId,
        id: MessageId,
        effects: &mut Vec<Effect<W>>,
    ) {
        if let Some(key) = self.find(me, id) {
            self.end(key, true, effects);
        }
    }

    /// Forgets a message that is being handled, and what came of it alone.
    fn end(&mut self, key: OpenKey, cancels: bool, effects: &mut Vec<Effect<W>>) -> Option<Open> {
        self.open_mut(key)?;
        let open = self.open.remove(key.slot as usize);
        self.seen.forget(open.name);
        if open.made > 0 {
            self.drop_children(key, open.me, cancels, effects);
        }
        Some(open)
    }

    fn drop_children(
        &mut self,
        key: OpenKey,
        me: PhysicalId,
        cancels: bool,
        effects: &mut Vec<Effect<W>>,
    ) {
        // When this comes again it has the same name, and nothing to do with what came of it before.
        for (_, outgoing) in &mut self.outgoing {
            outgoing.parents.forget(key);
        }
        let tracked = self.drop_outgoing(|it| it.parents == Parents::One(key), cancels, effects);
        if tracked > 0 {
            effects.push(Effect::Settled(me, tracked));
        }
    }

    /// A message that is outstanding came of this one.
    pub(super) fn has_child(&mut self, parent: OpenKey, need: Need) {
        if let Some(open) = self.open_mut(parent)
            && open.waits_for(need)
        {
            open.remaining += 1;
        }
    }

    /// What came of a message is acknowledged.
    pub(super) fn child_acknowledged(
        &mut self,
        parent: OpenKey,
        need: Need,
        effects: &mut Vec<Effect<W>>,
    ) {
        if let Some(open) = self.open_mut(parent)
            && open.waits_for(need)
        {
            open.remaining = open.remaining.saturating_sub(1);
            open.any = true;
            self.close_if_over(parent, effects);
        }
    }

    /// What came of a message is given up.
    pub(super) fn child_failed(
        &mut self,
        parent: OpenKey,
        need: Need,
        refusal: &Refusal,
        effects: &mut Vec<Effect<W>>,
    ) {
        let Some(open) = self.open_mut(parent) else {
            return;
        };
        if !open.waits_for(need) {
            effects.push(Effect::GivenUp(Drop::Refused));
            return;
        }
        if open.policy == Policy::Any {
            open.remaining = open.remaining.saturating_sub(1);
            open.lost = true;
            self.close_if_over(parent, effects);
        } else {
            self.failed(parent, refusal.clone(), effects);
        }
    }

    fn close_if_over(&mut self, key: OpenKey, effects: &mut Vec<Effect<W>>) {
        let Some(open) = self.open_mut(key) else {
            return;
        };
        if !open.handled || open.remaining > 0 && !(open.policy == Policy::Any && open.any) {
            return;
        }
        match open.lost && !open.any {
            false => self.close(key, effects),
            true => {
                let refusal = Refusal::passing("none of the ways it took came to its end");
                self.failed(key, refusal, effects);
            }
        }
    }

    fn close(&mut self, key: OpenKey, effects: &mut Vec<Effect<W>>) {
        let open = self.open.remove(key.slot as usize);
        self.seen.done(open.name);
        if open.remaining > 0 && open.policy == Policy::Any {
            self.drop_children(key, open.me, true, effects);
        }
        effects.push(open.says(SignalKind::Ack));
    }

    fn open_at(&self, key: OpenKey) -> Option<&Open> {
        let open = self.open.get(key.slot as usize);
        open.filter(|open| open.id == key.id)
    }

    pub(super) fn open_mut(&mut self, key: OpenKey) -> Option<&mut Open> {
        let open = self.open.get_mut(key.slot as usize);
        open.filter(|open| open.id == key.id)
    }
}

impl Open {
    /// Whether what comes of it in this way counts for it.
    fn waits_for(&self, need: Need) -> bool {
        match (self.policy, need) {
            (_, Need::Answer) => false,
            (Policy::Primary, Need::Ack(channel)) => channel == 0,
            (Policy::All | Policy::Any, Need::Ack(_)) => true,
        }
    }

    fn says<W>(&self, kind: SignalKind) -> Effect<W> {
        Effect::Signal(Signal {
            id: self.id,
            ticket: self.ticket,
            to: self.sender,
            kind,
        })
    }
}
