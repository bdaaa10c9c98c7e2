//! The tables, their files and their columns.

use edgeless_types::{LogicalId, Timestamp, WorkflowId, workflow::VertexSpec};

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
    /// What each vertex is: its name, its workflow and its class.
    Vertices,
}

/// What a vertex is, from a moment on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vertex {
    /// Since when.
    pub timestamp: Timestamp,
    /// The vertex.
    pub logical_id: LogicalId,
    /// Its workflow.
    pub workflow_id: WorkflowId,
    /// Its name in there.
    pub name: String,
    /// Function or resource.
    pub kind: VertexKind,
    /// The class of the function, or the type of the resource.
    pub class_id: String,
    /// The version of the class; empty for resources.
    pub version: String,
}

/// Function or resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VertexKind {
    /// It computes.
    Function,
    /// It touches the outside world.
    Resource,
}

impl VertexKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Function, Self::Resource];

    /// As the column `kind` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Resource => "resource",
        }
    }
}

impl Vertex {
    /// The row of a vertex with that specification.
    pub fn of(
        timestamp: Timestamp,
        logical_id: LogicalId,
        workflow_id: WorkflowId,
        spec: &VertexSpec,
    ) -> Self {
        let (kind, version) = match spec {
            VertexSpec::Function(function) => (VertexKind::Function, function.version.as_str()),
            VertexSpec::Resource(_) => (VertexKind::Resource, ""),
        };
        Self {
            timestamp,
            logical_id,
            workflow_id,
            name: spec.name().to_owned(),
            kind,
            class_id: spec.class().to_owned(),
            version: version.to_owned(),
        }
    }
}

impl Table {
    /// All tables.
    pub const ALL: [Self; 8] = [
        Self::HealthStatus,
        Self::Capabilities,
        Self::MappingToInstanceId,
        Self::PerformanceSamples,
        Self::ApplicationLogs,
        Self::SampleSummaries,
        Self::ScalingDecisions,
        Self::Vertices,
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
            Self::Vertices => "vertices.csv",
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
        Table::Vertices => &[
            "timestamp",
            "logical_id",
            "workflow_id",
            "name",
            "kind",
            "class_id",
            "version",
        ],
    }
}
