//! Changes into Redis: the latest of each key, samples by the set, many in one pipeline.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use edgeless_types::{LogicalId, NodeId, ProviderId, Samples, mirror};
use redis::{Pipeline, aio::MultiplexedConnection};

use super::{
    MirrorError,
    entries::{self, Write},
};
use crate::{
    change::{Change, What},
    observers::Batch,
};

/// How long Redis may take for a pipeline.
const DEADLINE: Duration = Duration::from_secs(5);
/// What one pipeline weighs: writes, and a quarter of the samples.
const PIPELINE: usize = 10_000;
/// Outcomes of intents that are kept.
const OUTCOMES: isize = 100;

/// What is written.
pub(super) enum Item {
    Write(Write),
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
        What::Reset(_) | What::Health(..) | What::Samples(..) | What::Intent(_) => return None,
    })
}

/// All elements of sorted sets in order, then the latest value of each key.
pub(super) fn coalesce(batches: &[Batch]) -> Vec<Item> {
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
            (None, _) => items.extend(entries::of_change(change).into_iter().map(Item::Write)),
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
pub(super) fn of_keys<'a>(changes: impl Iterator<Item = &'a Change>) -> Vec<Item> {
    let mut items = Vec::new();
    let mut moments = BTreeMap::new();
    for write in changes.flat_map(entries::of_change) {
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

/// Writes all of it.
pub(super) async fn write(
    redis: &mut MultiplexedConnection,
    items: Vec<Item>,
) -> Result<(), MirrorError> {
    let mut items = items.into_iter().peekable();
    while items.peek().is_some() {
        let (mut pipeline, mut weight) = (redis::pipe(), 0);
        while weight < PIPELINE
            && let Some(item) = items.next()
        {
            weight += match item {
                Item::Write(write) => {
                    add_write(&mut pipeline, write);
                    1
                }
                Item::Samples(samples) => add_samples(&mut pipeline, &samples),
            };
        }
        if pipeline.is_empty() {
            continue;
        }
        let done: Result<Result<(), _>, _> =
            tokio::time::timeout(DEADLINE, pipeline.query_async(redis)).await;
        done.map_err(|_| MirrorError::Slow)??;
    }
    Ok(())
}

fn add_write(pipeline: &mut Pipeline, write: Write) {
    match write {
        Write::Flush => pipeline.cmd("FLUSHDB").ignore(),
        Write::Set(key, value) => pipeline.set(key, value).ignore(),
        Write::Delete(key) => pipeline.del(key).ignore(),
        Write::Add { key, at, member } => pipeline.zadd(key, member, at.as_secs_f64()).ignore(),
        Write::Push(key, value) => pipeline
            .lpush(&key, value)
            .ignore()
            .ltrim(key, 0, OUTCOMES - 1)
            .ignore(),
    };
}

/// One command for each run of samples of one kind of one instance; what that weighs.
fn add_samples(pipeline: &mut Pipeline, samples: &Samples) -> usize {
    let is_same = |a: &edgeless_types::Sample, b: &edgeless_types::Sample| {
        a.physical_id == b.physical_id && a.kind == b.kind
    };
    for run in samples.times.chunk_by(is_same) {
        let key = mirror::performance_key(run[0].kind.name(), run[0].physical_id);
        let add = pipeline.cmd("ZADD").arg(key);
        for sample in run {
            let at = sample.timestamp;
            let member = mirror::performance_member(at, sample.secs());
            add.arg(at.as_secs_f64()).arg(member);
        }
        add.ignore();
    }
    for write in entries::of_logs(&samples.logs) {
        add_write(pipeline, write);
    }
    1 + samples.times.len() / 4 + 2 * samples.logs.len()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap as Map;

    use edgeless_types::{NodeCapabilities, Timestamp};
    use uuid::Uuid;

    use super::*;

    fn change(nanos: u64, what: What) -> Change {
        let at = Timestamp::from_nanos(nanos);
        Change { at, what }
    }

    /// What Redis has after writes of keys.
    fn keys(writes: impl IntoIterator<Item = Write>) -> Map<String, String> {
        let mut keys = Map::new();
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
        let all = keys(changes.iter().flat_map(entries::of_change));
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
