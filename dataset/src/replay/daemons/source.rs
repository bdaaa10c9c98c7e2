//! What sends tasks to the copies of a function, and how it chooses one, as the engine of a node does.

use std::collections::{BTreeMap, VecDeque};

use edgeless_orc::domain::Output;
use edgeless_types::{InstanceId, PhysicalId};
use rand::{Rng, rngs::SmallRng};

use super::node::Instance;

/// A receipt from another node tells of so many messages at once: `TARGET_WINDOW / 4` of
/// `node/src/dataplane/credit.rs`.
const RECEIPT: u64 = 256;

/// An `order-source` or `http-ingress` that runs.
pub(super) struct Source {
    pub(super) node: usize,
    pub(super) function: usize,
    pub(super) channel: String,
    /// Where it leads, and how much was sent there.
    targets: Vec<(InstanceId, u64)>,
    /// What waits until it leads somewhere.
    pub(super) held: VecDeque<usize>,
    /// Of copies on other nodes: what was sent and is not in a receipt yet.
    unconfirmed: BTreeMap<PhysicalId, u64>,
}

impl Source {
    pub(super) fn new(node: usize, function: usize, outputs: &[Output]) -> Self {
        let mut source = Self {
            node,
            function,
            channel: String::new(),
            targets: Vec::new(),
            held: VecDeque::new(),
            unconfirmed: BTreeMap::new(),
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

    /// The copy that gets the next task; none: it waits. Of two random ones, the one with less waiting, then
    /// the one to which less was sent.
    pub(super) fn choose(
        &mut self,
        copies: &BTreeMap<PhysicalId, Instance>,
        rng: &mut SmallRng,
    ) -> Option<PhysicalId> {
        let number = self.targets.len();
        let chosen = match number {
            0 => return None,
            1 => 0,
            _ => {
                let first = rng.random_range(0..number);
                let second = (first + rng.random_range(1..number)) % number;
                match self.load(second, copies) < self.load(first, copies) {
                    true => second,
                    false => first,
                }
            }
        };
        let (instance, sent) = &mut self.targets[chosen];
        *sent += 1;
        let physical_id = instance.physical_id;
        if copies
            .get(&physical_id)
            .is_some_and(|it| it.node != self.node)
        {
            let unconfirmed = self.unconfirmed.entry(physical_id).or_default();
            *unconfirmed = (*unconfirmed + 1) % RECEIPT;
        }
        Some(physical_id)
    }

    fn load(&self, at: usize, copies: &BTreeMap<PhysicalId, Instance>) -> (u64, u64) {
        let (instance, sent) = self.targets[at];
        let physical_id = instance.physical_id;
        let waits = match copies.get(&physical_id) {
            Some(copy) if copy.node == self.node => copy.inbox.len() as u64,
            Some(_) | None => self.unconfirmed.get(&physical_id).copied().unwrap_or(0),
        };
        (waits, sent)
    }
}
