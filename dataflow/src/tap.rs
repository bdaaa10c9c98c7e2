//! Looks at the messages of a running instance, without holding them up. Pure but for its channel.

use std::time::Duration;

use bytes::Bytes;
use edgeless_types::{
    InstanceId, Timestamp,
    message::{Message, MessageId, MessageKind},
};
use tokio::sync::mpsc::{self, error::TrySendError};

/// Messages that wait for whoever looks.
const WAITING: usize = 256;

/// What somebody wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapPlan {
    /// Only messages whose payload contains these bytes; empty: all.
    pub contains: Bytes,
    /// At most so many messages a second; the others are counted.
    pub per_second: u32,
    /// At most so many bytes of each payload.
    pub payload_bytes: usize,
}

/// Which way a message passed the instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It came from there and is about to be handled.
    In(InstanceId),
    /// It was sent on this channel.
    Out(String),
}

/// A message that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tapped {
    /// When.
    pub at: Timestamp,
    /// Which way.
    pub direction: Direction,
    /// Its id.
    pub id: MessageId,
    /// What is expected of the receiver.
    pub kind: MessageKind,
    /// The beginning of its payload.
    pub payload: Bytes,
    /// How long the payload is.
    pub payload_bytes: usize,
    /// Messages that were not shown since the last one that was.
    pub missed: u64,
}

/// One who looks.
#[derive(Debug)]
pub(crate) struct Tap {
    plan: TapPlan,
    sender: mpsc::Sender<Tapped>,
    second: Timestamp,
    left: u32,
    missed: u64,
}

impl Tap {
    pub(crate) fn new(plan: TapPlan) -> (Self, mpsc::Receiver<Tapped>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let tap = Self {
            left: plan.per_second,
            plan,
            sender,
            second: Timestamp::default(),
            missed: 0,
        };
        (tap, receiver)
    }

    /// A message passes; false when nobody looks any more.
    pub(crate) fn see(
        &mut self,
        now: Timestamp,
        direction: impl FnOnce() -> Direction,
        message: &Message,
    ) -> bool {
        if self.sender.is_closed() {
            return false;
        }
        if !contains(&message.payload, &self.plan.contains) {
            return true;
        }
        if now.since(self.second) >= Duration::from_secs(1) {
            self.second = now;
            self.left = self.plan.per_second;
        }
        if self.left == 0 {
            self.missed += 1;
            return true;
        }
        self.left -= 1;
        let shown = message.payload.len().min(self.plan.payload_bytes);
        let tapped = Tapped {
            at: now,
            direction: direction(),
            id: message.id,
            kind: message.kind,
            // A copy: whoever looks must not keep large payloads alive.
            payload: Bytes::copy_from_slice(&message.payload[..shown]),
            payload_bytes: message.payload.len(),
            missed: self.missed,
        };
        match self.sender.try_send(tapped) {
            Ok(()) => self.missed = 0,
            Err(TrySendError::Full(_)) => self.missed += 1,
            Err(TrySendError::Closed(_)) => return false,
        }
        true
    }
}

fn contains(payload: &[u8], part: &[u8]) -> bool {
    part.is_empty() || payload.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use edgeless_types::{NodeId, PhysicalId, message::Envelope};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_is_not_shown_is_counted_and_a_tap_ends_with_its_reader() {
        let me = InstanceId {
            node_id: NodeId::new(Uuid::nil()),
            physical_id: PhysicalId::new(Uuid::nil()),
        };
        let message = |payload: &'static str| Message {
            id: MessageId::default(),
            source: me,
            target: me.physical_id,
            kind: MessageKind::Cast,
            ticket: None,
            envelope: Envelope::default(),
            payload: Bytes::from_static(payload.as_bytes()),
        };
        let (mut tap, mut seen) = Tap::new(TapPlan {
            contains: Bytes::from_static(b"ell"),
            per_second: 2,
            payload_bytes: 4,
        });
        let mut see = |seconds: u64, payload| {
            let at = Timestamp::from_nanos(seconds * 1_000_000_000);
            tap.see(at, || Direction::In(me), &message(payload))
        };
        assert!(see(10, "world") && see(10, "hello") && see(10, "hello"));
        assert!(see(10, "hello") && see(11, "hello"));
        let all: Vec<Tapped> = std::iter::from_fn(|| seen.try_recv().ok()).collect();
        let missed: Vec<u64> = all.iter().map(|it| it.missed).collect();
        assert_eq!(missed, [0, 0, 1]);
        assert_eq!(
            (&all[0].payload[..], all[0].payload_bytes),
            (&b"hell"[..], 5)
        );
        drop(seen);
        assert!(!see(12, "hello"));
    }
}
