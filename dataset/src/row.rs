//! Rows as values: what the fields of each table must be.

use std::str::FromStr;

use edgeless_tables::{Table, Vertex, VertexKind};
use edgeless_types::{
    InstanceId, LogEntry, LogicalId, NodeCapabilities, NodeHealth, NodeId, Sample, SampleKind,
    SampleSummary, Timestamp,
    mirror::ScalingDecision,
    scaling::{MOST_COPIES, Policy},
};

use crate::{
    fault::{Wrong, shown},
    fields::Fields,
    layout::Layout,
};

/// A row of any table.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    /// Of `health_status.csv`.
    Health {
        /// When ε-ORC heard of it.
        at: Timestamp,
        /// The node.
        node_id: NodeId,
        /// How it is.
        health: Box<NodeHealth>,
    },
    /// Of `capabilities.csv`.
    Capabilities {
        /// When ε-ORC heard of them.
        at: Timestamp,
        /// The node.
        node_id: NodeId,
        /// What it has.
        capabilities: Box<NodeCapabilities>,
    },
    /// Of `mapping_to_instance_id.csv`.
    Mapping {
        /// Since when.
        at: Timestamp,
        /// The vertex.
        logical_id: LogicalId,
        /// Where it runs from then on; empty where it runs nowhere.
        instances: Vec<InstanceId>,
    },
    /// Of `performance_samples.csv`.
    Sample(Sample),
    /// Of `application_logs.csv`.
    Log(LogEntry),
    /// Of `sample_summaries.csv`.
    Summary {
        /// When ε-ORC heard of it.
        at: Timestamp,
        /// What did not fit.
        summary: SampleSummary,
    },
    /// Of `scaling_decisions.csv`.
    Scaling(ScalingDecision),
    /// Of `vertices.csv`.
    Vertex(Vertex),
}

/// Nanoseconds of the longest time that handling or transfer may take: a day. What is longer is beyond all measure.
pub(crate) const LONGEST_NANOS: u64 = 86_400_000_000_000;

/// Timestamps before the year 2000 come from clocks that were never set.
const EARLIEST: Timestamp = Timestamp::from_nanos(946_684_800_000_000_000);

impl Row {
    /// Its timestamp.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Health { at, .. }
            | Self::Capabilities { at, .. }
            | Self::Mapping { at, .. }
            | Self::Summary { at, .. } => *at,
            Self::Sample(sample) => sample.timestamp,
            Self::Log(entry) => entry.timestamp,
            Self::Scaling(decision) => decision.timestamp,
            Self::Vertex(vertex) => vertex.timestamp,
        }
    }
}

/// The fields of a row under a header.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) fields: &'a Fields,
    pub(crate) row: &'a [u8],
    /// Later timestamps are in the future.
    pub(crate) not_after: Timestamp,
}

impl Parts<'_> {
    /// The row, whose number of fields fits.
    pub(crate) fn parse(self, table: Table) -> Result<Row, Wrong> {
        self.layout.fits(self.fields.len())?;
        Ok(match table {
            Table::HealthStatus => Row::Health {
                at: self.timestamp(0)?,
                node_id: self.id(1, "node_id")?,
                health: Box::new(self.json(2, "node_health_status")?),
            },
            Table::Capabilities => Row::Capabilities {
                at: self.timestamp(0)?,
                node_id: self.id(1, "node_id")?,
                capabilities: Box::new(self.json(2, "node_capabilities")?),
            },
            Table::MappingToInstanceId => Row::Mapping {
                at: self.timestamp(0)?,
                logical_id: self.id(1, "logical_id")?,
                instances: self.instances()?,
            },
            Table::PerformanceSamples => Row::Sample(Sample {
                kind: self.metric(0)?,
                physical_id: self.id(1, "identifier")?,
                nanos: self.nanos(2, "value", LONGEST_NANOS)?,
                timestamp: self.timestamp(3)?,
            }),
            Table::ApplicationLogs => Row::Log(LogEntry {
                physical_id: self.id(0, "identifier")?,
                target: self.text(1, "target")?.to_owned(),
                value: self.text(2, "value")?.to_owned(),
                timestamp: self.timestamp(3)?,
            }),
            Table::SampleSummaries => {
                let summary = self.summary()?;
                let at = self.timestamp(5)?;
                Row::Summary { at, summary }
            }
            Table::ScalingDecisions => Row::Scaling(ScalingDecision {
                timestamp: self.timestamp(0)?,
                logical_id: self.id(1, "logical_id")?,
                policy: self.policy(2)?.name().to_owned(),
                before: self.copies(3, "before")?,
                copies: self.copies(4, "copies")?,
                reason: self.some_text(5, "reason")?.to_owned(),
            }),
            Table::Vertices => Row::Vertex(Vertex {
                timestamp: self.timestamp(0)?,
                logical_id: self.id(1, "logical_id")?,
                workflow_id: self.id(2, "workflow_id")?,
                name: self.text(3, "name")?.to_owned(),
                kind: self.kind(4)?,
                class_id: self.text(5, "class_id")?.to_owned(),
                version: self.text(6, "version")?.to_owned(),
            }),
        })
    }

    fn field(&self, column: usize) -> &[u8] {
        self.fields.get(self.row, self.layout.fixed(column))
    }

    fn text(&self, column: usize, name: &'static str) -> Result<&str, Wrong> {
        let field = self.field(column);
        std::str::from_utf8(field).map_err(|_| Wrong::NotText {
            column: name,
            text: shown(field),
        })
    }

    fn id<T: FromStr>(&self, column: usize, name: &'static str) -> Result<T, Wrong> {
        parse_id(self.field(column), name)
    }

    fn timestamp(&self, column: usize) -> Result<Timestamp, Wrong> {
        let field = self.field(column);
        let wrong = || Wrong::Timestamp { text: shown(field) };
        let text = std::str::from_utf8(field).map_err(|_| wrong())?;
        // An empty field would be the epoch.
        let has_digits = text.starts_with(|first: char| first.is_ascii_digit());
        let at: Timestamp = text.parse().map_err(|_| wrong())?;
        if !has_digits {
            return Err(wrong());
        }
        if at < EARLIEST {
            return Err(Wrong::Unset { text: shown(field) });
        }
        if at > self.not_after {
            return Err(Wrong::Future { text: shown(field) });
        }
        Ok(at)
    }

    /// A time in seconds, as nanoseconds; more than `most` are a fault.
    fn nanos(&self, column: usize, name: &'static str, most: u64) -> Result<u64, Wrong> {
        let field = self.field(column);
        let text = || shown(field);
        let number = std::str::from_utf8(field)
            .ok()
            .and_then(|text| text.parse::<f64>().ok());
        match number {
            None => Err(Wrong::NotANumber {
                column: name,
                text: text(),
            }),
            Some(secs) if !secs.is_finite() => Err(Wrong::NotFinite {
                column: name,
                text: text(),
            }),
            Some(secs) if secs < 0.0 => Err(Wrong::Negative {
                column: name,
                text: text(),
            }),
            Some(secs) if secs * 1e9 > most as f64 => Err(Wrong::BeyondMeasure {
                column: name,
                text: text(),
            }),
            Some(secs) => Ok((secs * 1e9).round() as u64),
        }
    }

    fn number<T: FromStr>(&self, column: usize, name: &'static str) -> Result<T, Wrong> {
        let field = self.field(column);
        let text = std::str::from_utf8(field).ok();
        let number = text.and_then(|text| text.parse().ok());
        number.ok_or_else(|| Wrong::NotANumber {
            column: name,
            text: shown(field),
        })
    }

    fn metric(&self, column: usize) -> Result<SampleKind, Wrong> {
        let field = self.field(column);
        [
            SampleKind::FunctionExecutionTime,
            SampleKind::FunctionTransferTime,
        ]
        .into_iter()
        .find(|kind| kind.name().as_bytes() == field)
        .ok_or_else(|| Wrong::Metric { text: shown(field) })
    }

    fn kind(&self, column: usize) -> Result<VertexKind, Wrong> {
        let field = self.field(column);
        let mut kinds = VertexKind::ALL.into_iter();
        let kind = kinds.find(|kind| kind.name().as_bytes() == field);
        kind.ok_or_else(|| Wrong::Kind { text: shown(field) })
    }

    fn policy(&self, column: usize) -> Result<Policy, Wrong> {
        let field = self.field(column);
        let mut policies = Policy::ALL.into_iter();
        let policy = policies.find(|policy| policy.name().as_bytes() == field);
        policy.ok_or_else(|| Wrong::Policy { text: shown(field) })
    }

    /// A number of copies of one function.
    fn copies(&self, column: usize, name: &'static str) -> Result<u32, Wrong> {
        let number: u64 = self.number(column, name)?;
        let copies = u32::try_from(number).ok();
        copies.filter(|it| *it <= MOST_COPIES).ok_or(Wrong::Copies {
            column: name,
            number,
        })
    }

    /// A text that says something.
    fn some_text(&self, column: usize, name: &'static str) -> Result<&str, Wrong> {
        match self.text(column, name)? {
            text if text.trim().is_empty() => Err(Wrong::Blank { column: name }),
            text => Ok(text),
        }
    }

    fn json<T: serde::de::DeserializeOwned>(
        &self,
        column: usize,
        name: &'static str,
    ) -> Result<T, Wrong> {
        serde_json::from_slice(self.field(column)).map_err(|error| Wrong::Json {
            column: name,
            error: error.to_string(),
        })
    }

    fn instances(&self) -> Result<Vec<InstanceId>, Wrong> {
        let mut places = self.layout.pairs(self.fields.len());
        let mut instances = Vec::with_capacity(places.len() / 2);
        while let (Some(node), Some(copy)) = (places.next(), places.next()) {
            instances.push(InstanceId {
                node_id: parse_id(self.fields.get(self.row, node), "node_id")?,
                physical_id: parse_id(self.fields.get(self.row, copy), "physical_id")?,
            });
        }
        Ok(instances)
    }

    fn summary(&self) -> Result<SampleSummary, Wrong> {
        let count: u64 = self.number(2, "count")?;
        let summary = SampleSummary {
            kind: self.metric(0)?,
            physical_id: self.id(1, "identifier")?,
            count,
            sum_nanos: self.nanos(3, "sum", LONGEST_NANOS.saturating_mul(count.max(1)))?,
            max_nanos: self.nanos(4, "max", LONGEST_NANOS)?,
        };
        let (sum, max) = (summary.sum_nanos as f64, summary.max_nanos as f64);
        // Both are rounded as floats are.
        let slack = 1.0 + 1e-9 * sum;
        if count == 0 || max > sum + slack || sum > max * count as f64 + slack {
            return Err(Wrong::Contradiction {
                count,
                sum: shown(self.field(3)),
                max: shown(self.field(4)),
            });
        }
        Ok(summary)
    }
}

fn parse_id<T: FromStr>(field: &[u8], column: &'static str) -> Result<T, Wrong> {
    std::str::from_utf8(field)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Wrong::Id {
            column,
            text: shown(field),
        })
}
