//! The figures of a summary, as JSON has them.

use edgeless_tables::Table;
use edgeless_types::{LogicalId, NodeId, Timestamp};
use serde::Serialize;

use super::{Group, Summary, times::Metric};

/// All figures of a dataset.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// From the first to the last timestamp of all rows; none without rows.
    pub span: Option<Span>,
    /// From the first to the last sample; rates are over this time.
    pub sampled: Option<Span>,
    /// Rows by table.
    pub rows: Vec<(&'static str, u64)>,
    /// Per function and node; most executions first.
    pub functions: Vec<FunctionFigures>,
    /// Per function; by id.
    pub placements: Vec<PlacementFigures>,
    /// Per node; by id.
    pub nodes: Vec<NodeFigures>,
    /// Decisions about the number of copies, per run and function; by both.
    pub scaling: Vec<ScalingFigures>,
    /// What did not fit into the memory that a summary may take.
    pub left_out: LeftOut,
}

/// A span of time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Span {
    /// Its beginning.
    pub first: Timestamp,
    /// Its end.
    pub last: Timestamp,
    /// Its length in seconds.
    pub secs: f64,
}

/// Rows that are not in the figures, because of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Mentions of instances in the mapping beyond [`super::MAX_INSTANCES`].
    pub instances: u64,
    /// Rows of groups beyond [`super::MAX_GROUPS`]; they are in the group `others`.
    pub rows_of_others: u64,
    /// Rows of the mapping beyond [`super::MAX_NAMED`] functions.
    pub placements: u64,
    /// Rows of nodes beyond [`super::MAX_NAMED`].
    pub nodes: u64,
    /// Decisions about functions beyond [`super::MAX_NAMED`].
    pub decisions: u64,
}

/// A distribution of times, in seconds. Quantiles are of samples, right to a hundredth; mean and max
/// are also of what was only summarised.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// Half are shorter.
    pub p50: Option<f64>,
    /// Nine of ten are shorter.
    pub p90: Option<f64>,
    /// 99 of a hundred are shorter.
    pub p99: Option<f64>,
    /// The mean.
    pub mean: f64,
    /// The longest.
    pub max: f64,
}

/// A function on a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FunctionFigures {
    /// The function; none where no row of the mapping names its instances, or for `others`.
    pub logical_id: Option<LogicalId>,
    /// Its name in its workflow, where it is recorded.
    pub name: Option<String>,
    /// The node.
    pub node_id: Option<NodeId>,
    /// `function`, `unknown` (instances that the mapping does not name) or `others` (beyond the limit).
    pub group: &'static str,
    /// Events handled, with those that were only summarised.
    pub executions: u64,
    /// Per second over the time that was sampled.
    pub rate: Option<f64>,
    /// How long handling took.
    pub execution: Option<Quantiles>,
    /// From creation to handling.
    pub transfer: Option<Quantiles>,
    /// Execution times that did not fit into a refresh and were only summarised.
    pub executions_summarised: u64,
    /// The same of transfer times.
    pub transfers_summarised: u64,
    /// Entries of the log.
    pub logs: u64,
}

/// Where a function or resource ran.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlacementFigures {
    /// The function or resource.
    pub logical_id: LogicalId,
    /// Its name in its workflow, where it is recorded.
    pub name: Option<String>,
    /// Instances at the end.
    pub instances: usize,
    /// Most instances at once.
    pub most_instances: usize,
    /// Instances that appeared.
    pub starts: u64,
    /// Instances that disappeared.
    pub stops: u64,
    /// Nodes it ran on.
    pub nodes: usize,
    /// Seconds that its instances ran, added up.
    pub instance_secs: f64,
}

/// How a node was.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NodeFigures {
    /// The node.
    pub node_id: NodeId,
    /// Cores, where capabilities are recorded.
    pub cores: Option<u32>,
    /// Health reports.
    pub reports: u64,
    /// The longest time between two of them, in seconds.
    pub longest_silence_secs: f64,
    /// Use of the processor by the agent, percent of one core: mean.
    pub cpu_mean: Option<f64>,
    /// The same: most.
    pub cpu_max: u32,
    /// Most memory in use, MiB.
    pub mem_used_max_mib: u64,
    /// Least memory available, MiB.
    pub mem_available_min_mib: Option<u64>,
    /// Highest load average over a minute.
    pub load_max: f64,
}

/// What was decided about the number of copies of a function in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScalingFigures {
    /// The run; empty where there is only one.
    pub run: String,
    /// The function.
    pub logical_id: LogicalId,
    /// Its name in its workflow, where it is recorded.
    pub name: Option<String>,
    /// The policy that decided last.
    pub policy: String,
    /// Decisions for more copies.
    pub up: u64,
    /// Decisions for fewer.
    pub down: u64,
    /// Most copies that were decided.
    pub most: u32,
    /// Kinds of reasons, with `…` for numbers, and how many decisions had them; the most frequent first. At most
    /// [`super::MAX_KINDS`] are told apart.
    pub reasons: Vec<(String, u64)>,
}

impl ScalingFigures {
    /// All decisions.
    pub fn decisions(&self) -> u64 {
        self.reasons.iter().map(|(_, number)| number).sum()
    }
}

impl Span {
    fn of(first: Option<Timestamp>, last: Timestamp) -> Option<Self> {
        let first = first?;
        let secs = last.since(first).as_secs_f64();
        Some(Self { first, last, secs })
    }
}

impl Figures {
    pub(super) fn of(summary: &Summary) -> Self {
        let sampled = Span::of(summary.first_sample, summary.last_sample);
        let span = Span::of(summary.first, summary.last);
        let mut functions: Vec<FunctionFigures> = summary
            .groups
            .iter()
            .map(|(group, times)| {
                let [execution, transfer] = &times.metrics;
                let executions = execution.samples + execution.summarised;
                let (logical_id, node_id, group) = match *group {
                    Group::Of(logical_id, node_id) => (Some(logical_id), Some(node_id), "function"),
                    Group::Unknown => (None, None, "unknown"),
                    Group::Others => (None, None, "others"),
                };
                let secs = sampled.map(|span| span.secs).filter(|&secs| secs > 0.0);
                FunctionFigures {
                    logical_id,
                    name: logical_id.and_then(|it| summary.name_of(it)),
                    node_id,
                    group,
                    executions,
                    rate: secs.map(|secs| executions as f64 / secs),
                    execution: quantiles(execution),
                    transfer: quantiles(transfer),
                    executions_summarised: execution.summarised,
                    transfers_summarised: transfer.summarised,
                    logs: times.logs,
                }
            })
            .collect();
        functions.sort_by_key(|one| {
            let most_first = std::cmp::Reverse(one.executions);
            (most_first, one.logical_id, one.node_id)
        });
        let rows = Table::ALL.map(|table| (table.file_name(), summary.rows[table as usize]));
        Self {
            span,
            sampled,
            rows: rows.into(),
            functions,
            placements: placements(summary),
            nodes: nodes(summary),
            scaling: scaling(summary),
            left_out: LeftOut {
                instances: summary.instances_left_out,
                rows_of_others: summary.rows_of_others,
                placements: summary.placements.rows_left_out,
                nodes: summary.nodes.rows_left_out,
                decisions: summary.scaling.rows_left_out,
            },
        }
    }
}

fn quantiles(metric: &Metric) -> Option<Quantiles> {
    let number = metric.samples + metric.summarised;
    if number == 0 {
        return None;
    }
    let max = metric.max_nanos;
    let at = |quantile| {
        let histogram = metric.histogram.as_ref()?;
        // The end of a bucket may lie beyond the largest value.
        Some(histogram.value_at_quantile(quantile).min(max) as f64 / 1e9)
    };
    Some(Quantiles {
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        mean: metric.sum_nanos / number as f64 / 1e9,
        max: max as f64 / 1e9,
    })
}

fn placements(summary: &Summary) -> Vec<PlacementFigures> {
    let end = summary.last;
    let by_function = summary.placements.by_function.iter();
    by_function
        .map(|(&logical_id, placed)| {
            let running = placed.running.values();
            let until_end = running.map(|(_, from)| end.since(*from).as_secs_f64());
            PlacementFigures {
                logical_id,
                name: summary.name_of(logical_id),
                instances: placed.running.len(),
                most_instances: placed.most,
                starts: placed.starts,
                stops: placed.stops,
                nodes: placed.nodes.len(),
                instance_secs: placed.secs + until_end.sum::<f64>(),
            }
        })
        .collect()
}

fn scaling(summary: &Summary) -> Vec<ScalingFigures> {
    let by_function = summary.scaling.by_function.iter();
    by_function
        .map(|((run, logical_id), decided)| ScalingFigures {
            run: run.clone(),
            logical_id: *logical_id,
            name: summary.name_of(*logical_id),
            policy: decided.policy.clone(),
            up: decided.up,
            down: decided.down,
            most: decided.most,
            reasons: summary.scaling.reasons(decided),
        })
        .collect()
}

fn nodes(summary: &Summary) -> Vec<NodeFigures> {
    let by_id = summary.nodes.by_id.iter();
    by_id
        .map(|(&node_id, node)| {
            let reports = node.reports;
            NodeFigures {
                node_id,
                cores: node.cores,
                reports,
                longest_silence_secs: node.longest_silence.as_secs_f64(),
                cpu_mean: (reports > 0).then(|| node.cpu_sum as f64 / reports as f64),
                cpu_max: node.cpu_max,
                mem_used_max_mib: node.mem_used_max,
                mem_available_min_mib: node.mem_available_min,
                load_max: f64::from(node.load_max) / 100.0,
            }
        })
        .collect()
}
