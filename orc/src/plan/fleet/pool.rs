//! The nodes that meet one kind, in the order of the strategy, and why the others do not.

use std::collections::BTreeMap;

use edgeless_types::NodeId;
use rand::rngs::StdRng;
use rustc_hash::FxHashMap;

use crate::plan::{
    Ask, NodeView,
    strategy::{Order, StrategyKind},
};

/// The nodes of one kind.
#[derive(Debug)]
pub(super) struct Pool {
    order: Box<dyn Order>,
    /// Nodes that do not meet it, and the first requirement that they miss.
    others: FxHashMap<NodeId, &'static str>,
    reasons: BTreeMap<&'static str, usize>,
}

impl Pool {
    pub(super) fn new(strategy: StrategyKind) -> Self {
        Self {
            order: strategy.build(),
            others: FxHashMap::default(),
            reasons: BTreeMap::new(),
        }
    }

    /// A node is there or has changed; `unmet` is what it does not meet.
    pub(super) fn put(&mut self, view: &NodeView<'_>, unmet: Option<&'static str>) {
        self.forget_reason(view.node_id);
        match unmet {
            None => self.order.put(view),
            Some(reason) => {
                self.order.remove(view.node_id);
                self.others.insert(view.node_id, reason);
                *self.reasons.entry(reason).or_default() += 1;
            }
        }
    }

    pub(super) fn remove(&mut self, node_id: NodeId) {
        self.forget_reason(node_id);
        self.order.remove(node_id);
    }

    /// A node that is there is more or less loaded than before; whether it meets the kind.
    pub(super) fn rank(&mut self, view: &NodeView<'_>) -> bool {
        let meets = !self.others.contains_key(&view.node_id);
        if meets {
            self.order.rank(view);
        }
        meets
    }

    /// The next node that is accepted.
    pub(super) fn next(
        &mut self,
        ask: Ask,
        rng: &mut StdRng,
        accepts: &mut dyn FnMut(NodeId) -> bool,
    ) -> Option<NodeId> {
        self.order.next(ask, rng, accepts)
    }

    /// Whether one is accepted.
    pub(super) fn any(&self, accepts: &mut dyn FnMut(NodeId) -> bool) -> bool {
        self.order.any(accepts)
    }

    /// Whose turn it was last, where there are turns.
    pub(super) fn last(&self) -> Option<NodeId> {
        self.order.last()
    }

    /// Whose turn it is said to have been last.
    pub(super) fn set_last(&mut self, last: Option<NodeId>) {
        self.order.set_last(last);
    }

    pub(super) fn reasons(&self) -> impl Iterator<Item = (&'static str, usize)> {
        self.reasons
            .iter()
            .map(|(&reason, &number)| (reason, number))
    }

    fn forget_reason(&mut self, node_id: NodeId) {
        if let Some(reason) = self.others.remove(&node_id)
            && let Some(number) = self.reasons.get_mut(reason)
        {
            *number -= 1;
            if *number == 0 {
                self.reasons.remove(reason);
            }
        }
    }
}
