//! Replicas that wait for a place, in the order in which they are tried: pure.
//!
//! A replica waits for its turn, for a moment, or for room. What waits for room is grouped by what it
//! wants: when a node gets more room, the head of each group is tried on that node, and nothing else.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use edgeless_types::Timestamp;
use rustc_hash::FxHashMap;

use super::model::ReplicaKey;
use crate::plan::{Ask, fleet::KindId};

/// What a replica wants of its node: two that want the same fit where one of them fits.
pub(super) type Shape = (KindId, Ask);

/// The higher priority first, then who came first.
type Turn = (Reverse<i32>, u64, ReplicaKey);

#[derive(Clone, Copy, Debug)]
enum Place {
    Turn(Turn),
    Moment(Timestamp, Turn),
    Room(Shape, Turn),
}

/// All that waits.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    places: FxHashMap<ReplicaKey, Place>,
    turns: BTreeSet<Turn>,
    moments: BTreeSet<(Timestamp, Turn)>,
    rooms: BTreeMap<Shape, BTreeSet<Turn>>,
    count: u64,
}

impl Waiting {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// A replica is to be tried as soon as possible.
    pub(super) fn for_turn(&mut self, key: ReplicaKey, priority: i32) {
        let turn = self.turn(key, priority);
        self.turns.insert(turn);
        self.places.insert(key, Place::Turn(turn));
    }

    /// A replica is not to be tried before a moment.
    pub(super) fn for_moment(&mut self, key: ReplicaKey, priority: i32, at: Timestamp) {
        let turn = self.turn(key, priority);
        self.moments.insert((at, turn));
        self.places.insert(key, Place::Moment(at, turn));
    }

    /// A replica fits nowhere.
    pub(super) fn for_room(&mut self, key: ReplicaKey, priority: i32, shape: Shape) {
        let turn = self.turn(key, priority);
        self.rooms.entry(shape).or_default().insert(turn);
        self.places.insert(key, Place::Room(shape, turn));
    }

    /// A replica does not wait any more.
    pub(super) fn remove(&mut self, key: ReplicaKey) {
        match self.places.remove(&key) {
            Some(Place::Turn(turn)) => {
                self.turns.remove(&turn);
            }
            Some(Place::Moment(at, turn)) => {
                self.moments.remove(&(at, turn));
            }
            Some(Place::Room(shape, turn)) => {
                if let Some(group) = self.rooms.get_mut(&shape) {
                    group.remove(&turn);
                    if group.is_empty() {
                        self.rooms.remove(&shape);
                    }
                }
            }
            None => {}
        }
    }

    /// Those whose moment has come take their turn.
    pub(super) fn pass(&mut self, now: Timestamp) {
        while let Some(&(at, turn)) = self.moments.first()
            && at <= now
        {
            self.moments.pop_first();
            self.turns.insert(turn);
            self.places.insert(turn.2, Place::Turn(turn));
        }
    }

    /// Whose turn it is.
    pub(super) fn next(&self) -> Option<ReplicaKey> {
        self.turns.first().map(|turn| turn.2)
    }

    /// What is waited for room, those groups first whose head comes first.
    pub(super) fn shapes(&self) -> Vec<Shape> {
        let heads = self
            .rooms
            .iter()
            .filter_map(|(shape, group)| Some((group.first()?, shape)));
        let mut heads: Vec<_> = heads.collect();
        heads.sort_unstable();
        heads.into_iter().map(|(_, shape)| *shape).collect()
    }

    /// Who comes first among those that want the same.
    pub(super) fn head(&self, shape: Shape) -> Option<ReplicaKey> {
        self.rooms.get(&shape)?.first().map(|turn| turn.2)
    }

    /// A replica keeps its turn from its place before, so that it does not fall behind by being tried.
    fn turn(&mut self, key: ReplicaKey, priority: i32) -> Turn {
        let before = self.places.get(&key).copied();
        self.remove(key);
        match before {
            Some(Place::Turn(turn) | Place::Moment(_, turn) | Place::Room(_, turn))
                if turn.0 == Reverse(priority) =>
            {
                turn
            }
            Some(_) | None => {
                self.count += 1;
                (Reverse(priority), self.count, key)
            }
        }
    }
}

#[cfg(test)]
impl Waiting {
    /// Whether all lines and places say the same; who waits.
    pub(super) fn check(&self) -> BTreeSet<ReplicaKey> {
        let mut lines = 0;
        for (key, place) in &self.places {
            let (there, turn) = match place {
                Place::Turn(turn) => (self.turns.contains(turn), turn),
                Place::Moment(at, turn) => (self.moments.contains(&(*at, *turn)), turn),
                Place::Room(shape, turn) => (self.rooms[shape].contains(turn), turn),
            };
            assert!(there && turn.2 == *key, "{key:?} is not where it waits");
            lines += 1;
        }
        let rooms = self.rooms.values().map(BTreeSet::len).sum::<usize>();
        assert_eq!(self.turns.len() + self.moments.len() + rooms, lines);
        self.places.keys().copied().collect()
    }

    /// What a replica that waits for room wants.
    pub(super) fn shape_of(&self, key: ReplicaKey) -> Option<Shape> {
        match self.places.get(&key)? {
            Place::Room(shape, _) => Some(*shape),
            Place::Turn(_) | Place::Moment(..) => None,
        }
    }
}
