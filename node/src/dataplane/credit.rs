//! Credits of a stream: how much may be sent before the peer has taken some. Pure.
//!
//! The stream as a whole has a window that the peer opens as it reads. Each target has a window of its
//! own that the peer opens as the target has room, so that a slow target holds up those who send to
//! it and nobody else.

use edgeless_types::{
    PhysicalId,
    message::{Message, MessageKind},
};
use rustc_hash::FxHashMap;

/// Events that may be under way on one stream.
pub(super) const WINDOW: u64 = 8_192;
/// Weight that may be under way to one target, see [`Message::weight`]; the last event may go over it.
pub(super) const TARGET_WINDOW: u64 = 1_024;
/// How much larger the window of a target is for calls, so that casts do not crowd them out.
pub(super) const CALLS: u64 = 8;
/// How much of the window of its target a message takes.
fn weight(message: &Message) -> u64 {
    message.weight() as u64
}

/// The sender's side of the stream. What it may send comes from the peer's receipts.
#[derive(Debug)]
pub(super) struct Credit {
    allowed: u64,
    sent: u64,
}

impl Credit {
    pub(super) fn new() -> Self {
        Self {
            allowed: WINDOW,
            sent: 0,
        }
    }

    /// The peer allows so many since the stream opened; receipts may come out of order.
    pub(super) fn allow(&mut self, allowed: u64) {
        self.allowed = self.allowed.max(allowed);
    }

    /// How many may be sent now.
    pub(super) fn room(&self) -> usize {
        usize::try_from(self.allowed.saturating_sub(self.sent)).unwrap_or(usize::MAX)
    }

    /// So many were sent.
    pub(super) fn sent(&mut self, number: usize) {
        self.sent += number as u64;
    }

    /// Sent, but the peer has not said that it took them.
    pub(super) fn in_doubt(&self) -> u64 {
        self.sent
            .saturating_sub(self.allowed.saturating_sub(WINDOW))
    }
}

/// The sender's side of the targets: what is queued for each or under way to it.
#[derive(Debug, Default)]
pub(super) struct Windows(FxHashMap<PhysicalId, u64>);

impl Windows {
    /// Takes a message into the window of its target; false when that is full.
    pub(super) fn take(&mut self, message: &Message) -> bool {
        if message.kind.is_answer() {
            return true;
        }
        let used = self.0.entry(message.target).or_default();
        let room = match message.kind {
            MessageKind::Call => *used < TARGET_WINDOW * CALLS,
            _ => *used < TARGET_WINDOW,
        };
        if room {
            *used += weight(message);
        }
        room
    }

    /// What is queued for a target or under way to it.
    pub(super) fn used(&self, target: PhysicalId) -> usize {
        let used = self.0.get(&target).copied().unwrap_or_default();
        usize::try_from(used).unwrap_or(usize::MAX)
    }

    /// The peer says that a target has room again.
    pub(super) fn grant(&mut self, target: PhysicalId, weight: u64) {
        if let Some(used) = self.0.get_mut(&target) {
            *used = used.saturating_sub(weight);
            if *used == 0 {
                self.0.remove(&target);
            }
        }
    }

    /// A new stream: nothing is under way any more but what is queued.
    pub(super) fn restart<'a>(&mut self, queued: impl Iterator<Item = &'a Message>) {
        self.0.clear();
        for message in queued.filter(|message| !message.kind.is_answer()) {
            *self.0.entry(message.target).or_default() += weight(message);
        }
    }
}

/// The receiver's side: says when a receipt is due, and what for.
#[derive(Debug, Default)]
pub(super) struct Grants {
    taken: u64,
    told: u64,
    targets: FxHashMap<PhysicalId, u64>,
}

/// A receipt that is due.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// Events the sender may have sent since the stream opened.
    pub(super) allowed: u64,
    /// Targets that have room again, and for how much weight.
    pub(super) grants: Vec<(PhysicalId, u64)>,
}

impl Grants {
    /// Messages were taken.
    pub(super) fn taken(&mut self, messages: &[Message]) {
        self.taken += messages.len() as u64;
        for message in messages.iter().filter(|it| !it.kind.is_answer()) {
            *self.targets.entry(message.target).or_default() += weight(message);
        }
    }

    /// Events that could not be read were taken.
    pub(super) fn discarded(&mut self, number: u64) {
        self.taken += number;
    }

    /// The receipt that is due now, if any; `is_open` says who has room.
    pub(super) fn due(&mut self, is_open: impl Fn(PhysicalId) -> bool) -> Option<Due> {
        let ripe = |&target: &PhysicalId, weight: &mut u64| {
            *weight >= TARGET_WINDOW / 4 && is_open(target)
        };
        let grants: Vec<_> = self.targets.extract_if(ripe).collect();
        if grants.is_empty() && self.taken - self.told < WINDOW / 4 {
            return None;
        }
        self.told = self.taken;
        Some(Due {
            allowed: self.taken + WINDOW,
            grants,
        })
    }

    /// Whether some target must have room before its sender can go on.
    pub(super) fn are_withheld(&self) -> bool {
        self.targets
            .values()
            .any(|&weight| weight >= TARGET_WINDOW / 4)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use edgeless_types::{
        InstanceId, NodeId,
        message::{Envelope, MessageId},
    };
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn message(target: u128, size: usize) -> Message {
        let uuid = Uuid::from_u128(target);
        Message {
            id: MessageId::default(),
            source: InstanceId {
                node_id: NodeId::new(uuid),
                physical_id: PhysicalId::new(uuid),
            },
            target: PhysicalId::new(uuid),
            kind: MessageKind::Cast,
            ticket: None,
            envelope: Envelope::default(),
            payload: Bytes::from(vec![0; size]),
        }
    }

    #[test]
    fn a_target_without_room_stops_its_own_messages_only() {
        let (mut windows, mut grants) = (Windows::default(), Grants::default());
        let (slow, swift) = (message(1, 64), message(2, 64));
        while windows.take(&slow) {
            grants.taken(std::slice::from_ref(&slow));
        }
        let is_open = |target| target == swift.target;
        assert_eq!(grants.due(is_open), None);
        assert!(grants.are_withheld());
        for _ in 0..10_000 {
            assert!(windows.take(&swift));
            grants.taken(std::slice::from_ref(&swift));
            for (target, weight) in grants.due(is_open).unwrap_or_default().grants {
                windows.grant(target, weight);
            }
        }
        assert!(!windows.take(&slow));
        let due = grants.due(|_| true).unwrap();
        assert_eq!(due.grants, [(slow.target, TARGET_WINDOW)]);
    }

    proptest! {
        #[test]
        fn no_more_than_the_windows_is_under_way_and_nothing_gets_stuck(
            messages in prop::collection::vec((0_u128..3, 0_usize..400_000), 1..400)
        ) {
            let (mut credit, mut windows) = (Credit::new(), Windows::default());
            let mut grants = Grants::default();
            for (target, size) in messages {
                let message = message(target, size);
                let mut tries = 0;
                while credit.room() == 0 || !windows.take(&message) {
                    tries += 1;
                    prop_assert!(tries < 3, "stuck");
                    let due = grants.due(|_| true).unwrap_or_default();
                    credit.allow(due.allowed);
                    for (target, weight) in due.grants {
                        windows.grant(target, weight);
                    }
                }
                credit.sent(1);
                prop_assert!(windows.0[&message.target] < TARGET_WINDOW + weight(&message));
                grants.taken(&[message]);
            }
        }
    }
}
