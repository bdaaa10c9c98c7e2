//! `Random`: a random node, weighted by cores × clock.

use edgeless_types::NodeId;
use rand::{Rng, rngs::StdRng};

use super::Strategy;
use crate::plan::NodeView;

pub(super) struct Random;

impl Strategy for Random {
    fn choose(&mut self, feasible: &[NodeView<'_>], rng: &mut StdRng) -> NodeId {
        let weights: Vec<f64> = feasible.iter().map(weight).collect();
        let mut point = rng.random::<f64>() * weights.iter().sum::<f64>();
        for (node, weight) in feasible.iter().zip(&weights) {
            point -= weight;
            if point < 0.0 {
                return node.node_id;
            }
        }
        // Rounding may leave the point just past the end.
        feasible[feasible.len() - 1].node_id
    }
}

/// Never 0: a node that does not know its clock counts as 1 MHz.
fn weight(node: &NodeView<'_>) -> f64 {
    let clock = f64::from(node.capabilities.clock_freq_cpu).max(1.0);
    f64::from(node.capabilities.num_cores.max(1)) * clock
}
