//! Who runs on which shard, and which shard a new instance gets. Pure.
//!
//! What belongs together (the vertices of a workflow) goes to one shard, so that messages between them
//! are handed on without crossing threads; other groups go where the fewest instances are. A shard that
//! has little time left gets nothing new while another has some.

use std::sync::Arc;

use edgeless_types::PhysicalId;
use rustc_hash::FxHashMap;

use crate::gate::Gate;

/// Where a new instance is to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// On the shard with the fewest.
    #[default]
    Anywhere,
    /// With others of the same group, as long as they are not too many for one shard.
    With(u128),
    /// On this shard, counted from 0 and again from 0 beyond the last; it may belong to a group.
    Shard(usize, Option<u128>),
}

impl Place {
    /// The group it belongs to.
    pub const fn group(self) -> Option<u128> {
        match self {
            Self::Anywhere => None,
            Self::With(group) => Some(group),
            Self::Shard(_, group) => group,
        }
    }
}

/// Members of a group on one shard before the next ones go to another.
const GROUP: usize = 32;
/// A shard that works this many thousandths of the time gets nothing new.
const LOADED: u64 = 800;

/// Instances by id, and how they are spread.
#[derive(Debug)]
pub(crate) struct Directory {
    gates: FxHashMap<PhysicalId, Entry>,
    /// Instances of each shard.
    numbers: Vec<usize>,
    groups: FxHashMap<u128, Group>,
    /// Instances, here or elsewhere, and those here that have an output to them.
    senders: FxHashMap<PhysicalId, Vec<PhysicalId>>,
}

#[derive(Debug)]
struct Entry {
    gate: Arc<Gate>,
    group: Option<u128>,
    /// Whom its outputs lead to.
    leads_to: Vec<PhysicalId>,
}

/// Where the newest members of a group went.
#[derive(Debug)]
struct Group {
    shard: usize,
    there: usize,
    all: usize,
}

impl Directory {
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            gates: FxHashMap::default(),
            numbers: vec![0; shards],
            groups: FxHashMap::default(),
            senders: FxHashMap::default(),
        }
    }

    pub(crate) fn get(&self, physical_id: PhysicalId) -> Option<&Arc<Gate>> {
        self.gates.get(&physical_id).map(|entry| &entry.gate)
    }

    /// Chooses a shard for an instance and enters it. `loads`: how many thousandths of the time each
    /// shard works.
    pub(crate) fn enter(
        &mut self,
        physical_id: PhysicalId,
        place: Place,
        capacity: usize,
        loads: &[u64],
    ) -> usize {
        let shard = self.choose(place, loads);
        let group = match place {
            Place::With(group) => Some(group),
            Place::Anywhere | Place::Shard(..) => None,
        };
        if let Some(group) = group {
            let group = self.groups.entry(group).or_insert(Group {
                shard,
                there: 0,
                all: 0,
            });
            if group.shard != shard {
                (group.shard, group.there) = (shard, 0);
            }
            group.there += 1;
            group.all += 1;
        }
        self.numbers[shard] += 1;
        let gate = Arc::new(Gate::new(shard, capacity));
        let leads_to = Vec::new();
        let entry = Entry {
            gate,
            group,
            leads_to,
        };
        if let Some(before) = self.gates.insert(physical_id, entry) {
            self.left(physical_id, &before);
        }
        shard
    }

    fn choose(&self, place: Place, loads: &[u64]) -> usize {
        let near = match place {
            Place::Shard(shard, _) => return shard % self.numbers.len(),
            Place::With(group) => self.groups.get(&group).filter(|it| it.there < GROUP),
            Place::Anywhere => None,
        };
        let order = |&shard: &usize| {
            let loaded = loads.get(shard).is_some_and(|&load| load >= LOADED);
            let far = near.is_some_and(|group| group.shard != shard);
            (loaded, far, self.numbers[shard])
        };
        (0..self.numbers.len()).min_by_key(order).unwrap_or(0)
    }

    /// An instance has ended; its gate.
    pub(crate) fn leave(&mut self, physical_id: PhysicalId) -> Option<Arc<Gate>> {
        let entry = self.gates.remove(&physical_id)?;
        self.left(physical_id, &entry);
        Some(entry.gate)
    }

    /// The outputs of an instance lead there from now on.
    pub(crate) fn leads_to(&mut self, from: PhysicalId, to: impl Iterator<Item = PhysicalId>) {
        let Some(entry) = self.gates.get_mut(&from) else {
            return;
        };
        let mut to: Vec<_> = to.collect();
        to.sort_unstable();
        to.dedup();
        let before = std::mem::replace(&mut entry.leads_to, to.clone());
        self.sends_no_more(from, &before);
        for target in to {
            self.senders.entry(target).or_default().push(from);
        }
    }

    fn sends_no_more(&mut self, from: PhysicalId, to: &[PhysicalId]) {
        for target in to {
            if let Some(senders) = self.senders.get_mut(target) {
                senders.retain(|&sender| sender != from);
                if senders.is_empty() {
                    self.senders.remove(target);
                }
            }
        }
    }

    /// The instances here that have an output to that one, and their shards.
    pub(crate) fn senders_to(&self, to: PhysicalId) -> Vec<(PhysicalId, usize)> {
        let senders = self.senders.get(&to).into_iter().flatten();
        let known = senders.filter_map(|&sender| Some((sender, self.get(sender)?.shard())));
        known.collect()
    }

    fn left(&mut self, physical_id: PhysicalId, entry: &Entry) {
        self.sends_no_more(physical_id, &entry.leads_to);
        let shard = entry.gate.shard();
        self.numbers[shard] -= 1;
        let Some(name) = entry.group else { return };
        if let Some(group) = self.groups.get_mut(&name) {
            group.all -= 1;
            if group.shard == shard {
                group.there = group.there.saturating_sub(1);
            }
            if group.all == 0 {
                self.groups.remove(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn enter(directory: &mut Directory, number: u128, place: Place, loads: &[u64]) -> usize {
        directory.enter(PhysicalId::new(Uuid::from_u128(number)), place, 8, loads)
    }

    #[test]
    fn groups_stay_together_and_apart_from_others() {
        let mut directory = Directory::new(2);
        let idle = [0, 0];
        let first = enter(&mut directory, 1, Place::With(1), &idle);
        let second = enter(&mut directory, 2, Place::With(2), &idle);
        assert_ne!(first, second);
        for number in 3..10 {
            assert_eq!(enter(&mut directory, number, Place::With(1), &idle), first);
        }
        assert_eq!(enter(&mut directory, 20, Place::Anywhere, &idle), second);
        assert_eq!(enter(&mut directory, 21, Place::Shard(5, None), &idle), 1);
    }

    #[test]
    fn a_group_too_large_for_one_shard_goes_on_elsewhere() {
        let mut directory = Directory::new(2);
        let shards: Vec<_> = (0..2 * GROUP as u128)
            .map(|number| enter(&mut directory, number, Place::With(1), &[0, 0]))
            .collect();
        assert!(shards[..GROUP].iter().all(|&shard| shard == shards[0]));
        assert!(shards[GROUP..].iter().all(|&shard| shard != shards[0]));
    }

    #[test]
    fn a_loaded_shard_gets_nothing_while_another_has_time() {
        let mut directory = Directory::new(2);
        assert_eq!(enter(&mut directory, 1, Place::With(1), &[900, 0]), 1);
        assert_eq!(enter(&mut directory, 2, Place::With(1), &[0, 900]), 0);
        assert_eq!(enter(&mut directory, 3, Place::With(1), &[900, 900]), 0);
    }

    #[test]
    fn who_leaves_leaves_nothing_behind() {
        let mut directory = Directory::new(2);
        let id = |number| PhysicalId::new(Uuid::from_u128(number));
        for number in 0..10 {
            enter(&mut directory, number, Place::With(number % 3), &[0, 0]);
            directory.leads_to(id(number), [id(5), id(20), id(5)].into_iter());
        }
        let senders = directory.senders_to(id(20));
        assert_eq!(senders.len(), 10);
        directory.leads_to(id(0), std::iter::empty());
        assert_eq!(directory.senders_to(id(5)).len(), 9);
        for number in 0..10 {
            let left = directory.leave(PhysicalId::new(Uuid::from_u128(number)));
            assert!(left.is_some());
        }
        assert_eq!(directory.numbers, [0, 0]);
        assert!(directory.senders.is_empty());
        assert!(directory.groups.is_empty() && directory.gates.is_empty());
    }
}
