//! What instances save, and what one life of an ε-ORC has learnt of it: a start takes along what its predecessor saved,
//! of the same vertex, and nothing older than what is known.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use edgeless_orc::domain::{NodeUpdate, NodeUpdateReply, Step, StepKey, StepResult};
use edgeless_types::{LogicalId, NodeId, PhysicalId, workflow::VertexSpec};

use super::{check::wanted, net::Context};

/// A state names its vertex, and numbers grow with time.
pub(super) fn write(logical_id: LogicalId, context: &mut Context) -> Bytes {
    let number = context.unique();
    Bytes::from(format!("{logical_id} {number}"))
}

fn read(state: &Bytes) -> Option<(LogicalId, u64)> {
    let text = std::str::from_utf8(state).ok()?;
    let (logical_id, number) = text.split_once(' ')?;
    Some((logical_id.parse().ok()?, number.parse().ok()?))
}

/// What is known of the vertices that run once and whose copy was started in this life.
#[derive(Default)]
pub(super) struct States {
    /// The copy that was started last, and the newest state that its successor is to have.
    chains: BTreeMap<LogicalId, (PhysicalId, u64)>,
    /// Copies that are known to have started: nobody sends to the others, so what they save is of no use.
    started: BTreeMap<PhysicalId, NodeId>,
    /// The life of each node, and the last of its updates that was taken.
    taken: BTreeMap<NodeId, (u64, u64)>,
    /// Vertices that had several copies.
    several: BTreeSet<LogicalId>,
}

impl States {
    /// A copy that a node has may be adopted; then it goes on with what it has.
    pub(super) fn on_update(&mut self, update: &NodeUpdate) {
        let running = update.running.iter().flatten().chain(&update.started);
        for it in running {
            let known = self.chains.get(&it.logical_id);
            if known.is_some_and(|(physical_id, _)| *physical_id != it.physical_id) {
                self.chains.remove(&it.logical_id);
            }
        }
    }

    /// An update was answered: what it said is known if it was not late.
    pub(super) fn on_answer(
        &mut self,
        node_id: NodeId,
        (nonce, sequence): (u64, u64),
        states: Vec<(PhysicalId, Bytes)>,
        reply: NodeUpdateReply,
    ) {
        let known = self.taken.get(&node_id);
        let is_new = known.is_none_or(|it| it.0 != nonce || it.1 < sequence);
        if is_new && !reply.want_full && !reply.duplicate {
            self.taken.insert(node_id, (nonce, sequence));
            for (physical_id, state) in states {
                self.learn(physical_id, &state);
            }
        }
    }

    /// A copy has started, or has stopped: then what it had saved is to be known, whether or not it is in this answer.
    pub(super) fn on_outcome(
        &mut self,
        node_id: NodeId,
        key: StepKey,
        result: &StepResult,
        context: &Context,
    ) {
        match (key, result) {
            (StepKey::Start(physical_id), StepResult::Done(_)) => {
                self.started.insert(physical_id, node_id);
            }
            (StepKey::Stop(physical_id), StepResult::Done(_)) => {
                if let Some((_, state)) = context.saved.get(&physical_id) {
                    self.learn(physical_id, state);
                }
            }
            _ => {}
        }
    }

    /// Other numbers of copies are asked for: which of them goes on with a state is not said.
    pub(super) fn scale(&mut self, logical_id: LogicalId) {
        self.chains.remove(&logical_id);
        self.several.insert(logical_id);
    }

    fn learn(&mut self, of: PhysicalId, state: &Bytes) {
        if let Some((logical_id, number)) = read(state)
            && let Some((physical_id, newest)) = self.chains.get_mut(&logical_id)
            && *physical_id == of
            && self.started.contains_key(&of)
        {
            *newest = number.max(*newest);
        }
    }

    /// A node is lost with its copies: what it says of them later is too late.
    pub(super) fn forget(&mut self, node_id: NodeId) {
        self.started.retain(|_, of| *of != node_id);
    }

    /// Only what is desired has a state.
    pub(super) fn retain(&mut self, is_desired: impl Fn(LogicalId) -> bool) {
        self.chains.retain(|logical_id, _| is_desired(*logical_id));
    }

    /// A start takes along what is known.
    pub(super) fn on_step(&mut self, step: &Step, context: &mut Context) {
        let Step::Start {
            instance,
            spec,
            state,
            ..
        } = step
        else {
            return;
        };
        let logical_id = instance.logical_id;
        let state = state.as_ref().and_then(read);
        if state.is_some_and(|(of, _)| of != logical_id) {
            context.break_with(|| format!("{logical_id} gets the state of another: {state:?}"));
        }
        let several = wanted(spec) != 1 || self.several.contains(&logical_id);
        if several || matches!(**spec, VertexSpec::Resource(_)) {
            return;
        }
        let number = state.map_or(0, |(_, number)| number);
        let known = self
            .chains
            .insert(logical_id, (instance.physical_id, number));
        if let Some((before, newest)) = known.filter(|(_, newest)| *newest > number) {
            context.break_with(|| {
                format!("{logical_id} starts with state {number}, though {before} saved {newest}")
            });
        }
    }
}
