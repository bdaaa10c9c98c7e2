//! How many copies a load needs, and what policies remember between two decisions.

use super::rate::Regime;

/// What policies remember while a function is active. Moments are seconds since the epoch, 0: none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct State {
    /// The most that was needed in the holding time.
    pub(super) peaks: Peaks,
    /// Since when events arrive at the rate at which they do.
    pub(super) regime: Regime,
    /// When a policy that ticks decides next, and what it decided last.
    pub(super) tick: f64,
    pub(super) copies: u32,
    pub(super) panic: Panic,
    /// Since when nothing arrives any more.
    pub(super) inactive: f64,
}

/// The panic mode of the algorithm of Knative.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Panic {
    /// When it was entered or prolonged last.
    pub(super) since: f64,
    /// The most wanted in it.
    pub(super) most: u32,
}

/// The largest number of the last seconds: falling numbers, each with the moment until which it was the
/// need. Bounded: when there are too many, the larger one of two stands for both.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peaks {
    most: [u16; PEAKS],
    until: [f64; PEAKS],
    len: u8,
}

const PEAKS: usize = 8;

impl Peaks {
    /// Adds what is needed from now on; gives the most that was needed in the last `hold` seconds.
    pub(super) fn add(&mut self, needed: u32, hold: f64, now: f64) -> u32 {
        let needed = u16::try_from(needed).unwrap_or(u16::MAX);
        let len = usize::from(self.len);
        // What was needed last was needed until now.
        if let Some(last) = self.until[..len].last_mut() {
            *last = now;
        }
        let old = self.until[..len].iter().take_while(|it| **it < now - hold);
        let old = old.count();
        let kept = self.most[old..len].iter().take_while(|it| **it > needed);
        let mut kept = kept.count();
        self.most.copy_within(old..old + kept, 0);
        self.until.copy_within(old..old + kept, 0);
        if kept == PEAKS {
            kept -= 1;
            self.until[kept - 1] = self.until[kept];
        }
        (self.most[kept], self.until[kept]) = (needed, now);
        self.len = kept as u8 + 1;
        u32::from(self.most[0])
    }
}

/// The next whole number, at least 0; not a hair above a whole number.
pub(super) fn ceil(number: f64) -> u32 {
    (number - 1e-6).ceil().clamp(0.0, 1e6) as u32
}

/// What arrives and how it is handled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Busy slots on average, if every event found one.
    pub(super) busy: f64,
    /// Seconds for which one event is handled.
    pub(super) service: f64,
    /// Standard deviation over mean of these.
    pub(super) variation: f64,
    /// Variance over mean of arrivals: 1 for Poisson arrivals.
    pub(super) peakedness: f64,
}

impl Load {
    /// The waiting time in seconds that one in a hundred exceeds with `slots` slots.
    ///
    /// Halfin and Whitt, "Heavy-traffic limits for queues with many exponential servers" (1981), for the
    /// share that waits; for other than exponential times and Poisson arrivals scaled by the variations,
    /// after Whitt, "Approximations for the GI/G/m queue" (1993).
    pub(super) fn p99_wait(&self, slots: f64) -> f64 {
        let spare = slots - self.busy;
        if spare <= 0.0 {
            return f64::INFINITY;
        }
        let margin = spare / (self.peakedness * self.busy).sqrt().max(1e-9);
        let density = (-0.5 * margin * margin).exp() / (std::f64::consts::TAU).sqrt();
        let waits = 1.0 / (1.0 + margin * normal(margin) / density.max(1e-300));
        let scale = 0.5 * (self.peakedness + self.variation * self.variation);
        let mean = scale * self.service / spare;
        (100.0 * waits).ln().max(0.0) * mean
    }

    /// The fewest slots with which 99 of 100 wait no longer than `wait` seconds, up to `most`.
    pub(super) fn slots_for(&self, wait: f64, most: u32) -> u32 {
        // More slots never wait longer: halves until it is found.
        let (mut few, mut enough) = (ceil(self.busy).min(most), most);
        while few < enough {
            let middle = few + (enough - few) / 2;
            match self.p99_wait(f64::from(middle)) > wait {
                true => few = middle + 1,
                false => enough = middle,
            }
        }
        few
    }
}

/// The share of a normal distribution below `x`: Abramowitz and Stegun, formula 26.2.17.
fn normal(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let powers = [
        0.319_381_53,
        -0.356_563_782,
        1.781_477_937,
        -1.821_255_978,
        1.330_274_429,
    ];
    let sum = powers.iter().rev().fold(0.0, |sum, it| (sum + it) * t);
    let above = (-0.5 * x * x).exp() / (std::f64::consts::TAU).sqrt() * sum;
    if x < 0.0 { above } else { 1.0 - above }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_that_wait_are_those_of_the_literature() {
        assert!((normal(1.0) - 0.8413).abs() < 1e-4);
        let load = Load {
            busy: 100.0,
            service: 1.0,
            variation: 1.0,
            peakedness: 1.0,
        };
        // P(wait) of 0.22 with a margin of 1 (ten slots more): ln(22) times a tenth of the service.
        assert!(
            (load.p99_wait(110.0) - 0.31).abs() < 0.01,
            "{}",
            load.p99_wait(110.0)
        );
        assert_eq!(load.p99_wait(100.0), f64::INFINITY);
        assert_eq!(load.slots_for(0.32, 1_000), 110);
    }

    #[test]
    fn peaks_are_held_and_fall_out() {
        let mut peaks = Peaks::default();
        assert_eq!(peaks.add(9, 60.0, 1_000.0), 9);
        assert_eq!(peaks.add(1, 60.0, 1_010.0), 9);
        assert_eq!(peaks.add(2, 60.0, 1_069.0), 9);
        assert_eq!(peaks.add(2, 60.0, 1_071.0), 2);
        assert_eq!(peaks.add(1, 60.0, 5_000.0), 2, "it was needed until now");
        assert_eq!(peaks.add(1, 60.0, 5_061.0), 1);
        // Ever fewer, more often than there is room for: never less than is held.
        for step in 0..40_u32 {
            let most = peaks.add(100 - step, 10.0, 6_000.0 + f64::from(step));
            assert!(
                most >= 100 - step.saturating_sub(9) && most <= 100,
                "{step}: {most}"
            );
        }
    }
}
