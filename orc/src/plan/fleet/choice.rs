//! Which node is the one: requirements, then preferences, then the order of the strategy.

use std::collections::BTreeMap;

use edgeless_types::NodeId;
use rand::rngs::StdRng;

use super::{Excluded, Fleet, KindId};
use crate::plan::{Ask, feasible};

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

impl Fleet {
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

    /// How much more was asked of a node than it has.
    pub fn excess(&self, node_id: NodeId) -> Ask {
        let member = self.members.get(&node_id);
        member.map_or(Ask::default(), |it| it.asked.minus(it.capacity))
    }

    /// Whether a node is there and takes nothing new.
    pub fn is_closed(&self, node_id: NodeId) -> bool {
        let member = self.members.get(&node_id);
        member.is_some_and(|it| it.closed.is_some())
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

    /// Whether a node could have an instance of a kind in place of another, which asked for `leaves`.
    pub fn takes_instead(&self, kind: KindId, ask: Ask, leaves: Ask, node_id: NodeId) -> bool {
        let Some(member) = self.members.get(&node_id) else {
            return false;
        };
        let unmet = feasible::unmet(self.kinds[kind.0].kind.wanted(), &member.view(node_id));
        let others = member.asked.minus(leaves);
        unmet.is_none() && member.capacity.covers(others.plus(ask))
    }

    /// Whether some node that is not among `not` would take one more instance of a kind.
    pub fn has_room(&mut self, kind: KindId, ask: Ask, not: &[NodeId]) -> bool {
        self.make_pool(kind);
        let members = &self.members;
        let fits = |node_id: NodeId| members.get(&node_id).is_some_and(|it| it.fits(ask));
        let pool = self.kinds[kind.0].pool.as_ref();
        pool.is_some_and(|pool| pool.any(&mut |it| fits(it) && !not.contains(&it)))
    }

    /// Whether some node would take one more instance of a kind, as far as is known without looking for it anew.
    pub fn may_have_room(&self, kind: KindId, ask: Ask) -> bool {
        let fits = |node_id: NodeId| self.members.get(&node_id).is_some_and(|it| it.fits(ask));
        let pool = self.kinds[kind.0].pool.as_ref();
        pool.is_none_or(|pool| pool.any(&mut |it| fits(it)))
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
}
