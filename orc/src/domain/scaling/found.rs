//! Copies that ran before this life of ε-ORC.

use std::time::Duration;

use edgeless_types::{Generation, Timestamp};

use crate::domain::{
    Domain,
    model::{ReplicaKey, VertexKey},
};

/// Copies that ran before ε-ORC started are kept that long, or `idle_after` if that is less, whatever little it has seen
/// them do.
const KEPT: Duration = Duration::from_mins(1);

impl Domain {
    /// A copy of a function that is scaled ran before this life of ε-ORC, beside those that are desired: a place for
    /// it, if there may be so many. All are kept until it is known what they have to do.
    pub(in crate::domain) fn place_for_found(
        &mut self,
        key: VertexKey,
        generation: Generation,
    ) -> Option<ReplicaKey> {
        let copies = self.copies_of(key);
        let scaled = self.scaled.get_mut(&key)?;
        if generation >= self.first || copies >= scaled.settings.max_instances {
            return None;
        }
        scaled.copies = copies + 1;
        Some(self.add_replica(key, Timestamp::EPOCH))
    }

    /// A copy of a function that is scaled is one that ran before this life of ε-ORC.
    pub(in crate::domain) fn note_found(&mut self, key: VertexKey, generation: Generation) {
        let copies = self.copies_of(key);
        if generation < self.first
            && let Some(scaled) = self.scaled.get_mut(&key)
        {
            let until = self.now + KEPT.min(scaled.settings.idle_after);
            scaled.found = Some((copies, until));
        }
    }
}
