//! What nodes measure: execution and transfer times, and custom log entries of functions.

use serde::{Deserialize, Serialize};

use crate::{PhysicalId, Secs, Timestamp};

/// Which time of an event was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SampleKind {
    /// How long the handling took; its timestamp is when the handling ended.
    FunctionExecutionTime,
    /// From the event's creation to the start of its handling (network and queue); its timestamp
    /// is when the handling began.
    FunctionTransferTime,
}

impl SampleKind {
    /// The name in mirror keys and in the `metric` column.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FunctionExecutionTime => "function_execution_time",
            Self::FunctionTransferTime => "function_transfer_time",
        }
    }
}

/// One measured time of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The instance that handled the event.
    pub physical_id: PhysicalId,
    /// Which time.
    pub kind: SampleKind,
    /// When, see [`SampleKind`].
    pub timestamp: Timestamp,
    /// The measured time in nanoseconds.
    pub nanos: u64,
}

impl Sample {
    /// The measured time in fractional seconds.
    pub fn secs(&self) -> Secs {
        Secs { nanos: self.nanos }
    }
}

/// What a custom log entry of a function says (`telemetry_log`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The instance that wrote it.
    pub physical_id: PhysicalId,
    /// The name of the metric.
    pub target: String,
    /// The value, free text.
    pub value: String,
    /// When it was written.
    pub timestamp: Timestamp,
}

/// Samples that did not fit into a refresh, summarised so that nothing is lost silently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleSummary {
    /// The instance whose samples these were.
    pub physical_id: PhysicalId,
    /// Which time.
    pub kind: SampleKind,
    /// How many samples.
    pub count: u64,
    /// Their sum in nanoseconds.
    pub sum_nanos: u64,
    /// The largest in nanoseconds.
    pub max_nanos: u64,
}

/// All that a node measured since its last refresh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Samples {
    /// Times of events, in the order in which they were measured.
    pub times: Vec<Sample>,
    /// Custom log entries.
    pub logs: Vec<LogEntry>,
    /// What did not fit.
    pub summaries: Vec<SampleSummary>,
}

impl Samples {
    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty() && self.logs.is_empty() && self.summaries.is_empty()
    }
}
