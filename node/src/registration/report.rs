//! What the next update says: pure.
//!
//! An update that was not answered is sent again with the same number and the same samples,
//! failures and states, so that ε-ORC counts them once even when only its answer was lost.

use std::collections::BTreeMap;

use bytes::Bytes;
use edgeless_types::{Backlog, Demand, PhysicalId, Samples};

use crate::agent::{Changes, Failure};

/// States that travel with one update, in bytes; the rest waits for the next. One always goes.
const MAX_STATE_BYTES: usize = 2 << 20;
/// Failures that travel with one update.
const MAX_FAILURES: usize = 1000;

/// What is reported once: measured, failed and saved since the last update.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Execution and transfer times, log entries.
    pub samples: Samples,
    /// What ended by itself.
    pub failures: Vec<Failure>,
    /// What steps have started and stopped.
    pub changes: Changes,
    /// What was saved, the newest per instance.
    pub states: BTreeMap<PhysicalId, Bytes>,
    /// What waits for outputs that lead to no instance, as it was last seen.
    pub demand: Vec<Demand>,
    /// What waits in inboxes, as it was last seen.
    pub backlog: Vec<Backlog>,
}

/// What an update says besides the state of the node itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Its number.
    pub sequence: u64,
    /// Whether it carries the profile and all that runs.
    pub full: bool,
    /// What is reported once.
    pub news: News,
}

/// Keeps what was not acknowledged, and decides what goes with the next update.
#[derive(Debug)]
pub struct Report {
    acknowledged: u64,
    full_wanted: bool,
    unanswered: Option<Update>,
    waiting: News,
}

/// What to do after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send the next update at once.
    AtOnce,
    /// Send it when it is due.
    WhenDue,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            acknowledged: 0,
            full_wanted: true,
            unanswered: None,
            waiting: News::default(),
        }
    }
}

impl Report {
    /// Whether the next update repeats one that was not answered; then nothing new goes with it,
    /// and whoever measures keeps what there is.
    pub fn repeats(&self) -> bool {
        self.unanswered.is_some()
    }

    /// Whether the next update says all that runs.
    pub fn wants_full(&self) -> bool {
        self.full_wanted
    }

    /// Whether no update was ever answered: then nobody waits for this node to take leave.
    pub fn never_registered(&self) -> bool {
        self.acknowledged == 0
    }

    /// Whether ε-ORC has all states that were among any news.
    pub fn has_told_states(&self) -> bool {
        let unanswered = self.unanswered.as_ref();
        self.waiting.states.is_empty() && unanswered.is_none_or(|it| it.news.states.is_empty())
    }

    /// The next update, with `news` unless it [repeats](Self::repeats) another.
    pub fn next(&mut self, news: News) -> Update {
        merge(&mut self.waiting, news);
        if let Some(again) = &mut self.unanswered {
            again.full |= self.full_wanted;
            return again.clone();
        }
        let update = Update {
            sequence: self.acknowledged + 1,
            full: self.full_wanted,
            news: self.take(),
        };
        self.unanswered = Some(update.clone());
        update
    }

    /// The update was answered. An ε-ORC that wants all has taken nothing of this one: what it
    /// carried goes again with the next.
    pub fn answered(&mut self, want_full: bool, repeated: bool) -> Next {
        let Some(update) = self.unanswered.take() else {
            return Next::WhenDue;
        };
        self.acknowledged = update.sequence;
        if want_full {
            let later = std::mem::replace(&mut self.waiting, update.news);
            merge(&mut self.waiting, later);
        }
        // A repeated update may have been taken the first time, when other instances ran.
        self.full_wanted = want_full || (repeated && update.full);
        let more = !self.waiting.states.is_empty() || !self.waiting.failures.is_empty();
        match self.full_wanted || repeated || more {
            true => Next::AtOnce,
            false => Next::WhenDue,
        }
    }

    /// ε-ORC refuses the update: sending it again would be refused again. What it carried is given
    /// back, so that it can be said what is lost.
    pub fn refused(&mut self) -> Option<News> {
        self.full_wanted = true;
        self.unanswered.take().map(|update| {
            self.acknowledged = update.sequence;
            update.news
        })
    }

    fn take(&mut self) -> News {
        let mut bytes = 0;
        let mut states = BTreeMap::new();
        while let Some(entry) = self.waiting.states.first_entry() {
            bytes += entry.get().len();
            if bytes > MAX_STATE_BYTES && !states.is_empty() {
                break;
            }
            let (id, state) = entry.remove_entry();
            states.insert(id, state);
        }
        let number = self.waiting.failures.len().min(MAX_FAILURES);
        News {
            samples: std::mem::take(&mut self.waiting.samples),
            failures: self.waiting.failures.drain(..number).collect(),
            changes: std::mem::take(&mut self.waiting.changes),
            states,
            demand: std::mem::take(&mut self.waiting.demand),
            backlog: std::mem::take(&mut self.waiting.backlog),
        }
    }
}

fn merge(into: &mut News, news: News) {
    if into.samples.is_empty() {
        into.samples = news.samples;
    } else {
        into.samples.times.extend(news.samples.times);
        into.samples.logs.extend(news.samples.logs);
        into.samples.summaries.extend(news.samples.summaries);
    }
    into.failures.extend(news.failures);
    into.changes.extend(news.changes);
    into.states.extend(news.states);
    into.demand = news.demand;
    into.backlog = news.backlog;
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::StdRng};
    use uuid::Uuid;

    use super::*;

    fn pid(id: u128) -> PhysicalId {
        PhysicalId::new(Uuid::from_u128(id))
    }

    fn failure(id: u128) -> News {
        News {
            failures: vec![Failure {
                physical_id: pid(id),
                message: "trap".to_owned(),
            }],
            ..News::default()
        }
    }

    #[test]
    fn the_first_update_is_full_and_the_next_is_not() {
        let mut report = Report::default();
        let first = report.next(News::default());
        assert_eq!((first.sequence, first.full), (1, true));
        assert_eq!(report.answered(false, false), Next::WhenDue);
        let second = report.next(News::default());
        assert_eq!((second.sequence, second.full), (2, false));
    }

    #[test]
    fn a_wanted_full_update_goes_at_once_with_what_was_not_taken() {
        let mut report = Report::default();
        report.next(failure(1));
        assert_eq!(report.answered(true, false), Next::AtOnce);
        let full = report.next(News::default());
        assert_eq!((full.sequence, full.full, full.news), (2, true, failure(1)));
    }

    #[test]
    fn an_unanswered_update_is_repeated_and_its_news_counted_once() {
        let mut report = Report::default();
        let first = report.next(failure(1));
        assert!(report.repeats());
        let again = report.next(failure(2));
        assert_eq!(again, first);
        assert_eq!(report.answered(false, true), Next::AtOnce);
        let after = report.next(News::default());
        assert_eq!((after.sequence, after.full), (2, true));
        assert_eq!(after.news, failure(2));
    }

    #[test]
    fn a_refused_update_is_not_repeated() {
        let mut report = Report::default();
        report.next(failure(1));
        assert_eq!(report.refused(), Some(failure(1)));
        let next = report.next(News::default());
        assert_eq!((next.sequence, next.full), (2, true));
        assert_eq!(next.news, News::default());
    }

    #[test]
    fn states_are_the_newest_and_travel_in_bounded_portions() {
        let mut report = Report::default();
        let saved = |ids: std::ops::Range<u128>, size: usize| News {
            states: ids
                .map(|id| (pid(id), Bytes::from(vec![0; size])))
                .collect(),
            ..News::default()
        };
        report.next(News::default());
        report.next(saved(0..3, 1));
        report.next(saved(0..3, 1 << 20));
        report.answered(false, false);
        let update = report.next(News::default());
        assert_eq!(update.news.states.len(), 2);
        assert_eq!(update.news.states[&pid(0)].len(), 1 << 20);
        assert_eq!(report.answered(false, false), Next::AtOnce);
        assert_eq!(report.next(News::default()).news.states.len(), 1);
        assert!(!report.has_told_states());
        report.answered(true, false);
        assert!(!report.has_told_states());
        report.next(News::default());
        report.answered(false, false);
        assert!(report.has_told_states());

        let mut report = Report::default();
        let giant = report.next(saved(0..1, 3 << 20));
        assert_eq!(giant.news.states.len(), 1);
    }

    /// Requests and answers get lost at random, and ε-ORC is restarted at random; it takes nothing
    /// from a node it does not know, and ignores what is not newer than its last.
    #[test]
    fn whatever_gets_lost_everything_is_counted_once() {
        for seed in 0..300 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut report = Report::default();
            let (mut last, mut told, mut counted) = (None, 0_u128, Vec::new());
            for round in 0..60 {
                let repeated = report.repeats();
                let mut news = News::default();
                if !repeated && round < 50 {
                    news = failure(told);
                    told += 1;
                }
                let update = report.next(news);
                let (arrives, answered) = match round {
                    50.. => (true, true),
                    _ => (rng.random_bool(0.7), rng.random_bool(0.7)),
                };
                if round < 50 && rng.random_bool(0.1) && !repeated {
                    last = None;
                }
                let want_full = last.is_none() && !update.full;
                if arrives && !want_full && last.is_none_or(|last| update.sequence > last) {
                    last = Some(update.sequence);
                    counted.extend(update.news.failures);
                }
                if arrives && answered {
                    report.answered(want_full, repeated);
                }
            }
            let ids: Vec<_> = counted.iter().map(|it| it.physical_id).collect();
            let expected: Vec<_> = (0..told).map(pid).collect();
            assert_eq!(ids, expected, "seed {seed}");
        }
    }
}
