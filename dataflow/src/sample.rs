//! Times of events, recorded as they are handled.

use edgeless_types::{LogEntry, PhysicalId, Sample, SampleKind, SampleSummary, Samples, Timestamp};

/// Times since they were last drained: as many as fit, the others summarised per instance.
#[derive(Debug)]
pub(crate) struct Recorder {
    capacity: usize,
    times: Vec<Sample>,
    logs: Vec<LogEntry>,
    summaries: Vec<[SampleSummary; 2]>,
    /// How often it was drained.
    drained: u64,
}

/// Where the summaries of one instance are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    at: usize,
    /// One more than how often the recorder had been drained when they were made.
    made: u64,
}

impl Recorder {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            times: Vec::new(),
            logs: Vec::new(),
            summaries: Vec::new(),
            drained: 0,
        }
    }

    /// One handled event: created, begun, ended.
    pub(crate) fn event(
        &mut self,
        physical_id: PhysicalId,
        place: &mut Place,
        [created, begin, end]: [Timestamp; 3],
    ) {
        let sample = |kind, timestamp, nanos| Sample {
            physical_id,
            kind,
            timestamp,
            nanos,
        };
        let transfer = nanos(begin, created);
        let execution = nanos(end, begin);
        if self.times.len() + 2 <= self.capacity {
            let [first, second] = KINDS;
            self.times.push(sample(first, begin, transfer));
            self.times.push(sample(second, end, execution));
            return;
        }
        if place.made != self.drained + 1 {
            place.made = self.drained + 1;
            place.at = self.summaries.len();
            self.summaries.push(KINDS.map(|kind| SampleSummary {
                physical_id,
                kind,
                count: 0,
                sum_nanos: 0,
                max_nanos: 0,
            }));
        }
        let summaries = &mut self.summaries[place.at];
        for (summary, nanos) in summaries.iter_mut().zip([transfer, execution]) {
            summary.count += 1;
            summary.sum_nanos = summary.sum_nanos.saturating_add(nanos);
            summary.max_nanos = summary.max_nanos.max(nanos);
        }
    }

    /// Keeps a log entry; false when there is no room.
    pub(crate) fn log(&mut self, entry: LogEntry) -> bool {
        let fits = self.logs.len() < self.capacity;
        if fits {
            self.logs.push(entry);
        }
        fits
    }

    pub(crate) fn drain(&mut self) -> Samples {
        self.drained += 1;
        Samples {
            times: std::mem::take(&mut self.times),
            logs: std::mem::take(&mut self.logs),
            summaries: std::mem::take(&mut self.summaries).into_flattened(),
        }
    }
}

/// What is measured of an event, in this order.
const KINDS: [SampleKind; 2] = [
    SampleKind::FunctionTransferTime,
    SampleKind::FunctionExecutionTime,
];

fn nanos(later: Timestamp, earlier: Timestamp) -> u64 {
    later.as_nanos().saturating_sub(earlier.as_nanos())
}
