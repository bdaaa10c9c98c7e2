//! What nodes say they run, against what should run.

use std::{collections::BTreeSet, time::Duration};

use edgeless_types::{LogicalId, NodeId, PhysicalId, RunningInstance};

use super::{Domain, Effect, Instance, Phase, Step};
use crate::plan::Ask;

impl Domain {
    /// Compares what a node says it runs with what it should run.
    pub(super) fn on_running(&mut self, node_id: NodeId, running: Vec<RunningInstance>) {
        let mut reported = BTreeSet::new();
        for instance in running {
            reported.insert(instance.physical_id);
            self.adopt(node_id, instance);
        }
        let Some(node) = self.nodes.get(&node_id) else {
            return;
        };
        let hosted = node.instances.keys();
        let missing: Vec<_> = hosted
            .filter(|it| !reported.contains(it))
            .copied()
            .collect();
        for physical_id in missing {
            let Some(&logical_id) = self.by_physical.get(&physical_id) else {
                continue;
            };
            let vertex = self.vertices.get(&logical_id);
            let under_way = vertex.is_some_and(|vertex| {
                vertex.instance.is_some_and(|instance| {
                    instance.physical_id == physical_id && instance.phase != Phase::Running
                })
            });
            if !under_way {
                self.gone(node_id, physical_id);
                // Its start may still be on its way to the node.
                self.stop_copy(node_id, physical_id);
            }
        }
    }

    pub(super) fn adopt(&mut self, node_id: NodeId, running: RunningInstance) {
        let physical_id = running.physical_id;
        self.generation = self.generation.max(running.generation);
        if self.retiring.contains_key(&physical_id) {
            return;
        }
        let known = self.vertices.get(&running.logical_id);
        match known.map(|vertex| vertex.instance) {
            Some(Some(instance)) if instance.physical_id == physical_id => {
                if instance.phase == Phase::Starting {
                    self.started(physical_id);
                }
            }
            // Of two that outlived a restart the newer is right, whichever was reported first.
            Some(Some(instance))
                if instance
                    .adopted
                    .is_some_and(|adopted| running.generation > adopted) =>
            {
                self.unhost(instance.node_id, instance.physical_id);
                self.stop_stray(instance.node_id, instance.physical_id);
                self.take_over(node_id, running);
            }
            Some(None) => {
                tracing::info!(%node_id, %physical_id, "an instance is adopted");
                self.take_over(node_id, running);
            }
            None if !self.reconciled => {
                self.orphans.insert(physical_id, (node_id, running));
            }
            // Moved or stopped meanwhile.
            Some(Some(_)) | None => self.stop_stray(node_id, physical_id),
        }
    }

    /// A vertex without an instance takes one that runs already.
    fn take_over(&mut self, node_id: NodeId, running: RunningInstance) {
        let (logical_id, physical_id) = (running.logical_id, running.physical_id);
        let Some(vertex) = self.vertices.get_mut(&logical_id) else {
            return;
        };
        vertex.generation = self.generation;
        let since = self.now;
        let phase = Phase::Starting;
        vertex.instance = Some(Instance {
            node_id,
            physical_id,
            phase,
            since,
            adopted: Some(running.generation),
        });
        self.unplaced.remove(&logical_id);
        self.host(node_id, physical_id, logical_id);
        self.started(physical_id);
        // Its outputs may be those of another time.
        self.patch_sender(logical_id);
    }

    fn stop_stray(&mut self, node_id: NodeId, physical_id: PhysicalId) {
        tracing::info!(%node_id, %physical_id, "an instance is not desired any more: stopped");
        self.stop_copy(node_id, physical_id);
    }

    /// A copy that nobody sends to is stopped at once.
    pub(super) fn stop_copy(&mut self, node_id: NodeId, physical_id: PhysicalId) {
        let step = Step::Stop {
            physical_id,
            generation: self.decide(),
            drain: Duration::ZERO,
        };
        self.effects.push(Effect::Step { node_id, step });
    }

    /// A copy counts as one of its node.
    pub(super) fn host(&mut self, node_id: NodeId, physical_id: PhysicalId, of: LogicalId) {
        self.by_physical.insert(physical_id, of);
        let ask = self.vertices.get(&of).map_or(Ask::default(), |it| it.ask);
        if let Some(node) = self.nodes.get_mut(&node_id)
            && node.instances.insert(physical_id, ask).is_none()
        {
            self.fleet.take(node_id, ask);
        }
    }

    /// A copy does not count as one of its node any more; which vertex it was of.
    pub(super) fn unhost(&mut self, node_id: NodeId, physical_id: PhysicalId) -> Option<LogicalId> {
        if let Some(node) = self.nodes.get_mut(&node_id)
            && let Some(ask) = node.instances.remove(&physical_id)
        {
            self.fleet.give_back(node_id, ask);
        }
        self.by_physical.remove(&physical_id)
    }
}
