//! What is true of a function at the moment of a decision: its copies, what waits for them, what orders want, room.

use edgeless_types::LogicalId;

use super::{Domain, model::VertexKey};
use crate::scale::{self, Successor, View};

impl Domain {
    /// What is true of a function now.
    pub(super) fn view_of(&self, key: VertexKey) -> View {
        let vertex = self.model.vertex(key);
        let (mut ready, mut starting, mut busy, mut queued) = (0, 0, 0, 0_u64);
        for &replica in &vertex.replicas {
            let replica = self.model.replica(replica);
            if replica.is_superfluous() {
                continue;
            }
            match replica.running() {
                None => starting += 1,
                Some(instance) => {
                    ready += 1;
                    let node = self.nodes.get(&instance.node_id);
                    let mut backlog = node.iter().flat_map(|it| &it.backlog);
                    let waits = backlog.find(|it| it.physical_id == instance.physical_id);
                    if let Some(waits) = waits {
                        busy += 1;
                        queued += waits.queued;
                    }
                }
            }
        }
        let orders = self.demand_of_orders(vertex.logical_id);
        // What waited while there was no copy is with the one that runs.
        let scaled = self.scaled.get(&key).filter(|_| ready == 0);
        let wanted = scaled.map_or(0, |it| it.wanted());
        let queued = queued + u64::from(orders.waiting) + wanted;
        let busy = busy.max(orders.in_flight.min(ready));
        let class = self.model.class(vertex.class);
        let most = class
            .requirements
            .max_instances
            .map_or(u32::MAX, |it| it.get());
        View {
            ready,
            starting,
            busy,
            queued: u32::try_from(queued).unwrap_or(u32::MAX),
            in_flight: busy.max(orders.in_flight),
            room: match self.may_have_room(key, ready + starting) {
                true => most.saturating_sub(ready + starting),
                false => 0,
            },
            slots: 1,
            successor: match self.is_before_what_limits(key) {
                true => Successor::Stuck,
                false => Successor::Free,
            },
        }
    }

    /// Whether another copy of a function may find a node. The first one is asked for in any case, so that it is seen
    /// to wait, and one that others make room for as well.
    fn may_have_room(&self, key: VertexKey, copies: u32) -> bool {
        let class = self.model.class(self.model.vertex(key).class);
        let priority = class.requirements.priority;
        let lowest = self.priorities.first_key_value();
        copies == 0
            || lowest.is_some_and(|(&lowest, _)| lowest < priority)
            || self.fleet.may_have_room(class.kind, class.ask)
    }

    /// What orders want of a function.
    pub(super) fn demand_of_orders(&self, logical_id: LogicalId) -> scale::Demand {
        let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let of_orders = self.order_demand.get(&logical_id);
        of_orders.map_or(scale::Demand::default(), |it| scale::Demand {
            to_do: count(it.tasks_to_do),
            waiting: count(it.waiting),
            in_flight: count(it.in_flight),
        })
    }
}
