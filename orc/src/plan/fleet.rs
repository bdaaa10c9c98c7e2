//! The nodes of a domain as planning needs them, indexed by what is wanted. Pure.
//!
//! Vertices that want the same of their node are of one [`Kind`]; each kind in use has a pool of the
//! nodes that meet it, in the order in which its strategy tries them. A node that joins, goes, or changes
//! costs as many steps as there are kinds; a decision looks at the head of one order. Nothing here walks
//! over all nodes but the making of a new pool, and the explanation of why nothing fits.

mod kind;
mod pool;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

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
    closed: bool,
    instances: usize,
    /// What its instances have asked for, in sum.
    asked: Ask,
    capacity: Ask,
}

/// All nodes, and the pools of the kinds in use.
#[derive(Debug)]
pub struct Fleet {
    strategy: StrategyKind,
    overcommit: Overcommit,
    members: BTreeMap<NodeId, Member>,
    kinds: Slab<Known>,
    by_kind: FxHashMap<Arc<Kind>, usize>,
    /// Counts what might let something fit that did not before.
    version: u64,
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
            members: BTreeMap::new(),
            kinds: Slab::new(),
            by_kind: FxHashMap::default(),
            version: 0,
        }
    }

    /// Counts what might let something fit that did not before: as long as it stays, trying again is of no
    /// use.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// One more vertex of a kind.
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

    /// One vertex of a kind less.
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
        let mut member = Member {
            capabilities,
            providers,
            health: None,
            closed: false,
            instances: 0,
            asked: Ask::default(),
            capacity,
        };
        if let Some(before) = before {
            member.health = before.health;
            member.closed = before.closed;
            (member.instances, member.asked) = (before.instances, before.asked);
        }
        self.members.insert(node_id, member);
        self.version += 1;
        self.recheck(node_id);
    }

    /// A node is gone.
    pub fn remove(&mut self, node_id: NodeId) {
        if self.members.remove(&node_id).is_some() {
            self.version += 1;
            self.recheck(node_id);
        }
    }

    /// A node takes nothing new, or takes something again.
    pub fn set_closed(&mut self, node_id: NodeId, closed: bool) {
        if let Some(member) = self.members.get_mut(&node_id)
            && member.closed != closed
        {
            member.closed = closed;
            self.version += 1;
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
            if ask != Ask::default() {
                self.version += 1;
            }
            self.rank(node_id);
        }
    }

    /// A node for one more instance of a kind; nodes of `not` only when there is no other.
    ///
    /// # Errors
    /// There is none; what excluded how many.
    pub fn choose(
        &mut self,
        kind: KindId,
        ask: Ask,
        not: &BTreeSet<NodeId>,
        rng: &mut StdRng,
    ) -> Result<NodeId, Excluded> {
        self.make_pool(kind);
        let members = &self.members;
        let fits = |node_id: NodeId| members.get(&node_id).is_some_and(|it| it.fits(ask));
        let chosen = self.kinds[kind.0].pool.as_mut().and_then(|pool| {
            let willing = pool.next(ask, rng, &mut |it| fits(it) && !not.contains(&it));
            let again = !not.is_empty();
            willing.or_else(|| again.then(|| pool.next(ask, rng, &mut |it| fits(it)))?)
        });
        chosen.ok_or_else(|| self.excluded(kind, ask))
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
    pub fn has_room(&mut self, kind: KindId, ask: Ask, not: &BTreeSet<NodeId>) -> bool {
        self.make_pool(kind);
        let members = &self.members;
        let fits = |node_id: NodeId| members.get(&node_id).is_some_and(|it| it.fits(ask));
        let pool = self.kinds[kind.0].pool.as_ref();
        pool.is_some_and(|pool| pool.any(&mut |it| fits(it) && !not.contains(&it)))
    }

    /// Why no node takes one more instance of a kind.
    fn excluded(&self, kind: KindId, ask: Ask) -> Excluded {
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
        for (&node_id, member) in &self.members {
            let view = member.view(node_id);
            pool.put(&view, feasible::unmet(known.kind.wanted(), &view));
        }
        known.pool = Some(pool);
    }

    /// What a node meets may have changed, or it has gone.
    fn recheck(&mut self, node_id: NodeId) {
        let member = self.members.get(&node_id);
        for (_, known) in &mut self.kinds {
            let Some(pool) = &mut known.pool else {
                continue;
            };
            match member.map(|member| member.view(node_id)) {
                Some(view) => pool.put(&view, feasible::unmet(known.kind.wanted(), &view)),
                None => pool.remove(node_id),
            }
        }
    }

    /// How loaded a node is has changed.
    fn rank(&mut self, node_id: NodeId) {
        let Some(member) = self.members.get(&node_id) else {
            return;
        };
        let view = member.view(node_id);
        for (_, known) in &mut self.kinds {
            if let Some(pool) = &mut known.pool {
                pool.rank(&view);
            }
        }
    }
}

impl Member {
    fn view(&self, node_id: NodeId) -> NodeView<'_> {
        NodeView {
            node_id,
            capabilities: &self.capabilities,
            providers: &self.providers,
            health: self.health.as_ref(),
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
