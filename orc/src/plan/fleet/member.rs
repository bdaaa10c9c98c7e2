//! What planning keeps of a node.

use std::sync::Arc;

use edgeless_types::{NodeCapabilities, NodeHealth, NodeId, Requirements, ResourceProvider};

use crate::plan::{Ask, NodeView};

/// How much of what nodes have may be promised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overcommit {
    /// Processor time, as a multiple of the cores.
    pub cpu: f64,
    /// Memory, as a multiple of what there is.
    pub memory: f64,
}

impl Default for Overcommit {
    fn default() -> Self {
        Self {
            cpu: 1.0,
            memory: 1.0,
        }
    }
}

/// What planning keeps of a node.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) capabilities: Arc<NodeCapabilities>,
    pub(super) providers: Arc<[ResourceProvider]>,
    pub(super) health: Option<NodeHealth>,
    pub(super) transfer_nanos: u64,
    pub(super) closed: Option<&'static str>,
    pub(super) instances: usize,
    /// Starts of lost instances that it has not answered yet.
    pub(super) healing: u32,
    /// The kinds it meets, of those with a pool; some may have gone.
    pub(super) kinds: Vec<usize>,
    /// What its instances have asked for, in sum.
    pub(super) asked: Ask,
    pub(super) capacity: Ask,
}

impl Member {
    pub(super) fn view(&self, node_id: NodeId) -> NodeView<'_> {
        NodeView {
            node_id,
            capabilities: &self.capabilities,
            providers: &self.providers,
            health: self.health.as_ref(),
            transfer_nanos: self.transfer_nanos,
            instances: self.instances,
            free: self.capacity.minus(self.asked),
            closed: self.closed,
        }
    }

    /// How full it is, in millionths: of processor time and memory the scarcer, and of ten instances a core,
    /// so that those who ask for nothing count a little.
    pub(super) fn share(&self, asked: Ask, instances: usize) -> u64 {
        let part = |asked: u64, of: u64| asked.saturating_mul(1_000_000) / of.max(1);
        let cores = u64::from(self.capabilities.num_cores.max(1));
        let instances = part(instances as u64, cores * 10) / 10;
        let amounts = part(asked.cpu_millis, self.capacity.cpu_millis)
            .max(part(asked.memory_mib, self.capacity.memory_mib));
        amounts + instances
    }

    pub(super) fn fits(&self, ask: Ask) -> bool {
        self.lacks(ask).is_none()
    }

    /// What it has too little of. Who asks for nothing finds enough of it anywhere.
    pub(super) fn lacks(&self, ask: Ask) -> Option<&'static str> {
        let free = self.capacity.minus(self.asked);
        if ask.cpu_millis > 0 && ask.cpu_millis > free.cpu_millis {
            return Some("cpu_millis");
        }
        (ask.memory_mib > 0 && ask.memory_mib > free.memory_mib).then_some("memory_mib")
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to integer saturates; factors are checked to be positive"
)]
pub(super) fn capacity(capabilities: &NodeCapabilities, overcommit: Overcommit) -> Ask {
    let millis = f64::from(capabilities.num_cores) * 1_000.0 * overcommit.cpu;
    let memory = f64::from(capabilities.mem_size) * overcommit.memory;
    Ask {
        cpu_millis: millis as u64,
        memory_mib: memory as u64,
    }
}

/// What a vertex asks of its node in amounts.
impl From<&Requirements> for Ask {
    fn from(requirements: &Requirements) -> Self {
        Self {
            cpu_millis: requirements.cpu_millis.map_or(0, |it| it.get().into()),
            memory_mib: requirements.memory_mib.map_or(0, |it| it.get().into()),
        }
    }
}
