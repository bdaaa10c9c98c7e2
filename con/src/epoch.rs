//! Numbers what ε-CON tells domains, so that what is late cannot override what is newer.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use edgeless_proto::v1;
use edgeless_types::Epoch;

/// The life of ε-CON and a counter of its decisions; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Epochs {
    life: u64,
    sequence: Arc<AtomicU64>,
}

impl Epochs {
    /// Nothing is decided yet in this life.
    pub fn new(life: u64) -> Self {
        Self {
            life,
            sequence: Arc::default(),
        }
    }

    /// The life.
    pub const fn life(&self) -> u64 {
        self.life
    }

    /// The next decision: to be drawn before that is read which is told, so that nothing that is
    /// missing there has a smaller number.
    pub fn next(&self) -> Epoch {
        Epoch {
            life: self.life,
            sequence: self.sequence.fetch_add(1, SeqCst) + 1,
        }
    }
}

/// The epoch as it is sent.
#[expect(clippy::unnecessary_wraps, reason = "fields of messages are optional")]
pub(crate) fn to_wire(epoch: Epoch) -> Option<v1::Epoch> {
    let Epoch { life, sequence } = epoch;
    Some(v1::Epoch { life, sequence })
}
