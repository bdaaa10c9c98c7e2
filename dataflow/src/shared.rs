//! What the shards of an engine share: who runs where, what they tell one another, what is counted.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use edgeless_types::{PhysicalId, message::Message};
use rustc_hash::FxHashMap;
use tokio::sync::mpsc;

use crate::{
    config::{EngineConfig, Remote},
    counters::Counters,
    engine::Failure,
    gate::{self, Gate},
    shard::{Inject, Woken},
};

/// What shards share.
pub(crate) struct Shared {
    pub(crate) config: EngineConfig,
    pub(crate) counters: Counters,
    pub(crate) directory: RwLock<FxHashMap<PhysicalId, Arc<Gate>>>,
    pub(crate) bells: Vec<Arc<Woken>>,
    pub(crate) origins: Vec<u64>,
    pub(crate) shards: Vec<mpsc::Sender<Inject>>,
    pub(crate) data: Vec<mpsc::Sender<Vec<Message>>>,
    pub(crate) failures: Mutex<Vec<Failure>>,
    pub(crate) states: Mutex<FxHashMap<PhysicalId, Bytes>>,
    pub(crate) remote: Arc<dyn Remote>,
}

impl Shared {
    pub(crate) fn new(
        config: EngineConfig,
        remote: Arc<dyn Remote>,
        origins: Vec<u64>,
        shards: Vec<mpsc::Sender<Inject>>,
        data: Vec<mpsc::Sender<Vec<Message>>>,
    ) -> Self {
        Self {
            counters: Counters::default(),
            directory: RwLock::default(),
            bells: shards.iter().map(|_| Arc::default()).collect(),
            origins,
            shards,
            data,
            failures: Mutex::default(),
            states: Mutex::default(),
            remote,
            config,
        }
    }

    /// The gate of an instance that runs here or is about to.
    pub(crate) fn gate(&self, physical_id: PhysicalId) -> Option<Arc<Gate>> {
        let directory = self
            .directory
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        directory.get(&physical_id).map(Arc::clone)
    }

    /// An instance has ended: whoever waits for it looks again.
    pub(crate) fn forget(&self, physical_id: PhysicalId) {
        let mut directory = self
            .directory
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = directory.remove(&physical_id) {
            self.ring(gate.close());
        }
    }

    /// Rings shards, one bit each.
    pub(crate) fn ring(&self, shards: u64) {
        if shards == 0 {
            return;
        }
        for (index, woken) in self.bells.iter().enumerate() {
            if shards & gate::bit(index) != 0 {
                woken.bell.notify_one();
            }
        }
    }
}
