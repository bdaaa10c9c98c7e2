//! What `/metrics` shows of a domain.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

use crate::domain::Numbers;

/// Counters and gauges; clones share their values.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    nodes: Gauge,
    vertices: Gauge,
    waiting: Gauge,
    /// Steps asked of nodes.
    pub steps: Counter,
    /// Steps that nodes refused or failed.
    pub failed_steps: Counter,
    /// Updates of nodes.
    pub updates: Counter,
    /// Intents carried out or refused.
    pub intents: Counter,
    /// Rows of datasets that the disk refused for too long.
    pub dataset_rows_lost: Counter,
}

impl Metrics {
    /// A registry with all of them.
    pub fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("edgeless_orc");
        registry.register("nodes", "Registered nodes", self.nodes.clone());
        registry.register(
            "vertices",
            "Desired functions and resources",
            self.vertices.clone(),
        );
        registry.register("waiting", "Desired, but not running", self.waiting.clone());
        registry.register("steps", "Steps asked of nodes", self.steps.clone());
        registry.register(
            "failed_steps",
            "Steps that failed",
            self.failed_steps.clone(),
        );
        registry.register("node_updates", "Updates of nodes", self.updates.clone());
        registry.register(
            "dataset_rows_lost",
            "Rows that the disk refused for too long",
            self.dataset_rows_lost.clone(),
        );
        registry.register("intents", "Intents decided", self.intents.clone());
        registry
    }

    /// The numbers of the domain now.
    pub fn set(&self, numbers: Numbers) {
        let gauge = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.nodes.set(gauge(numbers.nodes));
        self.vertices.set(gauge(numbers.vertices));
        self.waiting.set(gauge(numbers.waiting));
    }
}
