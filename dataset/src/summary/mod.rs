//! Figures of a dataset: per function and node, in one pass and in bounded memory.

mod figures;
mod nodes;
mod placements;
mod scaling;
mod times;

pub use figures::{
    Figures, FunctionFigures, NodeFigures, PlacementFigures, Quantiles, ScalingFigures, Span,
};
pub use placements::{Interval, Placements};
pub use scaling::MAX_KINDS;

use edgeless_tables::Table;
use edgeless_types::{LogicalId, NodeId, PhysicalId, SampleKind, Timestamp};
use rustc_hash::FxHashMap;

use crate::row::Row;

use self::{nodes::Nodes, scaling::Scaling, times::Times};

/// Instances of which is known what they are copies of; samples of further ones count as those of
/// instances that no row of the mapping names.
pub const MAX_INSTANCES: usize = 1 << 20;
/// Pairs of function and node whose times are kept apart; those of further ones are put together.
/// Each takes some ten KiB.
pub const MAX_GROUPS: usize = 2_048;
/// Functions whose placements and names, and nodes whose health, are kept; rows of further ones are counted only.
pub const MAX_NAMED: usize = 1 << 16;

/// Characters of the name of a function or resource.
const LONGEST_NAME: usize = 80;

/// The order in which the tables are wanted: the mapping says whose the samples are.
pub const ORDER: [Table; 8] = [
    Table::Vertices,
    Table::MappingToInstanceId,
    Table::Capabilities,
    Table::HealthStatus,
    Table::PerformanceSamples,
    Table::SampleSummaries,
    Table::ApplicationLogs,
    Table::ScalingDecisions,
];

/// Whose times these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// A function's on a node.
    Of(LogicalId, NodeId),
    /// Of instances that no row of the mapping names.
    Unknown,
    /// Of those for which there was no room.
    Others,
}

/// All figures, while rows come.
#[derive(Debug, Default)]
pub struct Summary {
    homes: FxHashMap<PhysicalId, (LogicalId, NodeId)>,
    instances_left_out: u64,
    groups: Vec<(Group, Times)>,
    by_group: FxHashMap<Group, usize>,
    /// The group of an instance, found once.
    by_instance: FxHashMap<PhysicalId, usize>,
    rows_of_others: u64,
    placements: Placements,
    nodes: Nodes,
    scaling: Scaling,
    /// Names of functions and resources in their workflows.
    names: FxHashMap<LogicalId, String>,
    rows: [u64; Table::ALL.len()],
    first: Option<Timestamp>,
    last: Timestamp,
    first_sample: Option<Timestamp>,
    last_sample: Timestamp,
}

impl Summary {
    /// Takes a row; tables come in the order of [`ORDER`]. `run` says of which run it is, see
    /// [`crate::reader::Reader::run`].
    pub fn take(&mut self, row: &Row, run: impl FnOnce() -> String) {
        let at = row.at();
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.last = self.last.max(at);
        self.rows[table(row) as usize] += 1;
        match row {
            Row::Health {
                at,
                node_id,
                health,
            } => self.nodes.health(*at, *node_id, health),
            Row::Capabilities {
                node_id,
                capabilities,
                ..
            } => self.nodes.capabilities(*node_id, capabilities),
            Row::Mapping {
                at,
                logical_id,
                instances,
            } => {
                for instance in instances {
                    self.home(instance.physical_id, *logical_id, instance.node_id);
                }
                self.placements
                    .place(*at, *logical_id, instances, &mut |_| {});
            }
            Row::Sample(sample) => {
                self.sampled(at);
                let times = self.times(sample.physical_id);
                times.record(sample.kind, sample.nanos);
            }
            Row::Summary { summary, .. } => self.times(summary.physical_id).summarised(summary),
            Row::Log(entry) => self.times(entry.physical_id).logs += 1,
            Row::Scaling(decision) => self.scaling.decided(&run(), decision),
            Row::Vertex(vertex) => {
                let known = self.names.contains_key(&vertex.logical_id);
                if known || self.names.len() < MAX_NAMED {
                    let name = vertex.name.chars().take(LONGEST_NAME).collect();
                    self.names.insert(vertex.logical_id, name);
                }
            }
        }
    }

    /// Which function an instance is a copy of, and its node.
    pub fn home_of(&self, physical_id: PhysicalId) -> Option<(LogicalId, NodeId)> {
        self.homes.get(&physical_id).copied()
    }

    /// The name of a function or resource in its workflow, where a row says it.
    pub fn name_of(&self, logical_id: LogicalId) -> Option<String> {
        self.names.get(&logical_id).cloned()
    }

    /// The figures of all rows so far.
    pub fn figures(&self) -> Figures {
        Figures::of(self)
    }

    fn sampled(&mut self, at: Timestamp) {
        self.first_sample = Some(self.first_sample.map_or(at, |first| first.min(at)));
        self.last_sample = self.last_sample.max(at);
    }

    fn home(&mut self, physical_id: PhysicalId, logical_id: LogicalId, node_id: NodeId) {
        let known = self.homes.contains_key(&physical_id);
        match known || self.homes.len() < MAX_INSTANCES {
            true => {
                self.homes.insert(physical_id, (logical_id, node_id));
            }
            false => self.instances_left_out += 1,
        }
    }

    fn times(&mut self, physical_id: PhysicalId) -> &mut Times {
        let index = match self.by_instance.get(&physical_id) {
            Some(&index) => index,
            None => self.find(physical_id),
        };
        if self.groups[index].0 == Group::Others {
            self.rows_of_others += 1;
        }
        &mut self.groups[index].1
    }

    fn find(&mut self, physical_id: PhysicalId) -> usize {
        let group = match self.home_of(physical_id) {
            Some((logical_id, node_id)) => Group::Of(logical_id, node_id),
            None => Group::Unknown,
        };
        let full = self.groups.len() >= MAX_GROUPS && !self.by_group.contains_key(&group);
        let group = match (full, group) {
            (true, Group::Of(..)) => Group::Others,
            (_, group) => group,
        };
        let groups = &mut self.groups;
        let index = *self.by_group.entry(group).or_insert_with(|| {
            groups.push((group, Times::default()));
            groups.len() - 1
        });
        if self.by_instance.len() < MAX_INSTANCES {
            self.by_instance.insert(physical_id, index);
        }
        index
    }
}

/// The table a row is of.
fn table(row: &Row) -> Table {
    match row {
        Row::Health { .. } => Table::HealthStatus,
        Row::Capabilities { .. } => Table::Capabilities,
        Row::Mapping { .. } => Table::MappingToInstanceId,
        Row::Sample(_) => Table::PerformanceSamples,
        Row::Log(_) => Table::ApplicationLogs,
        Row::Summary { .. } => Table::SampleSummaries,
        Row::Scaling(_) => Table::ScalingDecisions,
        Row::Vertex(_) => Table::Vertices,
    }
}

/// Which of two times.
const fn metric(kind: SampleKind) -> usize {
    match kind {
        SampleKind::FunctionExecutionTime => 0,
        SampleKind::FunctionTransferTime => 1,
    }
}
