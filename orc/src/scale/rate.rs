//! At which rate events arrive, and since when that is the rate.
//!
//! The rate is a mean over the time since it last changed, at most a minute: a change is followed within a
//! few seconds, and what was before it neither drags it nor comes back.

use super::times::Seconds;

/// The rate, and how sure it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    /// Events per second.
    pub(super) per_second: f64,
    /// What it was taken from: so many events in so many seconds.
    pub(super) count: f64,
    pub(super) span: f64,
    /// Variance over mean of the events per second; none as long as too few seconds were seen.
    pub(super) peakedness: Option<f64>,
    /// The same, or what it was before the rate last changed; 0 as long as it never was known.
    pub(super) uneven: f64,
}

/// Since when the rate is what it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Regime {
    /// The first second of it, since the epoch; 0: as long as is known.
    since: u64,
    uneven: f32,
}

/// Standard deviations by which the last seconds are off before they count as another rate.
const SURPRISE: f64 = 3.0;
/// The last seconds that are looked at, up to so many.
const RECENT: u64 = 15;
/// Seconds before them that have to be known.
const BEFORE: f64 = 3.0;
/// Events in them before there can be more than before.
const ENOUGH: f64 = 3.0;
/// Seconds that have to be known for the peakedness.
const PEAKED: u64 = 10;

impl Regime {
    /// The rate at `now`, in seconds since the epoch; notes when it has changed.
    pub(super) fn look(&mut self, seconds: &Seconds, now: f64) -> Rate {
        if let Some(change) = self.change(seconds, now) {
            self.since = change;
        }
        let first = self.first(seconds);
        let span = (now - first as f64).max(1.0);
        let count = f64::from(seconds.since(first));
        // The first second may hold some of the rate before.
        let peakedness = seconds.peakedness(first + 1, PEAKED);
        self.uneven = peakedness.map_or(self.uneven, |it| it as f32);
        Rate {
            per_second: count / span,
            count,
            span,
            peakedness,
            uneven: f64::from(self.uneven),
        }
    }

    /// Another rate begins now: nothing comes any more.
    pub(super) fn end(&mut self, seconds: &Seconds) {
        self.since = seconds.last() + 1;
    }

    fn first(&self, seconds: &Seconds) -> u64 {
        self.since.max(seconds.oldest())
    }

    /// The second in which another rate began: that from which on the difference is least like chance.
    ///
    /// The square root of a count has a standard deviation of a half whatever the rate is (Anscombe, "The
    /// transformation of Poisson, binomial and negative-binomial data", 1948).
    fn change(&self, seconds: &Seconds, now: f64) -> Option<u64> {
        let first = self.first(seconds);
        let last = seconds.last();
        let all = f64::from(seconds.since(first));
        let span = now - first as f64;
        let (mut most, mut found) = (SURPRISE, None);
        let mut recent = f64::from(seconds.count(last));
        for back in 1..RECENT {
            let from = last.checked_sub(back)?;
            let lasted = now - from as f64;
            let before = span - lasted;
            if before < BEFORE {
                break;
            }
            recent += f64::from(seconds.count(from));
            let roots = |count: f64, seconds: f64| ((count + 0.375) / seconds).sqrt();
            let off = roots(recent, lasted) - roots(all - recent, before);
            let surprise = 2.0 * off / (1.0 / lasted + 1.0 / before).sqrt();
            if surprise.abs() > most && (off < 0.0 || recent >= ENOUGH) {
                (most, found) = (surprise.abs(), Some(from));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rates once a second, of so many events in each of so many seconds.
    fn rates(parts: &[(u32, u32)]) -> Vec<f64> {
        let (mut seconds, mut regime) = (Seconds::default(), Regime::default());
        let (mut now, mut rates) = (1_000.0, Vec::new());
        for &(lasts, count) in parts {
            for _ in 0..lasts {
                (0..count).for_each(|place| {
                    let at = now + f64::from(place) / f64::from(count);
                    seconds.arrived_since(1, at, at);
                });
                now += 1.0;
                seconds.level(0.0, now);
                rates.push(regime.look(&seconds, now).per_second);
            }
        }
        rates
    }

    #[test]
    fn an_even_rate_is_known_at_once_and_stays() {
        for rate in rates(&[(200, 7)]) {
            assert!((rate - 7.0).abs() < 0.01, "{rate}");
        }
    }

    #[test]
    fn an_even_rate_is_even_whenever_it_is_told_of() {
        let (mut seconds, mut regime) = (Seconds::default(), Regime::default());
        // Three nodes tell of ten events a second each, now shortly before a second ends and now shortly after.
        let late = [0.06, -0.04, 0.05, 0.02, -0.07, -0.03];
        let (mut told, mut all) = ([1_000.0; 3], 0);
        for turn in 1..60 {
            for (node, told) in told.iter_mut().enumerate() {
                let now = 1_000.0 + f64::from(turn) + late[(turn as usize + node) % 6];
                let count = (10.0 * (now - *told)).round() as u32;
                seconds.arrived_since(count, *told, now);
                (*told, all) = (now, all + count);
            }
        }
        let rate = regime.look(&seconds, 1_059.5);
        assert_eq!(seconds.since(1_000), all);
        assert!(rate.peakedness.unwrap() < 0.1, "{rate:?}");
        assert!((rate.per_second - 30.0).abs() < 1.0, "{rate:?}");
    }

    #[test]
    fn a_change_is_followed_and_what_was_before_does_not_come_back() {
        for (before, after) in [(2, 20), (20, 2), (0, 5), (5, 0)] {
            let rates = rates(&[(100, before), (100, after)]);
            let (before, after) = (f64::from(before), f64::from(after));
            assert!((rates[99] - before).abs() < 0.01);
            for (second, rate) in rates.iter().enumerate().skip(110) {
                assert!((rate - after).abs() < 0.2, "{second}: {rate}");
            }
        }
    }
}
