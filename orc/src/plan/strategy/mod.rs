//! Which of the nodes that meet all requirements gets an instance.

mod affine;
mod bin_pack;
mod least_loaded;
mod random;
mod ranked;
mod round_robin;
mod spread;

use std::fmt::Debug;

use edgeless_types::NodeId;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::{Ask, NodeView};
use ranked::Ranked;

/// Nodes in the order in which a strategy tries them. Seedable: the same history and generator give the
/// same choices.
pub trait Order: Debug + Send {
    /// A node is there, or is another than before.
    fn put(&mut self, node: &NodeView<'_>);

    /// How loaded a node is has changed, and no more: of interest to orders that look at it.
    fn rank(&mut self, _: &NodeView<'_>) {}

    /// A node is there no more.
    fn remove(&mut self, node_id: NodeId);

    /// The first node that is accepted; `accepts` asks for at least `ask`.
    fn next(
        &mut self,
        ask: Ask,
        rng: &mut StdRng,
        accepts: &mut dyn FnMut(NodeId) -> bool,
    ) -> Option<NodeId>;

    /// The node that was chosen last: of interest to orders in which that says who is next.
    fn last(&self) -> Option<NodeId> {
        None
    }

    /// This one is said to have been chosen last, as [`Order::last`] gave it before.
    fn set_last(&mut self, _: Option<NodeId>) {}

    /// Whether one is accepted.
    fn any(&self, accepts: &mut dyn FnMut(NodeId) -> bool) -> bool;
}

/// The strategies there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StrategyKind {
    /// A random node, weighted by cores × clock.
    Random,
    /// One after the other.
    #[default]
    RoundRobin,
    /// The node with the least reported load, used memory and instances.
    LeastLoaded,
    /// The fullest node that still fits: as few nodes as possible.
    BinPack,
    /// The node with the fewest instances, and copies of one function apart.
    Spread,
    /// A node that has what it talks to, else the one with the least transfer time.
    Affine,
}

impl StrategyKind {
    /// An order without nodes.
    pub fn build(self) -> Box<dyn Order> {
        match self {
            Self::Random => Box::new(random::Random::default()),
            Self::RoundRobin => Box::new(round_robin::RoundRobin::default()),
            Self::LeastLoaded => Box::new(Ranked::by(least_loaded::rank)),
            Self::BinPack => Box::new(Ranked::by_room(bin_pack::rank, bin_pack::least)),
            Self::Spread => Box::new(Ranked::by(spread::rank)),
            Self::Affine => Box::new(Ranked::by(affine::rank)),
        }
    }
}

#[cfg(test)]
mod tests;
