//! Vertices without copies: what their last ones have saved.

use super::{Domain, model::ReplicaKey};

impl Domain {
    /// The last copy of a vertex goes: what it has saved is handed to the next one.
    pub(super) fn keep_state_of(&mut self, key: ReplicaKey) {
        let vertex = self.model.replica(key).vertex;
        let extra = self.model.replica_mut(key).extra.as_mut();
        if let Some(state) = extra.and_then(|extra| extra.state.take())
            && self.model.vertex(vertex).replicas.len() == 1
        {
            self.asleep.insert(vertex, state);
        }
    }
}
