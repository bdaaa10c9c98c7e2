//! What ports send: they wait while too much waits already, or while a budget says so.

use std::collections::VecDeque;

use edgeless_types::{PhysicalId, Timestamp};

use super::{Due, Inject, Shard, slot::Heard};
use crate::{budget::Wait, output::ChannelName, port::Called};

/// Messages of a source that may be outstanding, as a multiple of the bound of an inbox.
const OUTSTANDING: usize = 4;

impl Shard {
    /// Whether the port of an operator may send a message of so many bytes on a channel now, behind what
    /// waits.
    pub(super) fn may_send(&mut self, key: usize, channel: &ChannelName, bytes: usize) -> bool {
        let now = self.now;
        if self.slots[key].paused {
            return false;
        }
        if self.is_full(key) {
            self.press_source(key);
            return false;
        }
        let slot = &mut self.slots[key];
        let many = slot.outstanding >= self.shared.config.inbox * OUTSTANDING;
        if many && slot.tracks_channel(channel).is_some() {
            return false;
        }
        let Some(heard) = slot.heard.as_deref_mut() else {
            return true;
        };
        if !heard.waiting.is_empty() {
            return false;
        }
        match heard.take(bytes, now) {
            Ok(()) => true,
            Err(wait) => {
                let due = Due::Allowed(slot.me.physical_id);
                if let Wait::Until(at) = wait {
                    self.timers.insert(at, due);
                }
                false
            }
        }
    }

    /// The port of an operator may send again, perhaps.
    pub(super) fn allowed(&mut self, physical_id: PhysicalId) {
        while let Some(key) = self.key_of(physical_id)
            && let Some(heard) = self.slots[key].heard.as_deref_mut()
            && let Some((until, mut inject)) = heard.waiting.pop_front()
        {
            if has_gone(&inject) {
                continue;
            }
            if let (Some(until), Inject::PortCall { timeout, .. }) = (until, &mut inject) {
                *timeout = until.since(self.now);
            }
            let rest = std::mem::take(&mut heard.waiting);
            self.on_inject(inject);
            let Some(heard) = self.slots.get_mut(key).map(|slot| slot.heard_mut()) else {
                return;
            };
            let stays = !heard.waiting.is_empty();
            heard.waiting.extend(rest);
            if stays {
                return;
            }
        }
    }

    /// What a port is to send waits until it may; who calls waits no longer than it wants to.
    pub(super) fn wait_to_send(&mut self, key: usize, inject: Inject) {
        let until = match &inject {
            Inject::PortCall { timeout, .. } => Some(self.now + *timeout),
            _ => None,
        };
        let heard = self.slots[key].heard_mut();
        if heard.waiting.len().is_power_of_two() {
            heard.waiting.retain(|(_, it)| !has_gone(it));
        }
        heard.waiting.push_back((until, inject));
        self.look_for_late(key, until);
    }

    /// Looks at that moment whose call waits for too long to be sent.
    fn look_for_late(&mut self, key: usize, until: Option<Timestamp>) {
        let slot = &mut self.slots[key];
        let physical_id = slot.me.physical_id;
        let heard = slot.heard_mut();
        if let Some(until) = until
            && heard.looks_at.is_none_or(|at| until < at)
        {
            heard.looks_at = Some(until);
            self.timers.insert(until, Due::TooLate(physical_id));
        }
    }

    /// Calls of a port that wait to be sent may do so for too long.
    pub(super) fn end_late(&mut self, physical_id: PhysicalId) {
        let Some(key) = self.key_of(physical_id) else {
            return;
        };
        let now = self.now;
        let heard = self.slots[key].heard_mut();
        heard.looks_at = None;
        let is_late = |until: &Option<Timestamp>| until.is_some_and(|until| until <= now);
        let waiting = std::mem::take(&mut heard.waiting).into_iter();
        let (late, waiting): (VecDeque<_>, _) = waiting.partition(|(until, _)| is_late(until));
        let next = waiting.iter().filter_map(|(until, _)| *until).min();
        heard.waiting = waiting;
        self.look_for_late(key, next);
        for (_, inject) in late {
            if let Inject::PortCall { channel, done, .. } = inject
                && done
                    .send(Called::nowhere(self.expired_call(physical_id, &channel)))
                    .is_err()
            {
                tracing::debug!("the caller is gone");
            }
        }
    }
}

impl Heard {
    fn take(&mut self, bytes: usize, now: Timestamp) -> Result<(), Wait> {
        let allowance = self.allowance.as_mut();
        allowance.map_or(Ok(()), |allowance| allowance.take(bytes, now))
    }
}

/// Whether nobody waits for what a port is to send.
fn has_gone(inject: &Inject) -> bool {
    match inject {
        Inject::PortCast { done, .. } => done.is_closed(),
        Inject::PortCall { done, .. } => done.is_closed(),
        _ => false,
    }
}
