//! A distribution of times, with those that were only summarised.

use edgeless_orc::scale::priors::Times;
use edgeless_types::SampleSummary;
use hdrhistogram::Histogram;

use crate::row::LONGEST_NANOS;

/// Digits of times: percentiles are right to a hundredth.
const DIGITS: u8 = 2;

/// Times as they are measured.
#[derive(Debug, Default)]
pub(super) struct Distribution {
    /// In nanoseconds; none as long as there are no samples.
    histogram: Option<Histogram<u32>>,
    samples: u64,
    longest: u64,
    /// Of samples, in seconds.
    sum: f64,
    squares: f64,
    /// Of what was only summarised.
    summarised: u64,
    summarised_secs: f64,
}

impl Distribution {
    pub(super) fn add(&mut self, nanos: u64) {
        let nanos = nanos.min(LONGEST_NANOS);
        let secs = nanos as f64 / 1e9;
        self.samples += 1;
        self.longest = self.longest.max(nanos);
        self.sum += secs;
        self.squares += secs * secs;
        let histogram = self.histogram.get_or_insert_with(|| {
            Histogram::new(DIGITS).expect("two digits are in the range that is allowed")
        });
        if histogram.record(nanos).is_err() {
            histogram.saturating_record(nanos);
        }
    }

    pub(super) fn summarised(&mut self, summary: &SampleSummary) {
        let longest = (LONGEST_NANOS as f64 / 1e9) * summary.count as f64;
        self.summarised = self.summarised.saturating_add(summary.count);
        self.summarised_secs += (summary.sum_nanos as f64 / 1e9).min(longest);
    }

    /// In seconds with four digits that count; none without samples, from which percentiles come.
    pub(super) fn times(&self) -> Option<Times> {
        let histogram = self.histogram.as_ref()?;
        // The end of a bucket may lie beyond the longest.
        let at = |quantile| {
            let nanos = histogram.value_at_quantile(quantile).min(self.longest);
            rounded(nanos as f64 / 1e9)
        };
        let number = self.samples as f64;
        let of_samples = self.sum / number;
        let variance = (self.squares / number - of_samples * of_samples).max(0.0);
        let all = number + self.summarised as f64;
        Some(Times {
            count: self
                .samples
                .saturating_add(self.summarised)
                .min(i64::MAX as u64),
            mean: rounded((self.sum + self.summarised_secs) / all),
            variation: match of_samples > 0.0 {
                true => rounded(variance.sqrt() / of_samples),
                false => 0.0,
            },
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
        })
    }
}

/// Four digits that count; the order of numbers stays.
pub(super) fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}
