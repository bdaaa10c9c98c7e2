//! A domain in numbers, for ε-CON: their size is bounded, however many nodes there are.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, hash_map::Entry},
};

use edgeless_types::NodeId;
use rustc_hash::FxHashMap;

use super::Domain;
use crate::plan::Ask;

/// How many labels are named at most: those that most nodes have.
const LABELS: usize = 1_024;

/// Totals over the nodes of a domain, those that leave excepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Nodes.
    pub nodes: u32,
    /// Processors.
    pub cpus: u32,
    /// Cores.
    pub cores: u32,
    /// Memory in MiB.
    pub mem_size: u64,
    /// Nodes in a trusted execution environment.
    pub tee: u32,
    /// Nodes with a trusted platform module.
    pub tpm: u32,
    /// Disk in MiB.
    pub disk_tot_space: u64,
    /// Graphics processors.
    pub gpus: u32,
    /// Their memory in MiB.
    pub mem_size_gpu: u64,
    /// Labels and how many nodes have each: at most 1,024, the most common ones.
    pub labels: BTreeMap<String, u32>,
    /// There are more labels than are named.
    pub labels_cut: bool,
    /// Runtimes and how many nodes have each.
    pub runtimes: BTreeMap<String, u32>,
    /// Classes of resources and how many nodes provide each.
    pub classes: BTreeMap<String, u32>,
    /// What may be promised, over all nodes that take something new.
    pub capacity: Ask,
    /// What of it nobody has asked for.
    pub free: Ask,
    /// The most of each amount that is free on one node; not always the same node.
    pub largest_free: Ask,
    /// What the desired vertices ask for with the copies they have at least, whether or not they are placed.
    pub desired: Ask,
    /// Counts the times a node came, left or changed what it is.
    pub membership: u64,
}

/// Things of single nodes, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Things {
    /// Nodes.
    pub node_ids: BTreeSet<NodeId>,
    /// Ids of providers of resources.
    pub provider_ids: BTreeSet<String>,
    /// Labels.
    pub labels: BTreeSet<String>,
}

impl Domain {
    /// Changes whenever the totals may have changed.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Totals, for ε-CON. Looks at every node: to be asked for when [`Domain::revision`] has changed.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals {
            desired: self.desired,
            membership: self.membership,
            ..Totals::default()
        };
        let mut labels = Counts::default();
        let mut runtimes = Counts::default();
        let mut classes = Counts::default();
        for (&node_id, node) in self.nodes.iter().filter(|(_, node)| !node.leaving) {
            let capabilities = &node.profile.capabilities;
            totals.nodes += 1;
            totals.cpus = totals.cpus.saturating_add(capabilities.num_cpus);
            totals.cores = totals.cores.saturating_add(capabilities.num_cores);
            totals.mem_size += u64::from(capabilities.mem_size);
            totals.tee += u32::from(capabilities.is_tee_running);
            totals.tpm += u32::from(capabilities.has_tpm);
            totals.disk_tot_space += u64::from(capabilities.disk_tot_space);
            totals.gpus = totals.gpus.saturating_add(capabilities.num_gpus);
            totals.mem_size_gpu += u64::from(capabilities.mem_size_gpu);
            count(
                &mut labels,
                node_id,
                capabilities.labels.iter().map(String::as_str),
            );
            count(
                &mut runtimes,
                node_id,
                capabilities.runtimes.iter().map(String::as_str),
            );
            let provided = node.profile.providers.iter();
            count(
                &mut classes,
                node_id,
                provided.map(|it| it.class_type.as_str()),
            );
            if let Some((capacity, free)) = self.fleet.amounts(node_id) {
                totals.capacity = totals.capacity.plus(capacity);
                totals.free = totals.free.plus(free);
                let largest = &mut totals.largest_free;
                largest.cpu_millis = largest.cpu_millis.max(free.cpu_millis);
                largest.memory_mib = largest.memory_mib.max(free.memory_mib);
            }
        }
        totals.labels_cut = labels.len() > LABELS;
        totals.labels = most_common(labels);
        totals.runtimes = owned(runtimes);
        totals.classes = owned(classes);
        totals
    }

    /// Those of `wanted` that are there, and the count of changes up to which that holds. Looks at
    /// every node when labels or providers are wanted.
    pub fn lookup(&self, wanted: &Things) -> (u64, Things) {
        let mut there = Things::default();
        let is_there = |id: &&NodeId| self.nodes.get(id).is_some_and(|node| !node.leaving);
        let node_ids = wanted.node_ids.iter().filter(is_there);
        there.node_ids = node_ids.copied().collect();
        if wanted.labels.is_empty() && wanted.provider_ids.is_empty() {
            return (self.membership, there);
        }
        for node in self.nodes.values().filter(|node| !node.leaving) {
            let labels = node.profile.capabilities.labels.iter();
            let labels = labels.filter(|label| wanted.labels.contains(*label));
            there.labels.extend(labels.cloned());
            let providers = node.profile.providers.iter();
            let ids = providers.map(|provider| provider.provider_id.as_str());
            let ids = ids.filter(|id| wanted.provider_ids.contains(*id));
            there.provider_ids.extend(ids.map(str::to_owned));
        }
        (self.membership, there)
    }
}

/// How many nodes have something, and the last of them.
type Counts<'a> = FxHashMap<&'a str, (u32, NodeId)>;

/// Counts what a node has; what it names twice, once.
fn count<'a>(counts: &mut Counts<'a>, node_id: NodeId, names: impl Iterator<Item = &'a str>) {
    for name in names {
        match counts.entry(name) {
            Entry::Vacant(new) => {
                new.insert((1, node_id));
            }
            Entry::Occupied(mut known) => {
                let (number, last) = known.get_mut();
                *number += u32::from(*last != node_id);
                *last = node_id;
            }
        }
    }
}

fn owned(counts: Counts<'_>) -> BTreeMap<String, u32> {
    let counts = counts.into_iter();
    counts
        .map(|(name, (number, _))| (name.to_owned(), number))
        .collect()
}

fn most_common(counts: Counts<'_>) -> BTreeMap<String, u32> {
    let counts = counts.into_iter();
    let mut all: Vec<_> = counts
        .map(|(name, (number, _))| (Reverse(number), name))
        .collect();
    if all.len() > LABELS {
        all.select_nth_unstable(LABELS);
        all.truncate(LABELS);
    }
    let named = all.into_iter();
    named
        .map(|(Reverse(number), name)| (name.to_owned(), number))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u128) -> NodeId {
        NodeId::new(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn what_a_node_names_twice_is_counted_once() {
        let mut counts = Counts::default();
        count(&mut counts, node(1), ["a", "a"].into_iter());
        count(&mut counts, node(2), ["a", "b"].into_iter());
        let expected = [("a".to_owned(), 2), ("b".to_owned(), 1)];
        assert_eq!(owned(counts), expected.into());
    }

    #[test]
    fn the_most_common_labels_are_named_and_no_more() {
        let names: Vec<String> = (0..LABELS + 10).map(|it| format!("host={it}")).collect();
        let mut counts = Counts::default();
        for (number, name) in names.iter().enumerate() {
            let both = [name.as_str(), "zone=a"].into_iter();
            count(&mut counts, node(number as u128), both);
        }
        let named = most_common(counts);
        assert_eq!(named.len(), LABELS);
        assert_eq!(named["zone=a"] as usize, names.len());
    }
}
