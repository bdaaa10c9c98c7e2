//! Changes as writes to the mirror: pure.

use std::collections::BTreeMap;

use edgeless_types::{
    LogEntry, Timestamp,
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
        What::Intent(outcome) => {
            vec![Write::Push(
                edgeless_types::intent::OUTCOMES.to_owned(),
                json(outcome),
            )]
        }
    }
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
