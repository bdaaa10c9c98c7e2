//! The nodes of a domain as planning needs them, indexed by what is wanted. Pure.
//!
//! Vertices that want the same of their node are of one [`Kind`]; each kind in use has a pool of the
//! nodes that meet it, in the order in which its strategy tries them. A node that joins, goes, or changes
//! costs as many steps as there are kinds; a decision looks at the head of one order. Nothing here walks
//! over all nodes but the making of a new pool, and the explanation of why nothing fits.

mod choice;
mod kind;
mod member;
mod pool;
mod trial;

use std::{collections::BTreeMap, sync::Arc};

use edgeless_types::{NodeCapabilities, NodeHealth, NodeId, ResourceProvider};
use rustc_hash::FxHashMap;
use slab::Slab;

use super::{Ask, feasible, strategy::StrategyKind};
pub use choice::{Choice, Wish};
pub use kind::{Kind, KindId};
use member::Member;
pub use member::Overcommit;
use pool::Pool;
pub use trial::Trial;

/// All nodes, and the pools of the kinds in use.
#[derive(Debug)]
pub struct Fleet {
    strategy: StrategyKind,
    overcommit: Overcommit,
    members: FxHashMap<NodeId, Member>,
    /// How many nodes have a label.
    labels: BTreeMap<String, usize>,
    kinds: Slab<Known>,
    by_kind: FxHashMap<Arc<Kind>, usize>,
    /// Nodes that may take something they did not take before.
    opened: Vec<NodeId>,
}

#[derive(Debug)]
struct Known {
    kind: Arc<Kind>,
    users: usize,
    /// Made when something of this kind is placed for the first time.
    pool: Option<Pool>,
}

/// Why nothing fits, one line for each reason, with how many nodes it excluded.
pub type Excluded = Vec<String>;

impl Fleet {
    /// No nodes yet.
    pub fn new(strategy: StrategyKind, overcommit: Overcommit) -> Self {
        Self {
            strategy,
            overcommit,
            members: FxHashMap::default(),
            labels: BTreeMap::new(),
            kinds: Slab::new(),
            by_kind: FxHashMap::default(),
            opened: Vec::new(),
        }
    }

    /// Nodes that may take something they did not take before, since the last time; some may be named twice.
    pub fn take_opened(&mut self) -> Vec<NodeId> {
        std::mem::take(&mut self.opened)
    }

    /// How full each node is that takes something new, in millionths: of the scarcest of what it has.
    pub fn shares(&self) -> impl Iterator<Item = (u64, NodeId)> {
        let open = self.members.iter().filter(|(_, it)| it.closed.is_none());
        open.map(|(node_id, it)| (it.share(it.asked, it.instances), *node_id))
    }

    /// How much fuller a node is with one instance more, or how much less full with one less.
    pub fn weight(&self, node_id: NodeId, ask: Ask, more: bool) -> u64 {
        self.members.get(&node_id).map_or(0, |it| {
            let (asked, instances) = match more {
                true => (it.asked.plus(ask), it.instances + 1),
                false => (it.asked.minus(ask), it.instances.saturating_sub(1)),
            };
            it.share(asked, instances)
                .abs_diff(it.share(it.asked, it.instances))
        })
    }

    /// What a node may promise, and what of it nobody has asked for; none: it takes nothing new.
    pub fn amounts(&self, node_id: NodeId) -> Option<(Ask, Ask)> {
        let member = self
            .members
            .get(&node_id)
            .filter(|it| it.closed.is_none())?;
        Some((member.capacity, member.capacity.minus(member.asked)))
    }

    /// One more user of a kind.
    pub fn enter(&mut self, kind: Kind) -> KindId {
        let slot = match self.by_kind.get(&kind) {
            Some(&slot) => slot,
            None => {
                let kind = Arc::new(kind);
                let slot = self.kinds.insert(Known {
                    kind: Arc::clone(&kind),
                    users: 0,
                    pool: None,
                });
                self.by_kind.insert(kind, slot);
                slot
            }
        };
        self.kinds[slot].users += 1;
        KindId(slot)
    }

    /// A kind by its place.
    pub fn kind(&self, kind: KindId) -> &Kind {
        &self.kinds[kind.0].kind
    }

    /// One user of a kind less.
    pub fn leave(&mut self, kind: KindId) {
        let known = &mut self.kinds[kind.0];
        known.users -= 1;
        if known.users == 0 {
            let known = self.kinds.remove(kind.0);
            self.by_kind.remove(&known.kind);
        }
    }

    /// A node is there, or is another than before.
    pub fn put(
        &mut self,
        node_id: NodeId,
        capabilities: Arc<NodeCapabilities>,
        providers: Arc<[ResourceProvider]>,
    ) {
        let capacity = member::capacity(&capabilities, self.overcommit);
        let before = self.members.remove(&node_id);
        self.count_labels(
            before.as_ref().map(|it| &*it.capabilities),
            Some(&capabilities),
        );
        let mut member = Member {
            capabilities,
            providers,
            health: None,
            transfer_nanos: 0,
            closed: None,
            instances: 0,
            healing: 0,
            kinds: Vec::new(),
            asked: Ask::default(),
            capacity,
        };
        if let Some(before) = before {
            (member.health, member.transfer_nanos) = (before.health, before.transfer_nanos);
            (member.closed, member.healing) = (before.closed, before.healing);
            (member.instances, member.asked) = (before.instances, before.asked);
        }
        self.members.insert(node_id, member);
        self.opened.push(node_id);
        self.recheck(node_id);
    }

    /// A node is gone.
    pub fn remove(&mut self, node_id: NodeId) {
        if let Some(member) = self.members.remove(&node_id) {
            self.count_labels(Some(&member.capabilities), None);
            self.recheck(node_id);
        }
    }

    fn count_labels(&mut self, before: Option<&NodeCapabilities>, now: Option<&NodeCapabilities>) {
        for label in now.iter().flat_map(|it| &it.labels) {
            *self.labels.entry(label.clone()).or_default() += 1;
        }
        for label in before.iter().flat_map(|it| &it.labels) {
            if let Some(number) = self.labels.get_mut(label) {
                *number -= 1;
                if *number == 0 {
                    self.labels.remove(label);
                }
            }
        }
    }

    /// A node takes nothing new, and why; or takes something again.
    /// Whether that is new.
    pub fn set_closed(&mut self, node_id: NodeId, closed: Option<&'static str>) -> bool {
        let Some(member) = self.members.get_mut(&node_id) else {
            return false;
        };
        if member.closed == closed {
            return false;
        }
        member.closed = closed;
        if closed.is_none() {
            self.opened.push(node_id);
        }
        self.recheck(node_id);
        true
    }

    /// A node says how it is.
    pub fn set_health(&mut self, node_id: NodeId, health: NodeHealth) {
        if let Some(member) = self.members.get_mut(&node_id) {
            member.health = Some(health);
            self.rank(node_id);
        }
    }

    /// Messages took so long to what handles them on a node, in the mean of those it reported last.
    pub fn set_transfer(&mut self, node_id: NodeId, nanos: u64) {
        if let Some(member) = self.members.get_mut(&node_id) {
            // An eighth of what is new: one slow message is no slow node.
            let before = member.transfer_nanos;
            let eighth = before - before / 8 + nanos / 8;
            member.transfer_nanos = if before == 0 { nanos } else { eighth };
            self.rank(node_id);
        }
    }

    /// A node is asked to start an instance that was lost elsewhere.
    pub fn begin_healing(&mut self, node_id: NodeId) {
        if let Some(member) = self.members.get_mut(&node_id) {
            member.healing += 1;
        }
    }

    /// It has answered, or need not.
    pub fn end_healing(&mut self, node_id: NodeId) {
        if let Some(member) = self.members.get_mut(&node_id) {
            member.healing = member.healing.saturating_sub(1);
        }
    }

    /// A node has an instance more.
    pub fn take(&mut self, node_id: NodeId, ask: Ask) {
        if let Some(member) = self.members.get_mut(&node_id) {
            member.instances += 1;
            member.asked = member.asked.plus(ask);
            self.rank(node_id);
        }
    }

    /// A node has an instance less.
    pub fn give_back(&mut self, node_id: NodeId, ask: Ask) {
        if let Some(member) = self.members.get_mut(&node_id) {
            member.instances = member.instances.saturating_sub(1);
            member.asked = member.asked.minus(ask);
            // Who asks for nothing was not in the way of anything.
            if ask != Ask::default() {
                self.opened.push(node_id);
            }
            self.rank(node_id);
        }
    }

    fn make_pool(&mut self, kind: KindId) {
        let known = &mut self.kinds[kind.0];
        if known.pool.is_some() {
            return;
        }
        let mut pool = Pool::new(self.strategy);
        for (&node_id, member) in &mut self.members {
            let unmet = feasible::unmet(known.kind.wanted(), &member.view(node_id));
            pool.put(&member.view(node_id), unmet);
            if unmet.is_none() && !member.kinds.contains(&kind.0) {
                member.kinds.push(kind.0);
            }
        }
        known.pool = Some(pool);
    }

    /// What a node meets may have changed, or it has gone.
    fn recheck(&mut self, node_id: NodeId) {
        let Some(member) = self.members.get_mut(&node_id) else {
            for (_, known) in &mut self.kinds {
                if let Some(pool) = &mut known.pool {
                    pool.remove(node_id);
                }
            }
            return;
        };
        let mut kinds = std::mem::take(&mut member.kinds);
        kinds.clear();
        let view = member.view(node_id);
        for (slot, known) in &mut self.kinds {
            if let Some(pool) = &mut known.pool {
                let unmet = feasible::unmet(known.kind.wanted(), &view);
                pool.put(&view, unmet);
                if unmet.is_none() {
                    kinds.push(slot);
                }
            }
        }
        member.kinds = kinds;
    }

    /// How loaded a node is has changed.
    fn rank(&mut self, node_id: NodeId) {
        let Some(member) = self.members.get_mut(&node_id) else {
            return;
        };
        let mut kinds = std::mem::take(&mut member.kinds);
        let view = member.view(node_id);
        // A kind that has gone may have left its place to another, which knows the node or does not.
        kinds.retain(|&slot| {
            let pool = self.kinds.get_mut(slot).and_then(|it| it.pool.as_mut());
            pool.is_some_and(|pool| pool.rank(&view))
        });
        member.kinds = kinds;
    }
}

#[cfg(test)]
impl Fleet {
    /// Of each node: its instances, those it heals, and what was asked of it.
    pub(crate) fn counted(&self) -> BTreeMap<NodeId, (usize, u32, Ask)> {
        let members = self.members.iter();
        let counted = members.map(|(id, it)| (*id, (it.instances, it.healing, it.asked)));
        counted.collect()
    }
}

#[cfg(test)]
mod tests;
