//! What `/metrics` shows of orders. Taken when it is asked for: an ε-CON at rest does nothing.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::{Atomic, Counter},
        family::Family,
        gauge::Gauge,
    },
    registry::Registry,
};

use super::Orders;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfService {
    service: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfClient {
    client: String,
}

type Float = Gauge<f64, AtomicU64>;

/// The figures; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    active: Gauge,
    active_of_client: Family<OfClient, Gauge>,
    tasks_active: Gauge,
    resident: Gauge,
    accepted: Set,
    ended: Set,
    log_bytes: Set,
    log_syncs: Set,
    to_do: Family<OfService, Gauge>,
    waiting: Family<OfService, Gauge>,
    in_flight: Family<OfService, Gauge>,
    lines: Family<OfService, Gauge>,
    oldest: Family<OfService, Float>,
    took: Family<OfService, Float>,
    drain: Family<OfService, Float>,
    done: Family<OfService, Set>,
    missed: Family<OfService, Set>,
}

/// A counter whose value is counted elsewhere.
type Set = Counter<u64, Shared>;

/// Its place.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared(Arc<AtomicU64>);

impl Atomic<u64> for Shared {
    fn inc(&self) -> u64 {
        self.inc_by(1)
    }

    fn inc_by(&self, by: u64) -> u64 {
        self.0.fetch_add(by, Ordering::Relaxed)
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn set(counter: &Set, value: u64) {
    counter.inner().0.store(value, Ordering::Relaxed);
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Metrics {
    /// Figures that are shown by a registry.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let m = metrics.clone();
        registry.register(
            "orders_active",
            "Orders that have not come to their end",
            m.active,
        );
        let help = "Active orders by client";
        registry.register("orders_active_of_client", help, m.active_of_client);
        registry.register(
            "order_tasks_active",
            "Tasks that are handed out",
            m.tasks_active,
        );
        let help = "Bytes of orders in memory, about";
        registry.register("orders_resident_bytes", help, m.resident);
        registry.register(
            "orders_accepted",
            "Orders accepted since the start",
            m.accepted,
        );
        registry.register("orders_ended", "Orders that ended since the start", m.ended);
        registry.register("order_log_bytes", "Bytes written to the log", m.log_bytes);
        registry.register("order_log_syncs", "Syncs of the log", m.log_syncs);
        let help = "Tasks of active orders that are not done";
        registry.register("service_tasks_to_do", help, m.to_do);
        let help = "Tasks that could be handed out";
        registry.register("service_tasks_waiting", help, m.waiting);
        registry.register(
            "service_tasks_in_flight",
            "Tasks that are handed out",
            m.in_flight,
        );
        registry.register(
            "service_lines",
            "Sources and endpoints that take tasks",
            m.lines,
        );
        let help = "The age of the oldest order with a task that waits";
        registry.register("service_oldest_waiting_seconds", help, m.oldest);
        let help = "From handing out to the result, recent ones count more";
        registry.register("service_took_seconds", help, m.took);
        let help =
            "How long what is to do will take at the present rate; -1: nothing is being done";
        registry.register("service_drain_seconds", help, m.drain);
        registry.register("service_tasks_done", "Tasks done since the start", m.done);
        let help = "Attempts in vain since the start";
        registry.register("service_tasks_missed", help, m.missed);
        metrics
    }

    /// Takes the figures of now.
    pub async fn refresh(&self, orders: &Orders) {
        let Some(figures) = orders.figures().await else {
            return;
        };
        let kept = orders.0.kept.borrow().clone();
        self.active.set(gauge(figures.active_orders));
        self.tasks_active.set(gauge(figures.active_tasks));
        self.resident.set(gauge(figures.resident_bytes));
        set(&self.accepted, figures.accepted);
        set(&self.ended, figures.ended);
        set(&self.log_bytes, kept.bytes);
        set(&self.log_syncs, kept.syncs);
        self.active_of_client.clear();
        for (client, active) in figures.clients {
            let client = client.to_string();
            self.active_of_client
                .get_or_create(&OfClient { client })
                .set(gauge(active));
        }
        for (name, of) in figures.services {
            let service = name.to_string();
            let labels = OfService { service };
            self.to_do.get_or_create(&labels).set(gauge(of.tasks_to_do));
            self.waiting.get_or_create(&labels).set(gauge(of.waiting));
            self.in_flight
                .get_or_create(&labels)
                .set(gauge(of.in_flight));
            self.lines.get_or_create(&labels).set(gauge(of.lines));
            self.oldest.get_or_create(&labels).set(of.oldest_waiting_s);
            self.took.get_or_create(&labels).set(of.took_ms / 1e3);
            self.drain
                .get_or_create(&labels)
                .set(of.drain_s.unwrap_or(-1.0));
            set(&self.done.get_or_create(&labels), of.done);
            set(&self.missed.get_or_create(&labels), of.missed);
        }
    }
}
