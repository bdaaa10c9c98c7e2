//! Times of one group: distributions, and what was only summarised.

use edgeless_types::{SampleKind, SampleSummary};
use hdrhistogram::Histogram;

use super::metric;

/// Digits of times: quantiles are right to a hundredth.
const DIGITS: u8 = 2;

/// Execution and transfer times.
#[derive(Debug, Default)]
pub(crate) struct Times {
    pub(super) metrics: [Metric; 2],
    /// Entries of the log.
    pub(super) logs: u64,
}

/// One of two times.
#[derive(Debug, Default)]
pub(super) struct Metric {
    /// In nanoseconds; none as long as there are no samples.
    pub(super) histogram: Option<Histogram<u32>>,
    pub(super) samples: u64,
    pub(super) summarised: u64,
    pub(super) sum_nanos: f64,
    pub(super) max_nanos: u64,
}

impl Times {
    pub(super) fn record(&mut self, kind: SampleKind, nanos: u64) {
        let metric = &mut self.metrics[metric(kind)];
        metric.samples += 1;
        metric.sum_nanos += nanos as f64;
        metric.max_nanos = metric.max_nanos.max(nanos);
        let histogram = metric.histogram.get_or_insert_with(|| {
            Histogram::new(DIGITS).expect("two digits are in the range that is allowed")
        });
        // It grows with the largest value, to some ten KiB at most; what it could not grow for counts as
        // its longest.
        if histogram.record(nanos).is_err() {
            histogram.saturating_record(nanos);
        }
    }

    pub(super) fn summarised(&mut self, summary: &SampleSummary) {
        let metric = &mut self.metrics[metric(summary.kind)];
        metric.summarised += summary.count;
        metric.sum_nanos += summary.sum_nanos as f64;
        metric.max_nanos = metric.max_nanos.max(summary.max_nanos);
    }
}
