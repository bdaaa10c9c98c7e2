//! How many copies a load needs, and what policies remember between two decisions.

/// What policies remember while a function is active. Moments are seconds since the epoch, 0: none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct State {
    /// The most that was needed in each of the last parts of the holding time.
    pub(super) peaks: Peaks,
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

/// The largest number of the last seconds, in parts: bounded, and old values fall out part by part.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peaks {
    most: [u16; PARTS],
    /// The part that runs, counted from the epoch, and the width for which it holds.
    part: u64,
    width: f32,
}

const PARTS: usize = 8;

impl Peaks {
    /// Adds what is needed now; gives the most that was needed in about the last `hold` seconds.
    pub(super) fn add(&mut self, needed: u32, hold: f64, now: f64) -> u32 {
        let needed = u16::try_from(needed).unwrap_or(u16::MAX);
        let width = ((hold / (PARTS - 1) as f64) as f32).max(1e-3);
        if (self.width - width).abs() > 0.2 * width {
            // Another holding time: what is known counts as of now.
            let most = self.most.iter().copied().max().unwrap_or_default();
            (self.most, self.width) = ([0; PARTS], width);
            self.part = (now / f64::from(width)) as u64;
            self.most[slot(self.part)] = most;
        }
        let part = (now / f64::from(self.width)) as u64;
        let passed = part.saturating_sub(self.part).min(PARTS as u64);
        for back in 0..passed {
            self.most[slot(part - back)] = 0;
        }
        self.part = part;
        let running = &mut self.most[slot(part)];
        *running = needed.max(*running);
        u32::from(self.most.iter().copied().max().unwrap_or_default())
    }
}

fn slot(part: u64) -> usize {
    usize::try_from(part % PARTS as u64).unwrap_or_default()
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
        let mut slots = ceil(self.busy);
        while slots < most && self.p99_wait(f64::from(slots)) > wait {
            slots += 1;
        }
        slots
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
        assert_eq!(peaks.add(1, 60.0, 1_059.0), 9);
        assert_eq!(peaks.add(2, 60.0, 1_075.0), 2);
        assert_eq!(peaks.add(1, 60.0, 5_000.0), 1);
    }
}
