//! Changes as writes to the mirror, of many the latest of each key: pure.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use edgeless_types::{
    LogEntry, LogicalId, NodeId, ProviderId, Samples, Timestamp, WorkflowId,
    mirror::{self, HealthMember},
};

use crate::change::{Change, What};

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Everything is deleted.
    Flush,
    /// A key gets a value.
    Set(String, String),
    /// A key is deleted.
    Delete(String),
    /// An element joins a sorted set.
    Add {
        /// The sorted set.
        key: String,
        /// Its score.
        at: Timestamp,
        /// The element.
        member: String,
    },
    /// An element is pushed to the front of a list that keeps the newest.
    Push(String, String),
}

/// The writes of one change, in order.
pub fn of_change(change: &Change) -> Vec<Write> {
    let at = change.at;
    let set = |key: String, value: String| Write::Set(key, value);
    let updated = |key: &str| Write::Set(key.to_owned(), at.to_string());
    match &change.what {
        What::Reset(domain_id) => {
            vec![
                Write::Flush,
                set(mirror::DOMAIN_ID.to_owned(), domain_id.to_string()),
            ]
        }
        What::Node(node_id, capabilities) => vec![
            set(mirror::capabilities_key(*node_id), json(&**capabilities)),
            updated(mirror::CAPABILITIES_LAST_UPDATE),
        ],
        What::NodeGone(node_id) => vec![
            Write::Delete(mirror::capabilities_key(*node_id)),
            Write::Delete(mirror::health_key(*node_id)),
            updated(mirror::CAPABILITIES_LAST_UPDATE),
        ],
        What::Health(node_id, health) => {
            let member = json(&HealthMember {
                timestamp: at,
                health: health.clone(),
            });
            vec![Write::Add {
                key: mirror::health_key(*node_id),
                at,
                member,
            }]
        }
        What::Provider(provider) => vec![
            set(mirror::provider_key(&provider.provider_id), json(provider)),
            updated(mirror::PROVIDER_LAST_UPDATE),
        ],
        What::ProviderGone(provider_id) => vec![
            Write::Delete(mirror::provider_key(provider_id)),
            updated(mirror::PROVIDER_LAST_UPDATE),
        ],
        What::Instance(active) => vec![
            set(mirror::instance_key(active.logical_id), json(&**active)),
            updated(mirror::INSTANCE_LAST_UPDATE),
        ],
        What::InstanceGone(logical_id) => vec![
            Write::Delete(mirror::instance_key(*logical_id)),
            updated(mirror::INSTANCE_LAST_UPDATE),
        ],
        What::Dependencies(logical_id, mapping) => vec![
            set(mirror::dependency_key(*logical_id), json(mapping)),
            updated(mirror::DEPENDENCY_LAST_UPDATE),
        ],
        What::DependenciesGone(logical_id) => vec![
            Write::Delete(mirror::dependency_key(*logical_id)),
            updated(mirror::DEPENDENCY_LAST_UPDATE),
        ],
        What::Samples(_, samples) => samples_writes(samples),
        What::Intent(outcome) => vec![push(edgeless_types::intent::OUTCOMES, json(outcome))],
        What::Bottleneck(workflow_id, found) => {
            let key = mirror::bottleneck_key(*workflow_id);
            vec![match found {
                Some(found) => set(key, json(&**found)),
                None => Write::Delete(key),
            }]
        }
        What::Scaling(decision) => {
            vec![push(mirror::SCALING_DECISIONS, json(decision))]
        }
    }
}

fn push(list: &str, element: String) -> Write {
    Write::Push(list.to_owned(), element)
}

fn samples_writes(samples: &edgeless_types::Samples) -> Vec<Write> {
    let mut writes = Vec::with_capacity(samples.times.len() + 2 * samples.logs.len());
    for sample in &samples.times {
        writes.push(Write::Add {
            key: mirror::performance_key(sample.kind.name(), sample.physical_id),
            at: sample.timestamp,
            member: mirror::performance_member(sample.timestamp, sample.secs()),
        });
    }
    writes.extend(of_logs(&samples.logs));
    writes
}

/// The writes of custom log entries, in order.
pub(super) fn of_logs(logs: &[LogEntry]) -> Vec<Write> {
    let mut writes = Vec::with_capacity(2 * logs.len());
    for entry in logs {
        let at = entry.timestamp;
        let member = mirror::performance_member(at, &entry.value);
        let by_value = mirror::log_entry_key(&entry.target, &entry.value);
        let by_instance = mirror::performance_key(&entry.target, entry.physical_id);
        for key in [by_value, by_instance] {
            writes.push(Write::Add {
                key,
                at,
                member: member.clone(),
            });
        }
    }
    writes
}

/// What is written.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A single write.
    Write(Write),
    /// What a node measured.
    Samples(Arc<Samples>),
}

/// What changes replace of what earlier ones said.
#[derive(PartialEq, Eq, Hash)]
enum Slot<'a> {
    Node(NodeId),
    NodeGone(NodeId),
    Provider(&'a ProviderId),
    Instance(LogicalId),
    Dependencies(LogicalId),
    Bottleneck(WorkflowId),
}

fn slot(what: &What) -> Option<Slot<'_>> {
    Some(match what {
        What::Node(node_id, _) => Slot::Node(*node_id),
        What::NodeGone(node_id) => Slot::NodeGone(*node_id),
        What::Provider(provider) => Slot::Provider(&provider.provider_id),
        What::ProviderGone(provider_id) => Slot::Provider(provider_id),
        What::Instance(active) => Slot::Instance(active.logical_id),
        What::InstanceGone(logical_id) => Slot::Instance(*logical_id),
        What::Dependencies(logical_id, _) | What::DependenciesGone(logical_id) => {
            Slot::Dependencies(*logical_id)
        }
        What::Bottleneck(workflow_id, _) => Slot::Bottleneck(*workflow_id),
        What::Reset(_)
        | What::Health(..)
        | What::Samples(..)
        | What::Intent(_)
        | What::Scaling(_) => return None,
    })
}

/// All elements of sorted sets in order, then the latest value of each key.
pub fn coalesce(batches: &[Arc<[Change]>]) -> Vec<Item> {
    let changes = || batches.iter().flat_map(|batch| batch.iter());
    let mut latest = HashMap::new();
    let mut items = Vec::new();
    for change in changes() {
        match (slot(&change.what), &change.what) {
            (Some(slot), _) => {
                latest.insert(slot, std::ptr::from_ref(change));
            }
            // The first reset is part of the snapshot already.
            (None, What::Reset(_)) => {}
            (None, What::Samples(_, samples)) => items.push(Item::Samples(Arc::clone(samples))),
            (None, _) => items.extend(of_change(change).into_iter().map(Item::Write)),
        }
    }
    let is_latest = |change: &&Change| {
        slot(&change.what)
            .is_some_and(|slot| latest.get(&slot) == Some(&std::ptr::from_ref(*change)))
    };
    items.extend(of_keys(changes().filter(is_latest)));
    items
}

/// The writes of changes; what says when something was last changed, once.
pub fn of_keys<'a>(changes: impl Iterator<Item = &'a Change>) -> Vec<Item> {
    let mut items = Vec::new();
    let mut moments = BTreeMap::new();
    for write in changes.flat_map(of_change) {
        match write {
            Write::Set(key, value) if key.ends_with(":last_update") => {
                moments.insert(key, value);
            }
            write => items.push(Item::Write(write)),
        }
    }
    let moments = moments.into_iter();
    items.extend(moments.map(|(key, value)| Item::Write(Write::Set(key, value))));
    items
}

/// The plain keys of a snapshot and their values.
pub fn of_snapshot(snapshot: &[Change]) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    for write in snapshot.iter().flat_map(of_change) {
        match write {
            Write::Flush => keys.clear(),
            Write::Set(key, value) => {
                keys.insert(key, value);
            }
            Write::Delete(key) => {
                keys.remove(&key);
            }
            Write::Add { .. } | Write::Push(..) => {}
        }
    }
    keys
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("our types have string keys and serialise")
}

#[cfg(test)]
mod tests {
    use edgeless_types::NodeCapabilities;
    use uuid::Uuid;

    use super::*;

    fn change(nanos: u64, what: What) -> Change {
        let at = Timestamp::from_nanos(nanos);
        Change { at, what }
    }

    /// What Redis has after writes of keys.
    fn keys(writes: impl IntoIterator<Item = Write>) -> BTreeMap<String, String> {
        let mut keys = BTreeMap::new();
        for write in writes {
            match write {
                Write::Set(key, value) => drop(keys.insert(key, value)),
                Write::Delete(key) => drop(keys.remove(&key)),
                Write::Flush | Write::Add { .. } | Write::Push(..) => {}
            }
        }
        keys
    }

    #[test]
    fn what_is_left_out_of_many_changes_makes_no_difference() {
        let vertex = |number| LogicalId::new(Uuid::from_u128(number));
        let node = NodeId::new(Uuid::from_u128(9));
        let leads = |to| What::Dependencies(vertex(1), [("out".to_owned(), vertex(to))].into());
        let joins = || What::Node(node, Arc::new(NodeCapabilities::default()));
        let changes: Vec<Change> = [
            leads(2),
            joins(),
            What::NodeGone(node),
            leads(3),
            What::DependenciesGone(vertex(4)),
            joins(),
        ]
        .into_iter()
        .zip(1..)
        .map(|(what, nanos)| change(nanos, what))
        .collect();
        let all = keys(changes.iter().flat_map(of_change));
        let items = coalesce(&[changes[..2].into(), changes[2..].into()]);
        let number = items.len();
        let writes = items.into_iter().filter_map(|item| match item {
            Item::Write(write) => Some(write),
            Item::Samples(_) => None,
        });
        assert_eq!(keys(writes), all);
        assert_eq!(number, 7);
    }
}
