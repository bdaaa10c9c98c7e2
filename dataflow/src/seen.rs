//! What receivers have seen lately, so that what comes twice is handled once. Pure.
//!
//! A table of small sets: a message is looked for in one cache line. What is being handled is never
//! forgotten; of what is done, each set forgets the oldest first.

use rustc_hash::FxHashMap;

/// Messages in one set: as many names as a cache line has.
const WAYS: usize = 8;
/// How many sets; a power of two.
const SETS: usize = 2_048;
/// The name of a free place.
const FREE: u64 = 0;
/// The state of what is done.
const DONE: u32 = u32::MAX;

/// What a receiver knows of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It is being handled, under this number.
    Open(u32),
    /// It was handled.
    Done,
}

#[derive(Clone, Copy, Debug)]
struct Set {
    names: [u64; WAYS],
    states: [u32; WAYS],
    /// The place that is given away next.
    next: u8,
}

/// Messages by their names, which are evenly spread.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Empty until the first message.
    sets: Vec<Set>,
    /// What is being handled and has found no place.
    beyond: FxHashMap<u64, u32>,
}

impl Seen {
    pub(crate) fn get(&self, name: u64) -> Option<Known> {
        let name = name.max(FREE + 1);
        let set = self.sets.get(at(name))?;
        let found = set.names.iter().position(|&it| it == name);
        let state = found.map(|way| set.states[way]);
        let state = state.or_else(|| match self.beyond.is_empty() {
            true => None,
            false => self.beyond.get(&name).copied(),
        });
        state.map(|state| match state {
            DONE => Known::Done,
            number => Known::Open(number),
        })
    }

    /// A message is being handled, under a number below `u32::MAX`.
    pub(crate) fn open(&mut self, name: u64, number: u32) {
        self.put(name.max(FREE + 1), number.min(DONE - 1));
    }

    /// A message is handled.
    pub(crate) fn done(&mut self, name: u64) {
        let name = name.max(FREE + 1);
        if let Some(state) = self.state(name) {
            *state = DONE;
        } else {
            self.beyond.remove(&name);
            self.put(name, DONE);
        }
    }

    /// A message may come again.
    pub(crate) fn forget(&mut self, name: u64) {
        let name = name.max(FREE + 1);
        if let Some(set) = self.sets.get_mut(at(name)) {
            for it in set.names.iter_mut().filter(|it| **it == name) {
                *it = FREE;
            }
        }
        self.beyond.remove(&name);
    }

    fn state(&mut self, name: u64) -> Option<&mut u32> {
        let set = self.sets.get_mut(at(name))?;
        let way = set.names.iter().position(|&it| it == name)?;
        Some(&mut set.states[way])
    }

    fn put(&mut self, name: u64, state: u32) {
        if self.sets.is_empty() {
            let empty = Set {
                names: [FREE; WAYS],
                states: [DONE; WAYS],
                next: 0,
            };
            self.sets = vec![empty; SETS];
        }
        let set = &mut self.sets[at(name)];
        let ways = (0..WAYS).map(|step| (usize::from(set.next) + step) % WAYS);
        let free = |&way: &usize| set.names[way] == FREE || set.states[way] == DONE;
        let Some(way) = ways.into_iter().find(free) else {
            if state != DONE {
                self.beyond.insert(name, state);
            }
            return;
        };
        set.names[way] = name;
        set.states[way] = state;
        set.next = u8::try_from((way + 1) % WAYS).unwrap_or_default();
    }
}

fn at(name: u64) -> usize {
    // Names are mixed well, in all of their bits.
    name as usize % SETS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names that all fall into one set.
    fn name(number: u64) -> u64 {
        number * SETS as u64 + 5
    }

    #[test]
    fn of_what_is_done_the_oldest_is_forgotten_first() {
        let mut seen = Seen::default();
        assert_eq!(seen.get(name(1)), None);
        for number in 1..=9 {
            seen.open(name(number), 7);
            assert_eq!(seen.get(name(number)), Some(Known::Open(7)));
            seen.done(name(number));
        }
        assert_eq!(seen.get(name(1)), None);
        assert!((2..=9).all(|number| seen.get(name(number)) == Some(Known::Done)));
        seen.forget(name(9));
        assert_eq!(seen.get(name(9)), None);
    }

    #[test]
    fn what_is_being_handled_is_never_forgotten() {
        let mut seen = Seen::default();
        for number in 1..=20_u32 {
            seen.open(name(number.into()), number);
        }
        for number in 1..=20_u32 {
            assert_eq!(seen.get(name(number.into())), Some(Known::Open(number)));
        }
        for number in 1..=20_u32 {
            seen.done(name(number.into()));
        }
        assert!(seen.beyond.is_empty());
        assert_eq!(seen.get(name(20)), Some(Known::Done));
    }
}
