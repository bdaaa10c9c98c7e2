//! Nodes that come and go: too often, and they get nothing new for a while. Pure.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use edgeless_types::{NodeId, Timestamp};
use rustc_hash::FxHashMap;

/// When a node flaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flapping {
    /// It was lost so often; 0: it never flaps.
    pub times: usize,
    /// In this time.
    pub within: Duration,
    /// For how long it gets nothing new.
    pub rest: Duration,
}

impl Default for Flapping {
    fn default() -> Self {
        Self {
            times: 5,
            within: Duration::from_mins(10),
            rest: Duration::from_mins(5),
        }
    }
}

/// Between two looks for what is too old to count.
const PURGE: Duration = Duration::from_mins(1);

/// When nodes were lost, and which of them rest.
#[derive(Debug, Default)]
pub(super) struct Absences {
    lost: FxHashMap<NodeId, VecDeque<Timestamp>>,
    resting: FxHashMap<NodeId, Timestamp>,
    ends: BTreeSet<(Timestamp, NodeId)>,
    purged: Timestamp,
}

impl Absences {
    /// A node was lost.
    pub(super) fn note(&mut self, node_id: NodeId, now: Timestamp, flapping: Flapping) {
        if flapping.times == 0 {
            return;
        }
        if now.since(self.purged) > PURGE {
            self.purged = now;
            let recent = |at: &Timestamp| now.since(*at) <= flapping.within;
            self.lost
                .retain(|_, times| times.back().is_some_and(recent));
        }
        let times = self.lost.entry(node_id).or_default();
        times.push_back(now);
        if times.len() > flapping.times {
            times.pop_front();
        }
    }

    /// A node came: whether it did so too often, and rests from now on.
    pub(super) fn rest_if_flapping(
        &mut self,
        node_id: NodeId,
        now: Timestamp,
        flapping: Flapping,
    ) -> bool {
        let times = self.lost.get(&node_id);
        let flaps = times.is_some_and(|times| {
            let oldest = times
                .front()
                .is_some_and(|at| now.since(*at) <= flapping.within);
            flapping.times > 0 && times.len() >= flapping.times && oldest
        });
        if flaps {
            let end = now + flapping.rest;
            if let Some(before) = self.resting.insert(node_id, end) {
                self.ends.remove(&(before, node_id));
            }
            self.ends.insert((end, node_id));
        }
        flaps
    }

    /// Until when a node gets nothing new; none: it does.
    pub(super) fn rests_until(&self, node_id: NodeId) -> Option<Timestamp> {
        self.resting.get(&node_id).copied()
    }

    /// As if a node had never been lost.
    pub(super) fn forget(&mut self, node_id: NodeId) {
        self.lost.remove(&node_id);
        if let Some(end) = self.resting.remove(&node_id) {
            self.ends.remove(&(end, node_id));
        }
    }

    /// How many nodes get nothing new.
    pub(super) fn resting(&self) -> usize {
        self.resting.len()
    }

    /// Nodes that have rested long enough.
    pub(super) fn rested(&mut self, now: Timestamp) -> Vec<NodeId> {
        let mut rested = Vec::new();
        while let Some(&(end, node_id)) = self.ends.first()
            && end <= now
        {
            self.ends.pop_first();
            self.resting.remove(&node_id);
            self.lost.remove(&node_id);
            rested.push(node_id);
        }
        rested
    }
}
