//! `Random`: a random node, weighted by cores × clock.

use edgeless_types::NodeId;
use rand::{Rng, rngs::StdRng};
use rustc_hash::FxHashMap;

use super::Order;
use crate::plan::{Ask, NodeView};

/// Draws before all nodes are looked at in turn.
const DRAWS: usize = 256;

/// Nodes in no order, each with its weight. A node is drawn and kept as often as its weight says, so that a
/// draw costs the same however many nodes there are.
#[derive(Debug, Default)]
pub(super) struct Random {
    nodes: Vec<(NodeId, f64)>,
    places: FxHashMap<NodeId, usize>,
    /// At least the largest weight.
    most: f64,
}

impl Order for Random {
    fn put(&mut self, node: &NodeView<'_>) {
        let weight = weight(node);
        self.most = self.most.max(weight);
        match self.places.get(&node.node_id) {
            Some(&place) => self.nodes[place].1 = weight,
            None => {
                self.places.insert(node.node_id, self.nodes.len());
                self.nodes.push((node.node_id, weight));
            }
        }
    }

    fn remove(&mut self, node_id: NodeId) {
        let Some(place) = self.places.remove(&node_id) else {
            return;
        };
        self.nodes.swap_remove(place);
        if let Some(&(moved, _)) = self.nodes.get(place) {
            self.places.insert(moved, place);
        }
        if self.nodes.is_empty() {
            self.most = 0.0;
        }
    }

    fn next(
        &mut self,
        _: Ask,
        rng: &mut StdRng,
        accepts: &mut dyn FnMut(NodeId) -> bool,
    ) -> Option<NodeId> {
        if self.nodes.is_empty() {
            return None;
        }
        for _ in 0..DRAWS {
            let (node_id, weight) = self.nodes[rng.random_range(0..self.nodes.len())];
            if rng.random::<f64>() * self.most < weight && accepts(node_id) {
                return Some(node_id);
            }
        }
        // Few are accepted: the first of them from a random place on.
        let begin = rng.random_range(0..self.nodes.len());
        let (before, after) = self.nodes.split_at(begin);
        let mut round = after.iter().chain(before).map(|&(node_id, _)| node_id);
        round.find(|&node_id| accepts(node_id))
    }

    fn any(&self, accepts: &mut dyn FnMut(NodeId) -> bool) -> bool {
        self.nodes.iter().any(|&(node_id, _)| accepts(node_id))
    }
}

/// Never 0: a node that does not know its clock counts as 1 MHz.
fn weight(node: &NodeView<'_>) -> f64 {
    let clock = f64::from(node.capabilities.clock_freq_cpu).max(1.0);
    f64::from(node.capabilities.num_cores.max(1)) * clock
}
