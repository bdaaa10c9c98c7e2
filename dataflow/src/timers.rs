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

    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<T> {
        let first = self.due.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
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
        assert_eq!(timers.pop(at(0)), None);
        let all: Vec<_> = std::iter::from_fn(|| timers.pop(at(2))).collect();
        assert_eq!(all, ["a", "b", "c"]);
    }
}
