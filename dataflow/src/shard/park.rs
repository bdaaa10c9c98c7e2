//! What could not be sent yet: held by a channel, or parked until there is room.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use edgeless_types::{
    PhysicalId,
    message::{Message, MessageId},
};

use super::{
    RETRY, Shard,
    slot::{Done, Parked, Wait},
};
use crate::{
    config::FAR_TIMES, counters::Drop, gate, operator::Destination, output::ChannelName,
    port::PortError,
};

/// How many times its bound an inbox takes from a circle of full inboxes.
const OVERFULL: usize = 4;

impl Shard {
    /// Sends a message, or parks it behind those that wait already.
    #[inline]
    pub(super) fn dispatch(
        &mut self,
        key: usize,
        to: Destination,
        message: Message,
        mut done: Done,
    ) {
        let slot = &mut self.slots[key];
        if !slot.taps.is_empty() {
            slot.show(self.now, Some(&to), &message);
        }
        if !slot.parked.is_empty() {
            slot.parked.push_back(Parked { to, message, done });
        } else if let Err((wait, message)) = self.try_send(key, &to, message, &mut done, 1) {
            self.park(key, wait, Parked { to, message, done });
        }
    }

    /// Parks a message that is to wait, behind those that wait already.
    pub(super) fn park(&mut self, key: usize, wait: Wait, parked: Parked) {
        let slot = &mut self.slots[key];
        if slot.parked.is_empty() {
            slot.parked_for = wait;
            slot.parked_since = self.now;
        }
        slot.parked.push_back(parked);
        self.block(key);
    }

    /// Keeps a message on a channel that leads to no instance now, as long as there is room.
    #[expect(
        clippy::result_large_err,
        reason = "the message itself comes back, unboxed"
    )]
    pub(super) fn hold(
        &mut self,
        key: usize,
        name: &ChannelName,
        message: Message,
        done: &mut Done,
    ) -> Result<(), (Wait, Message)> {
        let bound = self.shared.config.inbox;
        if self.slots[key].held() >= bound {
            self.drop_late(key);
        }
        let slot = &mut self.slots[key];
        if slot.held() >= bound {
            return Err((Wait::Held, message));
        }
        accepted(done, Ok(()));
        let parked = Parked {
            to: Destination::Channel(name.clone()),
            message,
            done: None,
        };
        self.shared.held.fetch_add(1, Relaxed);
        match slot.held.iter_mut().find(|(other, _)| other == name) {
            Some((_, messages)) => messages.push_back(parked),
            None => {
                slot.held.push((name.clone(), [parked].into()));
                self.shared.wanted.notify_one();
            }
        }
        Ok(())
    }

    /// Forgets what is held past its deadline.
    fn drop_late(&mut self, key: usize) {
        let now = self.now;
        let is_late = |it: &Parked| it.message.envelope.deadline.is_some_and(|at| at < now);
        let number = self.slots[key].forget_held(usize::MAX, is_late);
        self.shared.held.fetch_sub(number, Relaxed);
        self.shared.counters.dropped(Drop::Deadline, number as u64);
    }

    /// A message that is yet to be sent is not sent, as nobody waits for it, or as it is sent anew.
    pub(super) fn withdraw(&mut self, from: PhysicalId, id: MessageId, anew: bool) {
        let Some(key) = self.key_of(from) else { return };
        let is_it = |it: &Parked| it.message.id == id && !it.message.kind.is_answer();
        let slot = &mut self.slots[key];
        // Only the oldest: it may be sent anew already.
        let held = slot.forget_held(1, is_it);
        let mut parked = None;
        if held == 0 {
            let at = slot.parked.iter().position(is_it);
            parked = at.and_then(|at| slot.parked.remove(at));
        }
        if held == 0 && parked.is_none() {
            return;
        }
        self.shared.held.fetch_sub(held, Relaxed);
        if !anew {
            self.shared.counters.dropped(Drop::Cancelled, 1);
        }
        if let Some(mut parked) = parked {
            accepted(&mut parked.done, Err(PortError::Deadline));
        }
        self.retry(key);
    }

    /// Tries what is parked again, everywhere.
    pub(super) fn retry_blocked(&mut self) {
        for key in std::mem::take(&mut self.blocked) {
            if self.slots.contains(key) {
                self.slots[key].blocked = false;
                self.retry(key);
            }
        }
    }

    /// Tries what one operator has parked.
    pub(super) fn retry(&mut self, key: usize) {
        while let Some(Parked {
            to,
            message,
            mut done,
        }) = self.slots[key].parked.pop_front()
        {
            match self.try_send(key, &to, message, &mut done, 1) {
                Ok(()) => self.slots[key].parked_since = self.now,
                Err((wait, message)) => {
                    self.slots[key].parked_for = wait;
                    let parked = Parked { to, message, done };
                    if let Err(parked) = self.press(key, wait, parked) {
                        self.slots[key].parked.push_front(parked);
                        self.block(key);
                        return;
                    }
                }
            }
        }
        self.slots[key].wait_for(None);
        if !self.slots[key].inbox.is_empty() {
            self.make_ready(key);
        }
        self.end_if_idle(key);
    }

    /// What waits in a circle goes over the bound; what waits too long is dropped. Gives the message
    /// back where it goes on waiting.
    #[expect(
        clippy::result_large_err,
        reason = "the message itself comes back, unboxed"
    )]
    fn press(&mut self, key: usize, wait: Wait, parked: Parked) -> Result<(), Parked> {
        let slot = &mut self.slots[key];
        let stuck = self.now.since(slot.parked_since);
        let patience = self.shared.config.park_timeout;
        let mut parked = match wait {
            Wait::Held => {
                slot.wait_for(None);
                return Err(parked);
            }
            Wait::Far => {
                slot.wait_for(None);
                if stuck <= patience * FAR_TIMES {
                    return Err(parked);
                }
                parked
            }
            Wait::Full => {
                let (me, target) = (slot.me.physical_id, parked.message.target);
                // Said before it is asked: of those in a circle, the last one to say it sees it.
                let news = slot.wait_for(Some(target));
                let shared = &self.shared;
                let next = |at| shared.gate(at).and_then(|gate| gate.waits_for());
                if !gate::is_cycle(me, target, next) {
                    return Err(parked);
                }
                if news {
                    // The others of the circle may go over the bound as well from now on.
                    self.shared.ring(u64::MAX);
                }
                let Parked {
                    to,
                    message,
                    mut done,
                } = parked;
                match self.try_send(key, &to, message, &mut done, OVERFULL) {
                    Ok(()) => {
                        self.slots[key].parked_since = self.now;
                        return Ok(());
                    }
                    Err((_, message)) if stuck <= patience => {
                        return Err(Parked { to, message, done });
                    }
                    Err((_, message)) => Parked { to, message, done },
                }
            }
        };
        self.shared.counters.dropped(Drop::Parked, 1);
        self.give_up(&parked.message, "the way stayed full");
        accepted(&mut parked.done, Err(PortError::Deadline));
        Ok(())
    }

    /// How soon something that is parked must be tried again although nothing happens here.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let waits = self.blocked.iter().filter_map(|&key| self.slots.get(key));
        let soonest = waits.filter_map(|slot| match slot.parked_for {
            Wait::Far => Some(RETRY),
            // Room here or on another shard rings; only being stuck for long does not.
            Wait::Full => Some(self.shared.config.park_timeout.max(RETRY)),
            // What it holds may be past its deadline by then.
            Wait::Held => slot.delivery.deadline.map(|it| it.max(RETRY)),
        });
        let behind = self.outgoing.iter().any(|waiting| !waiting.is_empty())
            || self.outgoing_signals.iter().any(|it| !it.is_empty())
            || self.outgoing_upwards.iter().any(|it| !it.is_empty());
        let pressed = !self.pressed.is_empty();
        soonest.chain((behind || pressed).then_some(RETRY)).min()
    }

    fn block(&mut self, key: usize) {
        if !self.slots[key].blocked {
            self.slots[key].blocked = true;
            self.blocked.push(key);
        }
    }
}

/// Tells a port that waits what became of its message.
pub(super) fn accepted(done: &mut Done, outcome: Result<(), PortError>) {
    if let Some(done) = done.take()
        && done.send(outcome).is_err()
    {
        tracing::debug!("the sender is gone");
    }
}
