//! What the shards of an engine share: who runs where, what they tell one another, what is counted.

use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use edgeless_types::{PhysicalId, Timestamp, message::Message};
use rustc_hash::FxHashMap;
use tokio::sync::{Notify, mpsc};

use crate::{
    config::{EngineConfig, Remote},
    counters::Counters,
    directory::Directory,
    gate::{self, Gate},
    shard::{Inject, Woken},
    spawn::Failure,
};

/// How long a measured load is believed.
const BELIEVED: Duration = Duration::from_millis(500);
/// Over how long a load is measured.
const MEASURED: Duration = Duration::from_millis(100);

/// How much a shard has to do, as it last said.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// Thousandths of the time that it worked.
    permille: AtomicU64,
    /// When it said so, in nanoseconds.
    said: AtomicU64,
}

impl Load {
    /// Thousandths of the time; a shard that has said nothing lately sleeps.
    pub(crate) fn at(&self, now: Timestamp) -> u64 {
        let said = Timestamp::from_nanos(self.said.load(Relaxed));
        match now.since(said) < BELIEVED {
            true => self.permille.load(Relaxed),
            false => 0,
        }
    }
}

/// Measures the load of one shard.
#[derive(Debug, Default)]
pub(crate) struct LoadMeter {
    began: Timestamp,
    slept: Duration,
}

impl LoadMeter {
    pub(crate) fn slept(&mut self, time: Duration) {
        self.slept += time;
    }

    pub(crate) fn tell(&mut self, now: Timestamp, load: &Load) {
        let time = now.since(self.began);
        if time < MEASURED {
            return;
        }
        let worked = time.saturating_sub(self.slept);
        let permille = worked.as_nanos() * 1_000 / time.as_nanos().max(1);
        let permille = u64::try_from(permille).unwrap_or(1_000);
        load.permille.store(permille, Relaxed);
        load.said.store(now.as_nanos(), Relaxed);
        *self = Self {
            began: now,
            slept: Duration::ZERO,
        };
    }
}

/// What shards share.
pub(crate) struct Shared {
    pub(crate) config: EngineConfig,
    pub(crate) counters: Counters,
    directory: RwLock<Directory>,
    /// How much each shard has to do.
    pub(crate) loads: Vec<Load>,
    pub(crate) bells: Vec<Arc<Woken>>,
    pub(crate) origins: Vec<u64>,
    pub(crate) shards: Vec<mpsc::Sender<Inject>>,
    pub(crate) data: Vec<mpsc::Sender<Vec<Message>>>,
    pub(crate) failures: Mutex<Vec<Failure>>,
    /// Rings when there is one more.
    pub(crate) failed: Notify,
    /// Rings when something waits in an inbox, where nothing did.
    pub(crate) waits: Notify,
    /// Rings when something is wanted of a vertex without instances.
    pub(crate) wanted: Notify,
    /// Rings when an instance that is watched from other nodes has nothing more to do.
    pub(crate) idle: Notify,
    pub(crate) states: Mutex<FxHashMap<PhysicalId, Bytes>>,
    pub(crate) remote: Arc<dyn Remote>,
    /// How much waits in all inboxes, and in those of each group.
    pub(crate) waiting: AtomicUsize,
    /// How many messages wait for outputs that lead to no instance.
    pub(crate) held: AtomicUsize,
    /// How many groups there are.
    pub(crate) groups: AtomicUsize,
    gauges: Mutex<FxHashMap<u128, Arc<AtomicUsize>>>,
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
            directory: RwLock::new(Directory::new(shards.len())),
            loads: shards.iter().map(|_| Load::default()).collect(),
            bells: shards.iter().map(|_| Arc::default()).collect(),
            origins,
            shards,
            data,
            failures: Mutex::default(),
            failed: Notify::new(),
            waits: Notify::new(),
            wanted: Notify::new(),
            idle: Notify::new(),
            states: Mutex::default(),
            waiting: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            groups: AtomicUsize::new(0),
            gauges: Mutex::default(),
            remote,
            config,
        }
    }

    /// The gate of an instance that runs here or is about to.
    pub(crate) fn gate(&self, physical_id: PhysicalId) -> Option<Arc<Gate>> {
        self.directory().get(physical_id).map(Arc::clone)
    }

    pub(crate) fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        self.directory
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn directory_mut(&self) -> RwLockWriteGuard<'_, Directory> {
        self.directory
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Where shards say how much waits in the inboxes of a group.
    pub(crate) fn gauge(&self, group: Option<u128>) -> Arc<AtomicUsize> {
        let Some(group) = group else {
            return Arc::default();
        };
        let mut gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        let gauge = Arc::clone(gauges.entry(group).or_default());
        self.groups.store(gauges.len(), Relaxed);
        gauge
    }

    /// A shard has no member of a group any more.
    pub(crate) fn forget_gauge(&self, group: u128) {
        let mut gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        if gauges
            .get(&group)
            .is_some_and(|it| Arc::strong_count(it) == 1)
        {
            gauges.remove(&group);
            self.groups.store(gauges.len(), Relaxed);
        }
    }

    /// An instance has ended: whoever waits for it looks again.
    pub(crate) fn forget(&self, physical_id: PhysicalId) {
        let left = self.directory_mut().leave(physical_id);
        if let Some(gate) = left {
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
