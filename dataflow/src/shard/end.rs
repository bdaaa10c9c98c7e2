//! Ends of operators: what was queued, parked or asked of them is not forgotten silently.

use std::sync::atomic::Ordering::Relaxed;

use edgeless_types::message::MessageKind;

use super::{Shard, slot::Queued};
use crate::{counters::Drop, operator::Answer};

impl Shard {
    /// Ends an operator that is stopping, when it has nothing left to do or its time is over.
    pub(super) fn end_if_idle(&mut self, key: usize) {
        let slot = &self.slots[key];
        let Some(stopping) = &slot.stopping else {
            return;
        };
        if slot.is_idle() || stopping.deadline <= self.now {
            self.end(key);
        }
    }

    fn end(&mut self, key: usize) {
        self.cut_off(key, "the instance has stopped");
        self.lose_unsent(key);
        let mut saved = None;
        if let Some(mut operator) = self.slots[key].operator.take() {
            let mut outbox = self.outbox.take().unwrap_or_default();
            saved = operator.stop(&mut outbox);
            for action in outbox.actions.drain(..) {
                self.act(key, action);
            }
            let passed = outbox.passed.take();
            self.outbox = Some(outbox);
            if let Some(message) = passed {
                self.pass(key, message);
            }
        }
        let saved = saved.or_else(|| self.slots[key].saved.take());
        let stopping = self.slots[key].stopping.take();
        self.remove(key);
        // Only now: whoever waits may start its successor, of the same name.
        if let Some(stopping) = stopping
            && stopping.done.send(saved).is_err()
        {
            tracing::debug!("nobody waited for the stop");
        }
    }

    /// What an operator that ends is handling is not handled, and counted.
    pub(super) fn cut_off(&mut self, key: usize, why: &str) {
        let slot = &mut self.slots[key];
        slot.busy = false;
        let Some(current) = slot.current.take() else {
            return;
        };
        if !current.faulty {
            self.shared.counters.dropped(Drop::Stopped, 1);
        }
        if let Some(call) = current.call {
            self.answer(key, call, Answer::Error(why.to_owned()));
        }
    }

    /// What an operator that ends has not sent is lost, and counted.
    fn lose_unsent(&mut self, key: usize) {
        let slot = &mut self.slots[key];
        let held = std::mem::take(&mut slot.held);
        let number: usize = held.iter().map(|(_, messages)| messages.len()).sum();
        self.shared.held.fetch_sub(number, Relaxed);
        let parked = slot.parked.drain(..);
        let all = parked.chain(held.into_iter().flat_map(|(_, messages)| messages));
        // A port that waits learns it; nobody else does.
        let lost = all.filter(|it| it.done.is_none()).count();
        self.shared.counters.dropped(Drop::Stopped, lost as u64);
    }

    /// Forgets an operator; what was queued for it is counted, calls are answered.
    pub(super) fn remove(&mut self, key: usize) {
        self.lose_unsent(key);
        let mut slot = self.slots.remove(key);
        self.tracker.forget(slot.me.physical_id, &mut self.effects);
        self.by_id.remove(&slot.me.physical_id);
        self.shared.forget(slot.me.physical_id);
        self.ready.retain(|&other| other != key);
        self.shared
            .counters
            .dropped(Drop::Stopped, slot.inbox.len() as u64);
        let weight = slot.inbox.iter().map(|it| it.message.weight()).sum();
        if let Some(Some(group)) = self.leave_account(slot.account, weight) {
            self.shared.forget_gauge(group);
        }
        for Queued { message, .. } in slot.inbox.drain(..) {
            if message.kind == MessageKind::Call {
                self.refuse(&message, "the instance has stopped".to_owned());
            }
            self.refuse_tracked(&message, "the instance has stopped", false);
        }
    }
}
