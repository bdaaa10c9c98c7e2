//! What a function did in the last seconds, and what is usual for it: for those who look for what limits a workflow.
//!
//! Kept of every function and resource with traffic, also of those that are not scaled; a few hundred bytes each, and a
//! few additions for each event. [`super::Window`] is what policies decide by, over minutes.

use edgeless_types::Timestamp;

/// Seconds that are told apart.
pub const SECONDS: usize = 12;
/// Seconds over which it is said what happens now, at least; more where handling takes longer.
pub const NOW: u64 = 3;
/// Reports of nodes are no older than this many seconds.
const LATE: u64 = 3;
/// Seconds that were seen before anything is called usual.
const KNOWN: u16 = 3;
/// Seconds after which the mean of what is usual follows slowly.
const SLOW: u16 = 60;

/// One second.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    handled: u32,
    /// Sum of the times of handling, in seconds.
    executed: f64,
    arrived: u32,
    /// Sum of the times from creation to handling, in seconds.
    transferred: f64,
    /// What waited at its end.
    queued: u32,
}

/// Means over the seconds that are not told apart any more, of those in which something was handled.
#[derive(Clone, Copy, Debug, Default)]
struct Usual {
    rate: f64,
    service: f64,
    transfer: f64,
    seen: u16,
}

/// The last seconds of one function.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    seconds: [Second; SECONDS],
    /// The second that runs, since the epoch; 0: none yet.
    second: u64,
    /// The first one.
    born: u64,
    /// The newest in which something was handled.
    newest: u64,
    usual: Usual,
    oldest: f64,
}

/// What a function does now: means over the last three seconds, or three times of handling.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Recent {
    /// Events handled per second.
    pub rate: f64,
    /// Seconds of one handling, without waiting; none was seen: none.
    pub service: Option<f64>,
    /// Seconds from creation to handling.
    pub transfer: Option<f64>,
    /// Events that wait.
    pub queued: u32,
    /// The most that waited within the seconds that are told apart.
    pub most_queued: u32,
    /// By how many events the queue grows per second; negative: it shrinks.
    pub growth: f64,
    /// Age of the oldest event that waits, in seconds.
    pub oldest: f64,
    /// Rate, service and transfer as they were before the last twelve seconds; none: not known yet.
    pub usual: Option<[f64; 3]>,
}

fn place(second: u64) -> usize {
    usize::try_from(second % SECONDS as u64).unwrap_or_default()
}

impl Traffic {
    /// An event was handled within `took` seconds, and its handling ended at `at`.
    pub fn executed(&mut self, took: f64, at: Timestamp, now: Timestamp) {
        let second = self.second_of(at, now);
        self.newest = self.newest.max(second);
        let place = &mut self.seconds[place(second)];
        place.handled = place.handled.saturating_add(1);
        place.executed += took;
    }

    /// The handling of an event began at `at`, so many seconds after it was created.
    pub fn transferred(&mut self, took: f64, at: Timestamp, now: Timestamp) {
        let second = self.second_of(at, now);
        let place = &mut self.seconds[place(second)];
        place.arrived = place.arrived.saturating_add(1);
        place.transferred += took;
    }

    /// Many events were handled, of which only number and sum are known.
    pub fn executed_many(&mut self, count: u32, sum: f64, now: Timestamp) {
        let second = self.second_of(now, now);
        self.newest = self.newest.max(second);
        let place = &mut self.seconds[place(second)];
        place.handled = place.handled.saturating_add(count);
        place.executed += sum;
    }

    /// So many events wait now, the oldest for so many seconds.
    pub fn waits(&mut self, queued: u32, oldest: f64, now: Timestamp) {
        let second = self.second_of(now, now);
        self.seconds[place(second)].queued = queued;
        self.oldest = oldest;
    }

    /// Whether something was handled or waited in the seconds that are told apart.
    pub fn is_quiet(&mut self, now: Timestamp) -> bool {
        self.advance(now);
        self.seconds
            .iter()
            .all(|it| it.handled == 0 && it.queued == 0)
    }

    /// What happens now.
    pub fn recent(&mut self, now: Timestamp) -> Recent {
        self.advance(now);
        let until = match self.second.saturating_sub(self.newest) > LATE {
            true => self.second,
            // What the last second had is known as far as nodes have said it.
            false => self.newest.max(1),
        };
        // Of the second that runs a part has passed.
        let part = match until == self.second {
            true => now.as_secs_f64() - self.second as f64,
            false => 1.0,
        };
        let mut recent = self.over(until, part, NOW);
        if let Some(service) = recent.service {
            let longer = ((3.0 * service).ceil() as u64).clamp(NOW, SECONDS as u64 - 1);
            recent = self.over(until, part, longer);
        }
        recent
    }

    /// Means over so many seconds before one, and the part of it that has passed.
    fn over(&self, until: u64, part: f64, seconds: u64) -> Recent {
        let from = until.saturating_sub(seconds).max(self.born);
        let those = || (from..=until).map(|it| self.seconds[place(it)]);
        let handled: u32 = those().map(|it| it.handled).sum();
        let arrived: u32 = those().map(|it| it.arrived).sum();
        let mean = |sum: f64, count: u32| (count > 0).then(|| sum / f64::from(count));
        // Of a single event nobody knows how often it comes.
        let span = ((until - from) as f64 + part).max(1.0);
        let queued = self.seconds[place(self.second)].queued;
        let before = self.second.saturating_sub(NOW).max(self.born);
        let passed = self.second.saturating_sub(before).max(1) as f64;
        let growth = f64::from(queued) - f64::from(self.seconds[place(before)].queued);
        Recent {
            rate: f64::from(handled) / span,
            service: mean(those().map(|it| it.executed).sum(), handled),
            transfer: mean(those().map(|it| it.transferred).sum(), arrived),
            queued,
            most_queued: self.seconds.iter().map(|it| it.queued).max().unwrap_or(0),
            growth: growth / passed,
            oldest: if queued > 0 { self.oldest } else { 0.0 },
            usual: (self.usual.seen >= KNOWN).then_some([
                self.usual.rate,
                self.usual.service,
                self.usual.transfer,
            ]),
        }
    }

    /// The second of a moment, the one that runs if it is none of those that are told apart.
    fn second_of(&mut self, at: Timestamp, now: Timestamp) -> u64 {
        self.advance(now);
        let second = at.as_secs_f64() as u64;
        let oldest = (self.second + 1).saturating_sub(SECONDS as u64);
        match (oldest.max(self.born)..=self.second).contains(&second) {
            true => second,
            false => self.second,
        }
    }

    fn advance(&mut self, now: Timestamp) {
        let second = now.as_secs_f64() as u64;
        if self.second == 0 {
            (self.second, self.born) = (second, second);
            return;
        }
        let all = self.second + SECONDS as u64;
        for passed in self.second + 1..=second.min(all) {
            let gone = std::mem::take(&mut self.seconds[place(passed)]);
            self.usual.add(&gone);
        }
        self.second = self.second.max(second);
    }
}

impl Usual {
    fn add(&mut self, second: &Second) {
        if second.handled == 0 {
            return;
        }
        self.seen = (self.seen + 1).min(SLOW);
        let weight = 1.0 / f64::from(self.seen);
        let handled = f64::from(second.handled);
        let add = |mean: &mut f64, value: f64| *mean += weight * (value - *mean);
        add(&mut self.rate, handled);
        add(&mut self.service, second.executed / handled);
        add(
            &mut self.transfer,
            second.transferred / f64::from(second.arrived.max(1)),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_unix(Duration::from_secs_f64(1_000_000.0 + seconds))
    }

    #[test]
    fn what_happens_now_is_of_the_last_seconds_and_what_is_usual_of_those_before() {
        let mut traffic = Traffic::default();
        for step in 0..300 {
            let now = at(f64::from(step) * 0.1);
            let slow = step >= 250;
            traffic.transferred(0.001, now, now);
            traffic.executed(if slow { 0.08 } else { 0.02 }, now, now);
            traffic.waits(if slow { 7 } else { 0 }, 0.5, now);
        }
        let recent = traffic.recent(at(30.0));
        assert!((recent.rate - 10.0).abs() < 0.1, "{recent:?}");
        assert!((recent.service.unwrap() - 0.08).abs() < 1e-9, "{recent:?}");
        let [rate, service, transfer] = recent.usual.unwrap();
        assert!((rate - 10.0).abs() < 0.1 && (service - 0.02).abs() < 1e-9);
        assert!((transfer - 0.001).abs() < 1e-9);
    }

    #[test]
    fn a_report_that_comes_late_counts_for_the_seconds_it_is_about() {
        let mut traffic = Traffic::default();
        traffic.executed(0.1, at(0.0), at(0.0));
        for report in 1..4 {
            let now = at(2.0 * f64::from(report));
            for step in 0..20 {
                let ended = at(2.0 * f64::from(report - 1) + 0.1 * f64::from(step));
                traffic.executed(0.1, ended, now);
            }
        }
        let recent = traffic.recent(at(7.5));
        assert!((recent.rate - 10.0).abs() < 0.5, "{recent:?}");
    }

    #[test]
    fn a_function_without_traffic_is_quiet() {
        let mut traffic = Traffic::default();
        traffic.executed(0.1, at(0.0), at(0.0));
        assert!(!traffic.is_quiet(at(5.0)));
        assert!(traffic.is_quiet(at(20.0)));
        assert_eq!(traffic.recent(at(20.0)).service, None);
        assert!(traffic.is_quiet(at(1e9)), "and it does not take long");
    }
}
