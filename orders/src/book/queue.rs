//! Tasks that wait for a service: the greater priority first, clients of one priority in turns by their weight.
//!
//! Each client has a lane and a pass; the lane with the least pass is next, and each task it gives moves its pass on by
//! a stride that is the shorter the greater its weight (stride scheduling: Waldspurger and Weihl, 1995). A lane that was
//! empty begins where the others are: what it did not use before is not made up for.

use std::collections::{BTreeSet, VecDeque};

use rustc_hash::FxHashMap;

/// The stride of weight 1.
const STRIDE: u64 = 1 << 20;
/// The number of priorities.
const LEVELS: usize = 10;

/// A task that waits; whether it still does shows when its turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The order's place in the book.
    pub(super) slot: u32,
    /// Which order it was that had this place.
    pub(super) generation: u32,
    /// The task.
    pub(super) position: u16,
}

/// What waits for one service.
#[derive(Debug, Default)]
pub(super) struct Queue {
    levels: [Level; LEVELS],
    len: usize,
}

#[derive(Debug, Default)]
struct Level {
    lanes: FxHashMap<u32, Lane>,
    turns: BTreeSet<(u64, u32)>,
    pass: u64,
}

#[derive(Debug, Default)]
struct Lane {
    entries: VecDeque<Entry>,
    pass: u64,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// A task comes: behind those of its client, or before them when it was there already.
    pub(super) fn push(&mut self, entry: Entry, client: u32, priority: u8, first: bool) {
        let level = &mut self.levels[usize::from(priority).min(LEVELS - 1)];
        let lane = level.lanes.entry(client).or_default();
        if lane.entries.is_empty() {
            lane.pass = lane.pass.max(level.pass);
            level.turns.insert((lane.pass, client));
        }
        match first {
            true => lane.entries.push_front(entry),
            false => lane.entries.push_back(entry),
        }
        self.len += 1;
    }

    /// The next task; `weight` says that of a client.
    pub(super) fn pop(&mut self, weight: impl Fn(u32) -> u32) -> Option<Entry> {
        let level = self
            .levels
            .iter_mut()
            .rev()
            .find(|level| !level.turns.is_empty())?;
        let (pass, client) = level.turns.pop_first()?;
        let lane = level.lanes.get_mut(&client)?;
        let entry = lane.entries.pop_front()?;
        self.len -= 1;
        level.pass = pass;
        lane.pass = pass + STRIDE / u64::from(weight(client).max(1));
        if lane.entries.is_empty() {
            // Its pass is kept while others wait, so that a client gains nothing by sending one at a time.
            if level.turns.is_empty() {
                level.lanes.clear();
                level.pass = 0;
            }
            if lane_is_large(level, client) {
                level.lanes.remove(&client);
            }
        } else {
            level.turns.insert((lane.pass, client));
        }
        Some(entry)
    }

    /// The first of each lane: the oldest is among them, but for those that were tried before.
    pub(super) fn firsts(&self) -> impl Iterator<Item = Entry> {
        let lanes = self.levels.iter().flat_map(|level| level.lanes.values());
        lanes.filter_map(|lane| lane.entries.front().copied())
    }
}

/// An empty lane that once was long gives its memory back.
fn lane_is_large(level: &Level, client: u32) -> bool {
    let lane = level.lanes.get(&client);
    lane.is_some_and(|lane| lane.entries.is_empty() && lane.entries.capacity() > 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(slot: u32) -> Entry {
        Entry {
            slot,
            generation: 0,
            position: 0,
        }
    }

    fn drain(queue: &mut Queue, weight: impl Fn(u32) -> u32) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop(&weight))
            .map(|entry| entry.slot)
            .collect()
    }

    #[test]
    fn greater_priorities_go_first_and_within_one_the_first_come() {
        let mut queue = Queue::default();
        for (slot, priority) in [(1, 5), (2, 9), (3, 5), (4, 0), (5, 9)] {
            queue.push(entry(slot), 0, priority, false);
        }
        queue.push(entry(6), 0, 5, true);
        assert_eq!(queue.len(), 6);
        assert_eq!(drain(&mut queue, |_| 1), [2, 5, 6, 1, 3, 4]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn clients_take_turns_by_their_weight_whatever_came_first() {
        let mut queue = Queue::default();
        for slot in 0..100 {
            queue.push(entry(slot), 1, 5, false);
        }
        for slot in 100..200 {
            queue.push(entry(slot), 2, 5, false);
        }
        let turns = drain(&mut queue, |client| if client == 1 { 1 } else { 3 });
        let second = turns[..40].iter().filter(|slot| **slot >= 100).count();
        assert!((29..=31).contains(&second), "{second} of 40");
        assert_eq!(turns.len(), 200);
    }

    #[test]
    fn a_client_that_sends_one_at_a_time_has_no_more_than_its_share() {
        let mut queue = Queue::default();
        for slot in 0..1000 {
            queue.push(entry(slot), 1, 5, false);
        }
        let mut second = 0;
        queue.push(entry(5000), 2, 5, false);
        for _ in 0..100 {
            if queue.pop(|_| 1).unwrap().slot == 5000 {
                second += 1;
                queue.push(entry(5000), 2, 5, false);
            }
        }
        assert!((49..=51).contains(&second), "{second} of 100");
    }
}
