//! What steps came to.

use std::time::Duration;

use edgeless_types::{LogicalId, NodeId, PhysicalId, WaitReason};

use super::{Domain, Instance, Phase, StartOutcome, StepKey, StepResult};

/// The first wait after a start that failed; doubles up to `LONGEST`.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

impl Domain {
    pub(super) fn on_outcome(&mut self, node_id: NodeId, key: StepKey, result: StepResult) {
        match (key, result) {
            (StepKey::Start(physical_id), StepResult::Done(_)) => self.started(physical_id),
            (StepKey::Start(physical_id), StepResult::Failed(message)) => {
                self.start_failed(node_id, physical_id, message);
            }
            (StepKey::Stop(physical_id), StepResult::Done(state)) => {
                if let (Some(state), Some(&logical_id)) =
                    (state, self.by_physical.get(&physical_id))
                {
                    self.states.insert(logical_id, state);
                }
                self.stopped(node_id, physical_id);
            }
            (StepKey::Stop(physical_id), StepResult::Failed(message)) => {
                tracing::warn!(%node_id, %physical_id, message, "a stop failed");
                self.stopped(node_id, physical_id);
            }
            (StepKey::Patch(physical_id), StepResult::Done(_)) => {
                for retiring in self.retiring.values_mut() {
                    retiring.senders.remove(&physical_id);
                }
                self.retire_ready();
            }
            (StepKey::Patch(physical_id), StepResult::Failed(message)) => {
                tracing::warn!(%node_id, %physical_id, message, "a patch failed");
            }
        }
    }

    /// An instance runs: its senders learn it, its predecessor may go.
    pub(super) fn started(&mut self, physical_id: PhysicalId) {
        let Some(&logical_id) = self.by_physical.get(&physical_id) else {
            return;
        };
        let now = self.now;
        let Some(vertex) = self.vertices.get_mut(&logical_id) else {
            return;
        };
        let Some(instance) = &mut vertex.instance else {
            return;
        };
        if instance.physical_id != physical_id || instance.phase != Phase::Starting {
            return;
        }
        instance.phase = Phase::Running;
        instance.since = now;
        vertex.waiting = None;
        vertex.attempts = 0;
        vertex.refused_by.clear();
        let running = vertex.running().into_iter().collect();
        self.touch(logical_id);
        self.resolve(logical_id, StartOutcome::Running(running));
        let senders = self.patch_senders_of(logical_id);
        let waits = self.now + Duration::from_secs(5);
        for (&old, retiring) in &mut self.retiring {
            if retiring.logical_id == logical_id {
                retiring.senders.clone_from(&senders);
                self.lingering.insert((waits, old));
            }
        }
        self.retire_ready();
    }

    fn start_failed(&mut self, node_id: NodeId, physical_id: PhysicalId, message: String) {
        let Some(&logical_id) = self.by_physical.get(&physical_id) else {
            return;
        };
        tracing::warn!(%node_id, %logical_id, message, "a start failed");
        let predecessor = self
            .retiring
            .iter()
            .find(|(old, retiring)| {
                // What is handed over is its own predecessor: that would bring back what failed.
                retiring.logical_id == logical_id && **old != physical_id
            })
            .map(|(&old, retiring)| (old, retiring.node_id));
        // It may have started all the same, if only the answer was lost.
        self.stop_copy(node_id, physical_id);
        self.gone(node_id, physical_id);
        if let Some(vertex) = self.vertices.get_mut(&logical_id) {
            vertex.refused_by.insert(node_id);
        }
        match predecessor {
            Some((old, home)) => self.restore(logical_id, home, old),
            None => {
                if self.somebody_may_be_willing(logical_id) {
                    // Whoever waits for the start learns what comes of that.
                    self.note_failure(logical_id, message);
                } else {
                    self.delay_after_failure(logical_id, message);
                }
                self.place(logical_id);
            }
        }
    }

    /// Whether a feasible node has not refused a vertex yet.
    fn somebody_may_be_willing(&mut self, logical_id: LogicalId) -> bool {
        let Some(vertex) = self.vertices.get(&logical_id) else {
            return false;
        };
        let (kind, ask) = (vertex.kind, vertex.ask);
        self.fleet.has_room(kind, ask, &vertex.refused_by)
    }

    /// A failure that is followed by another start at once.
    fn note_failure(&mut self, logical_id: LogicalId, message: String) {
        let now = self.now;
        if let Some(vertex) = self.vertices.get_mut(&logical_id) {
            vertex.not_before = now;
            vertex.waiting = Some((now, WaitReason::Failed { message }));
            self.touch(logical_id);
        }
    }

    /// A move failed: the old copy goes on.
    fn restore(&mut self, logical_id: LogicalId, node_id: NodeId, physical_id: PhysicalId) {
        self.retiring.remove(&physical_id);
        self.lingering.retain(|&(_, id)| id != physical_id);
        let since = self.now;
        if let Some(vertex) = self.vertices.get_mut(&logical_id) {
            let phase = Phase::Running;
            vertex.instance = Some(Instance {
                node_id,
                physical_id,
                phase,
                since,
                adopted: None,
            });
            vertex.waiting = None;
        }
        self.unplaced.remove(&logical_id);
        self.touch(logical_id);
        self.patch_senders_of(logical_id);
    }

    /// After a failure the next start waits, longer each time.
    pub(super) fn delay_after_failure(&mut self, logical_id: LogicalId, message: String) {
        let now = self.now;
        let Some(vertex) = self.vertices.get_mut(&logical_id) else {
            return;
        };
        let delay = FIRST
            .saturating_mul(1 << vertex.attempts.min(16))
            .min(LONGEST);
        vertex.not_before = now + delay;
        vertex.attempts += 1;
        self.wait(logical_id, WaitReason::Failed { message });
    }

    /// An instance was stopped. What was handed over starts at its new place.
    fn stopped(&mut self, node_id: NodeId, physical_id: PhysicalId) {
        let Some(&logical_id) = self.by_physical.get(&physical_id) else {
            return;
        };
        self.retiring.remove(&physical_id);
        self.gone(node_id, physical_id);
        self.place(logical_id);
    }
}
