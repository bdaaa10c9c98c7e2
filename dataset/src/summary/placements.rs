//! Where functions ran and for how long, from the rows of the mapping.

use std::collections::{BTreeMap, BTreeSet};

use edgeless_types::{InstanceId, LogicalId, NodeId, PhysicalId, Timestamp};

use super::MAX_NAMED;

/// Instances of one function that are kept at once; of further ones nothing is told but their number.
const MAX_AT_ONCE: usize = 1 << 16;

/// Where all functions ran.
#[derive(Debug, Default)]
pub struct Placements {
    pub(super) by_function: BTreeMap<LogicalId, Placed>,
    /// Rows of functions for which there was no room.
    pub(super) rows_left_out: u64,
}

/// Where one function ran.
#[derive(Debug, Default)]
pub(super) struct Placed {
    pub(super) running: BTreeMap<PhysicalId, (NodeId, Timestamp)>,
    pub(super) starts: u64,
    pub(super) stops: u64,
    pub(super) most: usize,
    pub(super) secs: f64,
    pub(super) nodes: BTreeSet<NodeId>,
}

/// That an instance ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// The function.
    pub logical_id: LogicalId,
    /// The instance.
    pub physical_id: PhysicalId,
    /// Its node.
    pub node_id: NodeId,
    /// Since when.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
}

impl Placements {
    /// From `at` on a function runs there and nowhere else; `ended` gets the intervals that ended.
    pub fn place(
        &mut self,
        at: Timestamp,
        logical_id: LogicalId,
        instances: &[InstanceId],
        ended: &mut impl FnMut(Interval),
    ) {
        if self.by_function.len() >= MAX_NAMED && !self.by_function.contains_key(&logical_id) {
            self.rows_left_out += 1;
            return;
        }
        let placed = self.by_function.entry(logical_id).or_default();
        placed.most = placed.most.max(instances.len());
        let wanted: BTreeSet<PhysicalId> = instances
            .iter()
            .map(|instance| instance.physical_id)
            .collect();
        placed.running.retain(|&physical_id, &mut (node_id, from)| {
            let stays = wanted.contains(&physical_id);
            if !stays {
                placed.stops += 1;
                placed.secs += at.since(from).as_secs_f64();
                ended(Interval {
                    logical_id,
                    physical_id,
                    node_id,
                    from,
                    to: at,
                });
            }
            stays
        });
        for instance in instances.iter().take(MAX_AT_ONCE) {
            let running = placed.running.entry(instance.physical_id);
            running.or_insert_with(|| {
                placed.starts += 1;
                (instance.node_id, at)
            });
            if placed.nodes.len() < MAX_AT_ONCE {
                placed.nodes.insert(instance.node_id);
            }
        }
    }

    /// The intervals of what still runs at `end`.
    pub fn open(&self, end: Timestamp) -> impl Iterator<Item = Interval> {
        self.by_function
            .iter()
            .flat_map(move |(&logical_id, placed)| {
                let running = placed.running.iter();
                running.map(move |(&physical_id, &(node_id, from))| Interval {
                    logical_id,
                    physical_id,
                    node_id,
                    from,
                    to: end.max(from),
                })
            })
    }
}
