//! Health of nodes over a dataset.

use std::{collections::BTreeMap, time::Duration};

use edgeless_types::{NodeCapabilities, NodeHealth, NodeId, Timestamp};

use super::MAX_NAMED;

/// All nodes that have reported.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    pub(super) by_id: BTreeMap<NodeId, Node>,
    /// Rows of nodes for which there was no room.
    pub(super) rows_left_out: u64,
}

/// One node.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) reports: u64,
    last: Option<Timestamp>,
    pub(super) longest_silence: Duration,
    pub(super) cpu_sum: u64,
    pub(super) cpu_max: u32,
    pub(super) mem_used_max: u64,
    pub(super) mem_available_min: Option<u64>,
    pub(super) load_max: u32,
    pub(super) cores: Option<u32>,
}

impl Nodes {
    fn node(&mut self, node_id: NodeId) -> Option<&mut Node> {
        if self.by_id.len() >= MAX_NAMED && !self.by_id.contains_key(&node_id) {
            self.rows_left_out += 1;
            return None;
        }
        Some(self.by_id.entry(node_id).or_default())
    }

    pub(super) fn health(&mut self, at: Timestamp, node_id: NodeId, health: &NodeHealth) {
        let Some(node) = self.node(node_id) else {
            return;
        };
        node.reports += 1;
        let silence = node.last.map_or(Duration::ZERO, |last| at.since(last));
        node.longest_silence = node.longest_silence.max(silence);
        node.last = Some(at);
        node.cpu_sum += u64::from(health.proc_cpu_usage);
        node.cpu_max = node.cpu_max.max(health.proc_cpu_usage);
        node.mem_used_max = node.mem_used_max.max(health.mem_used);
        let available = node.mem_available_min.unwrap_or(u64::MAX);
        node.mem_available_min = Some(available.min(health.mem_available));
        node.load_max = node.load_max.max(health.load_avg_1);
    }

    pub(super) fn capabilities(&mut self, node_id: NodeId, capabilities: &NodeCapabilities) {
        if let Some(node) = self.node(node_id) {
            node.cores = Some(capabilities.num_cores);
        }
    }
}
