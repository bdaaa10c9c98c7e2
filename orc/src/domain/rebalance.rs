//! Rebalancing: instances go from the fullest nodes to the emptiest, as long as that pays.

use std::{collections::BTreeSet, time::Duration};

use edgeless_types::NodeId;

use super::{
    Domain, Drain, Refusal,
    model::{Instance, ReplicaKey},
    moves::Move,
};
use crate::plan::strategy::StrategyKind;

/// Moves of one request at most.
const MOVES: usize = 64;
/// How much emptier than the one was the other must be with what moves, in millionths of what a node has: moving
/// holds up senders, and is not worth it for less.
const GAP: u64 = 200_000;

/// When a domain rebalances itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rebalancing {
    /// One instance moves this often, if that pays; zero: only when somebody asks for it.
    pub every: Duration,
}

impl Domain {
    /// Moves instances from the fullest nodes to the emptiest, at most so many at a time.
    pub(super) fn rebalance(&mut self, most: usize) -> Result<(), Refusal> {
        if self.settings.strategy == StrategyKind::BinPack {
            return Err(Refusal::KeptFull);
        }
        let mut shares: BTreeSet<(u64, NodeId)> = self.fleet.shares().collect();
        let mut moved = 0;
        while moved < most.min(MOVES)
            && let (Some(&least), Some(&fullest)) = (shares.first(), shares.last())
            && fullest.0 - least.0 > GAP
        {
            shares.remove(&fullest);
            let Some((key, instance)) = self.movable(fullest, least) else {
                // Nothing of it can go there; perhaps something of the next one.
                continue;
            };
            let ask = self.model.class(instance.class).ask;
            // What has begun to move is still counted where it was, and not yet where it goes.
            let less = self.fleet.weight(fullest.1, ask, false);
            let more = self.fleet.weight(least.1, ask, true);
            if self.move_away(key, Some(least.1)) == Move::Begun {
                moved += 1;
                shares.remove(&least);
                shares.insert((fullest.0.saturating_sub(less), fullest.1));
                shares.insert((least.0 + more, least.1));
            }
        }
        if moved > 0 {
            tracing::info!(moved, "instances move to emptier nodes");
        }
        Ok(())
    }

    /// Rebalances by itself, when nothing else is to be done.
    pub(super) fn rebalance_by_itself(&mut self) {
        let every = self.settings.rebalancing.every;
        let is_due = !every.is_zero() && self.now >= self.rebalanced + every;
        // A node stays drained until somebody uncordons it.
        let are_drained = self.drains.values().all(Drain::is_over);
        let is_idle = self.waiting.len() == 0 && are_drained && self.updating.is_empty();
        if is_due && self.settings.strategy != StrategyKind::BinPack {
            self.rebalanced = self.now;
            if is_idle && self.rebalance(1).is_err() {
                tracing::debug!("nothing is rebalanced");
            }
        }
    }

    /// Something that runs on one node, may go to another, prefers neither, and leaves that one emptier than
    /// this one was.
    fn movable(
        &self,
        (share, from): (u64, NodeId),
        (least, to): (u64, NodeId),
    ) -> Option<(ReplicaKey, Instance)> {
        let node = self.nodes.get(&from)?;
        let mut all: Vec<_> = node.instances.keys().copied().collect();
        all.sort_unstable();
        all.into_iter().find_map(|physical_id| {
            let key = self.model.replica_of(physical_id)?;
            let instance = self.model.replica(key).running()?;
            let class = self.model.class_of(key);
            let wants = &class.requirements;
            let is_free = wants.spread_by.is_none()
                && wants.label_prefer.is_empty()
                && wants.affinity_with.is_empty()
                && wants.anti_affinity_with.is_empty();
            let vertex = self.model.replica(key).vertex;
            // What brings tasks follows the function that gets them.
            let is_free = is_free && !self.brings_tasks(vertex);
            let vertex = self.model.vertex(vertex);
            let mut others = vertex.replicas.iter().filter(|it| **it != key);
            let is_apart = others.all(|&it| {
                let instance = self.model.replica(it).instance;
                instance.is_none_or(|it| it.node_id != to)
            });
            let fits = self.fleet.takes(class.kind, class.ask, to).is_ok();
            let mine = instance.physical_id == physical_id;
            let after = least + self.fleet.weight(to, class.ask, true);
            let pays = after + GAP <= share;
            (mine && is_free && is_apart && fits && pays).then_some((key, instance))
        })
    }
}
