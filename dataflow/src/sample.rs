//! Times of events, recorded as they are handled.

use std::collections::BTreeMap;

use edgeless_types::{LogEntry, PhysicalId, Sample, SampleKind, SampleSummary, Samples, Timestamp};

/// Times since they were last drained: as many as fit, the others summarised per instance.
#[derive(Debug)]
pub(crate) struct Recorder {
    capacity: usize,
    times: Vec<Sample>,
    logs: Vec<LogEntry>,
    summaries: BTreeMap<(PhysicalId, SampleKind), SampleSummary>,
}

impl Recorder {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            times: Vec::new(),
            logs: Vec::new(),
            summaries: BTreeMap::new(),
        }
    }

    /// One handled event: created, begun, ended.
    pub(crate) fn event(
        &mut self,
        physical_id: PhysicalId,
        created: Timestamp,
        begin: Timestamp,
        end: Timestamp,
    ) {
        self.time(Sample {
            physical_id,
            kind: SampleKind::FunctionTransferTime,
            timestamp: begin,
            nanos: nanos(begin, created),
        });
        self.time(Sample {
            physical_id,
            kind: SampleKind::FunctionExecutionTime,
            timestamp: end,
            nanos: nanos(end, begin),
        });
    }

    fn time(&mut self, sample: Sample) {
        if self.times.len() < self.capacity {
            self.times.push(sample);
            return;
        }
        let empty = SampleSummary {
            physical_id: sample.physical_id,
            kind: sample.kind,
            count: 0,
            sum_nanos: 0,
            max_nanos: 0,
        };
        let summary = self
            .summaries
            .entry((sample.physical_id, sample.kind))
            .or_insert(empty);
        summary.count += 1;
        summary.sum_nanos = summary.sum_nanos.saturating_add(sample.nanos);
        summary.max_nanos = summary.max_nanos.max(sample.nanos);
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
        Samples {
            times: std::mem::take(&mut self.times),
            logs: std::mem::take(&mut self.logs),
            summaries: std::mem::take(&mut self.summaries).into_values().collect(),
        }
    }
}

fn nanos(later: Timestamp, earlier: Timestamp) -> u64 {
    later.as_nanos().saturating_sub(earlier.as_nanos())
}
