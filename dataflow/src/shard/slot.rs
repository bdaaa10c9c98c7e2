//! What a shard keeps for one operator.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    task::{Wake, Waker},
};

use bytes::Bytes;
use edgeless_types::{Generation, InstanceId, Timestamp, message::Message};
use tokio::sync::{Notify, oneshot};

use crate::{
    engine::SpawnError,
    operator::{CallRef, Destination, Operator},
    output::Outputs,
    port::PortError,
};

/// An operator with its inbox and what it could not send yet.
pub(super) struct Slot {
    pub(super) me: InstanceId,
    pub(super) generation: Generation,
    pub(super) operator: Option<Box<dyn Operator>>,
    pub(super) waker: Waker,
    pub(super) inbox: VecDeque<Message>,
    pub(super) outputs: Outputs,
    pub(super) parked: VecDeque<Parked>,
    pub(super) parked_since: Timestamp,
    pub(super) current: Option<Current>,
    pub(super) busy: bool,
    pub(super) queued: bool,
    pub(super) starting: Option<oneshot::Sender<Result<(), SpawnError>>>,
    pub(super) stopping: Option<Stopping>,
    pub(super) saved: Option<Bytes>,
}

/// A message that could not be sent yet.
pub(super) struct Parked {
    pub(super) to: Destination,
    pub(super) message: Message,
    /// A port that waits until it is sent.
    pub(super) done: Option<oneshot::Sender<Result<(), PortError>>>,
}

/// The message that is being handled.
pub(super) struct Current {
    pub(super) created: Timestamp,
    pub(super) begin: Timestamp,
    pub(super) call: Option<CallRef>,
}

/// A slot that stops as soon as it has nothing left to do.
pub(super) struct Stopping {
    pub(super) deadline: Timestamp,
    pub(super) done: oneshot::Sender<Option<Bytes>>,
}

impl Slot {
    /// Whether all that came was handled and all that was sent is gone.
    pub(super) fn is_idle(&self) -> bool {
        !self.busy && self.inbox.is_empty() && self.parked.is_empty()
    }
}

/// Slots that were woken since the last look, and the bell for a shard that sleeps.
#[derive(Default)]
pub(super) struct Woken {
    keys: Mutex<Vec<usize>>,
    pub(super) bell: Notify,
}

impl Woken {
    /// Moves the woken keys to `into`.
    pub(super) fn take(&self, into: &mut Vec<usize>) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        into.append(&mut keys);
    }

    /// A waker for one slot.
    pub(super) fn waker(self: &Arc<Self>, key: usize) -> Waker {
        Waker::from(Arc::new(SlotWaker {
            key,
            woken: Arc::clone(self),
        }))
    }
}

struct SlotWaker {
    key: usize,
    woken: Arc<Woken>,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut keys = self
            .woken
            .keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        keys.push(self.key);
        drop(keys);
        self.woken.bell.notify_one();
    }
}
