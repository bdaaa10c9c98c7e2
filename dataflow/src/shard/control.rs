//! Signals to operators: cancellations, budgets, timers, errors, configurations, the end of the node.

use std::time::Duration;

use bytes::Bytes;
use edgeless_types::{
    PhysicalId,
    message::{Budget, MessageId, Upward, UpwardKind},
};
use tokio::sync::oneshot;

use super::{Inject, Shard};
use crate::{
    budget::Allowance,
    control::{Control, Interests, Propagation},
    counters::Drop,
    operator::Action,
};

/// How far a signal travels at most.
const HOPS: u8 = 64;
/// How often an operator says at most that something went wrong.
const ERRORS: Duration = Duration::from_millis(100);

impl Shard {
    /// Tells an instance a signal, if it subscribes to it.
    pub(super) fn ask(
        &mut self,
        to: PhysicalId,
        interest: Interests,
        control: impl FnOnce() -> Control,
    ) -> Propagation {
        match self.key_of(to) {
            Some(key) if self.slots[key].interests.has(interest) => self.tell(key, control()),
            Some(_) | None => Propagation::Pass,
        }
    }

    fn tell(&mut self, key: usize, control: Control) -> Propagation {
        let slot = &mut self.slots[key];
        let Some(mut operator) = slot.operator.take() else {
            return Propagation::Pass;
        };
        // What it does now does not come of the message it is at.
        let mut current = slot.current.take();
        let mut outbox = self.outbox.take().unwrap_or_default();
        outbox.now = self.now;
        let propagation = operator.on_signal(control, &mut outbox);
        self.slots[key].operator = Some(operator);
        for action in outbox.actions.drain(..) {
            match action {
                // Of these it may be the one it is at.
                Action::Answer(..) | Action::Acknowledge(_) | Action::Refuse(..) => {
                    self.slots[key].current = current;
                    self.act(key, action);
                    current = self.slots[key].current.take();
                }
                action => self.act(key, action),
            }
        }
        let passed = outbox.passed.take();
        self.outbox = Some(outbox);
        if let Some(message) = passed {
            self.pass(key, message);
        }
        self.slots[key].current = current;
        propagation
    }

    /// Nobody waits for a message to an instance any more.
    pub(super) fn on_cancel(&mut self, to: PhysicalId, id: MessageId) {
        let Some(key) = self.key_of(to) else { return };
        let slot = &mut self.slots[key];
        if let Some(at) = slot.inbox.iter().position(|it| it.message.id == id)
            && let Some(queued) = slot.inbox.remove(at)
        {
            let released = self.dequeued(key, &queued);
            let shards = self.slots[key].gate.release(released);
            self.shared.ring(shards);
            self.shared.counters.dropped(Drop::Cancelled, 1);
        }
        self.tracker.cancelled(to, id, &mut self.effects);
        self.ask(to, Interests::CANCEL, || Control::Cancel(id));
        self.end_if_idle(key);
    }

    /// Something went wrong at an operator: those who send to it may want to know.
    pub(super) fn tell_error(&mut self, key: usize, reason: &str) {
        let now = self.now;
        let heard = self.slots[key].heard_mut();
        if now.since(heard.told_error) < ERRORS {
            return;
        }
        heard.told_error = now;
        self.tell_upstream(key, UpwardKind::Error(reason.into()));
    }

    /// An operator tells those who send to it something.
    pub(super) fn tell_upstream(&mut self, key: usize, kind: UpwardKind) {
        let id = self.next_id();
        self.said.push_back(Upward {
            id,
            of: self.slots[key].me.physical_id,
            hops: HOPS,
            kind,
        });
    }

    /// Spreads what operators have said; what they say to that comes later.
    pub(super) fn spread_said(&mut self) {
        for _ in 0..self.said.len() {
            if let Some(upward) = self.said.pop_front() {
                self.spread(&upward);
            }
        }
    }

    fn spread(&mut self, upward: &Upward) {
        if upward.hops == 0 {
            return;
        }
        let senders = self.shared.directory().senders_to(upward.of);
        self.shared.remote.upward(self.index, upward);
        for (to, shard) in senders {
            match shard == self.index {
                true => self.on_upward(to, upward.clone()),
                false => self.outgoing_upwards[shard].push((to, upward.clone())),
            }
        }
    }

    /// An operator that this one leads to says something.
    pub(super) fn on_upward(&mut self, to: PhysicalId, mut upward: Upward) {
        let Some(key) = self.key_of(to) else { return };
        let heard = self.slots[key].heard_mut();
        if heard.last == upward.id {
            return;
        }
        heard.last = upward.id;
        if let UpwardKind::Budget(budget) = &mut upward.kind {
            // What holds is what all those allow that it leads to.
            heard.bounds.retain(|&(of, _)| of != upward.of);
            if *budget != Budget::default() {
                heard.bounds.push((upward.of, *budget));
            }
            let bounds = heard.bounds.iter().map(|&(_, bound)| bound);
            *budget = bounds.fold(Budget::default(), Budget::and);
        }
        let propagation = match &upward.kind {
            UpwardKind::Budget(budget) => {
                self.ask(to, Interests::BUDGET, || Control::Budget(*budget))
            }
            UpwardKind::Error(reason) => {
                self.ask(to, Interests::ERROR, || Control::Error(reason.clone()))
            }
        };
        if propagation != Propagation::Pass {
            return;
        }
        if let UpwardKind::Budget(budget) = upward.kind {
            let allowance = Allowance::new(budget, self.now);
            self.slots[key].heard_mut().allowance = Some(allowance);
            self.allowed(to);
        }
        self.spread(&Upward {
            of: to,
            hops: upward.hops - 1,
            ..upward
        });
    }

    /// The outputs of an operator have changed: the budget of one that it leads to no more binds nobody.
    pub(super) fn unbind(&mut self, key: usize) {
        let slot = &self.slots[key];
        let bounds = slot.heard.as_ref().map_or(&[][..], |it| &it.bounds);
        let leads_to = |of| slot.outputs.instances().any(|it| it.physical_id == of);
        let gone = bounds.iter().map(|&(of, _)| of).filter(|&of| !leads_to(of));
        let (to, gone) = (slot.me.physical_id, gone.collect::<Vec<_>>());
        for of in gone {
            let upward = Upward {
                id: self.next_id(),
                of,
                hops: HOPS,
                kind: UpwardKind::Budget(Budget::default()),
            };
            self.on_upward(to, upward);
        }
    }

    /// A timer of an operator has run out.
    pub(super) fn timer(&mut self, physical_id: PhysicalId, number: u64) {
        if let Some(key) = self.key_of(physical_id) {
            self.slots[key].is_due();
        }
        self.ask(physical_id, Interests::TIMER, || Control::Timer(number));
    }

    /// An instance is to be configured anew.
    pub(super) fn configure(
        &mut self,
        physical_id: PhysicalId,
        config: Bytes,
        done: oneshot::Sender<Option<Propagation>>,
    ) {
        let key = self.key_of(physical_id);
        let takes = key.filter(|&key| self.slots[key].interests.has(Interests::CONFIGURE));
        let told = takes.map(|key| self.tell(key, Control::Configure(config)));
        if done.send(told).is_err() {
            tracing::debug!(%physical_id, "nobody waited for the configuration");
        }
    }

    /// The node is about to end.
    pub(super) fn announce_shutdown(&mut self) {
        let slots = self.slots.iter();
        let ids: Vec<_> = slots.map(|(_, slot)| slot.me.physical_id).collect();
        for id in ids {
            self.ask(id, Interests::SHUTDOWN, || Control::Shutdown);
        }
    }

    /// Sends what waits for other shards; what finds no room waits for the next time.
    pub(super) fn flush_signals(&mut self) {
        for (index, shard) in self.shared.shards.iter().enumerate() {
            let signals = &mut self.outgoing_signals[index];
            if !signals.is_empty()
                && let Ok(permit) = shard.try_reserve()
            {
                permit.send(Inject::Signals(std::mem::take(signals)));
            }
            let upwards = &mut self.outgoing_upwards[index];
            if !upwards.is_empty()
                && let Ok(permit) = shard.try_reserve()
            {
                permit.send(Inject::Upwards(std::mem::take(upwards)));
            }
        }
    }
}
