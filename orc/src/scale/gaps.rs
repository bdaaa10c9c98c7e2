//! What is learnt of the silence between events: how long it lasts, and whether it is regular.

/// Idle times in bins that grow by a quarter: from a quarter of a second to seven hours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gaps([u8; BINS]);

const BINS: usize = 46;
const FIRST: f64 = 0.25;
const GROWTH: f64 = 1.28;
/// Gaps that have to be known before they are believed.
const ENOUGH: u32 = 20;
/// Gaps that have to be known before they are told to differ.
const SOME: u32 = 8;

impl Default for Gaps {
    fn default() -> Self {
        Self([0; BINS])
    }
}

impl Gaps {
    /// An event ended a time of so many seconds without work.
    pub(super) fn add(&mut self, seconds: f64) {
        let Some(place) = bin(seconds) else {
            return;
        };
        if self.0[place] == u8::MAX {
            self.0.iter_mut().for_each(|count| *count /= 2);
        }
        self.0[place] += 1;
    }

    /// As if so many idle times had been seen as a prior has, up to `most`: seconds and how many, rising.
    pub(super) fn seeded(prior: &[(f64, u64)], most: u8) -> Self {
        let mut gaps = Self::default();
        let total: u64 = prior.iter().fold(0, |sum, it| sum.saturating_add(it.1));
        let wanted = total.min(u64::from(most)) as f64;
        let (mut seen, mut added) = (0_u64, 0.0);
        for &(seconds, count) in prior {
            seen = seen.saturating_add(count);
            while added < (wanted * seen as f64 / total as f64).round() {
                gaps.add(seconds);
                added += 1.0;
            }
        }
        gaps
    }

    /// For how many seconds the last copy is best kept without work, if a start when work comes costs as
    /// much as `start_cost` seconds of an idle copy; at most `longest`.
    ///
    /// With few known gaps: as long as a start costs, which is at most twice the best for any arrivals
    /// (ski rental). Else the time that would have cost least over the known gaps, as the histogram policy
    /// of "Serverless in the Wild" (Shahrad et al., ATC 2020) learns it per function.
    pub(super) fn keep(&self, start_cost: f64, longest: f64) -> f64 {
        let known: u32 = self.0.iter().map(|&count| u32::from(count)).sum();
        let plain = start_cost.min(longest);
        if known < ENOUGH {
            return plain;
        }
        // For each upper edge: gaps below it cost their length, longer ones the edge and a start.
        let (mut below, mut below_cost) = (0, 0.0);
        let (mut best, mut least) = (0.0, f64::from(known) * start_cost);
        let mut edge = FIRST;
        for &count in &self.0 {
            let upper = edge * GROWTH;
            below += u32::from(count);
            below_cost += f64::from(count) * (edge * upper).sqrt();
            let kept = upper.min(longest);
            let cost = below_cost + f64::from(known - below) * (kept + start_cost);
            if cost < least {
                (best, least) = (kept, cost);
            }
            if upper >= longest {
                break;
            }
            edge = upper;
        }
        best
    }

    /// Whether silences are known, and last for different times: nine of ten do not lie in two bins side
    /// by side.
    pub(super) fn differ(&self) -> bool {
        let known: u32 = self.0.iter().map(|&count| u32::from(count)).sum();
        let pairs = self
            .0
            .windows(2)
            .map(|pair| u32::from(pair[0]) + u32::from(pair[1]));
        known >= SOME && 10 * pairs.max().unwrap_or_default() < 9 * known
    }
}

/// The place of an idle time; none: too short for a stop to be thought of, and there are many of them.
pub(super) fn bin(seconds: f64) -> Option<usize> {
    let bin = ((seconds / FIRST).max(1.0).ln() / GROWTH.ln()) as usize;
    (seconds >= FIRST).then_some(bin.min(BINS - 1))
}

/// The idle time that stands for a place, in seconds.
pub(super) fn middle(bin: usize) -> f64 {
    FIRST * GROWTH.powf(bin.min(BINS - 1) as f64 + 0.5)
}

/// Trains of events with silence between them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bursts {
    /// Seconds since the epoch at which the one that runs began; 0: none was seen.
    began: f64,
    /// Events of the one that runs.
    count: u32,
    /// Events of its first second.
    first: u32,
    /// Mean of the events of the first second.
    batch: f32,
    /// Mean of the events per second of those that lasted.
    rate: f32,
    /// Mean seconds from one begin to the next, and how far it is off.
    period: f32,
    jitter: f32,
    /// Intervals in a row that were about as long as the others.
    regular: u8,
}

/// Seconds of silence that part two bursts.
pub(super) const QUIET: f64 = 5.0;
/// Regular intervals that are believed.
const BELIEVED: u8 = 2;

/// When the next burst is expected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Next {
    /// The earliest moment, in seconds since the epoch.
    pub(super) from: f64,
    /// From here on it comes no more.
    pub(super) until: f64,
    /// The interval.
    pub(super) period: f64,
}

impl Bursts {
    pub(super) fn arrived(&mut self, count: u32, last: Option<f64>, now: f64) {
        if last.is_none_or(|last| now - last > QUIET) {
            if let (Some(last), true) = (last, self.count > 0) {
                self.close(last, now);
            }
            (self.began, self.count, self.first) = (now, 0, 0);
        }
        self.count = self.count.saturating_add(count);
        if now - self.began <= 1.0 {
            self.first = self.first.saturating_add(count);
        }
    }

    fn close(&mut self, last: f64, now: f64) {
        let follow = |mean: &mut f32, value: f32| {
            *mean = if *mean == 0.0 {
                value
            } else {
                0.5 * (*mean + value)
            };
        };
        follow(&mut self.batch, self.first as f32);
        let lasted = last - self.began;
        if lasted >= 2.0 {
            follow(&mut self.rate, (f64::from(self.count) / lasted) as f32);
        }
        let interval = (now - self.began) as f32;
        let off = (interval - self.period).abs();
        if self.period > 0.0 && off < 0.2 * self.period {
            self.regular = self.regular.saturating_add(1);
            self.jitter = if self.regular == 1 {
                off
            } else {
                0.7 * self.jitter + 0.3 * off
            };
            self.period += 0.3 * (interval - self.period);
        } else {
            (self.period, self.jitter, self.regular) = (interval, 0.0, 0);
        }
    }

    /// As if those of a prior had been seen before.
    pub(super) fn seeded(prior: &super::priors::Bursts) -> Self {
        Self {
            batch: prior.batch as f32,
            rate: prior.rate as f32,
            period: prior.period.unwrap_or_default() as f32,
            jitter: prior.jitter as f32,
            regular: prior.period.map_or(0, |_| BELIEVED),
            ..Self::default()
        }
    }

    /// What was seen, once a train has ended.
    pub(super) fn known(&self) -> Option<super::priors::Bursts> {
        (self.batch > 0.0).then(|| super::priors::Bursts {
            batch: f64::from(self.batch),
            rate: f64::from(self.rate),
            period: (self.regular >= BELIEVED).then(|| f64::from(self.period)),
            jitter: f64::from(self.jitter),
        })
    }

    /// Events of the first second of past bursts.
    pub(super) fn batch(&self) -> f64 {
        f64::from(self.batch)
    }

    /// Events per second of past bursts that lasted.
    pub(super) fn rate(&self) -> f64 {
        f64::from(self.rate)
    }

    /// Seconds without events that may lie within one that lasts; 0 when they are over at once.
    pub(super) fn pause(&self) -> f64 {
        match self.rate() {
            rate if rate > 0.0 => (2.0 / rate).min(QUIET),
            _ => 0.0,
        }
    }

    /// Seconds since the one that runs began.
    pub(super) fn age(&self, now: f64) -> f64 {
        now - self.began
    }

    /// When the next begins, if they are regular.
    pub(super) fn next(&self) -> Option<Next> {
        let (period, jitter) = (f64::from(self.period), f64::from(self.jitter));
        (self.regular >= BELIEVED).then(|| {
            let expected = self.began + period;
            // A moment of its own is never exact: what measures it has a resolution.
            let margin = 2.0 * jitter + 0.002 * period;
            Next {
                from: expected - margin,
                until: expected + margin + 1.0,
                period,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_gaps_are_not_believed_and_short_ones_are_bridged() {
        let mut gaps = Gaps::default();
        gaps.add(5.0);
        assert!((gaps.keep(20.0, 60.0) - 20.0).abs() < 1e-9);
        (0..20).for_each(|_| gaps.add(5.0));
        let keep = gaps.keep(20.0, 60.0);
        assert!((5.0..8.0).contains(&keep), "{keep}");
        assert!(!gaps.differ(), "an even load has even gaps");
        (0..200).for_each(|_| gaps.add(1_000.0));
        assert!(gaps.keep(20.0, 60.0) < 1.0, "long gaps are not bridged");
        (0..200).for_each(|place| gaps.add(0.3 * 1.05_f64.powi(place)));
        assert!(gaps.differ());
    }

    #[test]
    fn regular_bursts_are_foreseen_and_irregular_ones_are_not() {
        let check = |gaps: &[f64]| {
            let (mut bursts, mut now, mut last) = (Bursts::default(), 1_000.0, None);
            for gap in gaps {
                bursts.arrived(7, last, now);
                last = Some(now);
                now += gap;
            }
            (bursts.next(), now, bursts.batch())
        };
        let (next, now, batch) = check(&[300.0, 301.0, 300.0, 299.0, 300.0]);
        let next = next.unwrap();
        assert!(
            next.from < now && now < next.until && next.until - next.from < 20.0,
            "{next:?}"
        );
        assert!((batch - 7.0).abs() < 1e-6);
        assert_eq!(check(&[300.0, 20.0, 600.0, 77.0, 300.0]).0, None);
    }
}
