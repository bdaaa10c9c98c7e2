//! What `/metrics` shows of a domain.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::domain::Numbers;

/// Counters and gauges; clones share their values.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    nodes: Gauge,
    vertices: Gauge,
    waiting: Gauge,
    replicas: Gauge,
    flapping: Gauge,
    overfull: Gauge,
    /// Steps asked of nodes.
    pub steps: Counter,
    /// Steps that nodes refused or failed.
    pub failed_steps: Counter,
    /// Updates of nodes.
    pub updates: Counter,
    /// Updates that were refused, by what was wrong.
    refused_updates: Family<[(&'static str, String); 1], Counter>,
    /// Updates that came late or again.
    pub late_updates: Counter,
    /// Updates of a process whose id another one has taken.
    pub duplicate_nodes: Counter,
    /// Calls that nodes did not answer in time.
    pub unanswered: Counter,
    /// Answers of nodes that make no sense.
    pub wrong_answers: Counter,
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
        registry.register(
            "replicas",
            "Desired copies of vertices",
            self.replicas.clone(),
        );
        registry.register(
            "flapping_nodes",
            "Nodes that get nothing new for a while, as they came and went too often",
            self.flapping.clone(),
        );
        registry.register(
            "overfull_nodes",
            "Nodes that have more than they have room for, and from which it goes elsewhere if it can",
            self.overfull.clone(),
        );
        registry.register(
            "waiting",
            "Desired copies without a node",
            self.waiting.clone(),
        );
        registry.register("steps", "Steps asked of nodes", self.steps.clone());
        registry.register(
            "failed_steps",
            "Steps that failed",
            self.failed_steps.clone(),
        );
        registry.register("node_updates", "Updates of nodes", self.updates.clone());
        self.register_bad_nodes(&mut registry);
        registry.register(
            "dataset_rows_lost",
            "Rows that the disk refused for too long",
            self.dataset_rows_lost.clone(),
        );
        registry.register("intents", "Intents decided", self.intents.clone());
        registry
    }

    fn register_bad_nodes(&self, registry: &mut Registry) {
        registry.register(
            "refused_node_updates",
            "Updates of nodes that were refused, by the field that is wrong",
            self.refused_updates.clone(),
        );
        for (name, help, counter) in [
            (
                "late_node_updates",
                "Updates of nodes that came late or again",
                &self.late_updates,
            ),
            (
                "duplicate_node_updates",
                "Updates of a process whose node id another one has taken",
                &self.duplicate_nodes,
            ),
            (
                "unanswered_calls",
                "Calls that nodes did not answer, or not in time",
                &self.unanswered,
            ),
            (
                "wrong_answers",
                "Answers of nodes that make no sense",
                &self.wrong_answers,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
    }

    /// An update was refused because of a field, as in `running.instances[3].generation`; which item it
    /// was makes no difference.
    pub fn refused_update(&self, field: &str) {
        let mut name = String::new();
        let mut depth = 0;
        for letter in field.chars() {
            match letter {
                '[' => depth += 1,
                ']' => depth -= 1,
                _ if depth == 0 => name.push(letter),
                _ => {}
            }
        }
        self.refused_updates.get_or_create(&[("field", name)]).inc();
    }

    /// The numbers of the domain now.
    pub fn set(&self, numbers: Numbers) {
        let gauge = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.nodes.set(gauge(numbers.nodes));
        self.vertices.set(gauge(numbers.vertices));
        self.waiting.set(gauge(numbers.waiting));
        self.replicas.set(gauge(numbers.replicas));
        self.flapping.set(gauge(numbers.flapping));
        self.overfull.set(gauge(numbers.overfull));
    }
}
