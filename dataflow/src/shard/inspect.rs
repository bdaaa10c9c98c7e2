//! What operators do at the moment, for whoever looks; and their pauses.

use edgeless_types::PhysicalId;

use super::{Shard, slot::Slot};
use crate::stats::{OperatorView, Phase, Times};

impl Shard {
    /// Every operator of this shard, as it is now.
    pub(super) fn inspect(&self) -> Vec<OperatorView> {
        let slots = self.slots.iter();
        slots.map(|(_, slot)| slot.view(self.index)).collect()
    }

    /// An operator takes no more messages, or takes them again: what is queued stays, and its senders
    /// wait once its inbox is full.
    pub(super) fn set_paused(&mut self, physical_id: PhysicalId, paused: bool) -> bool {
        let Some(&key) = self.by_id.get(&physical_id) else {
            return false;
        };
        self.slots[key].paused = paused;
        if !paused && !self.slots[key].inbox.is_empty() {
            self.make_ready(key);
        }
        true
    }
}

impl Slot {
    fn phase(&self) -> Phase {
        if self.starting.is_some() {
            Phase::Starting
        } else if self.stopping.is_some() {
            Phase::Draining
        } else if self.paused {
            Phase::Paused
        } else {
            Phase::Running
        }
    }

    fn view(&self, shard: usize) -> OperatorView {
        let stats = self.stats.as_deref();
        let mut channels = self.outputs.views();
        for channel in &mut channels {
            let held = self
                .held
                .iter()
                .find(|(name, _)| name.as_slice() == channel.name.as_bytes());
            channel.held = held.map_or(0, |(_, messages)| messages.len());
        }
        OperatorView {
            physical_id: self.me.physical_id,
            shard,
            phase: self.phase(),
            queued: self.inbox.len(),
            parked: self.parked.len(),
            outstanding: self.outstanding,
            faults: self.faults,
            execution: stats.map_or(Times::default(), |stats| stats.execution()),
            edges: stats.map_or(Vec::new(), |stats| stats.edges()),
            channels,
        }
    }
}
