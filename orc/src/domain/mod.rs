//! Desired and observed state of a domain, and every decision about it: pure.
//!
//! [`Domain`] takes events and the time, and returns effects. It reads no clock and waits for
//! nothing; its generator is seeded.

mod adopt;
mod event;
mod nodes;
mod observe;
mod outcomes;
mod place;
mod vertices;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use edgeless_types::{
    DomainId, Generation, LogicalId, NodeId, PhysicalId, RunningInstance, Timestamp, WaitReason,
    WorkflowId,
    workflow::{OutputMapping, VertexSpec},
};
use rand::{SeedableRng, rngs::StdRng};

use crate::{
    change::{Change, What},
    plan::{
        Ask,
        fleet::{Fleet, KindId, Overcommit},
        strategy::StrategyKind,
    },
};
pub use event::{
    Command, Effect, NodeUpdate, NodeUpdateReply, Output, Profile, Refusal, StartOutcome, Step,
    StepKey, StepResult, Ticket, VertexRequest,
};
use nodes::Node;
pub use observe::{NodeReport, Numbers, Totals};

/// Settings of a domain.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its id.
    pub domain_id: DomainId,
    /// How nodes are chosen.
    pub strategy: StrategyKind,
    /// How much of what nodes have may be promised.
    pub overcommit: Overcommit,
    /// Seed of all choices.
    pub seed: u64,
    /// Seed of the ids of instances: another one in each life, as ids of an earlier life may still
    /// run somewhere.
    pub life: u64,
    /// After a reconciliation, how long vertices wait to be reported by a node before they are
    /// placed anew.
    pub adoption_grace: std::time::Duration,
    /// How long an instance that was replaced still takes what is under way to it.
    pub linger: std::time::Duration,
}

/// A vertex: what is desired of it and what is known of it.
#[derive(Debug)]
struct Vertex {
    workflow_id: WorkflowId,
    spec: VertexSpec,
    /// What it wants of its node.
    kind: KindId,
    ask: Ask,
    outputs: OutputMapping,
    /// The last decision about it.
    generation: Generation,
    instance: Option<Instance>,
    /// Why it does not run, and since when.
    waiting: Option<(Timestamp, WaitReason)>,
    /// Not to be placed before.
    not_before: Timestamp,
    /// Starts that failed in a row.
    attempts: u32,
    /// Where it is to be placed next, if that was asked for.
    wanted_node: Option<NodeId>,
    /// Nodes that refused it lately.
    refused_by: BTreeSet<NodeId>,
    /// The version of the fleet in which no node took it.
    tried: Option<u64>,
}

/// The copy of a vertex that is meant to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instance {
    node_id: NodeId,
    physical_id: PhysicalId,
    phase: Phase,
    since: Timestamp,
    /// What its node said when it was adopted; none: it was placed in this life.
    adopted: Option<Generation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The node was asked to start it.
    Starting,
    /// The node says that it runs.
    Running,
    /// It is to be stopped, and its state to go with the vertex, before it starts elsewhere.
    Handing,
}

/// A copy that is replaced: it is stopped once nobody sends to it any more.
#[derive(Debug)]
struct Retiring {
    node_id: NodeId,
    logical_id: LogicalId,
    /// Senders that have not confirmed their patch yet.
    senders: BTreeSet<PhysicalId>,
}

/// Desired and observed state of a domain.
pub struct Domain {
    settings: Settings,
    rng: StdRng,
    ids: StdRng,
    fleet: Fleet,
    /// The last decision about anything: never below what a node has ever reported, so that after
    /// a restart nothing that is decided is taken for older than what runs.
    generation: Generation,
    nodes: BTreeMap<NodeId, Node>,
    deadlines: BTreeSet<(Timestamp, NodeId)>,
    /// Of nodes whose id came with another nonce: the nonce before, and when it was last seen.
    former: BTreeMap<NodeId, (u64, Timestamp)>,
    vertices: BTreeMap<LogicalId, Vertex>,
    dependants: BTreeMap<LogicalId, BTreeSet<LogicalId>>,
    by_physical: BTreeMap<PhysicalId, LogicalId>,
    /// Desired vertices without an instance.
    unplaced: BTreeSet<LogicalId>,
    /// Reported by nodes, not desired as far as is known.
    orphans: BTreeMap<PhysicalId, (NodeId, RunningInstance)>,
    retiring: BTreeMap<PhysicalId, Retiring>,
    /// Retired copies nobody sends to, by the moment at which they are stopped.
    lingering: BTreeSet<(Timestamp, PhysicalId)>,
    states: BTreeMap<LogicalId, Bytes>,
    cordoned: BTreeSet<NodeId>,
    tickets: BTreeMap<Ticket, PendingTicket>,
    ticket_of: BTreeMap<LogicalId, Ticket>,
    /// Whether ε-CON has said what it desires since the start.
    reconciled: bool,
    effects: Vec<Effect>,
    touched: BTreeSet<LogicalId>,
    now: Timestamp,
}

/// A start that is answered when each of its vertices has come to something.
#[derive(Debug)]
struct PendingTicket {
    order: Vec<LogicalId>,
    open: BTreeSet<LogicalId>,
    outcomes: BTreeMap<LogicalId, StartOutcome>,
}

impl Domain {
    /// An empty domain. Without ε-CON (`reconciled`) nothing is waited for.
    pub fn new(settings: Settings, reconciled: bool) -> Self {
        Self {
            rng: StdRng::seed_from_u64(settings.seed),
            ids: StdRng::seed_from_u64(settings.life),
            fleet: Fleet::new(settings.strategy, settings.overcommit),
            settings,
            generation: Generation::default(),
            nodes: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            former: BTreeMap::new(),
            vertices: BTreeMap::new(),
            dependants: BTreeMap::new(),
            by_physical: BTreeMap::new(),
            unplaced: BTreeSet::new(),
            orphans: BTreeMap::new(),
            retiring: BTreeMap::new(),
            lingering: BTreeSet::new(),
            states: BTreeMap::new(),
            cordoned: BTreeSet::new(),
            tickets: BTreeMap::new(),
            ticket_of: BTreeMap::new(),
            reconciled,
            effects: Vec::new(),
            touched: BTreeSet::new(),
            now: Timestamp::EPOCH,
        }
    }

    /// Takes a command and returns what is to be done.
    pub fn on_command(&mut self, command: Command, now: Timestamp) -> Vec<Effect> {
        self.now = now;
        match command {
            Command::Start { vertices, ticket } => self.start(vertices, ticket),
            Command::Stop(logical_ids) => self.stop(&logical_ids),
            Command::Patch(patches) => self.patch(patches),
            Command::Reconcile { vertices, ticket } => self.reconcile(vertices, ticket),
            Command::Reset => self.reset(),
            Command::Outcome {
                node_id,
                key,
                result,
            } => self.on_outcome(node_id, key, result),
            Command::Tick => self.on_tick(),
        }
        self.finish()
    }

    fn on_tick(&mut self) {
        while let Some(&(deadline, node_id)) = self.deadlines.first() {
            if deadline > self.now {
                break;
            }
            self.deadlines.pop_first();
            tracing::warn!(%node_id, "a node did not refresh in time: lost");
            self.lose(node_id);
        }
        while let Some(&(at, physical_id)) = self.lingering.first() {
            if at > self.now {
                break;
            }
            self.lingering.pop_first();
            self.stop_retired(physical_id);
        }
        let now = self.now;
        self.former
            .retain(|_, (_, seen)| now.since(*seen) <= nodes::FORMER);
        self.place_all();
    }

    /// What is to be done since the last time, with the changes of what was touched.
    fn finish(&mut self) -> Vec<Effect> {
        for logical_id in std::mem::take(&mut self.touched) {
            let what = match self.active_instance(logical_id) {
                Some(active) => What::Instance(Box::new(active)),
                None => What::InstanceGone(logical_id),
            };
            self.change(what);
        }
        std::mem::take(&mut self.effects)
    }

    fn change(&mut self, what: What) {
        self.effects
            .push(Effect::Change(Change { at: self.now, what }));
    }

    /// Names the next decision.
    fn decide(&mut self) -> Generation {
        self.generation = self.generation.next();
        self.generation
    }

    fn touch(&mut self, logical_id: LogicalId) {
        self.touched.insert(logical_id);
    }
}
