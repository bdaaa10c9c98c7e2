//! What waits for one link, between the shard that sends and the task that has the connection.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use edgeless_types::{
    PhysicalId,
    message::{Message, MessageKind, Signal, Upward},
};
use tokio::sync::Notify;

use super::{
    credit::Windows,
    load::{Loads, Report},
};

/// Payload in bytes that waits for one link before its senders wait; the last message may go over it.
const QUEUE_BYTES: usize = 8 << 20;
/// What instances say to those who send to them and that waits for one link.
const UPWARDS: usize = 1_024;
/// What an event takes in a frame beside its payload, roughly.
const EVENT_BYTES: usize = 96;

/// Messages that wait for a link. Answers go first and never wait for room: their callers have
/// deadlines, and may be what must go on.
#[derive(Debug, Default)]
pub(super) struct Line {
    state: Mutex<State>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct State {
    signals: Vec<Signal>,
    upwards: Vec<Upward>,
    answers: VecDeque<Message>,
    queue: VecDeque<Message>,
    bytes: usize,
    windows: Windows,
    loads: Loads,
    /// Whether somebody sleeps until there is something.
    asleep: bool,
}

impl State {
    fn is_filled(&self) -> bool {
        self.has_signals() || !(self.answers.is_empty() && self.queue.is_empty())
    }

    fn has_signals(&self) -> bool {
        !(self.signals.is_empty() && self.upwards.is_empty()) || self.loads.has_unasked()
    }
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a message, or gives it back when there is no room.
    #[expect(
        clippy::result_large_err,
        reason = "the message itself comes back, unboxed"
    )]
    pub(super) fn push(&self, message: Message) -> Result<(), Message> {
        let mut state = self.state();
        match message.kind {
            MessageKind::Reply | MessageKind::NoReply | MessageKind::Error => {
                state.answers.push_back(message);
            }
            MessageKind::Cast | MessageKind::Call => {
                if state.bytes >= QUEUE_BYTES || !state.windows.take(&message) {
                    return Err(message);
                }
                state.bytes += message.payload.len();
                state.loads.pushed(&message);
                state.queue.push_back(message);
            }
        }
        if std::mem::take(&mut state.asleep) {
            drop(state);
            self.bell.notify_one();
        }
        Ok(())
    }

    /// How much waits for a target or is under way to it, by weight, as far as its node has told;
    /// from the first question on it is asked to.
    pub(super) fn waiting(&self, target: PhysicalId) -> usize {
        let state = &mut *self.state();
        if let Some(waiting) = state.loads.of(target) {
            return waiting;
        }
        let queued = state.queue.iter().filter(|it| it.target == target);
        let queued = queued.map(|it| it.weight() as u64).sum();
        state.loads.watch(target, queued);
        state.windows.used(target)
    }

    /// Adds a signal; signals go before everything else.
    pub(super) fn push_signal(&self, signal: Signal) {
        let mut state = self.state();
        state.signals.push(signal);
        if std::mem::take(&mut state.asleep) {
            drop(state);
            self.bell.notify_one();
        }
    }

    /// Adds what an instance says to those who send to it; of more than [`UPWARDS`] the oldest are
    /// forgotten, as newer ones say more.
    pub(super) fn push_upward(&self, upward: Upward) {
        let mut state = self.state();
        if state.upwards.len() >= UPWARDS {
            state.upwards.remove(0);
        }
        state.upwards.push(upward);
        if std::mem::take(&mut state.asleep) {
            drop(state);
            self.bell.notify_one();
        }
    }

    /// Takes the signals that wait.
    pub(super) fn take_signals(&self) -> (Vec<Signal>, Vec<Upward>) {
        let mut state = self.state();
        let upwards = std::mem::take(&mut state.upwards);
        (std::mem::take(&mut state.signals), upwards)
    }

    /// Takes messages for one frame: at most so many and so many bytes, but at least one; and the targets
    /// to be watched from that frame on.
    pub(super) fn take(
        &self,
        number: usize,
        bytes: usize,
        into: &mut Vec<Message>,
    ) -> Vec<PhysicalId> {
        let state = &mut *self.state();
        let watches = state.loads.take_unasked();
        let mut size = 0;
        while into.len() < number && size < bytes {
            let message = match state.answers.pop_front() {
                Some(answer) => answer,
                None => match state.queue.pop_front() {
                    Some(message) => {
                        state.bytes -= message.payload.len();
                        message
                    }
                    None => break,
                },
            };
            size += EVENT_BYTES + message.payload.len();
            into.push(message);
        }
        watches
    }

    /// Waits until there is something; without `room` for messages, until there are signals.
    pub(super) async fn filled(&self, room: bool) {
        loop {
            {
                let mut state = self.state();
                if state.has_signals() || room && state.is_filled() {
                    return;
                }
                state.asleep = true;
            }
            self.bell.notified().await;
        }
    }

    /// The peer says what its targets have room for.
    pub(super) fn grant(&self, grants: impl Iterator<Item = (PhysicalId, u64)>) {
        let mut state = self.state();
        for (target, weight) in grants {
            state.windows.grant(target, weight);
        }
    }

    /// The peer says what waits for its targets.
    pub(super) fn told(&self, reports: impl Iterator<Item = Report>) {
        let mut state = self.state();
        for report in reports {
            state.loads.told(report);
        }
    }

    /// A new connection: nothing is under way any more but what is queued.
    pub(super) fn restart(&self) {
        let state = &mut *self.state();
        state.loads.restart(state.queue.iter());
        state.windows.restart(state.queue.iter());
    }

    /// Forgets everything that waits; how many of that nobody sends again.
    pub(super) fn clear(&self) -> usize {
        let state = &mut *self.state();
        let queued = state.queue.iter().filter(|message| !message.is_tracked());
        let number = state.answers.len() + queued.count();
        state.signals.clear();
        state.upwards.clear();
        state.answers.clear();
        state.queue.clear();
        state.bytes = 0;
        state.loads = Loads::default();
        state.windows.restart(std::iter::empty());
        number
    }
}
