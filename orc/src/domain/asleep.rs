//! Vertices without copies: what their last ones have saved is handed to the next one, also in another life of ε-ORC.

use super::{
    Domain, Effect,
    model::{ReplicaKey, VertexKey},
};

impl Domain {
    /// A copy of which one fewer is desired is there no more.
    pub(super) fn let_go(&mut self, key: ReplicaKey) {
        let vertex_key = self.model.replica(key).vertex;
        let vertex = self.model.vertex(vertex_key);
        let (logical_id, is_last) = (vertex.logical_id, vertex.replicas.len() == 1);
        let extra = self.model.replica_mut(key).extra.as_mut();
        let state = extra.and_then(|extra| extra.state.take());
        self.forget_replica(key);
        if is_last {
            self.asleep.insert(vertex_key, state.clone());
            self.effects.push(Effect::Asleep { logical_id, state });
        }
    }

    /// Of copies that are all about to go one comes back with what it saves: it has the state.
    pub(super) fn keep_one(&mut self, key: VertexKey) -> Option<ReplicaKey> {
        let replica = *self.model.vertex(key).replicas.first()?;
        self.model.replica_mut(replica).extra_mut().superfluous = false;
        Some(replica)
    }

    /// A copy that is about to go and was not stopped yet stays after all, if there is one.
    pub(super) fn keep_waiting(&mut self, key: VertexKey) -> Option<ReplicaKey> {
        let mut replicas = self.model.vertex(key).replicas.iter().copied();
        let (replica, physical_id) = replicas.find_map(|key| {
            let replica = self.model.replica(key);
            let physical_id = replica.instance?.physical_id;
            let may_stay =
                replica.is_superfluous() && self.retiring.waits_for_its_stop(physical_id);
            may_stay.then_some((key, physical_id))
        })?;
        self.model.replica_mut(replica).extra_mut().superfluous = false;
        self.restore(replica, physical_id);
        Some(replica)
    }

    /// A vertex that is desired had no copies when an earlier life of ε-ORC ended: it has none now, if it may.
    /// Whether that is so.
    pub(super) fn sleeps_on(&mut self, key: VertexKey) -> bool {
        let vertex = self.model.vertex(key);
        let Some(state) = self.slept.remove(&vertex.logical_id) else {
            return false;
        };
        let requirements = &self.model.class(vertex.class).requirements;
        let may_sleep = requirements.may_sleep();
        self.asleep.insert(key, state);
        may_sleep
    }

    /// The first copy of a vertex without any begins with what the last one has saved.
    pub(super) fn saved_before(&self, key: VertexKey) -> Option<bytes::Bytes> {
        let is_first = self.model.vertex(key).replicas.len() == 1;
        self.asleep
            .get(&key)
            .filter(|_| is_first)
            .cloned()
            .flatten()
    }

    /// A copy of a vertex runs.
    pub(super) fn note_awake(&mut self, key: VertexKey) {
        if self.asleep.remove(&key).is_some() {
            let logical_id = self.model.vertex(key).logical_id;
            self.effects.push(Effect::Awake(logical_id));
        }
    }
}
