//! What is due later.

use std::collections::BTreeMap;

use edgeless_types::Timestamp;

/// Things by the moment at which they are due; those of one moment in the order they came.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    due: BTreeMap<(Timestamp, u64), T>,
    next: u64,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self {
            due: BTreeMap::new(),
            next: 0,
        }
    }
}

impl<T> Timers<T> {
    pub(crate) fn insert(&mut self, at: Timestamp, thing: T) {
        self.due.insert((at, self.next), thing);
        self.next += 1;
    }

    /// Takes what is due; what these lead to comes later, also if it is due at once.
    pub(crate) fn take(&mut self, now: Timestamp) -> BTreeMap<(Timestamp, u64), T> {
        if self.next().is_none_or(|at| at > now) {
            return BTreeMap::new();
        }
        let later = self.due.split_off(&(now, self.next));
        std::mem::replace(&mut self.due, later)
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.due.first_key_value().map(|(&(at, _), _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_come_in_the_order_in_which_they_are_due() {
        let at = Timestamp::from_nanos;
        let mut timers = Timers::default();
        timers.insert(at(2), "c");
        timers.insert(at(1), "a");
        timers.insert(at(1), "b");
        assert_eq!(timers.next(), Some(at(1)));
        timers.insert(at(3), "d");
        assert!(timers.take(at(0)).is_empty());
        let all: Vec<_> = timers.take(at(2)).into_values().collect();
        assert_eq!(all, ["a", "b", "c"]);
        assert_eq!(timers.next(), Some(at(3)));
    }
}
