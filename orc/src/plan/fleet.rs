//! The nodes of a domain as planning needs them, indexed by what is wanted. Pure.
//!
//! Vertices that want the same of their node are of one [`Kind`]; each kind in use has a pool of the
//! nodes that meet it, in the order in which its strategy tries them. A node that joins, goes, or changes
//! costs as many steps as there are kinds; a decision looks at the head of one order. Nothing here walks
//! over all nodes but the making of a new pool, and the explanation of why nothing fits.

mod kind;
mod pool;

use std::{collections::BTreeMap, sync::Arc};

use edgeless_types::{NodeCapabilities, NodeHealth, NodeId, Requirements, ResourceProvider};
use rand::rngs::StdRng;
use rustc_hash::FxHashMap;
use slab::Slab;

use super::{Ask, NodeView, feasible, strategy::StrategyKind};
pub use kind::{Kind, KindId};
use pool::Pool;

/// How much of what nodes have may be promised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overcommit {
    /// Processor time, as a multiple of the cores.
    pub cpu: f64,
    /// Memory, as a multiple of what there is.
    pub memory: f64,
}

impl Default for Overcommit {
    fn default() -> Self {
        Self {
            cpu: 1.0,
            memory: 1.0,
        }
    }
}

/// What planning keeps of a node.
#[derive(Debug)]
struct Member {
    capabilities: Arc<NodeCapabilities>,
    providers: Arc<[ResourceProvider]>,
    health: Option<NodeHealth>,
    transfer_nanos: u64,
    closed: Option<&'static str>,
    instances: usize,
    /// Starts of lost instances that it has not answered yet.
    healing: u32,
    /// The kinds it meets, of those with a pool; some may have gone.
    kinds: Vec<usize>,
    /// What its instances have asked for, in sum.
    asked: Ask,
    capacity: Ask,
}

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

/// What is preferred, beside what is required.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish<'a> {
    /// These nodes before all others, if they take it.
    pub near: &'a [NodeId],
    /// These only when there is no other.
    pub avoid: &'a [NodeId],
    /// These have refused it: the last of all.
    pub refused: &'a [NodeId],
    /// Nodes that meet these come first, in this order.
    pub narrowed: &'a [KindId],
    /// Only nodes with fewer unanswered starts of lost instances than this.
    pub calm: Option<u32>,
}

/// What came of looking for a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This one.
    Node(NodeId),
    /// All that would take it are busy healing.
    Busy,
    /// None takes it.
    Nowhere,
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
        let capacity = capacity(&capabilities, self.overcommit);
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
    pub fn set_closed(&mut self, node_id: NodeId, closed: Option<&'static str>) {
        if let Some(member) = self.members.get_mut(&node_id)
            && member.closed != closed
        {
            member.closed = closed;
            if closed.is_none() {
                self.opened.push(node_id);
            }
            self.recheck(node_id);
        }
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

    /// A node for one more instance of a kind, the most preferred one that takes it.
    pub fn choose(&mut self, kind: KindId, ask: Ask, wish: &Wish<'_>, rng: &mut StdRng) -> Choice {
        let near = wish.near.iter().copied();
        let willing = |it: &NodeId| !wish.refused.contains(it) && self.is_calm(*it, wish.calm);
        if let Some(node_id) = near
            .filter(willing)
            .find(|&it| self.takes(kind, ask, it).is_ok())
        {
            return Choice::Node(node_id);
        }
        let rounds: &[(&[NodeId], &[NodeId])] =
            &[(wish.avoid, wish.refused), (&[], wish.refused), (&[], &[])];
        for (index, (avoid, refused)) in rounds.iter().enumerate() {
            // A round that excludes no less than the one before finds nothing either.
            if index > 0 && rounds[index - 1].0.is_empty() && rounds[index - 1].1 == *refused {
                continue;
            }
            for kind in wish.narrowed.iter().copied().chain([kind]) {
                if let Some(node_id) = self.first(kind, ask, wish.calm, &[avoid, refused], rng) {
                    return Choice::Node(node_id);
                }
            }
        }
        match wish.calm.is_some() && self.has_room(kind, ask, &[]) {
            true => Choice::Busy,
            false => Choice::Nowhere,
        }
    }

    /// The first node in the order of a pool that takes an instance and is not among `not`.
    fn first(
        &mut self,
        kind: KindId,
        ask: Ask,
        calm: Option<u32>,
        not: &[&[NodeId]],
        rng: &mut StdRng,
    ) -> Option<NodeId> {
        self.make_pool(kind);
        let members = &self.members;
        let accepts = &mut |node_id: NodeId| {
            members
                .get(&node_id)
                .is_some_and(|it| it.fits(ask) && calm.is_none_or(|calm| it.healing < calm))
                && not.iter().all(|nodes| !nodes.contains(&node_id))
        };
        self.kinds[kind.0].pool.as_mut()?.next(ask, rng, accepts)
    }

    /// Values of a label that some node has, such as `zone=a`: those on the fewest of these nodes first.
    pub fn zones(&self, label: &str, homes: impl Iterator<Item = NodeId>) -> Vec<String> {
        let prefix = format!("{label}=");
        let values = self.labels.range(prefix.clone()..).map(|(label, _)| label);
        let values = values.take_while(|label| label.starts_with(&prefix));
        let mut numbers: BTreeMap<&str, usize> = values.map(|it| (it.as_str(), 0)).collect();
        for home in homes {
            let member = self.members.get(&home);
            for label in member.iter().flat_map(|it| &it.capabilities.labels) {
                if let Some(number) = numbers.get_mut(label.as_str()) {
                    *number += 1;
                }
            }
        }
        let mut zones: Vec<_> = numbers.into_iter().collect();
        zones.sort_by_key(|&(_, number)| number);
        zones.into_iter().map(|(zone, _)| zone.to_owned()).collect()
    }

    /// Room on a node is kept for what is not there yet, though others may still be in it.
    pub fn reserve(&mut self, node_id: NodeId, ask: Ask) {
        if let Some(member) = self.members.get_mut(&node_id) {
            member.asked = member.asked.plus(ask);
            self.rank(node_id);
        }
    }

    /// It is not kept any more.
    pub fn unreserve(&mut self, node_id: NodeId, ask: Ask) {
        if let Some(member) = self.members.get_mut(&node_id) {
            member.asked = member.asked.minus(ask);
            self.opened.push(node_id);
            self.rank(node_id);
        }
    }

    /// Whether no more was asked of a node than it has.
    pub fn is_within(&self, node_id: NodeId) -> bool {
        let member = self.members.get(&node_id);
        member.is_some_and(|it| it.capacity.covers(it.asked))
    }

    /// Whether a node has fewer unanswered starts of lost instances than this.
    pub fn is_calm(&self, node_id: NodeId, calm: Option<u32>) -> bool {
        let healing = self.members.get(&node_id).map_or(0, |it| it.healing);
        calm.is_none_or(|calm| healing < calm)
    }

    /// Nodes that meet a kind but have too little left, at most so many: the first that a look comes upon.
    pub fn short_of_room(&mut self, kind: KindId, ask: Ask, most: usize) -> Vec<NodeId> {
        self.make_pool(kind);
        let mut found = Vec::new();
        if let Some(pool) = &self.kinds[kind.0].pool {
            pool.any(&mut |node_id| {
                let member = self.members.get(&node_id);
                if member.is_some_and(|it| it.capacity.covers(ask) && !it.fits(ask)) {
                    found.push(node_id);
                }
                found.len() >= most
            });
        }
        found
    }

    /// What is left on a node.
    pub fn free(&self, node_id: NodeId) -> Ask {
        let member = self.members.get(&node_id);
        member.map_or(Ask::default(), |it| it.capacity.minus(it.asked))
    }

    /// Whether a node could have one more instance of a kind that is not on it; if not, why.
    ///
    /// # Errors
    /// The requirement that it does not meet. An unknown node meets nothing.
    pub fn takes(&self, kind: KindId, ask: Ask, node_id: NodeId) -> Result<(), &'static str> {
        let member = self.members.get(&node_id).ok_or("node")?;
        let known = &self.kinds[kind.0];
        match feasible::unmet(known.kind.wanted(), &member.view(node_id)) {
            Some(requirement) => Err(requirement),
            None => member.lacks(ask).map_or(Ok(()), Err),
        }
    }

    /// Whether some node that is not among `not` would take one more instance of a kind.
    pub fn has_room(&mut self, kind: KindId, ask: Ask, not: &[NodeId]) -> bool {
        self.make_pool(kind);
        let members = &self.members;
        let fits = |node_id: NodeId| members.get(&node_id).is_some_and(|it| it.fits(ask));
        let pool = self.kinds[kind.0].pool.as_ref();
        pool.is_some_and(|pool| pool.any(&mut |it| fits(it) && !not.contains(&it)))
    }

    /// Why no node takes one more instance of a kind.
    pub fn excluded(&mut self, kind: KindId, ask: Ask) -> Excluded {
        self.make_pool(kind);
        let total = self.members.len();
        let mut reasons = BTreeMap::<&str, usize>::new();
        if let Some(pool) = &self.kinds[kind.0].pool {
            reasons.extend(pool.reasons());
            pool.any(&mut |node_id| {
                let lacks = self.members.get(&node_id).and_then(|it| it.lacks(ask));
                *reasons.entry(lacks.unwrap_or("refused")).or_default() += 1;
                false
            });
        }
        let line = |(reason, number)| format!("{reason}: {number} of {total} nodes");
        reasons.into_iter().map(line).collect()
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

impl Member {
    fn view(&self, node_id: NodeId) -> NodeView<'_> {
        NodeView {
            node_id,
            capabilities: &self.capabilities,
            providers: &self.providers,
            health: self.health.as_ref(),
            transfer_nanos: self.transfer_nanos,
            instances: self.instances,
            free: self.capacity.minus(self.asked),
            closed: self.closed,
        }
    }

    fn fits(&self, ask: Ask) -> bool {
        self.lacks(ask).is_none()
    }

    /// What it has too little of. Who asks for nothing finds enough of it anywhere.
    fn lacks(&self, ask: Ask) -> Option<&'static str> {
        let free = self.capacity.minus(self.asked);
        if ask.cpu_millis > 0 && ask.cpu_millis > free.cpu_millis {
            return Some("cpu_millis");
        }
        (ask.memory_mib > 0 && ask.memory_mib > free.memory_mib).then_some("memory_mib")
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to integer saturates; factors are checked to be positive"
)]
fn capacity(capabilities: &NodeCapabilities, overcommit: Overcommit) -> Ask {
    let millis = f64::from(capabilities.num_cores) * 1_000.0 * overcommit.cpu;
    let memory = f64::from(capabilities.mem_size) * overcommit.memory;
    Ask {
        cpu_millis: millis as u64,
        memory_mib: memory as u64,
    }
}

/// What a vertex asks of its node in amounts.
impl From<&Requirements> for Ask {
    fn from(requirements: &Requirements) -> Self {
        Self {
            cpu_millis: requirements.cpu_millis.map_or(0, |it| it.get().into()),
            memory_mib: requirements.memory_mib.map_or(0, |it| it.get().into()),
        }
    }
}

#[cfg(test)]
mod tests;
