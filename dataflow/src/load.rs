//! What waits for instances, for those who choose among copies from other nodes.

use edgeless_types::PhysicalId;

use crate::engine::Engine;

impl Engine {
    /// The weight ([`Message::weight`](edgeless_types::message::Message::weight)) of what waits for an instance or is in its hands; none: it does
    /// not run here.
    pub fn load(&self, physical_id: PhysicalId) -> Option<usize> {
        let gate = self.shared.gate(physical_id)?;
        (!gate.is_closed()).then(|| gate.load())
    }

    /// Somebody on another node chooses among copies, of which this is one: [`Self::idle`] tells of it.
    pub fn watch(&self, physical_id: PhysicalId) {
        if let Some(gate) = self.shared.gate(physical_id) {
            gate.watch();
        }
    }

    /// Waits until an instance that is watched has nothing more to do. Instances that often have nothing to
    /// do are told of once in a while.
    pub async fn idle(&self) {
        self.shared.idle.notified().await;
    }
}
