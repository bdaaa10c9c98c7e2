//! What operators do at the moment, for whoever looks; and their pauses.

use std::time::Duration;

use bytes::Bytes;
use edgeless_types::{Backlog, Demand, PhysicalId, Timestamp, message::Budget};
use tokio::sync::{mpsc, oneshot};

use super::{Shard, slot::Slot};
use crate::{
    stats::{OperatorView, Phase, Times},
    tap::{Tap, TapPlan, Tapped},
};

/// What whoever looks at operators wants.
pub(crate) enum Look {
    /// All of them, as they are now.
    All(oneshot::Sender<Vec<OperatorView>>),
    /// What waits for outputs that lead to no instance.
    Demand(oneshot::Sender<Vec<Demand>>),
    /// What waits in inboxes.
    Backlog(oneshot::Sender<Vec<Backlog>>),
    /// What operators have saved.
    Saved(oneshot::Sender<Vec<(PhysicalId, Bytes)>>),
    /// One is paused, or goes on; whether it runs here.
    Pause(PhysicalId, bool, oneshot::Sender<bool>),
    /// The messages of one, if it runs here.
    Tap(
        PhysicalId,
        TapPlan,
        oneshot::Sender<Option<mpsc::Receiver<Tapped>>>,
    ),
}

impl Shard {
    pub(super) fn look(&mut self, look: Look) {
        let waited = match look {
            Look::All(done) => done.send(self.inspect()).is_ok(),
            Look::Demand(done) => done.send(self.demand()).is_ok(),
            Look::Backlog(done) => done.send(self.backlog()).is_ok(),
            Look::Saved(done) => done.send(self.saved()).is_ok(),
            Look::Pause(id, paused, done) => done.send(self.set_paused(id, paused)).is_ok(),
            Look::Tap(id, plan, done) => done.send(self.tap(id, plan)).is_ok(),
        };
        if !waited {
            tracing::debug!("nobody looks any more");
        }
    }

    /// Every operator of this shard, as it is now.
    fn inspect(&self) -> Vec<OperatorView> {
        let slots = self.slots.iter();
        slots.map(|(_, slot)| slot.view(self.index)).collect()
    }

    fn backlog(&self) -> Vec<Backlog> {
        let now = (self.clock)();
        let slots = self.slots.iter().map(|(_, slot)| slot);
        slots.filter_map(|slot| slot.backlog(now)).collect()
    }

    fn saved(&self) -> Vec<(PhysicalId, Bytes)> {
        let slots = self.slots.iter().map(|(_, slot)| slot);
        let saved = slots.filter_map(|slot| Some((slot.me.physical_id, slot.saved.clone()?)));
        saved.collect()
    }

    fn demand(&self) -> Vec<Demand> {
        let held = self.slots.iter().flat_map(|(_, slot)| {
            let physical_id = slot.me.physical_id;
            slot.held.iter().map(move |(channel, messages)| {
                let weights = messages.iter().map(|it| it.message.weight() as u64);
                Demand {
                    physical_id,
                    channel: String::from_utf8_lossy(channel).into_owned(),
                    waiting: weights.sum(),
                }
            })
        });
        held.collect()
    }

    /// An operator takes no more messages and its port sends none, or both go on: what is queued stays, and
    /// its senders wait once its inbox is full.
    fn set_paused(&mut self, physical_id: PhysicalId, paused: bool) -> bool {
        let Some(&key) = self.by_id.get(&physical_id) else {
            return false;
        };
        self.slots[key].paused = paused;
        self.tell_budget(
            key,
            if paused {
                Budget::NOTHING
            } else {
                Budget::default()
            },
        );
        if !paused {
            self.allowed(physical_id);
            if !self.slots[key].inbox.is_empty() {
                self.make_ready(key);
            }
        }
        true
    }
}

impl Shard {
    /// Lets somebody look at the messages of an operator.
    fn tap(&mut self, physical_id: PhysicalId, plan: TapPlan) -> Option<mpsc::Receiver<Tapped>> {
        let &key = self.by_id.get(&physical_id)?;
        let (tap, messages) = Tap::new(plan);
        self.slots[key].taps.push(tap);
        Some(messages)
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

    /// What waits in its inbox and what it is handling, if there is anything.
    fn backlog(&self, now: Timestamp) -> Option<Backlog> {
        let first = self.inbox.front();
        (self.busy || first.is_some()).then(|| Backlog {
            physical_id: self.me.physical_id,
            queued: self.inbox.len() as u64,
            in_hand: u64::from(self.busy),
            oldest: first.map_or(Duration::ZERO, |it| now.since(it.message.envelope.created)),
        })
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
