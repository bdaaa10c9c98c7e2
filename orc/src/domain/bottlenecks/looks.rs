//! What else is looked at of a vertex that may limit its workflow: its starts, and its nodes.

use std::time::Duration;

use edgeless_types::WaitReason;

use crate::domain::{Domain, model::VertexKey};

/// Copies that have run for no longer began a short while ago: as long as what they did is told apart.
const LATELY: Duration = Duration::from_secs(12);

impl Domain {
    /// Seconds that the copies of a vertex took to start, if all of them began a short while ago; else 0.
    pub(super) fn started_lately(&self, key: VertexKey) -> f64 {
        let replicas = self.model.vertex(key).replicas.iter();
        let mut running = replicas
            .filter_map(|&it| self.model.replica(it).running())
            .peekable();
        let is_new = running.peek().is_some() && running.all(|it| self.now < it.since + LATELY);
        let took = self.scaled.get(&key).and_then(|it| it.start_time());
        took.filter(|_| is_new).unwrap_or(0.0)
    }

    /// The share of the processors that its agent uses of a node on which a vertex is, of the busiest one.
    pub(super) fn processors_of(&self, key: VertexKey) -> f64 {
        let replicas = self.model.vertex(key).replicas.iter();
        let running = replicas.filter_map(|&it| self.model.replica(it).running());
        let nodes = running.filter_map(|it| self.nodes.get(&it.node_id));
        let busy = nodes.map(|node| {
            let percent = node.health.as_ref().map_or(0, |it| it.proc_cpu_usage);
            let cores = node.profile.capabilities.num_cores.max(1);
            f64::from(percent) / 100.0 / f64::from(cores)
        });
        busy.fold(0.0, f64::max).min(1.0)
    }

    /// Why a copy of a vertex that is desired does not run; none: all run, or are being started.
    pub(super) fn why_not_running(&self, key: VertexKey) -> Option<String> {
        let mut replicas = self.model.vertex(key).replicas.iter();
        replicas.find_map(|&it| {
            let replica = self.model.replica(it);
            match replica.waiting.as_deref() {
                Some((_, WaitReason::Starting)) | None => None,
                Some((_, reason)) => (!replica.is_superfluous()).then(|| reason.to_string()),
            }
        })
    }
}
