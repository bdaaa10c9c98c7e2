//! How much waits in inboxes: of one operator, of a workflow, of the node. Whoever brings more in from
//! outside waits while a bound is reached; between operators only the bounds of inboxes count, so that
//! what is inside can always get out.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use edgeless_types::message::{Budget, Message};
use rustc_hash::FxHashMap;
use slab::Slab;

use super::{
    Shard,
    slot::{Entrance, Queued},
};
use crate::control::{Control, Interests};

/// What waits for the members of the groups on one shard.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    all: Slab<Account>,
    by_group: FxHashMap<Option<u128>, usize>,
    /// Those that have changed since they were published.
    changed: Vec<usize>,
}

/// What waits for the members of one group on one shard, by weight.
#[derive(Debug)]
struct Account {
    group: Option<u128>,
    members: usize,
    weight: usize,
    published: usize,
    /// The same over all shards.
    gauge: Arc<AtomicUsize>,
}

impl Accounts {
    /// One more member; where its group is kept.
    pub(super) fn enter(
        &mut self,
        group: Option<u128>,
        gauge: impl FnOnce() -> Arc<AtomicUsize>,
    ) -> usize {
        let place = *self.by_group.entry(group).or_insert_with(|| {
            self.all.insert(Account {
                group,
                members: 0,
                weight: 0,
                published: 0,
                gauge: gauge(),
            })
        });
        self.all[place].members += 1;
        place
    }

    /// One less; whether it was the last one, and of which group.
    pub(super) fn leave(&mut self, place: usize, node: &AtomicUsize) -> Option<Option<u128>> {
        let account = &mut self.all[place];
        account.members -= 1;
        if account.members > 0 {
            return None;
        }
        account.publish(node);
        let account = self.all.remove(place);
        self.changed.retain(|&it| it != place);
        self.by_group.remove(&account.group);
        Some(account.group)
    }

    #[inline]
    fn change(&mut self, place: usize, change: impl FnOnce(usize) -> usize) {
        let account = &mut self.all[place];
        if account.weight == account.published {
            self.changed.push(place);
        }
        account.weight = change(account.weight);
    }

    /// Tells the other shards; whether something waits on the node now, where nothing did before.
    pub(super) fn publish(&mut self, node: &AtomicUsize) -> bool {
        let mut begins = false;
        for place in self.changed.drain(..) {
            begins |= self.all[place].publish(node);
        }
        begins
    }
}

impl Account {
    fn publish(&mut self, node: &AtomicUsize) -> bool {
        let mut begins = false;
        for gauge in [&*self.gauge, node] {
            if self.weight > self.published {
                begins = gauge.fetch_add(self.weight - self.published, Relaxed) == 0;
            } else {
                gauge.fetch_sub(self.published - self.weight, Relaxed);
            }
        }
        self.published = self.weight;
        begins
    }
}

impl Shard {
    /// Puts a message into an inbox.
    #[inline]
    pub(super) fn enqueue(&mut self, key: usize, message: Message, from: Entrance) {
        let weight = message.weight();
        let slot = &mut self.slots[key];
        if from == Entrance::Local {
            slot.local += weight;
            slot.gate.set_here(slot.local + usize::from(slot.busy));
        }
        let account = slot.account;
        slot.inbox.push_back(Queued { message, from });
        self.accounts.change(account, |it| it + weight);
        self.make_ready(key);
    }

    /// Tells the other shards and whoever looks what waits here.
    pub(super) fn publish_waiting(&mut self) {
        if self.accounts.publish(&self.shared.waiting) {
            self.shared.waits.notify_one();
        }
    }

    /// Tells those who choose whom to send to what waits here.
    #[inline]
    pub(super) fn tell_load(&self, key: usize) {
        let slot = &self.slots[key];
        slot.gate.set_here(slot.local + usize::from(slot.busy));
        if slot.gate.is_idle_news(self.now) {
            self.shared.idle.notify_waiters();
        }
    }

    /// A message has left an inbox; what its gate is to release for it.
    #[inline]
    pub(super) fn dequeued(&mut self, key: usize, queued: &Queued) -> usize {
        let weight = queued.message.weight();
        let slot = &mut self.slots[key];
        let account = slot.account;
        self.made_room = true;
        let released = match queued.from {
            Entrance::Local => {
                slot.local -= weight;
                0
            }
            Entrance::Gate => weight,
        };
        self.accounts.change(account, |it| it - weight);
        released
    }

    /// An operator has ended, with so much in its inbox; the group whose last one it was here.
    pub(super) fn leave_account(&mut self, place: usize, weight: usize) -> Option<Option<u128>> {
        self.accounts.change(place, |it| it - weight);
        self.accounts.leave(place, &self.shared.waiting)
    }

    /// Whether the workflow of an operator has as much waiting as it may; or the node has, and that
    /// workflow its part of it: who has little waiting is not held up by others.
    pub(super) fn is_full(&self, key: usize) -> bool {
        let config = &self.shared.config;
        let account = &self.accounts.all[self.slots[key].account];
        let others = account.gauge.load(Relaxed) - account.published;
        let workflow = others + account.weight;
        let part = config.node / self.shared.groups.load(Relaxed).max(1);
        account.group.is_some() && workflow >= config.workflow
            || self.shared.waiting.load(Relaxed) >= config.node && workflow >= part
    }

    /// The port of an operator has to wait, as too much waits already.
    pub(super) fn press_source(&mut self, key: usize) {
        if !self.pressed.contains(&key) {
            self.pressed.push(key);
            self.tell_budget(key, Budget::NOTHING);
        }
    }

    /// Lets ports that had to wait go on, where less waits now.
    pub(super) fn retry_pressed(&mut self) {
        if self.pressed.is_empty() {
            return;
        }
        self.publish_waiting();
        for key in std::mem::take(&mut self.pressed) {
            if !self.slots.contains(key) {
                continue;
            }
            if self.slots[key].paused {
                continue;
            }
            if self.is_full(key) {
                self.pressed.push(key);
                continue;
            }
            self.tell_budget(key, Budget::default());
            let id = self.slots[key].me.physical_id;
            self.allowed(id);
        }
    }

    pub(super) fn tell_budget(&mut self, key: usize, budget: Budget) {
        let to = self.slots[key].me.physical_id;
        self.ask(to, Interests::BUDGET, || Control::Budget(budget));
    }
}
