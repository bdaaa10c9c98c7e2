//! How many tasks may be with one line at a time.
//!
//! What is handed out waits at the service and not here, where priorities and fairness decide: so no more is handed out
//! than keeps the service at work. A service that says how many it takes at once gets so many. Of others the window
//! grows while answers come within [`QUICK`], or hardly later than the quickest: then tasks do not wait for one another
//! there, however long each takes. It shrinks when they take much longer than the quickest. Where it is known how many
//! copies do the work, one task at a time each, and tasks take so long that the way to them hardly counts, it is one for
//! each: then a task goes to whoever is free first. (The comparison is that of
//! TCP Vegas: Brakmo and Peterson, 1995; the steps are those of Chiu and Jain, 1989.)

use std::time::Duration;

/// Answers this quick let the window grow.
const QUICK: Duration = Duration::from_millis(10);
/// Answers quicker than this do not let it shrink.
const SLOW: Duration = Duration::from_millis(40);
/// A quicker answer than before counts for this part: one task may be easier than others.
const PART: u32 = 8;
/// What the way to a copy and back takes at most: so much of the time of a task may be filled with another.
const WAY: Duration = Duration::from_millis(5);
/// It begins here, where it is not known how many copies there are.
const FIRST: u32 = 8;
/// It never exceeds this.
const MOST: u32 = 1024;

/// The bound of one line.
#[derive(Clone, Debug)]
pub struct Window {
    size: u32,
    least: u32,
    most: u32,
    /// The service has said how many it takes.
    is_fixed: bool,
    /// It is known how many copies there are.
    has_copies: bool,
    /// About how long the quickest answers take.
    quickest: Duration,
    /// Answers until it may change by comparison again: those handed out before the last time say nothing new.
    rest: u32,
}

impl Window {
    /// Of a service that takes so many tasks at once; none: it does not say.
    pub fn new(concurrency: Option<u32>) -> Self {
        let most = concurrency.unwrap_or(MOST).max(1);
        Self {
            size: concurrency.unwrap_or(FIRST).max(1),
            least: 1,
            most,
            is_fixed: concurrency.is_some(),
            has_copies: false,
            quickest: Duration::ZERO,
            rest: 0,
        }
    }

    /// So many copies do the work, one task at a time each: each has one at least.
    pub fn set_copies(&mut self, copies: u32) {
        self.least = copies.clamp(1, self.most);
        self.size = self.size.max(self.least);
        self.has_copies = true;
        if !self.is_fixed && self.quickest.is_zero() {
            // How long a task takes is not known yet.
            self.size = self.least;
        }
        self.keep_to_copies();
    }

    fn keep_to_copies(&mut self) {
        if self.has_copies && !self.is_fixed && self.quickest > SLOW {
            let filled = u128::from(self.least) * WAY.as_nanos() / self.quickest.as_nanos();
            self.size = self.least + u32::try_from(filled).unwrap_or(0);
        }
    }

    /// So many may be with it now.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// An answer has come after so long, when so many were out.
    pub fn on_answer(&mut self, took: Duration, out: u32) {
        if self.is_fixed {
            return;
        }
        self.rest = self.rest.saturating_sub(1);
        if out <= self.least || self.quickest.is_zero() {
            // Nothing was there before it.
            self.quickest = took;
        } else if let Some(quicker) = self.quickest.checked_sub(took) {
            self.quickest -= quicker / PART;
        }
        let is_full = out >= self.size;
        if took <= QUICK {
            self.size += u32::from(is_full && self.size < self.most);
        } else if self.rest == 0 && took <= self.quickest * 5 / 4 {
            if is_full {
                self.size = (self.size + 1 + self.size / 16).min(self.most);
                self.rest = out;
            }
        } else if self.rest == 0 && took > SLOW && took > self.quickest * 2 {
            self.size = (self.size - self.size / 4).max(self.least);
            if self.size < 4 {
                self.size = self.least.max(self.size.saturating_sub(1));
            }
            self.rest = out;
        }
        self.keep_to_copies();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cmp::Reverse,
        collections::{BinaryHeap, VecDeque},
    };

    use super::*;

    /// The window, as a mean over the second half, of a service that does so many at once, each in so much time; as many
    /// tasks as it allows are there always.
    fn with(workers: usize, each: Duration, answers: u32) -> f64 {
        let mut window = Window::new(None);
        let mut free = BinaryHeap::from(vec![Reverse(Duration::ZERO); workers]);
        let mut out: VecDeque<(Duration, Duration)> = VecDeque::new();
        let (mut now, mut sum) = (Duration::ZERO, 0);
        for answer in 0..answers {
            while out.len() < window.size() as usize {
                let Reverse(at) = free.pop().unwrap();
                let end = at.max(now) + each;
                free.push(Reverse(end));
                out.push_back((end, now));
            }
            let (end, handed) = out.pop_front().unwrap();
            now = end;
            window.on_answer(end - handed, u32::try_from(out.len()).unwrap() + 1);
            sum += if answer >= answers / 2 {
                window.size()
            } else {
                0
            };
        }
        f64::from(sum) / f64::from(answers - answers / 2)
    }

    #[test]
    fn it_grows_with_quick_answers() {
        assert!(with(1, Duration::from_micros(9), 50_000) > 1000.0);
    }

    #[test]
    fn a_slow_service_gets_as_many_as_it_does_at_once() {
        let each = Duration::from_millis(200);
        let one = with(1, each, 10_000);
        assert!(one < 3.0, "{one}");
        for workers in [4, 16, 64] {
            let times = with(workers, each, 20_000) / workers as f64;
            assert!((0.9..2.1).contains(&times), "{times} times {workers}");
        }
        assert!(with(10_000, each, 50_000) > 1000.0, "nothing waits there");
    }

    #[test]
    fn long_tasks_are_as_many_as_there_are_copies_and_quick_ones_more() {
        let mut window = Window::new(None);
        window.set_copies(3);
        assert_eq!(window.size(), 3, "until it is known how long they take");
        for took in [200, 300, 700, 210, 190] {
            window.on_answer(Duration::from_millis(took), 3);
            assert_eq!(window.size(), 3);
        }
        window.set_copies(50);
        assert!((50..=52).contains(&window.size()), "{}", window.size());
        window.set_copies(2);
        for _ in 0..200 {
            window.on_answer(Duration::from_millis(2), window.size());
        }
        assert!(window.size() > 100, "{}", window.size());
    }

    #[test]
    fn it_never_has_less_than_one_for_each_copy() {
        let mut window = Window::new(None);
        window.set_copies(16);
        for turn in 1..1_000 {
            window.on_answer(Duration::from_secs(turn % 7 * turn), window.size());
            assert!(window.size() >= 16, "{turn}");
        }
    }

    #[test]
    fn it_keeps_to_what_the_service_says() {
        for took in [Duration::ZERO, Duration::from_secs(3)] {
            let mut window = Window::new(Some(64));
            assert_eq!(window.size(), 64);
            for _ in 0..1000 {
                window.on_answer(took, 2);
            }
            window.set_copies(100);
            assert_eq!(window.size(), 64);
        }
    }
}
