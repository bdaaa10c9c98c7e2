//! What `/metrics` shows: counters are read when they are asked for, so that counting costs nothing.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use edgeless_dataflow::Drop;
use prometheus_client::{
    collector::Collector, encoding::DescriptorEncoder, metrics::MetricType, registry::Registry,
};

use crate::{agent::Agent, dataplane::DataPlane, host::Host, instances::Seen};

/// A registry that shows what a node counts.
pub(crate) fn registry(agent: Agent<Host>, plane: DataPlane, seen: &Seen) -> Arc<Registry> {
    let mut registry = Registry::with_prefix("edgeless_node");
    registry.register_collector(Box::new(Node { agent, plane }));
    registry.register_collector(Box::new(seen.clone()));
    Arc::new(registry)
}

struct Node {
    agent: Agent<Host>,
    plane: DataPlane,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").finish_non_exhaustive()
    }
}

type Counter<'a> = (&'static str, &'static str, &'a AtomicU64);

impl Node {
    #[rustfmt::skip]
    fn counters(&self) -> [Counter<'_>; 16] {
        let host = self.agent.host();
        let engine = host.engine.counters();
        let links = self.plane.counters();
        let resources = host.resources.counters();
        [
            ("events_handled", "Events that instances handled", &engine.handled),
            ("events_faulty", "Events that ended with an error, such as a trap", &engine.faults),
            ("calls_in_circles", "Calls that waited for themselves, and were answered with an error", &engine.circles),
            ("log_entries_lost", "Custom log entries that found no room among the samples", &engine.log_entries_lost),
            ("events_redelivered", "Messages sent once more, as nobody had acknowledged them", &engine.redelivered),
            ("link_sent", "Messages sent to other nodes", &links.sent),
            ("link_received", "Messages taken from other nodes", &links.received),
            ("link_in_doubt", "Messages sent on connections that broke", &links.in_doubt),
            ("link_connections", "Connections made to other nodes", &links.connections),
            ("http_egress_requests", "HTTP requests with a response", &resources.egress_requests),
            ("http_egress_errors", "HTTP requests without one", &resources.egress_errors),
            ("file_log_lines", "Lines written by file-log", &resources.lines_written),
            ("file_log_lines_lost", "Lines file-log could not write", &resources.lines_lost),
            ("redis_errors", "Messages a Redis server did not take", &resources.redis_errors),
            ("order_tasks", "Tasks of orders that order-source took", &resources.order_tasks),
            ("order_tasks_failed", "Tasks of orders that the function did not handle", &resources.order_tasks_failed),
        ]
    }
}

impl Collector for Node {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let host = self.agent.host();
        let engine = host.engine.counters();
        let links = self.plane.counters();
        let resources = host.resources.counters();
        encoder
            .encode_descriptor(
                "instances",
                "Functions and resources",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&(i64::try_from(self.agent.instances()).unwrap_or(i64::MAX)))?;
        encoder
            .encode_descriptor(
                "events_waiting",
                "What waits in the inboxes, in messages of up to 4 KiB",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&(i64::try_from(host.engine.waiting()).unwrap_or(i64::MAX)))?;
        for (name, help, counter) in self.counters() {
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<NoLabels, _, u64>(&counter.load(Ordering::Relaxed), None)?;
        }
        let drops = Drop::ALL.map(|(drop, reason)| (reason, engine.of(drop)));
        let of_links = [
            ("unreachable", &links.unreachable),
            ("malformed", &links.malformed),
        ];
        let drops = drops.into_iter().chain(of_links);
        family(
            &mut encoder,
            "events_dropped",
            "Messages dropped, by reason",
            "reason",
            drops,
        )?;
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
        let responses = classes.into_iter().zip(&resources.http_responses);
        family(
            &mut encoder,
            "http_responses",
            "Responses of http-ingress",
            "status",
            responses,
        )
    }
}

type NoLabels = [(&'static str, &'static str); 0];

fn family<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    counters: impl Iterator<Item = (&'a str, &'a AtomicU64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (value, counter) in counters {
        family
            .encode_family(&[(label, value)])?
            .encode_counter::<NoLabels, _, u64>(&counter.load(Ordering::Relaxed), None)?;
    }
    Ok(())
}
