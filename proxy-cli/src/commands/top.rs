//! `proxy_cli top`: execution and transfer times of the last minute.

use std::{collections::BTreeMap, time::Duration};

use clap::Subcommand;
use edgeless_daemon::show::Rows;
use edgeless_types::{
    NodeId, PhysicalId, SampleKind, Timestamp, WorkflowId,
    mirror::{self, ActiveInstance, RunningSince},
};
use serde_json::{Value, json};

use super::{CommandError, instances::Instances, show::instances_by_node};
use crate::{domain::Domain, source::Source};

/// The time over which is measured.
const WINDOW: Duration = Duration::from_secs(60);

/// By what the times are summed up.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Top {
    /// Nodes, with their load
    Nodes,
    /// Workflows, and which function limits each, why, and what is done about it
    Workflow,
    /// Functions and resources
    Functions,
    /// What runs on one node, with its queues and rates
    Instances {
        /// The status port of the node, such as http://127.0.0.1:7023
        #[arg(long, value_name = "URL")]
        node_url: String,
    },
}

/// The times of one instance or of several, in seconds.
#[derive(Clone, Debug, Default, PartialEq)]
struct Times {
    execution: Vec<f64>,
    transfer: Vec<f64>,
}

type Measured = BTreeMap<PhysicalId, Times>;

/// Sums up the minute before `now`.
pub(crate) async fn top(
    source: &mut Source,
    by: &Top,
    now: Timestamp,
) -> Result<Rows, CommandError> {
    let mut domain = Domain::load(source).await?;
    let since = now - WINDOW;
    let measured = measure(source, &domain, since).await?;
    Ok(match by {
        Top::Nodes => {
            domain.load_health(source, since).await?;
            nodes(&domain, &measured)
        }
        Top::Workflow => workflows(&domain, &measured),
        Top::Functions => functions(&domain, &measured),
        Top::Instances { node_url } => Instances::new(node_url).look().await?,
    })
}

async fn measure(
    source: &mut Source,
    domain: &Domain,
    since: Timestamp,
) -> Result<Measured, CommandError> {
    let ids: Vec<PhysicalId> = copies(domain).map(|(_, copy)| copy.physical_id).collect();
    let keys = |kind: SampleKind| -> Vec<String> {
        let key = |&id: &PhysicalId| mirror::performance_key(kind.name(), id);
        ids.iter().map(key).collect()
    };
    let execution_keys = keys(SampleKind::FunctionExecutionTime);
    let transfer_keys = keys(SampleKind::FunctionTransferTime);
    let execution = source.samples(&execution_keys, since).await?;
    let transfer = source.samples(&transfer_keys, since).await?;
    let times = execution
        .iter()
        .zip(&transfer)
        .map(|(execution, transfer)| Times {
            execution: execution.iter().filter_map(|member| secs(member)).collect(),
            transfer: transfer.iter().filter_map(|member| secs(member)).collect(),
        });
    Ok(ids.iter().copied().zip(times).collect())
}

/// The value of an element `timestamp:value`.
fn secs(member: &str) -> Option<f64> {
    let (_, value) = member.split_once(':')?;
    value.parse().ok().filter(|secs: &f64| secs.is_finite())
}

/// All running copies with what they are copies of.
fn copies(domain: &Domain) -> impl Iterator<Item = (&ActiveInstance, &RunningSince)> {
    let of = |active| {
        let active: &ActiveInstance = active;
        active.instances.iter().map(move |copy| (active, copy))
    };
    domain.instances.values().flat_map(of)
}

impl Times {
    fn extend(&mut self, other: Option<&Self>) {
        if let Some(other) = other {
            self.execution.extend(&other.execution);
            self.transfer.extend(&other.transfer);
        }
    }

    /// Number of events, then p50 and p99 of execution and of transfer, in milliseconds.
    fn cells(mut self) -> [Value; 5] {
        let [execution_50, execution_99] = quantiles(&mut self.execution);
        let [transfer_50, transfer_99] = quantiles(&mut self.transfer);
        [
            json!(self.execution.len()),
            execution_50,
            execution_99,
            transfer_50,
            transfer_99,
        ]
    }
}

/// The median and the 99th percentile (nearest rank) in milliseconds; nothing of nothing.
fn quantiles(secs: &mut [f64]) -> [Value; 2] {
    secs.sort_by(f64::total_cmp);
    [50, 99].map(|percent| {
        let rank = (secs.len() * percent).div_ceil(100);
        let at = secs.get(rank.saturating_sub(1));
        json!(at.map(|secs| (secs * 1e6).round() / 1e3))
    })
}

fn nodes(domain: &Domain, measured: &Measured) -> Rows {
    let mut by_node: BTreeMap<NodeId, Times> = BTreeMap::new();
    for (_, copy) in copies(domain) {
        let times = by_node.entry(copy.node_id).or_default();
        times.extend(measured.get(&copy.physical_id));
    }
    let mut rows = Rows::new(&[
        "node_id",
        "instances",
        "load_avg_1_percent",
        "mem_available_mib",
        "events",
        "execution_p50_ms",
        "execution_p99_ms",
        "transfer_p50_ms",
        "transfer_p99_ms",
    ]);
    let numbers = instances_by_node(domain);
    for node_id in domain.nodes.keys() {
        let health = domain.health.get(node_id).map(|member| &member.health);
        let mut cells = vec![
            json!(node_id),
            json!(numbers.get(node_id).unwrap_or(&0)),
            json!(health.map(|health| health.load_avg_1)),
            json!(health.map(|health| health.mem_available)),
        ];
        cells.extend(by_node.remove(node_id).unwrap_or_default().cells());
        rows.push(cells);
    }
    rows
}

fn workflows(domain: &Domain, measured: &Measured) -> Rows {
    let mut by_workflow: BTreeMap<WorkflowId, (usize, usize, Times)> = BTreeMap::new();
    for active in domain.instances.values() {
        let (vertices, running, times) = by_workflow.entry(active.workflow_id).or_default();
        *vertices += 1;
        *running += usize::from(!active.instances.is_empty());
        for copy in &active.instances {
            times.extend(measured.get(&copy.physical_id));
        }
    }
    let mut rows = Rows::new(&[
        "workflow_id",
        "vertices",
        "running",
        "events",
        "execution_p50_ms",
        "execution_p99_ms",
        "transfer_p50_ms",
        "transfer_p99_ms",
        "limited_by",
        "cause",
        "why",
        "action",
    ]);
    for (workflow_id, (vertices, running, times)) in by_workflow {
        let mut cells = vec![json!(workflow_id), json!(vertices), json!(running)];
        cells.extend(times.cells());
        let found = domain.bottlenecks.get(&workflow_id);
        let limits = found.filter(|it| it.limits);
        cells.push(json!(limits.map(|it| &it.name)));
        cells.push(json!(limits.map(|it| &it.cause)));
        cells.push(json!(found.map(|it| &it.why)));
        cells.push(json!(limits.map(|it| &it.action)));
        rows.push(cells);
    }
    rows
}

fn functions(domain: &Domain, measured: &Measured) -> Rows {
    let mut rows = Rows::new(&[
        "logical_id",
        "name",
        "class",
        "node_id",
        "events",
        "execution_p50_ms",
        "execution_p99_ms",
        "transfer_p50_ms",
        "transfer_p99_ms",
    ]);
    for (active, copy) in copies(domain) {
        let mut cells = vec![
            json!(active.logical_id),
            json!(active.spec.name()),
            json!(active.spec.class()),
            json!(copy.node_id),
        ];
        let times = measured.get(&copy.physical_id).cloned();
        cells.extend(times.unwrap_or_default().cells());
        rows.push(cells);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, NOW, RedisServer};

    #[test]
    fn percentiles_are_of_the_nearest_rank_in_milliseconds() {
        let mut secs: Vec<f64> = (1..=100).rev().map(|ms| f64::from(ms) / 1e3).collect();
        assert_eq!(quantiles(&mut secs), [json!(50.0), json!(99.0)]);
        assert_eq!(quantiles(&mut [0.0005]), [json!(0.5), json!(0.5)]);
        assert_eq!(quantiles(&mut []), [json!(null), json!(null)]);
    }

    #[test]
    fn an_element_without_a_number_is_passed_over() {
        assert_eq!(secs("1700000000.000000005:0.25"), Some(0.25));
        for bad in ["", "1.0", "1.0:x", "1.0:NaN"] {
            assert_eq!(secs(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn times_of_the_last_minute_are_summed_up_by_node_workflow_and_function() {
        let server = RedisServer::with_domain().await;
        let url = testing::status_port().await;
        for mut source in [
            Source::redis(&server.url).await.unwrap(),
            Source::http(&url).await.unwrap(),
        ] {
            for by in [Top::Nodes, Top::Workflow, Top::Functions] {
                let rows = top(&mut source, &by, NOW).await.unwrap().rows;
                let behind = match by {
                    Top::Workflow => 4,
                    Top::Nodes | Top::Functions | Top::Instances { .. } => 0,
                };
                let end = rows[0].len() - behind;
                let times = &rows[0][end - 5..end];
                assert_eq!(
                    *times,
                    [json!(1), json!(2.0), json!(2.0), json!(1.0), json!(1.0)]
                );
                let later = top(&mut source, &by, NOW + WINDOW).await.unwrap().rows;
                assert_eq!(later[0][end - 5], json!(0), "{by:?}");
                if matches!(by, Top::Workflow) {
                    let found = [
                        json!("count"),
                        json!("rate"),
                        json!("too much"),
                        json!("wait"),
                    ];
                    assert_eq!(rows[0][end..], found);
                }
            }
        }
    }
}
