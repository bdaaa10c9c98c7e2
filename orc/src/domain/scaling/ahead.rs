//! What wakes a function comes to those after it as well: a chain of functions without copies waits for one start, not for
//! one after the other.

use std::{collections::VecDeque, time::Duration};

use edgeless_types::Timestamp;

use crate::{
    domain::{Domain, model::VertexKey},
    scale,
};

/// How many functions after one are looked at.
const FURTHEST: usize = 64;
/// Nodes tell of events that late at most, as a rule.
const LATE: Duration = Duration::from_secs(5);

impl Domain {
    /// A function without copies is woken, which last had work `before`. Of those after it that have none either, those
    /// that had work then or later got it from there: they are told when it will come to them.
    pub(super) fn expect_after(&mut self, key: VertexKey, before: Timestamp) {
        let now = self.now;
        let (mut seen, mut open) = (vec![key], VecDeque::from([(key, now)]));
        while let Some((from, due)) = open.pop_front() {
            let at = match self.scaled.get(&from) {
                Some(it) => scale::leaves(&it.settings, &it.window, &self.view_of(from), due, now),
                None => due,
            };
            let outputs = self.model.vertex(from).outputs.iter();
            let next: Vec<VertexKey> = outputs
                .filter_map(|(_, to)| self.model.key_of(*to))
                .collect();
            for to in next {
                if seen.contains(&to) || seen.len() > FURTHEST {
                    continue;
                }
                seen.push(to);
                let sleeps = self.copies_of(to) == 0;
                if let Some(scaled) = self.scaled.get_mut(&to).filter(|_| sleeps) {
                    let window = &mut scaled.window;
                    if window.last().is_none_or(|last| last + LATE < before) {
                        continue;
                    }
                    if window.next_expected().is_none() {
                        window.expect(1, at);
                    }
                    self.decide_copies(to);
                }
                open.push_back((to, at));
            }
        }
    }
}
