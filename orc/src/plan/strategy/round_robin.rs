//! `RoundRobin`: one node after the other, in the order of their ids.

use edgeless_types::NodeId;
use rand::rngs::StdRng;

use super::Strategy;
use crate::plan::NodeView;

#[derive(Default)]
pub(super) struct RoundRobin {
    last: Option<NodeId>,
}

impl Strategy for RoundRobin {
    fn choose(&mut self, feasible: &[NodeView<'_>], _: &mut StdRng) -> NodeId {
        let after = |node: &&NodeView<'_>| self.last.is_none_or(|last| node.node_id > last);
        let next = feasible.iter().find(after).unwrap_or(&feasible[0]).node_id;
        self.last = Some(next);
        next
    }
}
