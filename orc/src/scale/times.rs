//! Distributions and counts over time in a fixed number of bytes.

use std::collections::BTreeMap;

use super::priors::HalfHour;

/// A mean that follows, and how far values spread around it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spread {
    mean: f32,
    square: f32,
    /// Set by the owner, who has the bins.
    pub(super) p95: f32,
    seen: u8,
}

/// Values after which the mean follows slowly: an execution time that varies by its half is then known
/// to a twentieth.
const SLOW: u8 = 64;

impl Spread {
    pub(super) fn add(&mut self, value: f32) {
        if !value.is_finite() || value < 0.0 {
            return;
        }
        self.seen = (self.seen + 1).min(SLOW);
        let weight = 1.0 / f32::from(self.seen);
        self.mean += weight * (value - self.mean);
        self.square += weight * (value * value - self.square);
    }

    /// As if so many values had been seen as a prior has, up to `most`.
    pub(super) fn seeded(prior: &super::priors::Times, most: u8) -> Self {
        let square = prior.mean * prior.mean * (1.0 + prior.variation * prior.variation);
        Self {
            mean: prior.mean as f32,
            square: square as f32,
            p95: prior.p95 as f32,
            seen: u8::try_from(prior.count).unwrap_or(most).min(most),
        }
    }

    pub(super) fn mean(&self) -> Option<f64> {
        (self.seen > 0).then(|| f64::from(self.mean))
    }

    /// Standard deviation over mean, once some values were seen.
    pub(super) fn variation(&self) -> Option<f64> {
        let variance = (self.square - self.mean * self.mean).max(0.0);
        (self.seen >= 8 && self.mean > 0.0).then(|| f64::from(variance.sqrt() / self.mean))
    }
}

/// Bins whose width grows by half: from 20 µs to some minutes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quantiles([u16; 40]);

const FIRST: f32 = 2e-5;
const GROWTH: f32 = 1.5;
/// Values after which old ones count half.
const ENOUGH: u32 = 4_096;

impl Default for Quantiles {
    fn default() -> Self {
        Self([0; 40])
    }
}

impl Quantiles {
    /// Adds a time in seconds; gives the 95th percentile, to a fifth.
    pub(super) fn add(&mut self, seconds: f32) -> f32 {
        let bin = ((seconds / FIRST).max(1.0).ln() / GROWTH.ln()) as usize;
        let last = self.0.len() - 1;
        self.0[bin.min(last)] += 1;
        let total: u32 = self.0.iter().map(|&count| u32::from(count)).sum();
        if total >= ENOUGH {
            self.0.iter_mut().for_each(|count| *count /= 2);
        }
        let mut above = total / 20;
        for (bin, &count) in self.0.iter().enumerate().rev() {
            if u32::from(count) > above {
                let exponent = i32::try_from(bin).unwrap_or_default();
                return FIRST * GROWTH.powi(exponent) * GROWTH.sqrt();
            }
            above -= u32::from(count);
        }
        seconds
    }
}

/// Arrivals and mean level of each of the last 60 seconds.
#[derive(Clone, Debug)]
pub(super) struct Seconds {
    arrivals: [u32; SLOTS],
    levels: [f32; SLOTS],
    /// The second that runs; 0: none yet.
    second: u64,
    /// The second of the first signal.
    born: u64,
    /// Since when the level is what it is.
    since: f64,
    level: f64,
}

/// One more than the longest window, for the second that runs.
const SLOTS: usize = 61;

impl Default for Seconds {
    fn default() -> Self {
        Self {
            arrivals: [0; SLOTS],
            levels: [0.0; SLOTS],
            second: 0,
            born: 0,
            since: 0.0,
            level: 0.0,
        }
    }
}

fn slot(second: u64) -> usize {
    usize::try_from(second % SLOTS as u64).unwrap_or_default()
}

impl Seconds {
    fn advance(&mut self, now: f64) {
        let second = now as u64;
        if self.second == 0 {
            (self.second, self.born, self.since) = (second, second, now);
            return;
        }
        // The level lasted until now, second by second; what is older than the window does not count.
        let oldest = second.saturating_sub(SLOTS as u64 - 1);
        let first = self.second.max(oldest);
        for passed in first..=second {
            if passed > self.second {
                (self.arrivals[slot(passed)], self.levels[slot(passed)]) = (0, 0.0);
            }
            let from = self.since.max(passed as f64);
            let until = now.min((passed + 1) as f64);
            if until > from {
                self.levels[slot(passed)] += (self.level * (until - from)) as f32;
            }
        }
        self.second = self.second.max(second);
        self.since = self.since.max(now);
    }

    /// At some time since `from`, evenly: who is told of events once in a while must not take the moments at which it is
    /// told for those at which they come.
    pub(super) fn arrived_since(&mut self, count: u32, from: f64, now: f64) {
        self.advance(now);
        let first = (from.max(0.0) as u64).max(self.oldest()).min(self.second);
        let from = from.max(first as f64);
        let span = now - from;
        let mut placed = 0;
        for second in first..=self.second {
            let until = now.min((second + 1) as f64);
            let by_then = match span > 0.0 && second < self.second {
                true => (f64::from(count) * (until - from) / span).round() as u32,
                false => count,
            };
            let place = &mut self.arrivals[slot(second)];
            *place = place.saturating_add(by_then.min(count) - placed);
            placed = by_then.min(count);
        }
    }

    pub(super) fn level(&mut self, level: f64, now: f64) {
        self.advance(now);
        self.level = level;
    }

    /// Whole seconds that were seen, up to `window`.
    fn seen(&self, window: u32) -> u64 {
        let age = self.second.saturating_sub(self.born);
        age.min(u64::from(window)).min(SLOTS as u64 - 1)
    }

    pub(super) fn arrivals(&self, window: u32) -> u32 {
        let seconds = 0..=self.seen(window);
        seconds.fold(0, |sum: u32, back| {
            sum.saturating_add(self.arrivals[slot(self.second - back)])
        })
    }

    pub(super) fn rate(&self, window: u32, now: f64) -> f64 {
        let running = now - self.second as f64;
        let whole = self.seen(window) as f64;
        // Right after the first arrival nothing is known: as if it had run for a second.
        let span = (whole + running).max(1.0);
        if running > f64::from(window) {
            return 0.0;
        }
        f64::from(self.arrivals(window)) / span
    }

    /// The second that runs, since the epoch.
    pub(super) fn last(&self) -> u64 {
        self.second
    }

    /// The first second that is known.
    pub(super) fn oldest(&self) -> u64 {
        self.born.max(self.second.saturating_sub(SLOTS as u64 - 1))
    }

    /// Arrivals in one of the seconds that are known.
    pub(super) fn count(&self, second: u64) -> u32 {
        self.arrivals[slot(second)]
    }

    /// Arrivals in the second `first` and after it.
    pub(super) fn since(&self, first: u64) -> u32 {
        let seconds = first.max(self.oldest())..=self.second;
        seconds.fold(0, |sum: u32, second| sum.saturating_add(self.count(second)))
    }

    /// Before the first signal: nothing came between the last event that is known of, if any, and now.
    pub(super) fn begin(&mut self, last: Option<f64>, now: f64) {
        if self.second == 0 {
            self.advance(now);
            self.born = last.map_or(self.born, |last| self.born.min(last as u64));
        }
    }

    /// Variance over mean of the arrivals of whole seconds from `first` on, at least `least` of them.
    pub(super) fn peakedness(&self, first: u64, least: u64) -> Option<f64> {
        let seen = self.second.saturating_sub(first.max(self.oldest()));
        if seen < least {
            return None;
        }
        let counts = (1..=seen).map(|back| f64::from(self.count(self.second - back)));
        let (sum, squares) = counts.fold((0.0, 0.0), |(s, q), it| (s + it, q + it * it));
        let mean = sum / seen as f64;
        (mean > 0.0).then(|| (squares / seen as f64 - mean * mean) / mean)
    }

    pub(super) fn concurrency(&self, window: u32) -> f64 {
        let seen = self.seen(window);
        if seen == 0 {
            return self.level;
        }
        let seconds = 1..=seen;
        let sum: f64 = seconds
            .map(|back| f64::from(self.levels[slot(self.second - back)]))
            .sum();
        sum / seen as f64
    }
}

/// The rate of every half hour of the day, each in a byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Day {
    /// 0: never seen; else the logarithm of the rate, eight steps for each doubling.
    rates: [u8; HALF_HOURS],
    /// The half hour that runs, since the epoch.
    running: u32,
    count: u32,
}

const HALF_HOURS: usize = 48;
const HALF_HOUR: f64 = 1_800.0;
/// The code of one arrival per second.
const ONE: f64 = 100.0;

impl Default for Day {
    fn default() -> Self {
        Self {
            rates: [0; HALF_HOURS],
            running: 0,
            count: 0,
        }
    }
}

impl Day {
    /// As if a day with the rates of a prior had been seen.
    pub(super) fn seeded(prior: &BTreeMap<HalfHour, f64>) -> Self {
        let mut day = Self::default();
        for (at, &rate) in prior {
            day.rates[at.index()] = encode(rate);
        }
        day
    }

    pub(super) fn arrived(&mut self, count: u32, now: f64) {
        let half_hour = (now / HALF_HOUR) as u32;
        if half_hour != self.running {
            if self.running != 0 {
                self.close(half_hour);
            }
            (self.running, self.count) = (half_hour, 0);
        }
        self.count = self.count.saturating_add(count);
    }

    fn close(&mut self, next: u32) {
        let rate = f64::from(self.count) / HALF_HOUR;
        self.learn(self.running, rate);
        // Half hours in which nothing came, up to a day of them.
        let silent = self
            .running
            .saturating_add(1)
            .max(next.saturating_sub(HALF_HOURS as u32));
        for half_hour in silent..next {
            self.learn(half_hour, 0.0);
        }
    }

    fn learn(&mut self, half_hour: u32, rate: f64) {
        let place = &mut self.rates[half_hour as usize % HALF_HOURS];
        let rate = match *place {
            0 => rate,
            known => 0.5 * (decode(known) + rate),
        };
        *place = encode(rate);
    }

    /// Between the middles of two half hours the rate changes evenly.
    pub(super) fn rate(&self, now: f64) -> Option<f64> {
        let place = now / HALF_HOUR - 0.5;
        let (first, share) = (place.floor(), place.fract());
        let known = |half_hour: f64| {
            let code = self.rates[half_hour as usize % HALF_HOURS];
            (code > 0).then(|| decode(code))
        };
        Some(known(first)? * (1.0 - share) + known(first + 1.0)? * share)
    }
}

fn encode(rate: f64) -> u8 {
    (ONE + 8.0 * rate.max(1e-9).log2()).clamp(1.0, 255.0) as u8
}

fn decode(code: u8) -> f64 {
    match code {
        0 | 1 => 0.0,
        _ => ((f64::from(code) + 0.5 - ONE) / 8.0).exp2(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_95th_percentile_is_right_to_a_fifth() {
        let mut quantiles = Quantiles::default();
        let mut last = 0.0;
        for step in 0..20_000 {
            last = quantiles.add(0.001 * (step % 1000) as f32);
        }
        assert!((0.78..1.15).contains(&last), "{last}");
    }

    #[test]
    fn the_rate_of_a_time_of_day_is_remembered() {
        let mut day = Day::default();
        for second in 86_400..3 * 86_400_u32 {
            let busy = (second / 1_800) % 48 == 20;
            if busy {
                day.arrived(4, f64::from(second));
            } else if second % 1_800 == 0 {
                day.arrived(1, f64::from(second));
            }
        }
        let at = |half_hour: f64| day.rate(3.0 * 86_400.0 + half_hour * 1_800.0).unwrap();
        assert!((3.6..4.4).contains(&at(20.5)), "{}", at(20.5));
        assert!(at(22.5) < 0.01);
    }
}
