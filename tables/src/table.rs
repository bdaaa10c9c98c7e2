//! The tables, their files and their columns.

/// One CSV file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Health of nodes, as JSON in one column.
    HealthStatus,
    /// Capabilities of nodes, as JSON in one column.
    Capabilities,
    /// Where each vertex runs: as many pairs as there are instances.
    MappingToInstanceId,
    /// Execution and transfer times, in seconds, by physical id.
    PerformanceSamples,
    /// Custom log entries, by physical id.
    ApplicationLogs,
    /// Samples that did not fit into a refresh, summarised by physical id, in seconds.
    SampleSummaries,
    /// Numbers of copies of functions that were decided, and why.
    ScalingDecisions,
}

impl Table {
    /// All tables.
    pub const ALL: [Self; 7] = [
        Self::HealthStatus,
        Self::Capabilities,
        Self::MappingToInstanceId,
        Self::PerformanceSamples,
        Self::ApplicationLogs,
        Self::SampleSummaries,
        Self::ScalingDecisions,
    ];

    /// The name of its file.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::HealthStatus => "health_status.csv",
            Self::Capabilities => "capabilities.csv",
            Self::MappingToInstanceId => "mapping_to_instance_id.csv",
            Self::PerformanceSamples => "performance_samples.csv",
            Self::ApplicationLogs => "application_logs.csv",
            Self::SampleSummaries => "sample_summaries.csv",
            Self::ScalingDecisions => "scaling_decisions.csv",
        }
    }
}

/// The columns of a table.
pub const fn header(table: Table) -> &'static [&'static str] {
    match table {
        Table::HealthStatus => &["timestamp", "node_id", "node_health_status"],
        Table::Capabilities => &["timestamp", "node_id", "node_capabilities"],
        Table::MappingToInstanceId => {
            &["timestamp", "logical_id", "node_id1", "physical_id1", "..."]
        }
        Table::PerformanceSamples => &["metric", "identifier", "value", "timestamp"],
        Table::ApplicationLogs => &["identifier", "target", "value", "timestamp"],
        Table::SampleSummaries => &["metric", "identifier", "count", "sum", "max", "timestamp"],
        Table::ScalingDecisions => &[
            "timestamp",
            "logical_id",
            "policy",
            "before",
            "copies",
            "reason",
        ],
    }
}
