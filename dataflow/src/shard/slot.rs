//! What a shard keeps for one operator.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    task::{Wake, Waker},
};

use bytes::Bytes;
use edgeless_types::{
    Generation, InstanceId, PhysicalId, Timestamp,
    message::{Budget, Callers, Message, MessageId},
};
use tokio::sync::{Notify, oneshot};

use super::Inject;
use crate::{
    budget::Allowance,
    control::Interests,
    gate::Gate,
    operator::{CallRef, Destination, Operator},
    output::{ChannelName, Outputs, Route},
    port::PortError,
    sample::{Place, Recorder},
    spawn::{Delivery, SpawnError},
    stats::Stats,
    tap::{Direction, Tap},
    track::OpenKey,
};

/// An operator with its inbox and what it could not send yet.
pub(super) struct Slot {
    pub(super) me: InstanceId,
    pub(super) generation: Generation,
    pub(super) operator: Option<Box<dyn Operator>>,
    /// None while it runs.
    pub(super) waker: Option<Waker>,
    pub(super) gate: Arc<Gate>,
    pub(super) inbox: VecDeque<Queued>,
    /// The weight of what is in the inbox from this shard; the rest was admitted by the gate.
    pub(super) local: usize,
    /// Where it is kept what waits for its group.
    pub(super) account: usize,
    pub(super) outputs: Outputs,
    /// Where the channel `out` leads, once it was looked up; its key may be another's meanwhile.
    pub(super) next: Option<(usize, PhysicalId)>,
    /// What could not be sent yet, in order; while there is something, no message is handled.
    pub(super) parked: VecDeque<Parked>,
    /// Why the first of them waits, and since when nothing has moved.
    pub(super) parked_for: Wait,
    pub(super) parked_since: Timestamp,
    /// Whose full inbox it waits for, as the gate says as well.
    pub(super) waits_for: Option<PhysicalId>,
    /// Whether the shard has it among those to be tried again.
    pub(super) blocked: bool,
    /// Messages on channels that lead to no instance now, by channel.
    pub(super) held: Vec<(ChannelName, VecDeque<Parked>)>,
    /// How what it sends is delivered.
    pub(super) delivery: Delivery,
    /// The signals it wants.
    pub(super) interests: Interests,
    /// What signals have left here, once one has come.
    pub(super) heard: Option<Box<Heard>>,
    /// How many messages on them are not acknowledged.
    pub(super) outstanding: usize,
    /// How many delayed messages and timers are under way.
    pub(super) delayed: usize,
    pub(super) current: Option<Current>,
    pub(super) busy: bool,
    pub(super) queued: bool,
    pub(super) starting: Option<oneshot::Sender<Result<(), SpawnError>>>,
    pub(super) stopping: Option<Stopping>,
    pub(super) saved: Option<Bytes>,
    /// What it did; once it has handled something.
    pub(super) stats: Option<Box<Stats>>,
    /// Events that ended with an error.
    pub(super) faults: u64,
    /// Those who look at its messages.
    pub(super) taps: Vec<Tap>,
    /// Whether it takes no messages until it is resumed.
    pub(super) paused: bool,
    pub(super) samples: Place,
}

/// A message in an inbox.
pub(super) struct Queued {
    pub(super) message: Message,
    pub(super) from: Entrance,
}

/// How a message came into an inbox.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Entrance {
    /// From an operator of the same shard.
    Local,
    /// From another shard or node, admitted by the gate.
    Gate,
}

/// Why a message waits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// An inbox of this node is full.
    Full,
    /// The way to another node is full.
    Far,
    /// Its channel leads to no instance now, and holds as many as it may.
    Held,
}

/// A message that could not be sent yet.
pub(super) struct Parked {
    pub(super) to: Destination,
    pub(super) message: Message,
    /// A port that waits until it is sent.
    pub(super) done: Done,
}

/// A port that waits until its message is sent, if one does.
pub(super) type Done = Option<oneshot::Sender<Result<(), PortError>>>;

/// The message that is being handled.
pub(super) struct Current {
    pub(super) source: PhysicalId,
    pub(super) created: Timestamp,
    pub(super) begin: Timestamp,
    pub(super) call: Option<CallRef>,
    /// Its name among the tracked messages, where it is one.
    pub(super) open: Option<OpenKey>,
    /// Those who wait for it, where it is a call.
    pub(super) callers: Option<Callers>,
    /// Whether it ended with an error, though its operator may go on.
    pub(super) faulty: bool,
    /// After this it is of no use; of a call: nobody waits for its answer any more.
    pub(super) deadline: Option<Timestamp>,
    /// After this nothing that comes of it is of use.
    pub(super) use_by: Option<Timestamp>,
}

/// What signals have left at an operator.
#[derive(Default)]
pub(super) struct Heard {
    /// The last one that came over its outputs.
    pub(super) last: MessageId,
    /// When it last said that something went wrong.
    pub(super) told_error: Timestamp,
    /// Those it leads to that have said that not everything may be sent, and what may.
    pub(super) bounds: Vec<(PhysicalId, Budget)>,
    /// What its port may send.
    pub(super) allowance: Option<Allowance>,
    /// What its port is to send and may not yet, and until when a call may wait.
    pub(super) waiting: VecDeque<(Option<Timestamp>, Inject)>,
    /// When that is looked through for calls that are too late.
    pub(super) looks_at: Option<Timestamp>,
}

/// A slot that stops as soon as it has nothing left to do.
pub(super) struct Stopping {
    pub(super) deadline: Timestamp,
    pub(super) done: oneshot::Sender<Option<Bytes>>,
}

impl Slot {
    /// Whether all that came was handled and all that was sent is gone.
    pub(super) fn is_idle(&self) -> bool {
        !self.busy
            && self.inbox.is_empty()
            && self.parked.is_empty()
            && self.held.is_empty()
            && self.outstanding == 0
    }

    /// Whether what it sends needs no more than to be sent.
    pub(super) fn is_plain(&self) -> bool {
        self.delivery.tracked.is_empty()
            && self.delivery.deadline.is_none()
            && self.parked.is_empty()
            && self.held.is_empty()
            && self.taps.is_empty()
    }

    /// A delayed message or a timer is due, perhaps of one that had its id before.
    pub(super) fn is_due(&mut self) {
        self.delayed = self.delayed.saturating_sub(1);
    }

    /// Whether it would handle a message now; so many on its tracked channels may be outstanding.
    pub(super) fn takes(&self, window: usize) -> bool {
        !self.busy
            && !self.paused
            && self.parked.is_empty()
            && self.starting.is_none()
            && self.outstanding < window
    }

    /// One event from that sender was handled: created, begun, ended.
    pub(super) fn count(
        &mut self,
        recorder: &mut Recorder,
        source: PhysicalId,
        times: [Timestamp; 3],
    ) {
        recorder.event(self.me.physical_id, &mut self.samples, times);
        let stats = self.stats.get_or_insert_with(|| Box::new(Stats::new()));
        stats.event(source, times);
    }

    /// Shows a message to those who look.
    #[cold]
    pub(super) fn show(
        &mut self,
        now: Timestamp,
        channel: Option<&Destination>,
        message: &Message,
    ) {
        let direction = || match channel {
            None => Direction::In(message.source),
            Some(Destination::Channel(name)) => {
                Direction::Out(String::from_utf8_lossy(name).into_owned())
            }
            Some(Destination::Instance(instance)) => Direction::Out(instance.to_string()),
        };
        self.taps.retain_mut(|tap| tap.see(now, direction, message));
    }

    /// The number among the tracked channels of a destination to which messages are delivered at
    /// least once.
    pub(super) fn tracks(&self, to: &Destination) -> Option<usize> {
        match to {
            Destination::Channel(name) => self.tracks_channel(name),
            Destination::Instance(_) => None,
        }
    }

    pub(super) fn tracks_channel(&self, name: &ChannelName) -> Option<usize> {
        let mut tracked = self.delivery.tracked.iter();
        tracked.position(|it| it.as_bytes() == name.as_slice())
    }

    /// What signals have left here.
    pub(super) fn heard_mut(&mut self) -> &mut Heard {
        self.heard.get_or_insert_default()
    }

    /// Whether messages on a channel are held.
    pub(super) fn holds(&self, channel: &ChannelName) -> bool {
        self.held.iter().any(|(name, _)| name == channel)
    }

    /// The weight of what is held.
    pub(super) fn held(&self) -> usize {
        let held = self.held.iter().flat_map(|(_, messages)| messages);
        held.map(|parked| parked.message.weight()).sum()
    }

    /// Forgets some of what is held, at most so many, the oldest first; how many.
    pub(super) fn forget_held(&mut self, most: usize, which: impl Fn(&Parked) -> bool) -> usize {
        let mut number = 0;
        for (_, messages) in &mut self.held {
            messages.retain(|it| {
                let goes = number < most && which(it);
                number += usize::from(goes);
                !goes
            });
        }
        self.held.retain(|(_, messages)| !messages.is_empty());
        number
    }

    /// After a patch: what was held on channels that lead somewhere now is sent first; how many.
    pub(super) fn unhold(&mut self) -> usize {
        let mut number = 0;
        let outputs = &self.outputs;
        let free = |held: &mut (ChannelName, _)| outputs.peek(&held.0) != Route::Hold;
        let freed: Vec<_> = self.held.extract_if(.., free).collect();
        for (_, messages) in freed {
            number += messages.len();
            for message in messages.into_iter().rev() {
                self.parked.push_front(message);
            }
        }
        number
    }

    /// Says to all shards whose full inbox it waits for; whether that is news.
    pub(super) fn wait_for(&mut self, other: Option<PhysicalId>) -> bool {
        let changed = self.waits_for != other;
        if changed {
            self.waits_for = other;
            self.gate.set_waits_for(other);
        }
        changed
    }
}

/// Slots that were woken since the last look, and the bell for a shard that sleeps.
#[derive(Default)]
pub(crate) struct Woken {
    keys: Mutex<Vec<usize>>,
    pub(crate) bell: Notify,
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
