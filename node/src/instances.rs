//! What `/metrics` shows of single instances: queues, events, times by operator and by edge.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use edgeless_daemon::status::Refresh;
use edgeless_dataflow::{OperatorView, Times};
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, metrics::MetricType};

use crate::{agent::Agent, host::Host};

/// Instances that are shown; `instances_not_shown` says how many more there are.
const SHOWN: usize = 500;

/// What instances did, as it was when metrics were asked for.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<OperatorView>>>);

impl Seen {
    /// Looks at all instances anew.
    pub(crate) fn refresh(&self, agent: Agent<Host>) -> Refresh {
        let seen = self.clone();
        Refresh(Arc::new(move || {
            let (seen, agent) = (seen.clone(), agent.clone());
            Box::pin(async move {
                let mut views = agent.host().engine.inspect().await;
                views.sort_by_key(|view| view.physical_id);
                *seen.0.lock().unwrap_or_else(PoisonError::into_inner) = views;
            })
        }))
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seen").finish_non_exhaustive()
    }
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

/// One family: its name, its help, its type, and values with labels.
struct Family<'a> {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    values: Vec<(Labels<'a>, f64)>,
}

impl Collector for Seen {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<String> = views.iter().map(|it| it.physical_id.to_string()).collect();
        let shown = || views.iter().zip(&names).take(SHOWN);
        let mut families = Vec::new();
        for (name, help, kind, value) in SIMPLE {
            let values = shown().map(|(view, id)| (vec![("instance", id.as_str())], value(view)));
            families.push(Family {
                name,
                help,
                kind,
                values: values.collect(),
            });
        }
        let mut execution = Vec::new();
        for (view, id) in shown() {
            quantiles(&mut execution, &[("instance", id)], view.execution);
        }
        families.push(Family {
            name: "instance_execution_seconds",
            help: "How long events took, by quantile",
            kind: MetricType::Gauge,
            values: execution,
        });
        let sources: Vec<Vec<String>> = shown().map(|(view, _)| sources(view)).collect();
        let edges = shown().zip(&sources).flat_map(|((view, id), sources)| {
            let edges = view.edges.iter().zip(sources);
            edges.map(move |(edge, source)| (id.as_str(), source.as_str(), edge))
        });
        let (mut events, mut transfer) = (Vec::new(), Vec::new());
        for (id, source, edge) in edges {
            let labels = [("instance", id), ("source", source)];
            events.push((labels.to_vec(), edge.transfer.count as f64));
            quantiles(&mut transfer, &labels, edge.transfer);
        }
        families.push(Family {
            name: "edge_events",
            help: "Events handled, by the instance that sent them",
            kind: MetricType::Counter,
            values: events,
        });
        families.push(Family {
            name: "edge_transfer_seconds",
            help: "From the creation of events to the start of their handling, by quantile",
            kind: MetricType::Gauge,
            values: transfer,
        });
        let more = views.len().saturating_sub(SHOWN) as f64;
        families.push(Family {
            name: "instances_not_shown",
            help: "Instances beyond those whose metrics are shown",
            kind: MetricType::Gauge,
            values: vec![(Vec::new(), more)],
        });
        families.iter().try_for_each(|it| it.encode(&mut encoder))
    }
}

/// A metric with one value per instance.
type Simple = (
    &'static str,
    &'static str,
    MetricType,
    fn(&OperatorView) -> f64,
);

const SIMPLE: [Simple; 6] = [
    (
        "instance_events",
        "Events handled",
        MetricType::Counter,
        |it| it.execution.count as f64,
    ),
    (
        "instance_faults",
        "Events that ended with an error",
        MetricType::Counter,
        |it| it.faults as f64,
    ),
    (
        "instance_queued",
        "Messages that wait to be handled",
        MetricType::Gauge,
        |it| it.queued as f64,
    ),
    (
        "instance_parked",
        "Messages that could not be sent yet",
        MetricType::Gauge,
        |it| it.parked as f64,
    ),
    (
        "instance_outstanding",
        "Messages sent at least once that are not acknowledged",
        MetricType::Gauge,
        |it| it.outstanding as f64,
    ),
    (
        "instance_held",
        "Messages on channels that lead to no instance now",
        MetricType::Gauge,
        |it| {
            it.channels
                .iter()
                .map(|channel| channel.held)
                .sum::<usize>() as f64
        },
    ),
];

fn sources(view: &OperatorView) -> Vec<String> {
    let name = |source: Option<_>| source.map_or("others".to_owned(), |it| format!("{it}"));
    view.edges.iter().map(|edge| name(edge.source)).collect()
}

fn quantiles<'a>(
    values: &mut Vec<(Labels<'a>, f64)>,
    labels: &[(&'static str, &'a str)],
    times: Times,
) {
    if times.count == 0 {
        return;
    }
    let quantiles = [
        ("0.5", times.p50_nanos),
        ("0.9", times.p90_nanos),
        ("0.99", times.p99_nanos),
        ("1", times.max_nanos),
    ];
    for (quantile, nanos) in quantiles {
        let labels = [labels, &[("quantile", quantile)]].concat();
        values.push((labels, nanos as f64 / 1e9));
    }
}

impl Family<'_> {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        if self.values.is_empty() {
            return Ok(());
        }
        let mut family = encoder.encode_descriptor(self.name, self.help, None, self.kind)?;
        for (labels, value) in &self.values {
            let mut metric = family.encode_family(labels)?;
            match self.kind {
                MetricType::Counter => metric.encode_counter::<NoLabels, _, u64>(value, None)?,
                _ => metric.encode_gauge(value)?,
            }
        }
        Ok(())
    }
}

type NoLabels = [(&'static str, &'static str); 0];
