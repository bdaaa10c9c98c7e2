//! Who is told what changed: the mirror, the datasets, and the memory of the last minutes.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use edgeless_types::{Timestamp, intent::IntentOutcome};
use tokio::sync::mpsc;

use crate::{
    change::{Change, What},
    mirror::entries::{self, Write},
};

/// How long measurements are remembered.
const REMEMBERED: Duration = Duration::from_secs(120);
/// Measurements remembered per key.
const PER_KEY: usize = 2_000;
/// Keys of measurements.
const KEYS: usize = 20_000;
/// Outcomes of intents remembered.
const OUTCOMES: usize = 100;

/// Tells all observers; never waits for them.
#[derive(Default)]
pub struct Observers {
    mirror: Option<mpsc::Sender<Arc<[Change]>>>,
    record: Option<mpsc::Sender<Arc<[Change]>>>,
    /// Batches that the recorder has not taken yet, in order: rows are not lost.
    behind: VecDeque<Arc<[Change]>>,
    recent: Recent,
}

impl Observers {
    /// Observers behind these channels.
    pub fn new(
        mirror: Option<mpsc::Sender<Arc<[Change]>>>,
        record: Option<mpsc::Sender<Arc<[Change]>>>,
        recent: Recent,
    ) -> Self {
        Self {
            mirror,
            record,
            behind: VecDeque::new(),
            recent,
        }
    }

    /// Hands over all changes.
    pub fn publish(&mut self, changes: &mut Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let batch: Arc<[Change]> = std::mem::take(changes).into();
        self.recent.take(&batch);
        if let Some(mirror) = &self.mirror
            && mirror.try_send(Arc::clone(&batch)).is_err()
        {
            // A mirror that is so far behind is not answering; it is made whole by a snapshot.
            tracing::debug!("the mirror is behind");
        }
        if let Some(record) = &self.record {
            self.behind.push_back(batch);
            while let Some(batch) = self.behind.pop_front() {
                if let Err(mpsc::error::TrySendError::Full(batch)) = record.try_send(batch) {
                    self.behind.push_front(batch);
                    break;
                }
            }
        }
    }
}

/// What was measured in the last minutes, bounded; cheap to clone.
#[derive(Clone, Default)]
pub struct Recent(Arc<Mutex<Memory>>);

#[derive(Default)]
struct Memory {
    sets: BTreeMap<String, VecDeque<(Timestamp, String)>>,
    outcomes: VecDeque<IntentOutcome>,
    purged: Timestamp,
}

impl Recent {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, batch: &[Change]) {
        let mut memory = self.memory();
        for change in batch {
            match &change.what {
                What::Intent(outcome) => {
                    memory.outcomes.push_front(outcome.clone());
                    memory.outcomes.truncate(OUTCOMES);
                }
                What::Health(..) | What::Samples(..) => memory.add(change),
                What::Reset(_)
                | What::Node(..)
                | What::NodeGone(_)
                | What::Provider(_)
                | What::ProviderGone(_)
                | What::Instance(_)
                | What::InstanceGone(_)
                | What::Dependencies(..)
                | What::DependenciesGone(_) => {}
            }
        }
        if let Some(last) = batch.last()
            && last.at.since(memory.purged) > REMEMBERED / 4
        {
            memory.purge(last.at);
        }
    }

    /// Elements of a sorted set since a moment.
    pub fn range(&self, key: &str, since: Timestamp) -> Vec<(Timestamp, String)> {
        let memory = self.memory();
        let set = memory.sets.get(key).into_iter().flatten();
        set.filter(|(at, _)| *at >= since).cloned().collect()
    }

    /// What became of intents, newest first.
    pub fn outcomes(&self) -> Vec<IntentOutcome> {
        self.memory().outcomes.iter().cloned().collect()
    }
}

impl Memory {
    fn add(&mut self, change: &Change) {
        for write in entries::of_change(change) {
            let Write::Add { key, at, member } = write else {
                continue;
            };
            if !self.sets.contains_key(&key) && self.sets.len() >= KEYS {
                continue;
            }
            let set = self.sets.entry(key).or_default();
            if set.len() >= PER_KEY {
                set.pop_front();
            }
            set.push_back((at, member));
        }
    }

    fn purge(&mut self, now: Timestamp) {
        self.purged = now;
        let before = now - REMEMBERED;
        self.sets.retain(|_, set| {
            while set.front().is_some_and(|&(at, _)| at < before) {
                set.pop_front();
            }
            !set.is_empty()
        });
    }
}
