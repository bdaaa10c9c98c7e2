//! What is outstanding: messages that were sent at least once and are not acknowledged, and messages
//! whose handling is not over as what came of it is outstanding. Pure; one per shard.
//!
//! A tracked message is acknowledged to its sender when its handling is done and everything that came
//! of it on tracked channels is acknowledged itself: so an acknowledgement at the source speaks for the
//! whole way. What comes of a message has ids derived from its id, so that a second handling makes the
//! same ids, and receivers know what they have seen.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use edgeless_types::{
    InstanceId, PhysicalId, Timestamp,
    message::{Message, MessageId, Signal, SignalKind},
};
use rustc_hash::FxHashMap;
use slab::Slab;

use crate::output::ChannelName;

/// Messages that a shard remembers as seen.
const SEEN: usize = 65_536;
/// How often a message is sent anew after a negative acknowledgement before it is given up.
const ATTEMPTS: u32 = 5;

/// How long a message waits after a refusal before it is sent anew; doubles with each.
const PAUSE: Duration = Duration::from_millis(10);

/// A message that is being handled, or waits for what came of it.
#[derive(Debug)]
struct Open {
    id: MessageId,
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
    slot: usize,
    id: MessageId,
}

/// A message that is not acknowledged.
#[derive(Debug)]
struct Outgoing {
    from: PhysicalId,
    parent: Option<OpenKey>,
    attempts: u32,
    /// The message and its channel, once it was sent.
    sent: Option<(Message, ChannelName, Timestamp)>,
}

/// Whether a receiver knows a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Open(OpenKey),
    Done,
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
    /// Send a message of an instance on a channel once more.
    Again(PhysicalId, ChannelName, Box<Message>),
    /// An instance has one less outstanding.
    Settled(PhysicalId),
    /// A message is given up that nobody upstream waits for.
    GivenUp,
}

/// All that is outstanding on one shard.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    open: Slab<Open>,
    outgoing: FxHashMap<MessageId, Outgoing>,
    /// In the order in which they were sent.
    due: VecDeque<(Timestamp, MessageId)>,
    /// What was refused, and when it is tried again.
    retries: BTreeSet<(Timestamp, MessageId)>,
    seen: FxHashMap<(PhysicalId, MessageId), Seen>,
    seen_order: VecDeque<(PhysicalId, MessageId)>,
}

impl Tracker {
    /// A receiver is about to handle a message.
    pub(crate) fn begin(&mut self, message: &Message) -> Begin {
        let name = (message.target, message.id);
        match self.seen.get(&name) {
            Some(Seen::Open(_)) => return Begin::Busy,
            Some(Seen::Done) => return Begin::Done,
            None => {}
        }
        let slot = self.open.insert(Open {
            id: message.id,
            me: message.target,
            sender: message.source,
            made: 0,
            remaining: 0,
            handled: false,
        });
        let id = message.id;
        let key = OpenKey { slot, id };
        self.remember(name, Seen::Open(key));
        Begin::New(key)
    }

    /// The name of a message that was begun and is not over.
    pub(crate) fn find(&self, me: PhysicalId, id: MessageId) -> Option<OpenKey> {
        match self.seen.get(&(me, id)) {
            Some(Seen::Open(key)) => Some(*key),
            Some(Seen::Done) | None => None,
        }
    }

    /// A message comes of another: its id.
    pub(crate) fn derive(&mut self, parent: OpenKey) -> Option<MessageId> {
        let open = self.open_mut(parent)?;
        open.made += 1;
        Some(derived(open.id, open.made))
    }

    /// A message is to be sent at least once. False: it was outstanding before, as what it came of is
    /// handled again.
    pub(crate) fn expect(
        &mut self,
        id: MessageId,
        from: PhysicalId,
        parent: Option<OpenKey>,
    ) -> bool {
        if let Some(open) = parent.and_then(|key| self.open_mut(key)) {
            open.remaining += 1;
        }
        let outgoing = Outgoing {
            from,
            parent,
            attempts: 0,
            sent: None,
        };
        self.outgoing.insert(id, outgoing).is_none()
    }

    /// It was sent; unless it is acknowledged it is due again at `due`.
    pub(crate) fn sent(&mut self, message: &Message, channel: &ChannelName, due: Timestamp) {
        if let Some(outgoing) = self.outgoing.get_mut(&message.id) {
            outgoing.sent = Some((message.clone(), channel.clone(), due));
            self.due.push_back((due, message.id));
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
        let open = self.open.remove(key.slot);
        self.seen.remove(&(open.me, open.id));
        let kind = SignalKind::Nack {
            reason: reason.to_owned(),
            permanent,
        };
        effects.push(Effect::Signal(Signal {
            id: open.id,
            to: open.sender,
            kind,
        }));
    }

    /// A signal about a message that was sent from here.
    pub(crate) fn on_signal(&mut self, signal: Signal, now: Timestamp, effects: &mut Vec<Effect>) {
        match signal.kind {
            SignalKind::Ack => self.acknowledged(signal.id, effects),
            SignalKind::Nack { reason, permanent } => {
                self.refused(signal.id, &reason, permanent, now, effects);
            }
        }
    }

    fn acknowledged(&mut self, id: MessageId, effects: &mut Vec<Effect>) {
        let Some(outgoing) = self.outgoing.remove(&id) else {
            return;
        };
        effects.push(Effect::Settled(outgoing.from));
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
        id: MessageId,
        reason: &str,
        permanent: bool,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(outgoing) = self.outgoing.get_mut(&id) else {
            return;
        };
        outgoing.attempts += 1;
        if !permanent && outgoing.attempts < ATTEMPTS {
            if let Some((_, _, due)) = &mut outgoing.sent {
                *due = now + PAUSE * (1 << outgoing.attempts);
                self.retries.insert((*due, id));
            }
            return;
        }
        let Some(outgoing) = self.outgoing.remove(&id) else {
            return;
        };
        effects.push(Effect::Settled(outgoing.from));
        match outgoing.parent {
            Some(key) => self.failed(key, reason, permanent, effects),
            None => effects.push(Effect::GivenUp),
        }
    }

    /// What is due again; it must be sent, which says when it is due next.
    pub(crate) fn take_due(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        while let Some(&(at, id)) = self.retries.first() {
            if at > now {
                break;
            }
            self.retries.pop_first();
            self.again(at, id, effects);
        }
        while let Some(&(at, id)) = self.due.front() {
            if at > now {
                return;
            }
            self.due.pop_front();
            self.again(at, id, effects);
        }
    }

    fn again(&self, at: Timestamp, id: MessageId, effects: &mut Vec<Effect>) {
        // Otherwise it was acknowledged, or sent again since.
        if let Some(outgoing) = self.outgoing.get(&id)
            && let Some((message, channel, due)) = &outgoing.sent
            && *due == at
        {
            let message = Box::new(message.clone());
            effects.push(Effect::Again(outgoing.from, channel.clone(), message));
        }
    }

    /// When something is due next; may be too early.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        let due = self.due.front().map(|&(at, _)| at);
        let retry = self.retries.first().map(|&(at, _)| at);
        due.into_iter().chain(retry).min()
    }

    /// The channels of an instance lead elsewhere: what went to where none leads now is due at once.
    pub(crate) fn rerouted(
        &mut self,
        from: PhysicalId,
        leads_to: impl Fn(&ChannelName, PhysicalId) -> bool,
        now: Timestamp,
    ) {
        for (&id, outgoing) in &mut self.outgoing {
            if outgoing.from == from
                && let Some((message, channel, due)) = &mut outgoing.sent
                && !leads_to(channel, message.target)
            {
                *due = now;
                self.retries.insert((now, id));
            }
        }
    }

    /// An instance is gone, with all it had outstanding: its senders learn what it had not finished.
    pub(crate) fn forget(&mut self, me: PhysicalId, effects: &mut Vec<Effect>) {
        self.outgoing.retain(|_, outgoing| outgoing.from != me);
        let keys: Vec<OpenKey> = self
            .open
            .iter()
            .filter(|(_, open)| open.me == me)
            .map(|(slot, open)| OpenKey { slot, id: open.id })
            .collect();
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
        let open = self.open.remove(key.slot);
        self.seen.insert((open.me, open.id), Seen::Done);
        effects.push(Effect::Signal(Signal {
            id: open.id,
            to: open.sender,
            kind: SignalKind::Ack,
        }));
    }

    fn open_mut(&mut self, key: OpenKey) -> Option<&mut Open> {
        self.open.get_mut(key.slot).filter(|open| open.id == key.id)
    }

    fn remember(&mut self, name: (PhysicalId, MessageId), seen: Seen) {
        self.seen.insert(name, seen);
        self.seen_order.push_back(name);
        if self.seen_order.len() > SEEN
            && let Some(oldest) = self.seen_order.pop_front()
        {
            match self.seen.get(&oldest) {
                // Not over yet: it goes around once more.
                Some(Seen::Open(_)) => self.seen_order.push_back(oldest),
                Some(Seen::Done) => {
                    self.seen.remove(&oldest);
                }
                None => {}
            }
        }
    }
}

/// The id of the `number`th message that comes of another: the same each time.
pub(crate) fn derived(parent: MessageId, number: u64) -> MessageId {
    let half = |seed: u64| {
        let mut mixed = seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for word in [parent.origin, parent.sequence] {
            mixed = mix(mixed ^ word);
        }
        mixed
    };
    MessageId {
        origin: half(0x243f_6a88_85a3_08d3),
        sequence: half(0x1319_8a2e_0370_7344),
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests;
