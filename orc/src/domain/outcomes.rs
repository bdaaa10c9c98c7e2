//! What steps came to.

use std::time::Duration;

use edgeless_types::{NodeId, PhysicalId, WaitReason};

use super::{
    Domain, StepKey, StepResult,
    model::{Instance, Phase, ReplicaKey},
};

/// The first wait after a start that failed; doubles up to `LONGEST`.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

impl Domain {
    pub(super) fn on_outcome(&mut self, node_id: NodeId, key: StepKey, result: StepResult) {
        match (key, result) {
            (StepKey::Start(physical_id), StepResult::Done(_)) => self.started(physical_id),
            (StepKey::Start(physical_id), StepResult::Failed(message)) => {
                self.start_failed(node_id, physical_id, &message);
            }
            (StepKey::Stop(physical_id), StepResult::Done(state)) => {
                self.stopped(node_id, physical_id, state);
            }
            (StepKey::Stop(physical_id), StepResult::Failed(message)) => {
                tracing::warn!(%node_id, %physical_id, message, "a stop failed");
                // Its node was lost and came back with it since that was decided: it goes on.
                if !self.is_running(physical_id) {
                    self.stopped(node_id, physical_id, None);
                }
            }
            (StepKey::Patch(physical_id), StepResult::Done(_)) => {
                let linger = self.now + self.settings.linger;
                self.retiring.confirmed(physical_id, linger);
            }
            (StepKey::Patch(physical_id), StepResult::Failed(message))
                if self.model.replica_of(physical_id).is_none() =>
            {
                tracing::debug!(%node_id, %physical_id, message, "a patch came after the end");
            }
            (StepKey::Patch(physical_id), StepResult::Failed(message)) => {
                tracing::warn!(%node_id, %physical_id, message, "a patch failed");
            }
        }
    }

    /// An instance runs: its senders learn it, its predecessors may go.
    pub(super) fn started(&mut self, physical_id: PhysicalId) {
        let Some(key) = self.model.replica_of(physical_id) else {
            return;
        };
        let now = self.now;
        let replica = self.model.replica_mut(key);
        let Some(instance) = &mut replica.instance else {
            return;
        };
        if instance.physical_id != physical_id || !instance.phase.is_starting() {
            return;
        }
        let before = *instance;
        instance.phase = Phase::Running;
        instance.since = now;
        replica.waiting = None;
        let mut predecessors = smallvec::SmallVec::<[PhysicalId; 1]>::new();
        if let Some(extra) = replica.extra.take() {
            // What was wanted and refused has served its purpose; what was saved is good until more is.
            predecessors = extra.predecessors;
            if !predecessors.is_empty() || extra.superfluous || extra.state.is_some() {
                let extra_now = replica.extra_mut();
                extra_now.predecessors = predecessors.clone();
                extra_now.superfluous = extra.superfluous;
                extra_now.state = extra.state;
            }
        }
        let vertex = replica.vertex;
        self.note_start(vertex, before.node_id, now.since(before.since));
        self.note_awake(vertex);
        self.end_healing(before);
        self.touch(vertex);
        if predecessors.is_empty() {
            self.patch_senders_of(self.model.vertex(vertex).logical_id);
        }
        for old in predecessors {
            self.tell_senders(old);
        }
        self.resolve_if_known(vertex);
        self.advance_update(vertex);
        self.bring_sources(vertex);
    }

    /// A node has answered the start of an instance that was lost elsewhere, or need not any more.
    pub(super) fn end_healing(&mut self, instance: Instance) {
        if instance.phase == Phase::Healing {
            self.fleet.end_healing(instance.node_id);
            self.healed.push(instance.node_id);
        }
    }

    fn start_failed(&mut self, node_id: NodeId, physical_id: PhysicalId, message: &str) {
        let Some(key) = self.model.replica_of(physical_id) else {
            return;
        };
        let instance = self.model.replica(key).instance;
        let instance = instance.filter(|it| it.physical_id == physical_id);
        let vertex = self.model.replica(key).vertex;
        let logical_id = self.model.vertex(vertex).logical_id;
        tracing::warn!(%node_id, %logical_id, message, "a start failed");
        // It may have started all the same, if only the answer was lost.
        self.stop_copy(node_id, physical_id);
        self.unhost(node_id, physical_id);
        self.gone(physical_id);
        if !self.model.has_replica(key) || instance.is_none() {
            return;
        }
        self.model
            .replica_mut(key)
            .extra_mut()
            .refused_by
            .push(node_id);
        if self.go_back(key) {
            tracing::debug!(%logical_id, "the copy that was to be replaced goes on");
        } else if self.somebody_may_be_willing(key) {
            // Whoever waits for the start learns what comes of that.
            self.note_failure(key, message.to_owned());
        } else {
            self.delay_after_failure(key, message.to_owned());
        }
        if let Some(instance) = instance {
            self.count_failure(key, instance.class, message);
        }
    }

    /// Whether a feasible node has not refused a replica yet.
    fn somebody_may_be_willing(&mut self, key: ReplicaKey) -> bool {
        let class = self.model.class_of(key);
        let (kind, ask) = (class.kind, class.ask);
        let extra = self.model.replica(key).extra.as_deref();
        let refused = extra.map_or(&[][..], |it| &it.refused_by);
        self.fleet.has_room(kind, ask, refused)
    }

    /// A failure that is followed by another start at once.
    fn note_failure(&mut self, key: ReplicaKey, message: String) {
        let now = self.now;
        let replica = self.model.replica_mut(key);
        replica.waiting = Some(Box::new((now, WaitReason::Failed { message })));
        let vertex = replica.vertex;
        self.touch(vertex);
    }

    /// What a replica was to replace goes on, if it has not been told to go: whether there is such a copy.
    pub(super) fn go_back(&mut self, key: ReplicaKey) -> bool {
        let mut working = self.model.replica(key).predecessors().to_vec();
        working.retain(|it| self.retiring.is_working(*it));
        let Some(last) = working.pop() else {
            return false;
        };
        // Of several, one is enough.
        for other in working {
            if let Some(retired) = self.retiring.remove(other) {
                self.stop_copy(retired.instance.node_id, other);
                self.unhost(retired.instance.node_id, other);
            }
            self.gone(other);
        }
        self.restore(key, last);
        true
    }

    /// A move failed: the old copy goes on.
    pub(super) fn restore(&mut self, key: ReplicaKey, physical_id: PhysicalId) {
        let Some(old) = self.retiring.remove(physical_id) else {
            return;
        };
        self.waiting.remove(key);
        self.release(key);
        let since = self.now;
        let replica = self.model.replica_mut(key);
        replica.instance = Some(Instance {
            phase: Phase::Running,
            since,
            adopted: None,
            ..old.instance
        });
        replica.waiting = None;
        replica
            .extra_mut()
            .predecessors
            .retain(|it| *it != physical_id);
        let vertex = replica.vertex;
        self.touch(vertex);
        self.note_stayed(old.instance.node_id, physical_id);
        self.patch_senders_of(old.logical_id);
        self.resolve_if_known(vertex);
    }

    /// After a failure the next start waits, longer each time.
    pub(super) fn delay_after_failure(&mut self, key: ReplicaKey, message: String) {
        let now = self.now;
        let extra = self.model.replica_mut(key).extra_mut();
        let delay = FIRST
            .saturating_mul(1 << extra.attempts.min(16))
            .min(LONGEST);
        extra.not_before = now + delay;
        extra.attempts += 1;
        let until = extra.not_before;
        if self.model.replica(key).instance.is_none() {
            let priority = self.priority_of(key);
            self.waiting.for_moment(key, priority, until);
        }
        self.wait(key, WaitReason::Failed { message });
    }

    /// Whether a copy runs and is to go on.
    fn is_running(&self, physical_id: PhysicalId) -> bool {
        let key = self.model.replica_of(physical_id);
        let running = key.and_then(|key| self.model.replica(key).running());
        running.is_some_and(|it| it.physical_id == physical_id)
    }

    /// A copy was stopped. What was handed over starts at its new place.
    fn stopped(&mut self, node_id: NodeId, physical_id: PhysicalId, state: Option<bytes::Bytes>) {
        let Some(key) = self.model.replica_of(physical_id) else {
            return;
        };
        if let Some(state) = state
            && self.is_instance_of(key, physical_id)
        {
            self.model.replica_mut(key).extra_mut().state = Some(state);
        }
        self.unhost(node_id, physical_id);
        self.gone(physical_id);
    }
}
