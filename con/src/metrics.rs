//! What `/metrics` shows of ε-CON.

use std::time::Duration;

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{problem::Refusal, status::WorkflowStatus};

/// The figures; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    accepted: Counter,
    refused: Counter,
    stopped: Counter,
    moved: Counter,
    start_seconds: Histogram,
    domains: Gauge,
    workflows: Gauge,
    stand_by: Gauge,
}

impl Metrics {
    /// Figures that are shown by a registry.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            accepted: Counter::default(),
            refused: Counter::default(),
            stopped: Counter::default(),
            moved: Counter::default(),
            start_seconds: Histogram::new([
                0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0,
            ]),
            domains: Gauge::default(),
            workflows: Gauge::default(),
            stand_by: Gauge::default(),
        };
        let Self {
            accepted,
            refused,
            stopped,
            moved,
            start_seconds,
            domains,
            workflows,
            stand_by,
        } = metrics.clone();
        registry.register("workflows_accepted", "Workflows accepted", accepted);
        registry.register("workflows_refused", "Workflows refused", refused);
        registry.register("workflows_stopped", "Workflows stopped", stopped);
        let help = "Workflows that were put into a domain after they had been accepted";
        registry.register("workflows_moved", help, moved);
        let help = "From the request to the answer of an accepted workflow";
        registry.register("workflow_start_seconds", help, start_seconds);
        registry.register("domains", "Domains that are there", domains);
        registry.register("workflows", "Workflows that are desired", workflows);
        let help = "Workflows that are in no domain";
        registry.register("workflows_in_stand_by", help, stand_by);
        metrics
    }

    /// A workflow was asked for.
    pub(crate) fn started(&self, started: &Result<WorkflowStatus, Refusal>, took: Duration) {
        match started {
            Ok(_) => {
                self.accepted.inc();
                self.start_seconds.observe(took.as_secs_f64());
            }
            Err(_) => {
                self.refused.inc();
            }
        }
    }

    /// A workflow was stopped.
    pub(crate) fn stopped(&self) {
        self.stopped.inc();
    }

    /// Workflows were put into a domain.
    pub(crate) fn moved(&self, number: usize) {
        self.moved.inc_by(u64::try_from(number).unwrap_or(u64::MAX));
    }

    /// How many there are.
    pub(crate) fn show(&self, domains: usize, workflows: usize, stand_by: usize) {
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.domains.set(number(domains));
        self.workflows.set(number(workflows));
        self.stand_by.set(number(stand_by));
    }
}
