//! Turns of operators, and where what they do goes.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
    task,
    time::Duration,
};

use bytes::Bytes;
use edgeless_types::{
    LogEntry, PhysicalId,
    message::{Message, MessageKind, Refusal, UpwardKind},
};

use super::{Due, Shard, Waiter, deadline, slot::Current};
use crate::{
    counters::Drop,
    operator::{Action, Answer, CallRef, Destination, OUT, Operator, Outbox, Progress},
    output::ChannelName,
    spawn::{Failure, SpawnError},
    track::{Begin, OpenKey},
};

/// Messages an operator handles in one turn.
const TURN: usize = 64;
/// Delayed messages and timers of one operator that may be under way, as a multiple of the bound of an inbox.
const DELAYED: usize = 16;
/// The target of log entries that say why an event failed.
const FAULT: &str = "fault";

impl Shard {
    /// Lets an operator handle some of its messages, and those it sends to operators of this shard
    /// at leisure handle them at once.
    pub(super) fn turn(&mut self, key: usize) {
        self.slots[key].queued = false;
        let (mut released, mut handled) = (0, 0);
        while handled < TURN {
            let slot = &mut self.slots[key];
            if !slot.takes(self.shared.config.inbox) {
                break;
            }
            let Some(queued) = slot.inbox.pop_front() else {
                break;
            };
            released += self.dequeued(key, &queued);
            self.hops_left = self.shared.config.hops;
            self.handle(key, queued.message);
            while let Some((next, message)) = self.hand.take() {
                self.hops_left -= 1;
                handled += 1;
                self.handle(next, message);
            }
            self.hops_left = 0;
            handled += 1;
            if !self.slots.contains(key) {
                return;
            }
        }
        let slot = &self.slots[key];
        if released > 0 {
            self.shared.ring(slot.gate.release(released));
        }
        self.tell_load(key);
        let slot = &self.slots[key];
        if !slot.inbox.is_empty() && slot.takes(self.shared.config.inbox) {
            self.make_ready(key);
        }
        self.end_if_idle(key);
    }

    /// Whether an operator has nothing queued and would handle a message at once.
    pub(super) fn is_at_leisure(&self, key: usize) -> bool {
        let slot = &self.slots[key];
        slot.inbox.is_empty() && slot.takes(self.shared.config.inbox)
    }

    #[inline]
    fn handle(&mut self, key: usize, message: Message) {
        let call = (message.kind == MessageKind::Call).then(|| CallRef::of(&message));
        if message
            .envelope
            .deadline
            .is_some_and(|deadline| deadline < self.now)
        {
            self.shared.counters.dropped(Drop::Deadline, 1);
            if let Some(call) = call {
                self.answer(key, call, Answer::Error("past its deadline".to_owned()));
            }
            self.refuse_tracked(&message, "past its deadline", true);
            return;
        }
        let mut open = None;
        if let Some(ticket) = message.ticket
            && message.kind == MessageKind::Cast
        {
            match self.begin_tracked(key, &message, ticket) {
                Begin::New(key) => open = Some(key),
                Begin::Busy | Begin::Done => return,
            }
        }
        let slot = &mut self.slots[key];
        if !slot.taps.is_empty() {
            slot.show(self.now, None, &message);
        }
        slot.busy = true;
        slot.current = Some(Current {
            source: message.source.physical_id,
            created: message.envelope.created,
            begin: self.now,
            call,
            open,
            deadline: message.envelope.deadline,
            use_by: deadline::use_by(&message),
            faulty: false,
            callers: message
                .envelope
                .extra
                .as_ref()
                .map(|it| Arc::clone(&it.callers)),
        });
        self.step(key, |operator, task, out| {
            operator.on_message(message, task, out)
        });
    }

    /// Runs one step of an operator and does what it asks for.
    pub(super) fn step(
        &mut self,
        key: usize,
        run: impl FnOnce(&mut dyn Operator, &mut task::Context<'_>, &mut Outbox) -> Progress,
    ) {
        let slot = &mut self.slots[key];
        let Some(mut operator) = slot.operator.take() else {
            return;
        };
        // Both are there or neither.
        let Some(waker) = slot.waker.take() else {
            return;
        };
        let mut task = task::Context::from_waker(&waker);
        let mut outbox = self.outbox.take().unwrap_or_default();
        outbox.now = self.now;
        let progress = run(operator.as_mut(), &mut task, &mut outbox);
        let slot = &mut self.slots[key];
        slot.operator = Some(operator);
        slot.waker = Some(waker);
        if outbox.actions.len() > 1 {
            for action in outbox.actions.drain(..) {
                self.act(key, action);
            }
        }
        let (last, passed) = (outbox.actions.pop(), outbox.passed.take());
        self.outbox = Some(outbox);
        if let Some(action) = last {
            self.act(key, action);
        }
        if let Some(message) = passed {
            self.pass(key, message);
        }
        match progress {
            Progress::Busy => {}
            Progress::Done => self.done(key),
            Progress::Taken => {
                // Its task says what becomes of it.
                self.slots[key].current = None;
                self.done(key);
            }
            Progress::Failed(message) => self.failed(key, message),
        }
    }

    fn done(&mut self, key: usize) {
        let now = (self.clock)();
        self.now = now;
        let slot = &mut self.slots[key];
        slot.busy = false;
        self.tell_load(key);
        let slot = &mut self.slots[key];
        if let Some(started) = slot.starting.take() {
            if started.send(Ok(())).is_err() {
                tracing::debug!(me = %slot.me, "nobody waited for the start");
            }
        } else if let Some(current) = slot.current.take()
            && !current.faulty
        {
            let times = [current.created, current.begin, now];
            slot.count(&mut self.recorder, current.source, times);
            self.handled += 1;
            if let Some(open) = current.open {
                self.close(open, None);
            }
        }
        if !self.slots[key].inbox.is_empty() {
            self.make_ready(key);
        } else if self.slots[key].stopping.is_some() {
            self.end_if_idle(key);
        }
    }

    fn failed(&mut self, key: usize, message: String) {
        self.cut_off(key, &message);
        self.tell_error(key, &message);
        let slot = &mut self.slots[key];
        if let Some(started) = slot.starting.take() {
            self.remove(key);
            if started.send(Err(SpawnError::Failed(message))).is_err() {
                tracing::debug!("nobody waited for the start");
            }
        } else {
            let physical_id = slot.me.physical_id;
            let mut failures = self
                .shared
                .failures
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            failures.push(Failure {
                physical_id,
                message,
            });
            drop(failures);
            self.remove(key);
            self.shared.failed.notify_one();
        }
    }

    /// Does what an operator asks for.
    #[inline]
    pub(super) fn act(&mut self, key: usize, action: Action) {
        if let Action::Cast(to, payload) = action {
            let current = self.slots[key].current.as_ref();
            let parent = current.and_then(|current| current.open);
            self.cast(key, to, payload, parent);
        } else {
            self.act_otherwise(key, action);
        }
    }

    fn act_otherwise(&mut self, key: usize, action: Action) {
        match action {
            Action::Cast(to, payload) => self.cast(key, to, payload, None),
            Action::Call(to, payload, token) => self.call(key, to, payload, token),
            Action::Answer(call, answer) => {
                let current = self.slots[key].current.as_mut();
                if let Some(current) =
                    current.filter(|it| it.call.is_some_and(|it| it.id == call.id))
                {
                    current.answered();
                }
                self.answer(key, call, answer);
            }
            Action::Delayed(delay, to, payload) => {
                self.later(key, delay, |me| Due::Cast(me, to, payload));
            }
            Action::Log(target, value) => self.log(key, target, value),
            Action::Save(state) => {
                let slot = &mut self.slots[key];
                slot.saved = Some(state.clone());
                let mut states = self
                    .shared
                    .states
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                states.insert(slot.me.physical_id, state);
            }
            Action::Fault(reason) => {
                tracing::debug!(me = %self.slots[key].me, reason, "an event ended with an error");
                self.shared.counters.faults.fetch_add(1, Relaxed);
                self.slots[key].faults += 1;
                self.tell_error(key, &reason);
                let current = self.slots[key].current.as_mut();
                let open = current.and_then(|current| {
                    current.faulty = true;
                    current.open.take()
                });
                if let Some(open) = open {
                    self.close(open, Some(Refusal::passing(reason.clone())));
                }
                self.log(key, FAULT.to_owned(), reason);
            }
            Action::Batch(to, payload, of) => self.batch(key, to, payload, &of),
            Action::Acknowledge(id) => self.acknowledge(key, id),
            Action::Refuse(id, refusal) => self.refuse_open(key, id, refusal),
            Action::Timer(delay, number) => self.later(key, delay, |me| Due::Timer(me, number)),
            Action::Budget(budget) => self.tell_upstream(key, UpwardKind::Budget(budget)),
        }
    }

    /// Does something for an operator later, unless too much is to be done for it later already.
    fn later(&mut self, key: usize, delay: Duration, due: impl FnOnce(PhysicalId) -> Due) {
        let slot = &mut self.slots[key];
        if slot.delayed >= self.shared.config.inbox * DELAYED {
            self.shared.counters.dropped(Drop::Timers, 1);
            return;
        }
        slot.delayed += 1;
        self.timers
            .insert(self.now + delay, due(slot.me.physical_id));
    }

    pub(super) fn log(&mut self, key: usize, target: String, value: String) {
        let entry = LogEntry {
            physical_id: self.slots[key].me.physical_id,
            target,
            value,
            timestamp: self.now,
        };
        if !self.recorder.log(entry) {
            self.shared.counters.log_entries_lost.fetch_add(1, Relaxed);
        }
    }

    /// Sends a cast, which may come of a message that is being handled.
    #[inline]
    pub(super) fn cast(
        &mut self,
        key: usize,
        to: Destination,
        payload: Bytes,
        parent: Option<OpenKey>,
    ) {
        let mut message = self.message(key, MessageKind::Cast, payload);
        if let Some(channel) = self.slots[key].tracks(&to)
            && !self.track(key, channel, &mut message, parent.into())
        {
            return;
        }
        self.dispatch(key, to, message, None);
    }

    /// Sends the message that was handled on.
    #[inline]
    pub(super) fn pass(&mut self, key: usize, mut message: Message) {
        let slot = &self.slots[key];
        message.source = slot.me;
        deadline::become_cast(&mut message);
        message.envelope.created = self.now;
        message.ticket = None;
        if slot.is_plain()
            && self.hops_left > 0
            && self.hand.is_none()
            && let Some((next, target)) = self.next_of(key)
            && self.is_at_leisure(next)
        {
            // The edge is fused: nothing else is to be looked up or to be waited for.
            self.slots[key].outputs.count_out();
            message.target = target;
            self.hand = Some((next, message));
            return;
        }
        let slot = &self.slots[key];
        if slot.delivery.deadline.is_some() {
            message.envelope.sooner(slot.use_by(self.now));
        }
        let to = Destination::Channel(ChannelName::from_slice(OUT.as_bytes()));
        if let Some(channel) = slot.tracks(&to) {
            let current = slot.current.as_ref();
            let parent = current.and_then(|current| current.open);
            if parent.is_none() {
                // Where it comes by again, it is not taken for what came before.
                message.id = self.next_id();
            }
            if !self.track(key, channel, &mut message, parent.into()) {
                return;
            }
        }
        self.dispatch(key, to, message, None);
    }

    fn call(&mut self, key: usize, to: Destination, payload: Bytes, token: u64) {
        let mut message = self.message(key, MessageKind::Call, payload);
        let slot = &self.slots[key];
        let current = slot.current.as_ref();
        let timeout = self.now + self.shared.config.call_timeout;
        let until = current.and_then(|it| it.deadline);
        let until = until.map_or(timeout, |it| it.min(timeout));
        deadline::wait_until(&mut message.envelope, until);
        if slot.busy {
            let before = current.and_then(|current| current.callers.as_deref());
            let callers = before.unwrap_or_default().iter().copied().chain([slot.me]);
            message.envelope.extra.get_or_insert_default().callers = callers.collect();
        }
        let waiter = Waiter::Operator(slot.me.physical_id, token);
        self.expect_answer(key, &mut message, waiter);
        self.dispatch(key, to, message, None);
    }
}
