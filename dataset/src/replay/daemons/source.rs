//! What sends tasks to the copies of a function, and how it chooses one, as the engine of a node does.

use std::collections::{BTreeMap, VecDeque};

use edgeless_orc::domain::Output;
use edgeless_types::{InstanceId, PhysicalId, routing::least_loaded};
use rand::rngs::SmallRng;

use super::node::Instance;

/// An `order-source` or `http-ingress` that runs.
pub(super) struct Source {
    pub(super) node: usize,
    pub(super) function: usize,
    pub(super) channel: String,
    /// Where it leads, and how much was sent there.
    targets: Vec<(InstanceId, u64)>,
    /// What waits until it leads somewhere.
    pub(super) held: VecDeque<usize>,
}

impl Source {
    pub(super) fn new(node: usize, function: usize, outputs: &[Output]) -> Self {
        let mut source = Self {
            node,
            function,
            channel: String::new(),
            targets: Vec::new(),
            held: VecDeque::new(),
        };
        source.lead(outputs);
        source
    }

    /// Leads there from now on; who was there before keeps its count.
    pub(super) fn lead(&mut self, outputs: &[Output]) {
        let Some(output) = outputs.first() else {
            return;
        };
        output.channel.as_ref().clone_into(&mut self.channel);
        let sent = |instance: &InstanceId| {
            let known = self.targets.iter().find(|(it, _)| it == instance);
            known.map_or(0, |(_, sent)| *sent)
        };
        let targets = output.instances.iter().map(|(it, _)| (*it, sent(it)));
        self.targets = targets.collect();
    }

    /// To how many copies it leads.
    pub(super) fn copies(&self) -> u32 {
        u32::try_from(self.targets.len()).unwrap_or(u32::MAX)
    }

    /// The copy that gets the next task; none: it waits. What waits at copies on other nodes is known at
    /// once here, in truth some milliseconds late (`node/src/dataplane/load.rs`).
    pub(super) fn choose(
        &mut self,
        copies: &BTreeMap<PhysicalId, Instance>,
        rng: &mut SmallRng,
    ) -> Option<PhysicalId> {
        let chosen = match self.targets.len() {
            0 => return None,
            1 => 0,
            number => least_loaded(number, rng, |at| self.load(at, copies)),
        };
        let (instance, sent) = &mut self.targets[chosen];
        *sent += 1;
        Some(instance.physical_id)
    }

    fn load(&self, at: usize, copies: &BTreeMap<PhysicalId, Instance>) -> (usize, u64) {
        let (instance, sent) = self.targets[at];
        let copy = copies.get(&instance.physical_id);
        let waits = copy.map_or(0, |it| it.inbox.len() + usize::from(it.current.is_some()));
        (waits, sent)
    }
}
