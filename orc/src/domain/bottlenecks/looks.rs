//! What else is looked at of a vertex that may limit its workflow: its starts, and its nodes.

use std::time::Duration;

use edgeless_types::WaitReason;

use crate::{
    domain::{Domain, model::VertexKey},
    scale::traffic,
};

/// Copies that have run for no longer began a short while ago: as long as what they did is told apart.
const LATELY: Duration = Duration::from_secs(traffic::SECONDS as u64);
/// What happens now is of so many seconds.
const NOW: Duration = Duration::from_secs(traffic::NOW);

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

    /// Copies of a vertex that ran in the last seconds, on average.
    pub(super) fn copies_lately(&self, key: VertexKey) -> f64 {
        let replicas = self.model.vertex(key).replicas.iter();
        let running = replicas.filter_map(|&it| self.model.replica(it).running());
        let parts = running.map(|it| self.now.since(it.since).min(NOW).div_duration_f64(NOW));
        parts.sum()
    }

    /// For how many seconds a copy of a vertex is wished for and not there.
    pub(super) fn wished_for(&self, key: VertexKey) -> f64 {
        let replicas = self.model.vertex(key).replicas.iter();
        let waiting = replicas.filter_map(|&it| self.model.replica(it).waiting.as_deref());
        let waiting = waiting.map(|(since, _)| self.now.since(*since).as_secs_f64());
        waiting.fold(0.0, f64::max)
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

    /// Seconds for which the oldest event waits for a function.
    pub(super) fn oldest(&self, key: VertexKey) -> f64 {
        let vertex = self.model.vertex(key);
        let running = vertex.replicas.iter();
        let running = running.filter_map(|it| self.model.replica(*it).running());
        let inboxes = running.flat_map(|instance| {
            let node = self.nodes.get(&instance.node_id);
            let backlog = node.into_iter().flat_map(|it| &it.backlog);
            let mine = backlog.filter(move |it| it.physical_id == instance.physical_id);
            mine.map(|it| it.oldest.as_secs_f64())
        });
        let of_orders = self.order_demand.get(&vertex.logical_id);
        let of_orders = of_orders.map_or(0.0, |it| it.oldest_waiting_s);
        let waits = inboxes.fold(of_orders, f64::max);
        // What waits at senders is as old as the wish for a copy, at most.
        match self.running_of(key).is_empty() {
            true => waits.max(self.wished_for(key)),
            false => waits,
        }
    }
}
