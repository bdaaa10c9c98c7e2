//! What was measured in the last minutes, for those who look; kept as it came, and written out when it is
//! asked for.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use edgeless_types::{Samples, Timestamp, intent::IntentOutcome, mirror};
use uuid::Uuid;

use crate::{
    change::{Change, What},
    mirror::entries::{self, Write},
};

/// How long measurements are remembered.
const REMEMBERED: Duration = Duration::from_secs(120);
/// Samples remembered, of all instances together; a health report counts as four.
const SAMPLES: usize = 250_000;
/// Elements in one answer: the newest.
const PER_KEY: usize = 2_000;
/// Outcomes of intents remembered.
const OUTCOMES: usize = 100;

/// What was measured in the last minutes, bounded; cheap to clone.
#[derive(Clone, Default)]
pub struct Recent(Arc<Mutex<Memory>>);

#[derive(Default)]
struct Memory {
    /// Health and samples, in the order in which they came.
    measured: VecDeque<Change>,
    weight: usize,
    outcomes: VecDeque<IntentOutcome>,
}

impl Recent {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take(&self, batch: &[Change]) {
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
                | What::DependenciesGone(_)
                | What::Bottleneck(..)
                | What::Scaling(_) => {}
            }
        }
    }

    /// Elements of a sorted set since a moment, the newest 2,000.
    pub fn range(&self, key: &str, since: Timestamp) -> Vec<(Timestamp, String)> {
        let id: Option<Uuid> = key.rsplit(':').next().and_then(|id| id.parse().ok());
        let is_health = key.starts_with("node:health:");
        // Nothing is written out while the memory is locked.
        let changes: Vec<Change> = {
            let memory = self.memory();
            let may = |change: &&Change| match &change.what {
                What::Health(node_id, _) => is_health && Some(node_id.uuid()) == id,
                _ => !is_health,
            };
            memory.measured.iter().filter(may).cloned().collect()
        };
        let mut found = Vec::new();
        for change in &changes {
            match &change.what {
                What::Samples(_, samples) => of_samples(samples, key, id, &mut found),
                _ => of_health(change, &mut found),
            }
        }
        found.retain(|&(at, _)| at >= since);
        let more = found.len().saturating_sub(PER_KEY);
        found.drain(..more);
        found
    }

    /// What became of intents, newest first.
    pub fn outcomes(&self) -> Vec<IntentOutcome> {
        self.memory().outcomes.iter().cloned().collect()
    }
}

impl Memory {
    fn add(&mut self, change: &Change) {
        self.measured.push_back(change.clone());
        self.weight += change.weight();
        let before = change.at - REMEMBERED;
        while let Some(first) = self.measured.front()
            && (first.at < before || self.weight > SAMPLES)
        {
            self.weight -= first.weight();
            self.measured.pop_front();
        }
    }
}

fn of_health(change: &Change, found: &mut Vec<(Timestamp, String)>) {
    for write in entries::of_change(change) {
        if let Write::Add { at, member, .. } = write {
            found.push((at, member));
        }
    }
}

fn of_samples(
    samples: &Samples,
    key: &str,
    id: Option<Uuid>,
    found: &mut Vec<(Timestamp, String)>,
) {
    for sample in &samples.times {
        let is_its = Some(sample.physical_id.uuid()) == id;
        if is_its && mirror::performance_key(sample.kind.name(), sample.physical_id) == key {
            let member = mirror::performance_member(sample.timestamp, sample.secs());
            found.push((sample.timestamp, member));
        }
    }
    for entry in &samples.logs {
        let rest = key.strip_prefix("performance:");
        let rest = rest.and_then(|rest| rest.strip_prefix(entry.target.as_str()));
        let Some(rest) = rest.and_then(|rest| rest.strip_prefix(':')) else {
            continue;
        };
        if rest == entry.value || Some(entry.physical_id.uuid()) == id {
            let member = mirror::performance_member(entry.timestamp, &entry.value);
            found.push((entry.timestamp, member));
        }
    }
}

#[cfg(test)]
mod tests {
    use edgeless_types::{LogEntry, NodeHealth, NodeId, PhysicalId, Sample, SampleKind};

    use super::*;

    fn moment(secs: u64) -> Timestamp {
        Timestamp::from_nanos(secs * 1_000_000_000)
    }

    fn node() -> NodeId {
        NodeId::new(Uuid::from_u128(7))
    }

    fn measured(at: u64, times: usize) -> Change {
        let sample = |number: usize| Sample {
            physical_id: PhysicalId::new(Uuid::from_u128(1 + number as u128 % 2)),
            kind: SampleKind::FunctionExecutionTime,
            timestamp: moment(at),
            nanos: 1_500,
        };
        let entry = LogEntry {
            physical_id: PhysicalId::new(Uuid::from_u128(1)),
            target: "a:b".to_owned(),
            value: "c".to_owned(),
            timestamp: moment(at),
        };
        let samples = Samples {
            times: (0..times).map(sample).collect(),
            logs: vec![entry],
            summaries: Vec::new(),
        };
        Change {
            at: moment(at),
            what: What::Samples(node(), Arc::new(samples)),
        }
    }

    #[test]
    fn what_is_asked_for_is_found_as_the_mirror_has_it() {
        let recent = Recent::default();
        let health = Change {
            at: moment(10),
            what: What::Health(node(), NodeHealth::default()),
        };
        let changes = [measured(10, 4), health, measured(11, 4)];
        recent.take(&changes);
        let adds = changes.iter().flat_map(entries::of_change);
        let mut keys = std::collections::BTreeMap::<String, Vec<_>>::new();
        for write in adds {
            if let Write::Add { key, at, member } = write {
                keys.entry(key).or_default().push((at, member));
            }
        }
        assert_eq!(keys.len(), 5);
        for (key, elements) in keys {
            assert_eq!(recent.range(&key, moment(10)), elements, "{key}");
            assert!(recent.range(&key, moment(12)).is_empty());
        }
    }

    #[test]
    fn it_is_bounded_in_time_number_and_answers() {
        let recent = Recent::default();
        let key = mirror::performance_key(
            "function_execution_time",
            PhysicalId::new(Uuid::from_u128(1)),
        );
        let number = || recent.range(&key, Timestamp::EPOCH).len();
        recent.take(&[measured(1, 10)]);
        assert_eq!(number(), 5);
        recent.take(&[measured(200, 8)]);
        assert_eq!(number(), 4);
        recent.take(&[measured(200, SAMPLES / 2), measured(201, SAMPLES / 2)]);
        assert_eq!(number(), PER_KEY);
        assert!(recent.memory().weight <= SAMPLES);
        assert_eq!(recent.memory().measured.len(), 1);
    }
}
